//! What killed processes have left in a folder, for people to see: nothing is changed.

use std::ffi::OsString;
use std::fs::{self, TryLockError};
use std::io;
use std::path::Path;

use super::{disk, part, record};

/// No more are told.
const MOST: usize = 100;

/// No more of a folder's names are looked at.
const MOST_NAMES: usize = 1 << 20;

/// Names of hidden files that [`recover`](super::recover) is to tidy up, at most a hundred, sorted.
/// Files of processes that are known to live are left out. (Earlier files that have stepped aside
/// are not told beside the record that lists them.)
///
/// # Errors
/// The folder cannot be listed.
pub fn leftovers(folder: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(folder)?.take(MOST_NAMES).filter_map(|e| Some(e.ok()?.file_name()));
    let is_left = |name: &OsString| {
        let endings = [record::UNDO, record::DONE, part::PART];
        name.to_str().is_some_and(|name| endings.iter().any(|e| part::is_hidden(name, e)))
            && may_be_dead(&folder.join(name))
    };
    let mut left: Vec<_> = names.filter(is_left).take(MOST).collect();
    left.sort();
    Ok(left)
}

/// Whether this is a file that no living process is known to hold.
fn may_be_dead(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let locked = || disk::open_regular(path).map(|file| file.try_lock_shared());
    is_file && !matches!(locked(), Ok(Err(TryLockError::WouldBlock)))
}
