//! A net that the int8 engine runs alone.

use monet_core::{Image, Kernel, Plan, QuantGraph, Size, decode};

use super::{Engine, EngineError};
use crate::package::{Manifest, Net, Output, Package};

/// A wholly quantized net, planned for one slice size. Copies share the plan.
#[derive(Debug)]
pub(crate) struct QuantizedEngine {
    plan: Plan<'static>,
    arena: Vec<u8>,
}

impl QuantizedEngine {
    /// Plans the net of a plan file for slices of this height and width. An image is planned
    /// already, for its own kernel.
    ///
    /// # Errors
    /// [`EngineError::NeedsPlan`], [`EngineError::Plan`], [`EngineError::Mismatch`],
    /// [`EngineError::Unplannable`], [`EngineError::Planned`], [`EngineError::Kernel`]
    pub(crate) fn new(package: &Package, size: Size, kernel: Kernel) -> Result<Self, EngineError> {
        if let Net::Image(image) = &package.net {
            return Self::of_image(package, image, size);
        }
        Self::of_graph(package, &graph_of(package)?, size, kernel)
    }

    /// Plans a package's net, given as the graph that [`fits`] its manifest.
    ///
    /// # Errors
    /// [`EngineError::Mismatch`], [`EngineError::Unplannable`]
    pub(crate) fn of_graph(
        package: &Package,
        graph: &QuantGraph,
        size: Size,
        kernel: Kernel,
    ) -> Result<Self, EngineError> {
        let unplannable =
            |source| EngineError::Unplannable { origin: package.origin.clone(), source };
        let plan = Plan::new(graph, size, kernel).map_err(unplannable)?;
        Self::of_plan(package, plan, size)
    }

    /// Runs an image, which must be for this size and for a kernel of this CPU.
    fn of_image(
        package: &Package,
        image: &Image<'static>,
        size: Size,
    ) -> Result<Self, EngineError> {
        let (expected, found) = (size, image.size());
        if found != expected {
            let (origin, kernel) = (package.origin.clone(), image.kernel());
            return Err(EngineError::Planned { origin, found, expected, kernel });
        }
        let manifest = &package.manifest;
        if image.channels() != manifest.input.planes() || !means(image.output(), manifest.output) {
            return Err(signature(package, image.channels(), image.output()));
        }
        Self::of_plan(package, Plan::try_from(image.clone())?, expected)
    }

    fn of_plan(package: &Package, plan: Plan<'static>, size: Size) -> Result<Self, EngineError> {
        let classes = package.manifest.classes();
        if plan.output_size() != size || plan.classes() != classes {
            let found = format!("{} x {}", plan.classes(), plan.output_size());
            return Err(mismatch(package, "output", found, format!("{classes} x {size}")));
        }
        let arena = vec![0; plan.arena_len()];
        Ok(Self { plan, arena })
    }

    /// The plan that runs the net.
    pub(crate) fn planned(&self) -> &Plan<'static> {
        &self.plan
    }

    /// This engine and further ones with the same weights, each with an arena of its own.
    pub(crate) fn copies(self, workers: usize) -> Vec<Box<dyn Engine>> {
        let arena = self.arena.len();
        let copy = |_| Self { plan: self.plan.clone(), arena: vec![0; arena] };
        let copies: Vec<Self> = (1..workers).map(copy).collect();
        [self].into_iter().chain(copies).map(|engine| Box::new(engine) as _).collect()
    }
}

impl Engine for QuantizedEngine {
    fn size(&self) -> Size {
        self.plan.size()
    }

    fn name(&self) -> String {
        format!("int8 {}", self.plan.kernel())
    }

    fn plan(&self) -> Option<&Plan<'static>> {
        Some(&self.plan)
    }

    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError> {
        self.plan.run(&mut self.arena, input, labels).map_err(EngineError::run)
    }
}

/// The error for a net whose input or output is not the manifest's.
pub(crate) fn mismatch(
    package: &Package,
    what: &'static str,
    found: String,
    expected: String,
) -> EngineError {
    EngineError::Mismatch { origin: package.origin.clone(), what, found, expected }
}

/// The net of a plan file, with the manifest's threshold.
pub(crate) fn graph_of(package: &Package) -> Result<QuantGraph, EngineError> {
    let origin = || package.origin.clone();
    let Net::Plan(net) = &package.net else {
        return Err(EngineError::NeedsPlan { origin: origin() });
    };
    let mut graph = decode(net).map_err(|source| EngineError::Plan { origin: origin(), source })?;
    if fits(&mut graph, &package.manifest) {
        return Ok(graph);
    }
    Err(signature(package, channels(&graph), graph.output))
}

/// The error for a net whose channels or meaning of logits are not the manifest's.
fn signature(package: &Package, channels: usize, output: monet_core::Output) -> EngineError {
    let manifest = &package.manifest;
    let found = format!("{channels} channels to {output:?}");
    let expected = format!("{} channels to {:?}", manifest.input.planes(), manifest.output);
    mismatch(package, "signature", found, expected)
}

/// Whether logits mean what the manifest says.
fn means(output: monet_core::Output, manifest: Output) -> bool {
    match (manifest, output) {
        (Output::Sigmoid { threshold }, monet_core::Output::Sigmoid { threshold: own }) => {
            own == threshold
        }
        (Output::Argmax, monet_core::Output::Softmax | monet_core::Output::Identity) => true,
        _ => false,
    }
}

/// Whether a net has the manifest's input and kind of output; gives the net the manifest's
/// threshold.
pub(crate) fn fits(graph: &mut QuantGraph, manifest: &Manifest) -> bool {
    if let (Output::Sigmoid { threshold }, monet_core::Output::Sigmoid { threshold: own }) =
        (manifest.output, &mut graph.output)
    {
        *own = threshold;
    }
    means(graph.output, manifest.output) && channels(graph) == manifest.input.planes()
}

/// Channels of a net's input.
fn channels(graph: &QuantGraph) -> usize {
    graph.tensors.first().map_or(0, |input| input.channels)
}
