//! Which files are looked at, and how each is opened.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ScanError;
use crate::read::{self, FileSource, Instance, Keep, ReadError, References, Source, zip};

/// Most files that are looked at.
pub const MAX_FILES: usize = 200_000;
/// Folders are not followed deeper.
const MAX_FOLDERS: usize = 32;

/// Where a file is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file system.
    File(PathBuf),
    /// In a zip archive: the archive, and the number of the entry.
    Entry(Arc<zip::Archive>, usize),
}

impl Place {
    /// The file's path, or its name in the archive.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Entry(archive, entry) => archive.entries()[*entry].name.as_str().into(),
        }
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn source(&self) -> Result<Box<dyn Source>, ReadError> {
        match self {
            Self::File(path) => Ok(Box::new(FileSource::open(path)?)),
            Self::Entry(archive, entry) => archive.source(&archive.entries()[*entry]),
        }
    }

    /// Opens the file for its pixels: an archive's entry is first held, once, against its
    /// checksum.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn open_checked(&self, keep: &Keep<'_>) -> Result<Instance, ReadError> {
        if let Self::Entry(archive, entry) = self {
            archive.check(*entry)?;
        }
        self.open(keep)
    }

    /// Reads what is kept of the file's header.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn open(&self, keep: &Keep<'_>) -> Result<Instance, ReadError> {
        read::read(self.source()?, keep)
    }

    /// Whether a file that is no DICOM was meant to be: its name ends as those of DICOM files do,
    /// or it is `blank`, as a copy that failed leaves files, and its name says nothing else.
    pub(super) fn seems_dicom(&self, blank: bool) -> bool {
        let name = self.name();
        let ending = name.extension().unwrap_or_default().to_ascii_lowercase();
        let ending = ending.as_encoded_bytes();
        let hidden = name.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        // Many a name is a UID, or has no ending.
        let says_nothing = ending.iter().all(u8::is_ascii_digit) && !hidden;
        matches!(ending, b"dcm" | b"dicom" | b"ima") || blank && says_nothing
    }
}

/// Whether a path names what [`Scan::of`](super::Scan::of) looks through: a folder, a zip archive,
/// or a file that begins as DICOM does.
#[must_use]
pub fn is_dicom(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    if metadata.is_dir() {
        return true;
    }
    let start = metadata.is_file().then(|| start(path).ok()).flatten().unwrap_or_default();
    read::is_dicom(&start) || zip::is_zip(&start)
}

/// A file's first bytes.
fn start(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(read::START);
    fs::File::open(path)?.take(read::START as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// The files to look at.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) places: Vec<Place>,
    /// Whether somebody says of each file that it is DICOM: a DICOMDIR, or whoever gave its path.
    pub(super) named: bool,
    /// Files that a DICOMDIR names in a way that is not followed.
    pub(super) refused: Vec<(Place, ReadError)>,
}

/// Lists the files to look at.
pub(super) fn places(path: &Path, stop: &dyn Fn() -> bool) -> Result<Found, ScanError> {
    let failed = |source| ScanError::Io { path: path.to_owned(), source };
    let unreadable = |source| ScanError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        let mut files = Vec::new();
        walk(path, 0, &mut files, stop)?;
        let places = files.into_iter().map(Place::File).collect();
        return Ok(Found { places, ..Found::default() });
    }
    let start = start(path).map_err(failed)?;
    if zip::is_zip(&start) {
        let archive = Arc::new(zip::Archive::open(path).map_err(unreadable)?);
        let count = archive.entries().len();
        if count > MAX_FILES {
            return Err(ScanError::TooMany { path: path.to_owned() });
        }
        let places = (0..count).map(|entry| Place::Entry(archive.clone(), entry)).collect();
        return Ok(Found { places, ..Found::default() });
    }
    let file = || FileSource::open(path).map(Box::new).map_err(failed);
    match read::referenced(file()?) {
        Ok(References { files, refused }) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            let places = files.into_iter().map(|file| Place::File(folder.join(file.path)));
            let refused = refused.into_iter().map(|why| (Place::File(path.to_owned()), why));
            Ok(Found { places: places.collect(), named: true, refused: refused.collect() })
        }
        // Any other file; what is wrong with it is told when it is looked at.
        Err(_) => {
            let places = vec![Place::File(path.to_owned())];
            Ok(Found { places, named: true, ..Found::default() })
        }
    }
}

/// The files below a folder, in the order of their names.
fn walk(
    folder: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    stop: &dyn Fn() -> bool,
) -> Result<(), ScanError> {
    let failed = |source| ScanError::Io { path: folder.to_owned(), source };
    let mut entries =
        fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if stop() {
            return Err(ScanError::Interrupted);
        }
        let path = entry.path();
        // A link to a folder is not followed: it may lead in a circle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth < MAX_FOLDERS {
                walk(&path, depth + 1, files, stop)?;
            }
        } else if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            if files.len() == MAX_FILES {
                return Err(ScanError::TooMany { path: folder.to_owned() });
            }
            files.push(path);
        }
    }
    Ok(())
}
