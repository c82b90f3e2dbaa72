//! Stored voxels to f32, placed in the model's orientation; and the plane's way back for labels.
//!
//! One plane at a time: the two in-plane axes are turned and flipped here, whatever brought the
//! plane.

use super::geometry::AxisMap;
use super::header::{DataType, VolumeHeader};
use super::region::VoxelBox;

/// Where the voxels of the model's plane (x first), or of a part of it, lie in the file's plane
/// (fast axis first).
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    /// Voxels along the model's axes.
    width: usize,
    height: usize,
    /// Index in the file's plane of the model's first voxel, and what a step along each model axis
    /// adds.
    origin: isize,
    x_step: isize,
    y_step: isize,
}

impl Placement {
    /// The placement for a file of this size, whose axes map so.
    pub(super) fn new(size: [usize; 3], map: AxisMap) -> Self {
        let [x, y, through] = map.0;
        let fast = if through.axis == 0 { 1 } else { 0 };
        let mut origin = 0;
        let [x_step, y_step] = [x, y].map(|from| {
            let stride = if from.axis == fast { 1 } else { size[fast] as isize };
            if from.reversed {
                origin += stride * (size[from.axis] as isize - 1);
                -stride
            } else {
                stride
            }
        });
        Self { width: size[x.axis], height: size[y.axis], origin, x_step, y_step }
    }

    /// The placement of a box of the model's grid within the file's whole planes.
    pub(super) fn within(self, part: VoxelBox) -> Self {
        let [x, y, _] = part.first.map(|first| first as isize);
        let [width, height, _] = part.size;
        Self { width, height, origin: self.origin + x * self.x_step + y * self.y_step, ..self }
    }

    /// Voxels of the model's plane.
    pub(super) fn len(&self) -> usize {
        self.width * self.height
    }

    /// Voxels of a row of the model's plane.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Indices in the file's plane of a row of the model's.
    fn row(&self, y: usize) -> impl Iterator<Item = usize> {
        let (first, step) = (self.origin + y as isize * self.y_step, self.x_step);
        (0..self.width as isize).map(move |x| (first + x * step) as usize)
    }

    /// Moves labels from the model's plane to the file's.
    pub(super) fn labels_to_file(&self, model: &[u8], file: &mut [u8]) {
        for (y, labels) in model.chunks_exact(self.width).enumerate() {
            self.row(y).zip(labels).for_each(|(at, label)| file[at] = *label);
        }
    }
}

/// Least and most finite value seen, in lanes, so that looking at a row costs next to nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    least: [f32; 8],
    most: [f32; 8],
}

impl Range {
    /// Nothing seen.
    pub(super) const NONE: Self = Self { least: [f32::INFINITY; 8], most: [f32::NEG_INFINITY; 8] };

    /// Takes in values of which those that are not finite are NaN, as [`Decoder::row`] makes them.
    pub(super) fn add(&mut self, values: &[f32]) {
        // No comparison holds for NaN.
        let take = |least: &mut f32, most: &mut f32, value: f32| {
            *least = if value < *least { value } else { *least };
            *most = if value > *most { value } else { *most };
        };
        let (chunks, rest) = values.as_chunks::<8>();
        for chunk in chunks {
            for (lane, value) in chunk.iter().enumerate() {
                take(&mut self.least[lane], &mut self.most[lane], *value);
            }
        }
        rest.iter().for_each(|value| take(&mut self.least[0], &mut self.most[0], *value));
    }

    /// The two, where there was any value.
    pub(super) fn ends(&self) -> Option<[f32; 2]> {
        let least = self.least.into_iter().fold(f32::INFINITY, f32::min);
        let most = self.most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        (least <= most).then_some([least, most])
    }
}

/// Decodes stored voxels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder {
    data_type: DataType,
    big_endian: bool,
    slope: f64,
    intercept: f64,
}

impl Decoder {
    pub(super) fn new(header: &VolumeHeader) -> Self {
        let VolumeHeader { data_type, big_endian, slope, intercept, .. } = *header;
        Self { data_type, big_endian, slope, intercept }
    }

    /// Decodes a row of the model's plane from the file's plane; returns how many voxels are not
    /// finite. Those become NaN.
    pub(super) fn row(&self, raw: &[u8], placement: &Placement, y: usize, out: &mut [f32]) -> u64 {
        macro_rules! decode {
            ($type:ty) => {
                if self.big_endian {
                    self.place(raw, placement, y, out, |bytes| <$type>::from_be_bytes(bytes) as f64)
                } else {
                    self.place(raw, placement, y, out, |bytes| <$type>::from_le_bytes(bytes) as f64)
                }
            };
        }
        match self.data_type {
            DataType::U8 => decode!(u8),
            DataType::I8 => decode!(i8),
            DataType::I16 => decode!(i16),
            DataType::U16 => decode!(u16),
            DataType::I32 => decode!(i32),
            DataType::U32 => decode!(u32),
            DataType::I64 => decode!(i64),
            DataType::U64 => decode!(u64),
            DataType::F32 => decode!(f32),
            DataType::F64 => decode!(f64),
        }
    }

    #[inline]
    fn place<const N: usize>(
        &self,
        raw: &[u8],
        placement: &Placement,
        y: usize,
        out: &mut [f32],
        read: impl Fn([u8; N]) -> f64,
    ) -> u64 {
        let (voxels, _) = raw.as_chunks::<N>();
        let mut odd = 0;
        for (at, out) in placement.row(y).zip(out) {
            // In f64, because 32-bit integers times a slope lose bits in f32.
            let value = (read(voxels[at]) * self.slope + self.intercept) as f32;
            odd += u64::from(!value.is_finite());
            *out = if value.is_finite() { value } else { f32::NAN };
        }
        odd
    }
}
