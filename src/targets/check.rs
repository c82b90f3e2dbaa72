//! What must hold between the fields of a profile.

use std::sync::OnceLock;

use monet_core::Kernel;

use super::{FORMAT, Target, TargetError};
use crate::text::is_plain;

/// Architectures, as triples begin.
const ARCHITECTURES: [&str; 5] = ["x86_64", "aarch64", "armv7", "thumbv7em", "thumbv8m.main"];

/// What a kernel needs of a CPU of this architecture; none where the architecture lacks the kernel.
fn needs(kernel: Kernel, arch: &str) -> Option<&'static [&'static str]> {
    kernel.cpus().iter().find(|cpu| cpu.0 == arch).map(|cpu| cpu.1)
}

/// The features that some kernel looks for, and `sve`, in the order of kernels.
pub(super) fn features() -> &'static [&'static str] {
    static ALL: OnceLock<Vec<&str>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all: Vec<&str> = Vec::new();
        let wanted = Kernel::ALL.into_iter().flat_map(|kernel| kernel.cpus()).flat_map(|cpu| cpu.1);
        for feature in wanted.chain(&["sve"]) {
            if !all.contains(feature) {
                all.push(feature);
            }
        }
        all
    })
}

/// The fastest kernel that an architecture with these features can have, of those that are timed.
pub(super) fn best_kernel(arch: &str, features: &[String]) -> &'static str {
    let has = |wanted: &&str| features.iter().any(|f| f == wanted);
    let runs = |kernel| needs(kernel, arch).is_some_and(|all| all.iter().all(has));
    Kernel::fastest(runs).name()
}

/// Checks the kernel of a profile.
pub(super) fn kernel_of(t: &Target, origin: &str) -> Result<(), TargetError> {
    kernel(t, &t.kernel).map_err(|expected| TargetError::Field {
        origin: origin.into(),
        field: "kernel",
        found: format!("\"{}\"", t.kernel),
        expected,
    })
}

