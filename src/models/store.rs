//! The store: where things are, what is current, what there is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::StoreError;
use super::keys::Keys;
use super::release::is_name;
use super::slot::{self, Slot, SlotName, file};
use crate::atomic::{self, disk};
use crate::whole;

/// Which slot is current.
const CURRENT: &str = "current";

/// The highest serial that ever passed its self-test.
const FLOOR: &str = "floor";

/// Held by whoever changes the store.
const LOCK: &str = "lock";

/// Where packages are made ready.
const NEW: &str = ".new";

/// How long another process that changes the store is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a reader looks again when somebody switches meanwhile.
const LOOKS: usize = 5;

/// The packages of a machine. Reading needs no lock and changes nothing; whatever changes the store
/// waits for others that do, for a minute at most.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) folder: PathBuf,
    pub(super) keys: PathBuf,
}

/// The package that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The slot that it is in.
    pub slot: SlotName,
    /// What is known of it.
    pub record: Slot,
    /// The file to load, for [`Package::load`](crate::package::Package::load).
    pub path: PathBuf,
}

/// What a slot has.
#[derive(Debug)]
pub enum Content {
    /// Nothing.
    Empty,
    /// A package.
    Package(Slot),
    /// A record that cannot be read.
    Damaged(StoreError),
}

/// All that is known of a package.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Which slot is current; none before the first install has ended and after a removal.
    pub current: Option<SlotName>,
    /// The highest serial that ever passed its self-test here; 0 where none did.
    pub floor: u64,
    /// Slots a and b.
    pub slots: [Content; 2],
}

