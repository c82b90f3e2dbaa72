//! Measures a net on this machine: how long a slice takes and where the time goes.
//!
//! 1. Every thread, on a core of its own, runs a few slices to warm up.
//! 2. Every thread runs slices one by one. Their latency is reported.
//! 3. One thread runs more slices with the int8 engine's hook, which times the steps. Every other
//!    slice goes without the hook, so that the cost of the hook is known and reported.
//! 4. The same thread runs a few slices more, in which the processor counts, where it does.

use std::path::Path;
use std::time::Instant;

use monet_core::{Kernel, Plan, Size, StepInfo};

use super::energy::Meters;
use super::{
    Counts, FORMAT, Histogram, Kind, Latency, Overhead, Profile, ProfileError, StepProfile, Volume,
    counters, system, unix_s,
};
use crate::engine::{Engine, EngineError, EngineFactory};
use crate::package::Package;

/// Slices run before anything is measured.
const WARM_UP: usize = 3;

/// Most slices in which the processor counts.
const COUNTED: usize = 20;

/// Most bins of a histogram.
const BINS: usize = 32;

/// Whether the caller wants no more of it.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Height and width of the slices.
    pub size: Size,
    /// Threads, each with slices of its own.
    pub threads: usize,
    /// Slices on each thread.
    pub runs: usize,
    /// Slices of the volume whose time is told.
    pub slices: usize,
}

/// The distribution of one or more times in seconds, which it sorts. Percentiles are by nearest
/// rank.
fn latency(seconds: &mut [f64]) -> Latency {
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| seconds[(part * (seconds.len() - 1) as f64).round() as usize] * 1e3;
    let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
    let variance = seconds.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / seconds.len() as f64;
    Latency {
        min: at(0.0),
        median: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        max: at(1.0),
        deviation: variance.sqrt() * 1e3,
    }
}

/// The histogram of sorted times. The last bin includes the slowest.
fn histogram(seconds: &[f64]) -> Histogram {
    let low_ms = seconds[0] * 1e3;
    let spread = seconds[seconds.len() - 1] * 1e3 - low_ms;
    let bins = BINS.min(seconds.len());
    let width_ms = (spread / bins as f64).max(1e-6);
    let mut counts = vec![0; bins];
    for s in seconds {
        counts[(((s * 1e3 - low_ms) / width_ms) as usize).min(bins - 1)] += 1;
    }
    Histogram { low_ms, width_ms, counts }
}

