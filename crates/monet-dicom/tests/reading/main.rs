//! Files as this crate reads them, held against pydicom: elements and stored values.
//!
//! `MONET_DICOM_PYTHON` names a Python with the packages that `judge.py` imports, and with
//! `pylibjpeg`, `gdcm` and `imagecodecs`, which decode and encode for pydicom.

#![cfg(all(feature = "jpegls", feature = "htj2k"))]

mod compare;
mod encoders;
mod known;
mod media;
mod real;

use std::path::{Path, PathBuf};

use compare::{judge, listed};

/// The Python with the judges.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("MONET_DICOM_PYTHON").map(PathBuf::from);
    if python.is_none() {
        monet_testing::skip("MONET_DICOM_PYTHON names no Python with pydicom, pylibjpeg and gdcm");
    }
    python
}

/// The folder with real series.
fn real_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("MONET_DATA").map_or(beside, PathBuf::from).join("dicom");
    if !folder.is_dir() {
        monet_testing::skip(&format!("no real data at {} (set MONET_DATA)", folder.display()));
        return None;
    }
    Some(folder)
}

/// pydicom's own test files.
fn pydicom_files(python: &Path) -> Vec<PathBuf> {
    let mut files = listed(&judge(python, &["files"], &[]));
    let other = ["json", "py", "pyc", "txt", "gz", "icc", "dump", "zip"];
    files.retain(|file| {
        file.extension().is_none_or(|end| !other.contains(&&*end.to_string_lossy()))
    });
    files
}
