//! From a network to an ONNX file: batch normalisation folded, in float or quantized (QDQ) form.
//!
//! Both forms come from one walk over the topology. In the quantized form a pair of QuantizeLinear
//! and DequantizeLinear stands where the device keeps an integer tensor: after the input, each
//! activation (or convolution without one), each sum, product and maximum; the two tensors that
//! meet in a concatenation share one scale, and a maximum keeps its input's. Weights are int8 per
//! output channel and symmetric, biases int32 at the product of the input's and the weight's scale.
//! A byte saturates at 255 of itself; where values have fewer bits, a Min before the pair cuts
//! them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use monet::Size;
use prost::Message;
use tch::{Device, Kind, Tensor};

use crate::interpret::Interpreter;
use crate::net::{self, BN_EPSILON, Block, Net, Norm, Pass};
use crate::onnx::{
    self, Attribute, Graph, INT8, IR_VERSION, Model, OPSET, OperatorSet, TensorProto, UINT8,
    ValueInfo,
};
use crate::topology::{Conv, Node, Op, Topology};

/// Name of the file's input: `[n, channels, h, w]`, normalised slices.
pub const INPUT: &str = "image";
/// Name of the file's output: `[n, classes, h, w]`, probabilities.
pub const OUTPUT: &str = "probabilities";

/// The exported file may differ from the network by at most this.
const TOLERANCE: f64 = 1e-4;

/// A convolution with batch normalisation folded into weight and bias.
#[derive(Debug, Clone)]
pub struct Folded {
    /// In the order of [`Conv::weight_shape`].
    pub weight: Vec<f32>,
    /// Per output channel.
    pub bias: Vec<f32>,
}

/// Scale and zero point of a tensor of unsigned bytes: value = scale · (byte - zero).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Positive.
    pub scale: f32,
    /// The byte that stands for 0.0.
    pub zero: u8,
}

impl Scale {
    /// The value that a byte stands for.
    #[must_use]
    pub fn value(self, byte: u8) -> f32 {
        self.scale * (f32::from(byte) - f32::from(self.zero))
    }
}

/// The largest integers in use. Kernels that add pairs of products in 16 bits, as AVX2's
/// `vpmaddubsw`, need 7 bits on one side: 2 · 255 · 63 and 2 · 127 · 127 just fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Values lie in 0 to this: 255 or 127.
    pub activation: u8,
    /// Weights lie within ± this: 127 or 63.
    pub weight: i8,
}

impl Limits {
    /// Of values and weights with 7 or 8 bits.
    #[must_use]
    pub fn bits(activation: u8, weight: u8) -> Self {
        Self { activation: u8::MAX >> (8 - activation), weight: i8::MAX >> (8 - weight) }
    }
}

/// What turns a network into integers.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// One per topology node that holds an integer tensor.
    pub activations: Vec<Option<Scale>>,
    /// The range of the integers.
    pub limits: Limits,
}

/// Folds every block, in f64.
///
/// # Errors
/// Those of tch.
pub fn fold(net: &Net) -> Result<Vec<Option<Folded>>> {
    let convs = net.topology.nodes.iter().zip(&net.blocks);
    convs
        .map(|(node, block)| match (node.op, block) {
            (Op::Conv(conv), Some(block)) => fold_block(&conv, block).map(Some),
            _ => Ok(None),
        })
        .collect()
}

fn fold_block(conv: &Conv, block: &Block) -> Result<Folded> {
    let double = |t: &Tensor| t.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    let mut weight = double(&block.weight);
    let mut bias = match &block.bias {
        Some(bias) => double(bias),
        None => Tensor::zeros([conv.outputs as i64], (Kind::Double, Device::Cpu)),
    };
    if let Some(Norm { gamma, beta, mean, var }) = &block.norm {
        let factor = double(gamma) / (double(var) + BN_EPSILON).sqrt();
        let shape = if conv.transposed { [1, -1, 1, 1] } else { [-1, 1, 1, 1] };
        weight *= factor.reshape(shape);
        bias = double(beta) + (bias - double(mean)) * factor;
    }
    let floats = |t: Tensor| Vec::<f32>::try_from(t.to_kind(Kind::Float).flatten(0, -1));
    Ok(Folded { weight: floats(weight)?, bias: floats(bias)? })
}

/// Output channel of each weight, in the weight's order.
fn output_channel(conv: &Conv, index: usize) -> usize {
    let taps = conv.kernel * conv.kernel;
    if conv.transposed { index / taps % conv.outputs } else { index / (taps * conv.inputs) }
}

/// Largest absolute weight of each output channel.
fn largest_weights(conv: &Conv, folded: &Folded) -> Vec<f32> {
    let mut most = vec![0f32; conv.outputs];
    for (i, w) in folded.weight.iter().enumerate() {
        let channel = &mut most[output_channel(conv, i)];
        *channel = channel.max(w.abs());
    }
    most
}

