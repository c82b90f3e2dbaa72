//! A file in the making: without a name where the system has such files, so that nothing is left of
//! it when the process is killed; elsewhere under a hidden name, which the next run finds and
//! removes.
//!
//! A hidden name is `.monet-BOOT-RANDOM.ENDING`. Whoever makes such a file holds a lock on it
//! (flock(2)) as long as he lives. A lock tells most of a process that runs under the same kernel,
//! hence BOOT, the start of Linux's `boot_id`: of what another machine left on a shared folder, or
//! this one before it was started anew, the age must tell, too.

use std::ffi::OsString;
use std::fs::{File, Metadata, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use super::disk;
use crate::unfinished::Listed;

/// First bytes of every hidden name.
const PREFIX: &str = ".monet-";

/// Ending of the hidden name of a file in the making.
pub(super) const PART: &str = "part";

/// Names this start of the system's kernel; empty where it is not known.
static BOOT: LazyLock<String> = LazyLock::new(|| {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.chars().filter(char::is_ascii_hexdigit).take(8).collect()
});

/// A new hidden name.
pub(super) fn hidden(ending: &str) -> OsString {
    // The standard library's hasher has keys of its own, random ones, each time: this is for names
    // that differ, not for secrets.
    let random = RandomState::new().build_hasher().finish();
    format!("{PREFIX}{}-{random:016x}.{ending}", *BOOT).into()
}

/// Whether this is a hidden name with that ending.
pub(super) fn is_hidden(name: &str, ending: &str) -> bool {
    name.starts_with(PREFIX) && name.strip_suffix(ending).is_some_and(|name| name.ends_with('.'))
}

/// A file in the making; dropped, it is gone.
#[derive(Debug)]
pub struct Part {
    file: File,
    folder: PathBuf,
    name: Option<OsString>,
    /// Where it has a name from the start: the process removes it should it end while a thread is
    /// stuck.
    _listed: Option<Listed>,
}

impl Part {
    /// An empty one, on the file system of `folder`.
    pub(super) fn create(folder: &Path, mode: u32) -> io::Result<Self> {
        match disk::unnamed(folder, mode) {
            Ok(file) => {
                lock(&file)?;
                Ok(Self { file, folder: folder.to_owned(), name: None, _listed: None })
            }
            Err(_) => Self::create_named(folder, mode),
        }
    }

    /// An empty one that has a hidden name.
    fn create_named(folder: &Path, mode: u32) -> io::Result<Self> {
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            let name = hidden(PART);
            let path = folder.join(&name);
            let file = match disk::create(&path, mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            let listed = Listed::new(&path).inspect_err(|_| drop(disk::remove(&path)))?;
            let part =
                Self { file, folder: folder.to_owned(), name: Some(name), _listed: Some(listed) };
            // Between its creation and its lock somebody may have taken it for a dead process's.
            if lock(&part.file)? && is_at(&part.file, &path) {
                return Ok(part);
            }
        }
        Err(io::Error::other("no temporary file can be locked"))
    }

    /// What is known of the file.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Makes the content durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        disk::sync(&self.file)
    }

    /// Takes over who may do what with a file, and whose it is where that is allowed.
    #[cfg(unix)]
    pub(super) fn resemble(&self, other: &Metadata) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        let own = self.file.metadata()?;
        let (uid, gid) = (other.uid(), other.gid());
        if (own.uid(), own.gid()) != (uid, gid) && fchown(&self.file, Some(uid), Some(gid)).is_err()
        {
            let _ = fchown(&self.file, None, Some(gid));
        }
        if own.mode() & 0o777 == other.mode() & 0o777 {
            return Ok(());
        }
        // File systems without such modes refuse to change them.
        let _ = self.file.set_permissions(PermissionsExt::from_mode(other.mode() & 0o777));
        Ok(())
    }

    /// Not known on this system.
    #[cfg(not(unix))]
    pub(super) fn resemble(&self, _: &Metadata) -> io::Result<()> {
        Ok(())
    }

    /// The hidden name, which it is given if it has none.
    pub(super) fn hide(&mut self) -> io::Result<OsString> {
        if self.name.is_none() {
            let name = hidden(PART);
            match disk::name(&self.file, &self.folder.join(&name)) {
                Ok(()) => self.name = Some(name),
                Err(_) => self.copy()?,
            }
        }
        self.name.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Where a file without a name cannot be given one: a copy under a hidden name takes its place.
    fn copy(&mut self) -> io::Result<()> {
        let mode = mode(&self.metadata()?);
        let mut copy = Self::create_named(&self.folder, mode)?;
        self.file.rewind()?;
        io::copy(&mut self.file, &mut copy.file)?;
        copy.resemble(&self.metadata()?)?;
        copy.sync()?;
        *self = copy;
        Ok(())
    }

    /// Gives it this name in its folder; an existing file is kept and is an error.
    pub(super) fn appear(&mut self, name: &Path) -> io::Result<()> {
        if self.name.is_none() {
            match disk::name(&self.file, name) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {}
                named => return named,
            }
        }
        let hidden = self.hide()?;
        let hidden = self.folder.join(hidden);
        disk::rename_new(&hidden, name)?;
        self.name = None;
        Ok(())
    }

    /// Gives it this name in its folder; an existing file is gone.
    pub(super) fn replace(&mut self, name: &Path) -> io::Result<()> {
        let hidden = self.hide()?;
        let hidden = self.folder.join(hidden);
        disk::rename(&hidden, name)?;
        self.name = None;
        Ok(())
    }

    /// After the hidden name was changed for another: there is none to be removed.
    pub(super) fn appeared(&mut self) {
        self.name = None;
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = disk::remove(&self.folder.join(name));
        }
    }
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o777
}

#[cfg(not(unix))]
fn mode(_: &Metadata) -> u32 {
    0o666
}

/// Locks a file; false where another has locked it. A file system without locks is no error.
fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) | Err(TryLockError::Error(_)) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
    }
}

/// Whether the file of this name is this one.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), path.symlink_metadata()), (Ok(a), Ok(b)) if id(&a) == id(&b))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Whose a file is.
#[cfg(unix)]
fn owner(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(metadata)
}

#[cfg(not(unix))]
fn owner(_: &Metadata) -> u32 {
    0
}

/// The file of this hidden name, locked, where it is this user's (what another has put there is not
/// believed) and whoever made it is dead. Where the lock does not tell for sure, the file must be
/// older than `age`.
pub(super) fn abandoned(path: &Path, age: Duration) -> Option<File> {
    let file = disk::open_regular(path).ok()?;
    let metadata = file.metadata().ok()?;
    let own = Part::create(path.parent()?, 0o600).and_then(|own| own.metadata()).ok()?;
    if owner(&metadata) != owner(&own) {
        return None;
    }
    let locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => return None,
        Err(TryLockError::Error(_)) => false,
    };
    let name = path.file_name()?.to_str()?;
    let here = !BOOT.is_empty() && name.strip_prefix(PREFIX)?.split('-').next() == Some(&**BOOT);
    let old = metadata.modified().ok()?.elapsed().is_ok_and(|since| since > age);
    ((locked && here || old) && is_at(&file, path)).then_some(file)
}
