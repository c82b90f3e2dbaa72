//! A package's net run by the int8 engine alone.

use std::sync::Arc;

#[cfg(feature = "tract")]
use super::int8::Import;
use super::int8::{self, Kernel, Plan, QuantGraph, Size};
#[cfg(feature = "tract")]
use super::reading;
use super::{Choice, Engine, EngineError};
use crate::package::{Net, Output, Package};

/// Wholly quantized net, planned for one slice size; engines made by [`QuantizedEngine::another`]
/// share the plan.
#[derive(Debug)]
pub struct QuantizedEngine {
    plan: Arc<Plan<'static>>,
    arena: Vec<u8>,
    size: [usize; 2],
}

impl QuantizedEngine {
    /// Plans a package's net for slices of this height and width; `None` where part of an ONNX file
    /// must stay with tract.
    ///
    /// # Errors
    /// [`EngineError`] but [`EngineError::Run`]
    pub fn new(
        package: &Package,
        size: [usize; 2],
        kernel: Kernel,
    ) -> Result<Option<Self>, EngineError> {
        let Some(graph) = graph(package)? else { return Ok(None) };
        let unplannable =
            |source| EngineError::Unplannable { origin: package.origin.clone(), source };
        let plan = Plan::new(&graph, Size::new(size[0], size[1]), kernel).map_err(unplannable)?;
        let classes = package.manifest.classes();
        if plan.output_size() != Size::new(size[0], size[1]) || plan.classes() != classes {
            let found = format!("{} x {}", plan.classes(), plan.output_size());
            return Err(mismatch(package, "output", found, format!("{classes} x {size:?}")));
        }
        let arena = vec![0; plan.arena_len()];
        Ok(Some(Self { plan: Arc::new(plan), arena, size }))
    }

    /// As [`QuantizedEngine::new`]; `None` too where tract was chosen.
    pub(crate) fn chosen(
        package: &Package,
        size: [usize; 2],
        choice: Choice,
    ) -> Result<Option<Self>, EngineError> {
        match choice {
            Choice::Int8(kernel) => Self::new(package, size, kernel),
            #[cfg(feature = "tract")]
            Choice::Tract if matches!(package.net, Net::Plan(_)) => Err(EngineError::Load {
                origin: package.origin.clone(),
                reason: "tract cannot run a plan: give the package that it was compiled from"
                    .into(),
            }),
            #[cfg(feature = "tract")]
            Choice::Tract => Ok(None),
        }
    }

    /// What the int8 engine makes of a package's ONNX file: which nodes keep it with tract, and
    /// what is rounded; nothing of a plan.
    ///
    /// # Errors
    /// [`EngineError::Load`]
    #[cfg(feature = "tract")]
    pub fn import(package: &Package) -> Result<Import, EngineError> {
        Ok(import(package)?.unwrap_or_default())
    }

    /// A further engine with the same weights and an arena of its own.
    pub fn another(&self) -> Self {
        Self { plan: self.plan.clone(), arena: vec![0; self.plan.arena_len()], size: self.size }
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &Plan<'static> {
        &self.plan
    }
}

impl Engine for QuantizedEngine {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn name(&self) -> String {
        format!("int8 {}", self.plan.kernel())
    }

    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError> {
        self.plan.run(&mut self.arena, input, labels).map_err(|e| EngineError::Run(e.to_string()))
    }
}

fn mismatch(package: &Package, what: &'static str, found: String, expected: String) -> EngineError {
    EngineError::Mismatch { origin: package.origin.clone(), what, found, expected }
}

/// The quantized net of a package, with the manifest's threshold; `None` where part of an ONNX file
/// must stay with tract.
pub(super) fn graph(package: &Package) -> Result<Option<QuantGraph>, EngineError> {
    let manifest = &package.manifest;
    let mut graph = match &package.net {
        Net::Plan(net) => int8::decode(net)
            .map_err(|source| EngineError::Plan { origin: package.origin.clone(), source })?,
        #[cfg(feature = "tract")]
        Net::Onnx(_) => match import(package)?.and_then(whole) {
            Some(graph) => graph,
            None => return Ok(None),
        },
        #[cfg(not(feature = "tract"))]
        Net::Onnx(_) => return Err(EngineError::NeedsTract { origin: package.origin.clone() }),
    };
    let agrees = match (manifest.output, &mut graph.output) {
        (Output::Sigmoid { threshold }, int8::Output::Sigmoid { threshold: own }) => {
            *own = threshold;
            true
        }
        (Output::Argmax, int8::Output::Softmax | int8::Output::Identity) => true,
        _ => false,
    };
    let channels = graph.tensors.first().map_or(0, |input| input.channels);
    if agrees && channels == manifest.input.planes() {
        return Ok(Some(graph));
    }
    match &package.net {
        // Tract may still take it, or will say what is wrong.
        Net::Onnx(_) => Ok(None),
        Net::Plan(_) => {
            let found = format!("{channels} channels to {:?}", graph.output);
            let expected = format!("{} channels to {:?}", manifest.input.planes(), manifest.output);
            Err(mismatch(package, "signature", found, expected))
        }
    }
}

/// The quantized parts of a package's ONNX file; `None` where it is a plan.
#[cfg(feature = "tract")]
pub(super) fn import(package: &Package) -> Result<Option<Import>, EngineError> {
    let Net::Onnx(onnx) = &package.net else { return Ok(None) };
    let model = reading::read(onnx)
        .map_err(|source| EngineError::Refused { origin: package.origin.clone(), source })?;
    Ok(Some(int8::import(&model)))
}

/// The graph of a net that leaves nothing to tract.
#[cfg(feature = "tract")]
fn whole(import: Import) -> Option<QuantGraph> {
    let Ok([region]) = <[_; 1]>::try_from(import.regions) else { return None };
    import.unfused.is_empty().then_some(region.graph)
}
