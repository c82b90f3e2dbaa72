//! Predicts how long a net takes on a board that is not at hand.
//!
//! For each step of the plan:
//!
//! ```text
//! compute      = cycles of the step's class / clock
//! memory       = bytes of the step / speed of the level of memory that holds the arena
//! in order     : time = compute + memory
//! out of order : time = max(compute, memory), since loads overlap with work
//! ```
//!
//! The class also tells instructions, where the table has counts of them: for boards without an
//! operating system. Of these the plan is the one that [`targets::plan`] makes, and a volume's time
//! is that of the nets alone.
//!
//! The cycles come from `targets/predictions.toml`: `tools/predict` runs the executed instructions
//! through llvm-mca's model of the core. Every prediction is labelled as one and carries its error
//! bar.

use monet_core::{Image, Kernel, Schedule};

use super::costs::Costs;
use super::{
    Bandwidth, FORMAT, Histogram, Kind, Latency, Prediction, Profile, ProfileError, StepProfile,
    Volume, unix_s,
};
use crate::Size;
use crate::engine::quantized::QuantizedEngine;
use crate::package::{Fit, FitRule, Package};
use crate::targets::{self, Room, Target};

/// A machine on which somebody compared the method with a clock.
#[derive(Debug)]
struct Checked {
    core: &'static str,
    kernel: &'static str,
    /// The machine, for people.
    machine: &'static str,
    /// By how many percent a slice and the worst class of steps were off (`monet profile --diff` of
    /// a measurement and a prediction; benches/runs has both).
    slice_percent: f64,
    worst_percent: f64,
}

const fn checked(
    core: &'static str,
    kernel: &'static str,
    machine: &'static str,
    slice_percent: f64,
    worst_percent: f64,
) -> Checked {
    Checked { core, kernel, machine, slice_percent, worst_percent }
}

/// All of them.
const CHECKED: [Checked; 2] = [
    checked("znver4", "avx2", "AMD EPYC 9004", 21.0, 27.0),
    checked("znver4", "avx512-vnni", "AMD EPYC 9004", 14.0, 23.0),
];
/// Error bar, in percent, of cores on which nobody could check. An allowance, no measurement.
const UNCHECKED_PERCENT: f64 = 35.0;
/// The same for cores that execute in order: the model does not see their waits for caches.
const IN_ORDER_PERCENT: f64 = 50.0;
/// The same for a core whose model is that of a larger one, narrowed (STAND_INS in
/// `tools/predict`).
const NARROWED: (&str, f64) = ("gracemont", 50.0);

/// Bytes that a core copies a cycle from the second and the third cache. Assumed.
const CACHE_BYTES: [f64; 2] = [16.0, 8.0];
/// The same for cores that execute in order.
const IN_ORDER_CACHE_BYTES: [f64; 2] = [8.0, 4.0];
/// Share of the memory bus that one core uses, and the most gigabytes a second that it reaches.
/// Assumed.
const ONE_CORE: (f64, f64) = (0.4, 12.0);
/// The most of a core that executes in order.
const IN_ORDER_GB_S: f64 = 3.0;
/// Share of the bus that all cores together reach; assumed.
const ALL_CORES: f64 = 0.7;

/// Cycles a voxel of reading (uncompressed NIfTI, int16), preparing, restoring and writing (gzip)
/// on the Zen 3 of `targets/README.md`. `monet segment --stats` measured them on a 512x512x300
/// volume with the bench net. That net is untrained: its labels are noise in blocks of four voxels.
/// Gzip takes longer for noise of single voxels, and much less for labels of an organ.
const STAGES: [f64; 4] = [9.8, 5.8, 2.7, 141.0];
/// Factor by which smaller cores need more cycles for such code: out of order, in order. Assumed.
const SMALLER: [f64; 2] = [1.5, 3.0];

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Of the volume's slices.
    pub size: Size,
    /// Slices of the volume.
    pub slices: usize,
    /// Threads; all of the target's cores when `None`.
    pub threads: Option<usize>,
}

/// Speed of each level of a target's memory in GB/s, for one core while `threads` are busy.
fn bandwidth(target: &Target, threads: usize) -> Vec<Bandwidth> {
    let core = &target.core;
    let per_cycle = if core.in_order { IN_ORDER_CACHE_BYTES } else { CACHE_BYTES };
    let (bus_gb_per_s, _) = target.bandwidth();
    let one =
        (ONE_CORE.0 * bus_gb_per_s).min(if core.in_order { IN_ORDER_GB_S } else { ONE_CORE.1 });
    let share = ALL_CORES * bus_gb_per_s / threads as f64;
    let cache = |i: usize| per_cycle[i] * core.clock_mhz / 1e3;
    let caches = target.cache_bytes();
    let mut all = Vec::new();
    for (level, present, gb_per_s) in [
        ("L2", caches[1] > 0, cache(0)),
        ("L3", caches[2] > 0, cache(1)),
        ("memory", true, one.min(share)),
    ] {
        if present {
            all.push(Bandwidth { level: level.into(), gb_per_s });
        }
    }
    all
}

