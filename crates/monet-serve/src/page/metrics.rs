//! The numbers in Prometheus' text form (exposition format 0.0.4).

use std::fmt::Write;
use std::io;

use crate::service::Shown;
use crate::status::Counts;

pub(super) fn text(shown: &Shown) -> io::Result<String> {
    let Counts { incoming, growing, waiting, outgoing, done, failed } = Counts::of(&shown.folders)?;
    let (used, free_mib) = shown.folders.space()?;
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(&str, f64)]| {
        let _ = writeln!(text, "# HELP monet_{name} {help}\n# TYPE monet_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "monet_{name}{labels} {value}");
        }
    };
    gauge(
        "studies",
        "Studies at each stage.",
        &[
            ("{stage=\"growing\"}", growing as f64),
            ("{stage=\"waiting\"}", waiting as f64),
            ("{stage=\"outgoing\"}", outgoing as f64),
            ("{stage=\"done\"}", done as f64),
            ("{stage=\"failed\"}", failed as f64),
        ],
    );
    gauge("instances_incoming", "Instances not yet put to a study.", &[("", incoming as f64)]);
    gauge("studies_running", "Studies worked on.", &[("", shown.running().len() as f64)]);
    gauge("associations", "Open associations.", &[("", shown.associations() as f64)]);
    gauge("disk_used_ratio", "Share of the disk that is used.", &[("", used / 100.0)]);
    gauge("disk_free_bytes", "Free bytes.", &[("", (free_mib << 20) as f64)]);
    let full = f64::from(u8::from(shown.gate.full().is_some()));
    gauge("full", "Whether nothing new is taken.", &[("", full)]);
    let stuck = f64::from(u8::from(shown.stuck().is_some()));
    gauge("stuck", "Whether a thread shows no sign of life.", &[("", stuck)]);
    let version = format!("{{version=\"{}\"}}", shown.version);
    gauge("info", "The version that runs.", &[(&version, 1.0)]);
    Ok(text)
}
