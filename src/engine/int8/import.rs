//! Reads the quantized parts of an ONNX file into [`QuantGraph`]s.
//!
//! Walks the nodes in their order and recognises the QDQ form: a real-valued operation between DequantizeLinear and
//! QuantizeLinear becomes an integer one. Files of this project's trainer and of ONNX Runtime's `quantize_static` both
//! pass. A part has one input and one output: it opens with a QuantizeLinear and closes at a sigmoid or softmax, or before
//! a node that is not recognised, at the last tensor through which all goes that comes later. What lies outside is
//! named with its reason and stays with stock tract. Shapes of slices are not known here, nor is how tract runs the result.

use std::collections::{HashMap, HashSet};
use std::fmt;

use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tensor::load_tensor;

use super::graph::{Activation, Convolution, Node, Operation, Output, Pool, Quant, QuantGraph, Source};
use super::onnx::{argument, float, floats, four, has, int, integers, pair, text};
use super::requant::{self, table};

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
    pub fn operator(&self) -> String {
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
}

/// Finds the quantized parts of a file.
pub fn import(model: &pb::ModelProto) -> Import {
    let Some(graph) = &model.graph else { return Import::default() };
    let mut importer = Importer::new(graph);
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
        import.regions.extend(importer.close(&mut refused));
    }
    import.regions.extend(importer.close(&mut refused));
    refused.sort_by_key(|(i, _)| *i);
    let named = |(i, reason): (usize, String)| {
        let node = &graph.node[i];
        Unfused { node: node.name.clone(), op: node.op_type.clone(), reason }
    };
    import.unfused = refused.into_iter().map(named).collect();
    import
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
    Convolution {
        inputs: Vec<Source>,
        conv: Convolution,
        activation: Activation,
        transposed: bool,
    },
    Add([Source; 2]),
    /// A tensor times a single channel.
    Scale([Source; 2]),
    Pool(Source, Pool),
    Function(Source, Activation),
    /// Of what waits, or of the part's input, nothing above a real value.
    Cut(Option<Box<Pending>>, f32),
}

/// Where a part can end: nothing made before this tensor is read after it.
#[derive(Debug, Clone, Copy)]
struct Cut<'a> {
    name: &'a str,
    /// The node that makes it.
    node: usize,
    /// Nodes and tensors of the graph up to it.
    len: [usize; 2],
}

