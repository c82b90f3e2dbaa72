//! The service's folders, and moves in them that outlive a power cut.

use std::fmt::Display;
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::owner::{LOCK, Owner};
use crate::strays::{self, Stray};

/// First letters of a name under which a file or folder is not complete.
pub const UNFINISHED: &str = ".part-";

/// Where a study is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Complete; its turn will come.
    Waiting,
    /// Results are made; some have not arrived everywhere.
    Outgoing,
    /// All results have arrived everywhere.
    Done,
    /// It has a reason, and waits for a person.
    Failed,
}

impl Stage {
    /// All of them, in the order of a study's life.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Outgoing, Self::Done, Self::Failed];

    /// The folder's name, which people read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Outgoing => "outgoing",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// The folders of one service. While it lives, no other process has them so.
#[derive(Debug)]
pub struct Folders {
    root: PathBuf,
    next: AtomicU64,
    lock: Option<File>,
    strays: Vec<Stray>,
}

/// Locks a file for this process alone. A service that was killed, or a process that it was just
/// starting, may hold the lock for a moment yet.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] where somebody holds the lock for a second.
fn lock_alone(lock: &File) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if begun.elapsed() < Duration::from_secs(1) => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::ResourceBusy.into()),
            other => return Ok(other?),
        }
    }
}

impl Folders {
    /// Makes what is not there, takes the folders for this process alone, and removes what an
    /// earlier process left unfinished.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::ResourceBusy`] where another service has them.
    pub fn take(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(root.join(LOCK))?;
        lock_alone(&lock)?;
        let mut folders = Self::of(root);
        folders.lock = Some(lock);
        let all = [
            folders.incoming(),
            folders.studies(),
            folders.commitments(),
            folders.destinations(),
            folders.trash(),
        ];
        for folder in all.into_iter().chain(Stage::ALL.map(|stage| folders.stage(stage))) {
            fs::create_dir_all(&folder).map_err(|error| named(folder.display(), &error))?;
        }
        sync(root)?;
        folders.strays = strays::tidy(&folders)?;
        folders.next = AtomicU64::new(folders.last_number()? + 1);
        Ok(folders)
    }

    /// What lay in the folders when they were taken and is none of the service's.
    #[must_use]
    pub fn strays(&self) -> &[Stray] {
        &self.strays
    }

    /// Says who has the folders, where they were taken.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn say(&self, owner: &Owner) -> io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| owner.say(lock))
    }

    /// The folders as somebody sees them who only looks.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let (next, strays) = (AtomicU64::new(1), Vec::new());
        Self { root: root.to_owned(), next, lock: None, strays }
    }

    /// The folder that holds them all.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Instances that were stored and not yet looked at.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Studies that may still grow, each a folder that its UID names.
    #[must_use]
    pub fn studies(&self) -> PathBuf {
        self.root.join("studies")
    }

    /// What peers have said of storage commitment.
    #[must_use]
    pub fn commitments(&self) -> PathBuf {
        self.root.join("commitments")
    }

    /// What is said of destinations.
    #[must_use]
    pub fn destinations(&self) -> PathBuf {
        self.root.join("destinations")
    }

    /// What is about to be removed.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// The studies at a stage of their life, each a folder.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> PathBuf {
        self.root.join(stage.name())
    }

    /// Names of the studies at a stage, urgent ones first, then as they became complete.
    ///
    /// # Errors
    /// What the system says.
    pub fn cases(&self, stage: Stage) -> io::Result<Vec<String>> {
        let mut all = folder_names(&self.stage(stage))?;
        all.retain(|name| number(name).is_some());
        all.sort_unstable();
        Ok(all)
    }

    /// A name that no study had: urgency, a number that grows, the study's UID or what else tells
    /// people what it is.
    #[must_use]
    pub fn name(&self, urgent: bool, what: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:09}-{what}", if urgent { '0' } else { '1' })
    }

    fn last_number(&self) -> io::Result<u64> {
        let mut last = 0;
        for stage in Stage::ALL {
            last = self.cases(stage)?.iter().filter_map(|name| number(name)).fold(last, u64::max);
        }
        Ok(last)
    }

    /// Removes a folder at once from where it is, and then its content.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard(&self, folder: &Path) -> io::Result<()> {
        let name = folder.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let last = self.trash().join(name);
        move_new(folder, &last)?;
        fs::remove_dir_all(last)
    }

    /// Share of the disk that is used, in percent, and MiB that are free to this process.
    ///
    /// # Errors
    /// What the system says.
    pub fn space(&self) -> io::Result<(f64, u64)> {
        let disk = rustix::fs::statvfs(&self.root)?;
        let used = disk.f_blocks.saturating_sub(disk.f_bfree) as f64;
        let share = 100.0 * used / (used + disk.f_bavail as f64).max(1.0);
        Ok((share, disk.f_bavail.saturating_mul(disk.f_frsize) >> 20))
    }
}

/// The number in a study's name.
fn number(name: &str) -> Option<u64> {
    let (urgency, rest) = name.split_once('-')?;
    let (number, _) = rest.split_once('-')?;
    matches!(urgency, "0" | "1").then(|| number.parse().ok())?
}

