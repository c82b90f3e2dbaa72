//! What a run will take, said from its first steps: time and memory.

use std::time::{Duration, Instant};

use monet::measure::peak_memory;

/// Steps that are not measured: memory is allocated in them, and a GPU's library chooses its
/// algorithms.
const WARM_UP: u64 = 2;

/// Steps that are measured, fewer where they take long.
const MEASURED: u64 = 8;

/// After this time a single step is enough.
const ENOUGH: Duration = Duration::from_secs(20);

/// Watches a run's first steps.
pub struct Estimate {
    /// Steps, and validations, that are left.
    steps: u64,
    validations: u64,
    /// Of one validation.
    validation: Duration,
    /// Minutes that the run may take in all.
    budget: Option<f64>,
    done: u64,
    /// When the warm-up was over.
    begun: Option<Instant>,
}

impl Estimate {
    /// Of a run with so many steps and validations left, of which one takes `validation`.
    #[must_use]
    pub fn new(steps: u64, validations: u64, validation: Duration, budget: Option<f64>) -> Self {
        Self { steps, validations, validation, budget, done: 0, begun: None }
    }

    /// Whether a run with so many steps left is long enough for [`Estimate::step`] to say anything.
    #[must_use]
    pub fn tells(steps: u64) -> bool {
        steps > WARM_UP + 1
    }

    /// Whether the time of steps still counts, so that each has to be waited for.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.done <= WARM_UP + MEASURED
    }

    /// A step is done. Returns what to say once enough of them were.
    pub fn step(&mut self) -> Option<String> {
        if !self.is_watching() {
            return None;
        }
        self.done += 1;
        if self.done <= WARM_UP {
            return None;
        }
        let Some(begun) = self.begun else {
            self.begun = Some(Instant::now());
            return None;
        };
        let measured = self.done - WARM_UP - 1;
        let last = self.done == self.steps;
        if measured < MEASURED && begun.elapsed() < ENOUGH && !last {
            return None;
        }
        self.done = WARM_UP + MEASURED + 1;
        Some(self.told(begun.elapsed() / measured as u32, peak_memory()))
    }

    fn told(&self, step: Duration, memory: Option<u64>) -> String {
        let (steps, validations) =
            (step.mul_f64(self.steps as f64), self.validation.mul_f64(self.validations as f64));
        let mut text =
            format!("about {}: {} steps at {}", long(steps + validations), self.steps, short(step));
        if self.validations > 0 {
            text += &format!(", {} validations at {}", self.validations, short(self.validation));
        }
        if let Some(minutes) = self.budget {
            text += &format!("; the time budget ends it after {minutes} min");
        }
        match memory {
            Some(bytes) => text + &format!("; {:.1} GB of memory", bytes as f64 / 1e9),
            None => text,
        }
    }
}

/// Minutes, or hours and minutes; seconds below one.
fn long(time: Duration) -> String {
    let minutes = (time.as_secs_f64() / 60.0).round() as u64;
    match minutes {
        0 => format!("{:.0} s", time.as_secs_f64()),
        1..120 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// `0.52 s` or `14 s`.
fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.2} s") } else { format!("{seconds:.0} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_say_them() {
        let told = |seconds: f64| long(Duration::from_secs_f64(seconds));
        assert_eq!(
            [12.4, 31.0, 95.0, 7200.0, 12_345.0].map(told),
            ["12 s", "1 min", "2 min", "2 h 0 min", "3 h 26 min"]
        );
        assert_eq!([0.5234, 14.4].map(|s| short(Duration::from_secs_f64(s))), ["0.52 s", "14 s"]);
    }

    #[test]
    fn a_run_s_time_is_that_of_its_steps_and_validations() {
        let estimate = Estimate::new(2000, 20, Duration::from_secs(15), Some(30.0));
        assert_eq!(
            estimate.told(Duration::from_millis(300), Some(1_234_000_000)),
            "about 15 min: 2000 steps at 0.30 s, 20 validations at 15 s; the time budget ends it \
             after 30 min; 1.2 GB of memory"
        );
    }

    #[test]
    fn enough_steps_are_watched_and_no_more() {
        let mut estimate = Estimate::new(100, 1, Duration::ZERO, None);
        let told: Vec<bool> = (0..100).map(|_| estimate.step().is_some()).collect();
        assert_eq!(told.iter().filter(|&&t| t).count(), 1);
        assert!(told[(WARM_UP + MEASURED) as usize]);
        // A run that ends before has something to say, too, unless it has one step only.
        for steps in 2..8 {
            let mut estimate = Estimate::new(steps, 1, Duration::ZERO, None);
            let told = (0..steps).filter_map(|_| estimate.step()).count();
            assert!(told == usize::from(steps > WARM_UP + 1), "{steps}: {told}");
            assert_eq!(Estimate::tells(steps), told == 1, "{steps}");
        }
    }
}
