//! The net run by tract: as it comes, or with its quantized parts as operators of the int8 engine.
//!
//! Tract meets only what the [`guard`] let pass. Where it panics none the less, the panic ends here
//! as an error; a build whose panics abort cannot do that, and a caller that must live on tries the
//! net in another process first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::*;

use super::int8::{QuantizedRegion, rewrite};
use super::{Choice, Engine, EngineError, decide, guard, quantized, reading};
use crate::package::{Output, Package};

/// A net in tract, planned for one slice size.
pub struct StockEngine {
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    output: Output,
    name: String,
    origin: String,
    channels: usize,
    size: [usize; 2],
}

impl std::fmt::Debug for StockEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StockEngine")
            .field("channels", &self.channels)
            .field("size", &self.size)
            .finish()
    }
}

impl StockEngine {
    /// Plans a package's net for slices of this height and width.
    ///
    /// # Errors
    /// [`EngineError`] but [`EngineError::Run`]
    pub fn new(package: &Package, size: [usize; 2], choice: Choice) -> Result<Self, EngineError> {
        contained(&package.origin, || Self::planned(package, size, choice))
    }

    fn planned(package: &Package, size: [usize; 2], choice: Choice) -> Result<Self, EngineError> {
        let load = |e: TractError| EngineError::Load {
            origin: package.origin.clone(),
            reason: format!("{e:#}"),
        };
        let model = rewritten(package, size, choice)?;
        let name = match regions(&model).next() {
            Some(region) => format!("tract with int8 {}", region.plan().kernel()),
            None => "tract".to_owned(),
        };
        let model = model.into_optimized().map_err(load)?;
        let plan = model.into_runnable().map_err(load)?;
        let state = plan.spawn().map_err(load)?;
        let manifest = &package.manifest;
        let origin = package.origin.clone();
        Ok(Self {
            plan,
            state,
            output: manifest.output,
            name,
            origin,
            channels: manifest.input.planes(),
            size,
        })
    }

    /// A further engine with the same weights.
    ///
    /// # Errors
    /// [`EngineError::Run`], [`EngineError::Panicked`]
    pub fn another(&self) -> Result<Self, EngineError> {
        let state = contained(&self.origin, || {
            self.plan.spawn().map_err(|e| EngineError::Run(format!("{e:#}")))
        })?;
        Ok(Self {
            plan: self.plan.clone(),
            state,
            name: self.name.clone(),
            origin: self.origin.clone(),
            ..*self
        })
    }

    /// Runs the net; a panic leaves the state as no further run may find it.
    fn run(&mut self, input: Tensor) -> Result<TVec<TValue>, EngineError> {
        let ran = contained(&self.origin, || {
            self.state.run(tvec!(input.into())).map_err(|e| EngineError::Run(format!("{e:#}")))
        });
        if matches!(ran, Err(EngineError::Panicked { .. })) {
            self.state = self.another()?.state;
        }
        ran
    }
}

impl Engine for StockEngine {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError> {
        let failed = |e: TractError| EngineError::Run(format!("{e:#}"));
        let [height, width] = self.size;
        let tensor = Tensor::from_shape(&[1, self.channels, height, width], &input.concat())
            .map_err(failed)?;
        let outputs = self.run(tensor)?;
        let view = outputs[0].to_plain_array_view::<f32>().map_err(failed)?;
        let probabilities = view
            .as_slice()
            .ok_or_else(|| EngineError::Run("the output is not contiguous".into()))?;
        decide(self.output, probabilities, labels);
        Ok(())
    }
}

/// Makes an error of a panic of tract, where panics unwind.
pub(super) fn contained<T>(
    origin: &str,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = text.unwrap_or("it does not say why").to_owned();
        Err(EngineError::Panicked { origin: origin.to_owned(), reason })
    })
}

/// As [`typed`], with the quantized parts replaced by operators of the int8 engine where that was
/// chosen.
pub(super) fn rewritten(
    package: &Package,
    size: [usize; 2],
    choice: Choice,
) -> Result<TypedModel, EngineError> {
    let load = |e: TractError| EngineError::Load {
        origin: package.origin.clone(),
        reason: format!("{e:#}"),
    };
    let mut model = typed(package, size)?;
    if let Choice::Int8(kernel) = choice {
        let regions = quantized::import(package)?.map_or_else(Vec::new, |import| import.regions);
        rewrite(&mut model, &regions, kernel).map_err(load)?;
    }
    Ok(model)
}

/// The quantized parts of a model.
pub(super) fn regions(model: &TypedModel) -> impl Iterator<Item = &QuantizedRegion> {
    model.nodes.iter().filter_map(|node| node.op_as::<QuantizedRegion>())
}

/// Reads a package's net for one slice of this height and width, and checks its input and output
/// against the manifest.
pub(super) fn typed(
    package: &Package,
    [height, width]: [usize; 2],
) -> Result<TypedModel, EngineError> {
    let load = |e: TractError| EngineError::Load {
        origin: package.origin.clone(),
        reason: format!("{e:#}"),
    };
    let manifest = &package.manifest;
    let shape = |channels| [1, channels, height, width];
    let mismatch = |what, found, expected| EngineError::Mismatch {
        origin: package.origin.clone(),
        what,
        found,
        expected,
    };
    let refused = |source| EngineError::Refused { origin: package.origin.clone(), source };
    let mut proto = reading::read(package.net.bytes()).map_err(refused)?;
    let graph = proto.graph.as_ref();
    let inputs = graph.map_or(0, |graph| guard::inputs(graph).len());
    let outputs = graph.map_or(0, |graph| graph.output.len());
    if inputs != 1 || outputs != 1 {
        return Err(mismatch(
            "signature",
            format!("{inputs} input(s) and {outputs} output(s)"),
            "one of each".into(),
        ));
    }
    let input = shape(manifest.input.planes());
    guard::fits(&proto, input).map_err(refused)?;
    guard::settle(&mut proto, input);
    let model = tract_onnx::onnx().parse(&proto, None).map_err(load)?.model;
    let mut model = model
        .with_input_fact(0, f32::fact(input).into())
        .and_then(|m| m.into_typed())
        .map_err(load)?;
    reading::keep_apart(&mut model);
    let fact = model.output_fact(0).map_err(load)?;
    let expected = shape(manifest.classes());
    let agrees = fact.datum_type == f32::datum_type()
        && fact.shape.as_concrete().is_some_and(|found| found == expected);
    if !agrees {
        return Err(mismatch("output", format!("{fact:?}"), format!("{expected:?} of f32")));
    }
    Ok(model)
}
