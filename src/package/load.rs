//! Finds a package's files, a manifest and its ONNX file or a plan, and checks that they are whole;
//! holds the package embedded in the binary.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use monet_core::{Buffer, Image};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::plan_file::{self, PlanFileError};
use super::{Manifest, ManifestError};
use crate::Size;
use crate::text::shown;
use crate::whole;

/// No manifest is longer than this many bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// No net is longer than this many bytes.
pub(crate) const MAX_MODEL: u64 = 1 << 30;

/// What a path to a package is to name. A build without tract runs plans alone.
const PACKAGE: &str = if cfg!(feature = "tract") {
    "a model manifest (.toml) or a plan"
} else {
    "a plan, as `monet compile` makes it"
};

/// What is said of another file.
const UNKNOWN: &str = if cfg!(feature = "tract") {
    "neither a model manifest nor a plan: name the .toml beside the .onnx file, or a file that \
     `monet compile` made"
} else {
    "not a plan: name a file that `monet compile` made"
};

/// A manifest and the bytes of its net, checked against one another.
#[derive(Debug, Clone)]
pub struct Package {
    /// What the net expects and means.
    pub manifest: Manifest,
    /// The net itself.
    pub net: Net,
    /// Where it came from, as shown to people.
    pub origin: String,
}

/// A net as bytes, in one of the forms that it comes in.
#[derive(Debug, Clone)]
pub enum Net {
    /// The ONNX file.
    Onnx(Cow<'static, [u8]>),
    /// The net of a [plan file](super::plan_file), for any slice size and kernel.
    Plan(Cow<'static, [u8]>),
    /// A plan for one slice size and one kernel, executed where it lies.
    Image(Image<'static>),
}

impl Net {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Onnx(bytes) | Self::Plan(bytes) => bytes,
            Self::Image(image) => image.bytes(),
        }
    }
}

/// Why a package is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file cannot be read.
    #[error("{}: cannot be read: expected {expected}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What was looked for there.
        expected: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is far too long.
    #[error("{}: too long, this is not {expected}", shown(path))]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What was expected there.
        expected: &'static str,
        /// How long it may be.
        source: io::Error,
    },
    /// Neither of the forms that a package comes in.
    #[error("{}: {UNKNOWN}", shown(path))]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The plan is refused.
    #[error("{}: this plan cannot be used", shown(path))]
    Plan {
        /// The plan.
        path: PathBuf,
        /// What is wrong with it.
        source: PlanFileError,
    },
    /// The manifest is refused.
    #[error("{}: this manifest cannot be used", shown(path))]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The ONNX file is not the one that the manifest was written for.
    #[error(
        "{}: SHA-256 is {found}, the manifest says {expected}: the file is damaged or of another \
         version; copy both files again",
        shown(path)
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
    /// Reads a manifest and the ONNX file that it names, or a plan.
    ///
    /// # Errors
    /// [`PackageError`]
    pub fn load(path: &Path) -> Result<Self, PackageError> {
        let bytes = read(path, PACKAGE, |start| {
            let net = plan_file::is_plan(start) || Image::is_image(start);
            if net { MAX_MODEL } else { MAX_MANIFEST }
        })?;
        if Image::is_image(&bytes) {
            return Self::from_image(path, &bytes);
        }
        if plan_file::is_plan(&bytes) {
            return Self::from_plan(path, bytes.into());
        }
        let text =
            str::from_utf8(&bytes).map_err(|_| PackageError::Unknown { path: path.to_owned() })?;
        let manifest = parse(path, text)?;
        let onnx_path = path.with_file_name(&manifest.model);
        let onnx = read(&onnx_path, "the ONNX file that the manifest names", |_| MAX_MODEL)?;
        let found = sha256(&onnx);
        if !found.eq_ignore_ascii_case(&manifest.sha256) {
            return Err(PackageError::Hash { path: onnx_path, found, expected: manifest.sha256 });
        }
        Ok(Self { manifest, net: Net::Onnx(onnx.into()), origin: shown(path).to_string() })
    }

    /// The name of the ONNX file that a manifest asks for, which is in the manifest's folder.
    #[cfg(feature = "models")]
    pub(crate) fn model_of(manifest: &Path) -> Result<String, PackageError> {
        let bytes = read(manifest, "a model manifest (.toml)", |_| MAX_MANIFEST)?;
        let unknown = |_| PackageError::Unknown { path: manifest.to_owned() };
        Ok(parse(manifest, str::from_utf8(&bytes).map_err(unknown)?)?.model)
    }

    /// The package in an image's bytes, which came from `path`.
    fn from_image(path: &Path, file: &[u8]) -> Result<Self, PackageError> {
        let refuse = |source| PackageError::Plan { path: path.to_owned(), source };
        let image = Image::from_buffer(Buffer::from(file)).map_err(|e| refuse(e.into()))?;
        if *Sha256::digest(image.digested()) != *image.sha256() {
            return Err(refuse(PlanFileError::Hash));
        }
        let manifest = parse(path, &String::from_utf8_lossy(image.attachment()))?;
        Ok(Self { manifest, net: Net::Image(image), origin: shown(path).to_string() })
    }

    /// Size of the slices that the net is planned for, where it is an image; else of
    /// those that it was trained on.
    #[must_use]
    pub fn size(&self) -> Size {
        match &self.net {
            Net::Image(image) => image.size(),
            Net::Onnx(_) | Net::Plan(_) => self.manifest.input.size(),
        }
    }

    /// The package in a plan file's bytes, which came from `path`.
    fn from_plan(path: &Path, file: Cow<'static, [u8]>) -> Result<Self, PackageError> {
        let refuse = |source| PackageError::Plan { path: path.to_owned(), source };
        let (manifest, net) = plan_file::open(&file).map_err(refuse)?;
        let start = file.len() - net.len();
        let manifest = parse(path, &String::from_utf8_lossy(manifest))?;
        let net = match file {
            Cow::Borrowed(file) => Cow::Borrowed(&file[start..]),
            Cow::Owned(mut file) => Cow::Owned(file.split_off(start)),
        };
        Ok(Self { manifest, net: Net::Plan(net), origin: shown(path).to_string() })
    }

    /// The bytes of an ONNX file, to be a package's [`Net::Onnx`].
    ///
    /// # Errors
    /// [`PackageError::Read`], [`PackageError::TooLong`]
    pub fn read_net(path: &Path) -> Result<Vec<u8>, PackageError> {
        read(path, "an ONNX file (.onnx)", |_| MAX_MODEL)
    }

    /// The package that the library carries, hippocampus in T1 MRI, int8, as a plan.
    #[must_use]
    pub fn embedded() -> Self {
        let plan: &[u8] = include_bytes!("../../models/hippocampus.plan");
        Self::from_plan(Path::new("embedded"), plan.into())
            .expect("the embedded plan is checked by a test")
    }
}

