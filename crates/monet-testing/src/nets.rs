//! Nets with seeded random weights for tests and benches: MoNet itself, and small ones of every
//! shape.

use monet_core::{Activation, Convolution, Operation, Output, Pool, Quant, QuantGraph, TensorId};

use crate::Random;

/// What the weights are made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weights {
    /// Any from -127 to 127.
    Uniform,
    /// 127 everywhere.
    AllHighest,
    /// -128 everywhere.
    AllLowest,
}

/// A convolution whose sums have a spread of about 1 in real values.
pub fn conv(
    random: &mut Random,
    cin: usize,
    cout: usize,
    kernel: [usize; 2],
    fill: Weights,
    scale: f32,
) -> Convolution {
    let per = cin * kernel[0] * kernel[1];
    let weights = (0..per * cout)
        .map(|_| match fill {
            Weights::Uniform => (random.below(255) as i32 - 127) as i8,
            Weights::AllHighest => 127,
            Weights::AllLowest => -128,
        })
        .collect();
    let spread = (per as f32).sqrt() * 73.0 * 70.0;
    let scales = (0..cout).map(|_| (0.5 + random.unit()) / (spread * scale)).collect();
    let bias = (0..cout).map(|_| ((random.unit() - 0.5) * spread) as i32).collect();
    Convolution { cout, kernel, weights, scales, bias, ..Convolution::default() }
}

const ELU: Activation = Activation::Elu { alpha: 1.0 };
const QUANT: Quant = Quant { scale: 0.0235, zero_point: 43 };
const SUM: Quant = Quant { scale: 0.04, zero_point: 50 };

/// Builds nets of MoNet's layers.
struct Builder<'r> {
    graph: QuantGraph,
    random: &'r mut Random,
}

impl Builder<'_> {
    fn cbe(&mut self, inputs: &[TensorId], f: usize, k: usize, s: usize, d: usize) -> TensorId {
        let cin = inputs.iter().map(|t| self.graph.tensors[t.0].channels).sum();
        let scale = self.graph.tensors[inputs[0].0].quant.scale;
        let mut conv = conv(self.random, cin, f, [k, k], Weights::Uniform, scale);
        conv.stride = [s, s];
        conv.dilation = [d, d];
        conv.pads = [if s == 2 { 1 } else { d }; 4];
        let output = self.graph.tensor(f, QUANT);
        let name = format!("conv{}x{k}x{k}d{d}s{s}", self.graph.nodes.len());
        self.graph.push(
            name,
            Operation::Convolve { inputs: inputs.to_vec(), conv, activation: ELU, output },
        );
        output
    }

    fn add(&mut self, a: TensorId, b: TensorId, quant: Quant) -> TensorId {
        let output = self.graph.tensor(self.graph.tensors[a.0].channels, quant);
        self.graph.push(
            format!("add{}", self.graph.nodes.len()),
            Operation::Add { inputs: [a, b], output },
        );
        output
    }

    fn rddc(&mut self, x: TensorId) -> TensorId {
        let f = self.graph.tensors[x.0].channels;
        let c1 = self.cbe(&[x], f, 3, 1, 4);
        let sum = self.add(x, c1, SUM);
        let c2 = self.cbe(&[sum], f, 3, 1, 3);
        let c3 = self.cbe(&[c2], f, 3, 1, 2);
        let sum = self.add(c2, c3, SUM);
        self.cbe(&[sum], f, 3, 1, 1)
    }

    fn up(&mut self, x: TensorId, f: usize) -> TensorId {
        let cin = self.graph.tensors[x.0].channels;
        let mut conv = conv(self.random, cin, f, [4, 4], Weights::Uniform, QUANT.scale * 0.5);
        conv.stride = [2, 2];
        conv.pads = [1; 4];
        let output = self.graph.tensor(f, QUANT);
        let name = format!("up{}", self.graph.nodes.len());
        self.graph
            .push(name, Operation::Transpose { inputs: vec![x], conv, activation: ELU, output });
        output
    }
}

/// MoNet with random weights: one input channel, as many classes as asked for.
pub fn monet(classes: usize) -> QuantGraph {
    let graph = QuantGraph::new(1, Quant { scale: 1.0 / 255.0, zero_point: 0 });
    let mut net = Builder { graph, random: &mut Random(7) };
    let mut x = TensorId(0);
    let mut skips = Vec::new();
    for f in [16, 32] {
        x = net.cbe(&[x], f, 3, 1, 1);
        x = net.rddc(x);
        skips.push(x);
        x = net.cbe(&[x], f, 4, 2, 1);
    }
    x = net.cbe(&[x], 64, 3, 1, 1);
    x = net.rddc(x);
    for f in [32, 16] {
        x = net.up(x, net.graph.tensors[x.0].channels);
        let skip = skips.pop().expect("one skip per level");
        x = net.cbe(&[skip, x], f, 3, 1, 1);
        x = net.rddc(x);
    }
    let conv = conv(net.random, 16, classes, [1, 1], Weights::Uniform, QUANT.scale);
    net.graph.push("head", Operation::Logits { inputs: vec![x], conv });
    net.graph.output =
        if classes == 1 { Output::Sigmoid { threshold: 0.5 } } else { Output::Softmax };
    net.graph
}

