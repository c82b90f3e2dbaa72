//! Time spent in each stage of the pipeline, and memory.

use std::time::{Duration, Instant};

use serde::Serialize;

/// A stage of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading and decompressing.
    Read,
    /// Turning into the model's orientation, normalising, fitting to the net.
    Prepare,
    /// The net.
    Infer,
    /// Fitting labels back.
    Restore,
    /// Writing, statistics, preview.
    Write,
}

impl Stage {
    /// What a trace calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Prepare => "prepare",
            Self::Infer => "infer",
            Self::Restore => "restore",
            Self::Write => "write",
        }
    }
}

/// A running measurement.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Time from an earlier beginning to this one; none where the other is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0)
    }
}

/// Seconds spent in each stage, summed over slices and threads: stages overlap, so their sum may
/// exceed the wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageTimes {
    /// Reading, decompressing, turning into the model's orientation.
    pub read_s: f64,
    /// Normalising and fitting to the net.
    pub prepare_s: f64,
    /// The net.
    pub infer_s: f64,
    /// Fitting labels back.
    pub restore_s: f64,
    /// Writing, statistics, preview.
    pub write_s: f64,
}

impl StageTimes {
    fn of(&mut self, stage: Stage) -> &mut f64 {
        match stage {
            Stage::Read => &mut self.read_s,
            Stage::Prepare => &mut self.prepare_s,
            Stage::Infer => &mut self.infer_s,
            Stage::Restore => &mut self.restore_s,
            Stage::Write => &mut self.write_s,
        }
    }

    /// Adds what passed since `clock`, and begins the next measurement.
    pub fn add(&mut self, stage: Stage, clock: Clock) -> Clock {
        let now = Clock::start();
        *self.of(stage) += now.since(clock).as_secs_f64();
        now
    }

    /// Adds another thread's times.
    pub fn merge(&mut self, other: Self) {
        self.read_s += other.read_s;
        self.prepare_s += other.prepare_s;
        self.infer_s += other.infer_s;
        self.restore_s += other.restore_s;
        self.write_s += other.write_s;
    }
}

/// Most memory that this process ever had resident, in bytes (`VmHWM` of Linux, proc(5)); `None`
/// where the system does not tell.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
