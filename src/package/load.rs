//! Finds a package's two files and checks that they belong together; holds the package embedded in the binary.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{Manifest, ManifestError};

/// No manifest is longer than this many bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// No net is longer than this many bytes.
const MAX_MODEL: u64 = 1 << 30;

/// A manifest and the bytes of its ONNX file, checked against one another.
#[derive(Debug, Clone)]
pub struct Package {
    /// What the net expects and means.
    pub manifest: Manifest,
    /// The ONNX file.
    pub onnx: std::borrow::Cow<'static, [u8]>,
    /// Where it came from, as shown to people.
    pub origin: String,
}

/// Why a package is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file cannot be read.
    #[error("{}: cannot be read: expected {expected}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What was looked for there.
        expected: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is far too long.
    #[error("{}: longer than {limit} bytes: this is not {expected}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What was expected there.
        expected: &'static str,
        /// The most that is read.
        limit: u64,
    },
    /// The manifest is refused.
    #[error("{}: this manifest cannot be used", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The ONNX file is not the one that the manifest was written for.
    #[error(
        "{}: SHA-256 is {found}, the manifest says {expected}: the file is damaged or of another version; copy both files again",
        path.display()
    )]
    Hash {
        /// The ONNX file.
        path: PathBuf,
        /// Of the file.
        found: String,
        /// In the manifest.
        expected: String,
    },
}

impl Package {
    /// Reads a manifest and the ONNX file that it names.
    ///
    /// # Errors
    /// [`PackageError`]
    pub fn load(path: &Path) -> Result<Self, PackageError> {
        let text = read(path, "a model manifest (.toml)", MAX_MANIFEST)?;
        let refuse = |source| PackageError::Manifest { path: path.to_owned(), source };
        let manifest = Manifest::parse(&String::from_utf8_lossy(&text)).map_err(refuse)?;
        let onnx_path = path.with_file_name(&manifest.model);
        let onnx = read(&onnx_path, "the ONNX file that the manifest names", MAX_MODEL)?;
        let found = sha256(&onnx);
        if !found.eq_ignore_ascii_case(&manifest.sha256) {
            return Err(PackageError::Hash { path: onnx_path, found, expected: manifest.sha256 });
        }
        Ok(Self { manifest, onnx: onnx.into(), origin: path.display().to_string() })
    }

    /// The bytes of an ONNX file, to be a package's [`Package::onnx`].
    ///
    /// # Errors
    /// [`PackageError::Read`], [`PackageError::TooLong`]
    pub fn read_net(path: &Path) -> Result<Vec<u8>, PackageError> {
        read(path, "an ONNX file (.onnx)", MAX_MODEL)
    }

    /// The package that the library carries: hippocampus in T1 MRI, int8.
    #[must_use]
    pub fn embedded() -> Self {
        let manifest = Manifest::parse(include_str!("../../models/hippocampus.int8.toml"))
            .expect("the embedded manifest is checked by a test");
        let onnx: &[u8] = include_bytes!("../../models/hippocampus.int8.onnx");
        Self { manifest, onnx: onnx.into(), origin: "embedded".to_owned() }
    }
}

/// SHA-256 as 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a whole file of at most `limit` bytes.
fn read(path: &Path, expected: &'static str, limit: u64) -> Result<Vec<u8>, PackageError> {
    let failed = |source| PackageError::Read { path: path.to_owned(), expected, source };
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).map_err(failed)?.take(limit + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PackageError::TooLong { path: path.to_owned(), expected, limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::example;
    use super::*;

    fn write_package(folder: &Path, onnx: &[u8], sha256: String) -> PathBuf {
        let manifest = Manifest { sha256, ..example() };
        fs::write(folder.join(&manifest.model), onnx).unwrap();
        let path = folder.join("example.toml");
        fs::write(&path, manifest.to_toml()).unwrap();
        path
    }

    #[test]
    fn the_embedded_package_is_whole() {
        let package = Package::embedded();
        assert_eq!(sha256(&package.onnx), package.manifest.sha256);
    }

    #[test]
    fn a_package_loads_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_package(folder.path(), b"net", sha256(b"net"));
        assert_eq!(*Package::load(&path).unwrap().onnx, *b"net");
        fs::write(folder.path().join("example.onnx"), b"nut").unwrap();
        assert!(matches!(Package::load(&path), Err(PackageError::Hash { .. })));
        fs::remove_file(folder.path().join("example.onnx")).unwrap();
        assert!(matches!(Package::load(&path), Err(PackageError::Read { .. })));
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, b"\xff\xfe not toml").unwrap();
        let error = Package::load(&path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            error.to_string().contains("x.toml") && cause.contains("not a model manifest"),
            "{error}: {cause}"
        );
    }
}
