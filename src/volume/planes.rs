//! The seam between a volume's format and the rest of the library: planes of stored voxels in,
//! planes of labels out.
//!
//! A format implements these two traits and knows nothing of orientations, regions or nets:
//! [`SliceSource`](super::SliceSource) turns planes into slices in the model's orientation, and
//! [`LabelSink`](super::LabelSink) turns labels back. Both sides speak of the stored grid only.

use std::path::Path;

use super::error::{OutputError, VolumeError};
use super::grid::{Grid, Scaling};
use crate::atomic::Staged;

/// Reads a volume plane by plane: a file, a series of files, a buffer.
///
/// A pass reads [`Grid::planes`] planes: all of the first channel along the third axis, then those
/// of the next channel. Several passes may be asked for, since normalisation needs statistics
/// first.
pub trait PlaneReader: Send {
    /// The volume's grid. Reading may add warnings to it.
    fn grid(&self) -> &Grid;

    /// Reads the next plane as it is stored, rows along the fastest axis, and returns what scales
    /// this plane's values. `plane` is [`Grid::plane_bytes`] long. The pass's last plane is given
    /// out only once all that is known of the volume's soundness is checked: its checksum, whether
    /// its file changed.
    ///
    /// # Errors
    /// [`VolumeError::Data`], [`VolumeError::Changed`], [`VolumeError::Interrupted`]
    fn read(&mut self, plane: &mut [u8]) -> Result<Scaling, VolumeError>;

    /// Whether [`PlaneReader::restart`] works. Where it does not (a pipe), planes are kept in a
    /// temporary file.
    fn can_restart(&self) -> bool {
        true
    }

    /// Goes back to the first plane, for a further pass.
    ///
    /// # Errors
    /// As [`PlaneReader::read`].
    fn restart(&mut self) -> Result<(), VolumeError>;

    /// Makes sure that what was read is still the volume, at the end of work and before its result
    /// is published.
    ///
    /// # Errors
    /// [`VolumeError::Changed`]
    fn verify(&self) -> Result<(), VolumeError> {
        Ok(())
    }
}

/// Takes a volume's labels plane by plane. Dropped before [`LabelWriter::finish`], it leaves
/// nothing.
pub trait LabelWriter {
    /// What messages and reports call the labels: their path, where they have one.
    fn name(&self) -> &Path;

    /// Takes the labels of the next plane of the stored grid, a byte a voxel. Planes come in the
    /// order in which [`PlaneReader::read`] gives those of a channel, each once, those without any
    /// label too.
    ///
    /// # Errors
    /// [`OutputError::Write`]
    fn write(&mut self, plane: &[u8]) -> Result<(), OutputError>;

    /// Completes the labels after the last plane. Returns the files that are complete but have no
    /// name yet: the caller names them together with what belongs to them, by
    /// [`publish`](super::publish). There are none where labels go elsewhere.
    ///
    /// # Errors
    /// [`OutputError::Write`]
    fn finish(self: Box<Self>) -> Result<Vec<Staged>, OutputError>;
}
