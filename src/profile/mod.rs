//! Latency of a net on a board: measured here, or predicted for one that is not at hand.
//!
//! A [`Profile`] is the one form for both. Its JSON has a version.
//!
//! | function | does |
//! |---|---|
//! | [`measure`](measure()) | times a net on this machine |
//! | [`predict`](predict()) | predicts a net on a [`Target`](crate::targets::Target) |
//! | [`Verdict::new`] | compares a profile with a target's budget |
//! | [`diff`](diff()) | compares two profiles |
//! | [`page`](page()), [`csv`](csv()) | show one profile |
//! | [`diff_page`], [`history_page`] | show two, many |

mod compared;
mod costs;
mod counters;
mod diff;
mod energy;
mod measure;
mod page;
mod plot;
mod predict;
mod system;
mod verdict;

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use compared::{diff_page, history_page};
pub use counters::Counts;
pub use diff::{Change, Difference, diff};
pub use energy::Energy;
pub use measure::{Settings, Stop, first_slice, measure};
pub use page::page;
pub use predict::{Question, predict};
pub use verdict::{Check, Verdict};

use crate::Size;
use crate::engine::EngineError;
use crate::targets::Room;

/// Version of the JSON that a [`Profile`] becomes.
pub const FORMAT: u32 = 2;

/// Measured or predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Timed on the machine that it names.
    Measured,
    /// Computed for a machine that is not at hand.
    Predicted,
}

impl Kind {
    /// As it is written wherever a figure is shown.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Predicted => "predicted, not measured",
        }
    }
}

/// A measurement or a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Version of this form, [`FORMAT`].
    pub format: u32,
    /// Whether it was measured.
    pub kind: Kind,
    /// When it was made, seconds since 1970.
    pub unix_s: u64,
    /// The package's name.
    pub model: String,
    /// What ran the net.
    pub engine: String,
    /// Kernel of the int8 engine; `None` where tract ran the net.
    pub kernel: Option<String>,
    /// The processor, as the system names it; of a prediction the board.
    pub cpu: Option<String>,
    /// The device profile that it was made for.
    pub target: Option<String>,
    /// Height and width of the slices.
    #[serde(with = "crate::size")]
    pub size: Size,
    /// Threads.
    pub threads: usize,
    /// Whether each thread was bound to a core of its own.
    pub pinned: bool,
    /// Slices on each thread; 0 of a prediction.
    pub runs: usize,
    /// Time of one slice, over all threads' slices.
    pub latency_ms: Latency,
    /// How often a slice took how long.
    pub histogram: Histogram,
    /// Slices a second, all threads together.
    pub slices_per_s: f64,
    /// Multiply-accumulates of a slice; 0 where tract ran the net.
    pub macs: u64,
    /// Multiply-accumulates a second of the median slice, in billions.
    pub gmac_per_s: f64,
    /// What the kernel's instruction reaches on registers alone, on one core; 0 where tract ran the
    /// net.
    pub peak_gmac_per_s: f64,
    /// Copying speed of one core, by the level of memory that holds the data.
    pub bandwidth: Vec<Bandwidth>,
    /// Bytes of one worker's arena; 0 where tract ran the net.
    pub arena_bytes: usize,
    /// What the plan takes of a board without an operating system; none of other boards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// Time to the first slice.
    pub start: Option<Start>,
    /// Megahertz before and after the measurement, where the system tells.
    pub frequency_mhz: Option<[f64; 2]>,
    /// Most memory that the process had resident, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// What timing the steps costs.
    pub overhead: Option<Overhead>,
    /// The int8 engine's steps, on one thread; empty where tract ran the net.
    pub steps: Vec<StepProfile>,
    /// Why the steps have no counts of the processor; `None` where they have some, and of a
    /// prediction.
    #[serde(default)]
    pub uncounted: Option<String>,
    /// What the slices of `latency_ms`, and those to warm up before, took of energy, where the
    /// system tells.
    #[serde(default)]
    pub energy: Option<Energy>,
    /// A whole volume.
    pub volume: Volume,
    /// How a prediction was made; none of a measurement.
    pub prediction: Option<Prediction>,
    /// What its target's budget says to it.
    pub verdict: Option<Verdict>,
}

