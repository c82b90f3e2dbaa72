//! Where voxels lie: affine, orientation, and the map between stored axes and the model's.
//!
//! Arithmetic alone: nothing here reads a file or a voxel.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::VolumeWarning;
use crate::Size;

/// A grid is sheared where two of its axes are more than so many degrees from perpendicular. An
/// affine that was rounded to 32 bits is off by 1e-5.
const SHEAR_DEGREES: f64 = 0.1;

/// The least and greatest plausible length, in millimetres, of a volume's largest side. The range
/// spans a factor of 1000: a plausible body (a mouse's brain, a standing adult) leaves it when its
/// unit is wrong by that factor.
pub const PLAUSIBLE_MM: [f64; 2] = [3.0, 3000.0];

/// The direction in which each array axis increases: three of the letters L/R, A/P and I/S, one of
/// each pair.
///
/// `RAS`, the default: the first axis increases towards the patient's right, the second towards
/// anterior, the third towards superior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Orientation([Direction; 3]);

/// One signed anatomical axis: 0 left–right, 1 posterior–anterior, 2 inferior–superior.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direction {
    axis: usize,
    negative: bool,
}

/// The letters of each anatomical axis, positive (RAS+) end first.
const LETTERS: [[char; 2]; 3] = [['R', 'L'], ['A', 'P'], ['S', 'I']];

impl Default for Orientation {
    fn default() -> Self {
        Self([0, 1, 2].map(|axis| Direction { axis, negative: false }))
    }
}

/// A text that is no orientation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no orientation: write three letters, one of L/R, one of A/P and one of I/S, as in RAS"
)]
pub struct OrientationError(String);

impl FromStr for Orientation {
    type Err = OrientationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || OrientationError(text.to_owned());
        let mut found = Vec::with_capacity(3);
        for letter in text.chars().take(4) {
            let axis = LETTERS.iter().position(|pair| pair.contains(&letter)).ok_or_else(bad)?;
            if found.iter().any(|d: &Direction| d.axis == axis) {
                return Err(bad());
            }
            found.push(Direction { axis, negative: LETTERS[axis][1] == letter });
        }
        found.try_into().map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|d| write!(f, "{}", LETTERS[d.axis][usize::from(d.negative)]))
    }
}

impl TryFrom<String> for Orientation {
    type Error = OrientationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Orientation> for String {
    fn from(orientation: Orientation) -> Self {
        orientation.to_string()
    }
}

/// Maps a voxel's index (i, j, k) to RAS+ millimetres: three rows of `[x, y, z, translation]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine(pub [[f64; 4]; 3]);

impl Affine {
    /// Position of a voxel index (fractions allowed) in RAS+ millimetres.
    #[must_use]
    pub fn apply(&self, [i, j, k]: [f64; 3]) -> [f64; 3] {
        self.0.map(|row| row[0] * i + row[1] * j + row[2] * k + row[3])
    }

    /// The voxel index (with fractions) at a place: Cramer's rule, as every affine of a volume is
    /// invertible.
    #[must_use]
    pub fn index(&self, place: [f64; 3]) -> [f64; 3] {
        let m = self.0;
        let right = [0, 1, 2].map(|row| place[row] - m[row][3]);
        let det = |columns: [[f64; 3]; 3]| {
            let [a, b, c] = columns;
            a[0] * (b[1] * c[2] - b[2] * c[1]) - b[0] * (a[1] * c[2] - a[2] * c[1])
                + c[0] * (a[1] * b[2] - a[2] * b[1])
        };
        let columns = [0, 1, 2].map(|column| [0, 1, 2].map(|row| m[row][column]));
        let whole = det(columns);
        [0, 1, 2].map(|axis| {
            let mut replaced = columns;
            replaced[axis] = right;
            det(replaced) / whole
        })
    }

    /// Length of one step along each array axis, in millimetres.
    #[must_use]
    pub fn spacing(&self) -> [f64; 3] {
        [0, 1, 2].map(|axis| self.0.iter().map(|row| row[axis] * row[axis]).sum::<f64>().sqrt())
    }

    /// Volume of a voxel in mm³, negative for a left-handed grid.
    fn determinant(&self) -> f64 {
        let m = &self.0;
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    }

