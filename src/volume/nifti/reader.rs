//! A NIfTI file's planes, in its own order.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::error::{VolumeError, VolumeWarning};
use super::super::grid::{Grid, Scaling};
use super::super::planes::PlaneReader;
use super::bytes::{self, Stream, Whole};
use super::header::{Files, NiftiHeader};

/// Reads a NIfTI file: `.nii`, `.nii.gz`, `.hdr`/`.img`, or a pipe.
///
/// Each file is opened once and never again: a file that takes its name later is not read, and is
/// noticed at the end of a pass.
pub struct NiftiReader {
    header: NiftiHeader,
    files: Files,
    planes: Planes,
}

impl NiftiReader {
    /// Opens a file, and refuses one that is too short for the voxels that its header declares.
    /// `interrupted`, set from outside, ends reading before the next 64 KiB of the file.
    ///
    /// # Errors
    /// [`VolumeError`]
    pub fn open(path: &Path, interrupted: Option<Arc<AtomicBool>>) -> Result<Self, VolumeError> {
        let (header, files, stream) = NiftiHeader::open(path, &interrupted)?;
        let planes = Planes::new(&header, stream)?;
        Ok(Self { header, files, planes })
    }

    /// The file's header.
    #[must_use]
    pub fn header(&self) -> &NiftiHeader {
        &self.header
    }
}

impl fmt::Debug for NiftiReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NiftiReader")
            .field("header", &self.header)
            .field("plane", &self.planes.next)
            .finish()
    }
}

impl PlaneReader for NiftiReader {
    fn grid(&self) -> &Grid {
        &self.header.grid
    }

    fn read(&mut self, plane: &mut [u8]) -> Result<Scaling, VolumeError> {
        // A file that changed is the reason for whatever else is wrong with it.
        self.planes.read(plane).map_err(|e| self.files.check().err().unwrap_or(e))?;
        if self.planes.next == self.planes.count {
            if self.planes.reader.trailing {
                self.header.grid.warn(VolumeWarning::Trailing);
            }
            self.files.check()?;
        }
        Ok(self.header.scaling)
    }

    fn can_restart(&self) -> bool {
        self.files.data().is_seekable()
    }

    fn restart(&mut self) -> Result<(), VolumeError> {
        self.files.check()?;
        self.planes = Planes::new(&self.header, self.files.data().start()?)?;
        Ok(())
    }

    fn verify(&self) -> Result<(), VolumeError> {
        self.files.check()
    }
}

/// One pass over the planes.
struct Planes {
    reader: Whole<Box<dyn Read + Send>>,
    path: PathBuf,
    next: usize,
    count: usize,
}

impl Planes {
    /// The planes in a stream that stands somewhere before them.
    fn new(header: &NiftiHeader, mut stream: Stream) -> Result<Self, VolumeError> {
        check_length(header, stream.most)?;
        let offset = header.data_offset - stream.at;
        let skipped = io::copy(&mut (&mut stream.reader).take(offset), &mut io::sink())
            .map_err(|e| damaged(header, 0, e))?;
        if skipped < offset {
            return Err(no_voxels(header));
        }
        let count = header.grid.planes();
        let reader = Whole::new(stream.reader, count as u64 * header.grid.plane_bytes() as u64);
        Ok(Self { reader, path: header.data_path.clone(), next: 0, count })
    }

    fn read(&mut self, plane: &mut [u8]) -> Result<(), VolumeError> {
        self.reader.read_exact(plane).map_err(|e| broken(&self.path, self.next, self.count, e))?;
        self.next += 1;
        Ok(())
    }
}

/// Refuses at once what is too short for the voxels that the header declares, before anything is
/// allocated for them.
fn check_length(header: &NiftiHeader, most: Option<u64>) -> Result<(), VolumeError> {
    let Some(most) = most else { return Ok(()) };
    let Some(voxels) = most.checked_sub(header.data_offset) else { return Err(no_voxels(header)) };
    let whole = voxels / header.grid.plane_bytes() as u64;
    if whole >= header.grid.planes() as u64 {
        return Ok(());
    }
    Err(damaged(header, whole as usize, io::ErrorKind::UnexpectedEof.into()))
}

fn no_voxels(header: &NiftiHeader) -> VolumeError {
    let found = format!("the data ends before byte {}, where voxels start", header.data_offset);
    damaged(header, 0, io::Error::other(found))
}

fn damaged(header: &NiftiHeader, plane: usize, error: io::Error) -> VolumeError {
    broken(&header.data_path, plane, header.grid.planes(), error)
}

/// What a failed read means for the file.
fn broken(path: &Path, slice: usize, slices: usize, error: io::Error) -> VolumeError {
    if bytes::stopped(&error) {
        return bytes::failed(path, error);
    }
    let found = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the voxel data ends here".to_owned(),
        _ => error.to_string(),
    };
    VolumeError::Data { path: path.to_owned(), slice, slices, found }
}