/// What a study's name says it is, for people: its UID.
#[must_use]
pub fn subject(name: &str) -> &str {
    name.splitn(3, '-').nth(2).unwrap_or(name)
}

/// The names in a folder, as far as they are text; a folder that is not there has none.
///
/// # Errors
/// What the system says.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in entries(folder)? {
        all.extend(entry?.file_name().into_string().ok());
    }
    Ok(all)
}

/// Names of the folders in a folder, as far as they are text.
fn folder_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in entries(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(entry.file_name().into_string().ok());
        }
    }
    Ok(all)
}

/// What is in a folder: nothing where it is not there.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    Ok(entries.into_iter().flatten())
}

/// What the system says, with what it says it of.
pub(crate) fn named(what: impl Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Removes a file; one that is not there is removed already.
///
/// # Errors
/// What the system says.
pub(crate) fn remove(file: &Path) -> io::Result<()> {
    missing_is_done(fs::remove_file(file))
}

/// Removes a folder with its content; one that is not there is removed already.
///
/// # Errors
/// What the system says.
pub(crate) fn remove_all(folder: &Path) -> io::Result<()> {
    missing_is_done(fs::remove_dir_all(folder))
}

/// What is not there needs no removal.
fn missing_is_done(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Held by who moves a folder from one to another, until its new name is on disk. Another thread
/// that made the names of the first folder durable meanwhile would make it so that a power cut
/// leaves it in neither.
static BETWEEN: RwLock<()> = RwLock::new(());

/// Makes a folder's names be on disk.
///
/// # Errors
/// What the system says.
pub fn sync(folder: &Path) -> io::Result<()> {
    let _nothing_between = BETWEEN.read().unwrap_or_else(PoisonError::into_inner);
    sync_now(folder)
}

fn sync_now(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder, whose name is then on disk; one that is there stays.
///
/// # Errors
/// What the system says.
pub fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(parent(folder)?),
    }
}

/// Gives a file or folder another name, which is then on disk; an existing one is an error. The new
/// name is on disk before the old one is not:
///
/// - a file has both names until the new one is on disk, where the file system can do that;
/// - a folder cannot have two, and no names are made durable while it is between them.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AlreadyExists`].
pub fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    let (source, target) = (parent(from)?, parent(to)?);
    let rename = || renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    if source == target {
        rename()?;
    } else if name_twice(from, to)? {
        sync(target)?;
        fs::remove_file(from)?;
    } else {
        let _between = BETWEEN.write().unwrap_or_else(PoisonError::into_inner);
        rename()?;
        sync_now(target)?;
    }
    sync(source)
}

/// Gives a file a second name; `false` of a folder, and where there is no such thing.
fn name_twice(file: &Path, second: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(file)?.is_file() {
        return Ok(false);
    }
    match fs::hard_link(file, second) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // The error of what else is wrong comes from the renaming.
        Err(_) => Ok(false),
    }
}

/// Writes a whole file, which is on disk under its name or not there; an earlier one is replaced.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = unfinished(parent(path)?);
    let written = File::create_new(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&part, path)) {
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    sync(parent(path)?)
}

/// A name in a folder for what is not complete yet.
#[must_use]
pub fn unfinished(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!("{UNFINISHED}{}-{next}", std::process::id()))
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_service_is_refused_and_a_later_one_goes_on_counting() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::take(root.path()).unwrap();
        let busy = Folders::take(root.path()).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        let name = folders.name(false, "1.2.3");
        make(&folders.stage(Stage::Failed).join(&name)).unwrap();
        File::create(folders.incoming().join(".part-7-0")).unwrap();
        drop(folders);
        let folders = Folders::take(root.path()).unwrap();
        assert!(names(&folders.incoming()).unwrap().is_empty());
        let next = folders.name(false, "1.2.3");
        assert!(next > name && subject(&next) == "1.2.3", "{next}");
        assert!(folders.name(true, "1.2.3") < name, "urgent studies come first");
    }

    #[test]
    fn a_move_keeps_what_is_there_and_a_write_replaces_it() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        write(&a, b"1").unwrap();
        write(&b, b"2").unwrap();
        assert_eq!(move_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        write(&b, b"3").unwrap();
        assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"1".into(), b"3".into()));
        assert_eq!(names(root.path()).unwrap().len(), 2);
    }

    #[test]
    fn files_and_folders_move_from_one_folder_to_another() {
        let root = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| root.path().join(name));
        [&one, &other].iter().for_each(|folder| make(folder).unwrap());
        for name in ["file", "folder"] {
            let (from, to) = (one.join(name), other.join(name));
            let begin = || match name {
                "file" => write(&from, b"1").unwrap(),
                _ => make(&from).unwrap(),
            };
            begin();
            move_new(&from, &to).unwrap();
            assert!(!from.exists() && to.exists());
            begin();
            let refused = move_new(&from, &to).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{name}");
            assert!(from.exists() && to.exists());
        }
    }
}