/// One 3×3 convolution with ELU, and as little as possible around it.
pub fn layer(cin: usize, cout: usize, dilation: usize) -> QuantGraph {
    let mut graph = QuantGraph::new(cin, QUANT);
    let mut layer = conv(&mut Random(5), cin, cout, [3, 3], Weights::Uniform, QUANT.scale);
    layer.dilation = [dilation; 2];
    layer.pads = [dilation; 4];
    let output = graph.tensor(cout, QUANT);
    graph.push(
        "layer",
        Operation::Convolve { inputs: vec![TensorId(0)], conv: layer, activation: ELU, output },
    );
    let head = conv(&mut Random(6), cout, 1, [1, 1], Weights::Uniform, QUANT.scale);
    graph.push("head", Operation::Logits { inputs: vec![output], conv: head });
    graph.output = Output::Sigmoid { threshold: 0.5 };
    graph
}

/// A deep net of small layers, with a slice size: dilated windows, strides and transposed
/// convolutions, residuals, skips, tables and maxima in random order. Sizes that do not fit
/// together are possible: the planner refuses such a net.
pub fn deep(random: &mut Random) -> (QuantGraph, [usize; 2]) {
    let size = [4 * (1 + random.below(12)), 4 * (1 + random.below(5))];
    let graph = QuantGraph::new(random.pick(&[1, 3, 16]), QUANT);
    let mut net = Builder { graph, random };
    // The tensors that may be read again, with the times that their size was halved.
    let mut seen = vec![(TensorId(0), 0usize)];
    for i in 0..4 + net.random.below(12) {
        let &(x, level) = seen.last().expect("the input at least");
        let channels = net.graph.tensors[x.0].channels;
        let earlier = seen[..seen.len() - 1].iter().filter(|&&(_, l)| l == level);
        let earlier: Vec<TensorId> = earlier.map(|&(t, _)| t).collect();
        let cout = net.random.pick(&[16, 16, 32]);
        let dilation = 1 + net.random.below(4);
        seen.push(match net.random.below(10) {
            0 if level < 2 => (net.cbe(&[x], cout, 4, 2, 1), level + 1),
            1 | 2 if level > 0 => (net.up(x, cout), level - 1),
            3 | 4 if !earlier.is_empty() => {
                let mut inputs = [x, net.random.pick(&earlier)];
                inputs.swap(0, net.random.below(2));
                (net.cbe(&inputs, cout, 3, 1, 1), level)
            }
            5 | 6 if channels.is_multiple_of(16) => {
                let mid = net.cbe(&[x], channels, 3, 1, dilation);
                (net.add(x, mid, QUANT), level)
            }
            7 => {
                let table = Box::new([0; 256].map(|_: u8| net.random.next_u64() as u8));
                let output = net.graph.tensor(channels, QUANT);
                net.graph.push(format!("table{i}"), Operation::Lookup { input: x, table, output });
                (output, level)
            }
            8 => {
                let pool = Pool { kernel: [3, 3], stride: [1, 1], pads: [1; 4] };
                let output = net.graph.tensor(channels, QUANT);
                net.graph.push(format!("pool{i}"), Operation::MaxPool { input: x, pool, output });
                (output, level)
            }
            _ => (net.cbe(&[x], cout, 3, 1, dilation), level),
        });
    }
    let &(x, _) = seen.last().expect("the input at least");
    let cin = net.graph.tensors[x.0].channels;
    let conv = conv(net.random, cin, 3, [1, 1], Weights::Uniform, QUANT.scale);
    net.graph.push("head", Operation::Logits { inputs: vec![x], conv });
    net.graph.output = Output::Identity;
    (net.graph, size)
}