/// Distribution of the time of one slice, milliseconds. Of a prediction all are the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub min: f64,
    pub median: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    /// Standard deviation: the jitter.
    pub deviation: f64,
}

/// Slices by their time, in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Where the first bin begins, milliseconds.
    pub low_ms: f64,
    /// Width of a bin.
    pub width_ms: f64,
    /// Slices in each.
    pub counts: Vec<u32>,
}

/// How fast one core copies (bytes read and written).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// `L1`, `L2`, `L3` or `memory`.
    pub level: String,
    /// Gigabytes a second.
    pub gb_per_s: f64,
}

/// Time to the first slice, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// From the start of a process of its own to its first slice's labels.
    pub cold_ms: f64,
    /// The same in a process that runs already: loading, planning, one slice.
    pub warm_ms: f64,
}

/// What timing every step adds to a slice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// Median slice without, milliseconds.
    pub plain_ms: f64,
    /// Median slice with it; the two take turns.
    pub observed_ms: f64,
    /// Percent of the former; below 0 where noise is larger.
    pub percent: f64,
}

/// One step of the int8 engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepProfile {
    /// Name of the node that it is for.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// Channels, height and width of its result.
    pub shape: [usize; 3],
    /// Shortest time, milliseconds.
    pub min_ms: f64,
    /// Median time, milliseconds.
    pub median_ms: f64,
    /// The part of `median_ms` that a prediction takes for waiting for memory; 0 in a measurement.
    pub memory_ms: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Of the median time.
    pub gmac_per_s: f64,
    /// Of the peak, percent.
    pub percent_of_peak: f64,
    /// Bytes of activations and weights touched at least once.
    pub bytes: u64,
    /// Of the median time.
    pub gb_per_s: f64,
    /// First and last byte (exclusive) of its result in the arena.
    pub arena: [usize; 2],
    /// What the processor counted, where it counts.
    #[serde(default)]
    pub counts: Option<Counts>,
}

impl StepProfile {
    /// Steps that cost alike: kind, output channels, products per output.
    #[must_use]
    pub fn class(&self) -> String {
        let [channels, height, width] = self.shape;
        let depth = self.macs / (channels * height * width).max(1) as u64;
        if depth == 0 { self.kind.clone() } else { format!("{} {channels} x {depth}", self.kind) }
    }
}

/// A volume of this many slices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Slices.
    pub slices: usize,
    /// Seconds of the nets alone, all threads together.
    pub infer_s: f64,
    /// Of a prediction, seconds of reading, preparing, restoring and writing, one thread; `None` of
    /// a measurement.
    pub other_s: Option<f64>,
    /// Seconds from start to end, stages overlapping; of a measurement the nets alone.
    pub total_s: f64,
}

/// How a prediction was made, and how far it may be off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Scheduling model of the core.
    pub core: String,
    /// Percent by which times may be off, either way.
    pub error_percent: f64,
    /// Where the error bar comes from.
    pub basis: String,
    /// Classes of steps that the table lacks. The nearest class's cost stands for theirs.
    pub nearest_classes: Vec<String>,
    /// Instructions of a slice, where the table has counts: for boards without an operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
    /// Percent of a slice's time in steps of these classes, which the error bar does not cover.
    #[serde(default)]
    pub nearest_percent: f64,
}

