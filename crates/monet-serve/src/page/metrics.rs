//! The numbers in Prometheus' text form (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use crate::depart::{self, Attempt, Tally};
use crate::service::Shown;
use crate::status::Counts;

/// Writes a number: its name, what it means, and its values with their labels.
type Gauge<'a> = dyn FnMut(&str, &str, &[(String, f64)]) + 'a;

pub(super) fn text(shown: &Shown) -> io::Result<String> {
    let Counts { incoming, growing, waiting, outgoing, done, failed } = Counts::of(&shown.folders)?;
    let (used, free_mib) = shown.folders.space()?;
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP monet_{name} {help}\n# TYPE monet_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "monet_{name}{labels} {value}");
        }
    };
    gauge(
        "studies",
        "Studies at each stage.",
        &[
            ("{stage=\"growing\"}".into(), growing as f64),
            ("{stage=\"waiting\"}".into(), waiting as f64),
            ("{stage=\"outgoing\"}".into(), outgoing as f64),
            ("{stage=\"done\"}".into(), done as f64),
            ("{stage=\"failed\"}".into(), failed as f64),
        ],
    );
    gauge(
        "instances_incoming",
        "Instances not yet put to a study.",
        &[(String::new(), incoming as f64)],
    );
    gauge(
        "studies_running",
        "Studies worked on.",
        &[(String::new(), shown.running().len() as f64)],
    );
    gauge("associations", "Open associations.", &[(String::new(), shown.associations() as f64)]);
    gauge("disk_used_ratio", "Share of the disk that is used.", &[(String::new(), used / 100.0)]);
    gauge("disk_free_bytes", "Free bytes.", &[(String::new(), (free_mib << 20) as f64)]);
    destinations(&depart::tally(&shown.folders, &shown.config.destination)?, &mut gauge);
    let full = f64::from(u8::from(shown.gate.full().is_some()));
    gauge("full", "Whether nothing new is taken.", &[(String::new(), full)]);
    let stuck = f64::from(u8::from(shown.stuck().is_some()));
    gauge("stuck", "Whether a thread shows no sign of life.", &[(String::new(), stuck)]);
    let version = format!("{{version=\"{}\"}}", shown.version);
    gauge("info", "The version that runs.", &[(version, 1.0)]);
    Ok(text)
}

/// What waits for each destination.
fn destinations(all: &BTreeMap<String, Tally>, gauge: &mut Gauge<'_>) {
    let each = |value: &dyn Fn(&Tally) -> f64| -> Vec<(String, f64)> {
        all.iter().map(|(to, tally)| (format!("{{to=\"{}\"}}", label(to)), value(tally))).collect()
    };
    let attempt =
        |value: fn(&Attempt) -> f64| each(&move |tally| tally.attempt.as_ref().map_or(0.0, value));
    gauge(
        "deliveries_waiting",
        "Studies whose results a destination is still to get.",
        &each(&|tally| tally.waiting as f64),
    );
    gauge(
        "commitments_waiting",
        "Studies that a destination has and has not yet committed itself to keep.",
        &each(&|tally| tally.asked as f64),
    );
    gauge(
        "destination_known",
        "Whether the configuration has the destination; what it has not is not delivered.",
        &each(&|tally| f64::from(u8::from(tally.known))),
    );
    gauge(
        "destination_failures",
        "How often in a row the destination could not be reached.",
        &attempt(|attempt| f64::from(attempt.tries)),
    );
    gauge(
        "destination_next_attempt_seconds",
        "When an unreachable destination is tried again, in seconds since 1970; 0 otherwise.",
        &attempt(|attempt| attempt.next_s as f64),
    );
}

/// A label's value as the format writes it; a name comes from a file that others may have written.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
