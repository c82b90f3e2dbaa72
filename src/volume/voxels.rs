//! Stored voxels to f32, placed in the model's orientation; and the plane's way back for labels.
//!
//! One plane at a time: the two in-plane axes are turned and flipped here, whatever brought the plane.

use super::geometry::AxisMap;
use super::header::{DataType, VolumeHeader};

/// Where the voxels of a file's plane (fast axis first) go in the model's plane (x first).
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    /// Voxels along the plane's fast and slow axis in the file.
    pub(super) fast: usize,
    pub(super) slow: usize,
    /// Index in the model's plane of the file plane's first voxel, and what a step along each file axis adds.
    origin: isize,
    fast_step: isize,
    slow_step: isize,
}

impl Placement {
    /// The placement for a file of this size, whose axes map so.
    pub(super) fn new(size: [usize; 3], map: AxisMap) -> Self {
        let [x, y, through] = map.0;
        let width = size[x.axis] as isize;
        let [fast_axis, slow_axis] = match through.axis {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        };
        let mut placement =
            Self { fast: size[fast_axis], slow: size[slow_axis], origin: 0, fast_step: 0, slow_step: 0 };
        for (from, stride) in [(x, 1), (y, width)] {
            let step = if from.reversed { -stride } else { stride };
            if from.reversed {
                placement.origin += stride * (size[from.axis] as isize - 1);
            }
            *if from.axis == fast_axis { &mut placement.fast_step } else { &mut placement.slow_step } = step;
        }
        placement
    }

    /// Voxels of the plane.
    pub(super) fn len(&self) -> usize {
        self.fast * self.slow
    }

    /// For each row of the file's plane: the model index of its first voxel.
    fn rows(&self) -> impl Iterator<Item = isize> + '_ {
        (0..self.slow as isize).map(|row| self.origin + row * self.slow_step)
    }

    /// Moves labels from the model's plane to the file's.
    pub(super) fn labels_to_file(&self, model: &[u8], file: &mut [u8]) {
        for (first, out) in self.rows().zip(file.chunks_exact_mut(self.fast)) {
            for (step, value) in (0..).zip(out) {
                *value = model[(first + step * self.fast_step) as usize];
            }
        }
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

    /// Decodes a file's plane into the model's; returns how many voxels are not finite. Those become NaN.
    pub(super) fn decode(&self, raw: &[u8], placement: &Placement, out: &mut [f32]) -> u64 {
        macro_rules! decode {
            ($type:ty) => {
                if self.big_endian {
                    self.place(raw, placement, out, |bytes| <$type>::from_be_bytes(bytes) as f64)
                } else {
                    self.place(raw, placement, out, |bytes| <$type>::from_le_bytes(bytes) as f64)
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
        out: &mut [f32],
        read: impl Fn([u8; N]) -> f64,
    ) -> u64 {
        let (voxels, _) = raw.as_chunks::<N>();
        let mut odd = 0;
        for (first, row) in placement.rows().zip(voxels.chunks_exact(placement.fast)) {
            for (step, &bytes) in (0..).zip(row) {
                // In f64, because 32-bit integers times a slope lose bits in f32.
                let value = (read(bytes) * self.slope + self.intercept) as f32;
                odd += u64::from(!value.is_finite());
                out[(first + step * placement.fast_step) as usize] =
                    if value.is_finite() { value } else { f32::NAN };
            }
        }
        odd
    }
}
