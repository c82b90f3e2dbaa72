//! The nearest of many voxels, in millimetres, on grids whose axes need not be perpendicular.
//!
//! A tree of bounding boxes halves the voxels along a grid axis again and again (Bentley,
//! "Multidimensional Binary Search Trees", CACM 18, 1975); a search skips each box that lies
//! farther than the best voxel so far. Memory follows the number of voxels and never the extent of
//! the grid.

use std::collections::TryReserveError;

use crate::volume::{Affine, SlicePlace};

/// Voxels that are looked through without a further box.
const LEAF: usize = 32;

/// A voxel's index.
pub(super) type Index = [u32; 3];

/// Steps of the grid in perpendicular millimetres: the upper triangle of the affine's QR
/// decomposition. It turns the grid in space, which changes no distance, so that perpendicular axes
/// have their spacing on the diagonal and nothing beside it.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    triangle: [[f64; 3]; 3],
    /// The turn's axes.
    directions: [[f64; 3]; 3],
    /// From where the triangle has each slice along the third axis to where it is; empty where
    /// slices are evenly spaced.
    shifts: Vec<[f64; 3]>,
}

impl Frame {
    /// Of the steps of this affine.
    pub(super) fn new(affine: &Affine) -> Self {
        let (mut triangle, mut directions) = ([[0.0; 3]; 3], [[0.0; 3]; 3]);
        for axis in 0..3 {
            let mut step = affine.0.map(|row| row[axis]);
            for before in 0..axis {
                let along = dot(directions[before], step);
                triangle[before][axis] = along;
                (0..3).for_each(|i| step[i] -= along * directions[before][i]);
            }
            let length = dot(step, step).sqrt();
            triangle[axis][axis] = length;
            directions[axis] = step.map(|v| v / length);
        }
        Self { triangle, directions, shifts: Vec::new() }
    }

    /// For slices in these places, which are none where slices are evenly spaced.
    pub(super) fn with_places(self, places: &[SlicePlace]) -> Self {
        let turned = |place: &SlicePlace| self.directions.map(|axis| dot(axis, place.shift));
        Self { shifts: places.iter().map(turned).collect(), ..self }
    }

    fn place(&self, [i, j, k]: [f64; 3]) -> [f64; 3] {
        let [x, y, z] = self.triangle;
        [x[0] * i + x[1] * j + x[2] * k, y[1] * j + y[2] * k, z[2] * k]
    }

    /// Where a voxel is.
    fn voxel(&self, at: Index) -> [f64; 3] {
        let placed = self.place(at.map(f64::from));
        let Some(shift) = self.shifts.get(at[2] as usize) else { return placed };
        [0, 1, 2].map(|axis| placed[axis] + shift[axis])
    }

    /// Squared distance in mm² between two voxels.
    fn squared(&self, a: Index, b: Index) -> f64 {
        let apart = if self.shifts.is_empty() {
            self.place([0, 1, 2].map(|axis| f64::from(a[axis]) - f64::from(b[axis])))
        } else {
            let [a, b] = [a, b].map(|at| self.voxel(at));
            [0, 1, 2].map(|axis| a[axis] - b[axis])
        };
        apart.into_iter().map(|mm| mm * mm).sum()
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| a[i] * b[i]).sum()
}

/// Voxels arranged for the search.
pub(super) struct Nearest<'a> {
    frame: &'a Frame,
    voxels: Vec<Index>,
    nodes: Vec<Node>,
}

/// A range of voxels and the box around them; the first of two halves follows its node.
struct Node {
    low: [f64; 3],
    high: [f64; 3],
    from: u32,
    to: u32,
    /// The node of the second half; 0 where there are no halves.
    second: u32,
}

impl<'a> Nearest<'a> {
    /// Arranges at most 2³² voxels.
    ///
    /// # Errors
    /// Where memory for the boxes is lacking.
    pub(super) fn new(frame: &'a Frame, voxels: Vec<Index>) -> Result<Self, TryReserveError> {
        let mut tree = Self { frame, nodes: Vec::new(), voxels };
        // Halves of more than LEAF voxels have at least LEAF / 2.
        tree.nodes.try_reserve_exact(4 * tree.voxels.len() / LEAF + 1)?;
        tree.arrange(0, tree.voxels.len());
        Ok(tree)
    }

    /// The voxels, those near one another in space near one another in the list.
    pub(super) fn voxels(&self) -> &[Index] {
        &self.voxels
    }

