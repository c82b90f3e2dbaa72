//! What the processor counts while a net runs: cycles, instructions, misses, step by step.
//!
//! The counts are those of Linux' `perf_event_open(2)`: of the calling thread, in user mode alone.
//! A system may have none (many virtual machines) or keep them for itself
//! (`kernel.perf_event_paranoid`); a profile then says why, and has no counts.

use serde::{Deserialize, Serialize};

/// Counts of one slice, on average over the slices that were counted. `None` where the processor
/// does not have that counter.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Clock cycles.
    pub cycles: Option<f64>,
    /// Instructions retired.
    pub instructions: Option<f64>,
    /// Accesses that the last level of cache did not have.
    pub cache_misses: Option<f64>,
    /// Branches that were predicted wrongly.
    pub branch_misses: Option<f64>,
}

impl Counts {
    /// The counts in the order of the fields.
    #[must_use]
    pub fn all(&self) -> [Option<f64>; 4] {
        [self.cycles, self.instructions, self.cache_misses, self.branch_misses]
    }

    /// As tables tell them: the counts in the order of the fields, and instructions a cycle.
    #[must_use]
    pub fn told(&self) -> ([String; 4], String) {
        let told = |n: Option<f64>, digits| n.map_or("-".to_owned(), |n| format!("{n:.digits$}"));
        (self.all().map(|n| told(n, 0)), told(self.per_cycle(), 2))
    }

    /// Instructions a cycle.
    #[must_use]
    pub fn per_cycle(&self) -> Option<f64> {
        let cycles = self.cycles.filter(|cycles| *cycles > 0.0)?;
        Some(self.instructions? / cycles)
    }

    /// Of counts in the order of [`Counts::all`].
    #[cfg(all(feature = "counters", target_os = "linux"))]
    fn of([cycles, instructions, cache_misses, branch_misses]: [Option<f64>; 4]) -> Self {
        Self { cycles, instructions, cache_misses, branch_misses }
    }
}

/// Runs a slice, and calls its argument with each step's number when the step, or its turn, is
/// done.
pub(super) trait Slice: FnMut(&mut dyn FnMut(usize)) -> Result<(), String> {}

impl<F: FnMut(&mut dyn FnMut(usize)) -> Result<(), String>> Slice for F {}

/// Counts each step of a net in so many slices.
///
/// # Errors
/// Why there are no counts, for people.
#[cfg(all(feature = "counters", target_os = "linux"))]
pub(super) fn count(steps: usize, slices: usize, slice: impl Slice) -> Result<Vec<Counts>, String> {
    use perf_event::events::Hardware;

    let events = [
        Hardware::CPU_CYCLES,
        Hardware::INSTRUCTIONS,
        Hardware::CACHE_MISSES,
        Hardware::BRANCH_MISSES,
    ];
    let counts = linux::count(&events, steps, slices, slice)?;
    Ok(counts.into_iter().map(Counts::of).collect())
}

/// No counters on other systems, or in builds without the feature.
#[cfg(not(all(feature = "counters", target_os = "linux")))]
pub(super) fn count(
    _steps: usize,
    _slices: usize,
    _slice: impl Slice,
) -> Result<Vec<Counts>, String> {
    Err("this build reads none: the feature `counters` does, on Linux".to_owned())
}

#[cfg(all(feature = "counters", target_os = "linux"))]
mod linux {
    use std::io;

    use perf_event::events::Event;
    use perf_event::{Builder, Counter, Group};

