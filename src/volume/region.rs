//! A box of a volume: how a person names it, and which voxels it is.
//!
//! Arithmetic on a grid only. [`SliceSource`](super::SliceSource) reads what lies in a box as if it
//! were all there is; [`LabelSink`](super::LabelSink) writes its labels into the whole grid.

use serde::Serialize;
use thiserror::Error;

use super::geometry::{AxisMap, Geometry};

/// How far, in voxels, a box's face may miss a voxel's centre and still include that voxel:
/// coordinates that people type are rounded.
const SLACK: f64 = 1e-3;

/// A box of a volume as a person names it. Where an end is `None`, the box reaches to the volume's
/// end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Region {
    /// Along each stored axis, counted from 0: the first voxel, and the one after the last.
    Voxels([[Option<usize>; 2]; 3]),
    /// Along each world axis (towards right, anterior, superior), in millimetres: lowest and
    /// highest coordinate of a voxel's centre. On an oblique grid, the region is the smallest box
    /// of voxels that holds all of these.
    Millimetres([[Option<f64>; 2]; 3]),
}

/// A box of voxels, along a grid's axes in whatever order the context names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VoxelBox {
    /// Index of its first voxel along each axis.
    pub first: [usize; 3],
    /// Voxels along each axis, at least 1.
    pub size: [usize; 3],
}

/// Why a region is refused.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RegionError {
    /// No voxels, or voxels that the volume does not have.
    #[error(
        "the region {first}:{after} along the file's axis {axis} is no part of its {size} voxels: \
         give first:after, counted from 0, with first < after <= {size}"
    )]
    Voxels {
        /// 1 for the fastest stored axis.
        axis: usize,
        /// First voxel.
        first: usize,
        /// The one after the last.
        after: usize,
        /// Voxels that there are.
        size: usize,
    },
    /// A box in space in which no voxel's centre lies.
    #[error(
        "no voxel's centre lies in the region {}: the volume reaches from {} mm (right, anterior, \
         superior)",
        ranges(region),
        ranges(volume)
    )]
    Millimetres {
        /// The box.
        region: [[f64; 2]; 3],
        /// Lowest and highest coordinates of the volume's voxels.
        volume: [[f64; 2]; 3],
    },
}

/// `a:b,c:d,e:f`, as a region is typed.
fn ranges(of: &[[f64; 2]; 3]) -> String {
    let one = |[a, b]: &[f64; 2]| format!("{}:{}", tidy(*a), tidy(*b));
    of.iter().map(one).collect::<Vec<_>>().join(",")
}

/// A number rounded to a hundredth; -0 becomes 0.
fn tidy(mm: f64) -> f64 {
    (mm * 100.0).round() / 100.0 + 0.0
}

impl Region {
    /// The voxels of a grid that lie in the region.
    ///
    /// # Errors
    /// [`RegionError`] where there are none, or where the grid does not have them.
    pub fn voxels(&self, grid: &Geometry) -> Result<VoxelBox, RegionError> {
        match self {
            Self::Voxels(ends) => voxels(ends, grid),
            Self::Millimetres(ends) => millimetres(ends, grid),
        }
    }
}

fn voxels(ends: &[[Option<usize>; 2]; 3], grid: &Geometry) -> Result<VoxelBox, RegionError> {
    let (mut first, mut size) = ([0; 3], [0; 3]);
    for (axis, [from, after]) in ends.iter().enumerate() {
        let (from, length) = (from.unwrap_or(0), grid.size[axis]);
        let after = after.unwrap_or(length);
        if from >= after || after > length {
            return Err(RegionError::Voxels { axis: axis + 1, first: from, after, size: length });
        }
        (first[axis], size[axis]) = (from, after - from);
    }
    Ok(VoxelBox { first, size })
}

fn millimetres(ends: &[[Option<f64>; 2]; 3], grid: &Geometry) -> Result<VoxelBox, RegionError> {
    let last = grid.size.map(|n| n as f64 - 1.0);
    let volume = hull(|corner| grid.affine.apply(corner), [0, 1, 2].map(|axis| [0.0, last[axis]]));
    let region = [0, 1, 2].map(|axis| {
        let [low, high] = volume[axis];
        [ends[axis][0].unwrap_or(low), ends[axis][1].unwrap_or(high)]
    });
    let none = RegionError::Millimetres { region, volume };
    if !region.iter().all(|[low, high]| low <= high) {
        return Err(none);
    }
    let indices = hull(|corner| grid.affine.index(corner), region);
    let (mut first, mut size) = ([0; 3], [0; 3]);
    for axis in 0..3 {
        let [low, high] = indices[axis];
        let (low, high) = ((low - SLACK).ceil().max(0.0), (high + SLACK).floor().min(last[axis]));
        if low > high {
            return Err(none);
        }
        (first[axis], size[axis]) = (low as usize, (high - low) as usize + 1);
    }
    Ok(VoxelBox { first, size })
}

/// The smallest box around the image of a box under an affine map, which the box's corners decide.
fn hull(map: impl Fn([f64; 3]) -> [f64; 3], of: [[f64; 2]; 3]) -> [[f64; 2]; 3] {
    let mut hull = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
    for corner in 0..8 {
        let at = map([0, 1, 2].map(|axis| of[axis][corner >> axis & 1]));
        for (range, value) in hull.iter_mut().zip(at) {
            *range = [range[0].min(value), range[1].max(value)];
        }
    }
    hull
}

