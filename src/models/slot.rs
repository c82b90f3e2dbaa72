//! One slot: its files, and `slot.toml`, which says what they are. A slot without it is empty,
//! whatever else lies there.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keys::{Claim, Keys};
use super::{Release, StoreError};
use crate::atomic::{self, Staged, disk};
use crate::package::{Package, hex};
use crate::whole;

/// The record's name.
const RECORD: &str = "slot.toml";

/// The signature's name.
pub(super) const SIGNATURE: &str = "package.minisig";

/// A plan's or an image's name.
pub(super) const PLAN: &str = "package.plan";

/// A manifest's name; its ONNX file bears the name that the manifest says.
pub(super) const MANIFEST: &str = "package.toml";

/// The form of records that this library reads and writes.
const FORMAT: u32 = 1;

/// No record is longer than this many bytes.
const MAX_RECORD: u64 = 1 << 14;

/// One of the two places that a package has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotName {
    /// Folder `a`.
    A,
    /// Folder `b`.
    B,
}

impl SlotName {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its folder's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SlotName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == text).ok_or(())
    }
}

/// What is known of a slot's package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its self-test passed; its starts are counted until a service confirms it.
    Tested,
    /// A service has confirmed it: it did real work on this machine.
    Good,
    /// It was left for the other slot.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tested => "tested",
            Self::Good => "good",
            Self::Failed => "failed",
        })
    }
}

/// A slot's record, the file `slot.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The record's own format.
    pub(super) format: u32,
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// The serial that was signed; none where the package was installed without signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// Name of the signed file: `package.plan`, or `package.toml` with an ONNX file beside it.
    pub file: String,
    /// SHA-256 of that file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Name of the file of the key that signed it; none where it was installed without signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is known of it.
    pub state: State,
    /// How often it was started since it was installed or switched to, until it was confirmed.
    pub starts: u32,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Slot {
    /// The record of files that have passed their self-test.
    pub(super) fn tested(
        package: &Package,
        file: &str,
        sha256: String,
        signed: Option<(String, u64)>,
    ) -> Self {
        let (key, serial) = signed.unzip();
        Self {
            format: FORMAT,
            name: package.manifest.name.clone(),
            version: package.manifest.version.clone(),
            serial,
            file: file.to_owned(),
            sha256,
            key,
            state: State::Tested,
            starts: 0,
            reason: None,
        }
    }

    /// The record in a slot's folder; none where the slot is empty.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(RECORD);
        let text = match whole::text(&path, MAX_RECORD) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::File { path, what: "cannot be read", source }),
            Ok(text) => text,
        };
        let damaged = |found: String| StoreError::Damaged {
            path: path.clone(),
            found,
            expected: "the record of a slot".to_owned(),
            advice: "install the package again",
        };
        let record: Self = toml::from_str(&text).map_err(|e| damaged(e.message().to_owned()))?;
        if record.format != FORMAT {
            return Err(damaged(format!("format {}", record.format)));
        }
        if ![PLAN, MANIFEST].contains(&&*record.file) {
            return Err(damaged(format!("the file {:?}", record.file)));
        }
        Ok(Some(record))
    }

    /// Writes the record: from then on the slot has the package.
    pub(super) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let text = toml::to_string(self).expect("a record has only types that TOML has");
        replace(&folder.join(RECORD), &text)
    }

    /// The file to load.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(&self.file)
    }

    /// Whether a start may try it.
    pub(super) fn may_start(&self, most: u32) -> bool {
        match self.state {
            State::Good => true,
            State::Tested => self.starts < most,
            State::Failed => false,
        }
    }

    /// Checks that the file is the one that was installed and, with keys, that its signature is
    /// right for it and for what the record says.
    pub(super) fn verify(&self, folder: &Path, keys: Option<&Keys>) -> Result<(), StoreError> {
        let path = self.path(folder);
        let claim = match (keys, self.serial) {
            (Some(_), Some(_)) => Some(Claim::read(&folder.join(SIGNATURE))?),
            _ => None,
        };
        let mut checking = claim.as_ref().zip(keys).map(|(c, k)| c.check(k)).transpose()?;
        let mut sha256 = Sha256::new();
        read_through(&path, |bytes| {
            sha256.update(bytes);
            if let Some(checking) = &mut checking {
                checking.update(bytes);
            }
            Ok(())
        })?;
        let found = hex(&sha256.finalize());
        if found != self.sha256 {
            return Err(StoreError::Damaged {
                path,
                found: format!("SHA-256 {found}"),
                expected: self.sha256.clone(),
                advice: "the file was changed or the disk fails: install the package again",
            });
        }
        if checking.is_some_and(|checking| checking.end().is_none()) {
            return Err(StoreError::BadSignature { path });
        }
        let signed = claim.map(|claim| claim.release);
        let Some(release) = signed.filter(|release| !self.is(release)) else { return Ok(()) };
        Err(StoreError::Damaged {
            path: folder.join(RECORD),
            found: format!("{} {} {:?}", self.name, self.version, self.serial),
            expected: release.to_string(),
            advice: "somebody has changed the record: install the package again",
        })
    }

    /// Loads the package, which must be the one of the record.
    pub(super) fn load(&self, folder: &Path) -> Result<Package, StoreError> {
        let path = self.path(folder);
        let package = Package::load(&path)?;
        let found = (&package.manifest.name, &package.manifest.version);
        if found == (&self.name, &self.version) {
            return Ok(package);
        }
        let found = format!("{} {}", found.0, found.1);
        let expected = format!("{} {}", self.name, self.version);
        Err(StoreError::Damaged { path, found, expected, advice: "install the package again" })
    }

    fn is(&self, release: &Release) -> bool {
        let Release { name, version, serial } = release;
        (&self.name, &self.version, self.serial) == (name, version, Some(*serial))
    }
}

/// Empties a slot: first of its record, so that nobody takes what is left for a package.
pub(super) fn forget(folder: &Path) -> Result<(), StoreError> {
    let record = folder.join(RECORD);
    disk::remove(&record)
        .and_then(|()| disk::sync_folder(folder))
        .map_err(file(&record, "cannot be removed"))?;
    clear(folder)
}

/// Removes the files of a folder.
pub(super) fn clear(folder: &Path) -> Result<(), StoreError> {
    let failed = file(folder, "cannot be emptied");
    for entry in fs::read_dir(folder).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        if entry.file_type().map_err(&failed)?.is_file() {
            disk::remove(&entry.path()).map_err(&failed)?;
        }
    }
    Ok(())
}

/// Replaces a small text file in one step that is durable at the end.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), StoreError> {
    Staged::write(path, text.as_bytes())
        .and_then(|staged| atomic::commit(vec![staged], true).map_err(|e| e.source))
        .map_err(file(path, "cannot be written"))
}

/// Makes an error of what the system says.
pub(super) fn file(path: &Path, what: &'static str) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { path: path.clone(), what, source }
}

/// Hands a file on, piece by piece.
pub(super) fn read_through(
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = file(path, "cannot be read");
    let mut from = File::open(path).map_err(&failed)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
