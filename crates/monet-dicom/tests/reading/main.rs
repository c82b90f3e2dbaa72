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

/// pydicom's own test files.
fn pydicom_files(python: &Path) -> Vec<PathBuf> {
    let mut files = listed(&judge(python, &["files"], &[]));
    let other = ["json", "py", "pyc", "txt", "gz", "icc", "dump", "zip"];
    files.retain(|file| {
        file.extension().is_none_or(|end| !other.contains(&&*end.to_string_lossy()))
    });
    files
}
