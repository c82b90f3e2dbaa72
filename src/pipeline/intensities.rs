//! Measures intensities under the labels in a pass of its own, after the last slice: only then it
//! is known which pieces of the labels are kept.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::PipelineError;
use crate::measure::Intensities;
use crate::package::Label;
use crate::volume::{OutputError, SliceSource, SpoolError};

/// Labels of slices, in the order in which the volume gives them, in an unlinked temporary file of
/// a byte a voxel.
pub(super) struct KeptLabels {
    file: BufWriter<File>,
    folder: PathBuf,
}

impl KeptLabels {
    /// None yet. The file is in `folder`, or in the system's temporary folder.
    pub(super) fn new(folder: Option<&Path>) -> Result<Self, OutputError> {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        let file = tempfile::tempfile_in(&folder);
        let file = file.map_err(|source| SpoolError { path: folder.clone(), source })?;
        Ok(Self { file: BufWriter::new(file), folder })
    }

    /// Takes the next slice's.
    pub(super) fn push(&mut self, labels: &[u8]) -> Result<(), OutputError> {
        self.file.write_all(labels).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> OutputError {
        SpoolError { path: self.folder.clone(), source }.into()
    }

    /// Reads the volume once more.
    pub(super) fn measure(
        self,
        source: &mut SliceSource,
        labels: &[Label],
        interrupted: &AtomicBool,
    ) -> Result<Intensities, PipelineError> {
        let folder = self.folder;
        let failed = |source| OutputError::from(SpoolError { path: folder.clone(), source });
        let mut file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.rewind().map_err(failed)?;
        let mut file = BufReader::new(file);
        // A row at a time: memory is the engine's and the volume's at this point.
        let [width, height, _] = source.geometry().size;
        let (mut kept, mut row) = (vec![0; width], vec![0.0; width]);
        let mut intensities = Intensities::new(labels);
        source.rewind()?;
        while source.advance()?.is_some() {
            for y in 0..height {
                file.read_exact(&mut kept).map_err(failed)?;
                source.row(0, y, &mut row);
                intensities.add(&kept, &row);
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(PipelineError::Interrupted);
            }
        }
        Ok(intensities)
    }
}
