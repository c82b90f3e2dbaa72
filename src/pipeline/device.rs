//! A device that segments volumes in the place of this machine's engines.

use std::sync::atomic::AtomicBool;

use super::PipelineError;
use super::stream::Labelled;
use crate::package::Fit;
use crate::volume::{OutputError, SliceSource};

/// What segments raw slices elsewhere: it normalises and fits them itself.
pub trait Device {
    /// What it is, for reports.
    fn name(&self) -> String;

    /// Segments a volume of which no slice was read. `write` takes the labels of every slice, in
    /// the order in which the volume gives the slices; their thumbnails are empty.
    ///
    /// # Errors
    /// What reading, the device and `write` say; [`PipelineError::Interrupted`].
    fn segment(
        &mut self,
        volume: &mut SliceSource,
        fit: &Fit,
        interrupted: &AtomicBool,
        write: &mut dyn FnMut(Labelled) -> Result<(), OutputError>,
    ) -> Result<(), PipelineError>;
}
