//! Reads the quantized part of an ONNX file into a [`QuantGraph`].
//!
//! Walks the nodes in their order and recognises the QDQ form: a real-valued operation between DequantizeLinear and
//! QuantizeLinear becomes an integer one. Files of this project's trainer and of ONNX Runtime's `quantize_static` both
//! pass; what is not recognised is named with its reason, and then the whole net stays with stock tract. Shapes of
//! slices are not known here, nor is how tract runs the result.

use std::collections::HashMap;
use std::fmt;

use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tensor::load_tensor;

use super::graph::{Activation, Convolution, Operation, Output, Pool, Quant, QuantGraph, Source};
use super::requant::table;

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

/// The quantized part of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// What it computes.
    pub graph: QuantGraph,
    /// The real-valued tensor that it reads.
    pub input: String,
    /// The real-valued tensor that it makes.
    pub output: String,
    /// Nodes before and after it, which stay with tract.
    pub unfused: Vec<Unfused>,
}

/// Finds the quantized part of a file.
///
/// # Errors
/// The nodes that stand in the way, where there is no such part.
pub fn import(model: &pb::ModelProto) -> Result<Import, Vec<Unfused>> {
    let Some(graph) = &model.graph else {
        return Err(vec![Unfused { node: String::new(), op: "Model".into(), reason: "has no graph".into() }]);
    };
    let mut importer = Importer::new(graph);
    let mut unfused = Vec::new();
    for node in &graph.node {
        if let Err(reason) = importer.node(node) {
            unfused.push(Unfused { node: node.name.clone(), op: node.op_type.clone(), reason });
        }
    }
    importer.finish(graph, unfused)
}

/// What a tensor of the file is for the engine.
#[derive(Debug, Clone)]
enum Value {
    /// Integer tensors side by side: a QuantizeLinear's result.
    Counts(Vec<Source>),
    /// Their real values: a DequantizeLinear's or Concat's result.
    Reals(Vec<Source>),
    /// Dequantized weights or biases.
    Weights(Weights),
    /// A real-valued result that waits for its QuantizeLinear.
    Pending(Pending),
}

#[derive(Debug, Clone)]
struct Weights {
    values: Vec<i32>,
    shape: Vec<usize>,
    scales: Vec<f32>,
}

#[derive(Debug, Clone)]
enum Pending {
    Convolution { inputs: Vec<Source>, conv: Convolution, activation: Activation, transposed: bool },
    Add([Source; 2]),
    Pool(Source, Pool),
    Function(Source, Activation),
}

struct Importer<'a> {
    constants: HashMap<&'a str, &'a pb::TensorProto>,
    values: HashMap<&'a str, Value>,
    readers: HashMap<&'a str, usize>,
    graph: QuantGraph,
    input: Option<&'a str>,
    output: Option<&'a str>,
}

type Outcome = Result<(), String>;

impl<'a> Importer<'a> {
    fn new(graph: &'a pb::GraphProto) -> Self {
        let constants = graph.initializer.iter().map(|t| (t.name.as_str(), t));
        let nodes = graph.node.iter().filter(|n| n.op_type == "Constant");
        let inline = nodes.filter_map(|n| {
            let value = n.attribute.iter().find(|a| a.name == "value")?.t.as_ref()?;
            Some((n.output.first()?.as_str(), value))
        });
        let mut readers = HashMap::new();
        let outputs = graph.output.iter().map(|o| o.name.as_str());
        for name in graph.node.iter().flat_map(|n| n.input.iter().map(String::as_str)).chain(outputs) {
            *readers.entry(name).or_insert(0) += 1;
        }
        Self {
            constants: constants.chain(inline).collect(),
            values: HashMap::new(),
            readers,
            graph: QuantGraph { tensors: Vec::new(), nodes: Vec::new(), output: Output::Identity },
            input: None,
            output: None,
        }
    }

    fn finish(mut self, graph: &pb::GraphProto, mut unfused: Vec<Unfused>) -> Result<Import, Vec<Unfused>> {
        let open = self.values.iter().find_map(|(name, value)| match value {
            Value::Pending(Pending::Convolution {
                inputs,
                conv,
                activation: Activation::Linear,
                transposed: false,
            }) if graph.output.iter().any(|o| o.name == *name) => Some((*name, inputs.clone(), conv.clone())),
            _ => None,
        });
        if let (None, Some((name, inputs, conv))) = (self.output, open) {
            self.graph.push(name, Operation::Logits { inputs, conv });
            self.output = Some(name);
        }
        match (self.input, self.output) {
            (Some(input), Some(output)) => {
                Ok(Import { graph: self.graph, input: input.into(), output: output.into(), unfused })
            }
            _ => {
                if unfused.is_empty() {
                    let reason =
                        "no quantized part from a QuantizeLinear to a last convolution, sigmoid or softmax";
                    unfused.push(Unfused {
                        node: graph.name.clone(),
                        op: "Graph".into(),
                        reason: reason.into(),
                    });
                }
                Err(unfused)
            }
        }
    }

