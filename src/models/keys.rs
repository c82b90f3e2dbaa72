//! The keys whose packages a box takes, and signatures by them, in minisign's format.
//!
//! A signature is Ed25519 over the file's BLAKE2b-512, and a second one covers the first and the
//! trusted comment. Any of several keys is enough: a maker who changes keys has both in the folder
//! for as long as packages of both are about.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature, StreamVerifier};

use super::StoreError;
use super::release::Release;
use crate::whole;

/// No key file and no signature is longer than this many bytes.
const MAX_FILE: u64 = 1 << 13;

/// No more keys are read, in the order of their names.
const MAX_KEYS: usize = 64;

/// Ending of a key's file.
const ENDING: &str = "pub";

/// Name of the file that locks a box.
const LOCKED: &str = "locked";

/// The keys of a folder.
#[derive(Debug)]
pub struct Keys {
    folder: PathBuf,
    keys: Vec<Key>,
    /// Names of `.pub` files that hold no key.
    unreadable: Vec<String>,
}

#[derive(Debug)]
struct Key {
    /// The file's name.
    name: String,
    number: String,
    key: PublicKey,
}

impl Keys {
    /// The keys in `*.pub` of a folder; none where there is no folder.
    ///
    /// # Errors
    /// [`StoreError::File`] where the folder cannot be listed.
    pub fn read(folder: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::File {
            path: folder.to_owned(),
            what: "the keys cannot be listed",
            source,
        };
        let mut keys = Self { folder: folder.to_owned(), keys: vec![], unreadable: vec![] };
        let listed = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
            listed => listed.map_err(failed)?,
        };
        let mut paths = Vec::new();
        for entry in listed {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths.iter().take(MAX_KEYS) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match whole::text(path, MAX_FILE).ok().and_then(|text| key(&text)) {
                Some((key, number)) => keys.keys.push(Key { name, number, key }),
                None => keys.unreadable.push(name),
            }
        }
        Ok(keys)
    }

    /// Names of `.pub` files that hold no key.
    #[must_use]
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// The file that locks a box, where it is there: nothing unsigned is installed or run.
    #[must_use]
    pub fn locked(folder: &Path) -> Option<PathBuf> {
        let path = folder.join(LOCKED);
        // What cannot be told counts as locked.
        let absent = matches!(
            fs::symlink_metadata(&path),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        );
        (!absent).then_some(path)
    }

    /// The keys as a person reads them.
    fn known(&self) -> String {
        let names: Vec<String> =
            self.keys.iter().map(|key| format!("{} ({})", key.number, key.name)).collect();
        if names.is_empty() { "no key".to_owned() } else { names.join(", ") }
    }
}

/// A key and its number.
fn key(text: &str) -> Option<(PublicKey, String)> {
    let number = number(text.lines().nth(1)?)?;
    PublicKey::decode(text).ok().map(|key| (key, number))
}

/// The number of the key in a line of a key or a signature: 8 bytes after the algorithm's 2, shown
/// as minisign shows it.
fn number(base64: &str) -> Option<String> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0u128;
    // 14 letters of 6 bits hold 10 bytes and 4 bits more.
    for letter in base64.as_bytes().get(..14)? {
        let value = LETTERS.iter().position(|l| l == letter)?;
        bits = bits << 6 | value as u128;
    }
    let bytes = (bits >> 4).to_be_bytes();
    let number = u64::from_le_bytes(bytes[8..].try_into().ok()?);
    Some(format!("{number:016X}"))
}

/// A signature's text and what it signs, which is believed only when [`Checking::end`] has said so.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    path: PathBuf,
    pub(super) text: String,
    signature: Parsed,
    number: String,
    pub(super) release: Release,
}

#[derive(Clone)]
struct Parsed(Signature);

impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signature")
    }
}

