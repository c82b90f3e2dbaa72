//! What a process leaves undone when it ends while a thread of it is stuck: outputs that have no
//! name of their own yet.
//!
//! Dropping a temporary file removes it, but a thread that waits for a stalled disk or an empty
//! pipe drops nothing, and the process's end does not, either. So the process keeps a list of them,
//! as long as outputs are under way at one time: a few a volume.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// This process's.
static UNFINISHED: Unfinished = Unfinished::new();

/// How long outputs that are being named are waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// A list of temporary files, and the right to name outputs.
struct Unfinished {
    list: Mutex<List>,
    /// Read by who names outputs, written by who abandons them.
    naming: RwLock<()>,
}

struct List {
    paths: Vec<PathBuf>,
    /// The thread that has abandoned them, which alone may make others: figures of what is done.
    abandoned_by: Option<ThreadId>,
}

impl Unfinished {
    const fn new() -> Self {
        let list = Mutex::new(List { paths: Vec::new(), abandoned_by: None });
        Self { list, naming: RwLock::new(()) }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list, where this thread may still make outputs.
    fn open_list(&self) -> io::Result<MutexGuard<'_, List>> {
        let list = self.list();
        if list.abandoned_by.is_some_and(|by| by != thread::current().id()) {
            return Err(io::Error::other("the process is ending"));
        }
        Ok(list)
    }

    fn add(&self, path: &Path) -> io::Result<()> {
        self.open_list()?.paths.push(path.to_owned());
        Ok(())
    }

    fn remove(&self, path: &Path) {
        self.list().paths.retain(|listed| listed != path);
    }

    fn naming<T>(&self, name: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _naming = self.naming.read().unwrap_or_else(PoisonError::into_inner);
        drop(self.open_list()?);
        name()
    }

    fn abandon(&self) {
        let end = Instant::now() + PATIENCE;
        let _nobody_names = loop {
            match self.naming.try_write() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(guard)) => break guard.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    thread::sleep(PATIENCE / 40)
                }
                Err(TryLockError::WouldBlock) => return,
            }
        };
        let left = {
            let mut list = self.list();
            list.abandoned_by = Some(thread::current().id());
            std::mem::take(&mut list.paths)
        };
        for path in left {
            // The process ends: there is nobody to tell.
            let _ = fs::remove_file(path);
        }
    }
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
        UNFINISHED.add(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        UNFINISHED.remove(&self.0);
    }
}

/// Gives outputs that belong together their names: all of it, or nothing where outputs are
/// abandoned.
///
/// # Errors
/// Those of `name`, or that outputs are abandoned.
pub(crate) fn naming<T>(name: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    UNFINISHED.naming(name)
}

/// Removes the temporary files of all outputs that this process has not finished, and lets no
/// thread but the caller's finish others: for a process that is about to exit while threads of it
/// still segment, since [`pipeline::segment`](crate::pipeline::segment) cannot end while a read of
/// its input blocks. Outputs that are being given their names just now are waited for; where that
/// takes long, nothing is removed, and it is as if the process had been killed.
pub fn abandon_outputs() {
    UNFINISHED.abandon();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_abandoned_is_removed_and_no_other_thread_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let [kept, left] = ["kept", "left"].map(|name| folder.path().join(name));
        let unfinished = Unfinished::new();
        for path in [&kept, &left] {
            fs::write(path, "half").unwrap();
            unfinished.add(path).unwrap();
        }
        unfinished.remove(&kept);
        unfinished.abandon();
        assert!(kept.exists() && !left.exists());
        thread::scope(|scope| {
            let refused = scope.spawn(|| (unfinished.add(&left), unfinished.naming(|| Ok(()))));
            let (added, named) = refused.join().unwrap();
            assert!(added.is_err() && named.is_err());
        });
        unfinished.add(&left).unwrap();
        unfinished.naming(|| Ok(())).unwrap();
    }

    /// Names that are being changed are waited for, but not for ever: a rename may be what is
    /// stuck.
    #[test]
    fn who_is_naming_outputs_is_waited_for_a_while() {
        for stuck in [false, true] {
            let unfinished = Unfinished::new();
            let (begun, wait) = mpsc::channel();
            let (go, gone) = mpsc::channel::<()>();
            thread::scope(|scope| {
                let unfinished = &unfinished;
                let named = scope.spawn(move || {
                    unfinished.naming(|| {
                        begun.send(()).unwrap();
                        if stuck {
                            gone.recv().unwrap();
                        }
                        Ok(())
                    })
                });
                wait.recv().unwrap();
                unfinished.abandon();
                assert_eq!(unfinished.list().abandoned_by.is_none(), stuck);
                let _ = go.send(());
                named.join().unwrap().unwrap();
            });
        }
    }
}
