//! Describes the machine that this runs on as a target describes a board, and finds the nearest
//! target.
//!
//! What the system does not tell stays unknown, and counts neither for nor against a target.

use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use super::check::{best_kernel, features as known_features};
use super::{Caches, Target};
use crate::host::Host;

/// Distance of a profile for each feature that one side has and the other lacks, in doublings of a
/// size.
const FEATURE: f64 = 3.0;
/// Distance of a profile of another core, where the core's name is known.
const CORE: f64 = 4.0;

/// Names of those of Arm's cores that no board of `targets` has, by their part number in
/// `/proc/cpuinfo` (Main ID Register, Arm's own parts).
const PARTS: [(&str, &str); 6] = [
    ("0xc07", "Cortex-A7"),
    ("0xc0f", "Cortex-A15"),
    ("0xd05", "Cortex-A55"),
    ("0xd07", "Cortex-A57"),
    ("0xd09", "Cortex-A73"),
    ("0xd41", "Cortex-A78"),
];

/// Part numbers and names of Arm's cores: those of the boards, and the others.
fn parts() -> &'static [(String, String)] {
    static ALL: OnceLock<Vec<(String, String)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let boards = Target::all().into_iter().map(|target| target.core);
        let named = boards.filter_map(|core| Some((core.part?, core.name)));
        let others = PARTS.iter().map(|(part, name)| ((*part).into(), (*name).into()));
        named.chain(others).collect()
    })
}

/// What the system tells of a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// As in a triple: `x86_64`, `aarch64`, `armv7`.
    pub arch: String,
    /// The processor, as the system names it; the core where it is Arm's.
    pub cpu: Option<String>,
    /// Features that kernels look for.
    pub features: Vec<String>,
    /// The fastest kernel that they allow.
    pub kernel: &'static str,
    /// Cores that the process may use.
    pub cores: usize,
    /// Highest frequency.
    pub clock_mhz: Option<f64>,
    /// Data caches of the first core.
    pub caches: Option<Caches>,
    /// Memory.
    pub memory_mb: Option<u64>,
}

/// What a profile has and the machine has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// Field of the profile.
    pub what: &'static str,
    /// Its value.
    pub wanted: String,
    /// The machine's.
    pub found: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn detect() -> Self {
        let arch = if cfg!(target_arch = "arm") { "armv7" } else { std::env::consts::ARCH };
        let mut machine = Self::of(arch, Host::cores(), &Host::this());
        machine.caches = caches(Path::new("/sys/devices/system/cpu/cpu0/cache"));
        let fastest = Path::new("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
        if let Ok(khz) = std::fs::read_to_string(fastest).unwrap_or_default().trim().parse::<f64>()
        {
            machine.clock_mhz = Some(khz / 1e3);
        }
        machine
    }

    /// The machine that a host describes.
    fn of(arch: &str, cores: usize, host: &Host) -> Self {
        let field = |keys: &[&str]| host.cpu(keys).map(str::to_owned);
        let told: Vec<&str> = host.features().collect();
        let known = known_features().iter().filter(|feature| told.contains(feature));
        let features: Vec<String> = known.map(|feature| (*feature).to_owned()).collect();
        let core = field(&["CPU part"])
            .and_then(|part| parts().iter().find(|known| known.0 == part))
            .map(|known| known.1.clone());
        Self {
            arch: arch.into(),
            cpu: core
                .or_else(|| Some(identified(field(&["model name"])?, &field)))
                .or_else(|| field(&["Model", "Hardware"])),
            kernel: best_kernel(arch, &features),
            features,
            cores,
            // `/proc/cpuinfo` tells the frequency of the moment; in a virtual machine, often that
            // of the time-stamp counter.
            clock_mhz: None,
            caches: None,
            memory_mb: host.memory("MemTotal").map(|bytes| bytes >> 20),
        }
    }

    /// What a profile has and this machine has not.
    #[must_use]
    pub fn lacks(&self, t: &Target) -> Vec<Lack> {
        let mut all = Vec::new();
        let mut lack = |what, wanted: &dyn ToString, found: &dyn ToString| {
            all.push(Lack { what, wanted: wanted.to_string(), found: found.to_string() });
        };
        if self.arch != t.arch() {
            lack("triple", &t.arch(), &self.arch);
        }
        for feature in t.features.iter().filter(|f| !self.features.contains(f)) {
            lack("features", feature, &"none");
        }
        if self.cores < t.core.count {
            lack("core.count", &t.core.count, &self.cores);
        }
        if let Some(mhz) = self.clock_mhz.filter(|&mhz| mhz < 0.95 * t.core.clock_mhz) {
            lack("core.clock_mhz", &t.core.clock_mhz, &mhz);
        }
        if let Some(own) = self.caches {
            let pairs = [
                ("caches.l1d_kb", t.caches.l1d_kb, own.l1d_kb),
                ("caches.l2_kb", t.caches.l2_kb, own.l2_kb),
                ("caches.l3_kb", t.caches.l3_kb, own.l3_kb),
            ];
            pairs
                .into_iter()
                .filter(|p| p.2 < p.1)
                .for_each(|(what, wanted, found)| lack(what, &wanted, &found));
        }
        // Firmware keeps some memory for itself; that is no lack.
        if let (Some(memory), Some(mb)) = (&t.memory, self.memory_mb)
            && mb * 10 < memory.size_mb * 8
        {
            lack("memory.size_mb", &memory.size_mb, &mb);
        }
        all
    }

    /// How unlike a profile the machine is, in doublings.
    fn distance(&self, t: &Target) -> f64 {
        let ratio = |a: f64, b: f64| if a > 0.0 && b > 0.0 { (a / b).log2().abs() } else { 1.0 };
        let differ = known_features()
            .iter()
            .filter(|f| self.features.iter().any(|o| o == *f) != t.features.iter().any(|o| o == *f))
            .count();
        let core = self.cpu.as_deref().filter(|cpu| parts().iter().any(|p| p.1 == *cpu));
        let mut sum = FEATURE * differ as f64 + ratio(self.cores as f64, t.core.count as f64);
        sum += if core.is_some_and(|core| core != t.core.name) { CORE } else { 0.0 };
        sum += self.clock_mhz.map_or(0.0, |mhz| ratio(mhz, t.core.clock_mhz));
        if let (Some(memory), Some(mb)) = (&t.memory, self.memory_mb) {
            sum += 0.25 * ratio(mb as f64, memory.size_mb as f64);
        }
        sum + self.caches.map_or(0.0, |c| ratio(c.l2_kb as f64, t.caches.l2_kb as f64))
    }
}