    fn node(&mut self, node: &'a pb::NodeProto) -> Outcome {
        let [output] = &node.output[..] else { return Err("has not exactly one output".into()) };
        if self.output.is_some() {
            return if node.op_type == "Constant" {
                Ok(())
            } else {
                Err("comes after the quantized part".into())
            };
        }
        let value = match node.op_type.as_str() {
            "Constant" => return Ok(()),
            "QuantizeLinear" => self.quantize(node)?,
            "DequantizeLinear" => self.dequantize(node)?,
            "Conv" => self.convolution(node, false)?,
            "ConvTranspose" => self.convolution(node, true)?,
            "Elu" => self.activation(node, Activation::Elu { alpha: float(node, "alpha", 1.0) })?,
            "Relu" => self.activation(node, Activation::Relu)?,
            "Add" => self.add(node)?,
            "Concat" => self.concat(node)?,
            "MaxPool" => self.pool(node)?,
            "Sigmoid" => return self.head(node, output, Output::Sigmoid { threshold: 0.5 }),
            "Softmax" if int(node, "axis", -1) == 1 => return self.head(node, output, Output::Softmax),
            _ => return Err("this operator has no integer form here".into()),
        };
        self.values.insert(output, value);
        Ok(())
    }

    /// The value of the i-th input.
    fn value(&self, node: &'a pb::NodeProto, i: usize) -> Result<&Value, String> {
        let name = argument(node, i)?;
        let value = self.values.get(name).ok_or_else(|| format!("its input \"{name}\" is not quantized"))?;
        if matches!(value, Value::Pending(_)) && self.readers.get(name) != Some(&1) {
            return Err(format!("\"{name}\" is read elsewhere before it is quantized"));
        }
        Ok(value)
    }

    fn reals(&self, node: &'a pb::NodeProto, i: usize) -> Result<Vec<Source>, String> {
        match self.value(node, i)? {
            Value::Reals(sources) => Ok(sources.clone()),
            _ => Err(format!("its input \"{}\" does not come from a DequantizeLinear", argument(node, i)?)),
        }
    }

    fn real(&self, node: &'a pb::NodeProto, i: usize) -> Result<Source, String> {
        match self.reals(node, i)?[..] {
            [source] => Ok(source),
            _ => Err("reads a concatenation".into()),
        }
    }

    fn constant(&self, node: &'a pb::NodeProto, i: usize) -> Result<Tensor, String> {
        let name = argument(node, i)?;
        let proto =
            self.constants.get(name).ok_or_else(|| format!("its input \"{name}\" is not constant"))?;
        load_tensor(&MmapDataResolver, proto, None).map_err(|e| format!("\"{name}\" cannot be read: {e:#}"))
    }

    /// Scale and zero point of an activation. Signed counts are moved to unsigned ones.
    fn quant(&self, node: &'a pb::NodeProto) -> Result<Quant, String> {
        let scales = floats(&self.constant(node, 1)?)?;
        let zero_point = if node.input.len() > 2 {
            let tensor = self.constant(node, 2)?;
            let offset = if tensor.datum_type() == DatumType::I8 { 128 } else { 0 };
            integers(&tensor)?.first().map(|zero| zero + offset)
        } else {
            Some(0)
        };
        match (&scales[..], zero_point.map(u8::try_from)) {
            ([scale], Some(Ok(zero_point))) => Ok(Quant { scale: *scale, zero_point }),
            _ => Err("its scale and zero point are not one pair of 8 bits for the tensor".into()),
        }
    }

    fn quantize(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let quant = self.quant(node)?;
        let name = argument(node, 0)?;
        if !self.values.contains_key(name) {
            if self.input.is_some() || self.constants.contains_key(name) {
                return Err(format!(
                    "a second input, \"{name}\", beside \"{}\"",
                    self.input.unwrap_or_default()
                ));
            }
            self.input = Some(name);
            // The first convolution will say how many channels there are.
            self.graph = QuantGraph { output: Output::Identity, ..QuantGraph::new(0, quant) };
            return Ok(Value::Counts(vec![Source(0)]));
        }
        match self.value(node, 0)?.clone() {
            Value::Pending(pending) => self.settle(node, pending, quant),
            Value::Reals(sources) => {
                let sources = sources.into_iter().map(|s| self.requantize(node, s, quant)).collect();
                Ok(Value::Counts(sources))
            }
            _ => Err(format!("its input \"{name}\" is not real-valued")),
        }
    }

