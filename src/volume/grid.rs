//! What a volume tells before its voxels are read, whatever the format: sizes, how voxels are
//! stored, and where they lie.

use std::path::{Path, PathBuf};

pub use monet_core::prepare::Scaling;

use super::error::{VolumeError, VolumeWarning};
use super::geometry::Geometry;
use super::nifti::Fields;
use super::uneven::SlicePlace;

/// Largest width or height of a slice. CT and MR stay below 2048.
pub const MAX_SIDE: usize = 8192;

/// Largest number of voxels in a slice, times channels: bounds every slice buffer to 64 MiB of f32.
pub const MAX_SLICE_VOXELS: usize = 16 << 20;

/// Largest number of channels.
pub const MAX_CHANNELS: usize = 64;

/// Largest number of slices of a channel. A NIfTI-1 header can say 32,767.
pub const MAX_SLICES: usize = 1 << 20;

/// The type of a stored voxel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VoxelType {
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl VoxelType {
    /// Bytes of a voxel.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

/// The order of a stored voxel's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The order of the machine that this runs on.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

/// A volume's grid and how its voxels are stored.
///
/// The grid is the stored one: its first axis is the fastest, planes follow one another along the
/// third, and the planes of a further channel follow those of the one before.
#[derive(Debug, Clone)]
pub struct Grid {
    name: PathBuf,
    geometry: Geometry,
    channels: usize,
    voxel_type: VoxelType,
    byte_order: ByteOrder,
    warnings: Vec<VolumeWarning>,
    /// The numbers by which a NIfTI file places the grid: a label volume in that format copies
    /// them, so that nothing is rounded on the way.
    stored: Option<Box<Fields>>,
    /// The place of each plane, where planes are not evenly spaced; empty elsewhere.
    places: Vec<SlicePlace>,
}

impl Grid {
    /// A grid of one channel. `name` stands for the volume in messages and reports: its path, where
    /// it has one. `geometry` says sizes and placement in millimetres.
    ///
    /// # Errors
    /// [`VolumeError::Grid`] where sizes exceed [`MAX_SIDE`], [`MAX_SLICE_VOXELS`] or
    /// [`MAX_SLICES`], are 0, or where the affine is not finite or does not span space.
    pub fn new(
        name: impl Into<PathBuf>,
        geometry: Geometry,
        voxel_type: VoxelType,
        byte_order: ByteOrder,
    ) -> Result<Self, VolumeError> {
        // The spacing follows from the affine, whatever the caller wrote beside it.
        let geometry = Geometry::new(geometry.size, geometry.affine);
        let grid = Self::unchecked(name.into(), geometry, 1, voxel_type, byte_order);
        grid.check_size()?;
        if !geometry.affine.is_invertible() {
            let found = format!("{:?}", geometry.affine.0);
            return Err(grid.refused("affine", found, "finite numbers that span space".into()));
        }
        let warnings = geometry.oddities();
        Ok(Self { warnings, ..grid })
    }

    /// A grid that its format has checked.
    pub(super) fn unchecked(
        name: PathBuf,
        geometry: Geometry,
        channels: usize,
        voxel_type: VoxelType,
        byte_order: ByteOrder,
    ) -> Self {
        let warnings = Vec::new();
        let (stored, places) = (None, Vec::new());
        Self { name, geometry, channels, voxel_type, byte_order, warnings, stored, places }
    }

    /// The same grid with so many channels.
    ///
    /// # Errors
    /// [`VolumeError::Grid`] where there are none or more than [`MAX_CHANNELS`].
    pub fn with_channels(self, channels: usize) -> Result<Self, VolumeError> {
        if !(1..=MAX_CHANNELS).contains(&channels) {
            let expected = format!("1 to {MAX_CHANNELS}");
            return Err(self.refused("channels", channels.to_string(), expected));
        }
        Ok(Self { channels, ..self })
    }

    /// The same grid, whose planes are not evenly spaced: the place of each along the third axis.
    ///
    /// # Errors
    /// [`VolumeError::Grid`] where there is not one for each plane.
    pub fn with_places(self, places: Vec<SlicePlace>) -> Result<Self, VolumeError> {
        let slices = self.size()[2];
        if places.len() != slices {
            let found = places.len().to_string();
            return Err(self.refused("places of slices", found, slices.to_string()));
        }
        Ok(Self { places, ..self })
    }

    /// The same grid, placed by a NIfTI header: these numbers, these oddities.
    pub(super) fn stored_as(self, fields: Fields, warnings: Vec<VolumeWarning>) -> Self {
        Self { stored: Some(Box::new(fields)), warnings, ..self }
    }

    /// What messages and reports call the volume.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Voxels along each stored axis, the fastest first.
    #[must_use]
    pub fn size(&self) -> [usize; 3] {
        self.geometry.size
    }

    /// Where the stored grid lies, in millimetres.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The place of each plane along the third axis, where planes are not evenly spaced; empty
    /// elsewhere.
    #[must_use]
    pub fn places(&self) -> &[SlicePlace] {
        &self.places
    }

    /// Channels of a voxel.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The type of a stored voxel.
    #[must_use]
    pub fn voxel_type(&self) -> VoxelType {
        self.voxel_type
    }

    /// The order of a stored voxel's bytes.
    #[must_use]
    pub fn byte_order(&self) -> ByteOrder {
        self.byte_order
    }

    /// Planes of all channels.
    #[must_use]
    pub fn planes(&self) -> usize {
        self.size()[2] * self.channels
    }

    /// Voxels of a plane.
    #[must_use]
    pub fn plane_voxels(&self) -> usize {
        self.size()[0] * self.size()[1]
    }

    /// Bytes of a plane.
    #[must_use]
    pub fn plane_bytes(&self) -> usize {
        self.plane_voxels() * self.voxel_type.size()
    }

    /// What was odd and worked around.
    #[must_use]
    pub fn warnings(&self) -> &[VolumeWarning] {
        &self.warnings
    }

    /// Notes, once, what a reader finds odd.
    pub fn warn(&mut self, warning: VolumeWarning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The numbers by which a NIfTI file places the grid, where it came from one.
    pub(super) fn stored(&self) -> Option<&Fields> {
        self.stored.as_deref()
    }

    fn check_size(&self) -> Result<(), VolumeError> {
        let size = self.size();
        let refused = |found: String, expected| Err(self.refused("size", found, expected));
        match beyond_limits(size.map(|n| n as u64)) {
            _ if size.contains(&0) => refused(format!("{size:?}"), "at least one voxel".into()),
            Some((_, found, expected)) => refused(found, expected),
            None => Ok(()),
        }
    }

    /// Why the grid, or the way in which it is to be read, is refused.
    pub(super) fn refused(
        &self,
        field: &'static str,
        found: String,
        expected: String,
    ) -> VolumeError {
        VolumeError::Grid { name: self.name.clone(), field, found, expected }
    }
}

/// The limit that a size exceeds: the axis behind it, what was found, what is expected. In 64 bits,
/// because what a header declares may not fit a 32-bit target's usize.
pub(super) fn beyond_limits(size: [u64; 3]) -> Option<(usize, String, String)> {
    let [width, height, slices] = size;
    if width.max(height) > MAX_SIDE as u64 || width * height > MAX_SLICE_VOXELS as u64 {
        let expected =
            format!("slices of at most {MAX_SIDE} × {MAX_SIDE} and {MAX_SLICE_VOXELS} voxels");
        return Some((0, format!("{size:?}"), expected));
    }
    (slices > MAX_SLICES as u64)
        .then(|| (2, slices.to_string(), format!("at most {MAX_SLICES} slices")))
}
