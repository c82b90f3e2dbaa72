//! What can be wrong with a volume or with an output, as messages that say what was found, what was
//! expected and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::geometry::{Orientation, PLAUSIBLE_MM};
use super::region::RegionError;
use crate::text::shown;

/// Why a volume cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read", shown(path))]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is of another format.
    #[error("{}: {found}, expected {expected}: {advice}", shown(path))]
    Format {
        /// The file.
        path: PathBuf,
        /// The format, as the reader names it.
        expected: &'static str,
        /// What was found instead.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A header field has a value that cannot be used.
    #[error("{}: header field `{field}` is {found}, expected {expected}", shown(path))]
    Header {
        /// The file.
        path: PathBuf,
        /// The format's name of the field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say and what to do.
        expected: String,
    },
    /// The volume's grid, or the way in which it is to be read, is beyond what can be read.
    #[error("{}: {field} is {found}, expected {expected}", shown(name))]
    Grid {
        /// The volume.
        name: PathBuf,
        /// What of the grid is refused.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The voxel data ends early or its compression is damaged.
    #[error(
        "{}: slice {slice} of {slices}: {found}: the file is truncated or damaged, copy it again",
        shown(path)
    )]
    Data {
        /// The file with the voxels.
        path: PathBuf,
        /// Slice in the file's order at which reading stopped, from 0.
        slice: usize,
        /// Slices that the header declares.
        slices: usize,
        /// What was found.
        found: String,
    },
    /// A file that has no slices of its own is damaged.
    #[error("{}: {found}: the file is truncated or damaged, copy it again", shown(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The file is not any more what it was when it was opened.
    #[error(
        "{}: {found} while it was read: nothing was made of it, run again once it is complete",
        shown(path)
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        found: &'static str,
    },
    /// The caller interrupted the reading.
    #[error("{}: interrupted", shown(path))]
    Interrupted {
        /// The volume.
        path: PathBuf,
    },
    /// The part that was asked for is not there.
    #[error("{}", shown(path))]
    Region {
        /// The volume.
        path: PathBuf,
        /// Why not.
        source: Box<RegionError>,
    },
    /// The temporary file for slices in another order fails.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Why an output cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The output already exists.
    #[error(
        "{}: exists already: choose another name, or have it replaced (--force, in a library \
         overwrite)",
        shown(path)
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Labels are missing for some slices, or there are too many.
    #[error(
        "{}: labels of {pushed} slices were given, expected {slices}: nothing was written",
        shown(path)
    )]
    Incomplete {
        /// The output.
        path: PathBuf,
        /// Slices given.
        pushed: usize,
        /// Slices of the volume.
        slices: usize,
    },
    /// The output's name has no known ending.
    #[error("{}: expected a name that ends in .nii or .nii.gz", shown(path))]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// The caller's buffer does not hold the labels of the volume.
    #[error(
        "{}: the buffer has {found} bytes, expected {expected}: one for each voxel",
        shown(path)
    )]
    Buffer {
        /// What the labels are called.
        path: PathBuf,
        /// Bytes of the buffer.
        found: usize,
        /// Voxels of the volume.
        expected: usize,
    },
    /// Slices are not evenly spaced, which the output's format cannot tell.
    #[error(
        "{}: its slices are not evenly spaced along one line, which NIfTI cannot tell: write DICOM \
         (--format seg)",
        shown(path)
    )]
    Uneven {
        /// The output.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error("{}: cannot be written", shown(path))]
    Write {
        /// The output.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The temporary file for slices in another order, or for slices that wait, fails.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Why slices cannot be kept in a temporary file.
#[derive(Debug, Error)]
#[error("{}: cannot keep slices here: free some space or choose another folder", shown(path))]
pub struct SpoolError {
    /// The folder.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// What is odd about a volume and was worked around.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum VolumeWarning {
    /// What is odd about a mask in DICOM.
    #[error("{0}")]
    Mask(String),
    /// Neither sform nor qform is set.
    #[error(
        "neither sform nor qform is set: axes are taken as LAS (x to the left, as nibabel and ITK \
         take it) at the spacing in pixdim; left and right may be swapped"
    )]
    NoAffine,
    /// The two forms contradict each other.
    #[error(
        "sform and qform place the volume differently ({sform} and {qform}): sform is taken; where \
         that is wrong, sides are swapped"
    )]
    FormsDiffer {
        /// Orientation that the sform gives.
        sform: Orientation,
        /// Orientation that the qform gives.
        qform: Orientation,
    },
    /// The grid's axes are not perpendicular, as with a tilted gantry.
    #[error(
        "the grid is sheared by {degrees:.1} degrees, as with a tilted gantry: slices are taken as \
         if it were not; volumes and distances are right"
    )]
    Sheared {
        /// The largest deviation of two axes from perpendicular.
        degrees: f64,
    },
    /// The unit cannot be right.
    #[error(
        "the volume's largest side is {largest_mm} mm, expected {} to {} mm: see that xyzt_units \
         and pixdim are right", PLAUSIBLE_MM[0], PLAUSIBLE_MM[1]
    )]
    OddExtent {
        /// Voxels times spacing along the longest axis.
        largest_mm: f64,
    },
    /// The slope is not a number.
    #[error("scl_slope or scl_inter is not a number: intensities are taken unscaled")]
    NoScaling,
    /// Spacing is missing.
    #[error("pixdim has no positive spacing along axis {0}: 1 mm is assumed")]
    NoSpacing(usize),
    /// Spacing has a sign, which belongs to a form.
    #[error("pixdim is negative along axis {0}: its size is taken, the direction is not")]
    NegativeSpacing(usize),
    /// There is more data than the header declares.
    #[error(
        "more data follows the last voxel: ignored, but see that the header's dimensions are right"
    )]
    Trailing,
}
