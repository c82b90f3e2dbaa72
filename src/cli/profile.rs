//! `monet profile`: how long a slice takes here, and where the time goes.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use monet::engine::{self, Profile, Settings};

use super::Outcome;

const EXAMPLES: &str = "\
Examples:
  monet profile
  monet profile models/bench/monet-256.int8.toml --runs 100 --json profile.json --trace trace.json
  monet profile --size 512x512 --threads 2 --kernel avx2

The trace opens in chrome://tracing or ui.perfetto.dev.";

/// Measure a model on this machine: latency, time and rate of each step
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProfileArgs {
    /// Manifest of the package, a plan, or an ONNX file without manifest; the embedded package when not given
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Height and width of the slices; the package's own when not given
    #[arg(long, value_name = "HxW", value_parser = super::parse_size)]
    size: Option<[usize; 2]>,
    /// Threads, each with slices of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Slices measured on each thread
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    #[command(flatten)]
    engine: super::EngineArgs,
    /// Write the measurement as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one slice's steps as a Chrome trace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A package that cannot be loaded, a kernel that the CPU has not, files that cannot be written.
pub(super) fn run(args: &ProfileArgs) -> Result<Outcome> {
    let package = super::package_or_net(args.model.as_deref(), args.size)?;
    let settings = Settings {
        size: args.size.unwrap_or([package.manifest.input.height, package.manifest.input.width]),
        threads: args.threads.into(),
        runs: args.runs as usize,
        engine: args.engine.choose()?,
    };
    let profile = engine::profile(&package, &settings)?;
    if args.json.as_deref() != Some(std::path::Path::new("-")) {
        super::print(&table(&profile));
    }
    if let Some(path) = &args.json {
        super::write(path, &monet::measure::json(&profile))?;
    }
    if let Some(path) = &args.trace {
        super::write(path, &trace(&profile))?;
    }
    Ok(Outcome::Done)
}

fn table(p: &Profile) -> String {
    let [height, width] = p.size;
    let l = p.latency_ms;
    let mut out = format!(
        "{} at {height}x{width} by {} on {} thread(s) of {}\n",
        p.model,
        p.engine,
        p.threads,
        p.cpu.as_deref().unwrap_or("an unnamed processor")
    );
    out += &format!(
        "slice    {:.3} ms median, {:.3} min, {:.3} p95, {:.3} p99, {:.3} max over {} slices; {:.1} slices/s\n",
        l.median,
        l.min,
        l.p95,
        l.p99,
        l.max,
        p.threads * p.runs,
        p.slices_per_s
    );
    if p.steps.is_empty() {
        return out + "steps    tract ran the net, which tells no steps; `monet inspect` says why\n";
    }
    out += &format!(
        "rate     {:.1} GMAC/s of {:.1} that the instruction reaches on registers: {:.0} %\n",
        p.gmac_per_s,
        p.peak_gmac_per_s,
        100.0 * p.gmac_per_s / p.peak_gmac_per_s
    );
    out += &format!("arena    {} bytes a thread\n\n", p.arena_bytes);
    out += &format!(
        "{:<18} {:<12} {:>14} {:>9} {:>9} {:>9} {:>8} {:>6} {:>9}  {}\n",
        "step", "kind", "result", "ms", "min ms", "MMAC", "GMAC/s", "peak", "kB moved", "arena"
    );
    for s in &p.steps {
        let shape = s.shape.map(|n| n.to_string()).join("x");
        out += &format!(
            "{:<18} {:<12} {:>14} {:>9.4} {:>9.4} {:>9.2} {:>8.1} {:>4.0} % {:>9.1}  {}..{}\n",
            s.name,
            s.kind,
            shape,
            s.median_ms,
            s.min_ms,
            s.macs as f64 / 1e6,
            s.gmac_per_s,
            s.percent_of_peak,
            s.bytes as f64 / 1e3,
            s.arena[0],
            s.arena[1]
        );
    }
    out
}

/// The steps of a median slice one after another, in the Trace Event Format (complete events, microseconds).
fn trace(p: &Profile) -> String {
    let mut start = 0.0;
    let events: Vec<serde_json::Value> = p
        .steps
        .iter()
        .map(|s| {
            let us = s.median_ms * 1e3;
            let event = serde_json::json!({
                "name": s.name, "cat": s.kind, "ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": us,
                "args": { "GMAC/s": s.gmac_per_s, "percent of peak": s.percent_of_peak, "shape": s.shape },
            });
            start += us;
            event
        })
        .collect();
    monet::measure::json(&serde_json::json!({ "traceEvents": events, "displayTimeUnit": "ms" }))
}
