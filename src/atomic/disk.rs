//! The calls that change what names a folder has, and what file systems have that lack some of
//! them. A test can make each of them fail, or be the last before a crash.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// A file without a name, where system and file system have such; who may do what as for any
/// program's output, by the process's umask.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn unnamed(folder: &Path, mode: u32) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags};
    fault::lacks(fault::UNNAMED)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(CWD, folder, flags, Mode::from_raw_mode(mode))?))
}

/// There is none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn unnamed(_: &Path, _: u32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Names a file that has no name; an existing one is kept and is an error.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn name(file: &File, name: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD, linkat};
    fault::call()?;
    let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, by_number, CWD, name, AtFlags::SYMLINK_FOLLOW) {
        // Where there is no /proc; the system may allow this to root alone.
        Err(rustix::io::Errno::NOENT) => Ok(linkat(file, "", CWD, name, AtFlags::EMPTY_PATH)?),
        named => Ok(named?),
    }
}

/// There is no such file.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn name(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A new file under this name.
pub(super) fn create(name: &Path, mode: u32) -> io::Result<File> {
    fault::call()?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(name)
}

/// Opens a regular file for reading and writing (what locks want), and neither follows a link nor
/// waits for a pipe's other end.
pub(super) fn open_regular(name: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(name)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let file = options.open(name)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Gives a file another name, whether or not there is one of that name.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::call()?;
    fs::rename(from, to)
}

/// Gives a file another name; an existing one is kept and is an error.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where the file system has neither such a call nor hard links, as
/// FAT and exFAT.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    fault::call()?;
    let exists = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
    match rename_without_replacing(from, to) {
        Err(error) if !exists(&error) => {}
        renamed => return renamed,
    }
    match fault::lacks(fault::LINKS).and_then(|()| fs::hard_link(from, to)) {
        Ok(()) => {
            // Under a hidden name that stays nobody minds it, and the next run removes that.
            let _ = remove(from);
            Ok(())
        }
        Err(error) if exists(&error) || error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags};
    fault::lacks(fault::NOREPLACE)?;
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_without_replacing(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// As [`rename_new`] on any file system: takes the name with an empty file first.
pub(super) fn rename_new_anywhere(from: &Path, to: &Path) -> io::Result<()> {
    match rename_new(from, to) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            create(to, 0o666)?;
            rename(from, to).inspect_err(|_| drop(remove(to)))
        }
        renamed => renamed,
    }
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove(name: &Path) -> io::Result<()> {
    fault::call()?;
    match fs::remove_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A new folder; one that is there already is no error.
#[cfg(feature = "models")]
pub(crate) fn make_folder(name: &Path) -> io::Result<()> {
    fault::call()?;
    match fs::create_dir(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && name.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes a file's content durable.
pub(super) fn sync(file: &File) -> io::Result<()> {
    fault::call()?;
    fault::synced(fault::Synced::File(file));
    // A crash in a unit test is none of the machine.
    if cfg!(test) { Ok(()) } else { file.sync_all() }
}

/// Makes a folder's names durable, on systems and file systems that can.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fault::call()?;
    fault::synced(fault::Synced::Folder(folder));
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let synced = File::open(folder)
            .and_then(|folder| if cfg!(test) { Ok(()) } else { folder.sync_all() });
        let cannot = |e: &io::Error| {
            let known = [
                Errno::INVAL,
                Errno::NOTSUP,
                Errno::OPNOTSUPP,
                Errno::NOSYS,
                Errno::BADF,
                Errno::ACCESS,
            ];
            known.iter().any(|errno| e.raw_os_error() == Some(errno.raw_os_error()))
        };
        synced.or_else(|error| if cannot(&error) { Ok(()) } else { Err(error) })
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        Ok(())
    }
}

/// Outside of tests nothing is injected.
#[cfg(not(test))]
mod fault {
    pub(super) const UNNAMED: u8 = 0;
    pub(super) const NOREPLACE: u8 = 0;
    pub(super) const LINKS: u8 = 0;

    #[inline]
    pub(super) fn call() -> std::io::Result<()> {
        Ok(())
    }

    #[inline]
    pub(super) fn lacks(_: u8) -> std::io::Result<()> {
        Ok(())
    }

    pub(super) use super::Synced;

    #[inline]
    pub(super) fn synced(_: Synced<'_>) {}
}

/// What a call makes durable.
#[cfg_attr(
    not(all(test, feature = "models")),
    expect(dead_code, reason = "the tests of `models` look")
)]
pub(crate) enum Synced<'a> {
    /// A file's content.
    File(&'a File),
    /// A folder's names.
    Folder(&'a Path),
}

/// What goes wrong on this thread.
#[cfg(test)]
pub(crate) mod fault {
    use std::cell::{Cell, RefCell};
    use std::io;

    /// Files without a name are lacking.
    pub(crate) const UNNAMED: u8 = 1;
    /// Renaming without replacing is lacking.
    pub(crate) const NOREPLACE: u8 = 2;
    /// Hard links are lacking.
    pub(crate) const LINKS: u8 = 4;

    /// What happens at a call.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub(crate) enum Fault {
        /// It fails, once.
        Error,
        /// It and all after it fail and do nothing: the process is dead, or the disk is.
        Crash,
    }

    pub(super) use super::Synced;

    /// Is told of each call that changes names, before it, and of what is durable from then on.
    pub(crate) trait Watch {
        /// The next call is about to be made.
        fn call(&mut self);
        /// This is durable from now on.
        fn synced(&mut self, what: Synced<'_>);
    }

    thread_local! {
        static WATCH: RefCell<Option<Box<dyn Watch>>> = const { RefCell::new(None) };
        static CALLS: Cell<usize> = const { Cell::new(0) };
        static PLAN: Cell<Option<(usize, Fault)>> = const { Cell::new(None) };
        static LACKING: Cell<u8> = const { Cell::new(0) };
    }

    /// Begins to count calls anew, with a fault at one of them (from 0).
    pub(crate) fn plan(fault: Option<(usize, Fault)>) {
        CALLS.set(0);
        PLAN.set(fault);
    }

    /// Calls since [`plan`].
    pub(crate) fn calls() -> usize {
        CALLS.get()
    }

    /// What the file system lacks from now on.
    pub(crate) fn lacking(features: u8) {
        LACKING.set(features);
    }

    /// Whether that is lacking.
    pub(crate) fn is_lacking(feature: u8) -> bool {
        LACKING.get() & feature != 0
    }

    /// Has somebody told, or nobody.
    #[cfg(feature = "models")]
    pub(crate) fn watch(watch: Option<Box<dyn Watch>>) {
        WATCH.set(watch);
    }

    pub(super) fn synced(what: Synced<'_>) {
        tell(|watch| watch.synced(what));
    }

    /// What the watcher itself calls is not told.
    fn tell(event: impl FnOnce(&mut dyn Watch)) {
        if let Some(mut watch) = WATCH.take() {
            event(watch.as_mut());
            WATCH.set(Some(watch));
        }
    }

    pub(super) fn call() -> io::Result<()> {
        tell(|watch| watch.call());
        let now = CALLS.replace(CALLS.get() + 1);
        match PLAN.get() {
            Some((at, Fault::Error)) if now == at => Err(io::Error::from_raw_os_error(5)),
            Some((at, Fault::Crash)) if now >= at => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    pub(super) fn lacks(feature: u8) -> io::Result<()> {
        if is_lacking(feature) { Err(io::Error::from_raw_os_error(95)) } else { Ok(()) }
    }
}