    fn arrange(&mut self, from: usize, to: usize) {
        let (mut first, mut last) = ([u32::MAX; 3], [0; 3]);
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for voxel in &self.voxels[from..to] {
            let placed = self.frame.voxel(*voxel);
            for axis in 0..3 {
                (first[axis], last[axis]) =
                    (first[axis].min(voxel[axis]), last[axis].max(voxel[axis]));
                (low[axis], high[axis]) =
                    (low[axis].min(placed[axis]), high[axis].max(placed[axis]));
            }
        }
        let node = self.nodes.len();
        self.nodes.push(Node { low, high, from: from as u32, to: to as u32, second: 0 });
        if to - from > LEAF {
            let extent =
                |axis: usize| f64::from(last[axis] - first[axis]) * self.frame.triangle[axis][axis];
            let widest =
                (1..3).fold(0, |best, axis| if extent(axis) > extent(best) { axis } else { best });
            let half = (to - from) / 2;
            self.voxels[from..to].select_nth_unstable_by_key(half, |voxel| voxel[widest]);
            self.arrange(from, from + half);
            self.nodes[node].second = self.nodes.len() as u32;
            self.arrange(from + half, to);
        }
    }

    /// Squared distance in mm² from a voxel to the nearest one; `near` is the place in the list of
    /// a voxel that may be near, and becomes that of the nearest.
    ///
    /// # Panics
    /// Where there are no voxels.
    pub(super) fn squared(&self, voxel: Index, near: &mut usize) -> f64 {
        let best = self.frame.squared(voxel, self.voxels[*near]);
        let placed = self.frame.voxel(voxel);
        let mut search = Search { tree: self, voxel, placed, best, near };
        search.enter(0);
        search.best
    }
}

/// One search.
struct Search<'a> {
    tree: &'a Nearest<'a>,
    voxel: Index,
    placed: [f64; 3],
    best: f64,
    near: &'a mut usize,
}

impl Search<'_> {
    /// Squared distance to a node's box.
    fn away(&self, node: usize) -> f64 {
        let Node { low, high, .. } = &self.tree.nodes[node];
        let gap = |axis: usize| {
            (low[axis] - self.placed[axis]).max(self.placed[axis] - high[axis]).max(0.0)
        };
        (0..3).map(|axis| gap(axis) * gap(axis)).sum()
    }

    fn enter(&mut self, node: usize) {
        let Node { from, to, second, .. } = self.tree.nodes[node];
        if second == 0 {
            for at in from as usize..to as usize {
                let squared = self.tree.frame.squared(self.voxel, self.tree.voxels[at]);
                if squared < self.best {
                    (self.best, *self.near) = (squared, at);
                }
            }
            return;
        }
        let halves = [node + 1, second as usize].map(|half| (self.away(half), half));
        let [nearer, farther] =
            if halves[1].0 < halves[0].0 { [halves[1], halves[0]] } else { halves };
        for (away, half) in [nearer, farther] {
            if away < self.best {
                self.enter(half);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// On grids with any shear, from voxels in and outside the set.
        #[test]
        fn the_nearest_is_found_in_world_space(
            rows in prop::array::uniform3(prop::array::uniform3(-2.0f64..2.0)),
            voxels in prop::collection::vec(prop::array::uniform3(0u32..30), 1..300),
            queries in prop::collection::vec(prop::array::uniform3(0u32..40), 1..20),
            shifts in prop::collection::vec(prop::array::uniform3(-9.0f64..9.0), 40),
            uneven in any::<bool>(),
        ) {
            let affine = Affine([0, 1, 2].map(|r| [rows[r][0], rows[r][1], rows[r][2], 7.0]));
            prop_assume!(affine.is_invertible());
            let shifts = if uneven { shifts } else { Vec::new() };
            let place = |shift: &[f64; 3]| SlicePlace { shift: *shift, ..SlicePlace::EVEN };
            let places: Vec<SlicePlace> = shifts.iter().map(place).collect();
            let world = |v: Index| {
                let place = places.get(v[2] as usize).unwrap_or(&SlicePlace::EVEN);
                place.shifted(affine.apply(v.map(f64::from)))
            };
            let frame = Frame::new(&affine).with_places(&places);
            let tree = Nearest::new(&frame, voxels.clone()).unwrap();
            let mut near = 0;
            for query in queries {
                let apart = |v: &Index| {
                (0..3).map(|i| (world(*v)[i] - world(query)[i]).powi(2)).sum::<f64>()
            };
                let least = voxels.iter().map(apart).fold(f64::INFINITY, f64::min);
                let found = tree.squared(query, &mut near);
                prop_assert!((found - least).abs() < 1e-9 * least.max(1.0), "{found} {least}");
                prop_assert!((apart(&tree.voxels()[near]) - least).abs() < 1e-9 * least.max(1.0));
            }
        }
    }

    #[test]
    fn perpendicular_axes_have_their_spacing_alone() {
        let affine = Affine([[0.0, -0.7, 0.0, 3.0], [1.1, 0.0, 0.0, 2.0], [0.0, 0.0, 2.5, 1.0]]);
        assert_eq!(
            Frame::new(&affine).triangle,
            [[1.1, 0.0, 0.0], [0.0, 0.7, 0.0], [0.0, 0.0, 2.5]]
        );
    }
}
