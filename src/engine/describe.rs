//! What a net consists of: layers with shapes, parameters and multiply-accumulates, and what runs
//! them.

use serde::Serialize;
#[cfg(feature = "tract")]
use tract_onnx::prelude::*;
#[cfg(feature = "tract")]
use tract_onnx::tract_core::internal::Cost;

#[cfg(feature = "tract")]
use super::int8::QuantizedRegion;
use super::int8::{Plan, StepInfo};
#[cfg(feature = "tract")]
use super::stock;
use super::{Choice, Engine, EngineError, QuantizedEngine};
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
    /// What the int8 engine rounds that the file does not, and how.
    pub rounded: Vec<String>,
    /// Operations that compute; constants left out.
    pub layers: Vec<Layer>,
    /// Weights and biases of all.
    pub parameters: usize,
    /// Multiply-accumulates a slice of all.
    pub macs: u64,
}

/// Describes a package's net for slices of this height and width, run by a kernel or the engine
/// chosen: an ONNX file by its nodes, a plan by its steps.
///
/// # Errors
/// [`EngineError`] but [`EngineError::Run`]
pub fn describe(
    package: &Package,
    size: [usize; 2],
    choice: impl Into<Choice>,
) -> Result<Summary, EngineError> {
    let choice = choice.into();
    let int8 = QuantizedEngine::chosen(package, size, choice)?;
    let (engine, [unfused, rounded], layers) = match (&package.net, int8) {
        (Net::Plan(_), Some(engine)) => {
            let name = engine.name();
            let layers: Vec<Layer> =
                engine.plan().steps().map(|step| fused(&step, &name)).collect();
            (
                format!("{name}: {}", fused_steps(engine.plan())),
                <[Vec<String>; 2]>::default(),
                layers,
            )
        }
        #[cfg(feature = "tract")]
        (_, int8) => {
            let (engine, layers) =
                stock::contained(&package.origin, || nodes(package, size, choice, int8))?;
            let import = QuantizedEngine::import(package)?;
            let unfused = import.unfused.iter().map(ToString::to_string).collect();
            (engine, [unfused, import.rounded], layers)
        }
        #[cfg(not(feature = "tract"))]
        _ => return Err(EngineError::NeedsTract { origin: package.origin.clone() }),
    };
    Ok(Summary {
        size,
        engine,
        unfused,
        rounded,
        parameters: layers.iter().map(|l| l.parameters).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        layers,
    })
}

/// A plan in a few words.
fn fused_steps(plan: &Plan) -> String {
    format!("{} fused steps over an arena of {} bytes", plan.steps().len(), plan.arena_len())
}

/// A step of a plan.
fn fused(step: &StepInfo, runs_on: &str) -> Layer {
    Layer {
        name: step.name.into(),
        op: step.kind.to_owned(),
        shape: [1].into_iter().chain(step.shape).collect(),
        parameters: step.parameters,
        macs: step.macs,
        runs_on: runs_on.to_owned(),
    }
}

/// What runs an ONNX file, and its nodes; steps where the int8 engine stands among tract's
/// operators.
#[cfg(feature = "tract")]
fn nodes(
    package: &Package,
    size: [usize; 2],
    choice: Choice,
    int8: Option<QuantizedEngine>,
) -> Result<(String, Vec<Layer>), EngineError> {
    let load = |e: TractError| EngineError::Load {
        origin: package.origin.clone(),
        reason: format!("{e:#}"),
    };
    let (model, engine, runs_on) = match int8 {
        Some(engine) => {
            let name = engine.name();
            (stock::typed(package, size)?, format!("{name}: {}", fused_steps(engine.plan())), name)
        }
        None => {
            let model = stock::rewritten(package, size, choice)?;
            let part = |op: &QuantizedRegion| {
                format!("a part by int8 {}: {}", op.plan().kernel(), fused_steps(op.plan()))
            };
            let parts = stock::regions(&model).map(part);
            let line = ["tract, operator by operator".to_owned()].into_iter().chain(parts);
            let line = line.collect::<Vec<_>>().join("; ");
            (model, line, "tract".to_owned())
        }
    };
    let model = model.into_decluttered().map_err(load)?;
    let mut layers = Vec::new();
    // Weights beyond a size are not folded by tract: what makes them of constants alone is no
    // layer.
    let mut constant = vec![false; model.nodes.len()];
    for id in model.eval_order().map_err(load)? {
        let node = model.node(id);
        if let Some(op) = node.op_as::<QuantizedRegion>() {
            let name = format!("int8 {}", op.plan().kernel());
            layers.extend(op.plan().steps().map(|step| fused(&step, &name)));
            continue;
        }
        let own: Vec<bool> = node.inputs.iter().map(|input| constant[input.node]).collect();
        constant[id] = node.op.name() == "Const" || (!own.is_empty() && own.iter().all(|c| *c));
        if !constant[id] && !own.is_empty() {
            layers.push(layer(&model, node, &own, &runs_on).map_err(load)?);
        }
    }
    Ok((engine, layers))
}

/// An operator of tract, and which of its inputs are constant.
#[cfg(feature = "tract")]
fn layer(
    model: &TypedModel,
    node: &TypedNode,
    constant: &[bool],
    runs_on: &str,
) -> TractResult<Layer> {
    let inputs = model.node_input_facts(node.id)?;
    let costs = node.op.cost(&inputs)?;
    let counted: u64 = costs
        .iter()
        .filter(|(cost, _)| matches!(cost, Cost::FMA(_)))
        .map(|(_, count)| count.to_i64().unwrap_or(0).unsigned_abs())
        .sum();
    let macs = match &*node.op.name() {
        "Conv" | "EinSum" => counted,
        // tract counts nothing for a transposed convolution, whose every input value meets each of
        // its channel's weights.
        "Deconv" => transposed_macs(&inputs),
        // The polynomials of activations, which tract counts as well, are no products with weights.
        _ => 0,
    };
    Ok(Layer {
        name: node.name.clone(),
        op: node.op.name().into_owned(),
        shape: node.outputs[0].fact.shape.as_concrete().map(<[usize]>::to_vec).unwrap_or_default(),
        parameters: parameters(&inputs, constant),
        macs,
        runs_on: runs_on.to_owned(),
    })
}

/// Multiply-accumulates of a transposed convolution of one group: input pixels times weights.
#[cfg(feature = "tract")]
fn transposed_macs(inputs: &[&TypedFact]) -> u64 {
    let pixels = inputs[0].shape.as_concrete().map_or(0, |s| s.iter().skip(2).product::<usize>());
    inputs.get(1).map_or(0, |weights| pixels as u64 * volume(weights) as u64)
}

/// Values of an operation's constant inputs; scales and zero points are not counted.
#[cfg(feature = "tract")]
fn parameters(inputs: &[&TypedFact], constant: &[bool]) -> usize {
    let constants = inputs.iter().zip(constant).filter(|(_, constant)| **constant);
    constants.map(|(fact, _)| volume(fact)).filter(|&n| n > 1).sum()
}

/// Values of a tensor.
#[cfg(feature = "tract")]
fn volume(fact: &TypedFact) -> usize {
    fact.shape.as_concrete().map_or(0, |shape| shape.iter().product())
}