    /// Turns a waiting operation into one with an integer result.
    fn settle(&mut self, node: &pb::NodeProto, pending: Pending, quant: Quant) -> Result<Value, String> {
        let output = match pending {
            Pending::Convolution { inputs, conv, activation, transposed } => {
                let output = self.graph.tensor(conv.cout, quant);
                let operation = if transposed {
                    Operation::Transpose { inputs, conv, activation, output }
                } else {
                    Operation::Convolve { inputs, conv, activation, output }
                };
                self.graph.push(argument(node, 0)?, operation);
                output
            }
            Pending::Add(inputs) => {
                let output = self.graph.tensor(self.channels(inputs[0]), quant);
                self.graph.push(argument(node, 0)?, Operation::Add { inputs, output });
                output
            }
            Pending::Pool(input, pool) => {
                let own = self.graph.tensors[input.0].quant;
                let output = self.graph.tensor(self.channels(input), own);
                self.graph.push(argument(node, 0)?, Operation::MaxPool { input, pool, output });
                self.requantize(node, output, quant)
            }
            Pending::Function(input, activation) => {
                let own = self.graph.tensors[input.0].quant;
                let output = self.graph.tensor(self.channels(input), quant);
                let table = table(own, quant, |x| activate(activation, x));
                self.graph.push(argument(node, 0)?, Operation::Lookup { input, table, output });
                output
            }
        };
        Ok(Value::Counts(vec![output]))
    }

    fn channels(&self, source: Source) -> usize {
        self.graph.tensors[source.0].channels
    }

    /// The same real values as counts of another quantization.
    fn requantize(&mut self, node: &pb::NodeProto, input: Source, quant: Quant) -> Source {
        let own = self.graph.tensors[input.0].quant;
        if own == quant {
            return input;
        }
        let output = self.graph.tensor(self.channels(input), quant);
        self.graph
            .push(node.name.as_str(), Operation::Lookup { input, table: table(own, quant, |x| x), output });
        output
    }

    fn dequantize(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let name = argument(node, 0)?;
        if self.constants.contains_key(name) {
            let tensor = self.constant(node, 0)?;
            let scales = floats(&self.constant(node, 1)?)?;
            let zeros = if node.input.len() > 2 { integers(&self.constant(node, 2)?)? } else { Vec::new() };
            if !matches!(tensor.datum_type(), DatumType::I8 | DatumType::I32) || zeros.iter().any(|&z| z != 0)
            {
                return Err("its weights are not symmetric signed integers".into());
            }
            return Ok(Value::Weights(Weights {
                values: integers(&tensor)?,
                shape: tensor.shape().to_vec(),
                scales,
            }));
        }
        let quant = self.quant(node)?;
        match self.value(node, 0)? {
            Value::Counts(sources) if sources.iter().all(|s| self.graph.tensors[s.0].quant == quant) => {
                Ok(Value::Reals(sources.clone()))
            }
            Value::Counts(_) => Err("its scale or zero point is not its QuantizeLinear's".into()),
            _ => Err(format!("its input \"{name}\" is not an integer tensor")),
        }
    }

    fn convolution(&mut self, node: &'a pb::NodeProto, transposed: bool) -> Result<Value, String> {
        let mut inputs = self.reals(node, 0)?;
        if inputs.len() > 2 {
            return Err(format!("reads {} concatenated tensors, at most 2 are supported", inputs.len()));
        }
        let Value::Weights(weights) = self.value(node, 1)?.clone() else {
            return Err("its weights are not a dequantized constant".into());
        };
        let auto_pad = text(node, "auto_pad");
        if int(node, "group", 1) != 1 || !matches!(auto_pad, "" | "NOTSET") || weights.shape.len() != 4 {
            return Err("only ungrouped 2-D convolutions with explicit borders are supported".into());
        }
        if has(node, "output_shape") {
            return Err("output_shape is not supported; give pads".into());
        }
        let (cin, cout) = if transposed {
            (weights.shape[0], weights.shape[1])
        } else {
            (weights.shape[1], weights.shape[0])
        };
        if self.channels(Source(0)) == 0 && inputs == [Source(0)] {
            self.graph.tensors[0].channels = cin;
        }
        let found: usize = inputs.iter().map(|&s| self.channels(s)).sum();
        if found != cin {
            return Err(format!("its weights take {cin} channels, its input has {found}"));
        }
        self.unite(node, &mut inputs);
        let input = self.graph.tensors[inputs[0].0].quant.scale;
        let scales =
            per_channel(&weights.scales, cout).ok_or("its weight scales do not match its channels")?;
        let bias = self.bias(node, input, &scales)?;
        let conv = Convolution {
            cout,
            kernel: [weights.shape[2], weights.shape[3]],
            stride: pair(node, "strides", 1)?,
            dilation: pair(node, "dilations", 1)?,
            pads: four(node, "pads")?,
            output_padding: pair(node, "output_padding", 0)?,
            weights: output_first(&weights, transposed)?,
            scales,
            bias,
        };
        Ok(Value::Pending(Pending::Convolution { inputs, conv, activation: Activation::Linear, transposed }))
    }

