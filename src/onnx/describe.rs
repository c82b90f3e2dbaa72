//! The net of a package as layers: of an ONNX file its nodes as tract has them, of a plan its
//! steps.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Cost;

use super::engine::{contained, regions, rewritten, typed};
use super::region::QuantizedRegion;
use super::{EngineChoice, import, int8, load};
use crate::Size;
use crate::engine::describe::{outline, step};
use crate::engine::quantized::QuantizedEngine;
use crate::engine::{Engine, EngineError, Layer, Summary};
use crate::package::{Net, Package};

/// Describes a package's net for slices of this height and width, run by a kernel or the engine
/// chosen.
///
/// # Errors
/// [`EngineError`] but [`EngineError::Run`]
pub fn describe(
    package: &Package,
    size: Size,
    choice: impl Into<EngineChoice>,
) -> Result<Summary, EngineError> {
    let choice = choice.into();
    let int8 = int8(package, size, choice)?;
    if let (Net::Plan(_) | Net::Image(_), Some(engine)) = (&package.net, &int8) {
        return Ok(Summary::of_image(engine.planned()));
    }
    let (engine, layers) =
        contained(&package.origin, || nodes(package, size, choice, int8.as_ref()))?;
    let import = import(package)?;
    Ok(Summary {
        unfused: import.unfused.iter().map(ToString::to_string).collect(),
        rounded: import.rounded,
        ..Summary::new(size, engine, layers)
    })
}

/// The engine of an ONNX file in words, and the file's nodes as layers. A part that the int8 engine
/// runs among tract's operators contributes the steps of its plan.
fn nodes(
    package: &Package,
    size: Size,
    choice: EngineChoice,
    int8: Option<&QuantizedEngine>,
) -> Result<(String, Vec<Layer>), EngineError> {
    let load = load(package);
    let (model, engine, runs_on) = match int8 {
        Some(engine) => {
            let name = engine.name();
            (typed(package, size)?, format!("{name}: {}", outline(engine.planned())), name)
        }
        None => {
            let model = rewritten(package, size, choice)?;
            let part = |op: &QuantizedRegion| {
                format!("a part by int8 {}: {}", op.plan().kernel(), outline(op.plan()))
            };
            let parts = regions(&model).map(part);
            let line = ["tract, operator by operator".to_owned()].into_iter().chain(parts);
            let line = line.collect::<Vec<_>>().join("; ");
            (model, line, "tract".to_owned())
        }
    };
    let model = model.into_decluttered().map_err(&load)?;
    let mut layers = Vec::new();
    // Tract leaves large weights unfolded: a node that reads constants alone makes a weight and is
    // no layer.
    let mut constant = vec![false; model.nodes.len()];
    for id in model.eval_order().map_err(&load)? {
        let node = model.node(id);
        if let Some(op) = node.op_as::<QuantizedRegion>() {
            let name = format!("int8 {}", op.plan().kernel());
            layers.extend(op.plan().steps().map(|info| step(&info, &name)));
            continue;
        }
        let own: Vec<bool> = node.inputs.iter().map(|input| constant[input.node]).collect();
        constant[id] = node.op.name() == "Const" || (!own.is_empty() && own.iter().all(|c| *c));
        if !constant[id] && !own.is_empty() {
            layers.push(layer(&model, node, &own, &runs_on).map_err(&load)?);
        }
    }
    Ok((engine, layers))
}

/// An operator of tract, and which of its inputs are constant.
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
        // Tract counts nothing for a transposed convolution.
        "Deconv" => transposed_macs(&inputs),
        // Tract also counts the polynomials of activations. Those are no products with weights.
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

/// Multiply-accumulates of a transposed convolution of one group: every input pixel meets every
/// weight of its channel.
fn transposed_macs(inputs: &[&TypedFact]) -> u64 {
    let pixels = inputs[0].shape.as_concrete().map_or(0, |s| s.iter().skip(2).product::<usize>());
    inputs.get(1).map_or(0, |weights| pixels as u64 * volume(weights) as u64)
}

/// Values of an operation's constant inputs; scales and zero points are not counted.
fn parameters(inputs: &[&TypedFact], constant: &[bool]) -> usize {
    let constants = inputs.iter().zip(constant).filter(|(_, constant)| **constant);
    constants.map(|(fact, _)| volume(fact)).filter(|&n| n > 1).sum()
}

/// Values of a tensor.
fn volume(fact: &TypedFact) -> usize {
    fact.shape.as_concrete().map_or(0, |shape| shape.iter().product())
}
