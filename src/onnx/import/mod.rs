//! Reads the quantized parts of an ONNX file into [`QuantGraph`]s.
//!
//! The importer walks the nodes in order and recognises the QDQ form: a real-valued operation
//! between DequantizeLinear and QuantizeLinear becomes an integer one. Both this project's trainer
//! and ONNX Runtime's `quantize_static` write that form.
//!
//! - A *count* is a quantized value: an 8-bit integer that stands for
//!   `(count - zero point) * scale`.
//! - A result without a QuantizeLinear of its own *waits* for the next one. Where a reader takes
//!   real values instead, the importer quantizes the result in the range that it can reach.
//!   [`Import::rounded`] lists what is rounded so although the file does not round it.
//! - A part ([`Region`]) has one input and one output. It begins at a QuantizeLinear.
//! - A part ends at a sigmoid or softmax. Before an unknown operator it ends at the last tensor
//!   that is the only connection to everything after it.
//! - [`Import::unfused`] names each node outside, with the reason.
//!
//! This module does not know the size of slices, nor how tract runs the rest.

mod convolutions;
mod operators;
mod quantizers;
mod values;
mod weights;

use std::collections::{HashMap, HashSet};
use std::fmt;

use tract_onnx::pb;
use tract_onnx::prelude::Tensor;

use self::values::{Pending, Value};
use super::proto::{self, argument, float, int};
use monet_core::{Activation, Node, Operation, Output, QuantGraph, TensorId};

/// A node that the engine does not take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfused {
    /// Its name in the file.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for Unfused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\": {}", self.op, self.node, self.reason)
    }
}

/// A quantized part of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// What it computes.
    pub graph: QuantGraph,
    /// The real-valued tensor that it reads.
    pub input: String,
    /// The real-valued tensor that it makes.
    pub output: String,
}

impl Region {
    /// Name of the operator that stands in its place in tract.
    pub(super) fn operator(&self) -> String {
        format!("{}.quantized", self.output)
    }
}

/// What a file consists of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Import {
    /// The quantized parts, in the file's order.
    pub regions: Vec<Region>,
    /// All other nodes but constants, which stay with tract, in the file's order.
    pub unfused: Vec<Unfused>,
    /// What the parts round that the file does not, and how.
    pub rounded: Vec<String>,
}

/// Finds the quantized parts of a file.
pub(super) fn import(model: &pb::ModelProto) -> Import {
    let Some(graph) = &model.graph else { return Import::default() };
    let mut importer = Importer::new(graph, proto::opset(model));
    let mut import = Import::default();
    let mut refused = Vec::new();
    for (i, node) in graph.node.iter().enumerate() {
        let outcome = importer.node(i, node);
        let done = importer.output.is_some();
        if let Err(reason) = outcome {
            refused.push((i, reason));
            if !importer.reads(node) {
                continue;
            }
        } else if !done {
            continue;
        }
        importer.close_into(&mut import, &mut refused);
    }
    importer.close_into(&mut import, &mut refused);
    refused.sort_by_key(|(i, _)| *i);
    let named = |(i, reason): (usize, String)| {
        let node = &graph.node[i];
        Unfused { node: node.name.clone(), op: node.op_type.clone(), reason }
    };
    import.unfused = refused.into_iter().map(named).collect();
    import
}

/// A tensor at which a part can end: no later node reads an earlier tensor.
#[derive(Debug, Clone, Copy)]
struct Cut<'a> {
    name: &'a str,
    /// The node that makes it.
    node: usize,
    /// Number of nodes and tensors of the graph up to it.
    len: [usize; 2],
}

struct Importer<'a> {
    constants: HashMap<&'a str, &'a pb::TensorProto>,
    readers: HashMap<&'a str, usize>,
    /// The last node that reads a tensor; none after a result of the file.
    last_reader: HashMap<&'a str, usize>,
    /// Tensors that an operator of [`CONTINUES`] reads.
    inner: HashSet<&'a str>,
    /// The first QuantizeLinear of each tensor that has one.
    quantizers: HashMap<&'a str, &'a pb::NodeProto>,
    opset: i64,
    /// Tensors of the open part, and all weights.
    values: HashMap<&'a str, Value>,
    /// Waiting tensors of the part that were quantized for a reader of real values.
    settled: HashMap<&'a str, Vec<TensorId>>,
    /// What the part rounds that the file does not.
    rounded: Vec<String>,
    graph: QuantGraph,
    input: Option<&'a str>,
    output: Option<&'a str>,
    /// Nodes of the file that the open part consists of.
    nodes: Vec<usize>,
    /// The last node that reads any tensor of the open part.
    reach: usize,
    cut: Option<Cut<'a>>,
}

