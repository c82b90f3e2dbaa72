//! Whether two voxel grids are the same grid in space, and which axis of one is which of the other.

use crate::volume::{AxisMap, FileAxis, Geometry};

/// Corners may be this far apart, in mm, and still be the same; on grids finer than ten times that,
/// a tenth of a voxel.
const SAME_PLACE_MM: f64 = 1e-2;

/// The map that brings grid `from` onto grid `to`, whatever order and direction the axes of either
/// are stored in.
///
/// # Errors
/// How the grids differ.
pub(super) fn alignment(from: &Geometry, to: &Geometry) -> Result<AxisMap, String> {
    let fitting = maps().filter(|&map| from.oriented(map).size == to.size);
    let apart = fitting.map(|map| (corners_apart(&from.oriented(map), to), map));
    let Some((apart, map)) = apart.min_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Err(format!("{:?} and {:?} voxels", from.size, to.size));
    };
    let finest = to.spacing.into_iter().fold(f64::INFINITY, f64::min);
    if apart > SAME_PLACE_MM.min(finest / 10.0) {
        return Err(format!("corners {} mm apart", readable(apart)));
    }
    Ok(map)
}

/// All orders and directions of three axes.
fn maps() -> impl Iterator<Item = AxisMap> {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    ORDERS.into_iter().flat_map(|order| {
        (0..8).map(move |turned: usize| {
            let axis = |i| FileAxis { axis: order[i], reversed: turned >> i & 1 == 1 };
            AxisMap::of([0, 1, 2].map(axis))
        })
    })
}

/// Where a voxel of the grid of this size comes to lie.
pub(super) fn moved(map: AxisMap, size: [usize; 3], at: [usize; 3]) -> [usize; 3] {
    map.axes().map(|from| from.index(at[from.axis], size[from.axis]))
}

/// The same map backwards.
pub(super) fn inverse(map: AxisMap) -> AxisMap {
    let mut back = map.axes();
    for (axis, from) in map.axes().into_iter().enumerate() {
        back[from.axis] = FileAxis { axis, reversed: from.reversed };
    }
    AxisMap::of(back)
}

/// The largest distance in mm between the same corners of two grids of one size.
fn corners_apart(a: &Geometry, b: &Geometry) -> f64 {
    let corner = |i: usize| {
        [0, 1, 2].map(|axis| if i >> axis & 1 == 1 { a.size[axis] as f64 - 1.0 } else { 0.0 })
    };
    let apart = |i: usize| {
        let (p, q) = (a.affine.apply(corner(i)), b.affine.apply(corner(i)));
        (0..3).map(|k| (p[k] - q[k]).powi(2)).sum::<f64>().sqrt()
    };
    (0..8).map(apart).fold(0.0, f64::max)
}

/// Two decimals, and more where a grid is so fine that they would be noughts.
fn readable(mm: f64) -> String {
    if mm < 0.01 { format!("{mm:.1e}") } else { format!("{mm:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    /// An oblique and sheared grid, so that no two axes are alike.
    fn grid() -> Geometry {
        let affine = Affine([[1.0, -0.6, 0.1, 5.0], [0.7, 0.8, 0.0, -4.0], [0.0, 0.3, 1.5, 6.0]]);
        Geometry::new([4, 4, 4], affine)
    }

    #[test]
    fn the_same_grid_is_found_in_any_order_of_its_axes() {
        for map in maps() {
            let stored = grid().oriented(map);
            let found = alignment(&stored, &grid()).unwrap();
            assert_eq!(inverse(found), map);
            for at in [[0, 1, 2], [3, 0, 1]] {
                let back = moved(found, stored.size, moved(map, grid().size, at));
                assert_eq!(back, at);
            }
        }
    }

    #[test]
    fn another_place_or_size_is_told() {
        let mut apart = grid();
        apart.affine.0[1][3] += 0.5;
        assert_eq!(alignment(&apart, &grid()), Err("corners 0.50 mm apart".into()));
        let larger = Geometry::new([4, 4, 5], grid().affine);
        assert_eq!(alignment(&larger, &grid()), Err("[4, 4, 5] and [4, 4, 4] voxels".into()));
        // A hundredth of a millimetre is half a voxel here.
        let fine = |shift| {
            let rows = [[0.02, 0.0, 0.0, shift], [0.0, 0.02, 0.0, 0.0], [0.0, 0.0, 0.02, 0.0]];
            Geometry::new([4, 4, 4], Affine(rows))
        };
        assert!(alignment(&fine(0.009), &fine(0.0)).is_err());
        assert!(alignment(&fine(0.001), &fine(0.0)).is_ok());
    }
}
