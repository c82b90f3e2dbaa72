//! Why an object cannot be made, and what it leaves out.

use crate::dataset::Tag;
use crate::write::WriteError;
use std::io;

/// Why an object cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// An object would not be found beside its source.
    #[error(
        "the source has no valid UID in {tag}, and an object cannot name it without one; \
         give the series new UIDs (with dcmodify -gst -gse -gin, for example)"
    )]
    NoUid {
        /// Which one.
        tag: Tag,
    },
    /// No slices, no pixels or no segments.
    #[error("an object needs slices with pixels and at least one segment")]
    Empty,
    /// Two segments with one value, or one with the background's.
    #[error("segment value {value} is the background's or another segment's")]
    SegmentValue {
        /// The value.
        value: u8,
    },
    /// A plane has another size than the source's slices.
    #[error("a plane has {found} pixels, and the source's slices have {expected}")]
    PlaneSize {
        /// What came.
        found: usize,
        /// What the source has.
        expected: usize,
    },
    /// A plane holds a value of no segment.
    #[error("a plane holds value {value}, which is no segment's")]
    UnknownValue {
        /// The value.
        value: u8,
    },
    /// More or fewer planes than slices.
    #[error("{found} planes came for {expected} slices")]
    PlaneCount {
        /// What came.
        found: usize,
        /// What the source has.
        expected: usize,
    },
    /// Contours lie in the patient, so they need to know where.
    #[error("slice {slice} has no position, orientation or pixel spacing, which contours need")]
    NoGeometry {
        /// Which slice, from 1.
        slice: usize,
    },
    /// Contours lie in a frame of reference.
    #[error("the source has no Frame of Reference UID (0020,0052), which contours need")]
    NoFrameOfReference,
    /// A picture that is not what its size says.
    #[error("a picture of {rows} x {columns} has {found} bytes, and not three a pixel")]
    PictureSize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
        /// Bytes that came.
        found: usize,
    },
    /// A measurement that is no finite number.
    #[error("a measurement of segment {value} is no finite number")]
    Measurement {
        /// The segment's value.
        value: u8,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The spool fails.
    #[error("the temporary file of an object fails: {0}")]
    Spool(io::Error),
}

/// What an object leaves out or changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// An element of the source breaks the rules of its value representation: it is too long, has
    /// several values, or characters that its character set has not.
    #[error("element {tag} of the source is no valid {vr} and was left out of the DICOM result")]
    Invalid {
        /// The element.
        tag: Tag,
        /// What it should be.
        vr: &'static str,
    },
    /// Decimal text of more than 16 characters.
    #[error("numbers of {tag} have more than 16 characters and were rounded")]
    Rounded {
        /// The element.
        tag: Tag,
    },
    /// A segment without valid codes.
    #[error("segment {value} has no valid category and type codes and is called Tissue")]
    NoCodes {
        /// The segment's value.
        value: u8,
    },
    /// Text beyond ASCII without a character set, which is UTF-8.
    #[error("the source names no character set that is known: its text is taken as UTF-8")]
    Undeclared,
    /// A text that the source's character set does not have.
    #[error("a text of the package has characters that the source's character set has not")]
    Characters,
}
