//! `monet targets`: the boards.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;
use monet::targets::{Firmware, Lack, Machine, Memory, Target, nearest};
use serde::Serialize;

use super::{Outcome, terminal};

const EXAMPLES: &str = "\
Examples:
  monet targets
  monet targets raspberry-pi-4
  monet targets --detect --json";

/// List the boards, show one, or find the one nearest to this machine
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TargetsArgs {
    /// Profile to show: a name, or a TOML file of your own
    #[arg(value_name = "NAME|FILE.toml", conflicts_with = "detect")]
    name: Option<OsString>,
    /// Say which profile this machine is nearest to and what it lacks
    #[arg(long)]
    detect: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--detect` finds.
#[derive(Debug, Serialize)]
struct Detected {
    machine: Machine,
    nearest: Option<String>,
    lacks: Vec<Lack>,
}

/// Runs the command.
///
/// # Errors
/// A profile that is not known or not valid.
pub(super) fn run(args: &TargetsArgs) -> Result<Outcome> {
    let text = match (&args.name, args.detect) {
        (Some(name), _) => {
            let target = Target::find(name)?;
            if args.json { monet::measure::json(&target) } else { one(&target) }
        }
        (None, true) => {
            let machine = Machine::detect();
            let targets = Target::all();
            let target = nearest(&machine, &targets);
            let lacks = target.map(|t| machine.lacks(t)).unwrap_or_default();
            let found = Detected { machine, nearest: target.map(|t| t.name.clone()), lacks };
            if args.json { monet::measure::json(&found) } else { detected(&found) }
        }
        (None, false) if args.json => monet::measure::json(&Target::all()),
        (None, false) => list(&Target::all()),
    };
    terminal::print(&text)?;
    Ok(Outcome::Done)
}

fn list(targets: &[Target]) -> String {
    let mut out = format!(
        "{:<17} {:<13} {:>5} {:>6}  {:<13} {:>8} {:>10} {:>10} {:>10}\n",
        "name", "core", "cores", "GHz", "kernel", "GMAC/s", "ceiling", "budget ms", "budget s"
    );
    for t in targets {
        out += &format!(
            "{:<17} {:<13} {:>5} {:>6.2}  {:<13} {:>8.1} {:>10} {:>10} {:>10}\n",
            t.name,
            t.core.name,
            t.core.count,
            t.core.clock_mhz / 1e3,
            t.kernel,
            t.peak_gmac_per_s(&t.kernel).unwrap_or(0.0),
            ceiling(t),
            t.budget.slice_ms,
            t.budget.volume_s
        );
    }
    out + "\nGMAC/s: what the kernel's instruction could do at most on one core. Ceiling: the \
           memory that an\nintegrator grants to monet, or the RAM of a board without an operating \
           system. Budgets: the\nmost that may be taken by a 256x256 slice of the full-size MoNet \
           on one core, and by 150 of\nthem on all cores; of boards without an operating system, \
           by slices of the embedded package.\n"
}

/// Most memory that may be taken.
fn ceiling(t: &Target) -> String {
    let ram = t.firmware.as_ref().map(|board| format!("{} kB", board.ram_kb));
    let memory = t.memory.as_ref().map(|memory| format!("{} MB", memory.ceiling_mb));
    memory.or(ram).unwrap_or_default()
}

fn one(t: &Target) -> String {
    let mut out = format!("{}: {}\n", t.name, t.board);
    let mut line = |name: &str, value: String| out += &format!("  {name:<10} {value}\n");
    line("triple", t.triple.clone());
    line(
        "cores",
        format!(
            "{} x {} at {} MHz, {}",
            t.core.count,
            t.core.name,
            t.core.clock_mhz,
            if t.core.in_order { "in order" } else { "out of order" }
        ),
    );
    line("features", t.features.join(" "));
    line("kernel", t.kernel.clone());
    line(
        "caches",
        format!("{} kB L1, {} kB L2, {} kB L3", t.caches.l1d_kb, t.caches.l2_kb, t.caches.l3_kb),
    );
    if let Some(Memory { size_mb, bandwidth_gb_s, source, .. }) = &t.memory {
        line("memory", format!("{size_mb} MB at {bandwidth_gb_s} GB/s ({source})"));
    }
    if let Some(Firmware { flash_kb, ram_kb, code_kb, stack_kb, bandwidth_gb_s, source }) =
        &t.firmware
    {
        line("flash", format!("{flash_kb} kB, of which the program takes {code_kb}"));
        let bus = format!("at {bandwidth_gb_s} GB/s ({source})");
        line("RAM", format!("{ram_kb} kB, of which the stack takes {stack_kb}, {bus}"));
    }
    let budget = format!("{} ms a slice, {} s a volume", t.budget.slice_ms, t.budget.volume_s);
    line("budget", format!("{budget}, {}", ceiling(t)));
    line("models", format!("qemu -cpu {}, llvm-mca -mcpu={}", t.qemu_cpu, t.core.model));
    for peak in &t.peak {
        let rate = t.peak_gmac_per_s(&peak.kernel).unwrap_or(0.0);
        line(
            "peak",
            format!(
                "{}: {} MAC/cycle, {rate:.1} GMAC/s a core ({})",
                peak.kernel, peak.macs_per_cycle, peak.source
            ),
        );
    }
    out
}

fn detected(found: &Detected) -> String {
    let m = &found.machine;
    let mut out = format!(
        "{}: {} cores, {}, kernel {}\n",
        m.cpu.as_deref().unwrap_or("an unnamed processor"),
        m.cores,
        m.arch,
        m.kernel
    );
    let Some(nearest) = &found.nearest else {
        return out
            + "no profile has this architecture; `monet targets` lists those that there are\n";
    };
    out += &format!("nearest profile: {nearest}\n");
    if found.lacks.is_empty() {
        return out + "it lacks nothing that the profile has\n";
    }
    for lack in &found.lacks {
        out += &format!(
            "lacks {}: the profile has {}, this machine {}\n",
            lack.what, lack.wanted, lack.found
        );
    }
    out
}