/// Operators that a part can contain. A sigmoid whose result one of these reads does not end the
/// part.
const CONTINUES: [&str; 13] = [
    "QuantizeLinear",
    "Conv",
    "ConvTranspose",
    "Elu",
    "Relu",
    "LeakyRelu",
    "Sigmoid",
    "Add",
    "Mul",
    "Concat",
    "MaxPool",
    "Min",
    "Clip",
];

type Outcome = Result<(), String>;

impl<'a> Importer<'a> {
    fn new(graph: &'a pb::GraphProto, opset: i64) -> Self {
        let (mut readers, mut last_reader) = (HashMap::new(), HashMap::new());
        let outputs = graph.output.iter().map(|o| (usize::MAX, o.name.as_str()));
        let inputs = graph
            .node
            .iter()
            .enumerate()
            .flat_map(|(i, n)| n.input.iter().map(move |t| (i, t.as_str())));
        for (i, name) in inputs.chain(outputs) {
            *readers.entry(name).or_insert(0) += 1;
            last_reader.insert(name, i);
        }
        let quantizers = graph.node.iter().rev().filter(|n| n.op_type == "QuantizeLinear");
        let inner = graph.node.iter().filter(|n| CONTINUES.contains(&&*n.op_type));
        Self {
            inner: inner.flat_map(|n| &n.input).map(String::as_str).collect(),
            quantizers: quantizers.filter_map(|n| Some((n.input.first()?.as_str(), n))).collect(),
            constants: proto::constants(graph),
            readers,
            last_reader,
            opset,
            settled: HashMap::new(),
            rounded: Vec::new(),
            values: HashMap::new(),
            graph: empty(),
            input: None,
            output: None,
            nodes: Vec::new(),
            reach: 0,
            cut: None,
        }
    }

    /// Whether a node reads what the open part makes.
    fn reads(&self, node: &pb::NodeProto) -> bool {
        node.input.iter().any(|name| {
            self.values.get(name.as_str()).is_some_and(|v| !matches!(v, Value::Weights(_)))
        })
    }

    fn close_into(&mut self, import: &mut Import, refused: &mut Vec<(usize, String)>) {
        let region = self.close(refused);
        let rounded = std::mem::take(&mut self.rounded);
        if let Some(region) = region {
            import.regions.push(region);
            import.rounded.extend(rounded);
        }
    }

    /// Ends the open part where it can end; its further nodes are refused.
    fn close(&mut self, refused: &mut Vec<(usize, String)>) -> Option<Region> {
        let mut graph = std::mem::replace(&mut self.graph, empty());
        let (input, output) = (self.input.take(), self.output.take());
        let (cut, nodes) = (self.cut.take(), std::mem::take(&mut self.nodes));
        self.reach = 0;
        self.settled.clear();
        let output = output.map(|name| (name, usize::MAX)).or_else(|| {
            let Cut { name, node, len } = cut?;
            graph.nodes.truncate(len[0]);
            graph.tensors.truncate(len[1]);
            let operation = match self.values.get(name)? {
                Value::Reals(sources) => Operation::Dequantize { input: sources[0] },
                Value::Pending(Pending::Convolution { inputs, conv, .. }) => {
                    Operation::Logits { inputs: inputs.clone(), conv: conv.clone() }
                }
                _ => return None,
            };
            graph.push(name, operation);
            Some((name, node))
        });
        self.values.retain(|_, value| matches!(value, Value::Weights(_)));
        let (region, last) = match (input, output) {
            (Some(input), Some((output, last))) if graph.nodes.iter().any(convolves) => {
                (Some(Region { graph, input: input.into(), output: output.into() }), Some(last))
            }
            _ => (None, None),
        };
        let reason = match last {
            Some(_) => "lies behind the last tensor at which the quantized part can end",
            None => {
                "no convolution stands between the first and the last tensor of a quantized part"
            }
        };
        let outside = nodes.into_iter().filter(|&i| last.is_none_or(|last| i > last));
        refused.extend(outside.map(|i| (i, reason.to_owned())));
        region
    }

    fn node(&mut self, index: usize, node: &'a pb::NodeProto) -> Outcome {
        if node.op_type == "Constant" {
            return Ok(());
        }
        let [output] = &node.output[..] else { return Err("has not exactly one output".into()) };
        match node.op_type.as_str() {
            // A sigmoid that an operator of the part reads is a gate inside the net, not its end.
            "Sigmoid" if !self.inner.contains(output.as_str()) => {
                self.head(index, node, output, Output::Sigmoid { threshold: 0.5 })?
            }
            // Before opset 13 a softmax normalises over all channels and pixels together.
            "Softmax" if matches!(int(node, "axis", -1), 1 | -3) && self.opset >= 13 => {
                self.head(index, node, output, Output::Softmax)?
            }
            _ => {
                let value = match node.op_type.as_str() {
                    "QuantizeLinear" => self.quantize(node)?,
                    "DequantizeLinear" => self.dequantize(node)?,
                    "Conv" => self.convolution(node, false)?,
                    "ConvTranspose" => self.convolution(node, true)?,
                    "Elu" => {
                        self.activation(node, Activation::Elu { alpha: float(node, "alpha", 1.0) })?
                    }
                    "Relu" => self.activation(node, Activation::Relu)?,
                    "Sigmoid" => self.activation(node, Activation::Sigmoid)?,
                    "Add" => self.add(node)?,
                    "Mul" => self.scale(node)?,
                    "Concat" => self.concat(node)?,
                    "MaxPool" => self.pool(node)?,
                    "Min" => self.minimum(node)?,
                    "Clip" => self.clip(node)?,
                    "LeakyRelu" => self.leaky(node)?,
                    _ => return Err("this operator has no integer form here".into()),
                };
                self.keep(index, output, value);
            }
        }
        Ok(())
    }

