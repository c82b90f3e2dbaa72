//! `monet profile`: how long a slice takes here, or would take on a board that is not at hand, and
//! where the time goes.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use monet::Size;
use monet::package::{Package, slice_size};
use monet::profile::{self, Kind, Profile, Settings, Start, Verdict};
use monet::targets::{Target, VOLUME_SLICES};
use monet::text::plain;

use super::{Outcome, nets, reports, room, terminal};

const EXAMPLES: &str = "\
Examples:
  monet profile
  monet profile models/bench/monet-256.int8.toml --runs 100 --html page.html --json profile.json \
  --trace trace.json
  monet profile --target raspberry-pi-4                    # on the board: exit code 4 where its \
  budget is exceeded
";

const NOTE: &str = "
The trace opens in chrome://tracing or ui.perfetto.dev. `monet targets` lists targets.";

fn examples() -> String {
    #[cfg(feature = "desk")]
    let desk = super::desk::EXAMPLES;
    #[cfg(not(feature = "desk"))]
    let desk = "";
    format!("{EXAMPLES}{desk}{NOTE}")
}

/// What the process of a cold start prints when its first slice is done.
const FIRST_SLICE: &str = "first slice";

/// Measure a model on this machine, or predict it for another: latency, time and rate of each step
#[derive(Debug, Args)]
#[command(after_help = examples())]
pub(super) struct ProfileArgs {
    /// Manifest of the package, a plan, or an ONNX file without manifest; the embedded package when
    /// not given
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Height and width of the slices; the package's own when not given
    #[arg(long, value_name = "HxW", value_parser = slice_size)]
    size: Option<Size>,
    /// Threads, each with slices of its own; without it as many as the target has cores and this
    /// machine can run, 1 without a target
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Slices measured on each thread
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    runs: u32,
    #[command(flatten)]
    engine: nets::EngineArgs,
    /// Hold the result against the budget of a target: a name that `monet targets` lists, or a TOML
    /// file of your own
    #[arg(long, value_name = "NAME|FILE.toml")]
    target: Option<OsString>,
    /// Write the profile as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the steps as CSV; - for standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page: roofline, steps and histogram
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write one slice's steps as a Chrome trace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Replace existing outputs
    #[arg(long)]
    force: bool,
    #[cfg(feature = "desk")]
    #[command(flatten)]
    desk: super::desk::DeskArgs,
    /// Segment one slice and say so: what a cold start times
    #[arg(long, hide = true)]
    first_slice: bool,
    #[command(flatten)]
    trial: nets::TrialArgs,
}

/// Runs the command.
///
/// # Errors
/// A package, target or profile that cannot be loaded, a kernel that the CPU has not, files that
/// cannot be written.
pub(super) fn run(args: &ProfileArgs) -> Result<Outcome> {
    #[cfg(feature = "desk")]
    if args.desk.compare(args.html.as_deref(), args.force)? {
        return Ok(Outcome::Done);
    }
    args.trial.bind()?;
    let target = args.target.as_deref().map(Target::find).transpose()?;
    ensure!(
        target.as_ref().is_none_or(|target| target.firmware.is_none()) || is_predicted(args),
        "this board has no operating system, and monet does not run on it: --predict"
    );
    let package = super::package_or_net(args.model.as_deref(), args.size)?;
    if args.first_slice {
        profile::first_slice(&package, &mut args.engine.choose(&package)?, size(args, &package))?;
        terminal::print(&format!("{FIRST_SLICE}\n"))?;
        return Ok(Outcome::Done);
    }
    let outputs = [&args.json, &args.csv, &args.html, &args.trace].map(Option::as_deref);
    let files = reports::files_of(args.model.as_deref(), &package);
    let targets = args.target.as_ref().map(PathBuf::from);
    reports::guard(files.into_iter().chain(targets), outputs.into_iter().flatten(), args.force)?;
    let mut profile = profile(args, &package, target.as_ref())?;
    if let Some(target) = &target {
        profile.target = Some(target.name.clone());
        profile.verdict = Some(Verdict::new(&profile, target));
    }
    let texts = [
        monet::measure::json(&profile),
        profile::csv(&profile),
        profile::page(&profile),
        trace(&profile),
    ];
    reports::deliver(&outputs.into_iter().zip(texts).collect::<Vec<_>>(), args.force)?;
    if !outputs.into_iter().flatten().any(reports::is_stdout) {
        terminal::print(&table(&profile))?;
    }
    let passed = profile.verdict.as_ref().is_none_or(|v| v.passed);
    Ok(if passed { Outcome::Done } else { Outcome::OverBudget })
}

/// Height and width of the slices.
fn size(args: &ProfileArgs, package: &Package) -> Size {
    args.size.unwrap_or(package.size())
}

/// Whether a prediction is asked for.
fn is_predicted(args: &ProfileArgs) -> bool {
    #[cfg(feature = "desk")]
    return args.desk.predicts();
    #[cfg(not(feature = "desk"))]
    return {
        let _ = args;
        false
    };
}

