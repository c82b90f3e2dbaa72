//! Runs a net in tract: as the file has it, or with its quantized parts as operators of the int8
//! engine.
//!
//! The [`guard`] checks every file before tract reads it. Tract may panic all the same; where
//! panics unwind, [`contained`] makes an error of the panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::*;

use super::region::{QuantizedRegion, rewrite};
use super::{EngineChoice, guard, import, load, reading, refused};
use crate::Size;
use crate::engine::quantized::mismatch;
use crate::engine::{Engine, EngineError};
use crate::package::{Output, Package};

/// A net in tract, planned for one slice size.
pub(super) struct TractEngine {
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    output: Output,
    name: String,
    origin: String,
    channels: usize,
    size: Size,
}

impl std::fmt::Debug for TractEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TractEngine")
            .field("channels", &self.channels)
            .field("size", &self.size)
            .finish()
    }
}

impl TractEngine {
    /// Plans a package's net for slices of this height and width.
    ///
    /// # Errors
    /// [`EngineError`] but [`EngineError::Run`]
    pub(super) fn new(
        package: &Package,
        size: Size,
        choice: EngineChoice,
    ) -> Result<Self, EngineError> {
        contained(&package.origin, || Self::planned(package, size, choice))
    }

    fn planned(package: &Package, size: Size, choice: EngineChoice) -> Result<Self, EngineError> {
        let load = load(package);
        let model = rewritten(package, size, choice)?;
        let name = match regions(&model).next() {
            Some(region) => format!("tract with int8 {}", region.plan().kernel()),
            None => "tract".to_owned(),
        };
        let model = model.into_optimized().map_err(&load)?;
        let plan = model.into_runnable().map_err(&load)?;
        let state = plan.spawn().map_err(&load)?;
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

    /// This engine and further ones with the same weights.
    ///
    /// # Errors
    /// [`EngineError::Run`], [`EngineError::Panicked`]
    pub(super) fn copies(self, workers: usize) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        let copies: Vec<Self> = (1..workers).map(|_| self.copy()).collect::<Result<_, _>>()?;
        Ok([self].into_iter().chain(copies).map(|engine| Box::new(engine) as _).collect())
    }

    fn copy(&self) -> Result<Self, EngineError> {
        Ok(Self {
            plan: self.plan.clone(),
            state: self.fresh_state()?,
            name: self.name.clone(),
            origin: self.origin.clone(),
            ..*self
        })
    }

    fn fresh_state(&self) -> Result<TypedSimpleState, EngineError> {
        contained(&self.origin, || self.plan.spawn().map_err(EngineError::run))
    }

    /// Runs the net. A panic may leave the state half-way, so a fresh one takes its place.
    fn run(&mut self, input: Tensor) -> Result<TVec<TValue>, EngineError> {
        let ran = contained(&self.origin, || {
            self.state.run(tvec!(input.into())).map_err(EngineError::run)
        });
        if matches!(ran, Err(EngineError::Panicked { .. })) {
            self.state = self.fresh_state()?;
        }
        ran
    }
}

impl Engine for TractEngine {
    fn size(&self) -> Size {
        self.size
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError> {
        let Size { height, width } = self.size;
        let shape = [1, self.channels, height, width];
        let tensor = Tensor::from_shape(&shape, &input.concat()).map_err(EngineError::run)?;
        let outputs = self.run(tensor)?;
        let view = outputs[0].to_plain_array_view::<f32>().map_err(EngineError::run)?;
        let probabilities =
            view.as_slice().ok_or_else(|| EngineError::run("the output is not contiguous"))?;
        decide(self.output, probabilities, labels);
        Ok(())
    }
}

/// Does work in tract and makes an error of its panic, where panics unwind.
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
    size: Size,
    choice: EngineChoice,
) -> Result<TypedModel, EngineError> {
    let mut model = typed(package, size)?;
    if let EngineChoice::Int8(kernel) = choice {
        rewrite(&mut model, &import(package)?.regions, kernel).map_err(load(package))?;
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
    Size { height, width }: Size,
) -> Result<TypedModel, EngineError> {
    let (load, refused) = (load(package), refused(&package.origin));
    let shape = |channels| [1, channels, height, width];
    let mut proto = reading::read(package.net.bytes()).map_err(&refused)?;
    let graph = proto.graph.as_ref();
    let inputs = graph.map_or(0, |graph| guard::inputs(graph).len());
    let outputs = graph.map_or(0, |graph| graph.output.len());
    if inputs != 1 || outputs != 1 {
        return Err(mismatch(
            package,
            "signature",
            format!("{inputs} input(s) and {outputs} output(s)"),
            "one of each".into(),
        ));
    }
    let input = shape(package.manifest.input.planes());
    guard::fits(&proto, input).map_err(&refused)?;
    guard::settle(&mut proto, input);
    let model = tract_onnx::onnx().parse(&proto, None).map_err(&load)?.model;
    let mut model = model
        .with_input_fact(0, f32::fact(input).into())
        .and_then(|m| m.into_typed())
        .map_err(&load)?;
    reading::keep_apart(&mut model);
    let fact = model.output_fact(0).map_err(&load)?;
    let expected = shape(package.manifest.classes());
    let agrees = fact.datum_type == f32::datum_type()
        && fact.shape.as_concrete().is_some_and(|found| found == expected);
    if !agrees {
        return Err(mismatch(
            package,
            "output",
            format!("{fact:?}"),
            format!("{expected:?} of f32"),
        ));
    }
    Ok(model)
}

/// Labels from probabilities `[classes, pixels]`.
fn decide(output: Output, probabilities: &[f32], labels: &mut [u8]) {
    let pixels = labels.len();
    match output {
        Output::Sigmoid { threshold } => {
            for (label, p) in labels.iter_mut().zip(probabilities) {
                *label = u8::from(*p > threshold);
            }
        }
        Output::Argmax => {
            for (i, label) in labels.iter_mut().enumerate() {
                let classes = probabilities.iter().skip(i).step_by(pixels);
                let best =
                    (0u8..).zip(classes).fold((0, f32::NEG_INFINITY), |best, (class, &p)| {
                        if p > best.1 { (class, p) } else { best }
                    });
                *label = best.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_class_wins_and_of_equals_the_first() {
        let probabilities = [0.2, 0.4, 0.1, /**/ 0.5, 0.4, 0.1, /**/ 0.3, 0.2, 0.8];
        let mut labels = [9; 3];
        decide(Output::Argmax, &probabilities, &mut labels);
        assert_eq!(labels, [1, 0, 2]);
    }

    #[test]
    fn a_threshold_must_be_exceeded() {
        let mut labels = [9; 3];
        decide(Output::Sigmoid { threshold: 0.5 }, &[0.4, 0.5, 0.6], &mut labels);
        assert_eq!(labels, [0, 0, 1]);
    }
}