/// Writes a graph, one topology node after the other.
struct Writer<'a> {
    graph: Graph,
    scales: Option<&'a Scales>,
}

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

impl Writer<'_> {
    fn op(&mut self, op_type: &str, output: &str, inputs: &[&str], attribute: Vec<Attribute>) {
        let input = inputs.iter().map(|&i| i.to_owned()).collect();
        let node = onnx::Node {
            input,
            output: vec![output.into()],
            name: output.into(),
            op_type: op_type.into(),
            attribute,
        };
        self.graph.node.push(node);
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.graph.initializer.push(tensor);
        name
    }

    /// `value` as integers of the range in use: cut above where a byte's own range is not meant,
    /// then a Q/DQ pair; in the float form nothing.
    fn quantize(&mut self, node: usize, value: &str) -> Result<String> {
        let Some(Scales { activations, limits }) = self.scales else { return Ok(value.to_owned()) };
        let (Some(scale), true) = (activations[node], limits.activation < u8::MAX) else {
            return self.pair(node, value, value);
        };
        let most = self.constant(TensorProto::floats(
            &format!("{value}_most"),
            &[],
            &[scale.value(limits.activation)],
        ));
        let cut = format!("{value}_cut");
        self.op("Min", &cut, &[value, &most], vec![]);
        self.pair(node, value, &cut)
    }

    /// A Q/DQ pair behind `from`, under the name of `value`; in the float form nothing.
    fn pair(&mut self, node: usize, value: &str, from: &str) -> Result<String> {
        let Some(scales) = self.scales else { return Ok(value.to_owned()) };
        let Scale { scale, zero } =
            scales.activations[node].with_context(|| format!("no scale for {value}"))?;
        let scale = self.constant(TensorProto::floats(&format!("{value}_scale"), &[], &[scale]));
        let zero =
            self.constant(TensorProto::bytes(&format!("{value}_zero"), &[], UINT8, vec![zero]));
        let (q, dq) = (format!("{value}_q"), format!("{value}_dq"));
        self.op("QuantizeLinear", &q, &[from, &scale, &zero], vec![]);
        self.op("DequantizeLinear", &dq, &[&q, &scale, &zero], vec![]);
        Ok(dq)
    }

    /// The convolution with its weight and bias.
    fn conv(
        &mut self,
        name: &str,
        input: &str,
        conv: &Conv,
        folded: &Folded,
        scale: Option<Scale>,
    ) -> Result<String> {
        let (weight, bias) = match self.scales {
            None => {
                let weight =
                    TensorProto::floats(&weight_name(name), &conv.weight_shape(), &folded.weight);
                let bias = TensorProto::floats(
                    &format!("{name}_bias"),
                    &[conv.outputs as i64],
                    &folded.bias,
                );
                (self.constant(weight), self.constant(bias))
            }
            Some(Scales { limits, .. }) => {
                let scale = scale.with_context(|| format!("no scale for the input of {name}"))?;
                self.quantized_weights(name, conv, folded, scale, f32::from(limits.weight))
            }
        };
        let [k, p, s, d] =
            [conv.kernel, conv.padding(), conv.stride, conv.dilation].map(|v| v as i64);
        let attributes = vec![
            Attribute::ints("dilations", &[d, d]),
            Attribute::ints("kernel_shape", &[k, k]),
            Attribute::ints("pads", &[p, p, p, p]),
            Attribute::ints("strides", &[s, s]),
        ];
        let op = if conv.transposed { "ConvTranspose" } else { "Conv" };
        self.op(op, name, &[input, &weight, &bias], attributes);
        Ok(name.to_owned())
    }

    fn quantized_weights(
        &mut self,
        name: &str,
        conv: &Conv,
        folded: &Folded,
        input: Scale,
        limit: f32,
    ) -> (String, String) {
        let most = largest_weights(conv, folded);
        // A bias must fit 32 bits at its scale, and a channel of zeros must have one.
        let least = |bias: f32| bias.abs() / input.scale / (1 << 30) as f32;
        let scales: Vec<f32> = most
            .iter()
            .zip(&folded.bias)
            .map(|(m, &b)| (m / limit).max(least(b)).max(f32::MIN_POSITIVE / input.scale.min(1.0)))
            .collect();
        let quantized = folded.weight.iter().enumerate();
        let weight: Vec<u8> = quantized
            .map(|(i, w)| {
                (w / scales[output_channel(conv, i)]).round_ties_even().clamp(-limit, limit) as i8
                    as u8
            })
            .collect();
        let bias_scales: Vec<f32> = scales.iter().map(|s| s * input.scale).collect();
        let bias: Vec<i32> = folded
            .bias
            .iter()
            .zip(&bias_scales)
            .map(|(&b, &s)| (f64::from(b) / f64::from(s)).round_ties_even() as i32)
            .collect();
        let channels = [conv.outputs as i64];
        let axis = i64::from(conv.transposed);
        let dq = |writer: &mut Self,
                  part: &str,
                  values: TensorProto,
                  zero: TensorProto,
                  scales: &[f32],
                  axis: i64| {
            let values = writer.constant(values);
            let scales = writer.constant(TensorProto::floats(
                &format!("{name}_{part}_scale"),
                &channels,
                scales,
            ));
            let zero = writer.constant(zero);
            let out = format!("{name}_{part}_dq");
            writer.op(
                "DequantizeLinear",
                &out,
                &[&values, &scales, &zero],
                vec![Attribute::int("axis", axis)],
            );
            out
        };
        let values = TensorProto::bytes(&weight_name(name), &conv.weight_shape(), INT8, weight);
        let zero = TensorProto::bytes(
            &format!("{name}_weight_zero"),
            &channels,
            INT8,
            vec![0; conv.outputs],
        );
        let weight = dq(self, "weight", values, zero, &scales, axis);
        let values = TensorProto::integers(&format!("{name}_bias"), &channels, &bias);
        let zero =
            TensorProto::integers(&format!("{name}_bias_zero"), &channels, &vec![0; conv.outputs]);
        let bias = dq(self, "bias", values, zero, &bias_scales, 0);
        (weight, bias)
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

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::quantize::{self, Method};
    use crate::topology::Arch;

    /// A small net whose batch normalisation does something.
    fn net(classes: usize) -> Net {
        of(Arch::Monet, classes)
    }

    fn of(arch: Arch, classes: usize) -> Net {
        tch::manual_seed(3);
        let net = Net::new(arch.topology(2, classes, 4), Device::Cpu);
        let pass = Pass::Training { drop: 0.0, kind: Kind::Float };
        tch::no_grad(|| (0..20).for_each(|_| drop(net.forward(&slices(), pass))));
        net
    }

    fn every() -> impl Iterator<Item = (Arch, usize)> {
        Arch::value_variants().iter().flat_map(|&arch| [(arch, 1), (arch, 3)])
    }

    fn slices() -> Tensor {
        Tensor::rand([4, 2, 32, 48], (Kind::Float, Device::Cpu))
    }

    fn scales(net: &Net) -> Scales {
        narrowed(net, Limits::bits(8, 8))
    }

    fn narrowed(net: &Net, limits: Limits) -> Scales {
        quantize::calibrate(&net.topology, &fold(net).unwrap(), &[slices()], Method::Minmax, limits)
            .unwrap()
    }

    fn quantized(net: &Net) -> Model {
        let (folded, scales) = (fold(net).unwrap(), scales(net));
        build(&net.topology, &folded, Some(&scales), "").unwrap()
    }

    #[test]
    fn a_float_file_computes_what_the_network_computes() {
        for (arch, classes) in every() {
            let net = of(arch, classes);
            let model = build(&net.topology, &fold(&net).unwrap(), None, "").unwrap();
            assert!(verify(&net, &model.encode_to_vec(), Size::new(32, 48)).unwrap() < TOLERANCE);
        }
    }

    #[test]
    fn a_file_of_other_weights_is_refused() {
        let (net, other) = (net(3), Net::new(Topology::monet(2, 3, 4), Device::Cpu));
        let model = build(&other.topology, &fold(&other).unwrap(), None, "").unwrap();
        let error = verify(&net, &model.encode_to_vec(), Size::new(16, 24));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("differs from the network"), "{error}");
    }

    #[test]
    fn a_quantized_file_computes_nearly_what_the_network_computes() {
        for (arch, classes) in every() {
            let (net, x) = (of(arch, classes), slices());
            let found = Interpreter::new(&quantized(&net).encode_to_vec(), Device::Cpu)
                .unwrap()
                .run(&x)
                .unwrap();
            let expected = tch::no_grad(|| net::probabilities(&net.forward(&x, Pass::Inference)));
            let error = (found - expected).abs().mean(Kind::Float).double_value(&[]);
            assert!(error > 0.0 && error < 0.03, "{arch:?}: {error}");
        }
    }

    #[test]
    fn a_pair_stands_where_the_device_keeps_integers_and_nowhere_else() {
        for (arch, classes) in every() {
            let graph = quantized(&of(arch, classes)).graph.unwrap();
            let maker = |name: &str| {
                graph.node.iter().find(|n| n.output[0] == name).map_or("", |n| n.op_type.as_str())
            };
            for node in &graph.node {
                let from = maker(&node.input[0]);
                let expected: &[&str] = match node.op_type.as_str() {
                    "QuantizeLinear" => &[
                        "",
                        "Elu",
                        "Relu",
                        "Sigmoid",
                        "Add",
                        "Mul",
                        "MaxPool",
                        "Conv",
                        "ConvTranspose",
                    ],
                    "Elu" => &["Conv", "ConvTranspose"],
                    "Add" | "Mul" | "MaxPool" | "ConvTranspose" => &["DequantizeLinear"],
                    "Conv" => &["DequantizeLinear", "Concat"],
                    "Relu" => &["Conv", "DequantizeLinear"],
                    "Sigmoid" | "Softmax" => &["Conv"],
                    _ => continue,
                };
                assert!(expected.contains(&from), "{arch:?} {}: {from:?}", node.name);
            }
            let active = |name: &&str| matches!(maker(name), "Conv" | "ConvTranspose");
            let activated: Vec<&str> = graph
                .node
                .iter()
                .filter(|n| matches!(n.op_type.as_str(), "Elu" | "Relu" | "Sigmoid"))
                .map(|n| n.input[0].as_str())
                .filter(active)
                .collect();
            let split = graph.node.iter().find(|n| {
                n.op_type == "QuantizeLinear" && activated.contains(&n.input[0].as_str())
            });
            assert!(split.is_none(), "a pair between a convolution and its activation: {split:?}");
        }
    }

    #[test]
    fn weights_are_symmetric_and_scaled_by_output_channel() {
        let net = net(3);
        let mut narrow = scales(&net);
        narrow.limits = Limits::bits(8, 7);
        let folded = fold(&net).unwrap();
        let narrow = build(&net.topology, &folded, Some(&narrow), "").unwrap().graph.unwrap();
        let extremes = narrow.initializer.iter().filter(|t| t.data_type == INT8);
        assert!(extremes.flat_map(|t| &t.raw_data).all(|&b| (b as i8).abs() <= 63));

        let graph = quantized(&net).graph.unwrap();
        let tensor = |name: String| graph.initializer.iter().find(|t| t.name == name).unwrap();
        for (node, conv) in net.topology.convs() {
            let name = &net.topology.nodes[node].name;
            let weight = tensor(format!("{name}_weight"));
            assert!(
                weight.data_type == INT8 && weight.raw_data.iter().all(|&b| b as i8 != i8::MIN),
                "{name}"
            );
            assert_eq!(
                tensor(format!("{name}_weight_scale")).dims,
                [conv.outputs as i64],
                "{name}"
            );
            let node = graph.node.iter().find(|n| n.name == format!("{name}_weight_dq")).unwrap();
            assert_eq!(node.attribute[0].i, i64::from(conv.transposed), "{name}");
        }
    }

    /// The largest of all bytes that a file makes of the slices, and how many of its tensors reach
    /// it.
    fn largest_byte(file: &Model, x: &Tensor) -> (f64, usize) {
        let mut all = vec![];
        let interpreter = Interpreter::new(&file.encode_to_vec(), Device::Cpu).unwrap();
        let _ = interpreter.visit(x, |name, value| {
            if name.ends_with("_q") {
                all.push(value.max().double_value(&[]));
            }
            Ok(None)
        });
        let most = all.iter().copied().fold(0.0, f64::max);
        (most, all.iter().filter(|&&v| v == most).count())
    }

    #[test]
    fn values_of_seven_bits_are_cut_at_127_whatever_comes_and_scaled_for_it() {
        for (arch, classes) in every() {
            let (net, x) = (of(arch, classes), slices());
            let folded = fold(&net).unwrap();
            let mut scales = narrowed(&net, Limits::bits(7, 8));
            let file = |scales: &Scales| build(&net.topology, &folded, Some(scales), "").unwrap();

            let found = Interpreter::new(&file(&scales).encode_to_vec(), Device::Cpu)
                .unwrap()
                .run(&x)
                .unwrap();
            let expected = tch::no_grad(|| net::probabilities(&net.forward(&x, Pass::Inference)));
            let error = (found - expected).abs().mean(Kind::Float).double_value(&[]);
            assert!(error > 0.0 && error < 0.05, "{arch:?}: {error}");
            // How many tensors reach it is chance: other tests draw from torch's generator at the
            // same time.
            assert_eq!(largest_byte(&file(&scales), &x).0, 127.0, "{arch:?}");

            // Values far beyond what calibration saw.
            for scale in scales.activations.iter_mut().flatten() {
                scale.scale /= 3.0;
            }
            let (most, reached) = largest_byte(&file(&scales), &x);
            assert!(most == 127.0 && reached > 10, "{arch:?}: {most} in {reached}");
            scales.limits = Limits::bits(8, 8);
            assert!(largest_byte(&file(&scales), &x).0 > 127.0);
        }
    }

    #[test]
    fn bits_give_the_largest_integers() {
        assert_eq!(Limits::bits(8, 8), Limits { activation: 255, weight: 127 });
        assert_eq!(Limits::bits(7, 7), Limits { activation: 127, weight: 63 });
    }
}
