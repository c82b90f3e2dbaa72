//! A profile against its target: budget, ceiling, kernel.

use serde::{Deserialize, Serialize};

use super::{Kind, Profile};
use crate::targets::{Target, VOLUME_SLICES};

/// What a target asks, and whether the profile keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The target's name.
    pub target: String,
    /// Each of its demands that could be checked.
    pub checks: Vec<Check>,
    /// Whether all hold.
    pub passed: bool,
}

/// One demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Field of the target, and what of the profile was held against it.
    pub what: String,
    /// Found; of a prediction the upper end of its error bar.
    pub found: f64,
    /// At most.
    pub limit: f64,
    /// Whether it holds.
    pub passed: bool,
}

impl Verdict {
    /// Compares a profile with a target. A promise must hold for slow slices too, so the demands
    /// are on the 99th percentile of a measurement and on the upper end of a prediction's error
    /// bar.
    #[must_use]
    pub fn new(profile: &Profile, target: &Target) -> Self {
        let bar = 1.0 + profile.prediction.as_ref().map_or(0.0, |p| p.error_percent / 100.0);
        let mut checks = Vec::new();
        let mut check = |what: &str, found: f64, limit: f64| {
            checks.push(Check { what: what.into(), found, limit, passed: found <= limit });
        };
        let slice = match profile.kind {
            Kind::Measured => "budget.slice_ms, 99th percentile",
            Kind::Predicted => "budget.slice_ms, upper end of the error bar",
        };
        check(slice, profile.latency_ms.p99 * bar, target.budget.slice_ms);
        // The budget is for its own number of slices, not for the profile's.
        let volume =
            profile.volume.total_s * VOLUME_SLICES as f64 / profile.volume.slices.max(1) as f64;
        check(
            &format!("budget.volume_s, {VOLUME_SLICES} slices"),
            volume * bar,
            target.budget.volume_s,
        );
        if let (Some(bytes), Some(memory)) = (profile.peak_memory_bytes, &target.memory) {
            let found = bytes as f64 / f64::from(1 << 20);
            check("memory.ceiling_mb", found, memory.ceiling_mb as f64);
        }
        if let (Some(room), Some(board)) = (&profile.room, &target.firmware) {
            let kb = |bytes: u64| bytes as f64 / 1024.0;
            check("firmware.flash_kb", kb(room.flash()), board.flash_kb as f64);
            check("firmware.ram_kb", kb(room.ram()), board.ram_kb as f64);
        }
        let passed = checks.iter().all(|c| c.passed);
        Self { target: target.name.clone(), checks, passed }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_slow_slices_and_the_memory_count() {
        let mut target = Target::find("raspberry-pi-4").expect("embedded");
        let profile = sample();
        assert!(Verdict::new(&profile, &target).passed);
        target.budget.slice_ms = 2.0;
        let verdict = Verdict::new(&profile, &target);
        assert!(!verdict.passed && !verdict.checks[0].passed && verdict.checks[1].passed);
        target.budget.slice_ms = 3.0;
        target.memory.as_mut().expect("a board with an operating system").ceiling_mb = 7;
        let verdict = Verdict::new(&profile, &target);
        assert_eq!(
            verdict.checks.iter().map(|c| c.passed).collect::<Vec<_>>(),
            [true, true, false]
        );
    }
}
