//! The numbers behind the pointers to models and sessions.
//!
//! A handle is no address: it is a number that is given once and never again, in the type of a
//! pointer. It is looked up and never followed, so that a handle that was freed, was never made, or
//! is of the other kind is told for what it is. A call holds what it works on: freeing it on
//! another thread meanwhile takes the handle away at once, and the memory after the call.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::failure::Failure;
use crate::status::Status;

/// All handles of one kind that are not freed.
pub(crate) struct Handles<T> {
    kind: &'static str,
    live: RwLock<BTreeMap<usize, Arc<T>>>,
}

/// The next handle of either kind. A multiple of 16, as addresses are.
static NEXT: AtomicUsize = AtomicUsize::new(STEP);
const STEP: usize = 16;

impl<T> Handles<T> {
    pub(crate) const fn new(kind: &'static str) -> Self {
        Self { kind, live: RwLock::new(BTreeMap::new()) }
    }

    pub(crate) fn add(&self, thing: T) -> *mut T {
        let number = NEXT.fetch_add(STEP, Ordering::Relaxed);
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.insert(number, Arc::new(thing));
        ptr::without_provenance_mut(number)
    }

    pub(crate) fn get(&self, handle: *const T) -> Result<Arc<T>, Failure> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(&handle.addr()).cloned().ok_or_else(|| self.unknown(handle))
    }

    /// Frees what a handle stands for; NULL stands for nothing.
    pub(crate) fn free(&self, handle: *const T) -> Status {
        if handle.is_null() {
            return Status::Ok;
        }
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let thing = live.remove(&handle.addr());
        drop(live);
        // What takes long to drop keeps no other thread from its handles.
        if thing.is_some() { Status::Ok } else { Status::Handle }
    }

    fn unknown(&self, handle: *const T) -> Failure {
        let kind = self.kind;
        if handle.is_null() {
            return Failure::new(Status::Null, format!("{kind} is NULL"));
        }
        Failure::new(Status::Handle, format!("{kind} was freed before, or never was a {kind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_told_from_one_that_was_freed_and_one_of_another_kind() {
        static WORDS: Handles<&str> = Handles::new("word");
        static OTHERS: Handles<&str> = Handles::new("other");
        let (first, other) = (WORDS.add("first"), OTHERS.add("other"));
        let held = WORDS.get(first).ok().unwrap();
        assert_eq!(WORDS.free(first), Status::Ok);
        assert_eq!(*held, "first");
        let second = WORDS.add("second");
        assert_eq!(WORDS.get(second).ok().as_deref(), Some(&"second"));
        for gone in [first, other, ptr::without_provenance_mut(1)] {
            assert_eq!(WORDS.get(gone).err().unwrap().status, Status::Handle);
            assert_eq!(WORDS.free(gone), Status::Handle);
        }
        assert_eq!(WORDS.get(ptr::null()).err().unwrap().status, Status::Null);
        assert_eq!(WORDS.free(ptr::null()), Status::Ok);
    }
}