/// The level that holds so many bytes, of those that [`bandwidth`] lists.
fn level(target: &Target, bytes: u64) -> &'static str {
    let [_, l2, l3] = target.cache_bytes();
    match bytes {
        n if n <= l2 => "L2",
        n if n <= l3 => "L3",
        _ => "memory",
    }
}

/// Percent by which a prediction may be off, and why.
fn error_bar(target: &Target) -> (f64, String) {
    if let Some(own) =
        CHECKED.iter().find(|c| c.core == target.core.model && c.kernel == target.kernel)
    {
        let Checked { machine, kernel, slice_percent, worst_percent, .. } = own;
        let checked = format!(
            "a slice was off by {slice_percent} %, the worst class of steps by {worst_percent} %"
        );
        return (*worst_percent, format!("checked on {machine} with {kernel}: {checked}"));
    }
    let (percent, order) = if target.core.in_order {
        (IN_ORDER_PERCENT, "a core that executes in order, whose waits are not modelled")
    } else if target.core.model == NARROWED.0 {
        (NARROWED.1, "a core modelled as a larger one made narrower, on which nobody could check")
    } else {
        (UNCHECKED_PERCENT, "another core, on which nobody could check")
    };
    let most = CHECKED.iter().map(|c| c.slice_percent).fold(0.0, f64::max);
    let checked = format!("where somebody could, a slice was off by at most {most} %");
    (percent, format!("an allowance, no measurement: this is {order}; {checked}"))
}

/// Predicts a package whose net is a plan on a target.
///
/// # Errors
/// [`ProfileError`]
pub fn predict(
    package: &Package,
    target: &Target,
    question: &Question,
) -> Result<Profile, ProfileError> {
    let spacing = match package.manifest.fit {
        FitRule::Pad { spacing } => spacing,
        FitRule::Resize => [1.0, 1.0],
    };
    let channels = package.manifest.input.channels;
    let size = Fit::new(&package.manifest, channels, question.size, spacing)?.net_size();
    let costs = Costs::find(target)?;
    let (plan, room) = planned(package, size, target)?;
    let plan = &plan;
    let threads = question.threads.unwrap_or(target.core.count).clamp(1, target.core.count);
    let Steps { steps, unknown: mut nearest_classes, instructions } =
        self::steps(plan, target, &costs, 1);
    nearest_classes.sort();
    nearest_classes.dedup();
    let slice_ms: f64 = steps.iter().map(|s| s.median_ms).sum();
    let nearest = steps.iter().filter(|s| nearest_classes.contains(&s.class()));
    let nearest_percent = 100.0 * nearest.fold(0.0, |sum, s| sum + s.median_ms) / slice_ms;
    let shared_ms: f64 =
        self::steps(plan, target, &costs, threads).steps.iter().map(|s| s.median_ms).sum();
    let (error_percent, basis) = error_bar(target);
    let peak_gmac_per_s = target.peak_gmac_per_s(&target.kernel).unwrap_or(0.0);
    let latency = Latency {
        min: slice_ms,
        median: slice_ms,
        p95: slice_ms,
        p99: slice_ms,
        max: slice_ms,
        deviation: 0.0,
    };
    Ok(Profile {
        format: FORMAT,
        kind: Kind::Predicted,
        unix_s: unix_s(),
        model: package.manifest.name.clone(),
        engine: format!("int8 {}", target.kernel),
        kernel: Some(target.kernel.clone()),
        cpu: Some(target.board.clone()),
        target: Some(target.name.clone()),
        size,
        threads,
        pinned: true,
        runs: 0,
        latency_ms: latency,
        histogram: Histogram { low_ms: slice_ms, width_ms: 0.0, counts: Vec::new() },
        slices_per_s: threads as f64 * 1e3 / shared_ms,
        macs: plan.macs(),
        gmac_per_s: plan.macs() as f64 / slice_ms / 1e6,
        peak_gmac_per_s,
        bandwidth: bandwidth(target, 1),
        arena_bytes: plan.arena_len(),
        room,
        start: None,
        frequency_mhz: None,
        peak_memory_bytes: None,
        overhead: None,
        uncounted: None,
        energy: None,
        steps,
        volume: volume(target, question, threads, shared_ms),
        prediction: Some(Prediction {
            core: target.core.model.clone(),
            error_percent,
            basis,
            nearest_classes,
            instructions: (instructions > 0.0).then_some(instructions),
            nearest_percent,
        }),
        verdict: None,
    })
}