    /// Whether all numbers are finite and the three axes span space.
    #[must_use]
    pub fn is_invertible(&self) -> bool {
        let (det, scale) = (self.determinant(), self.spacing().iter().product::<f64>());
        // Compared with the axes' lengths, so that tiny voxels pass, and axes in one plane fail.
        self.0.iter().flatten().all(|v| v.is_finite())
            && det.is_finite()
            && det.abs() > 1e-6 * scale
            && scale > 0.0
    }

    /// The largest deviation of two axes from perpendicular, in degrees.
    fn shear_degrees(&self) -> f64 {
        let (m, spacing) = (&self.0, self.spacing());
        let cosine = |[a, b]: [usize; 2]| {
            m.iter().map(|row| (row[a] / spacing[a]) * (row[b] / spacing[b])).sum::<f64>().abs()
        };
        [[0, 1], [0, 2], [1, 2]]
            .map(cosine)
            .into_iter()
            .fold(0.0, f64::max)
            .min(1.0)
            .asin()
            .to_degrees()
    }

    /// The orientation closest to this affine: the assignment of array axes to anatomical axes with
    /// the greatest sum of absolute cosines, so that oblique volumes get one anatomical axis for
    /// each array axis.
    #[must_use]
    pub fn orientation(&self) -> Orientation {
        const ASSIGNMENTS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let spacing = self.spacing();
        let cosine = |anatomical: usize, array: usize| self.0[anatomical][array] / spacing[array];
        let weight =
            |p: &[usize; 3]| (0..3).map(|array| cosine(p[array], array).abs()).sum::<f64>();
        let best = ASSIGNMENTS.iter().skip(1).fold(&ASSIGNMENTS[0], |best, candidate| {
            if weight(candidate) > weight(best) { candidate } else { best }
        });
        Orientation([0, 1, 2].map(|array| Direction {
            axis: best[array],
            negative: self.0[best[array]][array] < 0.0,
        }))
    }
}

/// Geometry of a voxel grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Voxels along each axis; in the model's orientation: width, height, slices.
    pub size: [usize; 3],
    /// Millimetres between voxels along each axis.
    pub spacing: [f64; 3],
    /// Voxel index to RAS+ millimetres.
    pub affine: Affine,
}

impl Geometry {
    /// A grid of `size` voxels placed by `affine`.
    #[must_use]
    pub fn new(size: [usize; 3], affine: Affine) -> Self {
        Self { size, spacing: affine.spacing(), affine }
    }

    /// Size of a slice in the model's orientation.
    #[must_use]
    pub fn slice_size(&self) -> Size {
        let [width, height, _] = self.size;
        Size { height, width }
    }

    /// Volume of a voxel in millilitres, right for sheared grids too.
    #[must_use]
    pub fn voxel_ml(&self) -> f64 {
        self.affine.determinant().abs() / 1000.0
    }

    /// What is odd about the grid, whatever format placed it.
    pub(super) fn oddities(&self) -> Vec<VolumeWarning> {
        let mut odd = Vec::new();
        let degrees = self.affine.shear_degrees();
        if degrees > SHEAR_DEGREES {
            odd.push(VolumeWarning::Sheared { degrees });
        }
        let along = |axis: usize| self.spacing[axis] * self.size[axis] as f64;
        let largest_mm = (0..3).map(along).fold(0.0, f64::max);
        if !(PLAUSIBLE_MM[0]..=PLAUSIBLE_MM[1]).contains(&largest_mm) {
            odd.push(VolumeWarning::OddExtent { largest_mm });
        }
        odd
    }

    /// The same grid with its axes in another order and direction.
    #[must_use]
    pub fn oriented(&self, map: AxisMap) -> Self {
        let m = &self.affine.0;
        let affine = [0, 1, 2].map(|row| {
            let mut out = [0.0, 0.0, 0.0, m[row][3]];
            for (axis, from) in map.axes().iter().enumerate() {
                let step = m[row][from.axis];
                out[axis] = if from.reversed { -step } else { step };
                if from.reversed {
                    out[3] += step * (self.size[from.axis] as f64 - 1.0);
                }
            }
            out
        });
        Self::new(map.axes().map(|from| self.size[from.axis]), Affine(affine))
    }
}

/// For each axis of the model's orientation, the stored axis that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisMap {
    /// Along a slice's rows.
    pub x: FileAxis,
    /// From row to row.
    pub y: FileAxis,
    /// From slice to slice.
    pub slice: FileAxis,
}

