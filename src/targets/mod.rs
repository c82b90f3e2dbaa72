//! Boards: what a data sheet says of a board, and what is demanded of it.
//!
//! A [`Target`] is a TOML file of the folder `targets`, embedded here, or one of the user's own.
//! Reading checks every figure: a file that contradicts itself is an error that names the field.
//! [`Machine`] describes the machine that this runs on in the same terms.

mod check;
mod machine;
mod room;

use std::ffi::OsStr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use machine::{Lack, Machine, nearest};
pub use room::{Planned, Room, largest, plan};

use crate::text::shown;

/// Version of the form that profiles have.
pub const FORMAT: u32 = 1;

/// Slices of the volume whose time is in the budget.
pub const VOLUME_SLICES: usize = 150;

/// Names and texts of the profiles that the library brings, in alphabetical order: every file of
/// the folder `targets`, as `build.rs` finds them.
pub const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/targets.rs"));

/// A device profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Version of the form, [`FORMAT`].
    pub format: u32,
    /// The name by which users choose the target: small letters, digits and hyphens.
    pub name: String,
    /// What it is, for people.
    pub board: String,
    /// Rust target triple.
    pub triple: String,
    /// Instruction sets, as Linux names them in `/proc/cpuinfo`; those that kernels look for.
    pub features: Vec<String>,
    /// The kernel that the engine is expected to choose.
    pub kernel: String,
    /// CPU of qemu that is nearest to it, for tests.
    pub qemu_cpu: String,
    /// Its cores.
    pub core: Core,
    /// What one core reaches.
    pub caches: Caches,
    /// Its memory, where it has an operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Its memory, where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// What is asked of it.
    pub budget: Budget,
    /// What the kernels' multiplying instructions could do at most.
    pub peak: Vec<Peak>,
}

/// The cores of a board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// The core's name.
    pub name: String,
    /// The core's number as Linux shows it in `/proc/cpuinfo`, where it does: `CPU part` of Arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Its scheduling model in LLVM, or the nearest.
    pub model: String,
    /// Whether it executes in program order: such a core waits for memory.
    pub in_order: bool,
    /// How many there are.
    pub count: usize,
    /// Frequency in megahertz that the core sustains.
    pub clock_mhz: f64,
}

/// Data caches in kB; 0 for one that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Caches {
    pub l1d_kb: u64,
    pub l2_kb: u64,
    pub l3_kb: u64,
}

/// Memory of a board with an operating system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Megabytes.
    pub size_mb: u64,
    /// Most memory that the process may have resident, megabytes.
    pub ceiling_mb: u64,
    /// Bandwidth of the bus, gigabytes a second.
    pub bandwidth_gb_s: f64,
    /// Where the bandwidth comes from.
    pub source: String,
}

/// Memory of a board without an operating system, and what its program takes of it beside the plan
/// and the plan's arena. A kB has 1024 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// kB of flash memory, for code and plan.
    pub flash_kb: u64,
    /// kB of the memory that holds arena, stack, slices and labels.
    pub ram_kb: u64,
    /// kB of code.
    pub code_kb: u64,
    /// kB of stack.
    pub stack_kb: u64,
    /// Bandwidth of the bus to that memory, gigabytes a second.
    pub bandwidth_gb_s: f64,
    /// Where the bandwidth comes from.
    pub source: String,
}

/// The time that a slice and a volume may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// One slice on one core, milliseconds.
    pub slice_ms: f64,
    /// [`VOLUME_SLICES`] slices on all cores, seconds.
    pub volume_s: f64,
}

/// The limit of a kernel on a core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// Which kernel.
    pub kernel: String,
    /// Int8 multiply-accumulates a cycle.
    pub macs_per_cycle: f64,
    /// The document that says so.
    pub source: String,
}