struct Importer<'a> {
    constants: HashMap<&'a str, &'a pb::TensorProto>,
    readers: HashMap<&'a str, usize>,
    /// The last node that reads a tensor; none after a result of the file.
    last_reader: HashMap<&'a str, usize>,
    /// Tensors that are quantized, at once or behind a minimum.
    inner: HashSet<&'a str>,
    /// Of the part that is open, and of all weights.
    values: HashMap<&'a str, Value>,
    graph: QuantGraph,
    input: Option<&'a str>,
    output: Option<&'a str>,
    /// Nodes of the file that it consists of.
    nodes: Vec<usize>,
    /// The last node that reads any of its tensors.
    reach: usize,
    cut: Option<Cut<'a>>,
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
        let (mut readers, mut last_reader) = (HashMap::new(), HashMap::new());
        let outputs = graph.output.iter().map(|o| (usize::MAX, o.name.as_str()));
        let inputs =
            graph.node.iter().enumerate().flat_map(|(i, n)| n.input.iter().map(move |t| (i, t.as_str())));
        for (i, name) in inputs.chain(outputs) {
            *readers.entry(name).or_insert(0) += 1;
            last_reader.insert(name, i);
        }
        let quantizers = graph.node.iter().filter(|n| matches!(n.op_type.as_str(), "QuantizeLinear" | "Min"));
        Self {
            inner: quantizers.flat_map(|n| &n.input).map(String::as_str).collect(),
            constants: constants.chain(inline).collect(),
            readers,
            last_reader,
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
        node.input
            .iter()
            .any(|name| self.values.get(name.as_str()).is_some_and(|v| !matches!(v, Value::Weights(_))))
    }

    /// Ends the open part where it can end; its further nodes are refused.
    fn close(&mut self, refused: &mut Vec<(usize, String)>) -> Option<Region> {
        let mut graph = std::mem::replace(&mut self.graph, empty());
        let (input, output) = (self.input.take(), self.output.take());
        let (cut, nodes) = (self.cut.take(), std::mem::take(&mut self.nodes));
        self.reach = 0;
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
            None => "no convolution stands between the first and the last tensor of a quantized part",
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
            // One that is quantized again weighs something inside the net.
            "Sigmoid" if !self.inner.contains(output.as_str()) => {
                self.head(index, node, output, Output::Sigmoid { threshold: 0.5 })?
            }
            "Softmax" if int(node, "axis", -1) == 1 => self.head(index, node, output, Output::Softmax)?,
            _ => {
                let value = match node.op_type.as_str() {
                    "QuantizeLinear" => self.quantize(node)?,
                    "DequantizeLinear" => self.dequantize(node)?,
                    "Conv" => self.convolution(node, false)?,
                    "ConvTranspose" => self.convolution(node, true)?,
                    "Elu" => self.activation(node, Activation::Elu { alpha: float(node, "alpha", 1.0) })?,
                    "Relu" => self.activation(node, Activation::Relu)?,
                    "Sigmoid" => self.activation(node, Activation::Sigmoid)?,
                    "Add" => self.add(node)?,
                    "Mul" => self.scale(node)?,
                    "Concat" => self.concat(node)?,
                    "MaxPool" => self.pool(node)?,
                    "Min" => self.minimum(node)?,
                    _ => return Err("this operator has no integer form here".into()),
                };
                self.keep(index, output, value);
            }
        }
        Ok(())
    }

    /// Notes what a node makes, and whether the part could end there.
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
            self.open(name)?;
            return Ok(Value::Counts(vec![self.begin(quant)]));
        }
        match self.value(node, 0)?.clone() {
            Value::Pending(pending) => Ok(Value::Counts(vec![self.settle(node, pending, quant)?])),
            Value::Reals(sources) => {
                let sources = sources.into_iter().map(|s| self.requantize(node, s, quant)).collect();
                Ok(Value::Counts(sources))
            }
            _ => Err(format!("its input \"{name}\" is not real-valued")),
        }
    }

    /// Takes a real-valued tensor for the input of a part.
    fn open(&mut self, name: &'a str) -> Outcome {
        if self.input.is_some() || self.constants.contains_key(name) {
            return Err(format!("a second input, \"{name}\", beside \"{}\"", self.input.unwrap_or_default()));
        }
        self.input = Some(name);
        Ok(())
    }

    /// The part's input as integers.
    fn begin(&mut self, quant: Quant) -> Source {
        // The first convolution will say how many channels there are.
        self.graph = QuantGraph { output: Output::Identity, ..QuantGraph::new(0, quant) };
        Source(0)
    }

    /// Turns a waiting operation into one with an integer result.
    fn settle(&mut self, node: &pb::NodeProto, pending: Pending, quant: Quant) -> Result<Source, String> {
        Ok(match pending {
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
            Pending::Scale(inputs) => {
                let output = self.graph.tensor(self.channels(inputs[0]), quant);
                self.graph.push(argument(node, 0)?, Operation::Scale { inputs, output });
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
            Pending::Cut(inner, most) => {
                let input = match inner {
                    Some(inner) => self.settle(node, *inner, quant)?,
                    None => self.begin(quant),
                };
                let top = requant::quantize(most, quant);
                if top == u8::MAX {
                    return Ok(input);
                }
                let table = Box::new(std::array::from_fn(|i| top.min(i as u8)));
                let output = self.graph.tensor(self.channels(input), quant);
                self.graph.push(node.name.as_str(), Operation::Lookup { input, table, output });
                output
            }
        })
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
        if let [input] = inputs[..]
            && self.channels(input) == 0
        {
            // It is the part's input, or that through a table.
            self.graph.tensors.iter_mut().filter(|t| t.channels == 0).for_each(|t| t.channels = cin);
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
            }) if !(transposed && activation == Activation::Sigmoid) => {
                Ok(Value::Pending(Pending::Convolution { inputs, conv, activation, transposed }))
            }
            Value::Reals(sources) if sources.len() == 1 => {
                Ok(Value::Pending(Pending::Function(sources[0], activation)))
            }
            _ => Err("stands neither behind a convolution nor behind a DequantizeLinear".into()),
        }
    }

    fn add(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        Ok(Value::Pending(Pending::Add([self.real(node, 0)?, self.real(node, 1)?])))
    }

    /// The product with a single channel, which may stand on either side.
    fn scale(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let inputs = [self.real(node, 0)?, self.real(node, 1)?];
        match inputs.map(|s| self.channels(s)) {
            // Channels of the part's input that no convolution has read yet are not known.
            [n, 1] if n > 0 => Ok(Value::Pending(Pending::Scale(inputs))),
            [1, n] if n > 0 => Ok(Value::Pending(Pending::Scale([inputs[1], inputs[0]]))),
            _ => Err("only the product with a tensor of a single channel is supported".into()),
        }
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

    /// The smaller of a constant and of what waits for its QuantizeLinear, or the part's input.
    fn minimum(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let constant = usize::from(!self.constants.contains_key(argument(node, 0)?));
        let name = argument(node, 1 - constant)?;
        let most = match floats(&self.constant(node, constant)?)?[..] {
            [most] if most.is_finite() && node.input.len() == 2 => most,
            _ => return Err("only the minimum of a tensor and one number is supported".into()),
        };
        if !self.values.contains_key(name) {
            self.open(name)?;
            return Ok(Value::Pending(Pending::Cut(None, most)));
        }
        match self.value(node, 1 - constant)?.clone() {
            Value::Pending(pending) => Ok(Value::Pending(Pending::Cut(Some(Box::new(pending)), most))),
            _ => Err("stands behind nothing that waits to be quantized".into()),
        }
    }

    /// Ends the quantized part.
    fn head(&mut self, index: usize, node: &'a pb::NodeProto, output: &'a str, kind: Output) -> Outcome {
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
        if self.reach > index {
            return Err("tensors from before it are needed after it".into());
        }
        self.graph.push(node.name.as_str(), operation);
        self.graph.output = kind;
        self.output = Some(output);
        Ok(())
    }
}

fn empty() -> QuantGraph {
    QuantGraph { tensors: Vec::new(), nodes: Vec::new(), output: Output::Identity }
}

/// Whether it multiplies, which is what makes a part worth taking.
fn convolves(node: &Node) -> bool {
    matches!(
        node.operation,
        Operation::Convolve { .. } | Operation::Transpose { .. } | Operation::Logits { .. }
    )
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Elu { alpha } if x < 0.0 => alpha * (requant::exp(x) - 1.0),
        Activation::Elu { .. } => x,
        Activation::Sigmoid => requant::sigmoid(x),
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
