//! Storage commitment: peers say what they have promised to keep, on whatever association they
//! like, and senders look it up.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use monet_dicom::uid;
use monet_dimse::Report;
use serde::{Deserialize, Serialize};

use crate::case;
use crate::folders::{self, Folders};

/// Most reports that are kept. A sender removes the report that it waited for; one that nobody
/// waits for any more makes way, as the oldest, for a new one.
const MOST: usize = 10_000;

/// The reports that came, each a file that its transaction's UID names.
#[derive(Debug, Clone)]
pub struct Commitments(Arc<Folders>);

/// What a peer says of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// SOP Instance UIDs that it has promised to keep.
    pub committed: Vec<String>,
    /// SOP Instance UIDs that it has not, with the reason's number (PS3.3, C.14.1.1).
    pub failed: Vec<(String, u16)>,
}

impl Commitments {
    /// The reports in a service's folders.
    #[must_use]
    pub fn new(folders: Arc<Folders>) -> Self {
        Self(folders)
    }

    fn path(&self, transaction: &str) -> PathBuf {
        self.0.commitments().join(format!("{transaction}.json"))
    }

    /// Keeps a report, for good.
    ///
    /// # Errors
    /// What the system says; a transaction that is no UID.
    pub fn keep(&self, report: &Report) -> io::Result<()> {
        if !uid::is_valid(&report.transaction) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.make_room(MOST)?;
        case::write(&self.path(&report.transaction), &Answer::of(report))
    }

    /// Leaves fewer than `most` reports: the oldest go.
    fn make_room(&self, most: usize) -> io::Result<()> {
        let folder = self.0.commitments();
        let names = folders::names(&folder)?;
        if names.len() < most {
            return Ok(());
        }
        // A sender may remove one meanwhile.
        let dated = |name: String| {
            let path = folder.join(name);
            Some((fs::metadata(&path).ok()?.modified().ok()?, path))
        };
        let mut all: Vec<_> = names.into_iter().filter_map(dated).collect();
        all.sort_unstable();
        let gone = (all.len() + 1).saturating_sub(most);
        for (_, path) in &all[..gone] {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// What was said of a transaction, if something was.
    ///
    /// # Errors
    /// What the system says.
    pub fn answer(&self, transaction: &str) -> io::Result<Option<Answer>> {
        match case::read(&self.path(transaction)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Forgets a transaction.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget(&self, transaction: &str) -> io::Result<()> {
        folders::remove(&self.path(transaction))
    }
}

impl Answer {
    /// Of a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        Self {
            committed: report.committed.iter().map(|item| item.instance.clone()).collect(),
            failed: report.failed.iter().map(|(item, why)| (item.instance.clone(), *why)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_reports_make_way_for_new_ones() {
        let root = tempfile::tempdir().unwrap();
        let commitments = Commitments::new(Arc::new(Folders::take(root.path()).unwrap()));
        let report = |n: u64| Report {
            transaction: format!("1.2.{n}"),
            committed: Vec::new(),
            failed: Vec::new(),
        };
        // The names do not tell the order.
        for n in [9, 3, 7, 1, 5] {
            commitments.keep(&report(n)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        commitments.make_room(3).unwrap();
        let has = |n: u64| commitments.answer(&format!("1.2.{n}")).unwrap().is_some();
        assert_eq!([9, 3, 7, 1, 5].map(has), [false, false, false, true, true]);
    }
}
