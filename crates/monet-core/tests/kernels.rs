//! Every kernel that this CPU has against the scalar one, bit for bit.
//!
//! The tests are named after the kernels of the one list: `avx2::random_nets`,
//! `avx2::extreme_values`, `avx2::monet`. `MONET_CASES` says how many random nets each meets, for
//! runs under a slow watcher of memory or an emulator.
//!
//! A failure is made small before it is shown: the fewest nodes of the net and the smallest slice
//! that still differ, and of these the first value.

use std::fmt::Write as _;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use monet_core::{
    Activation, Convolution, Kernel, Node, Operation, Output, Plan, Quant, QuantGraph, Size,
    TensorId,
};
use monet_testing::{Random, nets, skip};

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for kernel in Kernel::ALL {
        if !kernel.is_available() {
            skip(&format!("this CPU lacks kernel {kernel}"));
            continue;
        }
        let mut add = |name: &str, test: fn(Kernel) -> Result<(), Failed>| {
            trials.push(Trial::test(format!("{kernel}::{name}"), move || test(kernel)));
        };
        add("random_nets", random_nets);
        add("extreme_values", extreme_values);
        add("last_bits", last_bits);
        add("monet", monet);
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Random nets that a kernel must compute alike.
fn cases() -> usize {
    std::env::var("MONET_CASES").map_or(400, |text| text.parse().expect("MONET_CASES is a number"))
}

fn random_nets(kernel: Kernel) -> Result<(), Failed> {
    let mut random = Random(20_210_729);
    (0..cases()).try_for_each(|_| {
        let (graph, [height, width]) = nets::any(&mut random);
        alike(kernel, &graph, Size::new(height, width), Values::Seed(random.next_u64()))
    })
}

fn extreme_values(kernel: Kernel) -> Result<(), Failed> {
    let mut random = Random(1980);
    (0..cases() / 4).try_for_each(|_| {
        let (graph, [height, width]) = nets::any(&mut random);
        let size = Size::new(height, width);
        alike(kernel, &graph, size, Values::All(0.0))?;
        alike(kernel, &graph, size, Values::All(255.0))
    })
}

/// Layers whose counts are their sums, so that the last bit of a sum shows: weights may be large,
/// and a bias makes the sums small where all inputs are 255, or few weights are not 0.
fn last_bits(kernel: Kernel) -> Result<(), Failed> {
    let mut random = Random(1509);
    (0..cases() / 8).try_for_each(|case| {
        let (cin, few) = ([16, 32, 48][case % 3], case % 2 == 1);
        let kernel_size = [3, 3, 4][case / 6 % 3];
        let (cout, own) = (16, cin * kernel_size * kernel_size);
        let mut weight = || match (few, random.below(own)) {
            (true, 6..) => 0,
            (true, _) => random.below(3) as i8 - 1,
            (false, _) => random.next_u64() as i8 >> 2,
        };
        let weights: Vec<i8> = (0..cout * own).map(|_| weight()).collect();
        let centre = |own: &[i8]| -255 * own.iter().map(|&w| i32::from(w)).sum::<i32>();
        let bias = weights.chunks(own).map(|own| if few { 0 } else { centre(own) }).collect();
        let mut graph = QuantGraph::new(cin, Quant { scale: 1.0, zero_point: 0 });
        let output = graph.tensor(cout, Quant { scale: 1.0, zero_point: 128 });
        let conv = Convolution {
            cout,
            kernel: [kernel_size; 2],
            stride: [kernel_size - 2; 2],
            weights,
            scales: vec![1.0; cout],
            bias,
            ..Convolution::default()
        };
        let inputs = vec![TensorId(0)];
        let layer = Operation::Convolve { inputs, conv, activation: Activation::Linear, output };
        graph.push("layer", layer);
        graph.push("counts", Operation::Dequantize { input: output });
        graph.output = Output::Identity;
        let size = Size::new(8 + random.below(10), 8 + random.below(10));
        let values = if few { Values::Seed(random.next_u64()) } else { Values::All(255.0) };
        Plan::new(&graph, size, kernel).expect("such a layer has a plan");
        alike(kernel, &graph, size, values)
    })
}

fn monet(kernel: Kernel) -> Result<(), Failed> {
    alike(kernel, &nets::monet(1), Size::new(32, 40), Values::Seed(3))
}

/// What the input's counts are.
#[derive(Debug, Clone, Copy)]
enum Values {
    All(f32),
    Seed(u64),
}

/// A net that a kernel computes as the scalar one does, or what differs.
fn alike(kernel: Kernel, graph: &QuantGraph, size: Size, values: Values) -> Result<(), Failed> {
    if difference(kernel, graph, size, values).is_none() {
        return Ok(());
    }
    let (graph, size) = smallest(kernel, graph, size, values);
    let found = difference(kernel, &graph, size, values).expect("what was kept differs");
    let mut text = format!("kernel {kernel} differs from scalar, {size}, {values:?}: {found}\n");
    for Node { name, operation } in &graph.nodes {
        let shape = format!("{operation:.0?}");
        let end = shape.find("weights").unwrap_or(shape.len()).min(200);
        writeln!(text, "  {name}: {}", &shape[..end]).expect("memory takes it");
    }
    Err(text.into())
}

/// The net cut behind its first node that differs, over the smallest slice that still does.
fn smallest(kernel: Kernel, graph: &QuantGraph, size: Size, values: Values) -> (QuantGraph, Size) {
    let differs = |graph: &QuantGraph, size| difference(kernel, graph, size, values).is_some();
    let cut = (1..=graph.nodes.len()).filter_map(|nodes| cut(graph, nodes));
    let graph = cut.into_iter().find(|cut| differs(cut, size)).unwrap_or_else(|| graph.clone());
    let mut size = size;
    loop {
        let Size { height, width } = size;
        let smaller = [
            Size::new(height.div_ceil(2), width),
            Size::new(height, width.div_ceil(2)),
            Size::new(height.max(2) - 1, width),
            Size::new(height, width.max(2) - 1),
        ];
        match smaller.into_iter().find(|&other| other != size && differs(&graph, other)) {
            Some(other) => size = other,
            None => return (graph, size),
        }
    }
}

/// The first nodes of a net, the last one's counts as its result.
fn cut(graph: &QuantGraph, nodes: usize) -> Option<QuantGraph> {
    let output = graph.nodes[nodes - 1].operation.output()?;
    let mut cut = QuantGraph { nodes: graph.nodes[..nodes].to_vec(), ..graph.clone() };
    cut.push("cut", Operation::Dequantize { input: output });
    cut.output = Output::Identity;
    Some(cut)
}

/// The first value in which a kernel's result differs; none too where there is no plan.
fn difference(kernel: Kernel, graph: &QuantGraph, size: Size, values: Values) -> Option<String> {
    let input = input(graph, size, values);
    let (want, classes) = logits(Kernel::Scalar, graph, size, &input, 0)?;
    let (got, _) = logits(kernel, graph, size, &input, 0xa5)?;
    let first = (0..want.len()).find(|&i| want[i].to_bits() != got[i].to_bits())?;
    let count = (0..want.len()).filter(|&i| want[i].to_bits() != got[i].to_bits()).count();
    let plane = want.len() / classes;
    let width = Plan::new(graph, size, kernel).ok()?.output_size().width;
    let [channel, y, x] = [first / plane, first % plane / width, first % plane % width];
    Some(format!(
        "first at channel {channel}, row {y}, column {x}: {} in place of {} ({count} of {} differ)",
        got[first],
        want[first],
        want.len()
    ))
}

fn input(graph: &QuantGraph, size: Size, values: Values) -> Vec<f32> {
    let quant = graph.tensors[0].quant;
    let mut random = Random(match values {
        Values::Seed(seed) => seed,
        Values::All(_) => 0,
    });
    let mut count = || match values {
        Values::All(count) => count,
        Values::Seed(_) => 256.0 * random.unit(),
    };
    (0..graph.tensors[0].channels * size.area())
        .map(|_| (count() - f32::from(quant.zero_point)) * quant.scale)
        .collect()
}

/// Logits and their channels; `rubbish` is what the arena holds before.
fn logits(
    kernel: Kernel,
    graph: &QuantGraph,
    size: Size,
    input: &[f32],
    rubbish: u8,
) -> Option<(Vec<f32>, usize)> {
    let plan = Plan::new(graph, size, kernel).ok()?;
    let mut arena = vec![rubbish; plan.arena_len()];
    let mut out = vec![f32::NAN; plan.classes() * plan.output_size().area()];
    plan.run_probabilities(&mut arena, &[input], &mut out).expect("buffers of the plan's sizes");
    Some((out, plan.classes()))
}
