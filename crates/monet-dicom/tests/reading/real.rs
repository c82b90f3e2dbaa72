//! Real series: each file's elements and values equal pydicom's.

use std::fs;
use std::path::{Path, PathBuf};

use super::compare::{Outcome, compare};
use monet_dicom::read::is_dicom;
use monet_testing::judges::{dicom_python, real_dicom};

/// Files below a folder that look like DICOM.
fn dicom_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            dicom_files(&path, files);
        } else if is_dicom(&fs::read(&path).unwrap()) {
            files.push(path);
        }
    }
}

#[test]
fn every_file_of_real_series_is_equal() {
    let (Some(python), Some(folder)) = (dicom_python(), real_dicom()) else { return };
    let mut files = Vec::new();
    dicom_files(&folder, &mut files);
    assert!(files.len() > 100);
    // One file of each five: neighbours in a series are alike.
    let files: Vec<_> = files.into_iter().step_by(5).collect();
    let outcomes = compare(&python, &files, false);
    let wrong = outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Equal));
    let wrong: Vec<_> = wrong.map(|(name, outcome)| format!("{name}: {outcome}")).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
