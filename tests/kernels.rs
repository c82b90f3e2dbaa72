//! Every kernel that this CPU has against the scalar one, bit for bit, over random shapes and extreme values.

mod nets;

use monet::engine::int8::{Kernel, Plan, QuantGraph};
use nets::Random;

fn logits(graph: &QuantGraph, size: [usize; 2], kernel: Kernel, input: &[f32], rubbish: u8) -> Vec<u32> {
    let plan = Plan::new(graph, size[0], size[1], kernel).expect("a plan for a valid net");
    let mut arena = vec![rubbish; plan.arena_len()];
    let mut out = vec![f32::NAN; plan.classes() * plan.output_size().iter().product::<usize>()];
    plan.run_probabilities(&mut arena, input, &mut out).expect("buffers of the plan's sizes");
    out.into_iter().map(f32::to_bits).collect()
}

fn input(random: &mut Random, graph: &QuantGraph, size: [usize; 2]) -> Vec<f32> {
    let quant = graph.tensors[0].quant;
    let extreme = random.pick(&[None, None, Some(0.0), Some(255.0)]);
    (0..graph.tensors[0].channels * size[0] * size[1])
        .map(|_| {
            let count = extreme.unwrap_or(256.0 * random.unit());
            (count - f32::from(quant.zero_point)) * quant.scale
        })
        .collect()
}

#[test]
fn every_kernel_equals_the_scalar_one() {
    for kernel in Kernel::ALL {
        if !kernel.is_available() {
            println!("kernel {kernel}: skipped, this CPU lacks it");
            continue;
        }
        let mut random = Random(20_210_729);
        for case in 0..400 {
            let (graph, size) = nets::any(&mut random);
            let input = input(&mut random, &graph, size);
            let want = logits(&graph, size, Kernel::Scalar, &input, 0);
            let got = logits(&graph, size, kernel, &input, 0xa5);
            assert!(
                want == got,
                "kernel {kernel}, case {case}, {size:?}: {:#?}",
                graph.nodes.iter().map(|n| &n.name).collect::<Vec<_>>()
            );
        }
        println!("kernel {kernel}: equal");
    }
}

#[test]
fn monet_is_alike_on_every_kernel_and_fits_its_arena() {
    let graph = nets::monet(1);
    let mut random = Random(3);
    let input: Vec<f32> = (0..32 * 40).map(|_| random.unit()).collect();
    let want = logits(&graph, [32, 40], Kernel::Scalar, &input, 0);
    for kernel in Kernel::available() {
        assert_eq!(want, logits(&graph, [32, 40], kernel, &input, 7), "kernel {kernel}");
    }
    let plan = Plan::new(&graph, 256, 256, Kernel::best()).expect("a plan for the bench net");
    assert_eq!(plan.macs(), 4_758_437_888);
    assert!(plan.arena_len() <= 5 << 20, "{} bytes", plan.arena_len());
}
