//! What a measurement needs of the system: cores to itself, their frequency, the speed of memory.

use std::time::Instant;

use super::Bandwidth;
use crate::targets::Machine;

/// Binds the calling thread to one of the cores that it may use, counted from the last (the first
/// serves most interrupts). Says whether that worked.
#[cfg(target_os = "linux")]
pub(super) fn pin(index: usize) -> bool {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Ok(allowed) = sched_getaffinity(None) else { return false };
    let mut cores = (0..CpuSet::MAX_CPU).rev().filter(|core| allowed.is_set(*core));
    let Some(core) = cores.nth(index) else { return false };
    let mut own = CpuSet::new();
    own.set(core);
    sched_setaffinity(None, &own).is_ok()
}

/// Nothing is bound on other systems.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_index: usize) -> bool {
    false
}

/// The highest frequency of any core right now, megahertz, where Linux tells it.
pub(super) fn frequency_mhz() -> Option<f64> {
    let cpus = std::fs::read_dir("/sys/devices/system/cpu").ok()?;
    let current = |folder: std::fs::DirEntry| {
        let text = std::fs::read_to_string(folder.path().join("cpufreq/scaling_cur_freq")).ok()?;
        text.trim().parse::<f64>().ok()
    };
    cpus.flatten().filter_map(current).reduce(f64::max).map(|khz| khz / 1e3)
}

/// How fast the calling thread copies within each level of memory.
pub(super) fn bandwidth() -> Vec<Bandwidth> {
    let caches = Machine::detect().caches;
    let sizes =
        caches.map_or([32, 512, 0], |c| [c.l1d_kb, c.l2_kb, c.l3_kb]).map(|kb| (kb << 10) as usize);
    let last = sizes.into_iter().max().unwrap_or(0);
    let levels = [
        ("L1", sizes[0] / 2),
        ("L2", sizes[1] / 2),
        ("L3", sizes[2] / 2),
        // Enough to leave every cache, little enough for a small board.
        ("memory", (4 * last).clamp(8 << 20, 128 << 20)),
    ];
    let measured =
        |&(level, bytes): &(&str, usize)| Bandwidth { level: level.into(), gb_per_s: copy(bytes) };
    levels.iter().filter(|l| l.1 > 0).map(measured).collect()
}

/// Gigabytes a second, read and written, of taking one half of so many bytes to the other: the best
/// of a few.
fn copy(bytes: usize) -> f64 {
    const TIMINGS: usize = 5;
    /// Bytes that one timing moves at least.
    const MOVED: usize = 64 << 20;
    let words = (bytes / 16).max(8);
    let (from, mut to) = (vec![1u64; words], vec![0u64; words]);
    let rounds = MOVED.div_ceil(16 * words);
    let timing = |_| {
        let clock = Instant::now();
        for _ in 0..rounds {
            // No plain copy: what the C library does for one differs with length and alignment by a
            // factor of ten.
            to.iter_mut().zip(std::hint::black_box(&from)).for_each(|(to, from)| *to = !from);
            std::hint::black_box(&mut to);
        }
        (16 * words * rounds) as f64 / clock.elapsed().as_secs_f64() / 1e9
    };
    (0..TIMINGS).map(timing).fold(0.0, f64::max)
}
