//! What this machine is, as far as Linux tells.

use monet_core::Kernel;
use serde::Serialize;

use crate::host::Host;

/// Features that no kernel needs and that tell machines apart, as `/proc/cpuinfo` names them.
const KIN: [&str; 6] = ["fma", "vfpv4", "asimdhp", "sve", "sve2", "sme"];

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
        let host = Host::this();
        Self {
            cpu: name(&host),
            features: features(&host),
            cores: Host::cores(),
            memory_bytes: host.memory("MemTotal"),
            available_memory_bytes: host.memory("MemAvailable"),
        }
    }
}

fn name(host: &Host) -> Option<String> {
    if let Some(name) = host.cpu(&["model name"]) {
        return Some(name.to_owned());
    }
    let parts = ["CPU implementer", "CPU part", "CPU revision"].map(|key| host.cpu(&[key]));
    let [Some(implementer), Some(part), Some(revision)] = parts else { return None };
    Some(format!("ARM implementer {implementer}, part {part}, revision {revision}"))
}

/// Those that kernels need, and their kin, in the system's order.
fn features(host: &Host) -> Vec<String> {
    let needed =
        |feature: &str| Kernel::ALL.iter().flat_map(|k| k.cpus()).any(|c| c.1.contains(&feature));
    let told = host.features().filter(|feature| needed(feature) || KIN.contains(feature));
    told.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_cpuinfo_are_understood() {
        let x86 = "processor\t: 0\nmodel name\t: A core\nflags\t\t: fpu avx2 avx_vnni\n";
        let x86 = Host::of(x86, "MemTotal:       16 kB\n");
        assert_eq!(name(&x86).unwrap(), "A core");
        assert_eq!(features(&x86), ["avx2", "avx_vnni"]);
        assert_eq!((x86.memory("MemTotal"), x86.memory("MemFree")), (Some(16 << 10), None));
        let arm = "Features\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\nCPU \
            revision\t: 1\n";
        let arm = Host::of(arm, "");
        assert_eq!(name(&arm).unwrap(), "ARM implementer 0x41, part 0xd0b, revision 1");
        assert_eq!(features(&arm), ["asimd", "asimddp"]);
        let silent = Host::of("", "");
        assert_eq!((name(&silent), features(&silent)), (None, vec![]));
    }
}
