//! What a net consists of: layers with shapes, parameters and multiply-accumulates, and what runs them.

use serde::Serialize;
#[cfg(feature = "tract")]
use tract_onnx::prelude::*;
#[cfg(feature = "tract")]
use tract_onnx::tract_core::internal::Cost;

use super::int8::{Kernel, StepInfo};
use super::{Engine, EngineError, QuantizedEngine};
use crate::package::{Net, Package};

/// One operation.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// Its name in the ONNX file; of a plan's step, the name of its result there.
    pub name: String,
    /// Its operator, as tract names it; of a plan, the kind of step.
    pub op: String,
    /// Shape of its result.
    pub shape: Vec<usize>,
    /// Weights and biases.
    pub parameters: usize,
    /// Multiply-accumulates a slice.
    pub macs: u64,
    /// What runs it.
    pub runs_on: String,
}

/// A net.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Height and width that the figures hold for.
    pub size: [usize; 2],
    /// What runs the net as a whole.
    pub engine: String,
    /// Nodes that the int8 engine did not take over, each with its operator and reason.
    pub unfused: Vec<String>,
    /// Operations that compute; constants left out.
    pub layers: Vec<Layer>,
    /// Weights and biases of all.
    pub parameters: usize,
    /// Multiply-accumulates a slice of all.
    pub macs: u64,
}

/// Describes a package's net for slices of this height and width: an ONNX file by its nodes, a plan by its steps.
///
/// # Errors
/// [`EngineError`] but [`EngineError::Run`]
pub fn describe(package: &Package, size: [usize; 2], kernel: Kernel) -> Result<Summary, EngineError> {
    let int8 = QuantizedEngine::new(package, size, kernel)?;
    let (engine, runs_on) = match &int8 {
        Some(engine) => {
            let plan = engine.plan();
            let (steps, arena) = (plan.steps().len(), plan.arena_len());
            let name = engine.name();
            (format!("{name}: {steps} fused steps over an arena of {arena} bytes"), name)
        }
        None => ("tract, operator by operator".to_owned(), "tract".to_owned()),
    };
    let (layers, unfused) = match (&package.net, &int8) {
        (Net::Plan(_), Some(engine)) => {
            let steps = engine.plan().steps().iter();
            (steps.map(|step| layer(step, &runs_on)).collect::<Vec<_>>(), Vec::new())
        }
        #[cfg(feature = "tract")]
        _ => {
            let unfused = QuantizedEngine::unfused(package)?;
            (nodes(package, size, &runs_on)?, unfused.iter().map(ToString::to_string).collect())
        }
        #[cfg(not(feature = "tract"))]
        _ => return Err(EngineError::NeedsTract { origin: package.origin.clone() }),
    };
    Ok(Summary {
        size,
        engine,
        unfused,
        parameters: layers.iter().map(|l| l.parameters).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        layers,
    })
}

fn layer(step: &StepInfo, runs_on: &str) -> Layer {
    let [channels, height, width] = step.shape;
    Layer {
        name: step.name.clone(),
        op: step.kind.to_owned(),
        shape: vec![1, channels, height, width],
        parameters: step.parameters,
        macs: step.macs,
        runs_on: runs_on.to_owned(),
    }
}

/// The nodes of an ONNX file that compute.
#[cfg(feature = "tract")]
fn nodes(package: &Package, size: [usize; 2], runs_on: &str) -> Result<Vec<Layer>, EngineError> {
    let load = |e: TractError| EngineError::Load { origin: package.origin.clone(), reason: format!("{e:#}") };
    let model = super::stock::typed(package, size)?.into_decluttered().map_err(load)?;
    let mut layers = Vec::new();
    for id in model.eval_order().map_err(load)? {
        let node = model.node(id);
        let inputs = model.node_input_facts(id).map_err(load)?;
        let parameters = parameters(&inputs);
        let costs = node.op.cost(&inputs).map_err(load)?;
        let macs = match &inputs[..] {
            // Tract counts none for a transposed convolution: each weight once per input pixel.
            [input, weights, ..] if node.op.name() == "Deconv" => {
                volume(weights) * input.shape.as_concrete().map_or(0, |s| s[2..].iter().product::<usize>())
            }
            _ => costs
                .iter()
                .filter(|(cost, _)| matches!(cost, Cost::FMA(_)))
                .map(|(_, count)| count.to_i64().map_or(0, |n| n.unsigned_abs() as usize))
                .sum(),
        };
        if node.inputs.is_empty() || node.op.name() == "Const" {
            continue;
        }
        let shape = node.outputs[0].fact.shape.as_concrete().map(<[usize]>::to_vec).unwrap_or_default();
        let (name, op) = (node.name.clone(), node.op.name().into_owned());
        layers.push(Layer { name, op, shape, parameters, macs: macs as u64, runs_on: runs_on.to_owned() });
    }
    Ok(layers)
}

/// Values of the constants that an operation with a signal reads; scales and zero points are not counted.
#[cfg(feature = "tract")]
fn parameters(inputs: &[&TypedFact]) -> usize {
    if inputs.iter().all(|fact| fact.konst.is_some()) {
        return 0;
    }
    inputs.iter().filter(|fact| fact.konst.is_some()).map(|fact| volume(fact)).filter(|&n| n > 1).sum()
}

/// Values of a tensor.
#[cfg(feature = "tract")]
fn volume(fact: &TypedFact) -> usize {
    fact.shape.as_concrete().map_or(0, |shape| shape.iter().product())
}
