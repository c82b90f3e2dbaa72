//! Switches between a package's slots, and removes packages.

use super::install::passed;
use super::slot::{self, Slot, SlotName, State, file};
use super::{Current, Store, StoreError, Test};
use crate::atomic::{self, disk};
use crate::engine::PackageCheck;

/// What to switch to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This slot.
    Slot(SlotName),
    /// The slot that has this version; the current one where both have it.
    Version(String),
}

/// What a switch did.
#[derive(Debug)]
pub struct Switched {
    /// What is current now.
    pub current: Current,
    /// Whether it was so before.
    pub already: bool,
    /// The floor, where the package's serial is below it.
    pub floor: Option<u64>,
    /// What the self-test gave.
    pub check: PackageCheck,
}

impl Store {
    /// Goes back to the slot that is not current. Its serial may be below the floor: that is what
    /// going back is for.
    ///
    /// # Errors
    /// [`StoreError`]; what was current is so still.
    pub fn rollback(&self, name: &str, test: &mut Test<'_>) -> Result<Switched, StoreError> {
        let _lock = self.lock_of(name)?;
        let current = self.current_slot(name)?.ok_or_else(|| self.not_installed(name))?;
        let slot = current.other();
        let Slot { state, reason, .. } = self.content(name, slot)?.record;
        if state == State::Failed {
            let (name, reason) = (name.to_owned(), reason.unwrap_or_default());
            return Err(StoreError::Failed { name, slot, reason });
        }
        self.switch_to(name, slot, test)
    }

    /// Makes a slot current that a person has chosen, even one that has failed before.
    ///
    /// # Errors
    /// [`StoreError`]; what was current is so still.
    pub fn choose(
        &self,
        name: &str,
        choice: &Choice,
        test: &mut Test<'_>,
    ) -> Result<Switched, StoreError> {
        let _lock = self.lock_of(name)?;
        let slot = match choice {
            Choice::Slot(slot) => *slot,
            Choice::Version(version) => self.slot_of(name, version)?,
        };
        self.switch_to(name, slot, test)
    }

    /// Removes a package's slots. The floor stays: an older package is refused afterwards, too.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::File`]
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let _lock = self.lock_of(name)?;
        let (outer, current) = (self.package_folder(name)?, self.current_path(name)?);
        self.tidy(name)?;
        disk::remove(&current)
            .and_then(|()| disk::sync_folder(&outer))
            .map_err(file(&current, "cannot be removed"))?;
        for slot in SlotName::ALL {
            let folder = self.slot_folder(name, slot)?;
            if folder.is_dir() {
                slot::forget(&folder)?;
            }
        }
        Ok(())
    }

    /// The slot that has a version.
    fn slot_of(&self, name: &str, version: &str) -> Result<SlotName, StoreError> {
        // What cannot be told is no reason not to choose: `use` mends it.
        let current = self.current_slot(name).ok().flatten().unwrap_or(SlotName::A);
        let mut found = Vec::new();
        for slot in [current, current.other()] {
            match self.content(name, slot) {
                Ok(content) if content.record.version == version => return Ok(slot),
                Ok(content) => found.push(content.record.version),
                Err(_) => {}
            }
        }
        let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
        let (name, version) = (name.to_owned(), version.to_owned());
        Err(StoreError::NoVersion { name, version, found })
    }

    /// Checks and tests a slot's package, and makes it current.
    fn switch_to(
        &self,
        name: &str,
        slot: SlotName,
        test: &mut Test<'_>,
    ) -> Result<Switched, StoreError> {
        self.tidy(name)?;
        let mut current = self.verified(name, slot)?;
        let folder = atomic::folder(&current.path).to_owned();
        let package = current.record.load(&folder)?;
        let check = passed(&current.path, &package, test)?;
        if current.record.state != State::Good {
            current.record =
                Slot { state: State::Tested, starts: 0, reason: None, ..current.record };
            current.record.write(&folder)?;
        }
        let already = self.current_slot(name).is_ok_and(|now| now == Some(slot));
        if !already {
            self.switch(name, slot)?;
        }
        // A damaged floor is an install's concern, not that of who goes back.
        let floor = self.floor(name).ok().filter(|floor| current.record.serial < Some(*floor));
        Ok(Switched { current, already, floor, check })
    }
}
