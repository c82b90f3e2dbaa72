//! What nobody here wrote and results are compared with: other readers, other runtimes, real data.
//!
//! A judge is a Python program in `judges/` beside this crate's sources. Each function here calls
//! [`skip`] where the machine lacks what it looks for.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::{root, skip};

/// The real data: the folder that `MONET_DATA` names, or `../shared/data` beside the repository.
#[track_caller]
pub fn real_data() -> Option<PathBuf> {
    let beside = root().join("../shared/data");
    let folder = env::var_os("MONET_DATA").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("no real data at {} (set MONET_DATA)", folder.display()));
    None
}

/// The Python that `MONET_PYTHON` names, with the packages that the judges need.
#[track_caller]
pub fn python() -> Option<PathBuf> {
    let python = env::var_os("MONET_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip("MONET_PYTHON names no Python with the packages that README lists");
    }
    python
}

/// The folder of real DICOM series in the real data.
#[track_caller]
pub fn real_dicom() -> Option<PathBuf> {
    let folder = real_data()?.join("dicom");
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("no real data at {} (set MONET_DATA)", folder.display()));
    None
}

/// The Python that `MONET_DICOM_PYTHON` names, with the packages that the judges of DICOM need.
#[track_caller]
pub fn dicom_python() -> Option<PathBuf> {
    let python = env::var_os("MONET_DICOM_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip("MONET_DICOM_PYTHON names no Python with the packages that CONTRIBUTING lists");
    }
    python
}

/// A browser without window that reaches this machine alone.
#[must_use]
#[track_caller]
pub fn browser() -> Option<Command> {
    let runs = |name: &&str| {
        Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success())
    };
    let Some(name) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(runs)
    else {
        skip("no Chromium on this machine");
        return None;
    };
    let mut browser = Command::new(name);
    browser.args(["--headless", "--no-sandbox", "--disable-gpu"]);
    browser.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
    Some(browser)
}

/// The program of a judge.
///
/// # Panics
///
/// Panics where there is no judge of that name.
pub fn judge(name: &str) -> PathBuf {
    let path = root().join("crates/monet-testing/judges").join(name).with_extension("py");
    assert!(path.is_file(), "no judge at {}", path.display());
    path
}
