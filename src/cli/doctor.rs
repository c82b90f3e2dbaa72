//! `monet doctor`: whether this machine is fit to segment, and what killed runs have left in the
//! current folder.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use monet::atomic;
use monet::core::Kernel;
use monet::engine::{KernelCheck, self_test};
use monet::measure::Machine;
use monet::package::Package;
use monet::pipeline::ModelReport;
use monet::text::{exact, plain};
use serde::Serialize;

use super::{Outcome, terminal};

const EXAMPLES: &str = "\
Examples:
  monet doctor
  monet doctor /etc/monet/box.toml    # a box's configuration, too
  monet doctor --json";

/// Examine this machine: processor, kernels, memory, model, and a self-test of the net on every
/// kernel
///
/// The self-test runs the embedded model over a built-in slice and compares its labels with the
/// ones it must give. Exit code 0: healthy; 1: not. The doctor lists, too, what killed runs have
/// left in the current folder. Such files do no harm: the next run that writes to the folder tidies
/// up (after a day, where they are another machine's or older than this one's start).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A box's configuration: its ports, folders, packages and peers are looked at, too
    #[cfg(feature = "serve")]
    #[arg(value_name = "CONFIG.toml")]
    config: Option<std::path::PathBuf>,
}

#[derive(Serialize)]
struct Examination {
    version: &'static str,
    reads_onnx: bool,
    machine: Machine,
    kernel: &'static str,
    kernels: Vec<&'static str>,
    model: ModelReport,
    self_test: Vec<KernelCheck>,
    /// None where the folder cannot be listed.
    leftovers: Option<Vec<String>>,
    /// What a box's configuration asks for, and how that is.
    #[cfg(feature = "serve")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<monet_serve::check::Finding>,
    healthy: bool,
}

/// Runs the command.
///
/// # Errors
/// An embedded model that cannot be run at all; a box's configuration that is refused.
pub(super) fn run(args: &DoctorArgs) -> Result<Outcome> {
    let self_test = self_test()?;
    #[cfg(feature = "serve")]
    let checks = args.config.as_deref().map(super::serve::check).transpose()?.unwrap_or_default();
    #[cfg(feature = "serve")]
    let fit = checks.iter().all(|check| check.good);
    #[cfg(not(feature = "serve"))]
    let fit = true;
    let leftovers = atomic::leftovers(Path::new(".")).ok();
    let examination = Examination {
        version: env!("CARGO_PKG_VERSION"),
        reads_onnx: cfg!(feature = "tract"),
        machine: Machine::this(),
        kernel: Kernel::best().name(),
        kernels: Kernel::available().map(Kernel::name).collect(),
        model: ModelReport::of(&Package::embedded().manifest),
        healthy: fit && self_test.iter().all(|check| check.healthy),
        #[cfg(feature = "serve")]
        checks,
        self_test,
        leftovers: leftovers.map(|names| names.iter().map(exact).collect()),
    };
    if args.json {
        terminal::print(&monet::measure::json(&examination))?;
    } else {
        terminal::print(&text(&examination))?;
    }
    Ok(if examination.healthy { Outcome::Done } else { Outcome::Failed })
}

fn text(e: &Examination) -> String {
    let build = if e.reads_onnx { "ONNX packages and plans" } else { "plans" };
    let machine = &e.machine;
    let unknown = || "unknown".to_owned();
    let mib = |bytes: Option<u64>| bytes.map_or_else(unknown, |b| format!("{} MiB", b >> 20));
    let mut out = format!("monet      {}, runs {build}\n", e.version);
    let mut line = |key: &str, value: String| out += &format!("{key:<10} {value}\n");
    line(
        "processor",
        format!("{}, {} core(s)", machine.cpu.clone().unwrap_or_else(unknown), machine.cores),
    );
    line("features", machine.features.join(" "));
    line("kernel", format!("{} of {}", e.kernel, e.kernels.join(", ")));
    line(
        "memory",
        format!("{}, {} available", mib(machine.memory_bytes), mib(machine.available_memory_bytes)),
    );
    line("model", format!("{} {}, sha256 {}", e.model.name, e.model.version, e.model.sha256));
    for check in &e.self_test {
        let verdict = if check.healthy { "right" } else { "WRONG LABELS" };
        line("self-test", format!("{:<12} {verdict}, {:.2} ms", check.kernel, check.ms));
    }
    match &e.leftovers {
        None => line("left", "unknown, the folder cannot be listed".to_owned()),
        Some(names) if names.is_empty() => {}
        Some(names) => {
            let tidies = "the next run that writes to this folder tidies up";
            line("left", format!("by killed runs (100 names at most); {tidies}"));
            names.iter().for_each(|name| line("", plain(name).into_owned()));
        }
    }
    #[cfg(feature = "serve")]
    for check in &e.checks {
        let verdict = if check.good { "good" } else { "BAD " };
        out += &format!("{verdict}       {}: {}\n", plain(&check.what), plain(&check.found));
    }
    out + if e.healthy { "healthy\n" } else { "NOT HEALTHY: do not use this machine so\n" }
}
