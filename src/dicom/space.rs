//! The patient's space as DICOM has it, and ours.
//!
//! DICOM's axes point to the left, to posterior and to superior (LPS; PS3.3, C.7.6.2.1.1), ours to
//! the right, to anterior and to superior (RAS).

use monet_dicom::objects::masks::Plane;
use monet_dicom::vector::{directions, minus};

use crate::volume::{Affine, Geometry, SlicePlace};

/// A place or a direction of one space in the other.
pub(super) fn turned([x, y, z]: [f64; 3]) -> [f64; 3] {
    [-x, -y, z]
}

/// The grid of slices of a size (rows and columns) that follow one another by a step (LPS), from a
/// first plane on. Rows run along the first axis.
pub(super) fn grid(
    first: Plane,
    [rows, columns]: [usize; 2],
    step: [f64; 3],
    slices: usize,
) -> Geometry {
    let [row, column] = directions(first.orientation).map(turned);
    let [between_rows, between_columns] = first.spacing;
    let (step, origin) = (turned(step), turned(first.position));
    let affine =
        [0, 1, 2].map(|k| [row[k] * between_columns, column[k] * between_rows, step[k], origin[k]]);
    Geometry::new([columns, rows, slices], Affine(affine))
}

/// How slices of a grid along its third axis differ from it: their positions (LPS), and how far
/// they reach, in millimetres along a normal along which the grid has a distance.
pub(super) fn places(
    geometry: &Geometry,
    positions: &[[f64; 3]],
    reaches: &[[f64; 2]],
    distance: f64,
) -> Vec<SlicePlace> {
    let place = |(slice, (position, reach)): (usize, (&[f64; 3], &[f64; 2]))| SlicePlace {
        shift: minus(turned(*position), geometry.affine.apply([0.0, 0.0, slice as f64])),
        reach: reach.map(|mm| mm / distance),
    };
    positions.iter().zip(reaches).enumerate().map(place).collect()
}

/// A slice of a grid along its third axis.
pub(super) fn plane(geometry: &Geometry, slice: usize) -> Plane {
    let rows = &geometry.affine.0;
    let direction = |axis: usize| turned([0, 1, 2].map(|k| rows[k][axis] / geometry.spacing[axis]));
    let ([a, b, c], [d, e, f]) = (direction(0), direction(1));
    Plane {
        position: turned(geometry.affine.apply([0.0, 0.0, slice as f64])),
        orientation: [a, b, c, d, e, f],
        spacing: [geometry.spacing[1], geometry.spacing[0]],
    }
}
