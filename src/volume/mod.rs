//! Volumes as a stream of slices: reading in the model's orientation, writing labels back in the
//! volume's own.
//!
//! ```text
//! file, buffer, …          the seam         orientation, region, spool     the pipeline
//! NiftiReader, BufferReader ─ PlaneReader ─▶ SliceSource ──── f32 slices ───▶
//! NiftiLabels, LabelBuffer ◀─ LabelWriter ── LabelSink ◀──── label slices ───
//! ```
//!
//! `nifti` alone knows a file format: versions 1 and 2 of NIfTI (`.nii`, `.nii.gz`,
//! `.hdr`/`.img`). Nothing here knows of nets or of what intensities mean. Memory holds one slice,
//! and a bounded block where slices have to be spooled.

mod buffer;
mod error;
mod geometry;
mod grid;
mod nifti;
mod planes;
mod region;
mod scalings;
mod sink;
mod source;
mod spool;
mod uneven;
mod voxels;

pub use buffer::{BufferReader, LabelBuffer};
pub use error::{OutputError, SpoolError, VolumeError, VolumeWarning};
pub use geometry::{
    Affine, AxisMap, FileAxis, Geometry, Orientation, OrientationError, PLAUSIBLE_MM,
};
pub use grid::{
    ByteOrder, Grid, MAX_CHANNELS, MAX_SIDE, MAX_SLICE_VOXELS, MAX_SLICES, Scaling, VoxelType,
};
pub use nifti::{NiftiHeader, NiftiLabels, NiftiReader};
pub use planes::{LabelWriter, PlaneReader};
pub use region::{Region, RegionError, VoxelBox};
pub use sink::{LabelSink, publish};
pub use source::{SliceSource, SourceOptions};
pub use uneven::{SlicePlace, Uneven};
