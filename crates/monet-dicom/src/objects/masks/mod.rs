//! The way back: labels of segmentations and structure sets, a plane at a time.
//!
//! ```text
//!  SEG, label map   Frames::new(data set) ─▶ slices in order, each with its frames ─▶ plane(slice)
//!  RTSTRUCT         Contours::new(data set) ─▶ onto(slices of an image) ─▶ plane(slice)
//! ```
//!
//! A plane holds a number for each pixel: 0 for none, else the segment's number, or for a
//! structure set the place of the region in its list, from 1. Where segments overlap, the one with
//! the larger number shows, and the pixels that lost one are counted.

mod fill;
mod frames;
mod regions;
#[cfg(test)]
mod tests;
mod text;

pub use frames::{Frames, SliceFrames, Span};
pub use regions::{Contours, Region, Regions};

use crate::dataset::Tag;
use crate::read::Keep;
use crate::tags;
use crate::vector::{cross, directions, dot, minus};

/// Longest contour that is read, in bytes of text.
const LONGEST_CONTOUR: u32 = 16 << 20;

/// What of an object the reader has to keep for masks, so that one of very many frames fits.
#[must_use]
pub fn keep() -> Keep<'static> {
    const TOP: &[Tag] = &[
        tags::CHARACTER_SET,
        tags::SOP_CLASS,
        tags::SOP_INSTANCE,
        tags::MODALITY,
        tags::STUDY_UID,
        tags::SERIES_UID,
        tags::FRAME_OF_REFERENCE,
        tags::FRAMES,
        tags::ROWS,
        tags::COLUMNS,
        tags::BITS_ALLOCATED,
        tags::PADDING_VALUE,
        tags::SEGMENTATION_TYPE,
        tags::SEGMENTS,
        tags::FRACTIONAL_MAXIMUM,
        tags::SHARED,
        tags::PER_FRAME,
        tags::REFERENCED_FRAMES_OF_REFERENCE,
        tags::STRUCTURE_SET_ROIS,
        tags::ROI_CONTOURS,
    ];
    const SEQUENCES: &[Tag] = &[
        tags::SHARED,
        tags::PER_FRAME,
        tags::SEGMENTS,
        tags::REFERENCED_FRAMES_OF_REFERENCE,
        tags::STRUCTURE_SET_ROIS,
        tags::ROI_CONTOURS,
    ];
    const WITHIN: &[Tag] = &[
        tags::DERIVATION_IMAGE,
        tags::SOURCE_IMAGES,
        tags::REFERENCED_INSTANCE,
        tags::REFERENCED_FRAME,
        tags::FRAME_OF_REFERENCE,
        tags::FRAME_CONTENT_SEQUENCE,
        tags::IN_STACK_POSITION,
        tags::PLANE_POSITION,
        tags::IMAGE_POSITION,
        tags::PLANE_ORIENTATION,
        tags::IMAGE_ORIENTATION,
        tags::PIXEL_MEASURES,
        tags::PIXEL_SPACING,
        tags::SLICE_SPACING,
        tags::SLICE_THICKNESS,
        tags::SEGMENT_IDENTIFICATION,
        tags::REFERENCED_SEGMENT,
        tags::SEGMENT_NUMBER,
        tags::SEGMENT_LABEL,
        tags::ROI_NUMBER,
        tags::ROI_NAME,
        tags::CONTOURS,
        tags::CONTOUR_TYPE,
        tags::CONTOUR_DATA,
        tags::REFERENCED_ROI,
    ];
    Keep::all().only(TOP).within(SEQUENCES, WITHIN).values_up_to(LONGEST_CONTOUR)
}

/// Why an object holds no masks that can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// It is another kind of object.
    #[error("this is no segmentation and no structure set, but SOP class {class}")]
    Class {
        /// Its SOP class.
        class: String,
    },
    /// An element that cannot be missing, or has an impossible value.
    #[error("element {tag} is missing or has a value that makes no sense here")]
    Element {
        /// The element.
        tag: Tag,
    },
    /// The groups of frames do not fit the frames.
    #[error("{frames} frames are declared, and {groups} are described")]
    FrameCount {
        /// Number of Frames.
        frames: u32,
        /// Items of the Per-frame Functional Groups Sequence.
        groups: usize,
    },
    /// Planes of labels have a byte a pixel.
    #[error("segment {number} cannot be told in a byte; 255 is the largest number")]
    Number {
        /// The segment's number, or of regions their count.
        number: usize,
    },
    /// A plane, or a frame's bytes, of another size.
    #[error("{found} bytes came, and {expected} were expected")]
    Size {
        /// What came.
        found: usize,
        /// What was expected.
        expected: usize,
    },
    /// Slices that are not parallel.
    #[error("frame {frame} lies at an angle to the first, so that they make no stack")]
    Angle {
        /// The frame, from 1.
        frame: usize,
    },
    /// A slice that the object has not.
    #[error("there is no slice {slice}")]
    NoSlice {
        /// Its index.
        slice: usize,
    },
}

/// A plane in the patient: of a frame, or of an image's slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plane {
    /// Centre of the first pixel, in millimetres (LPS).
    pub position: [f64; 3],
    /// Directions of a row and of a column.
    pub orientation: [f64; 6],
    /// Millimetres between rows and between columns.
    pub spacing: [f64; 2],
}

impl Plane {
    /// Direction across the plane: the row's × the column's.
    #[must_use]
    pub fn normal(&self) -> [f64; 3] {
        let [row, column] = directions(self.orientation);
        cross(row, column)
    }

    /// The place in the patient of a column and a row of the plane.
    #[must_use]
    pub fn place(&self, [column, row]: [f64; 2]) -> [f64; 3] {
        let [along, down] = directions(self.orientation);
        let [between_rows, between_columns] = self.spacing;
        [0, 1, 2].map(|k| {
            self.position[k] + along[k] * between_columns * column + down[k] * between_rows * row
        })
    }

    /// A place in the patient as column and row of the plane.
    #[must_use]
    pub fn pixel(&self, place: [f64; 3]) -> [f64; 2] {
        let offset = minus(place, self.position);
        let [row, column] = directions(self.orientation);
        let [between_rows, between_columns] = self.spacing;
        [dot(offset, row) / between_columns, dot(offset, column) / between_rows]
    }
}

/// Shows a number in a plane where a mask says so; counts the pixels that had another.
fn show(out: &mut [u8], mask: impl Iterator<Item = bool>, number: u8) -> u64 {
    let mut overlaps = 0;
    for (pixel, inside) in out.iter_mut().zip(mask) {
        if inside {
            overlaps += u64::from(*pixel != 0 && *pixel != number);
            *pixel = (*pixel).max(number);
        }
    }
    overlaps
}
