//! Slices that are put off, in temporary files, until it is known which pieces of their labels are
//! the largest.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::PipelineError;
use super::stream::Labelled;
use crate::measure::Subsampling;
use crate::package::Manifest;
use crate::package::pieces::Pieces;
use crate::volume::{Geometry, OutputError, SpoolError};

/// Labelled slices of a volume, and what the preview keeps of each. On disk they take a byte a
/// voxel and four a run of labelled voxels; in memory, one slice and its runs.
pub(super) struct DeferredSlices {
    pieces: Pieces<File>,
    folder: PathBuf,
    /// Of the slice that is given on.
    labels: Vec<u8>,
    thumbnail: Vec<u8>,
}

impl DeferredSlices {
    /// For a volume's labels, where the package keeps only the largest piece of one of them; the
    /// files are unlinked ones in `folder`, or in the system's temporary folder.
    pub(super) fn new(
        manifest: &Manifest,
        geometry: &Geometry,
        subsampling: Option<Subsampling>,
        folder: Option<&Path>,
    ) -> Result<Option<Self>, OutputError> {
        let values = manifest.largest();
        if values.is_empty() {
            return Ok(None);
        }
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        let size = geometry.slice_size();
        let thumbnail = subsampling.map_or(0, |subsampling| subsampling.len());
        let file = || tempfile::tempfile_in(&folder).map_err(|source| failed(&folder, source));
        Ok(Some(Self {
            pieces: Pieces::new(size, thumbnail, &values, file()?, file()?),
            labels: vec![0; size.area()],
            thumbnail: vec![0; thumbnail],
            folder,
        }))
    }

    /// Takes the next slice.
    pub(super) fn push(&mut self, slice: Labelled) -> Result<(), OutputError> {
        let Labelled { index, labels, thumbnail } = slice;
        self.pieces.push(index, labels, thumbnail).map_err(|e| failed(&self.folder, e))
    }

    /// Gives all slices on in the order in which they came, with only the largest pieces.
    pub(super) fn release(
        self,
        interrupted: &AtomicBool,
        mut write: impl FnMut(Labelled) -> Result<(), OutputError>,
    ) -> Result<(), PipelineError> {
        let Self { pieces, folder, mut labels, mut thumbnail } = self;
        let failed = |e| failed(&folder, e);
        let mut kept = pieces.settle().map_err(failed)?;
        while let Some(index) = kept.next_into(&mut labels, &mut thumbnail).map_err(failed)? {
            if interrupted.load(Ordering::Relaxed) {
                return Err(PipelineError::Interrupted);
            }
            write(Labelled { index, labels: &labels, thumbnail: &thumbnail })?;
        }
        Ok(())
    }
}

fn failed(folder: &Path, source: io::Error) -> OutputError {
    SpoolError { path: folder.to_owned(), source }.into()
}
