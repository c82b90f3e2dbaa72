//! Looks through a folder, an archive, a DICOMDIR or a file for images.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::{Image, Reason, Stack, stacks};
use crate::read::{self, FileSource, Instance, Keep, ReadError, Source, zip};
use crate::tags;

/// Most files that are looked at.
pub const MAX_FILES: usize = 200_000;
/// Folders are not followed deeper.
const MAX_FOLDERS: usize = 32;

/// What was found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Where each image's file is.
    pub places: Vec<Place>,
    /// The images, one a place.
    pub images: Vec<Image>,
    /// What of the images makes a volume.
    pub stacks: Vec<Stack>,
    /// DICOM files that hold no slice of a volume.
    pub passed_over: Vec<(Place, Reason)>,
    /// Files that are damaged, or hostile.
    pub unreadable: Vec<(Place, ReadError)>,
    /// How many files are no DICOM.
    pub others: usize,
}

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
}

/// Why nothing could be looked through.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A folder or file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The archive or the DICOMDIR is damaged.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// There are too many files.
    #[error("{}: more than {MAX_FILES} files: give a folder of one study", path.display())]
    TooMany {
        /// The folder or archive.
        path: PathBuf,
    },
    /// The caller wanted no more.
    #[error("interrupted")]
    Interrupted,
}

/// Whether a path names what [`Scan::of`] looks through: a folder, a zip archive, or a file that
/// begins as DICOM does.
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

impl Scan {
    /// Looks through a folder with all that is below it, a zip archive, the files that a DICOMDIR
    /// names, or one file. `stop` is asked before each file whether to go on.
    ///
    /// # Errors
    /// [`ScanError`]. A file that cannot be read is no error: it is listed.
    pub fn of(path: &Path, stop: &dyn Fn() -> bool) -> Result<Self, ScanError> {
        let mut scan = Self::default();
        for place in places(path, stop)? {
            if stop() {
                return Err(ScanError::Interrupted);
            }
            scan.look_at(place);
        }
        scan.stacks = stacks(&scan.images);
        Ok(scan)
    }

    fn look_at(&mut self, place: Place) {
        const SEQUENCES: &[crate::Tag] = &[tags::SHARED, tags::PER_FRAME];
        const KEEP: Keep = Keep::all().only(TOP).within(SEQUENCES, FRAME).values_up_to(1 << 12);
        match place.open(&KEEP) {
            Err(ReadError::NotDicom) => self.others += 1,
            Err(error) => self.unreadable.push((place, error)),
            Ok(instance) if instance.header.data.get(tags::DIRECTORY_RECORDS).is_some() => {
                self.others += 1;
            }
            Ok(instance) => match Image::new(&instance.header.data, &instance.header.syntax) {
                _ if instance.header.pixels.is_none() => {
                    let text = |tag| instance.header.data.text(tag).unwrap_or_default().to_owned();
                    let (class, modality) = (text(tags::SOP_CLASS), text(tags::MODALITY));
                    self.passed_over.push((place, Reason::NoImage { class, modality }));
                }
                Ok(mut image) => {
                    let last = self.images.last().map(|last| &last.common);
                    if let Some(last) = last.filter(|last| **last == image.common) {
                        image.common = last.clone();
                    }
                    self.images.push(image);
                    self.places.push(place);
                }
                Err(reason) => self.passed_over.push((place, reason)),
            },
        }
    }
}

/// What [`Image::new`] looks at.
const TOP: &[crate::Tag] = &[
    tags::DIRECTORY_RECORDS,
    tags::IMAGE_TYPE,
    tags::SOP_CLASS,
    tags::SOP_INSTANCE,
    tags::MODALITY,
    tags::SERIES_DESCRIPTION,
    tags::BODY_PART,
    tags::SLICE_THICKNESS,
    tags::ECHO_TIME,
    tags::SLICE_SPACING,
    tags::TRIGGER_TIME,
    tags::STUDY_UID,
    tags::SERIES_UID,
    tags::SERIES_NUMBER,
    tags::ACQUISITION_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::IMAGE_POSITION,
    tags::IMAGE_ORIENTATION,
    tags::FRAME_OF_REFERENCE,
    tags::TEMPORAL_POSITION,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC,
    tags::FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::PIXEL_REPRESENTATION,
    tags::PADDING_VALUE,
    tags::PADDING_LIMIT,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::LOSSY,
    tags::SHARED,
    tags::PER_FRAME,
];

/// What it looks at in functional groups, and the groups themselves.
const FRAME: &[crate::Tag] = &[
    tags::PLANE_POSITION,
    tags::IMAGE_POSITION,
    tags::PLANE_ORIENTATION,
    tags::IMAGE_ORIENTATION,
    tags::PIXEL_MEASURES,
    tags::PIXEL_SPACING,
    tags::SLICE_THICKNESS,
    tags::SLICE_SPACING,
    tags::VALUE_TRANSFORMATION,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::FRAME_CONTENT_SEQUENCE,
    tags::STACK_ID,
    tags::TEMPORAL_INDEX,
    tags::FRAME_ACQUISITION_NUMBER,
    tags::DIFFUSION_SEQUENCE,
    tags::B_VALUE,
    tags::ECHO_SEQUENCE,
    tags::EFFECTIVE_ECHO_TIME,
];

/// The files to look at.
fn places(path: &Path, stop: &dyn Fn() -> bool) -> Result<Vec<Place>, ScanError> {
    let failed = |source| ScanError::Io { path: path.to_owned(), source };
    let unreadable = |source| ScanError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        let mut files = Vec::new();
        walk(path, 0, &mut files, stop)?;
        return Ok(files.into_iter().map(Place::File).collect());
    }
    let start = start(path).map_err(failed)?;
    if zip::is_zip(&start) {
        let archive = Arc::new(zip::Archive::open(path).map_err(unreadable)?);
        let count = archive.entries().len();
        if count > MAX_FILES {
            return Err(ScanError::TooMany { path: path.to_owned() });
        }
        return Ok((0..count).map(|entry| Place::Entry(archive.clone(), entry)).collect());
    }
    let file = || FileSource::open(path).map(Box::new).map_err(failed);
    match read::referenced(file()?) {
        Ok(files) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            Ok(files.into_iter().map(|file| Place::File(folder.join(file.path))).collect())
        }
        // Any other file; what is wrong with it is told when it is looked at.
        Err(_) => Ok(vec![Place::File(path.to_owned())]),
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
