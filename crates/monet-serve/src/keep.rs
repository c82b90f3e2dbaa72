//! Removes what was delivered, when its days are over or the disk is full: the oldest first.
//! Nothing else is ever removed without being told to.

use std::io;
use std::sync::Arc;

use crate::case::{self, CASE, Case};
use crate::config::Keep;
use crate::folders::{Folders, Stage};
use crate::log::Log;
use crate::time;

/// Percent under the mark down to which a full disk is emptied, so that it is not full again at
/// once.
const MARGIN: f64 = 2.0;

/// Looks after what is kept.
#[derive(Debug)]
pub(crate) struct Keeper {
    folders: Arc<Folders>,
    keep: Keep,
    log: Log,
}

impl Keeper {
    /// Keeps as it is told.
    #[must_use]
    pub(crate) fn new(folders: Arc<Folders>, keep: Keep, log: Log) -> Self {
        Self { folders, keep, log }
    }

    /// Removes what need not be kept any more; how many studies that were.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn tidy(&self, go_on: &dyn Fn() -> bool) -> io::Result<usize> {
        let (mut removed, mut full) = (0, true);
        for name in self.oldest_first()? {
            if !go_on() {
                break;
            }
            let folder = self.folders.stage(Stage::Done).join(&name);
            let why = if self.is_old(&folder) {
                "its days are over"
            } else {
                // A case that a wrong clock dated ahead holds up none behind it.
                full = full && self.is_full()?;
                if !full {
                    continue;
                }
                "the disk is full"
            };
            self.folders.discard(&folder)?;
            self.log.info("removed", &[("case", &name), ("because", &why)]);
            removed += 1;
        }
        Ok(removed)
    }

    /// Urgency comes first in a name and says nothing of age.
    fn oldest_first(&self) -> io::Result<Vec<String>> {
        let mut all = self.folders.cases(Stage::Done)?;
        all.sort_unstable_by(|a, b| a[1..].cmp(&b[1..]));
        Ok(all)
    }

    fn is_old(&self, folder: &std::path::Path) -> bool {
        let case: Result<Case, _> = case::read(&folder.join(CASE));
        let since = case.map_or(0, |case| time::now_s().saturating_sub(case.complete_s));
        since > u64::from(self.keep.days) * 86_400
    }

    fn is_full(&self) -> io::Result<bool> {
        let (used, mib) = self.folders.space()?;
        let share = f64::from(self.keep.full_percent) - MARGIN;
        Ok(used >= share || mib < u64::from(self.keep.free_mib) + u64::from(self.keep.free_mib) / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders;

    fn put(folders: &Folders, stage: Stage, complete_s: u64) -> String {
        let name = folders.name(false, "1.2.3");
        let folder = folders.stage(stage).join(&name);
        folders::make(&folder).unwrap();
        case::write(&folder.join(CASE), &Case { complete_s, ..Case::default() }).unwrap();
        name
    }

    #[test]
    fn only_what_was_delivered_goes_and_the_oldest_first() {
        let root = tempfile::tempdir().unwrap();
        let folders = Arc::new(Folders::take(root.path()).unwrap());
        let now = time::now_s();
        let failed = put(&folders, Stage::Failed, 0);
        let [old, young] = [now - 8 * 86_400, now].map(|at| put(&folders, Stage::Done, at));
        let log = Log::new(false, io::sink());
        let keeper = |keep| Keeper::new(folders.clone(), keep, log.clone());
        let roomy = Keep { full_percent: 100, free_mib: 0, ..Keep::default() };
        assert_eq!(keeper(roomy.clone()).tidy(&|| true).unwrap(), 1);
        assert_eq!(folders.cases(Stage::Done).unwrap(), std::slice::from_ref(&young));
        assert!(!folders.trash().join(&old).exists());
        let full = Keep { full_percent: 0, ..roomy };
        assert_eq!(keeper(full).tidy(&|| true).unwrap(), 1);
        assert!(folders.cases(Stage::Done).unwrap().is_empty());
        assert_eq!(folders.cases(Stage::Failed).unwrap(), [failed]);
    }
}
