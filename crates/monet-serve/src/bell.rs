//! Wakes the threads that wait for something to do.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts its rings, so that a thread which was busy meanwhile does not miss one.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    waiting: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.waiting.notify_all();
    }

    /// Waits until the bell has rung more often than `heard`, or for that long; how often it has.
    pub(crate) fn wait(&self, heard: u64, most: Duration) -> u64 {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.waiting.wait_timeout_while(rings, most, |rings| *rings <= heard);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