    /// Gives concatenated inputs one quantization: the coarsest range that holds them all.
    fn unite(&mut self, node: &pb::NodeProto, inputs: &mut [Source]) {
        let quants: Vec<Quant> = inputs.iter().map(|s| self.graph.tensors[s.0].quant).collect();
        if quants.iter().all(|q| *q == quants[0]) {
            return;
        }
        let low = quants.iter().map(|q| f32::from(q.zero_point) * q.scale).fold(0.0, f32::max);
        let high = quants.iter().map(|q| f32::from(255 - q.zero_point) * q.scale).fold(0.0, f32::max);
        let scale = (low + high) / 255.0;
        let quant = Quant { scale, zero_point: (low / scale + 0.5) as u8 };
        for input in inputs {
            *input = self.requantize(node, *input, quant);
        }
    }

    /// The bias in units of the sums.
    fn bias(&self, node: &'a pb::NodeProto, input: f32, scales: &[f32]) -> Result<Vec<i32>, String> {
        if node.input.get(2).is_none_or(String::is_empty) {
            return Ok(vec![0; scales.len()]);
        }
        let name = argument(node, 2)?;
        let reals: Vec<f64> = match self.values.get(name) {
            Some(Value::Weights(w)) => {
                let own = per_channel(&w.scales, scales.len())
                    .ok_or("its bias scales do not match its channels")?;
                w.values.iter().zip(own).map(|(&v, s)| f64::from(v) * f64::from(s)).collect()
            }
            Some(_) => return Err("its bias is not constant".into()),
            None => floats(&self.constant(node, 2)?)?.into_iter().map(f64::from).collect(),
        };
        if reals.len() != scales.len() {
            return Err(format!("it has {} biases for {} channels", reals.len(), scales.len()));
        }
        // The cast saturates; the plan refuses sums beyond 32 bits.
        let counts =
            reals.iter().zip(scales).map(|(&b, &s)| (b / (f64::from(input) * f64::from(s))).round() as i32);
        Ok(counts.collect())
    }

    fn activation(&mut self, node: &'a pb::NodeProto, activation: Activation) -> Result<Value, String> {
        if let Activation::Elu { alpha } = activation
            && !(alpha > 0.0 && alpha < 100.0)
        {
            return Err(format!("alpha is {alpha}"));
        }
        match self.value(node, 0)?.clone() {
            Value::Pending(Pending::Convolution {
                inputs,
                conv,
                activation: Activation::Linear,
                transposed,
            }) => Ok(Value::Pending(Pending::Convolution { inputs, conv, activation, transposed })),
            Value::Reals(sources) if sources.len() == 1 => {
                Ok(Value::Pending(Pending::Function(sources[0], activation)))
            }
            _ => Err("stands neither behind a convolution nor behind a DequantizeLinear".into()),
        }
    }

    fn add(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        Ok(Value::Pending(Pending::Add([self.real(node, 0)?, self.real(node, 1)?])))
    }

    fn concat(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        if int(node, "axis", 0) != 1 {
            return Err("concatenates along another axis than the channels".into());
        }
        let parts: Result<Vec<_>, _> = (0..node.input.len()).map(|i| self.reals(node, i)).collect();
        Ok(Value::Reals(parts?.concat()))
    }

    fn pool(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let input = self.real(node, 0)?;
        let plain = matches!(text(node, "auto_pad"), "" | "NOTSET")
            && int(node, "ceil_mode", 0) == 0
            && pair(node, "dilations", 1)? == [1, 1];
        if !plain || !has(node, "kernel_shape") {
            return Err("only undilated windows with explicit borders are supported".into());
        }
        let pool = Pool {
            kernel: pair(node, "kernel_shape", 1)?,
            stride: pair(node, "strides", 1)?,
            pads: four(node, "pads")?,
        };
        Ok(Value::Pending(Pending::Pool(input, pool)))
    }

