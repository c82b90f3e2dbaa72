//! Measures a net: how long a slice takes and where the time goes.
//!
//! Warm-up first, then a number of slices one by one on every thread. Steps are timed by the int8 engine's own hook, which
//! costs two clock readings a step; the slices whose latency is reported are run without it.

use std::time::Instant;

use serde::Serialize;

use super::int8::Kernel;
use super::{Choice, Engine, EngineError, QuantizedEngine, engines};
use crate::package::Package;

/// Slices run before anything is measured.
const WARM_UP: usize = 3;

/// Version of the JSON that a [`Profile`] becomes.
const FORMAT: u32 = 1;

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Height and width of the slices.
    pub size: [usize; 2],
    /// Threads, each with slices of its own.
    pub threads: usize,
    /// Slices on each thread.
    pub runs: usize,
    /// What is to run the net.
    pub engine: Choice,
}

/// A measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    /// Version of this form.
    pub format: u32,
    /// The package's name.
    pub model: String,
    /// What ran the net.
    pub engine: String,
    /// Kernel of the int8 engine; `None` where tract ran the net.
    pub kernel: Option<String>,
    /// The processor, as the system names it.
    pub cpu: Option<String>,
    /// Height and width of the slices.
    pub size: [usize; 2],
    /// Threads.
    pub threads: usize,
    /// Slices on each thread.
    pub runs: usize,
    /// Time of one slice, over all threads' slices.
    pub latency_ms: Latency,
    /// Slices a second, all threads together.
    pub slices_per_s: f64,
    /// Multiply-accumulates of a slice; 0 where tract ran the net.
    pub macs: u64,
    /// Of the median slice.
    pub gmac_per_s: f64,
    /// What the kernel's instruction reaches on registers alone, on one core; 0 where tract ran the net.
    pub peak_gmac_per_s: f64,
    /// Bytes of one worker's arena; 0 where tract ran the net.
    pub arena_bytes: usize,
    /// The int8 engine's steps, on one thread; empty where tract ran the net.
    pub steps: Vec<StepProfile>,
}

/// Distribution of the time of one slice, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub min: f64,
    pub median: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// One step of the int8 engine.
#[derive(Debug, Clone, Serialize)]
pub struct StepProfile {
    /// Name of the node that it is for.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// Channels, height and width of its result.
    pub shape: [usize; 3],
    /// Least and median time, milliseconds.
    pub min_ms: f64,
    /// See `min_ms`.
    pub median_ms: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Of the median time.
    pub gmac_per_s: f64,
    /// Of the peak, percent.
    pub percent_of_peak: f64,
    /// Bytes of activations and weights touched at least once.
    pub bytes: u64,
    /// First and last byte (exclusive) of its result in the arena.
    pub arena: [usize; 2],
}