impl VoxelBox {
    /// All voxels of a grid.
    #[must_use]
    pub fn whole(size: [usize; 3]) -> Self {
        Self { first: [0; 3], size }
    }

    /// The same box of a grid of `size` once the grid's axes are reordered and turned by `map`.
    #[must_use]
    pub fn oriented(&self, size: [usize; 3], map: AxisMap) -> Self {
        let first = map.axes().map(|from| {
            let (first, own) = (self.first[from.axis], self.size[from.axis]);
            if from.reversed { size[from.axis] - first - own } else { first }
        });
        Self { first, size: map.axes().map(|from| self.size[from.axis]) }
    }

    /// How many slices of the grid lie before and behind the box in the stored order.
    pub(super) fn outside(&self, slices: usize, map: AxisMap) -> [usize; 2] {
        let below = self.first[2];
        let above = slices - below - self.size[2];
        if map.slice.reversed { [above, below] } else { [below, above] }
    }

    /// The grid's part in the box: fewer voxels, at the same places. Both have the same axes.
    #[must_use]
    pub fn of(&self, grid: &Geometry) -> Geometry {
        let origin = grid.affine.apply(self.first.map(|i| i as f64));
        let mut affine = grid.affine;
        affine.0.iter_mut().zip(origin).for_each(|(row, origin)| row[3] = origin);
        Geometry::new(self.size, affine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;
    use crate::volume::Orientation;

    /// A grid of 10 × 20 × 30 voxels of 2 × 1 × 3 mm that runs to the left, its first voxel at (8,
    /// -5, 6) mm.
    fn grid() -> Geometry {
        Geometry::new(
            [10, 20, 30],
            Affine([[-2.0, 0.0, 0.0, 8.0], [0.0, 1.0, 0.0, -5.0], [0.0, 0.0, 3.0, 6.0]]),
        )
    }

    #[test]
    fn ends_that_are_left_out_are_the_volume_s_own() {
        let region = Region::Voxels([[Some(2), Some(5)], [None, None], [Some(29), None]]);
        assert_eq!(region.voxels(&grid()), Ok(VoxelBox { first: [2, 0, 29], size: [3, 20, 1] }));
        let region = Region::Millimetres([[None, Some(0.0)], [None, None], [Some(7.0), None]]);
        assert_eq!(region.voxels(&grid()), Ok(VoxelBox { first: [4, 0, 1], size: [6, 20, 29] }));
    }

    #[test]
    fn a_voxel_belongs_to_a_box_in_space_where_its_centre_does() {
        let region =
            Region::Millimetres([[1.0, 4.0], [-1.0, 1.0], [8.9999, 11.0]].map(|r| r.map(Some)));
        assert_eq!(region.voxels(&grid()), Ok(VoxelBox { first: [2, 4, 1], size: [2, 3, 1] }));
    }

    #[test]
    fn what_lies_outside_is_refused_with_both_figures() {
        for (first, after) in [(5, 5), (6, 5), (0, 11), (10, 12)] {
            let region = Region::Voxels([[Some(first), Some(after)], [None; 2], [None; 2]]);
            assert_eq!(
                region.voxels(&grid()),
                Err(RegionError::Voxels { axis: 1, first, after, size: 10 })
            );
        }
        for x in [[9.0, 12.0], [2.0, 1.0], [0.5, 1.5], [f64::NAN, 1.0]] {
            let region = Region::Millimetres([x.map(Some), [None; 2], [None; 2]]);
            let error = region.voxels(&grid()).unwrap_err().to_string();
            assert!(error.contains("-10:8,-5:14,6:93"), "{error}");
        }
    }

    #[test]
    fn an_oblique_grid_gives_the_voxels_that_enclose_the_box() {
        let (s, c) = 0.5f64.sin_cos();
        let grid = Geometry::new(
            [40; 3],
            Affine([[c, -s, 0.0, 0.0], [s, c, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]),
        );
        let ends = [[5.0, 9.0], [15.0, 20.0], [3.0, 3.0]];
        let found = Region::Millimetres(ends.map(|r| r.map(Some))).voxels(&grid).unwrap();
        for i in 0..40 * 40 * 40usize {
            let at = [i % 40, i / 40 % 40, i / 1600];
            let place = grid.affine.apply(at.map(|i| i as f64));
            let asked = place.iter().zip(ends).all(|(p, [low, high])| (low..=high).contains(p));
            let held =
                (0..3).all(|a| (found.first[a]..found.first[a] + found.size[a]).contains(&at[a]));
            assert!(held || !asked, "{at:?}");
        }
    }

    #[test]
    fn a_box_stays_in_its_place_when_axes_turn() {
        let (grid, found) = (grid(), VoxelBox { first: [2, 3, 4], size: [5, 6, 7] });
        for model in ["RAS", "LPI", "SAR", "PIL"] {
            let map =
                AxisMap::between(grid.affine.orientation(), model.parse::<Orientation>().unwrap());
            let there = found.oriented(grid.size, map).of(&grid.oriented(map));
            let here = found.of(&grid).oriented(map);
            assert_eq!(there.size, here.size, "{model}");
            for (a, b) in there.affine.0.iter().flatten().zip(here.affine.0.iter().flatten()) {
                assert!((a - b).abs() < 1e-9, "{model}");
            }
        }
    }
}