/// Why there is no profile.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The net cannot be loaded or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The caller wanted no more of it.
    #[error("interrupted: nothing was measured")]
    Interrupted,
    /// The volume asked for does not fit the package.
    #[error(transparent)]
    Fit(#[from] crate::package::FitError),
    /// A JSON file cannot be read.
    #[error("{origin}: cannot be read")]
    Read {
        /// The file.
        origin: String,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON file is no profile.
    #[error("{origin}: not a profile: {reason}")]
    Parse {
        /// The file.
        origin: String,
        /// What is wrong, with the field's name.
        reason: String,
    },
    /// It has another version.
    #[error(
        "{origin}: field `format` is {found}; expected {FORMAT}: measure again with this version \
         of monet"
    )]
    Format {
        /// The file.
        origin: String,
        /// Its version.
        found: String,
    },
    /// No cost of that kernel on that core is known.
    #[error(
        "target \"{target}\": no costs of kernel \"{kernel}\" on core \"{core}\"; there are \
         {known}. `tools/predict/predict {kernel} {core}` adds them; --kernel takes another of the \
         target's kernels"
    )]
    NoCosts {
        /// The target.
        target: String,
        /// Its kernel.
        kernel: String,
        /// Its core's model.
        core: String,
        /// Kernels and cores of which costs are known.
        known: String,
    },
}

impl Profile {
    /// The profile in one line: model, engine, machine.
    #[must_use]
    pub fn told(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or("an unnamed processor");
        format!(
            "{} {} by {} on {cpu}, {}",
            date(self.unix_s),
            self.model,
            self.engine,
            self.kind.told()
        )
    }

    /// A profile from a JSON file.
    ///
    /// # Errors
    /// [`ProfileError::Read`], [`ProfileError::Parse`], [`ProfileError::Format`]
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        /// No profile is longer: a step takes 400 bytes.
        const MAX_BYTES: u64 = 1 << 24;
        let origin = crate::text::shown(path).to_string();
        match crate::whole::text(path, MAX_BYTES) {
            Ok(text) => Self::parse(&text, &origin),
            Err(source) => Err(ProfileError::Read { origin, source }),
        }
    }

    /// A profile from its JSON; `origin` is for errors.
    ///
    /// # Errors
    /// [`ProfileError::Parse`], [`ProfileError::Format`]
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        let fault = |reason: String| ProfileError::Parse { origin: origin.into(), reason };
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| fault(e.to_string()))?;
        if has_control(&value) {
            return Err(fault("a name in it has control characters".into()));
        }
        match value.get("format") {
            None => return Err(fault("missing field `format`".into())),
            Some(found) if *found != FORMAT => {
                return Err(ProfileError::Format {
                    origin: origin.into(),
                    found: found.to_string(),
                });
            }
            Some(_) => {}
        }
        serde_json::from_value(value).map_err(|e| fault(e.to_string()))
    }
}

/// Whether a text of the profile has control characters, which a terminal or a log would obey.
fn has_control(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => !crate::text::is_plain(text),
        serde_json::Value::Array(values) => values.iter().any(has_control),
        serde_json::Value::Object(fields) => fields.values().any(has_control),
        _ => false,
    }
}

/// The steps as comma-separated values, one a line, under a heading.
#[must_use]
pub fn csv(p: &Profile) -> String {
    let mut out = "step,kind,channels,height,width,min_ms,median_ms,memory_ms,macs,\
                   gmac_per_s,percent_of_peak,bytes,gb_per_s,cycles,instructions,cache_misses,\
                   branch_misses\n"
        .to_owned();
    for s in &p.steps {
        let [channels, height, width] = s.shape;
        let counts = s.counts.unwrap_or_default().all();
        let counts = counts.map(|n| n.map_or(String::from(","), |n| format!(",{n:.0}"))).concat();
        out += &format!(
            "{},{},{channels},{height},{width},{:.6},{:.6},{:.6},{},{:.3},{:.2},{},{:.3}{counts}\n",
            crate::text::cell(&s.name),
            s.kind,
            s.min_ms,
            s.median_ms,
            s.memory_ms,
            s.macs,
            s.gmac_per_s,
            s.percent_of_peak,
            s.bytes,
            s.gb_per_s
        );
    }
    out
}

