//! A study on its way, as the files in its folder say it.
//!
//! | name | what |
//! |---|---|
//! | `images/` | its instances, each named by its UID |
//! | `apart/` | instances with the UID of one of `images` and another content; not segmented |
//! | `case.json` | [`Case`]: where it came from, when |
//! | `results/` | what was made of it, and `summary.json`: [`Summary`] |
//! | `sent/NAME` | destination NAME has all that it is to get |
//! | `asked/NAME` | destination NAME has it, and was asked to commit itself to keep it |
//! | `late/NAME` | why destination NAME has not got it yet ([`crate::depart::Attempt`]) |
//! | `given-up/NAME` | destination NAME did not take it; the reason |
//! | `dropped/NAME` | a person has dropped what destination NAME was to get |
//! | `reason.txt` | why it failed |

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Destination, Output};
use crate::folders::{self, Folders, Stage};
use crate::log::Log;

/// The folder of a study's instances.
pub const IMAGES: &str = "images";
/// The folder of instances that are not what they say.
pub const APART: &str = "apart";
/// The file of [`Case`].
pub const CASE: &str = "case.json";
/// The folder of results.
pub const RESULTS: &str = "results";
/// The file of [`Summary`] among the results.
pub const SUMMARY: &str = "summary.json";
/// The folder of marks of arrival.
pub const SENT: &str = "sent";
/// The folder of transactions of storage commitment that were asked for.
pub const ASKED: &str = "asked";
/// The folder of deliveries that did not succeed yet.
pub const LATE: &str = "late";
/// The folder of marks of deliveries that a person has dropped.
pub const DROPPED: &str = "dropped";
/// The folder of reasons for which destinations did not take it.
pub const GIVEN_UP: &str = "given-up";
/// The file of the reason why a study failed.
pub const REASON: &str = "reason.txt";

/// Longest JSON file that is read.
const MAX_JSON: u64 = 16 << 20;

/// Where a study came from, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Study Instance UID.
    pub study: String,
    /// Titles of senders and names of watch folders.
    pub from: BTreeSet<String>,
    /// Number of instances.
    pub instances: usize,
    /// When the first came and when it was complete, in seconds since 1970.
    pub first_s: u64,
    /// As `first_s`.
    pub complete_s: u64,
    /// Names of the destinations that are to get something of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub due: BTreeSet<String>,
    /// When its deliveries began, or began anew, in seconds that services had run
    /// ([`crate::hours::Hours`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ran_s: Option<u64>,
    /// The earlier case of the same study whose instances this one has, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
}

/// What was made of a study.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The results.
    pub results: Vec<Made>,
    /// What was not segmented, and why.
    pub skipped: Vec<Skipped>,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Its file, in the folder of results.
    pub file: String,
    /// Its kind.
    pub kind: Output,
    /// Series Instance UID of what it was made of.
    pub series: String,
    /// Name and version of the package.
    pub package: String,
    /// Names of the destinations; all where empty.
    pub to: Vec<String>,
    /// Seconds that the series took.
    pub seconds: f64,
    /// Milliseconds of a slice.
    pub slice_ms: f64,
    /// A picture of it, for people; a file in the folder of results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

impl Made {
    /// Whether a destination is to get it.
    #[must_use]
    pub fn goes_to(&self, destination: &Destination) -> bool {
        destination.takes(&self.to, self.kind)
    }
}

/// A series or a study of which a package made nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Series Instance UID, where it is about one.
    pub series: Option<String>,
    /// Name and version of the package.
    pub package: String,
    /// Why.
    pub reason: String,
}

/// Reads a JSON file of a study's folder.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidData`].
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    if fs::metadata(path)?.len() > MAX_JSON {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Writes a JSON file that people read, too.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    folders::write(path, &text)
}

/// Writes why a study failed.
///
/// # Errors
/// What the system says.
pub fn write_reason(folder: &Path, reason: &str) -> io::Result<()> {
    folders::write(&folder.join(REASON), format!("{}\n", reason.trim_end()).as_bytes())
}

/// Lets a study end as a failure of that name: `folder`, wherever it is, with the reason.
///
/// # Errors
/// What the system says.
pub(crate) fn fail(
    folders: &Folders,
    log: &Log,
    folder: &Path,
    name: &str,
    reason: &str,
) -> io::Result<()> {
    write_reason(folder, reason)?;
    folders::move_new(folder, &folders.stage(Stage::Failed).join(name))?;
    log.error("failed", &[("case", &name), ("reason", &reason)]);
    Ok(())
}

/// What is to be said of the instances of a study's folder that were kept apart, if there are any.
///
/// # Errors
/// What the system says.
pub fn kept_apart(folder: &Path) -> io::Result<Option<String>> {
    let count = folders::names(&folder.join(APART))?.len();
    Ok((count > 0).then(|| {
        format!(
            "instances that came with the UID of another and another content were not segmented: \
             {count} in {APART}"
        )
    }))
}

/// A mark in a folder of marks.
#[must_use]
pub fn mark(folder: &Path, kind: &str, destination: &str) -> PathBuf {
    folder.join(kind).join(destination)
}
