//! What a net consists of: layers with shapes, parameters and multiply-accumulates, and what runs them.

use serde::Serialize;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Cost;

use super::int8::{QuantizedRegion, Region};
use super::{Choice, Engine, EngineError, QuantizedEngine, quantized, stock};
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

/// Describes a package's net for slices of this height and width, run by a kernel or the engine chosen.
///
/// # Errors
/// [`EngineError::Load`], [`EngineError::Mismatch`]
pub fn describe(
    package: &Package,
    size: [usize; 2],
    choice: impl Into<Choice>,
) -> Result<Summary, EngineError> {
    let choice = choice.into();
    let load = |e: TractError| EngineError::Load { origin: package.origin.clone(), reason: format!("{e:#}") };
    let import = quantized::import(package)?;
    let (model, engine, runs_on) = match QuantizedEngine::chosen(package, size, choice)? {
        Some(engine) => {
            let plan = engine.plan();
            let (steps, arena) = (plan.steps().len(), plan.arena_len());
            let name = engine.name();
            let line = format!("{name}: {steps} fused steps over an arena of {arena} bytes");
            (stock::typed(package, size)?, line, name)
        }
        None => {
            let model = stock::rewritten(package, size, choice)?;
            let parts: Vec<String> = stock::regions(&model).map(part).collect();
            let line = ["tract, operator by operator".to_owned()].into_iter().chain(parts);
            let line = line.collect::<Vec<_>>().join("; ");
            (model, line, "tract".to_owned())
        }
    };
    let model = model.into_decluttered().map_err(load)?;
    let mut layers = Vec::new();
    for id in model.eval_order().map_err(load)? {
        let node = model.node(id);
        if let Some(op) = node.op_as::<QuantizedRegion>() {
            let region = import.regions.iter().find(|region| region.operator() == node.name);
            layers.extend(region.into_iter().flat_map(|region| steps(op, region)));
        } else if !node.inputs.is_empty() && node.op.name() != "Const" {
            layers.push(layer(&model, node, &runs_on).map_err(load)?);
        }
    }
    Ok(Summary {
        size,
        engine,
        unfused: import.unfused.iter().map(ToString::to_string).collect(),
        parameters: layers.iter().map(|l| l.parameters).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        layers,
    })
}

/// A quantized part in a few words.
fn part(op: &QuantizedRegion) -> String {
    let plan = op.plan();
    let (steps, arena) = (plan.steps().len(), plan.arena_len());
    format!("a part by int8 {}: {steps} fused steps over an arena of {arena} bytes", plan.kernel())
}

/// An operator of tract.
fn layer(model: &TypedModel, node: &TypedNode, runs_on: &str) -> TractResult<Layer> {
    let inputs = model.node_input_facts(node.id)?;
    let costs = node.op.cost(&inputs)?;
    let counted: u64 = costs
        .iter()
        .filter(|(cost, _)| matches!(cost, Cost::FMA(_)))
        .map(|(_, count)| count.to_i64().unwrap_or(0).unsigned_abs())
        .sum();
    // tract counts nothing for a transposed convolution, whose every input value meets each of its channel's weights.
    let macs = if node.op.name() == "Deconv" { transposed_macs(&inputs) } else { counted };
    Ok(Layer {
        name: node.name.clone(),
        op: node.op.name().into_owned(),
        shape: node.outputs[0].fact.shape.as_concrete().map(<[usize]>::to_vec).unwrap_or_default(),
        parameters: parameters(&inputs),
        macs,
        runs_on: runs_on.to_owned(),
    })
}

/// Multiply-accumulates of a transposed convolution of one group: input pixels times weights.
fn transposed_macs(inputs: &[&TypedFact]) -> u64 {
    let volume = |fact: &TypedFact| fact.shape.as_concrete().map_or(0, |s| s.iter().product::<usize>());
    let pixels = inputs[0].shape.as_concrete().map_or(0, |s| s.iter().skip(2).product::<usize>());
    inputs.get(1).map_or(0, |weights| pixels as u64 * volume(weights) as u64)
}

/// The steps of a quantized part.
fn steps(op: &QuantizedRegion, region: &Region) -> impl Iterator<Item = Layer> {
    let plan = op.plan();
    plan.steps().iter().map(move |step| {
        let node = region.graph.nodes.iter().find(|node| node.name == step.name);
        Layer {
            name: step.name.clone(),
            op: step.kind.to_owned(),
            shape: [1].into_iter().chain(step.shape).collect(),
            parameters: node.map_or(0, |node| node.operation.parameters()),
            macs: step.macs,
            runs_on: format!("int8 {}", plan.kernel()),
        }
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