/// A stored axis as an axis of the model's orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileAxis {
    /// 0 is the fastest stored axis.
    pub axis: usize,
    /// Whether the model's axis runs against the stored one.
    pub reversed: bool,
}

impl FileAxis {
    /// The index along the stored axis, which has `length` voxels, of the voxel that has this index
    /// along the model's; and the other way round.
    #[must_use]
    pub fn index(self, index: usize, length: usize) -> usize {
        if self.reversed { length - 1 - index } else { index }
    }
}

impl AxisMap {
    /// Stored axes are the model's.
    pub const IDENTITY: Self = Self {
        x: FileAxis { axis: 0, reversed: false },
        y: FileAxis { axis: 1, reversed: false },
        slice: FileAxis { axis: 2, reversed: false },
    };

    /// The map of these axes: along rows, from row to row, from slice to slice.
    #[must_use]
    pub fn of([x, y, slice]: [FileAxis; 3]) -> Self {
        Self { x, y, slice }
    }

    /// Its axes in their order.
    #[must_use]
    pub fn axes(self) -> [FileAxis; 3] {
        [self.x, self.y, self.slice]
    }

    /// The map from the stored orientation to the model's.
    #[must_use]
    pub fn between(file: Orientation, model: Orientation) -> Self {
        Self::of(model.0.map(|wanted| {
            // The search succeeds, since each orientation has every anatomical axis once.
            let axis = file.0.iter().position(|d| d.axis == wanted.axis).unwrap_or(0);
            FileAxis { axis, reversed: file.0[axis].negative != wanted.negative }
        }))
    }

    /// Whether a stored plane is a slice.
    #[must_use]
    pub fn keeps_slices(self) -> bool {
        self.slice.axis == 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 48 orientations.
    pub(crate) fn orientations() -> Vec<Orientation> {
        let mut all = Vec::new();
        for a in "LRAPIS".chars() {
            for b in "LRAPIS".chars() {
                for c in "LRAPIS".chars() {
                    all.extend(format!("{a}{b}{c}").parse::<Orientation>());
                }
            }
        }
        all
    }

    #[test]
    fn there_are_48_orientations_and_each_reads_back() {
        let all = orientations();
        assert_eq!(all.len(), 48);
        assert!(all.iter().all(|o| o.to_string().parse() == Ok(*o)));
    }

    #[test]
    fn what_is_no_orientation_is_refused() {
        for text in ["", "RA", "RAR", "RAL", "RASX", "ras", "XYZ", "RASR"] {
            assert!(text.parse::<Orientation>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_oblique_affine_has_its_closest_orientation() {
        let (s, c) = 0.3f64.sin_cos();
        let affine = Affine([[-c, s, 0.0, 9.0], [0.0, 0.0, 2.0, 8.0], [s, c, 0.0, 7.0]]);
        assert_eq!(affine.orientation().to_string(), "LSA");
        assert!(affine.is_invertible());
    }

    #[test]
    fn flat_or_undefined_affines_are_not_invertible() {
        assert!(!Affine([[0.0; 4]; 3]).is_invertible());
        assert!(
            !Affine([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
                .is_invertible()
        );
        assert!(
            !Affine([[f64::NAN, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
                .is_invertible()
        );
        assert!(
            Affine([[1e-4, 0.0, 0.0, 0.0], [0.0, 1e-4, 0.0, 0.0], [0.0, 0.0, 1e-4, 0.0]])
                .is_invertible()
        );
    }

    #[test]
    fn orienting_moves_indices_and_not_places() {
        let affine = Affine([[0.0, -2.0, 0.1, 5.0], [3.0, 0.0, 0.0, -4.0], [0.0, 0.2, 1.5, 6.0]]);
        let file = Geometry::new([4, 5, 6], affine);
        for model in orientations() {
            let map = AxisMap::between(affine.orientation(), model);
            let oriented = file.oriented(map);
            assert_eq!(oriented.affine.orientation(), model);
            let at = [1usize, 2, 3];
            let mut file_at = [0.0; 3];
            for (axis, from) in map.axes().iter().enumerate() {
                let index =
                    if from.reversed { oriented.size[axis] - 1 - at[axis] } else { at[axis] };
                file_at[from.axis] = index as f64;
            }
            let here = oriented.affine.apply(at.map(|i| i as f64));
            let there = affine.apply(file_at);
            assert!(here.iter().zip(there).all(|(a, b)| (a - b).abs() < 1e-9), "{model}");
        }
    }
}
