//! Slices that wait in temporary files until it is known which pieces of their labels are the
//! largest.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::PipelineError;
use super::stream::Labelled;
use crate::measure::Thinning;
use crate::package::Manifest;
use crate::package::pieces::Pieces;
use crate::volume::{Geometry, VolumeError};

/// See the module. On disk, a byte a voxel and four a run of labelled ones; in memory, a slice and
/// its runs.
pub(super) struct Waiting {
    pieces: Pieces<File>,
    folder: PathBuf,
    /// Of a slice: its labels and its picture.
    labels: Vec<u8>,
    grey: Vec<u8>,
}

impl Waiting {
    /// For a volume's labels, where the package limits one of them; the files are unlinked ones in
    /// `folder`.
    pub(super) fn new(
        manifest: &Manifest,
        geometry: &Geometry,
        thinning: Option<Thinning>,
        folder: &Path,
    ) -> Result<Option<Self>, VolumeError> {
        let values = manifest.largest();
        if values.is_empty() {
            return Ok(None);
        }
        let [width, height, _] = geometry.size;
        let beside = thinning.map_or(0, |thinning| thinning.len());
        let file = || tempfile::tempfile_in(folder).map_err(|source| failed(folder, source));
        Ok(Some(Self {
            pieces: Pieces::new([width, height], beside, &values, file()?, file()?),
            folder: folder.to_owned(),
            labels: vec![0; width * height],
            grey: vec![0; beside],
        }))
    }

    /// Takes the next slice.
    pub(super) fn push(&mut self, slice: Labelled) -> Result<(), VolumeError> {
        self.pieces.push(slice.index, slice.labels, slice.grey).map_err(|e| failed(&self.folder, e))
    }

    /// Gives all slices on in the order in which they came, with only the largest pieces.
    pub(super) fn release(
        self,
        interrupted: &AtomicBool,
        mut write: impl FnMut(Labelled) -> Result<(), VolumeError>,
    ) -> Result<(), PipelineError> {
        let Self { pieces, folder, mut labels, mut grey } = self;
        let mut kept = pieces.settle().map_err(|e| failed(&folder, e))?;
        while let Some(index) =
            kept.next_into(&mut labels, &mut grey).map_err(|e| failed(&folder, e))?
        {
            if interrupted.load(Ordering::Relaxed) {
                return Err(PipelineError::Interrupted);
            }
            write(Labelled { index, labels: &labels, grey: &grey })?;
        }
        Ok(())
    }
}

fn failed(folder: &Path, source: io::Error) -> VolumeError {
    VolumeError::Spool { path: folder.to_owned(), source }
}