/// The plan that a target runs, and the room that it takes of a board without operating system.
fn planned(
    package: &Package,
    size: Size,
    target: &Target,
) -> Result<(Image<'static>, Option<Room>), ProfileError> {
    if target.firmware.is_some() {
        let planned = targets::plan(package, size, target, Schedule::Planes)?;
        return Ok((planned.image, planned.room));
    }
    // All kernels have the same steps, and every machine has this kernel.
    let engine = QuantizedEngine::new(package, size, Kernel::Scalar)?;
    Ok((Image::clone(engine.planned()), None))
}

/// What is predicted of a slice.
struct Steps {
    steps: Vec<StepProfile>,
    /// The classes that the table lacks.
    unknown: Vec<String>,
    /// Of all steps; 0 where the table has no counts.
    instructions: f64,
}

/// The steps while `threads` cores are busy.
fn steps(plan: &Image, target: &Target, costs: &Costs, threads: usize) -> Steps {
    let level = level(target, (plan.arena_len() * threads) as u64);
    let speeds = bandwidth(target, threads);
    let gb_per_s = speeds.iter().find(|b| b.level == level).map_or(f64::INFINITY, |b| b.gb_per_s);
    let peak = target.peak_gmac_per_s(&target.kernel).unwrap_or(0.0);
    let (mut unknown, mut instructions) = (Vec::new(), 0.0);
    let steps = plan.steps().map(|step| {
        let ([cycles, executed], known) = costs.of(&step);
        instructions += executed;
        let (core_ms, moving_ms) =
            (cycles / target.core.clock_mhz / 1e3, step.bytes as f64 / gb_per_s / 1e6);
        let memory_ms =
            if target.core.in_order { moving_ms } else { (moving_ms - core_ms).max(0.0) };
        let ms = core_ms + memory_ms;
        let gmac_per_s = step.macs as f64 / ms / 1e6;
        let profile = StepProfile {
            name: step.name.into(),
            kind: step.kind.to_owned(),
            shape: step.shape,
            min_ms: ms,
            median_ms: ms,
            memory_ms,
            macs: step.macs,
            gmac_per_s,
            percent_of_peak: if peak > 0.0 { 100.0 * gmac_per_s / peak } else { 0.0 },
            bytes: step.bytes,
            gb_per_s: step.bytes as f64 / ms / 1e6,
            arena: [step.arena.start, step.arena.end],
            counts: None,
        };
        if !known {
            unknown.push(profile.class());
        }
        profile
    });
    Steps { steps: steps.collect(), unknown, instructions }
}

/// The time of a volume: one thread reads, one writes, `threads` prepare, infer and restore. The
/// slowest of them sets the pace, unless the work of all exceeds what the cores can do. Of a board
/// without an operating system only the nets are known.
fn volume(target: &Target, question: &Question, threads: usize, slice_ms: f64) -> Volume {
    let (core, slices) = (&target.core, question.slices);
    if target.firmware.is_some() {
        let infer_s = slices as f64 * slice_ms / 1e3;
        return Volume { slices, infer_s, other_s: None, total_s: infer_s };
    }
    let voxels = (question.size.area() * slices) as f64;
    let more = match (core.in_order, core.model.starts_with("znver")) {
        (true, _) => SMALLER[1],
        (false, true) => 1.0,
        (false, false) => SMALLER[0],
    };
    let [read, prepare, restore, write] =
        STAGES.map(|cycles| voxels * cycles * more / core.clock_mhz / 1e6);
    let nets = slices as f64 * slice_ms / 1e3;
    let workers = (prepare + nets + restore) / threads as f64;
    let all = (read + prepare + nets + restore + write) / core.count as f64;
    Volume {
        slices,
        infer_s: nets / threads as f64,
        other_s: Some(read + prepare + restore + write),
        total_s: workers.max(read).max(write).max(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::find(name).expect("embedded")
    }

    #[test]
    fn more_slices_larger_slices_and_a_slower_clock_take_longer() {
        let package = Package::embedded();
        let mut board = target("x86-64-v3");
        let total = |board: &Target, side, slices| {
            let question = Question { size: Size::new(side, side), slices, threads: Some(1) };
            predict(&package, board, &question).expect("a prediction").volume.total_s
        };
        let base = total(&board, 64, 100);
        assert!((total(&board, 64, 200) / base - 2.0).abs() < 1e-9);
        let larger = total(&board, 128, 100) / base;
        assert!(larger > 3.5, "{larger}");
        board.core.clock_mhz /= 2.0;
        assert!(total(&board, 64, 100) > base * 1.9);
    }
}
