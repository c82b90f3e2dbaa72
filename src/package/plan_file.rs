//! The plan file: a whole package as one file for devices without ONNX reader, made by
//! `monet compile`.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | [`VERSION`], little-endian as all numbers |
//! | 32 | SHA-256 of all that follows |
//! | 4 | length of the manifest |
//! | | the manifest, TOML in UTF-8, with name and SHA-256 of the ONNX file that was read |
//! | | the net, to the end: [`encode`](monet_core::encode) says how |
//!
//! The hash is checked before anything else is believed. Neither slice size nor kernel is settled
//! here: a device plans for both when it starts, so that one file serves all. For MoNet that takes
//! less than 2 ms of a server's core, of which AVX2 takes 0.6 ms to transform weights for
//! Winograd's filtering; in that form they would take ten times the space in the file.

use std::io;
use std::path::Path;

use monet_core::ImageError;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Manifest;
use crate::atomic::{self, Staged};

/// First bytes of a plan file; the line's end shows a transfer that changed line ends.
pub const MAGIC: [u8; 8] = *b"\x93MONET\r\n";

/// The form of plan files that this library reads and writes.
pub const VERSION: u32 = 1;

const HASH: usize = MAGIC.len() + 4;
const CONTENT: usize = HASH + 32;

/// Why a plan file is refused.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// Made by another version of this library.
    #[error(
        "the plan is of version {found}, this program reads version {VERSION}: compile it again \
         with this version"
    )]
    Version {
        /// The file's version.
        found: u32,
    },
    /// It ends within its first fields.
    #[error("the plan breaks off after {found} bytes: copy it again")]
    Short {
        /// Bytes that are there.
        found: usize,
    },
    /// Damaged.
    #[error(
        "the plan's content has another SHA-256 than it says: it is damaged or cut off; copy it \
         again"
    )]
    Hash,
    /// It is an image, and not a valid one.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The hash is right and the manifest is not where it should be.
    #[error("the plan's manifest is said to have {length} bytes, and {found} follow")]
    Manifest {
        /// Length in the file.
        length: u32,
        /// Bytes that follow.
        found: usize,
    },
}

/// Whether these first bytes of a file are a plan's.
pub(crate) fn is_plan(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

/// The file of a manifest and a net.
///
/// # Panics
/// With a manifest of 4 GiB.
#[must_use]
pub fn seal(manifest: &Manifest, net: &[u8]) -> Vec<u8> {
    let manifest = manifest.to_toml();
    let length = u32::try_from(manifest.len()).expect("a manifest is no book");
    let content = [&length.to_le_bytes(), manifest.as_bytes(), net].concat();
    [&MAGIC[..], &VERSION.to_le_bytes(), &Sha256::digest(&content), &content].concat()
}

/// Manifest and net of a plan file whose hash is right.
///
/// # Errors
/// [`PlanFileError`]
pub(super) fn open(bytes: &[u8]) -> Result<(&[u8], &[u8]), PlanFileError> {
    let short = PlanFileError::Short { found: bytes.len() };
    let version = bytes.get(MAGIC.len()..HASH).ok_or(short.clone())?;
    let found = u32::from_le_bytes(version.try_into().map_err(|_| short.clone())?);
    if found != VERSION {
        return Err(PlanFileError::Version { found });
    }
    let (hash, content) = bytes[HASH..].split_at_checked(CONTENT - HASH).ok_or(short.clone())?;
    if *Sha256::digest(content) != *hash {
        return Err(PlanFileError::Hash);
    }
    let (length, rest) = content.split_first_chunk::<4>().ok_or(short)?;
    let length = u32::from_le_bytes(*length);
    let cut = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    cut.ok_or(PlanFileError::Manifest { length, found: rest.len() })
}

/// Writes a plan file, which appears under its name when it is complete.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AlreadyExists`] where a file is not to be replaced.
pub fn write(path: &Path, plan: &[u8], overwrite: bool) -> io::Result<()> {
    atomic::commit(vec![Staged::write(path, plan)?], overwrite).map_err(|e| e.source)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::example;
    use super::*;

    #[test]
    fn a_plan_opens_as_sealed() {
        let plan = seal(&example(), b"net");
        let (manifest, net) = open(&plan).unwrap();
        assert_eq!((manifest, net), (example().to_toml().as_bytes(), &b"net"[..]));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_an_error() {
        let plan = seal(&example(), b"net");
        for len in 0..plan.len() {
            assert!(open(&plan[..len]).is_err(), "{len}");
        }
        for bit in 8 * MAGIC.len()..8 * plan.len() {
            let mut plan = plan.clone();
            plan[bit / 8] ^= 1 << (bit % 8);
            let error = open(&plan).unwrap_err();
            let version = bit < 8 * HASH;
            assert_eq!(
                matches!(error, PlanFileError::Version { .. }),
                version,
                "bit {bit}: {error}"
            );
            assert_eq!(error == PlanFileError::Hash, !version, "bit {bit}: {error}");
        }
    }

    #[test]
    fn a_manifest_longer_than_the_file_is_refused() {
        let content = [&u32::MAX.to_le_bytes()[..], b"format = 1"].concat();
        let plan =
            [&MAGIC[..], &VERSION.to_le_bytes(), &Sha256::digest(&content), &content].concat();
        assert_eq!(open(&plan), Err(PlanFileError::Manifest { length: u32::MAX, found: 10 }));
    }
}
