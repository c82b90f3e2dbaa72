//! What a net consists of: layers with shapes, parameters and multiply-accumulates, and what runs
//! them.

use monet_core::{Image, Kernel, StepInfo};
use serde::Serialize;

use super::EngineError;
use super::quantized::QuantizedEngine;
use crate::Size;
use crate::package::Package;

/// One operation.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// The node's name in the ONNX file; of a plan's step, the name of the step's result there.
    pub name: String,
    /// The operator, as the engine names it; of a plan, the kind of step.
    pub op: String,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Number of weights and biases.
    pub parameters: usize,
    /// Multiply-accumulates a slice.
    pub macs: u64,
    /// The engine that runs the layer.
    pub runs_on: String,
}

/// A net.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Height and width that the figures hold for.
    #[serde(with = "crate::size")]
    pub size: Size,
    /// The engine that runs the net as a whole.
    pub engine: String,
    /// Nodes that the int8 engine did not take over, each with its operator and reason.
    pub unfused: Vec<String>,
    /// What the int8 engine rounds that the file does not, and how.
    pub rounded: Vec<String>,
    /// Operations that compute; constants left out.
    pub layers: Vec<Layer>,
    /// Number of weights and biases of all layers.
    pub parameters: usize,
    /// Multiply-accumulates a slice of all layers.
    pub macs: u64,
}

impl Summary {
    /// A net that one plan runs, on this machine or on another.
    #[must_use]
    pub fn of_image(image: &Image) -> Self {
        let name = format!("int8 {}", image.kernel());
        let layers = image.steps().map(|info| step(&info, &name)).collect();
        Self::new(image.size(), format!("{name}: {}", outline(image)), layers)
    }

    /// A summary whose totals are those of the layers.
    pub(crate) fn new(size: Size, engine: String, layers: Vec<Layer>) -> Self {
        Self {
            size,
            engine,
            unfused: Vec::new(),
            rounded: Vec::new(),
            parameters: layers.iter().map(|layer| layer.parameters).sum(),
            macs: layers.iter().map(|layer| layer.macs).sum(),
            layers,
        }
    }
}

/// Describes the net of a plan file by its steps, for slices of this height and width.
///
/// # Errors
/// [`EngineError`] but [`EngineError::Run`]
pub fn describe(package: &Package, size: Size, kernel: Kernel) -> Result<Summary, EngineError> {
    Ok(Summary::of_image(QuantizedEngine::new(package, size, kernel)?.planned()))
}

/// A plan in a few words.
pub(crate) fn outline(plan: &Image) -> String {
    format!("{} fused steps over an arena of {} bytes", plan.steps().len(), plan.arena_len())
}

/// A step of a plan as a layer.
pub(crate) fn step(step: &StepInfo, runs_on: &str) -> Layer {
    Layer {
        name: step.name.into(),
        op: step.kind.to_owned(),
        shape: [1].into_iter().chain(step.shape).collect(),
        parameters: step.parameters,
        macs: step.macs,
        runs_on: runs_on.to_owned(),
    }
}
