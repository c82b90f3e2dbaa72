//! What Linux tells of the machine that this runs on: the one reader of `/proc/cpuinfo` and
//! `/proc/meminfo`.
//!
//! This module finds fields and knows no kernels and no boards. What is not told stays unknown.

/// The system's own descriptions.
pub(crate) struct Host {
    cpuinfo: String,
    meminfo: String,
}

impl Host {
    /// This machine.
    pub(crate) fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self { cpuinfo: read("/proc/cpuinfo"), meminfo: read("/proc/meminfo") }
    }

    /// A machine with these descriptions.
    #[cfg(test)]
    pub(crate) fn of(cpuinfo: &str, meminfo: &str) -> Self {
        Self { cpuinfo: cpuinfo.into(), meminfo: meminfo.into() }
    }

    /// The first line `key : value` of the CPUs that has one of these keys.
    pub(crate) fn cpu(&self, keys: &[&str]) -> Option<&str> {
        let lines = self.cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(k, v)| (k.trim(), v.trim())).find(|(k, _)| keys.contains(k)).map(|(_, v)| v)
    }

    /// The features of the CPU, as Linux names them.
    pub(crate) fn features(&self) -> impl Iterator<Item = &str> {
        self.cpu(&["flags", "Features"]).unwrap_or_default().split_whitespace()
    }

    /// An amount of memory in bytes.
    pub(crate) fn memory(&self, key: &str) -> Option<u64> {
        let lines = self.meminfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.into_iter().find(|(k, _)| k.trim() == key)?;
        value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// Cores that this process may use.
    pub(crate) fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
