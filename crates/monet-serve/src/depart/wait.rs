//! Why deliveries wait, as files say it that commands and the status page read.
//!
//! | file | what |
//! |---|---|
//! | `destinations/NAME.json` | [`Attempt`]: destination NAME cannot be reached |
//! | `late/NAME` in a study's folder | [`Attempt`]: destination NAME did not take it |
//! | `asked/NAME` in a study's folder | [`Asked`]: destination NAME is to promise to keep it |

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::case::{
    self, ASKED, CASE, Case, DROPPED, GIVEN_UP, LATE, RESULTS, SENT, SUMMARY, Summary,
};
use crate::config::Destination;
use crate::folders::{Folders, Stage};
use crate::time;

/// A delivery that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// How often it was tried.
    pub tries: u32,
    /// What was said last.
    pub error: String,
    /// When that was, in seconds since 1970.
    pub last_s: u64,
    /// When it is tried again, as `last_s`.
    pub next_s: u64,
}

/// A request for storage commitment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The transaction's UID.
    pub transaction: String,
    /// When it was made, in seconds since 1970.
    pub since_s: u64,
    /// The same in seconds that services had run ([`crate::hours::Hours`]).
    pub ran_s: u64,
}

/// A destination that is still to get a study's results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// Its name.
    pub to: String,
    /// Whether the configuration knows it; what it does not know is not delivered.
    pub known: bool,
    /// Why it has not got them yet; nothing where its turn did not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Since when its promise to keep them is awaited, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_s: Option<u64>,
}

impl Wait {
    /// What there is to say of it, in one line.
    #[must_use]
    pub fn told(&self) -> String {
        let Self { to, known, attempt, asked_s } = self;
        if !known {
            return gone(to);
        }
        if let Some(since) = asked_s {
            return format!(
                "{to}: has it, awaiting its commitment since {}",
                time::rfc3339(*since)
            );
        }
        match attempt {
            None => format!("{to}: its turn will come"),
            Some(Attempt { tries, error, last_s, next_s }) => {
                let [last, next] = [last_s, next_s].map(|at| time::rfc3339(*at));
                format!("{to}: tried {tries} times, last at {last}, again at {next}: {error}")
            }
        }
    }
}

/// What is said of a destination that the configuration does not know any more.
#[must_use]
pub fn gone(name: &str) -> String {
    format!(
        "{name}: not in the configuration any more: enter it again, or drop its deliveries by \
         `monet queue drop {name}`"
    )
}

/// What waits for one destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Whether the configuration knows it.
    pub known: bool,
    /// Studies whose results it is still to get.
    pub waiting: usize,
    /// Studies of which it has the results, and whose promise to keep them is awaited.
    pub asked: usize,
    /// Why it cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

/// Where a destination's [`Attempt`] is.
pub(super) fn away(folders: &Folders, to: &str) -> PathBuf {
    folders.destinations().join(format!("{to}.json"))
}

/// Names of the destinations that are to get something of a study, whether or not the
/// configuration still knows them.
pub(crate) fn due(
    destinations: &[Destination],
    case: &Case,
    summary: &Summary,
) -> BTreeSet<String> {
    let results = &summary.results;
    let goes = |to: &&Destination| results.iter().any(|made| made.goes_to(to));
    let now = destinations.iter().filter(goes).map(|to| to.name.clone());
    let then = case.due.iter().chain(results.iter().flat_map(|made| &made.to));
    // One that is known and gets nothing now may have lost a folder; it is not waited for.
    let unknown = |name: &&String| !destinations.iter().any(|to| to.name == **name);
    now.chain(then.filter(unknown).cloned()).collect()
}

/// As [`due`], of a study as its folder says.
///
/// # Errors
/// What the system says.
pub(super) fn due_of(folder: &Path, destinations: &[Destination]) -> io::Result<BTreeSet<String>> {
    let case: Case = case::read(&folder.join(CASE))?;
    let summary: Summary = case::read(&folder.join(RESULTS).join(SUMMARY))?;
    Ok(due(destinations, &case, &summary))
}

/// Whether nothing is left to do for a destination.
pub(super) fn is_over(folder: &Path, to: &str) -> bool {
    [SENT, GIVEN_UP, DROPPED].iter().any(|kind| case::mark(folder, kind, to).exists())
}

/// The destinations that are still to get a study's results.
#[must_use]
pub fn waits(
    folders: &Folders,
    destinations: &[Destination],
    name: &str,
    case: &Case,
    summary: &Summary,
) -> Vec<Wait> {
    let folder = folders.stage(Stage::Outgoing).join(name);
    let left = due(destinations, case, summary).into_iter().filter(|to| !is_over(&folder, to));
    left.map(|to| {
        let asked: Option<Asked> = case::read(&case::mark(&folder, ASKED, &to)).ok();
        let late = case::read(&case::mark(&folder, LATE, &to));
        Wait {
            known: destinations.iter().any(|known| known.name == to),
            attempt: late.or_else(|_| case::read(&away(folders, &to))).ok(),
            asked_s: asked.map(|asked| asked.since_s),
            to,
        }
    })
    .collect()
}

/// What waits for each destination: those of the configuration, and those that it does not know
/// any more and that are to get something.
///
/// # Errors
/// What the system says.
pub fn tally(
    folders: &Folders,
    destinations: &[Destination],
) -> io::Result<BTreeMap<String, Tally>> {
    let known = |to: &Destination| {
        let attempt = case::read(&away(folders, &to.name)).ok();
        (to.name.clone(), Tally { known: true, attempt, ..Tally::default() })
    };
    let mut all: BTreeMap<String, Tally> = destinations.iter().map(known).collect();
    for name in folders.cases(Stage::Outgoing)? {
        let folder = folders.stage(Stage::Outgoing).join(name);
        let Ok(due) = due_of(&folder, destinations) else { continue };
        for to in due {
            if !is_over(&folder, &to) {
                let asked = case::mark(&folder, ASKED, &to).exists();
                let tally = all.entry(to).or_default();
                tally.waiting += 1;
                tally.asked += usize::from(asked);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_destination_that_was_added_later_has_its_studies_counted() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::take(root.path()).unwrap();
        let folder = folders.stage(Stage::Outgoing).join("1-000000001-1.2");
        fs::create_dir_all(folder.join(RESULTS)).unwrap();
        case::write(&folder.join(CASE), &Case { due: ["gone".into()].into(), ..Case::default() })
            .unwrap();
        let made = r#"{"file": "a.dcm", "kind": "seg", "series": "1", "package": "p", "to": [],
            "seconds": 1, "slice_ms": 1}"#;
        let summary = format!(r#"{{"results": [{made}], "skipped": []}}"#);
        fs::write(folder.join(RESULTS).join(SUMMARY), summary).unwrap();
        let later: Destination =
            serde_json::from_str(r#"{"name": "later", "address": "a:1", "ae_title": "A"}"#)
                .unwrap();
        let waiting = |to: &[Destination]| -> Vec<(String, usize)> {
            let all = tally(&folders, to).unwrap();
            all.into_iter().map(|(to, tally)| (to, tally.waiting)).collect()
        };
        assert_eq!(waiting(&[]), [("gone".to_owned(), 1)]);
        assert_eq!(waiting(&[later]), [("gone".to_owned(), 1), ("later".to_owned(), 1)]);
    }
}