    /// Ends the quantized part.
    fn head(&mut self, node: &'a pb::NodeProto, output: &'a str, kind: Output) -> Outcome {
        let (operation, classes) = match self.value(node, 0)?.clone() {
            Value::Pending(Pending::Convolution {
                inputs,
                conv,
                activation: Activation::Linear,
                transposed: false,
            }) => {
                let classes = conv.cout;
                (Operation::Logits { inputs, conv }, classes)
            }
            Value::Reals(sources) if sources.len() == 1 => {
                (Operation::Dequantize { input: sources[0] }, self.channels(sources[0]))
            }
            _ => return Err("stands neither behind a convolution nor behind a DequantizeLinear".into()),
        };
        if matches!(kind, Output::Sigmoid { .. }) && classes != 1 {
            return Err(format!("a sigmoid over {classes} channels; exactly 1 is supported"));
        }
        self.graph.push(node.name.as_str(), operation);
        self.graph.output = kind;
        self.output = Some(output);
        Ok(())
    }
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Elu { alpha } if x < 0.0 => alpha * (super::requant::exp(x) - 1.0),
        Activation::Elu { .. } => x,
    }
}

/// Weights as `[cout][cin][ky][kx]`; transposed convolutions have the input channel first.
fn output_first(weights: &Weights, transposed: bool) -> Result<Vec<i8>, String> {
    let bytes: Result<Vec<i8>, _> = weights.values.iter().map(|&v| i8::try_from(v)).collect();
    let bytes = bytes.map_err(|_| "its weights are not 8-bit")?;
    if !transposed {
        return Ok(bytes);
    }
    let [cin, cout] = [weights.shape[0], weights.shape[1]];
    let window = weights.shape[2] * weights.shape[3];
    let mut out = Vec::with_capacity(bytes.len());
    for o in 0..cout {
        for i in 0..cin {
            out.extend_from_slice(&bytes[(i * cout + o) * window..][..window]);
        }
    }
    Ok(out)
}

fn per_channel(scales: &[f32], channels: usize) -> Option<Vec<f32>> {
    match scales {
        [scale] => Some(vec![*scale; channels]),
        _ if scales.len() == channels => Some(scales.to_vec()),
        _ => None,
    }
}

fn argument(node: &pb::NodeProto, i: usize) -> Result<&str, String> {
    node.input.get(i).map(String::as_str).filter(|s| !s.is_empty()).ok_or_else(|| format!("has no input {i}"))
}

fn attribute<'a>(node: &'a pb::NodeProto, name: &str) -> Option<&'a pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn has(node: &pb::NodeProto, name: &str) -> bool {
    attribute(node, name).is_some()
}

fn int(node: &pb::NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |a| a.i)
}

fn float(node: &pb::NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |a| a.f)
}

fn text<'a>(node: &'a pb::NodeProto, name: &str) -> &'a str {
    attribute(node, name).and_then(|a| str::from_utf8(&a.s).ok()).unwrap_or("")
}

fn sizes<const N: usize>(node: &pb::NodeProto, name: &str, default: usize) -> Result<[usize; N], String> {
    let Some(attribute) = attribute(node, name) else { return Ok([default; N]) };
    let sizes: Option<Vec<usize>> = attribute.ints.iter().map(|&i| usize::try_from(i).ok()).collect();
    sizes.and_then(|s| s.try_into().ok()).ok_or_else(|| format!("its {name} are {:?}", attribute.ints))
}

fn pair(node: &pb::NodeProto, name: &str, default: usize) -> Result<[usize; 2], String> {
    sizes(node, name, default)
}

fn four(node: &pb::NodeProto, name: &str) -> Result<[usize; 4], String> {
    sizes(node, name, 0)
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>, String> {
    let view = tensor.to_plain_array_view::<f32>().map_err(|_| "a scale or bias is not f32")?;
    Ok(view.iter().copied().collect())
}

fn integers(tensor: &Tensor) -> Result<Vec<i32>, String> {
    if let Ok(view) = tensor.to_plain_array_view::<i8>() {
        return Ok(view.iter().map(|&v| i32::from(v)).collect());
    }
    if let Ok(view) = tensor.to_plain_array_view::<u8>() {
        return Ok(view.iter().map(|&v| i32::from(v)).collect());
    }
    let view = tensor.to_plain_array_view::<i32>().map_err(|_| "an integer tensor is not of 8 or 32 bits")?;
    Ok(view.iter().copied().collect())
}
