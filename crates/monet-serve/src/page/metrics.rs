//! The numbers in Prometheus' text form (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::io;

use crate::depart::{self, Tally};
use crate::service::Shown;
use crate::status::Counts;

pub(super) fn text(shown: &Shown) -> io::Result<String> {
    let Counts { incoming, growing, waiting, outgoing, done, failed } = Counts::of(&shown.folders)?;
    let (used, free_mib) = shown.folders.space()?;
    let mut text = String::new();
    let stages = [
        ("{stage=\"growing\"}", growing as f64),
        ("{stage=\"waiting\"}", waiting as f64),
        ("{stage=\"outgoing\"}", outgoing as f64),
        ("{stage=\"done\"}", done as f64),
        ("{stage=\"failed\"}", failed as f64),
    ];
    gauge(&mut text, "studies", "Studies at each stage.", stages);
    one(&mut text, "instances_incoming", "Instances not yet put to a study.", incoming as f64);
    one(&mut text, "studies_running", "Studies worked on.", shown.running().len() as f64);
    one(&mut text, "associations", "Open associations.", shown.associations() as f64);
    one(&mut text, "disk_used_ratio", "Share of the disk that is used.", used / 100.0);
    one(&mut text, "disk_free_bytes", "Free bytes.", (free_mib << 20) as f64);
    destinations(&mut text, &depart::tally(&shown.folders, &shown.config.destination)?);
    let full = shown.gate.full().is_some();
    one(&mut text, "full", "Whether nothing new is taken.", full.into());
    let stuck = shown.stuck().is_some();
    one(&mut text, "stuck", "Whether a thread shows no sign of life.", stuck.into());
    let version = format!("{{version=\"{}\"}}", shown.version);
    gauge(&mut text, "info", "The version that runs.", [(version, 1.0)]);
    Ok(text)
}

/// What waits for each destination.
fn destinations(text: &mut String, all: &BTreeMap<String, Tally>) {
    let mut each = |name, help, value: fn(&Tally) -> f64| {
        gauge(text, name, help, all.iter().map(|(to, tally)| (label(to), value(tally))));
    };
    each("deliveries_waiting", "Studies whose results a destination is still to get.", |tally| {
        tally.waiting as f64
    });
    each(
        "commitments_waiting",
        "Studies that a destination has and has not yet committed itself to keep.",
        |tally| tally.asked as f64,
    );
    each(
        "destination_known",
        "Whether the configuration has the destination; what it has not is not delivered.",
        |tally| tally.known.into(),
    );
    each(
        "destination_failures",
        "How often in a row the destination could not be reached.",
        |tally| tally.attempt.as_ref().map_or(0.0, |attempt| attempt.tries.into()),
    );
    each(
        "destination_next_attempt_seconds",
        "When an unreachable destination is tried again, in seconds since 1970; 0 otherwise.",
        |tally| tally.attempt.as_ref().map_or(0.0, |attempt| attempt.next_s as f64),
    );
}

/// Writes a number without labels: its name, what it means, and its value.
fn one(text: &mut String, name: &str, help: &str, value: f64) {
    gauge(text, name, help, [("", value)]);
}

/// Writes a number: its name, what it means, and its values with their labels.
fn gauge(
    text: &mut String,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (impl Display, f64)>,
) {
    let _ = writeln!(text, "# HELP monet_{name} {help}\n# TYPE monet_{name} gauge");
    for (labels, value) in values {
        let _ = writeln!(text, "monet_{name}{labels} {value}");
    }
}

/// A destination's label as the format writes it; a name comes from a file that others may have
/// written.
fn label(to: &str) -> String {
    let to = to.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{to=\"{to}\"}}")
}
