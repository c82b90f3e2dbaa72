//! How long the service has run, all in all: a clock that nobody can set.
//!
//! The machine's clock may be years off until somebody, or the network, sets it. What is tried for
//! days is therefore measured by this one. It stands still while the service does not run: nothing
//! is tried then, either.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::folders::{self, Folders};

/// The file that keeps it, in the folder of all.
const FILE: &str = "ran-seconds";
/// Seconds after which it is written again: a service that is killed forgets so many at most.
const STEP: u64 = 600;

/// The clock of one running service.
#[derive(Debug)]
pub struct Hours {
    path: PathBuf,
    before: u64,
    begun: Instant,
    written: Mutex<u64>,
}

impl Hours {
    /// Goes on where an earlier process stopped.
    #[must_use]
    pub fn of(folders: &Folders) -> Self {
        let before = read(folders.root());
        let (path, written) = (folders.root().join(FILE), Mutex::new(before));
        Self { path, before, begun: Instant::now(), written }
    }

    /// Seconds that services have run in this folder.
    #[must_use]
    pub fn ran_s(&self) -> u64 {
        self.before.saturating_add(self.begun.elapsed().as_secs())
    }

    /// Keeps the time where some has passed since it was kept; with `now`, whatever has passed.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn keep(&self, now: bool) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let ran = self.ran_s();
        if ran - *written >= if now { 1 } else { STEP } {
            folders::write(&self.path, format!("{ran}\n").as_bytes())?;
            *written = ran;
        }
        Ok(())
    }
}

/// Seconds that services have run there, as far as that was kept; 0 where it is not known.
#[must_use]
pub(crate) fn read(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join(FILE)).unwrap_or_default();
    text.trim_end().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_service_goes_on_counting() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::take(root.path()).unwrap();
        let hours = Hours { before: 41, ..Hours::of(&folders) };
        assert_eq!(hours.ran_s(), 41);
        hours.keep(true).unwrap();
        assert!(Hours::of(&folders).ran_s() >= 41);
        // What was kept is not kept again at once.
        fs::remove_file(root.path().join(FILE)).unwrap();
        hours.keep(false).unwrap();
        assert_eq!(read(root.path()), 0);
    }
}