impl Claim {
    /// Reads a signature.
    ///
    /// # Errors
    /// [`StoreError::NoSignature`], [`StoreError::NotASignature`], [`StoreError::Comment`]
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let not_one = || StoreError::NotASignature { path: path.to_owned() };
        let text = whole::text(path, MAX_FILE).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NoSignature { path: path.to_owned() },
            io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge => not_one(),
            _ => StoreError::File { path: path.to_owned(), what: "cannot be read", source },
        })?;
        Self::parse(path, text)
    }

    /// Of the text of a signature, which came from `path`.
    fn parse(path: &Path, text: String) -> Result<Self, StoreError> {
        let not_one = || StoreError::NotASignature { path: path.to_owned() };
        let signature = Signature::decode(&text).map_err(|_| not_one())?;
        let number = text.lines().nth(1).and_then(number).ok_or_else(not_one)?;
        let comment = signature.trusted_comment();
        let release = Release::parse(comment).ok_or_else(|| StoreError::Comment {
            path: path.to_owned(),
            found: comment.to_owned(),
        })?;
        Ok(Self { path: path.to_owned(), text, signature: Parsed(signature), number, release })
    }

    /// Begins to check the signature of a file whose bytes are to come.
    ///
    /// # Errors
    /// [`StoreError::UnknownKey`], [`StoreError::Legacy`]
    pub(super) fn check<'a>(&'a self, keys: &'a Keys) -> Result<Checking<'a>, StoreError> {
        use minisign_verify::Error;
        let mut candidates = Vec::new();
        for key in &keys.keys {
            match key.key.verify_stream(&self.signature.0) {
                Ok(verifier) => candidates.push((&*key.name, verifier)),
                Err(Error::UnsupportedLegacyMode) => {
                    return Err(StoreError::Legacy { path: self.path.clone() });
                }
                Err(_) => {}
            }
        }
        if candidates.is_empty() {
            return Err(StoreError::UnknownKey {
                path: self.path.clone(),
                found: self.number.clone(),
                folder: keys.folder.clone(),
                known: keys.known(),
            });
        }
        Ok(Checking(candidates))
    }
}

/// A signature being checked by the keys of its number, which is no secret and may be several's.
#[derive(Clone)]
pub(super) struct Checking<'a>(Vec<(&'a str, StreamVerifier<'a>)>);

impl Checking<'_> {
    /// More of the file.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|(_, verifier)| verifier.update(bytes));
    }

    /// After the file's end: the name of the key that signed it, if one did.
    pub(super) fn end(self) -> Option<String> {
        let mut all = self.0.into_iter();
        all.find_map(|(name, mut verifier)| verifier.finalize().ok().map(|()| name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &str = include_str!("../../tests/integration/models/tiny-1.plan.minisig");
    const KEY: &str = include_str!("../../tests/integration/models/maker.pub");

    proptest! {
        /// Whatever stands there instead of some bytes, the file is read or refused, and what is
        /// read does not hold.
        #[test]
        fn a_damaged_signature_or_key_is_an_error(
            at in 0..SIGNATURE.len(), length in 0usize..9, other in "\\PC{0,9}"
        ) {
            let put = |text: &str| {
                let at = at.min(text.len());
                let end = (at + length).min(text.len());
                format!("{}{other}{}", &text[..at], &text[end..])
            };
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("k.pub"), put(KEY)).unwrap();
            let damaged_keys = Keys::read(folder.path()).unwrap();
            fs::write(folder.path().join("k.pub"), KEY).unwrap();
            let keys = Keys::read(folder.path()).unwrap();
            let signed = include_bytes!("../../tests/integration/models/tiny-1.plan");
            let holds = |claim: &Claim, keys: &Keys| {
                let mut checking = claim.check(keys).ok()?;
                checking.update(signed);
                checking.end()
            };
            let claim = Claim::parse(Path::new("s"), SIGNATURE.to_owned()).unwrap();
            prop_assert_eq!(holds(&claim, &keys), Some("k.pub".to_owned()));
            // Comments that are not signed, and how lines end, may be anything.
            let essence = |text: &str| {
                let lines: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
                (lines.get(..3).map(<[_]>::to_vec), lines.first().cloned())
            };
            if essence(&put(KEY)).1 != essence(KEY).1 {
                prop_assert_eq!(holds(&claim, &damaged_keys), None);
            }
            if let Ok(damaged) = Claim::parse(Path::new("s"), put(SIGNATURE)) {
                let same = essence(&damaged.text).0 == essence(SIGNATURE).0;
                prop_assert_eq!(holds(&damaged, &keys).is_some(), same, "{}", damaged.text);
            }
        }
    }

    #[test]
    fn a_keys_number_is_as_minisign_shows_it() {
        let text = "untrusted comment: minisign public key E7620F1842B4E81F
RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        assert_eq!(key(text).unwrap().1, "E7620F1842B4E81F");
        for damaged in ["", "RWQf6", "RWQf6LRCGA9i!", "RWQf6LRCG\u{e4}9i53ml"] {
            assert_eq!(number(damaged), None, "{damaged}");
        }
        assert!(key("one line").is_none());
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_keys_and_locks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert!(Keys::read(&absent).unwrap().keys.is_empty());
        assert_eq!(Keys::locked(&absent), None);
        fs::write(folder.path().join("bad.pub"), "no key").unwrap();
        fs::write(folder.path().join("locked"), "").unwrap();
        assert_eq!(Keys::read(folder.path()).unwrap().unreadable(), ["bad.pub"]);
        assert!(Keys::locked(folder.path()).is_some());
    }
}
