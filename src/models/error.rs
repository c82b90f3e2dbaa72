//! Why a package is not installed, not switched to, or not run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::SlotName;
use crate::engine::Cause;
use crate::package::PackageError;
use crate::text::{plain, shown};

/// Why a package is not installed, not switched to, or not run. Whatever it is, the package that
/// was current is so still.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or folder cannot be read or written.
    #[error("{}: {what}", shown(path))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process changes the store.
    #[error(
        "{}: another command changes the store, and has not ended within {seconds} s: try again \
         when it has",
        shown(store)
    )]
    Busy {
        /// The store.
        store: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Root would write where another user could lead it astray by links, and leave files that this
    /// user cannot change.
    #[error(
        "{}: the store is user {owner}'s, and this command runs as root: run it as that user, for \
         instance by `sudo -u '#{owner}' monet model ...`",
        shown(store)
    )]
    Root {
        /// The store.
        store: PathBuf,
        /// The owner's number.
        owner: u32,
    },
    /// The name cannot be a folder's.
    #[error(
        "{:?} cannot be a package's name here: expected up to 64 letters, digits, '.', '_' and \
         '-', the first a letter or a digit",
        plain(found)
    )]
    Name {
        /// The name.
        found: String,
    },
    /// No such package.
    #[error("{name}: no such package in {}: `monet model list` shows what there is", shown(store))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The store.
        store: PathBuf,
    },
    /// The slot has no package.
    #[error("{name}: slot {slot} is empty: nothing to switch to; install a package first")]
    Empty {
        /// The package.
        name: String,
        /// The slot.
        slot: SlotName,
    },
    /// Neither slot has that version.
    #[error("{name}: no slot has version {version}: the slots have {found}")]
    NoVersion {
        /// The package.
        name: String,
        /// The version that was asked for.
        version: String,
        /// The versions that are there.
        found: String,
    },
    /// The slot's package failed here before.
    #[error(
        "{name}: slot {slot} has failed ({}): `monet model use {name} {slot}` tries it again",
        plain(reason)
    )]
    Failed {
        /// The package.
        name: String,
        /// The slot.
        slot: SlotName,
        /// How it failed.
        reason: String,
    },
    /// A file of the store is not what the store writes.
    #[error("{}: found {}, expected {expected}: {advice}", shown(path), plain(found))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
        /// What to do.
        advice: &'static str,
    },
    /// The package cannot be loaded.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// No signature where one is needed.
    #[error(
        "{}: there is no signature; expected one beside the package: copy the .minisig file there, \
         or name it by --signature, or take the package without one by --unsigned",
        shown(path)
    )]
    NoSignature {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The box is locked, and the package has no signature.
    #[error(
        "{}: is not signed, and this box is locked ({}): expected a package signed by a key in \
         that folder",
        shown(package),
        shown(locked)
    )]
    Locked {
        /// The package.
        package: PathBuf,
        /// The file that locks the box.
        locked: PathBuf,
    },
    /// No signature in minisign's format.
    #[error(
        "{}: is no signature in minisign's format: copy it again, or sign the package with \
         `minisign -S`",
        shown(path)
    )]
    NotASignature {
        /// The file.
        path: PathBuf,
    },
    /// A signature of the file itself, instead of its hash.
    #[error(
        "{}: is a legacy signature (of the file itself), expected one of its hash: sign with \
         minisign 0.6 or later, without -l",
        shown(path)
    )]
    Legacy {
        /// The signature.
        path: PathBuf,
    },
    /// Signed by a key that is not here.
    #[error(
        "{}: signed by the key {found}, and {} has {known}: put the maker's .pub file there, if \
         you trust it",
        shown(path),
        shown(folder)
    )]
    UnknownKey {
        /// The signature.
        path: PathBuf,
        /// The key's number, as minisign shows it.
        found: String,
        /// The folder of keys.
        folder: PathBuf,
        /// The keys in it.
        known: String,
    },
    /// The signature is of another file.
    #[error(
        "{}: the signature is not this file's, or its trusted comment was changed: copy both files \
         again; if that does not help, do not trust them",
        shown(path)
    )]
    BadSignature {
        /// The package.
        path: PathBuf,
    },
    /// The trusted comment is not of the form that is needed.
    #[error(
        "{}: the trusted comment is {:?}, expected \"monet name=NAME version=VERSION \
         serial=NUMBER\": sign with `minisign -S -t`",
        shown(path),
        plain(found)
    )]
    Comment {
        /// The signature.
        path: PathBuf,
        /// The comment.
        found: String,
    },
    /// The signature is for another name or version than the manifest's.
    #[error(
        "{}: is signed as {} {}, and its manifest says {} {}: the signature belongs to another \
         package, or was made with the wrong comment",
        shown(path), plain(&signed.0), plain(&signed.1), plain(&found.0), plain(&found.1)
    )]
    OtherPackage {
        /// The package.
        path: PathBuf,
        /// Name and version in the trusted comment.
        signed: Box<(String, String)>,
        /// Name and version in the manifest.
        found: Box<(String, String)>,
    },
    /// Older than what has run here.
    #[error(
        "{name}: serial {found} is below {floor}, the highest that was good here: expected {floor} \
         or higher; `monet model rollback {name}` goes back to the other slot, --allow-older \
         installs this package all the same"
    )]
    Older {
        /// The package.
        name: String,
        /// Its serial.
        found: u64,
        /// The floor.
        floor: u64,
    },
    /// The net does not run.
    #[error("{name} {version}: the self-test failed, and what was current is so still")]
    SelfTest {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// What the engine says.
        source: Cause,
    },
    /// The net gives other labels.
    #[error(
        "{name} {version}: the self-test failed, and what was current is so still: labels have \
         SHA-256 {found} on {engine}, expected {expected}: the package is not what its maker \
         tested, or this machine computes wrongly (`monet doctor`)"
    )]
    Labels {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// What ran the net.
        engine: String,
        /// SHA-256 of its labels.
        found: String,
        /// SHA-256 of the labels that it should have given.
        expected: String,
    },
}