/// A small net that passes through one convolution of random shape, with everything that can
/// surround one.
pub fn any(random: &mut Random) -> (QuantGraph, [usize; 2]) {
    let channels = [1, 3, 4, 16, 17, 32, 48, 64, 96];
    let fill =
        random.pick(&[Weights::Uniform, Weights::Uniform, Weights::AllHighest, Weights::AllLowest]);
    let quant = |random: &mut Random| Quant {
        scale: random.pick(&[0.004, 0.0235, 0.05, 0.4]),
        zero_point: random.pick(&[0, 1, 43, 128, 255]),
    };
    let size = [1 + random.below(12), 1 + random.below(40)];
    let input = quant(random);
    let mut graph = QuantGraph::new(random.pick(&channels), input);
    let activation = random.pick(&[
        Activation::Linear,
        Activation::Relu,
        ELU,
        ELU,
        Activation::Elu { alpha: 0.7 },
    ]);
    let mut inputs = vec![TensorId(0)];
    if random.below(2) == 0 {
        let second = graph.tensor(random.pick(&channels[3..]), input);
        let cin = graph.tensors[0].channels;
        let conv = conv(random, cin, graph.tensors[second.0].channels, [1, 1], fill, input.scale);
        graph.push(
            "widen",
            Operation::Convolve { inputs: vec![TensorId(0)], conv, activation, output: second },
        );
        inputs.push(second);
        inputs.swap(0, random.below(2));
    }
    let cin = inputs.iter().map(|t| graph.tensors[t.0].channels).sum();
    let kernel = [1 + random.below(4), 1 + random.below(4)];
    let cout = random.pick(&channels);
    let mut layer = conv(random, cin, cout, kernel, fill, input.scale);
    layer.dilation = [1 + random.below(4), 1 + random.below(4)];
    layer.stride = [1 + random.below(3), 1 + random.below(3)];
    let output = quant(random);
    let out = graph.tensor(cout, output);
    if random.below(3) == 0 {
        layer.pads =
            [0, 1, 2, 3].map(|axis: usize| if kernel[axis % 2] > 2 { random.below(2) } else { 0 });
        layer.output_padding = [random.below(2), random.below(2)];
        graph.push("layer", Operation::Transpose { inputs, conv: layer, activation, output: out });
    } else {
        layer.pads = [0, 1, 2, 3].map(|axis: usize| {
            layer.dilation[axis % 2] * (kernel[axis % 2] - 1) / 2 + random.below(2)
        });
        for axis in 0..2 {
            let span = layer.dilation[axis] * (kernel[axis] - 1) + 1;
            let short = span.saturating_sub(size[axis] + layer.pads[axis] + layer.pads[axis + 2]);
            layer.pads[axis] += short;
        }
        graph.push("layer", Operation::Convolve { inputs, conv: layer, activation, output: out });
    }
    let last = after(random, &mut graph, out, activation, fill);
    graph.push("head", Operation::Dequantize { input: last });
    graph.output = Output::Identity;
    (graph, size)
}

/// What may follow: a residual block, a table, a maximum, a gate.
fn after(
    random: &mut Random,
    graph: &mut QuantGraph,
    x: TensorId,
    activation: Activation,
    fill: Weights,
) -> TensorId {
    let quant = graph.tensors[x.0].quant;
    let channels = graph.tensors[x.0].channels;
    let output = Quant {
        scale: quant.scale * random.pick(&[0.6, 1.0, 1.7]),
        zero_point: random.pick(&[0, 50, 255]),
    };
    match random.below(5) {
        0 => {
            let mid = graph.tensor(channels, quant);
            let mut layer = conv(random, channels, channels, [3, 3], fill, quant.scale);
            layer.pads = [1; 4];
            graph.push(
                "mid",
                Operation::Convolve { inputs: vec![x], conv: layer, activation, output: mid },
            );
            let sum = graph.tensor(channels, output);
            let inputs = if random.below(2) == 0 { [x, mid] } else { [mid, x] };
            graph.push("sum", Operation::Add { inputs, output: sum });
            sum
        }
        1 => {
            let table = Box::new([0; 256].map(|_: u8| random.next_u64() as u8));
            let out = graph.tensor(channels, output);
            graph.push("table", Operation::Lookup { input: x, table, output: out });
            out
        }
        2 => {
            let pool = Pool { kernel: [3, 3], stride: [1, 2], pads: [1; 4] };
            let out = graph.tensor(channels, quant);
            graph.push("pool", Operation::MaxPool { input: x, pool, output: out });
            out
        }
        3 => {
            let mask = graph.tensor(1, Quant { scale: 1.0 / 255.0, zero_point: 0 });
            let mut layer = conv(random, channels, 1, [3, 1], fill, quant.scale);
            layer.pads = [1, 0, 1, 0];
            let activation = Activation::Sigmoid;
            graph.push(
                "mask",
                Operation::Convolve { inputs: vec![x], conv: layer, activation, output: mask },
            );
            let out = graph.tensor(channels, output);
            graph.push("gate", Operation::Scale { inputs: [x, mask], output: out });
            out
        }
        _ => x,
    }
}
