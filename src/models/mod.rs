//! Packages on an unattended machine: signed, in two slots each, switched in one step, with a way
//! back.
//!
//! ```text
//! STORE/                      one folder, for instance /var/lib/monet/models
//!   lock                      held by whoever changes the store
//!   .new/                     what is being installed; nobody's after a crash
//!   hippocampus/
//!     a/  package.plan        as its maker signed it (a manifest and its ONNX file: package.toml)
//!         package.minisig     its signature, unless it was installed without one
//!         slot.toml           version, serial, SHA-256, state; written last, removed first
//!     b/  the same of the package before or after it
//!     current                 "a" or "b"
//!     floor                   the highest serial that ever passed its self-test here
//! ```
//!
//! An install goes like this; each step is durable before the next one begins:
//!
//! 1. The files are copied into `.new`, and signature and hash are computed of what was copied.
//! 2. Name, version and serial, which the signature covers, are held against the manifest and the
//!    floor.
//! 3. The self-test runs the net ([`test()`]).
//! 4. The slot that is not current loses its `slot.toml`, takes the new files, and gets its own
//!    `slot.toml`.
//! 5. The floor is raised, and `current` is replaced.
//!
//! The current slot's files are not touched before step 5, and step 5 replaces one file. So a crash
//! at any moment leaves the package that was current, or the new one whole. The package in the
//! other slot is lost in step 4 alone: a package that is refused costs nothing.
//!
//! A fresh package is on trial until a service [confirms](Store::confirm) it: see
//! [`Store::started`].
//!
//! On a locked box, which has a file named `locked` beside its keys, nothing unsigned is installed,
//! and [`Store::current`] checks the signature at each call.

mod error;
mod install;
mod keys;
mod release;
mod slot;
mod store;
mod switch;
#[cfg(test)]
mod tests;
mod trial;

pub use error::StoreError;
pub use install::{Install, Installed, Signed};
pub use keys::Keys;
pub use release::{MAX_SERIAL, Release};
pub use slot::{Slot, SlotName, State};
pub use store::{Content, Current, Entry, Store};
pub use switch::{Choice, Switched};
pub use trial::{MAX_STARTS, Started};

use std::path::Path;

use monet_core::Kernel;

use crate::engine::{self, Cause, EngineError, EngineFactory, PackageCheck};
use crate::package::Package;

/// What runs a package's net before the package counts: reads it from this path, which is in the
/// store, and says what the net gave.
pub type Test<'a> = dyn FnMut(&Path, &Package) -> Result<PackageCheck, Cause> + 'a;

/// The self-test with the int8 engine, for plans.
///
/// # Errors
/// [`EngineError`]
pub fn test(_: &Path, package: &Package) -> Result<PackageCheck, Cause> {
    Ok(test_with(package, &mut Kernel::best())?)
}

/// The self-test with a factory of engines.
///
/// # Errors
/// [`EngineError`]
pub fn test_with(
    package: &Package,
    factory: &mut dyn EngineFactory,
) -> Result<PackageCheck, EngineError> {
    engine::test_package(package, factory)
}
