//! Zip archives and DICOMDIRs, as Python's `zipfile` writes and pydicom reads them.

use std::collections::BTreeSet;

use super::compare::{judge, values};
use super::pydicom_files;
use monet_dicom::read::zip::{Archive, is_zip};
use monet_dicom::read::{FileSource, Keep, open, read, referenced};
use monet_testing::judges::dicom_python;

#[test]
fn an_entry_of_an_archive_is_its_file() {
    let Some(python) = dicom_python() else { return };
    let named = |file: &std::path::PathBuf, names: &[&str]| names.iter().any(|n| file.ends_with(n));
    let mut files = pydicom_files(&python);
    // Native, compressed and deflated, each stored and deflated.
    let names = ["CT_small.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "rtdose.dcm"];
    files.retain(|file| named(file, &names));
    assert_eq!(files.len(), names.len());
    files.extend_from_within(1..);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.zip");
    let paths: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    judge(&python, &[&["pack", path.to_str().unwrap()], &paths[..]].concat(), &[]);
    assert!(is_zip(&std::fs::read(&path).unwrap()));
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.entries().len(), files.len());
    for (file, entry) in files.iter().zip(archive.entries()) {
        let packed = read(archive.source(entry).unwrap(), &Keep::all()).unwrap();
        let plain = open(file, &Keep::all()).unwrap();
        assert_eq!(packed.header.data, plain.header.data);
        assert_eq!(entry.size, std::fs::metadata(file).unwrap().len());
        assert_eq!(values(packed).unwrap(), values(plain).unwrap(), "{}", entry.name);
    }
}

#[test]
fn a_dicomdir_lists_what_pydicom_lists() {
    let Some(python) = dicom_python() else { return };
    let files = pydicom_files(&python);
    let directories: Vec<_> = files
        .iter()
        .filter(|file| file.file_name().is_some_and(|name| name == "DICOMDIR"))
        .cloned()
        .collect();
    assert!(!directories.is_empty());
    for directory in directories {
        let source = Box::new(FileSource::open(&directory).unwrap());
        let ours = referenced(source).unwrap().files.into_iter().map(|id| id.path);
        let ours: BTreeSet<_> = ours.map(|path| path.to_str().unwrap().to_owned()).collect();
        let listed = judge(&python, &["directory", directory.to_str().unwrap()], &[]);
        let theirs: BTreeSet<_> = listed.lines().map(str::to_owned).collect();
        assert_eq!(ours, theirs);
        assert!(!ours.is_empty());
    }
}
