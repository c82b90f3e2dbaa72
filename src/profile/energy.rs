//! What a measurement takes of energy, where Linux tells.
//!
//! - `powercap`: Intel's and AMD's RAPL, a counter a package of cores
//!   (`/sys/class/powercap/intel-rapl:N/energy_uj`, see the kernel's `power/powercap`). A zone
//!   `psys`, the whole platform, has the packages in it.
//! - `hwmon`: a board's own meter (`/sys/class/hwmon/hwmonN/energyN_input`, microjoules). Where
//!   labels tell cores from sockets, as `amd_energy`'s do, sockets have the cores in them.
//!
//! Both count all that the machine does meanwhile. Many systems let root alone read RAPL.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Energy of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// What told it: names of the meters.
    pub meters: Vec<String>,
    /// Joules a slice, whatever else the machine did.
    pub joules_per_slice: f64,
    /// Watts while slices were run.
    pub watts: f64,
}

/// Meters that run.
pub(super) struct Meters(Vec<Meter>);

struct Meter {
    name: String,
    counter: PathBuf,
    start: u64,
    /// Microjoules after which the counter begins at 0 again.
    wraps: Option<u64>,
}

impl Meters {
    /// Starts the meters below a folder, which is `/sys` but in tests.
    pub(super) fn start(sys: &Path) -> Self {
        let powercap = below(&sys.join("class/powercap"), |name| {
            // `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it.
            name.starts_with("intel-rapl:") && name.matches(':').count() == 1
        });
        let packages = powercap.iter().map(|zone| (zone.join("name"), zone.join("energy_uj")));
        let mut meters: Vec<_> =
            packages.filter_map(|(name, uj)| Meter::start(&name, uj)).collect();
        if meters.iter().any(|meter| meter.name.starts_with("package")) {
            meters.retain(|meter| meter.name != "psys");
        }
        if meters.is_empty() {
            for chip in below(&sys.join("class/hwmon"), |_| true) {
                let counters = below(&chip, |name| {
                    let label = name.replace("_input", "_label");
                    let label = fs::read_to_string(chip.join(label)).unwrap_or_default();
                    let is_counter = name.starts_with("energy") && name.ends_with("_input");
                    is_counter && !label.starts_with("Ecore")
                });
                let name = chip.join("name");
                meters.extend(counters.into_iter().filter_map(|uj| Meter::start(&name, uj)));
            }
        }
        Self(meters)
    }

    /// What the meters count since their start, for so many slices in so many seconds; `None` where
    /// there is no meter.
    pub(super) fn stop(self, slices: usize, seconds: f64) -> Option<Energy> {
        let joules: Option<f64> = self.0.iter().map(Meter::joules).sum();
        let joules = joules.filter(|joules| *joules > 0.0)?;
        Some(Energy {
            meters: self.0.into_iter().map(|meter| meter.name).collect(),
            joules_per_slice: joules / slices as f64,
            watts: joules / seconds,
        })
    }
}

impl Meter {
    fn start(name: &Path, counter: PathBuf) -> Option<Self> {
        let start = number(&counter)?;
        let name = fs::read_to_string(name).map_or_else(|_| "unnamed".into(), |s| s.trim().into());
        let wraps = number(&counter.with_file_name("max_energy_range_uj"));
        Some(Self { name, counter, start, wraps })
    }

    fn joules(&self) -> Option<f64> {
        let end = number(&self.counter)?;
        let counted = match end.checked_sub(self.start) {
            Some(counted) => counted,
            None => end + (self.wraps?.checked_sub(self.start)?),
        };
        Some(counted as f64 / 1e6)
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// What is in a folder and has a name that is wanted, in order.
fn below(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_str().is_some_and(&wanted));
    let mut all: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn packages_count_and_their_parts_do_not() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        for (zone, name) in [("0", "package-0"), ("0:0", "core"), ("1", "package-1"), ("2", "psys")]
        {
            write(sys, &format!("class/powercap/intel-rapl:{zone}/name"), name);
            write(sys, &format!("class/powercap/intel-rapl:{zone}/energy_uj"), "1000000\n");
        }
        // The second package's counter begins anew.
        write(sys, "class/powercap/intel-rapl:1/max_energy_range_uj", "3000000\n");
        write(sys, "class/hwmon/hwmon0/energy1_input", "5\n");
        let meters = Meters::start(sys);
        write(sys, "class/powercap/intel-rapl:0/energy_uj", "7000000\n");
        write(sys, "class/powercap/intel-rapl:1/energy_uj", "500000\n");
        write(sys, "class/powercap/intel-rapl:2/energy_uj", "90000000\n");
        let energy = meters.stop(10, 4.0).unwrap();
        assert_eq!(energy.meters, ["package-0", "package-1"]);
        assert!((energy.joules_per_slice - 0.85).abs() < 1e-9, "{energy:?}");
        assert!((energy.watts - 2.125).abs() < 1e-9, "{energy:?}");
    }

    #[test]
    fn a_boards_meter_stands_in_and_none_is_none() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        assert_eq!(Meters::start(sys).stop(1, 1.0), None);
        write(sys, "class/hwmon/hwmon0/name", "ina226\n");
        write(sys, "class/hwmon/hwmon0/energy1_input", "100\n");
        write(sys, "class/hwmon/hwmon1/energy1_input", "100\n");
        write(sys, "class/hwmon/hwmon1/energy1_label", "Ecore000\n");
        let meters = Meters::start(sys);
        write(sys, "class/hwmon/hwmon0/energy1_input", "1000100\n");
        let energy = meters.stop(2, 0.5).unwrap();
        assert_eq!(
            (&energy.meters[..], energy.joules_per_slice),
            (&["ina226".to_owned()][..], 0.5)
        );
    }
}
