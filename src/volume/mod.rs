//! Volumes on disk as a stream of slices: reading in the model's orientation, writing labels back
//! in the file's.
//!
//! [`SliceSource`] reads NIfTI of versions 1 and 2 (`.nii`, `.nii.gz`, `.hdr`/`.img`) and
//! [`LabelSink`] writes labels with the same geometry. Neither knows of nets or intensities'
//! meaning; both hold one slice, and a bounded block where slices have to be spooled.

mod bytes;
mod error;
mod fields;
mod forms;
mod geometry;
mod header;
mod kinds;
mod region;
mod sink;
mod source;
mod spool;
mod voxels;

pub use error::{VolumeError, VolumeWarning};
pub use forms::PLAUSIBLE_MM;
pub use geometry::{Affine, AxisMap, FileAxis, Geometry, Orientation, OrientationError};
pub use header::{DataType, MAX_CHANNELS, MAX_SIDE, MAX_SLICE_VOXELS, MAX_SLICES, VolumeHeader};
pub use region::{Region, RegionError, VoxelBox};
pub use sink::LabelSink;
pub(crate) use sink::commit;
pub use source::{SliceSource, SourceOptions};
