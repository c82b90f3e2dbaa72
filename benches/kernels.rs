//! Every kernel that this CPU has: its multiplying instruction on registers alone (the peak), each
//! shape of MoNet's convolutions, and whole slices. Criterion's elements per second are
//! multiplications: Gelem/s reads as GMAC/s. A table at the end sets each shape's rate beside the
//! peak; Winograd's filtering, which multiplies less, may pass 100 %.
//!
//! `cargo bench --no-default-features --bench kernels`; on a shared machine pin it with
//! `taskset -c 1`.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use monet::core::{Kernel, Plan, QuantGraph, Size};
use monet_testing::nets;

/// Input channels, output channels, dilation, side of the tensors.
const SHAPES: [[usize; 4]; 8] = [
    [1, 16, 1, 256],
    [16, 16, 1, 256],
    [16, 16, 4, 256],
    [48, 16, 1, 256],
    [32, 32, 4, 128],
    [96, 32, 1, 128],
    [64, 64, 1, 64],
    [64, 64, 4, 64],
];

fn peak(c: &mut Criterion) {
    const ROUNDS: usize = 100_000;
    let mut group = c.benchmark_group("peak");
    for kernel in Kernel::available() {
        group.throughput(Throughput::Elements(kernel.spin(ROUNDS)));
        group.bench_function(kernel.name(), |b| b.iter(|| kernel.spin(black_box(ROUNDS))));
    }
}

fn layers(c: &mut Criterion) {
    for kernel in Kernel::available().filter(|&k| k != Kernel::Scalar) {
        let mut group = c.benchmark_group(format!("layer/{kernel}"));
        for [cin, cout, dilation, side] in SHAPES {
            let name = format!("{cin}-{cout} d{dilation} {side}x{side}");
            slice(
                &mut group,
                BenchmarkId::from_parameter(name),
                &nets::layer(cin, cout, dilation),
                side,
                kernel,
            );
        }
    }
}

fn slices(c: &mut Criterion) {
    let graph = nets::monet(1);
    for kernel in Kernel::available().filter(|&k| k != Kernel::Scalar) {
        let mut group = c.benchmark_group(format!("slice/{kernel}"));
        group.sample_size(20);
        for side in [64, 128, 256, 512] {
            slice(&mut group, BenchmarkId::from_parameter(side), &graph, side, kernel);
        }
    }
}

fn slice(
    group: &mut criterion::BenchmarkGroup<criterion::measurement::WallTime>,
    id: BenchmarkId,
    graph: &QuantGraph,
    side: usize,
    kernel: Kernel,
) {
    let plan = Plan::new(graph, Size::new(side, side), kernel).expect("a plan for a valid net");
    let mut arena = vec![0; plan.arena_len()];
    let input: Vec<f32> = (0..plan.input_len()).map(|i| (i % 251) as f32 / 251.0).collect();
    let mut labels = vec![0; plan.output_size().area()];
    group.throughput(Throughput::Elements(plan.macs()));
    group.bench_function(id, |b| {
        b.iter(|| plan.run(&mut arena, black_box(&[&input]), &mut labels).expect("a run"))
    });
}

criterion_group!(benches, peak, layers, slices);

/// The best rate of a few runs, GMAC/s; `run` says how many multiply-accumulates it made.
fn best(mut run: impl FnMut() -> u64) -> f64 {
    let rates = (0..10).map(|_| {
        let clock = Instant::now();
        let macs = run();
        macs as f64 / clock.elapsed().as_secs_f64() / 1e9
    });
    rates.fold(0.0, f64::max)
}

fn table() {
    println!("{:<14} {:<22} {:>8} {:>8}", "kernel", "layer", "GMAC/s", "of peak");
    for kernel in Kernel::available().filter(|&k| k != Kernel::Scalar) {
        let peak = best(|| kernel.spin(200_000));
        println!("{:<14} {:<22} {peak:>8.1}", kernel.name(), "registers alone: peak");
        for [cin, cout, dilation, side] in SHAPES {
            let plan = Plan::new(&nets::layer(cin, cout, dilation), Size::new(side, side), kernel)
                .expect("a valid net");
            let (mut arena, input) = (vec![0; plan.arena_len()], vec![0.5; plan.input_len()]);
            let mut labels = vec![0; side * side];
            // The layer alone: without quantizing its input and without the head.
            let mut macs = 0;
            let mut seconds = f64::INFINITY;
            for _ in 0..10 {
                let mut clock = Instant::now();
                let timed = plan.run_observed(&mut arena, &[&input], &mut labels, |step| {
                    if step == 1 {
                        seconds = seconds.min(clock.elapsed().as_secs_f64());
                        macs = plan.steps().nth(step).expect("a step").macs;
                    }
                    clock = Instant::now();
                });
                timed.expect("a run");
            }
            let rate = macs as f64 / seconds / 1e9;
            let shape = format!("{cin}-{cout} d{dilation} {side}x{side}");
            println!(
                "{:<14} {shape:<22} {rate:>8.1} {:>6.0} %",
                kernel.name(),
                100.0 * rate / peak
            );
        }
    }
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if std::env::args().any(|argument| argument == "--bench") {
        table();
    }
}
