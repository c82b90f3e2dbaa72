//! From images to stacks: which slices of a series belong to one volume, in which order, and
//! where the volume lies.
//!
//! 1. [`Image::new`] takes from a file's data set what the rest needs.
//! 2. [`stacks`] groups the slices of all images by series, orientation, size and spacing, splits
//!    what lies at one position, and sorts each stack along its normal.
//! 3. [`Stack::shape`] tells how regular a stack is: its step, gaps, tilt.

mod conflicts;
mod image;
mod places;
mod reach;
mod scan;
mod stack;
#[cfg(test)]
mod tests;

pub use image::{Common, DISCRIMINATORS, Image, MAX_FRAMES, Samples, SeriesKey, Slice};
pub use places::{MAX_FILES, Place, is_dicom};
pub use reach::reaches;
pub use scan::{Scan, ScanError};
pub use stack::{Member, Shape, Stack, stacks};

use thiserror::Error;

/// Why a file holds no slice of a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
#[non_exhaustive]
pub enum Reason {
    /// Reports, structure sets, segmentations without pixels and the like.
    #[error("no image (modality {modality:?}, class {class:?})")]
    NoImage {
        /// SOP Class UID.
        class: String,
        /// Modality.
        modality: String,
    },
    /// Labels of another volume.
    #[error("a segmentation: labels, not intensities")]
    Segmentation,
    /// Many slices tiled into one image, whose positions only its maker knows.
    #[error(
        "a mosaic: its slices are tiles of one image, whose places standard attributes do not tell"
    )]
    Mosaic,
    /// Not one value a pixel.
    #[error("colour ({photometric:?}): a volume has one value a pixel")]
    Colour {
        /// Photometric Interpretation.
        photometric: String,
    },
    /// A number of frames that cannot be.
    #[error("{found} frames, expected 1 to {MAX_FRAMES}")]
    Frames {
        /// Number of Frames.
        found: usize,
    },
    /// Frames without functional groups of their own, or the other way round.
    #[error("{frames} frames, and functional groups of {groups}: which is whose is not known")]
    Groups {
        /// Number of Frames.
        frames: usize,
        /// Items of the Per-Frame Functional Groups Sequence.
        groups: usize,
    },
    /// Image Position (Patient) or Image Orientation (Patient) is missing.
    #[error("no position or orientation: where its pixels lie is not known")]
    NoPositions,
    /// Pixel Spacing is missing.
    #[error("no pixel spacing: how large its pixels are is not known")]
    NoSpacing,
    /// Directions that are no directions.
    #[error("an orientation whose directions are not perpendicular and of length 1")]
    Orientation,
    /// Rescale Slope or Rescale Intercept says no number.
    #[error("a rescale slope or intercept that is no finite number: its values are not known")]
    Rescale,
}