    /// The average count of each event in each step of a slice.
    pub(super) fn count<E: Event + Clone, const N: usize>(
        events: &[E; N],
        steps: usize,
        slices: usize,
        mut slice: impl super::Slice,
    ) -> Result<Vec<[Option<f64>; N]>, String> {
        let mut group = Group::new().map_err(|error| why(&error))?;
        let mut refused = None;
        let counters = events.each_ref().map(|event| {
            let added = group.add(&Builder::new(event.clone()));
            added.map_err(|error| refused = Some(why(&error))).ok()
        });
        if let Some(reason) = refused.filter(|_| counters.iter().all(Option::is_none)) {
            return Err(reason);
        }
        let mut totals = vec![[0.0; N]; steps];
        group.enable().map_err(|error| why(&error))?;
        for _ in 0..slices {
            let mut before = read(&mut group, &counters)?;
            let mut error = None;
            slice(&mut |step| match read(&mut group, &counters) {
                Ok(now) => {
                    for ((total, now), before) in totals[step].iter_mut().zip(now).zip(before) {
                        *total += now - before;
                    }
                    before = now;
                }
                Err(reason) => error = Some(reason),
            })?;
            error.map_or(Ok(()), Err)?;
        }
        let average = |total: [f64; N]| {
            let mut counted = counters.iter().map(Option::is_some);
            total.map(|n| counted.next().unwrap_or(false).then_some(n / slices as f64))
        };
        Ok(totals.into_iter().map(average).collect())
    }

    /// What the counters say so far. Where the processor has fewer than were asked for, the system
    /// lets them take turns, and the counts are projected to the whole time.
    fn read<const N: usize>(
        group: &mut Group,
        counters: &[Option<Counter>; N],
    ) -> Result<[f64; N], String> {
        let counts = group.read().map_err(|error| why(&error))?;
        let part = match (counts.time_enabled(), counts.time_running()) {
            (Some(enabled), Some(running)) if !enabled.is_zero() => {
                running.as_secs_f64() / enabled.as_secs_f64()
            }
            _ => 1.0,
        };
        if part == 0.0 {
            return Err("the processor has no free counters: another program takes them".into());
        }
        let of = |counter: &Counter| counts.get(counter).map_or(0, |entry| entry.value());
        Ok(counters.each_ref().map(|counter| counter.as_ref().map_or(0, of) as f64 / part))
    }

    /// Why the system gives no counters, and what helps.
    fn why(error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::NotFound => {
                "the processor has none, as in many virtual machines".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "the system keeps them: `sudo sysctl kernel.perf_event_paranoid=2` gives them"
                    .to_owned()
            }
            _ => error.to_string(),
        }
    }

    #[cfg(test)]
    mod tests {
        use perf_event::events::Software;

        use super::*;

        /// Events that every Linux counts stand for those of a processor.
        #[test]
        fn each_step_gets_its_own_counts() {
            let events = [Software::TASK_CLOCK, Software::PAGE_FAULTS];
            let mut touched = Vec::new();
            let counted = count(&events, 2, 3, |done| {
                done(0);
                // A step in two turns, each of which touches a mebibyte that nobody did before.
                for _ in 0..2 {
                    touched.push(std::hint::black_box(vec![1u8; 1 << 20]));
                    done(1);
                }
                Ok(())
            });
            let Ok(counted) = counted else {
                monet_testing::skip("the system counts no events");
                return;
            };
            let [[idle, none], [busy, faults]] = counted[..] else { panic!("{counted:?}") };
            assert!(busy > idle && idle >= Some(0.0), "{counted:?}");
            // Pages have 4 KiB at least.
            let pages = 2.0 * f64::from(1 << 20) / 4096.0;
            assert!(faults > none && faults <= Some(pages + 64.0), "{counted:?}");
        }

        #[test]
        fn a_refusal_says_what_helps() {
            assert!(why(&io::ErrorKind::NotFound.into()).contains("virtual machines"));
            assert!(why(&io::ErrorKind::PermissionDenied.into()).contains("perf_event_paranoid"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_a_cycle_need_both() {
        let both = Counts { cycles: Some(4.0), instructions: Some(10.0), ..Counts::default() };
        assert_eq!(both.per_cycle(), Some(2.5));
        assert_eq!(Counts { cycles: Some(0.0), ..both }.per_cycle(), None);
        assert_eq!(Counts { instructions: None, ..both }.per_cycle(), None);
    }
}