/// Measured; predicted where that is asked for.
fn profile(args: &ProfileArgs, package: &Package, target: Option<&Target>) -> Result<Profile> {
    #[cfg(feature = "desk")]
    if let Some(target) = target.filter(|_| is_predicted(args)) {
        return args.desk.predict(package, target, args.threads, args.engine.kernel());
    }
    measure(args, package, target)
}

fn measure(args: &ProfileArgs, package: &Package, target: Option<&Target>) -> Result<Profile> {
    let size = size(args, package);
    let mut engines = args.engine.choose(package)?;
    if let Some(model) = &args.model {
        nets::try_first_slice(model, &args.engine, package, size)?;
    }
    let settings = Settings {
        size,
        threads: args.threads.map_or_else(|| threads(target), usize::from),
        runs: args.runs as usize,
        slices: VOLUME_SLICES,
    };
    // Measured first: a package that cannot run is told once, by this process and not by those
    // started for the cold start.
    let mut profile = profile::measure(package, &mut engines, &settings, &|| false)?;
    profile.start = Some(start(args, package, size)?);
    Ok(profile)
}

/// A target's budget is for a volume on all of its cores.
fn threads(target: Option<&Target>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    target.map_or(1, |t| t.core.count.min(cores))
}

/// Times first slices: of new processes, and of this one; the median of a few.
fn start(args: &ProfileArgs, package: &Package, size: Size) -> Result<Start> {
    const TIMINGS: usize = 5;
    let mut engines = args.engine.choose(package)?;
    let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
    command.args(["profile", "--first-slice", "--size", &size.to_string()]);
    command.args(args.engine.repeated());
    command.args(args.model.as_deref()).stdout(Stdio::piped());
    let (mut cold, mut warm) = ([0.0; TIMINGS], [0.0; TIMINGS]);
    for (cold, warm) in cold.iter_mut().zip(&mut warm) {
        let clock = Instant::now();
        let mut child = command.spawn().context("cold start: this program cannot be started")?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        *cold = clock.elapsed().as_secs_f64() * 1e3;
        ensure!(
            child.wait()?.success() && line.trim() == FIRST_SLICE,
            "cold start: the new process failed"
        );
        *warm = profile::first_slice(package, &mut engines, size)?;
    }
    let median = |mut times: [f64; TIMINGS]| {
        times.sort_by(f64::total_cmp);
        times[TIMINGS / 2]
    };
    Ok(Start { cold_ms: median(cold), warm_ms: median(warm) })
}

fn table(p: &Profile) -> String {
    let mut out = summary(p);
    if p.steps.is_empty() {
        return out
            + "steps    tract ran the net, which tells no steps; `monet inspect` says why\n";
    }
    out += &format!(
        "\n{:<18} {:<12} {:>14} {:>9} {:>9} {:>9} {:>8} {:>6} {:>9} {:>7}  {}\n",
        "step",
        "kind",
        "result",
        "ms",
        "min ms",
        "MMAC",
        "GMAC/s",
        "peak",
        "kB moved",
        "GB/s",
        "arena"
    );
    for s in &p.steps {
        let shape = s.shape.map(|n| n.to_string()).join("x");
        out += &format!(
            "{:<18} {:<12} {:>14} {:>9.4} {:>9.4} {:>9.2} {:>8.1} {:>4.0} % {:>9.1} {:>7.2}  \
             {}..{}\n",
            plain(&s.name),
            plain(&s.kind),
            shape,
            s.median_ms,
            s.min_ms,
            s.macs as f64 / 1e6,
            s.gmac_per_s,
            s.percent_of_peak,
            s.bytes as f64 / 1e3,
            s.gb_per_s,
            s.arena[0],
            s.arena[1]
        );
    }
    out + &counted(p)
}

/// What the processor counted in each step; empty where it counted nothing.
fn counted(p: &Profile) -> String {
    let mut out = String::new();
    for (step, counts) in p.steps.iter().filter_map(|step| Some((step, step.counts?))) {
        if out.is_empty() {
            out += &format!(
                "\n{:<18} {:>14} {:>14} {:>8} {:>14} {:>14}\n",
                "step", "cycles", "instructions", "a cycle", "cache misses", "branch misses"
            );
        }
        let ([cycles, instructions, cache, branches], per_cycle) = counts.told();
        out += &format!(
            "{:<18} {cycles:>14} {instructions:>14} {per_cycle:>8} {cache:>14} {branches:>14}\n",
            plain(&step.name)
        );
    }
    out
}

