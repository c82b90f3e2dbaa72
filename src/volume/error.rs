//! What can be wrong with a volume, as messages that say what was found, what was expected and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a volume cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The header is not a NIfTI-1 header.
    #[error("{}: {found}, expected a NIfTI-1 file (.nii, .nii.gz or an .hdr/.img pair): convert it, for instance with dcm2niix", path.display())]
    NotNifti {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// A header field has a value that cannot be used.
    #[error("{}: header field `{field}` is {found}, expected {expected}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// NIfTI-1 name of the field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say and what to do.
        expected: String,
    },
    /// The voxel data ends early or its compression is damaged.
    #[error("{}: slice {slice} of {slices}: {found}: the file is truncated or damaged, copy it again", path.display())]
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
    /// The temporary file for slices in another order fails.
    #[error("{}: cannot keep slices here: free some space or choose another folder", path.display())]
    Spool {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The output already exists.
    #[error("{}: exists already: choose another name, or --force to replace it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Labels are missing for some slices, or there are too many.
    #[error("{}: labels of {pushed} slices were given, expected {slices}: nothing was written", path.display())]
    Incomplete {
        /// The output.
        path: PathBuf,
        /// Slices given.
        pushed: usize,
        /// Slices of the volume.
        slices: usize,
    },
    /// The output's name has no known ending.
    #[error("{}: expected a name that ends in .nii or .nii.gz", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error("{}: cannot be written, and nothing was left there", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What is odd about a volume and was worked around.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VolumeWarning {
    /// Neither sform nor qform can be used.
    #[error(
        "neither sform nor qform can be used: axes are taken as RAS at the spacing in pixdim; left and right may be swapped"
    )]
    NoAffine,
    /// The slope is not a number.
    #[error("scl_slope or scl_inter is not a number: intensities are taken unscaled")]
    NoScaling,
    /// Spacing is missing.
    #[error("pixdim has no positive spacing along axis {0}: 1 mm is assumed")]
    NoSpacing(usize),
    /// There is more data than the header declares.
    #[error("more data follows the last voxel: ignored, but see that the header's dimensions are right")]
    Trailing,
}
