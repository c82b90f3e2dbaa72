//! Slices that are not evenly spaced: where each lies and how far it reaches.
//!
//! The grid of such a volume has the usual distance. Each slice says how it differs.

use super::geometry::AxisMap;
use super::region::VoxelBox;

/// How a slice differs from what the grid's affine says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlicePlace {
    /// From where the affine has the slice to where it is, in RAS+ millimetres.
    pub shift: [f64; 3],
    /// How far its voxels reach to the slice before and to the slice after it, in the grid's
    /// steps: half a step each where slices are even.
    pub reach: [f64; 2],
}

impl SlicePlace {
    /// A slice of a regular grid.
    pub const EVEN: Self = Self { shift: [0.0; 3], reach: [0.5; 2] };

    /// How thick it is, in the grid's steps.
    #[must_use]
    pub fn thickness(&self) -> f64 {
        self.reach[0] + self.reach[1]
    }

    /// Where a place of the regular grid is in this slice.
    #[must_use]
    pub fn shifted(&self, place: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|k| place[k] + self.shift[k])
    }
}

/// The places of slices along one of a grid's axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Uneven {
    /// The axis.
    pub axis: usize,
    /// The place of each slice along it.
    pub places: Vec<SlicePlace>,
}

impl Uneven {
    /// Of a part of a grid, in an orientation, whose stored planes have these places.
    #[must_use]
    pub fn of(places: &[SlicePlace], map: AxisMap, part: VoxelBox) -> Self {
        let axes = map.axes();
        let axis = axes.iter().position(|from| from.axis == 2).unwrap_or(2);
        let place = |index: usize| {
            let SlicePlace { shift, reach: [before, after] } =
                places[axes[axis].index(index, places.len())];
            let reach = if axes[axis].reversed { [after, before] } else { [before, after] };
            SlicePlace { shift, reach }
        };
        let first = part.first[axis];
        Self { axis, places: (first..first + part.size[axis]).map(place).collect() }
    }
}