/// What stands above the steps.
fn summary(p: &Profile) -> String {
    let l = p.latency_ms;
    let mut out = format!(
        "{} at {} by {} on {} thread(s) of {}\n",
        plain(&p.model),
        p.size,
        plain(&p.engine),
        p.threads,
        p.cpu.as_deref().unwrap_or("an unnamed processor")
    );
    let mut line = |name: &str, text: String| out += &format!("{name:<8} {text}\n");
    let v = p.volume;
    if let Some(q) = &p.prediction {
        let ends = |value: f64| {
            [value * (1.0 - q.error_percent / 100.0), value * (1.0 + q.error_percent / 100.0)]
        };
        let ([low, high], [first, last]) = (ends(l.median), ends(v.total_s));
        line("PREDICTED", format!("not measured; error bar {} %: {}", q.error_percent, q.basis));
        line("slice", format!("{:.2} ms on one core, between {low:.2} and {high:.2}", l.median));
        if let Some(count) = q.instructions {
            line("executes", format!("{:.1} million instructions a slice", count / 1e6));
        }
        let nets = match v.other_s {
            Some(other) => {
                format!("nets {:.1} s, other stages {other:.1} s beside them", v.infer_s)
            }
            None => "the nets alone".into(),
        };
        line(
            "volume",
            format!(
                "{} slices in {:.1} s, between {first:.1} and {last:.1}; {nets}",
                v.slices, v.total_s
            ),
        );
        if !q.nearest_classes.is_empty() {
            let names = q.nearest_classes.join(", ");
            line(
                "classes",
                format!(
                    "for {:.0} % of a slice the nearest class's costs stand: {names}",
                    q.nearest_percent
                ),
            );
        }
    } else {
        line(
            "slice",
            format!(
                "{:.3} ms median, {:.3} min, {:.3} p95, {:.3} p99, {:.3} max, {:.3} deviation over \
                 {} slices; {:.1} slices/s",
                l.median,
                l.min,
                l.p95,
                l.p99,
                l.max,
                l.deviation,
                p.threads * p.runs,
                p.slices_per_s
            ),
        );
        line("volume", format!("{} slices in {:.2} s, the nets alone", v.slices, v.total_s));
    }
    if let Some(s) = p.start {
        line(
            "start",
            format!(
                "{:.1} ms from a new process to its first slice, {:.1} ms in this one",
                s.cold_ms, s.warm_ms
            ),
        );
    }
    if p.macs > 0 {
        let part = 100.0 * p.gmac_per_s / p.peak_gmac_per_s;
        let peak = p.peak_gmac_per_s;
        line(
            "rate",
            format!(
                "{:.1} GMAC/s of {peak:.1} that the instruction reaches on registers: {part:.0} %",
                p.gmac_per_s
            ),
        );
    }
    let levels: Vec<String> =
        p.bandwidth.iter().map(|b| format!("{} {:.1} GB/s", b.level, b.gb_per_s)).collect();
    line("copying", levels.join(", "));
    if let Some(bytes) = p.peak_memory_bytes {
        line(
            "memory",
            format!(
                "{:.1} MB resident at most, arena {} bytes a thread",
                bytes as f64 / f64::from(1 << 20),
                p.arena_bytes
            ),
        );
    }
    for (name, text) in p.room.iter().flat_map(|room| room::lines(room, None)) {
        line(name, text);
    }
    if let Some([before, after]) = p.frequency_mhz {
        let note = if after < 0.95 * before { ": it throttles" } else { "" };
        line("clock", format!("{before:.0} MHz before, {after:.0} after{note}"));
    }
    if let Some(energy) = &p.energy {
        line(
            "energy",
            format!(
                "{:.4} J a slice, {:.1} W, by {}",
                energy.joules_per_slice,
                energy.watts,
                plain(&energy.meters.join(", "))
            ),
        );
    } else if p.kind == Kind::Measured {
        line("energy", "not told: the system has no meter, or keeps it from this user".into());
    }
    if let Some(why) = &p.uncounted {
        line("counters", plain(why).to_string());
    }
    if let Some(o) = p.overhead {
        line("timing", format!("of the steps costs {:+.2} % of a slice", o.percent));
    }
    if p.kind == Kind::Measured && !p.pinned {
        line("cores", "threads could not be bound to cores".into());
    }
    for check in p.verdict.iter().flat_map(|v| &v.checks) {
        let word = if check.passed { "holds" } else { "EXCEEDED" };
        line(
            "budget",
            format!("{word}: {} {:.2}, at most {}", check.what, check.found, check.limit),
        );
    }
    out
}

/// The steps of a median slice one after another, in the Trace Event Format (complete events,
/// microseconds).
fn trace(p: &Profile) -> String {
    let mut start = 0.0;
    let events: Vec<serde_json::Value> = p
        .steps
        .iter()
        .map(|s| {
            let us = s.median_ms * 1e3;
            let args = serde_json::json!({
                "GMAC/s": s.gmac_per_s,
                "percent of peak": s.percent_of_peak,
                "shape": s.shape,
            });
            let mut event = monet::measure::trace_event(&s.name, 1, [start, us], args);
            event["cat"] = serde_json::json!(s.kind);
            start += us;
            event
        })
        .collect();
    monet::measure::json(&serde_json::json!({ "traceEvents": events, "displayTimeUnit": "ms" }))
}
