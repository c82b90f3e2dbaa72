//! One stored plane to rows of f32 in the model's orientation, and labels back into a stored plane.
//!
//! The two axes of the plane are turned and flipped here. The caller knows which plane it is and
//! how it was read.

use super::geometry::AxisMap;
use super::grid::{ByteOrder, Grid, Scaling, VoxelType};
use super::region::VoxelBox;

/// Where the voxels of the model's plane (x first), or of a part of it, lie in the stored plane
/// (fastest axis first).
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    /// Voxels along the model's axes.
    width: usize,
    height: usize,
    /// Place in the stored plane of the model's first voxel. A step along a model axis adds
    /// `x_step` or `y_step`.
    origin: isize,
    x_step: isize,
    y_step: isize,
}

impl Placement {
    /// The placement in the planes of a stored grid, whose axes `map` turns into the model's.
    pub(super) fn new(size: [usize; 3], map: AxisMap) -> Self {
        let AxisMap { x, y, slice } = map;
        let fast = if slice.axis == 0 { 1 } else { 0 };
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

    /// The placement of a box of the model's plane; stored planes stay whole.
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

    /// Places in the stored plane of a row of the model's, from its first voxel on.
    pub(super) fn row(&self, y: usize) -> Places {
        Places { first: self.origin + y as isize * self.y_step, step: self.x_step }
    }

    /// Moves labels from the model's plane to the stored one.
    pub(super) fn store_labels(&self, model: &[u8], stored: &mut [u8]) {
        for (y, labels) in model.chunks_exact(self.width).enumerate() {
            let places = self.row(y).take(self.width);
            places.zip(labels).for_each(|(at, label)| stored[at] = *label);
        }
    }
}

/// Equally spaced places in a stored plane, without an end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    first: isize,
    step: isize,
}

impl Places {
    /// The first `count` of them.
    fn take(self, count: usize) -> impl Iterator<Item = usize> {
        (0..count as isize).map(move |i| (self.first + i * self.step) as usize)
    }

    /// Those from number `count` on.
    pub(super) fn skip(self, count: usize) -> Self {
        Self { first: self.first + count as isize * self.step, ..self }
    }
}

/// Least and greatest finite value seen. Eight lanes make the compiler use vectors, so that looking
/// at a row costs next to nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    least: [f32; 8],
    most: [f32; 8],
}

impl Range {
    /// Nothing seen.
    pub(super) const NONE: Self = Self { least: [f32::INFINITY; 8], most: [f32::NEG_INFINITY; 8] };

    /// Looks at values. Those that are not finite must be NaN, as [`Decoder::decode`] makes them.
    pub(super) fn add(&mut self, values: &[f32]) {
        // NaN changes neither end, since no comparison with it holds.
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

    /// Both ends, where there was any finite value.
    pub(super) fn ends(&self) -> Option<[f32; 2]> {
        let least = self.least.into_iter().fold(f32::INFINITY, f32::min);
        let most = self.most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        (least <= most).then_some([least, most])
    }
}

/// Decodes stored voxels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder {
    voxel_type: VoxelType,
    byte_order: ByteOrder,
}

impl Decoder {
    pub(super) fn new(grid: &Grid) -> Self {
        Self { voxel_type: grid.voxel_type(), byte_order: grid.byte_order() }
    }

    /// Decodes the voxels at `places` of the stored `plane` into `out`, scaled. Values that are not
    /// finite become NaN; returns how many there are.
    pub(super) fn decode(
        self,
        plane: &[u8],
        places: Places,
        scaling: Scaling,
        out: &mut [f32],
    ) -> u64 {
        macro_rules! decode {
            ($type:ty) => {
                match self.byte_order {
                    ByteOrder::Big => {
                        place(plane, places, scaling, out, |b| <$type>::from_be_bytes(b) as f64)
                    }
                    ByteOrder::Little => {
                        place(plane, places, scaling, out, |b| <$type>::from_le_bytes(b) as f64)
                    }
                }
            };
        }
        match self.voxel_type {
            VoxelType::U8 => decode!(u8),
            VoxelType::I8 => decode!(i8),
            VoxelType::I16 => decode!(i16),
            VoxelType::U16 => decode!(u16),
            VoxelType::I32 => decode!(i32),
            VoxelType::U32 => decode!(u32),
            VoxelType::I64 => decode!(i64),
            VoxelType::U64 => decode!(u64),
            VoxelType::F32 => decode!(f32),
            VoxelType::F64 => decode!(f64),
        }
    }
}

#[inline]
fn place<const N: usize>(
    plane: &[u8],
    places: Places,
    Scaling { slope, intercept }: Scaling,
    out: &mut [f32],
    read: impl Fn([u8; N]) -> f64,
) -> u64 {
    let (voxels, _) = plane.as_chunks::<N>();
    let mut odd = 0;
    for (at, out) in places.take(out.len()).zip(out) {
        // In f64, because 32-bit integers times a slope lose bits in f32.
        let value = (read(voxels[at]) * slope + intercept) as f32;
        odd += u64::from(!value.is_finite());
        *out = if value.is_finite() { value } else { f32::NAN };
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boards have `Scaling::apply` for what the decoder does here.
    #[test]
    fn a_board_scales_voxels_as_the_decoder_does() {
        let stored = [0.0_f32, -0.0, 1.5, -1024.0, f32::MIN_POSITIVE, f32::MAX];
        let bytes: Vec<u8> = stored.iter().flat_map(|voxel| voxel.to_le_bytes()).collect();
        let decoder = Decoder { voxel_type: VoxelType::F32, byte_order: ByteOrder::Little };
        for (slope, intercept) in [(1.0, 0.0), (1.0, -1024.0), (-0.5, 0.0)] {
            let scaling = Scaling { slope, intercept };
            let (mut decoded, places) = ([0.0; 6], Places { first: 0, step: 1 });
            assert_eq!(decoder.decode(&bytes, places, scaling, &mut decoded), 0);
            let applied = stored.map(|voxel| scaling.apply(voxel).to_bits());
            assert_eq!(decoded.map(f32::to_bits), applied, "{scaling:?}");
        }
    }
}