/// The profile of the machine's architecture that it is nearest to; none where no profile has that
/// architecture.
#[must_use]
pub fn nearest<'a>(machine: &Machine, targets: &'a [Target]) -> Option<&'a Target> {
    targets
        .iter()
        .filter(|t| t.arch() == machine.arch)
        .min_by(|a, b| machine.distance(a).total_cmp(&machine.distance(b)))
}

/// The name of an x86 processor. Where a hypervisor hides the model, as in "AMD EPYC", family and
/// model numbers follow.
fn identified(name: String, field: &impl Fn(&[&str]) -> Option<String>) -> String {
    match (field(&["cpu family"]), field(&["model"])) {
        (Some(family), Some(model)) if !name.contains(|c: char| c.is_ascii_digit()) => {
            format!("{name} (family {family}, model {model})")
        }
        _ => name,
    }
}

/// The data caches of a core, as Linux shows them
/// (`Documentation/ABI/testing/sysfs-devices-system-cpu`).
fn caches(folder: &Path) -> Option<Caches> {
    let mut found = Caches { l1d_kb: 0, l2_kb: 0, l3_kb: 0 };
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        let (Some(level), Some(size), Some(kind)) = (read("level"), read("size"), read("type"))
        else {
            continue;
        };
        let Some(kb) = size.trim().strip_suffix('K').and_then(|n| n.parse().ok()) else { continue };
        match (level.trim(), kind.trim()) {
            ("1", "Data") => found.l1d_kb = kb,
            ("2", "Unified" | "Data") => found.l2_kb = kb,
            ("3", "Unified" | "Data") => found.l3_kb = kb,
            _ => {}
        }
    }
    (found.l1d_kb > 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI4: &str = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 \
        cpuid\nCPU implementer\t: 0x41\n\
                       CPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n";

    #[test]
    fn a_board_is_nearest_to_its_own_profile_and_says_what_it_lacks() {
        let machine = Machine::of("aarch64", 4, &Host::of(PI4, "MemTotal:        948304 kB\n"));
        assert_eq!((machine.cpu.as_deref(), machine.kernel), (Some("Cortex-A72"), "neon-winograd"));
        let all = Target::all();
        assert_eq!(nearest(&machine, &all).expect("one").name, "raspberry-pi-4");
        assert_eq!(machine.lacks(&Target::find("raspberry-pi-4").expect("embedded")), []);
        let lacks = machine.lacks(&Target::find("raspberry-pi-5").expect("embedded"));
        assert_eq!(
            lacks.iter().map(|l| l.what).collect::<Vec<_>>(),
            ["features", "memory.size_mb"]
        );
    }

    #[test]
    fn a_processor_whose_name_is_hidden_is_told_by_its_numbers() {
        let of = |name: &str| {
            let cpuinfo = format!(
                "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: {name}\ncpu MHz\t\t: 2596.0\n"
            );
            Machine::of("x86_64", 1, &Host::of(&cpuinfo, ""))
        };
        assert_eq!(of("AMD EPYC").cpu.as_deref(), Some("AMD EPYC (family 26, model 2)"));
        assert_eq!(of("AMD EPYC 9575F").cpu.as_deref(), Some("AMD EPYC 9575F"));
        // The frequency of the moment is no limit, and no lack.
        assert_eq!(of("AMD EPYC").clock_mhz, None);
    }

    #[test]
    fn every_profile_is_nearest_to_itself() {
        let all = Target::all();
        for t in &all {
            let machine = Machine {
                arch: t.arch().into(),
                cpu: Some(t.core.name.clone()),
                features: t.features.clone(),
                kernel: "scalar",
                cores: t.core.count,
                clock_mhz: Some(t.core.clock_mhz),
                caches: Some(t.caches),
                memory_mb: t.memory.as_ref().map(|memory| memory.size_mb),
            };
            assert_eq!(nearest(&machine, &all).map(|n| &n.name), Some(&t.name));
            assert_eq!(machine.lacks(t), []);
        }
    }

    #[test]
    fn no_profile_is_near_to_an_unknown_architecture() {
        assert_eq!(nearest(&Machine::of("riscv64", 1, &Host::of("", "")), &Target::all()), None);
    }
}
