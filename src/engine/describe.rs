//! What a net consists of: layers with shapes, parameters and multiply-accumulates, and what runs them.

use serde::Serialize;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Cost;

use super::int8::Kernel;
use super::{Engine, EngineError, QuantizedEngine, stock};
use crate::package::Package;

/// One operation.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// Its name in the ONNX file.
    pub name: String,
    /// Its operator, as tract names it.
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

/// Describes a package's net for slices of this height and width.
///
/// # Errors
/// [`EngineError::Load`], [`EngineError::Mismatch`]
pub fn describe(package: &Package, size: [usize; 2], kernel: Kernel) -> Result<Summary, EngineError> {
    let load = |e: TractError| EngineError::Load { origin: package.origin.clone(), reason: format!("{e:#}") };
    let model = stock::typed(package, size)?.into_decluttered().map_err(load)?;
    let (engine, runs_on) = match QuantizedEngine::new(package, size, kernel)? {
        Some(engine) => {
            let plan = engine.plan();
            let (steps, arena) = (plan.steps().len(), plan.arena_len());
            let name = engine.name();
            (format!("{name}: {steps} fused steps over an arena of {arena} bytes"), name)
        }
        None => ("tract, operator by operator".to_owned(), "tract".to_owned()),
    };
    let mut layers = Vec::new();
    for id in model.eval_order().map_err(load)? {
        let node = model.node(id);
        let inputs = model.node_input_facts(id).map_err(load)?;
        let parameters = parameters(&inputs);
        let costs = node.op.cost(&inputs).map_err(load)?;
        let macs = costs
            .iter()
            .filter(|(cost, _)| matches!(cost, Cost::FMA(_)))
            .map(|(_, count)| count.to_i64().unwrap_or(0).unsigned_abs())
            .sum();
        if node.inputs.is_empty() || node.op.name() == "Const" {
            continue;
        }
        let shape = node.outputs[0].fact.shape.as_concrete().map(<[usize]>::to_vec).unwrap_or_default();
        let (name, op) = (node.name.clone(), node.op.name().into_owned());
        layers.push(Layer { name, op, shape, parameters, macs, runs_on: runs_on.clone() });
    }
    Ok(Summary {
        size,
        engine,
        unfused: QuantizedEngine::unfused(package)?.iter().map(ToString::to_string).collect(),
        parameters: layers.iter().map(|l| l.parameters).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        layers,
    })
}

/// Values of the constants that an operation with a signal reads; scales and zero points are not counted.
fn parameters(inputs: &[&TypedFact]) -> usize {
    let constant = |fact: &&&TypedFact| fact.konst.is_some();
    if inputs.iter().all(|fact| fact.konst.is_some()) {
        return 0;
    }
    let volumes = inputs
        .iter()
        .filter(constant)
        .filter_map(|fact| fact.shape.as_concrete().map(|shape| shape.iter().product::<usize>()));
    volumes.filter(|&n| n > 1).sum()
}