fn parse(path: &Path, text: &str) -> Result<Manifest, PackageError> {
    Manifest::parse(text).map_err(|source| PackageError::Manifest { path: path.to_owned(), source })
}

/// SHA-256 as 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A digest as lower-case hexadecimal digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a whole file, of at most as many bytes as `limit` says of its first ones.
fn read(
    path: &Path,
    expected: &'static str,
    limit: impl Fn(&[u8]) -> u64,
) -> Result<Vec<u8>, PackageError> {
    let first = plan_file::MAGIC.len();
    whole::bytes(path, first, &limit).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => {
            PackageError::TooLong { path: path.to_owned(), expected, source }
        }
        _ => PackageError::Read { path: path.to_owned(), expected, source },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert!(matches!(package.net, Net::Plan(_)));
        assert_eq!(package.manifest.name, "hippocampus");
    }

    #[test]
    fn a_plan_loads_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("example.plan");
        let mut plan = plan_file::seal(&example(), b"net");
        fs::write(&path, &plan).unwrap();
        let package = Package::load(&path).unwrap();
        assert_eq!(package.manifest, example());
        assert!(matches!(&package.net, Net::Plan(net) if **net == *b"net"));
        *plan.last_mut().unwrap() ^= 1;
        fs::write(&path, &plan).unwrap();
        assert!(matches!(
            Package::load(&path),
            Err(PackageError::Plan { source: PlanFileError::Hash, .. })
        ));
    }

    #[test]
    fn a_package_loads_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_package(folder.path(), b"net", sha256(b"net"));
        assert_eq!(*Package::load(&path).unwrap().net.bytes(), *b"net");
        fs::write(folder.path().join("example.onnx"), b"nut").unwrap();
        assert!(matches!(Package::load(&path), Err(PackageError::Hash { .. })));
        fs::remove_file(folder.path().join("example.onnx")).unwrap();
        assert!(matches!(Package::load(&path), Err(PackageError::Read { .. })));
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, b"\xff\xfe an ONNX file, say").unwrap();
        assert!(matches!(Package::load(&path), Err(PackageError::Unknown { .. })));
        fs::write(&path, b"not toml").unwrap();
        let error = Package::load(&path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            error.to_string().contains("x.toml") && cause.contains("not a model manifest"),
            "{error}: {cause}"
        );
    }
}