impl Latency {
    /// Of these times in seconds, of which there is at least one; percentiles by nearest rank.
    fn of(seconds: &mut [f64]) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |part: f64| seconds[(part * (seconds.len() - 1) as f64).round() as usize] * 1e3;
        Self { min: at(0.0), median: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

/// Measures a package.
///
/// # Errors
/// [`EngineError`]
pub fn profile(package: &Package, settings: &Settings) -> Result<Profile, EngineError> {
    let Settings { size, threads, runs, engine } = *settings;
    let (threads, runs) = (threads.max(1), runs.max(1));
    let mut workers = engines(package, size, threads, engine)?;
    let input = slice(package.manifest.input.planes(), size);
    let clock = Instant::now();
    let mut seconds = std::thread::scope(|scope| {
        let handles: Vec<_> = workers
            .iter_mut()
            .map(|engine| scope.spawn(|| latencies(engine.as_mut(), &input, runs)))
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, _>>()
    })?
    .concat();
    let wall = clock.elapsed().as_secs_f64();
    let latency_ms = Latency::of(&mut seconds);

    let quantized = QuantizedEngine::chosen(package, size, engine)?;
    let plan = quantized.as_ref().map(QuantizedEngine::plan);
    let peak_gmac_per_s = plan.map_or(0.0, |plan| peak(plan.kernel()));
    let macs = plan.map_or(0, super::int8::Plan::macs);
    Ok(Profile {
        format: FORMAT,
        model: package.manifest.name.clone(),
        engine: workers[0].name(),
        kernel: plan.map(|plan| plan.kernel().to_string()),
        cpu: cpu(),
        size,
        threads,
        runs,
        latency_ms,
        slices_per_s: (threads * (runs + WARM_UP)) as f64 / wall,
        macs,
        gmac_per_s: macs as f64 / latency_ms.median / 1e6,
        peak_gmac_per_s,
        arena_bytes: plan.map_or(0, super::int8::Plan::arena_len),
        steps: quantized.map_or(Ok(Vec::new()), |engine| steps(engine, &input, runs, peak_gmac_per_s))?,
    })
}

/// Something like a slice: smooth blobs between 0 and 1.
fn slice(channels: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    let value = |i: usize| {
        let (y, x) = ((i / width % height) as f32, (i % width) as f32);
        (0.5 + 0.4 * (y * 0.11).sin() * (x * 0.07 + 1.0).cos() + 0.1 * (x * 0.9).sin()).clamp(0.0, 1.0)
    };
    (0..channels * height * width).map(value).collect()
}

/// Seconds of each slice.
fn latencies(engine: &mut dyn Engine, input: &[f32], runs: usize) -> Result<Vec<f64>, EngineError> {
    let [height, width] = engine.size();
    let mut labels = vec![0; height * width];
    let mut seconds = Vec::with_capacity(runs);
    for run in 0..WARM_UP + runs {
        let clock = Instant::now();
        engine.segment(input, &mut labels)?;
        if run >= WARM_UP {
            seconds.push(clock.elapsed().as_secs_f64());
        }
    }
    Ok(seconds)
}

/// The steps' times.
fn steps(
    engine: QuantizedEngine,
    input: &[f32],
    runs: usize,
    peak: f64,
) -> Result<Vec<StepProfile>, EngineError> {
    let plan = engine.plan();
    let [height, width] = plan.output_size();
    let (mut arena, mut labels) = (vec![0; plan.arena_len()], vec![0; height * width]);
    let mut seconds = vec![Vec::with_capacity(WARM_UP + runs); plan.steps().len()];
    for _ in 0..WARM_UP + runs {
        let mut clock = Instant::now();
        let timed = plan.run_observed(&mut arena, input, &mut labels, |step| {
            let now = Instant::now();
            seconds[step].push((now - clock).as_secs_f64());
            clock = now;
        });
        timed.map_err(|e| EngineError::Run(e.to_string()))?;
    }
    let profile = |(step, seconds): (&super::int8::StepInfo, &mut Vec<f64>)| {
        let latency = Latency::of(&mut seconds[WARM_UP..]);
        let gmac_per_s = step.macs as f64 / latency.median / 1e6;
        StepProfile {
            name: step.name.clone(),
            kind: step.kind.to_owned(),
            shape: step.shape,
            min_ms: latency.min,
            median_ms: latency.median,
            macs: step.macs,
            gmac_per_s,
            percent_of_peak: if peak > 0.0 { 100.0 * gmac_per_s / peak } else { 0.0 },
            bytes: step.bytes,
            arena: [step.arena.start, step.arena.end],
        }
    };
    Ok(plan.steps().iter().zip(&mut seconds).map(profile).collect())
}

/// The best of a few timings of the kernel's instruction on registers alone, in GMAC/s.
fn peak(kernel: Kernel) -> f64 {
    const ROUNDS: usize = 200_000;
    const TIMINGS: usize = 5;
    (0..TIMINGS)
        .map(|_| {
            let clock = Instant::now();
            let macs = kernel.spin(ROUNDS);
            macs as f64 / clock.elapsed().as_secs_f64() / 1e9
        })
        .fold(0.0, f64::max)
}

/// The processor's name, where Linux tells it.
fn cpu() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut seconds: Vec<f64> = (1..=101).rev().map(|i| f64::from(i) / 1e3).collect();
        let latency = Latency::of(&mut seconds);
        let found = [latency.min, latency.median, latency.p95, latency.p99, latency.max];
        assert!(
            found.iter().zip([1.0, 51.0, 96.0, 100.0, 101.0]).all(|(a, b)| (a - b).abs() < 1e-9),
            "{found:?}"
        );
    }
}
