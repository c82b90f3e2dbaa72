//! Files that appear under their names only when complete, and together.
//!
//! One file gets its name in one step. Several cannot, so that a set of them is committed with a
//! record. The new files lie complete beside their places; a record that lists them,
//! `.monet-*.undo`, is made durable in the folder of the last one; earlier files step aside, all of
//! them, before the first new one takes its name, and the last of the set is the last to do so;
//! then the record becomes `.monet-*.done`, and the earlier files go. So at no moment is a file of
//! one set beside a file of the other. Where a step fails, the earlier set returns. Where the
//! process is killed, [`recover`] finds the record at the next run and does what it says: at `undo`
//! the earlier set returns, at `done` what is left of it is removed.

pub(crate) mod disk;
mod leftover;
mod part;
mod record;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub use leftover::leftovers;
pub use part::Part;
pub use record::recover;

use crate::unfinished;

/// Why a set of files was not committed; none of them is there.
#[derive(Debug, Error)]
#[error("{}: cannot be written", crate::text::shown(path))]
pub struct CommitError {
    /// The first file that could not be.
    pub path: PathBuf,
    /// The system's reason; [`io::ErrorKind::AlreadyExists`] where a file was not to be replaced.
    pub source: io::Error,
}

/// The folder of a file.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file in the making, to be at `path`; dropped, it is gone.
///
/// # Errors
/// What the system says, for instance that the folder does not exist.
pub fn begin(path: &Path) -> io::Result<Part> {
    Part::create(folder(path), 0o666)
}

/// Whether the folder's file system takes names that differ in case for one.
pub(crate) fn folds_case(folder: &Path) -> bool {
    let hidden = Part::create(folder, 0o600).and_then(|mut part| {
        let name = part.hide()?;
        Ok((part, name))
    });
    hidden.is_ok_and(|(_part, name)| {
        fs::symlink_metadata(folder.join(name.to_ascii_uppercase())).is_ok()
    })
}

/// A complete file that has not its name yet; dropped, it is gone.
#[derive(Debug)]
pub struct Staged {
    part: Part,
    path: PathBuf,
}

impl Staged {
    /// Of a file that [`begin`] made for this path: makes it durable.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(part: Part, path: &Path) -> io::Result<Self> {
        part.sync()?;
        Ok(Self { part, path: path.to_owned() })
    }

    /// Of these bytes.
    ///
    /// # Errors
    /// What the system says, for instance that the folder does not exist or the disk is full.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut part = begin(path)?;
        part.write_all(bytes)?;
        Self::new(part, path)
    }

    /// Looks whether the name can be taken; whether there is an earlier file, which is then
    /// resembled in mode and owner.
    fn look(&self, overwrite: bool) -> io::Result<bool> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
            Ok(_) if !overwrite => Err(io::ErrorKind::AlreadyExists.into()),
            Ok(earlier) if earlier.is_file() => self.part.resemble(&earlier).map(|()| true),
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "what has this name is no regular file",
            )),
        }
    }

    /// Gives it its name, alone.
    fn name(&mut self, overwrite: bool) -> io::Result<()> {
        if overwrite {
            self.part.replace(&self.path)?;
        } else {
            self.part.appear(&self.path)?;
        }
        disk::sync_folder(folder(&self.path)).inspect_err(|_| {
            if !overwrite {
                drop(disk::remove(&self.path));
            }
        })
    }

    fn failed(&self, source: io::Error) -> CommitError {
        CommitError { path: self.path.clone(), source }
    }
}

/// Waits for the commit of another process into this folder, for a while; where folders cannot be
/// locked, not at all.
fn turn(folder: &Path) -> Option<File> {
    const ATTEMPTS: u32 = 500;
    const PAUSE: Duration = Duration::from_millis(20);
    let folder = File::open(folder).ok()?;
    for _ in 0..ATTEMPTS {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(_)) => break,
        }
    }
    None
}

/// Waits until no other process is giving names to a set of files whose last one lies in the folder
/// of this one; ten seconds at most.
pub fn wait(path: &Path) {
    drop(turn(folder(path)));
}

/// Gives complete files their names: all of them, the last one last, or none. With `overwrite`
/// regular files that have these names are replaced, and their mode is kept, and their owner where
/// the system allows it; links are not followed. Without it they are an error.
///
/// # Errors
/// [`CommitError`]; the files that were there before are there then. (One file alone is there
/// already where only its folder cannot be made durable after it has replaced another.)
pub fn commit(set: Vec<Staged>, overwrite: bool) -> Result<(), CommitError> {
    let path = set.last().map_or_else(PathBuf::new, |last| last.path.clone());
    unfinished::naming(|| Ok(name(set, overwrite)))
        .map_err(|source| CommitError { path, source })?
}

fn name(mut set: Vec<Staged>, overwrite: bool) -> Result<(), CommitError> {
    let _turn =
        if set.len() > 1 { set.last().and_then(|last| turn(folder(&last.path))) } else { None };
    let mut earlier = Vec::with_capacity(set.len());
    for staged in &set {
        earlier.push(staged.look(overwrite).map_err(|e| staged.failed(e))?);
    }
    if let [alone] = &mut set[..] {
        match alone.name(overwrite) {
            // A name that must be taken with an empty file first, which a record tells from a
            // complete one.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            named => return named.map_err(|e| alone.failed(e)),
        }
    }
    record::commit(&mut set, &earlier)
}
