//! The net run by tract: as it comes, or with its quantized parts as operators of the int8 engine.

use std::io::Cursor;
use std::sync::Arc;

use tract_onnx::prelude::*;

use super::int8::{QuantizedRegion, rewrite};
use super::{Choice, Engine, EngineError, decide, quantized};
use crate::package::{Output, Package};

/// A net in tract, planned for one slice size.
pub struct StockEngine {
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    output: Output,
    name: String,
    channels: usize,
    size: [usize; 2],
}

impl std::fmt::Debug for StockEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StockEngine").field("channels", &self.channels).field("size", &self.size).finish()
    }
}

impl StockEngine {
    /// Plans a package's net for slices of this height and width.
    ///
    /// # Errors
    /// [`EngineError::Load`], [`EngineError::Mismatch`]
    pub fn new(package: &Package, size: [usize; 2], choice: Choice) -> Result<Self, EngineError> {
        let load =
            |e: TractError| EngineError::Load { origin: package.origin.clone(), reason: format!("{e:#}") };
        let model = rewritten(package, size, choice)?;
        let name = match regions(&model).next() {
            Some(region) => format!("tract with int8 {}", region.plan().kernel()),
            None => "tract".to_owned(),
        };
        let model = model.into_optimized().map_err(load)?;
        let plan = model.into_runnable().map_err(load)?;
        let state = plan.spawn().map_err(load)?;
        let manifest = &package.manifest;
        Ok(Self { plan, state, output: manifest.output, name, channels: manifest.input.planes(), size })
    }

    /// A further engine with the same weights.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn another(&self) -> Result<Self, EngineError> {
        let state = self.plan.spawn().map_err(|e| EngineError::Run(format!("{e:#}")))?;
        Ok(Self { plan: self.plan.clone(), state, name: self.name.clone(), ..*self })
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
        let tensor =
            Tensor::from_shape(&[1, self.channels, height, width], &input.concat()).map_err(failed)?;
        let outputs = self.state.run(tvec!(tensor.into())).map_err(failed)?;
        let view = outputs[0].to_plain_array_view::<f32>().map_err(failed)?;
        let probabilities =
            view.as_slice().ok_or_else(|| EngineError::Run("the output is not contiguous".into()))?;
        decide(self.output, probabilities, labels);
        Ok(())
    }
}

/// As [`typed`], with the quantized parts replaced by operators of the int8 engine where that was chosen.
pub(super) fn rewritten(
    package: &Package,
    size: [usize; 2],
    choice: Choice,
) -> Result<TypedModel, EngineError> {
    let load = |e: TractError| EngineError::Load { origin: package.origin.clone(), reason: format!("{e:#}") };
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

/// Reads a package's net for one slice of this height and width, and checks its input and output against the manifest.
pub(super) fn typed(package: &Package, [height, width]: [usize; 2]) -> Result<TypedModel, EngineError> {
    let load = |e: TractError| EngineError::Load { origin: package.origin.clone(), reason: format!("{e:#}") };
    let manifest = &package.manifest;
    let shape = |channels| [1, channels, height, width];
    let onnx = package.net.bytes();
    let model = tract_onnx::onnx().model_for_read(&mut Cursor::new(onnx)).map_err(load)?;
    let mismatch = |what, found, expected| EngineError::Mismatch {
        origin: package.origin.clone(),
        what,
        found,
        expected,
    };
    let inputs = model.input_outlets().map_err(load)?.len();
    let outputs = model.output_outlets().map_err(load)?.len();
    if inputs != 1 || outputs != 1 {
        return Err(mismatch(
            "signature",
            format!("{inputs} input(s) and {outputs} output(s)"),
            "one of each".into(),
        ));
    }
    let model = model
        .with_input_fact(0, f32::fact(shape(manifest.input.planes())).into())
        .and_then(|m| m.into_typed())
        .map_err(|e| {
            mismatch("input", format!("{e:#}"), format!("{:?} of f32", shape(manifest.input.planes())))
        })?;
    let fact = model.output_fact(0).map_err(load)?;
    let expected = shape(manifest.classes());
    let agrees = fact.datum_type == f32::datum_type()
        && fact.shape.as_concrete().is_some_and(|found| found == expected);
    if !agrees {
        return Err(mismatch("output", format!("{fact:?}"), format!("{expected:?} of f32")));
    }
    Ok(model)
}