    /// Records a node's result, and whether the part could end there.
    fn keep(&mut self, node: usize, name: &'a str, value: Value) {
        if !matches!(value, Value::Weights(_)) {
            let ends = match &value {
                Value::Reals(sources) => sources.len() == 1,
                Value::Pending(Pending::Convolution { activation, transposed, .. }) => {
                    *activation == Activation::Linear && !transposed
                }
                _ => false,
            };
            if ends && self.reach <= node {
                let len = [self.graph.nodes.len(), self.graph.tensors.len()];
                self.cut = Some(Cut { name, node, len });
            }
            self.nodes.push(node);
            self.reach = self.reach.max(self.last_reader.get(name).copied().unwrap_or(0));
        }
        self.values.insert(name, value);
    }

    /// The value of the i-th input.
    fn value(&self, node: &'a pb::NodeProto, i: usize) -> Result<&Value, String> {
        let name = argument(node, i)?;
        self.values.get(name).ok_or_else(|| format!("its input \"{name}\" is not quantized"))
    }

    fn sole_reader(&self, name: &str) -> bool {
        self.readers.get(name) == Some(&1)
    }

    /// The i-th input as real values of quantized tensors. A waiting input is quantized now.
    fn reals(&mut self, node: &'a pb::NodeProto, i: usize) -> Result<Vec<TensorId>, String> {
        let name = argument(node, i)?;
        match self.value(node, i)?.clone() {
            Value::Reals(sources) => Ok(sources),
            Value::Pending(pending) => self.settled(name, pending),
            _ => Err(format!("its input \"{name}\" does not come from a DequantizeLinear")),
        }
    }

    fn real(&mut self, node: &'a pb::NodeProto, i: usize) -> Result<TensorId, String> {
        match self.reals(node, i)?[..] {
            [source] => Ok(source),
            _ => Err("reads a concatenation".into()),
        }
    }

    fn constant(&self, node: &'a pb::NodeProto, i: usize) -> Result<Tensor, String> {
        let name = argument(node, i)?;
        let proto = self
            .constants
            .get(name)
            .ok_or_else(|| format!("its input \"{name}\" is not constant"))?;
        proto::load(proto)
    }

    /// Ends the quantized part.
    fn head(
        &mut self,
        index: usize,
        node: &'a pb::NodeProto,
        output: &'a str,
        kind: Output,
    ) -> Outcome {
        let (operation, classes) = match self.value(node, 0)?.clone() {
            Value::Pending(Pending::Convolution {
                inputs,
                conv,
                activation: Activation::Linear,
                transposed: false,
            }) if self.sole_reader(&node.input[0]) => {
                let classes = conv.cout;
                (Operation::Logits { inputs, conv }, classes)
            }
            Value::Reals(sources) if sources.len() == 1 => {
                (Operation::Dequantize { input: sources[0] }, self.channels(sources[0]))
            }
            _ => {
                return Err(
                    "stands neither behind a convolution nor behind a DequantizeLinear".into()
                );
            }
        };
        if matches!(kind, Output::Sigmoid { .. }) && classes != 1 {
            return Err(format!("a sigmoid over {classes} channels; exactly 1 is supported"));
        }
        if self.reach > index {
            return Err("tensors from before it are needed after it".into());
        }
        self.graph.push(node.name.as_str(), operation);
        self.graph.output = kind;
        self.output = Some(output);
        Ok(())
    }
}

/// A node for people.
fn described(node: &pb::NodeProto) -> String {
    format!("{} \"{}\"", node.op_type, node.name)
}

fn empty() -> QuantGraph {
    QuantGraph { tensors: Vec::new(), nodes: Vec::new(), output: Output::Identity }
}

/// Whether a node multiplies by weights. A part without such a node is not worth an engine.
fn convolves(node: &Node) -> bool {
    matches!(
        node.operation,
        Operation::Convolve { .. } | Operation::Transpose { .. } | Operation::Logits { .. }
    )
}
