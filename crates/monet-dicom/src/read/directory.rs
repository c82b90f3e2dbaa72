//! DICOMDIR: which files a medium holds (PS3.3, annex F).
//!
//! The records are taken one after the other as they lie in the file. The tree that their offsets
//! make is not followed, so no offset can lead astray or in a circle.

use std::path::PathBuf;

use super::error::ReadError;
use super::header::read;
use super::keep::Keep;
use super::source::Source;
use crate::dataset::Tag;
use crate::tags::{DIRECTORY_RECORDS, RECORD_IN_USE, RECORD_TYPE, REFERENCED_FILE};

/// Most components of a file's path; the standard has 8.
const MAX_COMPONENTS: usize = 16;

/// A file that a DICOMDIR names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileId {
    /// The record's type, such as `IMAGE`.
    pub kind: String,
    /// The file, relative to the DICOMDIR's folder; it never leads out of the folder.
    pub path: PathBuf,
}

/// What a DICOMDIR names.
#[derive(Debug, Default)]
pub struct References {
    /// The files, in its order.
    pub files: Vec<FileId>,
    /// Records whose file is not looked at, each with the reason.
    pub refused: Vec<ReadError>,
}

/// The files that a DICOMDIR names. A record that leads astray does not take the others along.
///
/// # Errors
/// [`ReadError`]; [`ReadError::Directory`] where the file is no DICOMDIR.
pub fn referenced(source: Box<dyn Source>) -> Result<References, ReadError> {
    const TOP: &[Tag] = &[DIRECTORY_RECORDS];
    const RECORD: &[Tag] = &[RECORD_IN_USE, RECORD_TYPE, REFERENCED_FILE];
    let set = read(source, &Keep::all().only(TOP).within(TOP, RECORD))?.header.data;
    if set.get(DIRECTORY_RECORDS).is_none() {
        return Err(ReadError::Directory("no Directory Record Sequence (0004,1220) in it"));
    }
    let records = set.items(DIRECTORY_RECORDS).iter();
    let in_use = records.filter(|record| record.integer::<u16>(RECORD_IN_USE) != Some(0));
    let mut all = References::default();
    for record in in_use.filter(|record| record.texts(REFERENCED_FILE).next().is_some()) {
        let kind = record.text(RECORD_TYPE).unwrap_or_default().to_owned();
        match safe(record.texts(REFERENCED_FILE)) {
            Ok(path) => all.files.push(FileId { kind, path }),
            Err(why) => all.refused.push(why),
        }
    }
    Ok(all)
}

/// A path below the DICOMDIR's folder.
fn safe<'a>(components: impl Iterator<Item = &'a str>) -> Result<PathBuf, ReadError> {
    let mut path = PathBuf::new();
    for (count, name) in components.enumerate() {
        let plain = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
            && !name.contains(['/', '\\', ':'])
            && !matches!(name, "" | "." | "..");
        if !plain {
            return Err(ReadError::Directory(
                "a record names a file by a path that may lead out of the folder: passed over",
            ));
        }
        if count == MAX_COMPONENTS {
            return Err(ReadError::Directory(
                "a record's path has too many components: passed over",
            ));
        }
        path.push(name);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_folder() {
        let path = |components: &[&str]| safe(components.iter().copied());
        assert_eq!(path(&["A", "B 1"]).unwrap(), PathBuf::from("A/B 1"));
        for bad in ["..", ".", "", "/etc", "C:", "a/b", "\u{e4}", "a\0"] {
            assert!(path(&["A", bad]).is_err(), "{bad:?}");
        }
        assert!(path(&["A"; MAX_COMPONENTS]).is_ok());
        assert!(path(&["A"; MAX_COMPONENTS + 1]).is_err());
    }
}
