//! From a network to an ONNX file: batch normalisation folded, in float or quantized (QDQ) form.
//!
//! Both forms come from one walk over the topology. In the quantized form a pair of QuantizeLinear
//! and DequantizeLinear stands where the device keeps an integer tensor: after the input, each
//! activation (or convolution without one), each sum, product and maximum; the two tensors that
//! meet in a concatenation share one scale, and a maximum keeps its input's. Weights are int8 per
//! output channel and symmetric, biases int32 at the product of the input's and the weight's scale.
//! A byte saturates at 255 of itself; where values have fewer bits, a Min before the pair cuts
//! them.

mod fold;
mod scales;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use monet::Size;
use prost::Message;
use tch::{Kind, Tensor};

pub use fold::{Folded, fold};
pub use scales::{Limits, Scale, Scales};

use crate::interpret::Interpreter;
use crate::net::{self, Net, Pass};
use crate::onnx::{Attribute, Graph, IR_VERSION, Model, OPSET, OperatorSet, ValueInfo};
use crate::topology::{Node, Op, Topology};
use writer::Writer;

/// Name of the file's input: `[n, channels, h, w]`, normalised slices.
pub const INPUT: &str = "image";
/// Name of the file's output: `[n, classes, h, w]`, probabilities.
pub const OUTPUT: &str = "probabilities";

/// The exported file may differ from the network by at most this.
const TOLERANCE: f64 = 1e-4;

/// Builds the file: float without `scales`; with them quantized.
///
/// # Errors
/// Where a scale is missing.
pub fn build(
    topology: &Topology,
    folded: &[Option<Folded>],
    scales: Option<&Scales>,
    note: &str,
) -> Result<Model> {
    let graph = Graph {
        name: "monet".into(),
        input: vec![ValueInfo::image(INPUT, topology.channels)],
        output: vec![ValueInfo::image(OUTPUT, topology.classes)],
        ..Graph::default()
    };
    let mut writer = Writer { graph, scales };
    let mut names: Vec<String> = Vec::with_capacity(topology.nodes.len());
    for (index, node) in topology.nodes.iter().enumerate() {
        let inputs: Vec<&str> = node.inputs.iter().map(|&i| names[i].as_str()).collect();
        let name = match (node.op, &folded[index]) {
            (Op::Input, _) => writer.quantize(index, INPUT)?,
            (Op::Conv(conv), Some(folded)) => {
                let scale = scale_of(topology, scales, node.inputs[0]);
                let mut out = writer.conv(&node.name, inputs[0], &conv, folded, scale)?;
                if let Some(operator) = conv.activation.operator() {
                    let active = value_name(topology, index);
                    writer.op(operator, &active, &[&out], vec![]);
                    out = active;
                }
                if index + 1 < topology.nodes.len() { writer.quantize(index, &out)? } else { out }
            }
            (Op::Conv(_), None) => unreachable!("fold covers every convolution"),
            // Nothing is dropped once trained.
            (Op::Drop, _) => inputs[0].to_owned(),
            (Op::Add | Op::Relu | Op::Scale, _) => {
                let operator = match node.op {
                    Op::Add => "Add",
                    Op::Relu => "Relu",
                    _ => "Mul",
                };
                writer.op(operator, &node.name, &inputs, vec![]);
                writer.quantize(index, &node.name)?
            }
            (Op::MaxPool, _) => {
                let square = |name| Attribute::ints(name, &[2, 2]);
                writer.op(
                    "MaxPool",
                    &node.name,
                    &inputs,
                    vec![square("kernel_shape"), square("strides")],
                );
                // A maximum of what was cut needs no cut.
                writer.pair(index, &node.name, &node.name)?
            }
            (Op::Concat, _) => {
                writer.op("Concat", &node.name, &inputs, vec![Attribute::int("axis", 1)]);
                node.name.clone()
            }
        };
        names.push(name);
    }
    let logits = names.pop().context("a topology has nodes")?;
    if topology.classes == 1 {
        writer.op("Sigmoid", OUTPUT, &[&logits], vec![]);
    } else {
        writer.op("Softmax", OUTPUT, &[&logits], vec![Attribute::int("axis", 1)]);
    }
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: "monet-train".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: note.into(),
        graph: Some(writer.graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    })
}

/// Name in the file of a node's real value, as it is before quantization.
#[must_use]
pub fn value_name(topology: &Topology, node: usize) -> String {
    let Node { name, op, .. } = &topology.nodes[node];
    match op {
        Op::Input => INPUT.to_owned(),
        Op::Conv(conv) => match conv.activation.operator() {
            Some(operator) => format!("{name}_{}", operator.to_lowercase()),
            None => name.clone(),
        },
        _ => name.clone(),
    }
}

/// Name in the file of a convolution's weight.
#[must_use]
pub fn weight_name(node: &str) -> String {
    format!("{node}_weight")
}

/// The scale in which a node's value reaches its readers: that of the integer tensor behind
/// dropouts and concatenations.
fn scale_of(topology: &Topology, scales: Option<&Scales>, node: usize) -> Option<Scale> {
    scales?.activations[holder(topology, node)]
}

/// The node that holds the integer tensor that a reader of `node` sees; of a concatenation the
/// first, as both share a scale.
#[must_use]
pub fn holder(topology: &Topology, node: usize) -> usize {
    match topology.nodes[node].op {
        Op::Drop | Op::Concat => holder(topology, topology.nodes[node].inputs[0]),
        _ => node,
    }
}

/// Writes a file and reads it back: what is checked and evaluated is what is on disk.
///
/// # Errors
/// Where the file cannot be written or does not read back.
pub fn write(model: &Model, path: &Path) -> Result<Vec<u8>> {
    let bytes = model.encode_to_vec();
    let part = path.with_extension("onnx.part");
    std::fs::write(&part, &bytes).with_context(|| part.display().to_string())?;
    std::fs::rename(&part, path).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

/// Largest absolute difference between the file's probabilities and the network's, over random
/// slices.
///
/// # Errors
/// Where it is above 1e-4, or the file cannot be run.
pub fn verify(net: &Net, bytes: &[u8], size: Size) -> Result<f64> {
    let device = net.device();
    tch::manual_seed(0);
    let shape = [4, net.topology.channels as i64, size.height as i64, size.width as i64];
    let x = Tensor::rand(shape, (Kind::Float, device));
    let expected = tch::no_grad(|| net::probabilities(&net.forward(&x, Pass::Inference)));
    let found = Interpreter::new(bytes, device)?.run(&x)?;
    let error = (found - expected).abs().max().double_value(&[]);
    ensure!(
        error <= TOLERANCE,
        "the exported file differs from the network by {error:.2e}, more than {TOLERANCE:.0e}"
    );
    Ok(error)
}
