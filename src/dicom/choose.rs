//! Which of the series at a path a package takes.

use std::path::{Path, PathBuf};

use monet_dicom::series::Scan;
use thiserror::Error;

use super::{Oddity, Series};
use crate::package::{Beyond, Manifest};
use crate::text::{plain, shown};

/// What is wanted of the series at a path.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The Series Instance UID, or [`Series::selector`]; any where `None`.
    pub series: Option<String>,
    /// Whether gaps and uneven distances between slices are allowed.
    pub allow_gaps: bool,
    /// Whether the package's limits do not count.
    pub accept_any: bool,
    /// Whether a part of the volume is wanted, for which the limits on the grid count then.
    pub part: bool,
}

/// Why no series is taken, with each series and what speaks against it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// There is no stack of slices.
    #[error("{}: no series of slices found{list}", shown(path))]
    Nothing {
        /// Where it was looked.
        path: PathBuf,
        /// Files that hold none and why, one a line; empty where there is no DICOM file.
        list: String,
    },
    /// No series has the UID.
    #[error("{}: no series {uid}; there are:\n{list}", shown(path))]
    Unknown {
        /// Where it was looked.
        path: PathBuf,
        /// The UID that was asked for.
        uid: String,
        /// The series that are there, one a line.
        list: String,
    },
    /// None fits the package.
    #[error(
        "{}: {package} takes none of the series (--accept-any goes past its limits, --allow-gaps \
         past gaps):\n{list}",
        shown(path)
    )]
    NoneFits {
        /// Where it was looked.
        path: PathBuf,
        /// The package's name.
        package: String,
        /// The series and what speaks against each, one a line.
        list: String,
    },
}

/// What speaks against segmenting a series with a package.
#[must_use]
pub fn obstacles(series: &Series, manifest: &Manifest, choice: &Choice) -> Vec<String> {
    let odd = series.oddities();
    let mut all: Vec<String> =
        odd.iter().filter(|odd| odd.obstacle(choice.allow_gaps)).map(ToString::to_string).collect();
    if !choice.accept_any {
        all.extend(beyond_texts(series, manifest).iter().map(ToString::to_string));
        let accepts = manifest.accepts.as_ref().filter(|_| !choice.part);
        let beyond = accepts.map(|limits| limits.beyond(&series.geometry_in(manifest.orientation)));
        all.extend(beyond.unwrap_or_default().iter().map(ToString::to_string));
    }
    all
}

/// The package's limits that what a series says of itself does not keep. No package is made for
/// localizers.
pub(super) fn beyond_texts(series: &Series, manifest: &Manifest) -> Vec<Beyond> {
    let localizer = series.oddities().into_iter().find(|odd| matches!(odd, Oddity::Localizer));
    let mut all: Vec<Beyond> =
        localizer.iter().map(|odd| Beyond::Kind { found: odd.to_string() }).collect();
    if let Some(accepts) = &manifest.accepts {
        all.extend(accepts.beyond_texts(series.texts()));
    }
    all
}

/// The series that a package takes; all of those that fit.
///
/// # Errors
/// [`ChoiceError`]
pub fn choose(
    path: &Path,
    scan: &Scan,
    all: &[Series],
    manifest: &Manifest,
    choice: &Choice,
) -> Result<Vec<Series>, ChoiceError> {
    let path = || path.to_owned();
    if all.is_empty() {
        return Err(ChoiceError::Nothing { path: path(), list: reasons(&path(), scan) });
    }
    let named = |series: &&Series| {
        let is = |name: &String| series.first().key.series == *name || series.selector() == *name;
        choice.series.as_ref().is_none_or(is)
    };
    let named: Vec<&Series> = all.iter().filter(named).collect();
    if named.is_empty() {
        let uid = choice.series.clone().unwrap_or_default();
        return Err(ChoiceError::Unknown { path: path(), uid, list: list(all.iter(), |_| vec![]) });
    }
    let against = |series: &Series| obstacles(series, manifest, choice);
    let fitting: Vec<Series> =
        named.iter().filter(|series| against(series).is_empty()).map(|s| (*s).clone()).collect();
    if fitting.is_empty() {
        let package = format!("{} {}", manifest.name, manifest.version);
        let mut list = list(named.into_iter(), against);
        // A file that cannot be read may be the slice that is missing.
        unread(scan).into_iter().for_each(|told| list += &format!("\n  {told}"));
        return Err(ChoiceError::NoneFits { path: path(), package, list });
    }
    Ok(fitting)
}

/// How many files are DICOM, or are to be, and cannot be read: the first few by name, with the
/// reason.
#[must_use]
pub fn unread(scan: &Scan) -> Option<String> {
    const SHOWN: usize = 3;
    let count = scan.unreadable.len();
    let told = scan
        .unreadable
        .iter()
        .take(SHOWN)
        .map(|(place, why)| format!("{}: {}", shown(&place.name()), plain(&why.to_string())));
    let told = told.collect::<Vec<_>>().join("; ");
    let more = if count > SHOWN { "; and others, which `monet series` names" } else { "" };
    let files = if count == 1 { "1 DICOM file" } else { &format!("{count} DICOM files") };
    (count > 0)
        .then(|| format!("{files} cannot be read and may belong to the series: {told}{more}"))
}

/// Why files hold no slice of a volume, the first few, each on a line of its own; of a path that is
/// itself the file, why.
fn reasons(path: &Path, scan: &Scan) -> String {
    const SHOWN: usize = 5;
    let passed_over = scan.passed_over.iter().map(|(place, why)| (place, why.to_string()));
    let unreadable = scan.unreadable.iter().map(|(place, why)| (place, why.to_string()));
    let mut all: Vec<String> = unreadable
        .chain(passed_over)
        .take(SHOWN)
        .map(|(place, why)| {
            let (name, why) = (place.name(), plain(&why).into_owned());
            if name == path { format!(": {why}") } else { format!("\n  {}: {why}", shown(&name)) }
        })
        .collect();
    // A DICOMDIR may have many records that are alike.
    all.dedup();
    all.concat()
}

/// Series, one a line, each with what speaks against it.
#[must_use]
pub fn list<'a>(
    series: impl Iterator<Item = &'a Series>,
    against: impl Fn(&Series) -> Vec<String>,
) -> String {
    let line = |series: &Series| {
        let reasons = against(series);
        let reasons =
            if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
        format!("  {}{reasons}", series.summary())
    };
    series.map(line).collect::<Vec<_>>().join("\n")
}
