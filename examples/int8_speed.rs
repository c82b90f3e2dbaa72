//! Scratch timing of one slice.
#[path = "../tests/nets/mod.rs"]
mod nets;
use monet::engine::int8::{Kernel, Plan};
use std::time::Instant;
fn main() {
    let kernel = Kernel::choose(std::env::args().nth(1).as_deref()).unwrap();
    let n: usize = std::env::args().nth(2).map_or(256, |s| s.parse().unwrap());
    let graph = nets::monet(1);
    let plan = Plan::new(&graph, n, n, kernel).unwrap();
    let mut arena = vec![0; plan.arena_len()];
    let input: Vec<f32> = (0..n * n).map(|i| (i % 251) as f32 / 251.0).collect();
    let mut labels = vec![0; n * n];
    let mut best = vec![f64::MAX; plan.steps().len()];
    let mut whole = f64::MAX;
    for _ in 0..std::env::args().nth(3).map_or(30, |s| s.parse().unwrap()) {
        let start = Instant::now();
        let mut last = start;
        plan.run_observed(&mut arena, &input, &mut labels, |i| {
            let now = Instant::now();
            best[i] = best[i].min((now - last).as_secs_f64());
            last = now;
        })
        .unwrap();
        whole = whole.min(start.elapsed().as_secs_f64());
    }
    for (s, t) in plan.steps().iter().zip(&best) {
        println!("{:24} {:14} {:?} {:8.3} ms {:7.1} GMAC/s", s.name, s.kind, s.shape, t * 1e3, s.macs as f64 / t / 1e9);
    }
    println!("{kernel}: {:.3} ms, {:.1} GMAC/s, sum of step minima {:.3} ms, arena {} KiB", whole * 1e3, plan.macs() as f64 / whole / 1e9, best.iter().sum::<f64>() * 1e3, plan.arena_len() / 1024);
}
