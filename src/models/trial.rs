//! A fresh package on trial: its starts are counted until it has done real work, and one that does
//! not come to that is left for the other slot.
//!
//! A package that passed its self-test may still end the service at every start, for instance by
//! its memory on real volumes. So a service says when it starts with a package ([`Store::started`])
//! and when a first job has ended well ([`Store::confirm`]). Once confirmed, a package is not
//! counted any more: power cuts do not take a box back to an older model.

use super::slot::{Slot, SlotName, State};
use super::{Current, Store, StoreError};
use crate::atomic;

/// How often a package is started that nobody confirms.
pub const MAX_STARTS: u32 = 3;

/// What a service is to start with.
#[derive(Debug)]
pub struct Started {
    /// The package to run.
    pub current: Current,
    /// The slot that was left, and why, where this start fell back to the other one.
    pub fell_back: Option<(SlotName, String)>,
    /// Why this package is no good choice, where there is none better: the other slot is empty, or
    /// has failed, too.
    pub doubt: Option<String>,
}

impl Store {
    /// Tells that a service starts with a package, and which one that is. The current slot's,
    /// unless it is damaged, has failed, or was started [`MAX_STARTS`] times without being
    /// confirmed; then the other slot's becomes current.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; what is wrong with the current slot, where the other one is no
    /// better; [`StoreError::File`] where the start cannot be recorded, for instance on a full
    /// disk: [`Store::current`] needs to write nothing.
    pub fn started(&self, name: &str) -> Result<Started, StoreError> {
        let _lock = self.lock_of(name)?;
        let slot = self.current_slot(name)?.ok_or_else(|| self.not_installed(name))?;
        self.tidy(name)?;
        let found = self.startable(name, slot);
        let reason = match &found {
            Ok(current) if current.record.may_start(MAX_STARTS) => {
                let current = self.counted(current.clone())?;
                return Ok(Started { current, fell_back: None, doubt: None });
            }
            Ok(Current { record, .. }) => record.reason.clone().unwrap_or_else(|| {
                format!("started {MAX_STARTS} times and never confirmed by a job that ended well")
            }),
            Err(error) => error.to_string(),
        };
        let other = self.startable(name, slot.other());
        match (other, found) {
            (Ok(other), found) if other.record.may_start(MAX_STARTS) => {
                self.switch(name, slot.other())?;
                // For people to see: what is current does not depend on it.
                let _ = found.map(|left| failed(left, reason.clone()));
                let current = self.counted(other)?;
                Ok(Started { current, fell_back: Some((slot, reason)), doubt: None })
            }
            (_, Ok(current)) => Ok(Started { current, fell_back: None, doubt: Some(reason) }),
            (_, Err(error)) => Err(error),
        }
    }

    /// Tells that a package has done real work: it is good. Where another one has become current
    /// since this one was started, nothing happens.
    ///
    /// # Errors
    /// [`StoreError::File`] where that cannot be recorded.
    pub fn confirm(&self, started: &Current) -> Result<(), StoreError> {
        if started.record.state == State::Good {
            return Ok(());
        }
        let _lock = self.lock()?;
        let folder = atomic::folder(&started.path);
        match Slot::read(folder)? {
            Some(now) if now.sha256 == started.record.sha256 && now.state == State::Tested => {
                Slot { state: State::Good, starts: 0, ..now }.write(folder)
            }
            _ => Ok(()),
        }
    }

    /// A slot's package, where it can be loaded.
    fn startable(&self, name: &str, slot: SlotName) -> Result<Current, StoreError> {
        let found = self.verified(name, slot)?;
        found.record.load(atomic::folder(&found.path))?;
        Ok(found)
    }

    /// Counts a start.
    fn counted(&self, mut current: Current) -> Result<Current, StoreError> {
        if current.record.state == State::Tested {
            current.record.starts += 1;
            current.record.write(atomic::folder(&current.path))?;
        }
        Ok(current)
    }
}

/// Records that a package was left.
fn failed(left: Current, reason: String) -> Result<(), StoreError> {
    let record = Slot { state: State::Failed, reason: Some(reason), ..left.record };
    record.write(atomic::folder(&left.path))
}
