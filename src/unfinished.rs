//! What a process leaves undone when it ends while a thread of it is stuck: outputs that have no name yet.
//!
//! Dropping a temporary file removes it, but a thread that waits for a stalled disk or an empty pipe drops nothing, and the process's
//! end does not, either. So the process keeps a list of them, as long as outputs are under way at one time: a few a volume.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Temporary files of outputs; `None` once they are abandoned.
static LISTED: Mutex<Option<Vec<PathBuf>>> = Mutex::new(Some(Vec::new()));

/// Read by who names outputs, written by who abandons them.
static NAMING: RwLock<()> = RwLock::new(());

/// How long outputs that are being named are waited for.
const PATIENCE: Duration = Duration::from_millis(200);

fn listed() -> MutexGuard<'static, Option<Vec<PathBuf>>> {
    LISTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file's place on the list, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listed(PathBuf);

impl Listed {
    /// Lists a file that has just been made.
    ///
    /// # Errors
    /// Outputs are abandoned: the file is not to stay.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        listed().as_mut().ok_or_else(abandoned)?.push(path.to_owned());
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(paths) = listed().as_mut()
            && let Some(at) = paths.iter().position(|path| *path == self.0)
        {
            paths.swap_remove(at);
        }
    }
}

/// Gives outputs that belong together their names: all of it, or nothing where outputs are abandoned.
///
/// # Errors
/// Those of `name`, or that outputs are abandoned.
pub(crate) fn naming<T>(name: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _naming = NAMING.read().unwrap_or_else(PoisonError::into_inner);
    if listed().is_none() {
        return Err(abandoned());
    }
    name()
}

fn abandoned() -> io::Error {
    io::Error::other("the process is ending")
}

/// Removes the temporary files of all outputs that this process has not finished, and lets it finish no others: for a process that
/// is about to exit while threads of it still segment, since [`pipeline::segment`](crate::pipeline::segment) cannot end while a read of
/// its input blocks. Outputs that are being given their names just now are waited for; where that takes long, nothing is removed,
/// and it is as if the process had been killed.
pub fn abandon_outputs() {
    let end = Instant::now() + PATIENCE;
    let _nobody_names = loop {
        match NAMING.try_write() {
            Ok(guard) => break guard,
            Err(TryLockError::Poisoned(guard)) => break guard.into_inner(),
            Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(PATIENCE / 40),
            Err(TryLockError::WouldBlock) => return,
        }
    };
    for path in listed().take().into_iter().flatten() {
        // The process ends: there is nobody to tell.
        let _ = fs::remove_file(path);
    }
}