impl Store {
    /// The store in a folder, which need not be there yet, with the keys in another.
    #[must_use]
    pub fn open(folder: impl Into<PathBuf>, keys: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), keys: keys.into() }
    }

    /// The folder of the packages.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The error for a package that is not here.
    #[must_use]
    pub fn not_installed(&self, name: &str) -> StoreError {
        StoreError::Unknown { name: name.to_owned(), store: self.folder.clone() }
    }

    /// The file that locks this box, where it is there.
    #[must_use]
    pub fn locked(&self) -> Option<PathBuf> {
        Keys::locked(&self.keys)
    }

    /// The package that is to run under a name, and where it is; none where nothing is installed.
    /// Its hash is checked, and on a locked box its signature.
    ///
    /// # Errors
    /// [`StoreError`], where what is current is damaged or, on a locked box, not signed by a key of
    /// this box: [`Store::started`] falls back to the other slot then.
    pub fn current(&self, name: &str) -> Result<Option<Current>, StoreError> {
        for look in 1.. {
            let Some(slot) = self.current_slot(name)? else { break };
            match self.verified(name, slot) {
                // Somebody has switched and filled this slot meanwhile.
                Err(_) if look < LOOKS && self.current_slot(name)? != Some(slot) => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    /// A slot's package, whose hash and, on a locked box, signature are right.
    pub(super) fn verified(&self, name: &str, slot: SlotName) -> Result<Current, StoreError> {
        let found = self.content(name, slot)?;
        self.verify(&found, self.locked().is_some())?;
        Ok(found)
    }

    /// Checks a slot's package: its hash, and its signature where it has one and that is asked for;
    /// on a locked box it has one.
    fn verify(&self, found: &Current, signature: bool) -> Result<(), StoreError> {
        if let (Some(locked), None) = (self.locked(), found.record.serial) {
            return Err(StoreError::Locked { package: found.path.clone(), locked });
        }
        let keys = signature.then(|| Keys::read(&self.keys)).transpose()?;
        found.record.verify(atomic::folder(&found.path), keys.as_ref())
    }

    /// Checks a slot's package as an install does, short of running it: hash, signature where it
    /// has one, and that it can be loaded.
    ///
    /// # Errors
    /// [`StoreError`], what is wrong with it.
    pub fn check(&self, name: &str, slot: SlotName) -> Result<Current, StoreError> {
        let found = self.content(name, slot)?;
        self.verify(&found, true)?;
        found.record.load(atomic::folder(&found.path))?;
        Ok(found)
    }

    /// A slot's package as its record says.
    pub(super) fn content(&self, name: &str, slot: SlotName) -> Result<Current, StoreError> {
        let folder = self.slot_folder(name, slot)?;
        let record = Slot::read(&folder)?;
        let record = record.ok_or_else(|| StoreError::Empty { name: name.to_owned(), slot })?;
        let path = record.path(&folder);
        Ok(Current { slot, record, path })
    }

    /// The names of all packages, sorted.
    ///
    /// # Errors
    /// [`StoreError::File`] where the store cannot be listed; one that is not there has none.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = file(&self.folder, "the store cannot be listed");
        let listed = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            listed => listed.map_err(&failed)?,
        };
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name().into_string().ok().filter(|name| is_name(name));
            names.extend(name.filter(|_| entry.path().is_dir()));
        }
        names.sort();
        Ok(names)
    }

    /// All packages, by name. What is damaged is told as such.
    ///
    /// # Errors
    /// [`StoreError::File`] where the store cannot be listed; [`StoreError::Damaged`] for a package
    /// of which it is not known what is current.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        self.names()?.into_iter().map(|name| self.entry(&name)).collect()
    }

    /// All that is known of a package.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Damaged`], [`StoreError::File`]
    pub fn entry(&self, name: &str) -> Result<Entry, StoreError> {
        if !self.package_folder(name)?.is_dir() {
            return Err(self.not_installed(name));
        }
        let content = |slot| match self.content(name, slot) {
            Ok(found) => Content::Package(found.record),
            Err(StoreError::Empty { .. }) => Content::Empty,
            Err(error) => Content::Damaged(error),
        };
        Ok(Entry {
            name: name.to_owned(),
            current: self.current_slot(name)?,
            floor: self.floor(name)?,
            slots: SlotName::ALL.map(content),
        })
    }

    /// A package's folder.
    pub(super) fn package_folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let is_good = is_name(name);
        is_good
            .then(|| self.folder.join(name))
            .ok_or_else(|| StoreError::Name { found: name.to_owned() })
    }

    pub(super) fn slot_folder(&self, name: &str, slot: SlotName) -> Result<PathBuf, StoreError> {
        Ok(self.package_folder(name)?.join(slot.as_str()))
    }

    pub(super) fn new_folder(&self) -> PathBuf {
        self.folder.join(NEW)
    }

    pub(super) fn current_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.package_folder(name)?.join(CURRENT))
    }

    /// Which slot is current.
    pub(super) fn current_slot(&self, name: &str) -> Result<Option<SlotName>, StoreError> {
        let path = self.current_path(name)?;
        let Some(text) = small(&path)? else { return Ok(None) };
        let slot = text.trim_end().parse();
        slot.map(Some).map_err(|()| StoreError::Damaged {
            path,
            found: format!("{text:?}"),
            expected: "a or b".to_owned(),
            advice: "choose with `monet model use`",
        })
    }

    /// Makes a slot current, in one step.
    pub(super) fn switch(&self, name: &str, slot: SlotName) -> Result<(), StoreError> {
        slot::replace(&self.current_path(name)?, &format!("{slot}\n"))
    }

    /// The highest serial that ever passed its self-test.
    pub(super) fn floor(&self, name: &str) -> Result<u64, StoreError> {
        let path = self.package_folder(name)?.join(FLOOR);
        let Some(text) = small(&path)? else { return Ok(0) };
        text.trim_end().parse().map_err(|_| StoreError::Damaged {
            path,
            found: format!("{text:?}"),
            expected: "a serial number".to_owned(),
            advice: "write the highest serial that was good here into it",
        })
    }

    /// Raises the floor to a serial, unless it is there already.
    pub(super) fn raise(&self, name: &str, serial: u64) -> Result<(), StoreError> {
        if serial <= self.floor(name)? {
            return Ok(());
        }
        slot::replace(&self.package_folder(name)?.join(FLOOR), &format!("{serial}\n"))
    }

    /// The lock, where there is such a package: who names one that is not there makes no store.
    pub(super) fn lock_of(&self, name: &str) -> Result<File, StoreError> {
        if !self.package_folder(name)?.is_dir() {
            return Err(self.not_installed(name));
        }
        self.lock()
    }

    /// Waits until nobody else changes the store; then nobody does until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        self.check_owner()?;
        let path = self.folder.join(LOCK);
        let mut options = OpenOptions::new();
        // Locking needs no more than reading, and root may have made the file.
        let opened = match options.read(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(&self.folder)
                    .map_err(file(&self.folder, "cannot be made: choose another --store"))?;
                options.write(true).create(true).truncate(false).open(&path)
            }
            opened => opened,
        };
        let lock = opened.map_err(file(&path, "cannot be opened"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                // As elsewhere: a file system without locks is no error.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(lock),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    thread::sleep(PATIENCE / 2000);
                }
                Err(TryLockError::WouldBlock) => {
                    let (store, seconds) = (self.folder.clone(), PATIENCE.as_secs());
                    return Err(StoreError::Busy { store, seconds });
                }
            }
        }
    }

    /// Root changes its own stores alone.
    #[cfg(unix)]
    fn check_owner(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::MetadataExt;
        // Where there is no store yet, who has the folder that it is to be in.
        let mut outer = self.folder.ancestors();
        let found = outer.find_map(|outer| fs::metadata(outer.join(".")).ok());
        let owner = found.map_or(0, |found| found.uid());
        if rustix::process::geteuid().is_root() && owner != 0 {
            return Err(StoreError::Root { store: self.folder.clone(), owner });
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_owner(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes what killed processes have left in a package's folders. With the lock.
    pub(super) fn tidy(&self, name: &str) -> Result<(), StoreError> {
        let slots = SlotName::ALL.map(|slot| self.slot_folder(name, slot));
        let [a, b] = slots;
        atomic::recover(&[self.package_folder(name)?, a?, b?]);
        Ok(())
    }
}

/// Makes a folder and those that it is in, for good.
fn make_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|outer| !outer.exists()).collect();
    fs::create_dir_all(folder)?;
    missing.into_iter().rev().try_for_each(|made| disk::sync_folder(atomic::folder(made)))
}

/// A file of a word; none where it is not there.
fn small(path: &Path) -> Result<Option<String>, StoreError> {
    const MAX: u64 = 64;
    match whole::text(path, MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file(path, "cannot be read")(source)),
    }
}
