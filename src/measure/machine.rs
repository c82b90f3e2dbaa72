//! What this machine is, as far as Linux tells.

use std::fs::read_to_string;

use serde::Serialize;

/// Instructions that kernels ask for, and those that CPUs have beside them, as `/proc/cpuinfo`
/// names them.
const TELLING: [&str; 18] = [
    "ssse3",
    "sse4_1",
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "amx_int8", // x86
    "neon",
    "vfpv4",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "sve",
    "sve2",
    "sme", // ARM
];

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name; on ARM its implementer, part and revision.
    pub cpu: Option<String>,
    /// Those of its features that matter to nets.
    pub features: Vec<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// All memory.
    pub memory_bytes: Option<u64>,
    /// Memory that could be had without swapping.
    pub available_memory_bytes: Option<u64>,
}

impl Machine {
    /// The machine that this runs on.
    #[must_use]
    pub fn this() -> Self {
        let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = |key| field(&memory, key)?.strip_suffix(" kB")?.parse::<u64>().ok();
        Self {
            cpu: name(&cpu),
            features: features(&cpu),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib("MemTotal").map(|n| n * 1024),
            available_memory_bytes: kib("MemAvailable").map(|n| n * 1024),
        }
    }
}

/// The value of the first line `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(k, v)| (k.trim(), v.trim())).find(|(k, _)| *k == key).map(|(_, v)| v)
}

fn name(cpuinfo: &str) -> Option<String> {
    if let Some(name) = field(cpuinfo, "model name") {
        return Some(name.to_owned());
    }
    let parts = ["CPU implementer", "CPU part", "CPU revision"].map(|key| field(cpuinfo, key));
    let [Some(implementer), Some(part), Some(revision)] = parts else { return None };
    Some(format!("ARM implementer {implementer}, part {part}, revision {revision}"))
}

fn features(cpuinfo: &str) -> Vec<String> {
    let all = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features")).unwrap_or_default();
    all.split_whitespace().filter(|feature| TELLING.contains(feature)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_cpuinfo_are_understood() {
        let x86 = "processor\t: 0\nmodel name\t: A core\nflags\t\t: fpu avx2 avx_vnni\n";
        assert_eq!(name(x86).unwrap(), "A core");
        assert_eq!(features(x86), ["avx2", "avx_vnni"]);
        let arm = "Features\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\nCPU \
            revision\t: 1\n";
        assert_eq!(name(arm).unwrap(), "ARM implementer 0x41, part 0xd0b, revision 1");
        assert_eq!(features(arm), ["asimd", "asimddp"]);
        assert_eq!((name(""), features("")), (None, vec![]));
    }
}