/// Why a profile cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No embedded profile has this name.
    #[error(
        "no target is called \"{name}\"; known are {}; a file of your own ends in .toml",
        EMBEDDED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("{origin}: cannot be read")]
    Read {
        /// The file.
        origin: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, a field is missing, of another type or not known.
    #[error("{origin}: not a device profile: {reason}")]
    Parse {
        /// The file.
        origin: String,
        /// The line and the field.
        reason: String,
    },
    /// A field contradicts another or is out of range.
    #[error("{origin}: field `{field}` is {found}; expected {expected}")]
    Field {
        /// The file.
        origin: String,
        /// The field, with its table.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
}

/// No profile is longer.
const MAX_BYTES: u64 = 1 << 20;

impl Target {
    /// The embedded profile of that name, or the file where it ends in `.toml`.
    ///
    /// # Errors
    /// [`TargetError`]
    pub fn find(name: &(impl AsRef<OsStr> + ?Sized)) -> Result<Self, TargetError> {
        let (path, origin) = (Path::new(name), shown(name).to_string());
        if path.extension().is_some_and(|e| e == "toml") {
            return match crate::whole::text(path, MAX_BYTES) {
                Ok(text) => Self::parse(&text, &origin),
                Err(source) => Err(TargetError::Read { origin, source }),
            };
        }
        match EMBEDDED.iter().find(|(known, _)| *known == origin) {
            Some((name, text)) => Self::parse(text, name),
            None => Err(TargetError::Unknown { name: origin }),
        }
    }

    /// All embedded profiles, the slowest boards first.
    ///
    /// # Panics
    /// Never with the profiles of this crate: a test reads them all.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let parse = |(name, text): &(&str, &str)| {
            Self::parse(text, name).expect("the embedded profiles are valid, as a test shows")
        };
        let mut all: Vec<_> = EMBEDDED.iter().map(parse).collect();
        all.sort_by(|a, b| b.budget.slice_ms.total_cmp(&a.budget.slice_ms));
        all
    }

    /// A profile from TOML; `origin` is for errors.
    ///
    /// # Errors
    /// [`TargetError::Parse`], [`TargetError::Field`]
    pub fn parse(text: &str, origin: &str) -> Result<Self, TargetError> {
        let target: Self = toml::from_str(text).map_err(|e| TargetError::Parse {
            origin: origin.into(),
            reason: e.to_string().trim_end().to_owned(),
        })?;
        check::check(&target, origin)?;
        Ok(target)
    }

    /// The same board with another kernel.
    ///
    /// # Errors
    /// [`TargetError::Field`] where its CPU cannot have that kernel.
    pub fn with_kernel(mut self, kernel: &str) -> Result<Self, TargetError> {
        if self.kernel != kernel {
            kernel.clone_into(&mut self.kernel);
            check::kernel_of(&self, &self.name)?;
        }
        Ok(self)
    }

    /// The architecture: what stands before the triple's first hyphen.
    #[must_use]
    pub fn arch(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }

    /// The peak of a kernel on one core, in GMAC/s; none where the profile does not tell.
    #[must_use]
    pub fn peak_gmac_per_s(&self, kernel: &str) -> Option<f64> {
        let peak = self.peak.iter().find(|peak| peak.kernel == kernel)?;
        Some(peak.macs_per_cycle * self.core.clock_mhz / 1e3)
    }

    /// Bandwidth of the bus to its memory in gigabytes a second, and where the figure comes from.
    #[must_use]
    pub fn bandwidth(&self) -> (f64, &str) {
        let memory = self.memory.as_ref().map(|memory| (memory.bandwidth_gb_s, &memory.source));
        let firmware = self.firmware.as_ref().map(|board| (board.bandwidth_gb_s, &board.source));
        // Reading the profile has made sure that it has one of the two.
        memory.or(firmware).map_or((0.0, ""), |(gb_per_s, source)| (gb_per_s, source))
    }

    /// The caches by level, bytes.
    #[must_use]
    pub fn cache_bytes(&self) -> [u64; 3] {
        [self.caches.l1d_kb, self.caches.l2_kb, self.caches.l3_kb].map(|kb| kb << 10)
    }
}