/// Now, in seconds since 1970.
fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The day of a time, as 2026-11-24 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// civil_from_days).
#[must_use]
pub fn date(unix_s: u64) -> String {
    let days = unix_s / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (d, m) =
        (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{m:02}-{d:02}", year + era * 400 + u64::from(m <= 2))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small profile of two steps.
    pub(crate) fn sample() -> Profile {
        let step = |name: &str, ms: f64, macs: u64| StepProfile {
            name: name.into(),
            kind: "convolve".into(),
            shape: [16, 64, 64],
            min_ms: ms * 0.9,
            median_ms: ms,
            memory_ms: 0.0,
            macs,
            gmac_per_s: macs as f64 / ms / 1e6,
            percent_of_peak: 50.0,
            bytes: 131_072,
            gb_per_s: 131_072.0 / ms / 1e6,
            arena: [0, 65_536],
            counts: Some(Counts {
                cycles: Some(1000.0 * ms),
                instructions: Some(2500.0 * ms),
                cache_misses: None,
                branch_misses: Some(3.0),
            }),
        };
        Profile {
            format: FORMAT,
            kind: Kind::Measured,
            unix_s: 1_700_000_000,
            model: "a<b>&\"c".into(),
            engine: "int8 scalar".into(),
            kernel: Some("scalar".into()),
            cpu: Some("none".into()),
            target: None,
            size: Size::new(64, 64),
            threads: 1,
            pinned: true,
            runs: 9,
            latency_ms: Latency {
                min: 1.5,
                median: 1.625,
                p95: 2.0,
                p99: 2.25,
                max: 2.5,
                deviation: 0.25,
            },
            histogram: Histogram { low_ms: 1.5, width_ms: 0.5, counts: vec![7, 2] },
            slices_per_s: 600.0,
            macs: 15_000_000,
            gmac_per_s: 9.2,
            peak_gmac_per_s: 20.0,
            bandwidth: vec![
                Bandwidth { level: "L1".into(), gb_per_s: 100.0 },
                Bandwidth { level: "memory".into(), gb_per_s: 10.0 },
            ],
            arena_bytes: 200_000,
            room: None,
            start: Some(Start { cold_ms: 4.0, warm_ms: 2.0 }),
            frequency_mhz: Some([3000.0, 2900.0]),
            peak_memory_bytes: Some(8 << 20),
            overhead: Some(Overhead { plain_ms: 1.625, observed_ms: 1.63, percent: 0.31 }),
            steps: vec![step("one", 0.5, 9_437_184), step("two", 1.125, 5_562_816)],
            uncounted: None,
            energy: Some(Energy {
                meters: vec!["package-0".into()],
                joules_per_slice: 0.125,
                watts: 12.5,
            }),
            volume: Volume { slices: 150, infer_s: 0.25, other_s: None, total_s: 0.25 },
            prediction: None,
            verdict: None,
        }
    }

    #[test]
    fn json_comes_back_as_it_went() {
        let profile = sample();
        let text = crate::measure::json(&profile);
        assert_eq!(Profile::parse(&text, "x").expect("valid"), profile);
    }

    #[test]
    fn errors_name_the_field() {
        let text = crate::measure::json(&sample());
        let error = |from: &str, to: &str| {
            assert!(text.contains(from));
            Profile::parse(&text.replace(from, to), "a.json").expect_err("must fail").to_string()
        };
        assert!(
            error("\"format\": 2", "\"format\": 1")
                .starts_with("a.json: field `format` is 1; expected 2")
        );
        assert!(error("\"format\": 2,", "").contains("missing field `format`"));
        assert!(error("\"threads\": 1,", "").contains("missing field `threads`"));
        assert!(Profile::parse("{", "a.json").is_err() && Profile::parse("[]", "a.json").is_err());
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix, day) in
            [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_700_000_000, "2023-11-14")]
        {
            assert_eq!(date(unix), day);
        }
    }

    #[test]
    fn csv_has_a_line_a_step() {
        let text = csv(&sample());
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.lines()
                .nth(1)
                .expect("a step")
                .starts_with("\"one\",convolve,16,64,64,0.450000,0.500000,")
        );
        assert!(text.lines().nth(1).expect("a step").ends_with(",500,1250,,3"));
    }
}