/// Measures a package. [`Profile::start`] is left to the caller, who can start a process. `stop` is
/// asked before each slice and ends it.
///
/// # Errors
/// [`ProfileError::Engine`], [`ProfileError::Interrupted`]
pub fn measure(
    package: &Package,
    engines: &mut dyn EngineFactory,
    settings: &Settings,
    stop: Stop<'_>,
) -> Result<Profile, ProfileError> {
    let Settings { size, threads, runs, slices } = *settings;
    let (threads, runs) = (threads.max(1), runs.max(1));
    let mut workers = engines.make(package, size, threads)?;
    let input = slice(package.manifest.input.planes(), size);
    let before = system::frequency_mhz();
    let meters = Meters::start(Path::new("/sys"));
    let clock = Instant::now();
    let all = std::thread::scope(|scope| {
        let handles: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(i, engine)| {
                let input = &input;
                scope.spawn(move || {
                    let pinned = system::pin(i);
                    latencies(engine.as_mut(), input, runs, stop).map(|seconds| (pinned, seconds))
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, ProfileError>>()
    })?;
    let wall = clock.elapsed().as_secs_f64();
    let energy = meters.stop(threads * (runs + WARM_UP), wall);
    let frequency_mhz = before.zip(system::frequency_mhz()).map(|(a, b)| [a, b]);
    let pinned = all.iter().all(|thread| thread.0);
    let mut seconds: Vec<f64> = all.into_iter().flat_map(|thread| thread.1).collect();
    let latency_ms = latency(&mut seconds);

    let plan = workers[0].plan();
    let (macs, arena_bytes) = plan.map_or((0, 0), |plan| (plan.macs(), plan.arena_len()));
    // On a thread of its own, so that the caller's is not bound to a core.
    let (inside, counts, peak_memory_bytes, peak_gmac_per_s, bandwidth) =
        std::thread::scope(|scope| {
            let measuring = scope.spawn(|| {
                system::pin(0);
                let inside = plan.map(|plan| steps(plan, &input, runs, stop)).transpose()?;
                let counts = plan.map(|plan| counts(plan, &input, runs));
                // Taken before `bandwidth` allocates its buffers, which are no part of the work.
                let memory = crate::measure::peak_memory();
                let peak = plan.map_or(0.0, |plan| peak(plan.kernel()));
                Ok::<_, ProfileError>((inside, counts, memory, peak, system::bandwidth()))
            });
            measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
    let (overhead, mut steps) = inside.map_or((None, Vec::new()), |(o, s)| (Some(o), s));
    if peak_gmac_per_s > 0.0 {
        steps.iter_mut().for_each(|s| s.percent_of_peak = 100.0 * s.gmac_per_s / peak_gmac_per_s);
    }
    let uncounted = counts.and_then(|counts| match counts {
        Ok(counts) => {
            steps.iter_mut().zip(counts).for_each(|(step, counts)| step.counts = Some(counts));
            None
        }
        Err(reason) => Some(reason),
    });
    let slices_per_s = (threads * (runs + WARM_UP)) as f64 / wall;
    let infer_s = slices as f64 / slices_per_s;
    Ok(Profile {
        format: FORMAT,
        kind: Kind::Measured,
        unix_s: unix_s(),
        model: package.manifest.name.clone(),
        engine: workers[0].name(),
        kernel: plan.map(|plan| plan.kernel().to_string()),
        cpu: crate::targets::Machine::detect().cpu,
        target: None,
        size,
        threads,
        pinned,
        runs,
        latency_ms,
        histogram: histogram(&seconds),
        slices_per_s,
        macs,
        gmac_per_s: macs as f64 / latency_ms.median / 1e6,
        peak_gmac_per_s,
        bandwidth,
        arena_bytes,
        room: None,
        start: None,
        frequency_mhz,
        peak_memory_bytes,
        overhead,
        steps,
        uncounted,
        energy,
        volume: Volume { slices, infer_s, other_s: None, total_s: infer_s },
        prediction: None,
        verdict: None,
    })
}

/// Plans a package's net and segments one slice, which is what a process does until its first
/// labels. Returns the milliseconds.
///
/// # Errors
/// [`ProfileError::Engine`]
pub fn first_slice(
    package: &Package,
    engines: &mut dyn EngineFactory,
    size: Size,
) -> Result<f64, ProfileError> {
    let clock = Instant::now();
    let mut workers = engines.make(package, size, 1)?;
    let mut labels = vec![0; size.area()];
    workers[0].segment(&[&slice(package.manifest.input.planes(), size)], &mut labels)?;
    std::hint::black_box(labels);
    Ok(clock.elapsed().as_secs_f64() * 1e3)
}

/// Something like a slice: smooth blobs between 0 and 1.
fn slice(channels: usize, Size { height, width }: Size) -> Vec<f32> {
    let value = |i: usize| {
        let (y, x) = ((i / width % height) as f32, (i % width) as f32);
        (0.5 + 0.4 * (y * 0.11).sin() * (x * 0.07 + 1.0).cos() + 0.1 * (x * 0.9).sin())
            .clamp(0.0, 1.0)
    };
    (0..channels * height * width).map(value).collect()
}

/// Nothing, until the caller wants no more.
fn go_on(stop: Stop<'_>) -> Result<(), ProfileError> {
    if stop() { Err(ProfileError::Interrupted) } else { Ok(()) }
}

/// Seconds of each slice.
fn latencies(
    engine: &mut dyn Engine,
    input: &[f32],
    runs: usize,
    stop: Stop<'_>,
) -> Result<Vec<f64>, ProfileError> {
    let Size { height, width } = engine.size();
    let mut labels = vec![0; height * width];
    let mut seconds = Vec::with_capacity(runs);
    for run in 0..WARM_UP + runs {
        go_on(stop)?;
        let clock = Instant::now();
        engine.segment(&[input], &mut labels)?;
        if run >= WARM_UP {
            seconds.push(clock.elapsed().as_secs_f64());
        }
    }
    Ok(seconds)
}

/// The times of the steps, and the cost of timing them: slices with and without the hook take
/// turns.
fn steps(
    plan: &Plan,
    input: &[f32],
    runs: usize,
    stop: Stop<'_>,
) -> Result<(Overhead, Vec<StepProfile>), ProfileError> {
    let Size { height, width } = plan.output_size();
    let (mut arena, mut labels) = (vec![0; plan.arena_len()], vec![0; height * width]);
    let mut seconds = vec![Vec::with_capacity(WARM_UP + runs); plan.steps().len()];
    let (mut plain, mut observed) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for run in 0..WARM_UP + runs {
        go_on(stop)?;
        let whole = Instant::now();
        plan.run(&mut arena, &[input], &mut labels).map_err(EngineError::run)?;
        let first = whole.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut clock = start;
        // A step that takes turns with others is timed turn by turn.
        seconds.iter_mut().for_each(|times| times.push(0.0));
        let timed = plan.run_observed(&mut arena, &[input], &mut labels, |step| {
            let now = Instant::now();
            seconds[step][run] += (now - clock).as_secs_f64();
            clock = now;
        });
        timed.map_err(EngineError::run)?;
        if run >= WARM_UP {
            plain.push(first);
            observed.push(start.elapsed().as_secs_f64());
        }
    }
    let [plain_ms, observed_ms] = [plain, observed].map(|mut times| latency(&mut times).median);
    let overhead =
        Overhead { plain_ms, observed_ms, percent: 100.0 * (observed_ms / plain_ms - 1.0) };
    let profile = |(step, seconds): (StepInfo, &mut Vec<f64>)| {
        let times = latency(&mut seconds[WARM_UP..]);
        StepProfile {
            name: step.name.into(),
            kind: step.kind.to_owned(),
            shape: step.shape,
            min_ms: times.min,
            median_ms: times.median,
            memory_ms: 0.0,
            macs: step.macs,
            gmac_per_s: step.macs as f64 / times.median / 1e6,
            percent_of_peak: 0.0,
            bytes: step.bytes,
            gb_per_s: step.bytes as f64 / times.median / 1e6,
            arena: [step.arena.start, step.arena.end],
            counts: None,
        }
    };
    Ok((overhead, plan.steps().zip(&mut seconds).map(profile).collect()))
}

/// What the processor counts in each step.
fn counts(plan: &Plan, input: &[f32], runs: usize) -> Result<Vec<Counts>, String> {
    let Size { height, width } = plan.output_size();
    let (mut arena, mut labels) = (vec![0; plan.arena_len()], vec![0; height * width]);
    counters::count(plan.steps().len(), runs.min(COUNTED), |done| {
        let run = plan.run_observed(&mut arena, &[input], &mut labels, done);
        run.map_err(|error| error.to_string())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut seconds: Vec<f64> = (1..=101).rev().map(|i| f64::from(i) / 1e3).collect();
        let l = latency(&mut seconds);
        let found = [l.min, l.median, l.p95, l.p99, l.max, l.deviation];
        let wanted = [1.0, 51.0, 96.0, 100.0, 101.0, 850f64.sqrt()];
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
    }

    #[test]
    fn every_slice_is_in_a_bin() {
        for n in [1, 2, 31, 500] {
            let seconds: Vec<f64> = (0..n).map(|i| 0.01 + f64::from(i * i) * 1e-6).collect();
            let found = histogram(&seconds);
            assert_eq!(found.counts.iter().sum::<u32>(), n as u32);
            assert!(found.counts.len() <= BINS && found.counts[0] > 0);
        }
    }
}