/// Checks a profile.
pub(super) fn check(t: &Target, origin: &str) -> Result<(), TargetError> {
    let fault = |field, found: &dyn std::fmt::Display, expected: String| {
        Err(TargetError::Field { origin: origin.into(), field, found: found.to_string(), expected })
    };
    if t.format != FORMAT {
        return fault("format", &t.format, format!("{FORMAT}, the only version that there is"));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if t.name.is_empty() || !t.name.chars().all(plain) {
        let found = format!("\"{}\"", t.name);
        return fault("name", &found, "small letters, digits and hyphens".into());
    }
    let texts = [
        ("board", &t.board),
        ("triple", &t.triple),
        ("qemu_cpu", &t.qemu_cpu),
        ("core.name", &t.core.name),
    ];
    let model = [("core.model", &t.core.model)];
    let memory = t.memory.iter().map(|memory| ("memory.source", &memory.source));
    let firmware = t.firmware.iter().map(|board| ("firmware.source", &board.source));
    let peaks = t.peak.iter().map(|peak| ("peak.source", &peak.source));
    if let Some((field, text)) = texts
        .into_iter()
        .chain(model)
        .chain(memory)
        .chain(firmware)
        .chain(peaks)
        .find(|(_, text)| !is_plain(text))
    {
        return fault(
            field,
            &format!("{text:?}"),
            "text on one line, without control characters".into(),
        );
    }
    if !ARCHITECTURES.contains(&t.arch()) {
        let found = format!("\"{}\"", t.triple);
        let expected = format!("one that begins with {}-", ARCHITECTURES.join("-, "));
        return fault("triple", &found, expected);
    }
    if let Some(unknown) = t.features.iter().find(|f| !features().contains(&f.as_str())) {
        let expected = format!("only features that kernels look for: {}", features().join(", "));
        return fault("features", &format!("\"{unknown}\""), expected);
    }
    kernel_of(t, origin)?;
    numbers(t).or_else(|(field, found, expected)| fault(field, &found, expected))?;
    for peak in &t.peak {
        let named = format!("\"{}\"", peak.kernel);
        kernel(t, &peak.kernel).or_else(|expected| fault("peak.kernel", &named, expected))?;
        if !(peak.macs_per_cycle > 0.0 && peak.macs_per_cycle <= 4096.0) {
            let expected = format!("more than 0 and at most 4096 (kernel \"{}\")", peak.kernel);
            return fault("peak.macs_per_cycle", &peak.macs_per_cycle, expected);
        }
        if peak.source.trim().is_empty() {
            return fault("peak.source", &"empty", "the document that tells the rate".into());
        }
    }
    if !t.peak.iter().any(|peak| peak.kernel == t.kernel) {
        return fault(
            "peak",
            &"without the kernel",
            format!("an entry for \"{}\", the profile's own", t.kernel),
        );
    }
    Ok(())
}

/// Whether the profile's CPU can have a kernel; otherwise what would be expected.
fn kernel(t: &Target, name: &str) -> Result<(), String> {
    let Some(kernel) = Kernel::ALL.into_iter().find(|kernel| kernel.name() == name) else {
        return Err(format!("one of {}", Kernel::ALL.map(Kernel::name).join(", ")));
    };
    let Some(wanted) = needs(kernel, t.arch()) else {
        let can = Kernel::ALL.into_iter().filter(|kernel| needs(*kernel, t.arch()).is_some());
        let can: Vec<_> = can.map(Kernel::name).collect();
        return Err(format!("one that the triple's {} can have: {}", t.arch(), can.join(", ")));
    };
    match wanted.iter().find(|need| !t.features.iter().any(|f| f == *need)) {
        Some(lacking) => Err(format!("a kernel that the features allow: this one needs {lacking}")),
        None => Ok(()),
    }
}

/// Ranges of all numbers, and their order.
fn numbers(t: &Target) -> Result<(), (&'static str, String, String)> {
    let (c, b) = (&t.caches, &t.budget);
    let within = |field, value: f64, low: f64, high: f64| {
        if value >= low && value <= high {
            Ok(())
        } else {
            Err((field, value.to_string(), format!("{low} to {high}")))
        }
    };
    within("core.count", t.core.count as f64, 1.0, 4096.0)?;
    within("core.clock_mhz", t.core.clock_mhz, 8.0, 10_000.0)?;
    within("caches.l1d_kb", c.l1d_kb as f64, 1.0, 4096.0)?;
    match (&t.memory, &t.firmware) {
        (Some(m), None) => {
            within("memory.size_mb", m.size_mb as f64, 16.0, 1e8)?;
            within("memory.ceiling_mb", m.ceiling_mb as f64, 1.0, m.size_mb as f64)?;
            within("memory.bandwidth_gb_s", m.bandwidth_gb_s, 0.1, 1e5)?;
        }
        (None, Some(f)) => {
            within("firmware.flash_kb", f.flash_kb as f64, 1.0, 1e8)?;
            within("firmware.ram_kb", f.ram_kb as f64, 1.0, 1e8)?;
            within("firmware.code_kb", f.code_kb as f64, 1.0, f.flash_kb as f64)?;
            within("firmware.stack_kb", f.stack_kb as f64, 1.0, f.ram_kb as f64)?;
            within("firmware.bandwidth_gb_s", f.bandwidth_gb_s, 0.001, 1e5)?;
        }
        (memory, _) => {
            let found = if memory.is_some() { "beside `firmware`" } else { "missing" };
            let expected = "the memory of a board with an operating system, or in its place \
                            `firmware`, that of a board without";
            return Err(("memory", found.into(), expected.into()));
        }
    }
    within("budget.slice_ms", b.slice_ms, 1e-3, 1e7)?;
    within("budget.volume_s", b.volume_s, 1e-3, 1e7)?;
    let larger = |field, value: u64, than: &str, least: u64| {
        if value == 0 || value >= least {
            Ok(())
        } else {
            Err((
                field,
                value.to_string(),
                format!("at least {than} of {least}, or 0 where there is none"),
            ))
        }
    };
    larger("caches.l2_kb", c.l2_kb, "caches.l1d_kb", c.l1d_kb)?;
    larger("caches.l3_kb", c.l3_kb, "the caches before it", c.l2_kb.max(c.l1d_kb))?;
    if t.bandwidth().1.trim().is_empty() {
        let field = if t.memory.is_some() { "memory.source" } else { "firmware.source" };
        return Err((field, "empty".into(), "where the bandwidth comes from".into()));
    }
    if b.volume_s * 1e3 < b.slice_ms {
        let expected = format!("no less than one slice's {} ms", b.slice_ms);
        return Err(("budget.volume_s", b.volume_s.to_string(), expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::EMBEDDED;
    use super::*;

    fn error(changes: &[(&str, &str)]) -> String {
        let mut text =
            EMBEDDED.iter().find(|e| e.0 == "raspberry-pi-4").expect("is there").1.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        Target::parse(&text, "mine.toml").expect_err("must fail").to_string()
    }

    #[test]
    fn every_embedded_profile_is_valid_and_named_as_its_file() {
        for (name, text) in EMBEDDED {
            let target = Target::parse(text, name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(target.name, *name);
            assert_eq!(best_kernel(target.arch(), &target.features), target.kernel, "{name}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (changes, wanted) in [
            (&[("format = 1", "format = 2")][..], "field `format` is 2"),
            (&[("clock_mhz = 1500\n", "")], "missing field `clock_mhz`"),
            (&[("clock_mhz = 1500", "clock_mhz = \"fast\"")], "clock_mhz = \"fast\""),
            (&[("clock_mhz = 1500", "clock_mhz = nan")], "field `core.clock_mhz` is NaN"),
            (&[("count = 4", "count = 4\ncolour = 1")], "unknown field `colour`"),
            (&[("count = 4", "count = 0")], "field `core.count` is 0"),
            (&[("count = 4", "count = -1")], "count = -1"),
            (&[("slice_ms = 900", "slice_ms = 0")], "field `budget.slice_ms` is 0"),
            (&[("slice_ms = 900", "slice_ms = 90000")], "field `budget.volume_s` is 45"),
            (
                &[("l2_kb = 1024", "l2_kb = 16")],
                "field `caches.l2_kb` is 16; expected at least caches.l1d_kb of 32",
            ),
            (&[("qemu_cpu = \"", "qemu_cpu = \"\\u001b[2J")], "field `qemu_cpu` is \"\\u{1b}[2J"),
            (&[("board = \"", "board = \"a\\nmonet: done")], "field `board` is \"a\\nmonet"),
            (&[("l3_kb = 0", "l3_kb = 64")], "field `caches.l3_kb` is 64"),
            (&[("ceiling_mb = 64", "ceiling_mb = 4096")], "field `memory.ceiling_mb` is 4096"),
            (
                &[("\"neon-winograd\"", "\"avx2\"")],
                "field `kernel` is \"avx2\"; expected one that the triple's aarch64 can have",
            ),
            (
                &[("\"neon-winograd\"", "\"neon-dotprod\"")],
                "field `kernel` is \"neon-dotprod\"; expected a kernel that the features allow: \
                 this one needs asimddp",
            ),
            (
                &[("\"neon-winograd\"", "\"mmx\"")],
                "field `kernel` is \"mmx\"; expected one of scalar",
            ),
            (&[("aarch64-unknown", "riscv64gc-unknown")], "field `triple`"),
            (&[("macs_per_cycle = 8", "macs_per_cycle = 0")], "field `peak.macs_per_cycle` is 0"),
            (
                &[("[[peak]]\nkernel = \"neon-winograd\"", "[[peak]]\nkernel = \"scalar\"")],
                "field `peak` is without the kernel",
            ),
            (&[("\"asimd\"", "\"magic\"")], "field `features` is \"magic\""),
            (&[("[memory]", "[firmware]")], "unknown field `ceiling_mb`"),
            (
                &[(
                    "[budget]",
                    "[firmware]\nflash_kb = 1\nram_kb = 1\ncode_kb = 1\nstack_kb = 1\n\
                   bandwidth_gb_s = 1\nsource = \"s\"\n[budget]",
                )],
                "field `memory` is beside `firmware`",
            ),
        ] {
            let error = error(changes);
            assert!(
                error.starts_with("mine.toml: ") && error.contains(wanted),
                "{wanted}: {error}"
            );
        }
    }
}
