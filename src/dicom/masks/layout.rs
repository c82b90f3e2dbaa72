//! The slices that masks are laid onto: a volume's grid, or the slices of the masks themselves.

use monet_dicom::objects::masks::Plane;
use monet_dicom::series::reaches;
use monet_dicom::vector::{cross, directions, dot, length, minus, times};
use thiserror::Error;

use super::super::space::{self, turned};
use crate::volume::{AxisMap, FileAxis, Geometry, MAX_SLICES, SlicePlace};

/// How far a frame's pixels may lie off the voxels that they are laid onto, in voxels.
pub(super) const OFF: f64 = 0.1;
/// Slices nearer to each other, in millimetres, are the same.
const SAME_PLACE: f64 = 0.01;
/// Slices nearer to each other than so much of the least distance within a mask, and not the same,
/// belong to different volumes.
const NEAR: f64 = 0.6;
/// A grid on which more slices are missing for each that is there is none.
const MOST_MISSING: usize = 256;
/// Directions that differ by less are parallel.
const PARALLEL: f64 = 2e-3;

/// Why masks lie on no slices together.
#[derive(Debug, Error)]
pub(crate) enum Apart {
    #[error("slices at an angle to each other")]
    Angle,
    #[error("slices of {} x {} and of {} x {} pixels", of[0], of[1], and[0], and[1])]
    Size { of: [usize; 2], and: [usize; 2] },
    #[error("slices {mm:.2} mm apart, nearer than those of one volume")]
    Between { mm: f64 },
    #[error("a frame {mm:.2} mm off the voxels")]
    Off { mm: f64 },
    #[error("{frames} of {all} frames have labels off the grid, up to {mm:.2} mm")]
    Beyond { frames: usize, all: usize, mm: f64 },
}

/// The slices of a mask.
#[derive(Debug, Clone)]
pub(crate) struct Slices {
    /// Rows and columns.
    pub(super) size: [u16; 2],
    pub(super) planes: Vec<Plane>,
    /// The distance that slices have, as the file says.
    pub(super) distance: Option<f64>,
    /// How thick a slice is, as the file says.
    pub(super) thickness: Option<f64>,
}

/// Slices along the third axis of a grid.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    grid: Geometry,
    /// The place of each slice, where slices are not evenly spaced; empty elsewhere.
    places: Vec<SlicePlace>,
}

impl Layout {
    /// The slices of a volume's grid.
    pub(crate) fn grid(grid: Geometry) -> Self {
        Self { grid, places: Vec::new() }
    }

    /// The slices that masks have together; `None` without any. Where they lie on a grid, what is
    /// missing of it is there, too: a segmentation leaves out slices without labels.
    pub(crate) fn of(masks: &[&Slices]) -> Result<Option<Self>, Apart> {
        let Some(first) = masks.first() else { return Ok(None) };
        let basis = Basis::new(first);
        let told = masks.iter().find_map(|slices| slices.distance);
        let (mut all, mut least) = (Vec::new(), f64::INFINITY);
        for slices in masks {
            let origins = slices.planes.iter().map(|plane| basis.origin(plane, slices.size));
            let origins = basis.sorted(origins.collect::<Result<Vec<_>, _>>()?, SAME_PLACE);
            least = basis.distances(&origins).into_iter().fold(least, f64::min);
            all.extend(origins);
        }
        let least = if least.is_finite() { least } else { told.unwrap_or(SAME_PLACE) };
        let origins = basis.sorted(all, SAME_PLACE.max(OFF * least));
        let distances = basis.distances(&origins);
        if let Some(mm) = distances.iter().copied().find(|mm| *mm < NEAR * least) {
            return Err(Apart::Between { mm });
        }
        let alone = first.thickness.unwrap_or(1.0);
        Ok(Some(basis.layout(&origins, &distances, [told, Some(alone)])))
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.grid
    }

    pub(super) fn places(&self) -> &[SlicePlace] {
        &self.places
    }

    /// The plane of a slice.
    pub(super) fn plane(&self, slice: usize) -> Plane {
        let plane = space::plane(&self.grid, slice);
        let Some(place) = self.places.get(slice) else { return plane };
        let position = turned(place.shifted(turned(plane.position)));
        Plane { position, ..plane }
    }

    /// The same slices with axes in another order; `None` where that would not keep the slices
    /// that are not evenly spaced.
    pub(super) fn oriented(&self, map: AxisMap) -> Option<Self> {
        let kept = self.places.is_empty() || (map.slice.axis == 2 && !map.slice.reversed);
        kept.then(|| Self { grid: self.grid.oriented(map), places: self.places.clone() })
    }

    /// The same slices with axes in the order in which a plane's rows and columns run.
    pub(super) fn facing(&self, plane: &Plane) -> Result<Self, Apart> {
        let affine = &self.grid.affine.0;
        let along = |axis: usize, direction: [f64; 3]| {
            dot([0, 1, 2].map(|k| affine[k][axis]), turned(direction)) / self.grid.spacing[axis]
        };
        let nearest = |direction: [f64; 3], taken: Option<usize>| {
            let axes = (0..3).filter(|axis| Some(*axis) != taken);
            let axis = axes
                .max_by(|a, b| along(*a, direction).abs().total_cmp(&along(*b, direction).abs()));
            let axis = axis.unwrap_or(0);
            FileAxis { axis, reversed: along(axis, direction) < 0.0 }
        };
        let [row, column] = directions(plane.orientation);
        let x = nearest(row, None);
        let y = nearest(column, Some(x.axis));
        let slice = FileAxis { axis: 3 - x.axis - y.axis, reversed: false };
        self.oriented(AxisMap::of([x, y, slice])).ok_or(Apart::Angle)
    }

    /// The index of a frame's first pixel. Rows run along the first axis.
    pub(super) fn place(
        &self,
        plane: &Plane,
        [rows, columns]: [u16; 2],
    ) -> Result<[i64; 3], Apart> {
        let slice = self.slice_at(plane.position);
        let shift = slice.map_or([0.0; 3], |slice| self.places[slice].shift);
        let last = [f64::from(columns) - 1.0, f64::from(rows) - 1.0];
        let index = |corner: [f64; 2]| {
            let place = turned(plane.place(corner));
            self.grid.affine.index(minus(place, shift))
        };
        let mut first = index([0.0; 2]).map(f64::round);
        if let Some(slice) = slice {
            first[2] = slice as f64;
        }
        for corner in [[0.0; 2], [last[0], 0.0], [0.0, last[1]], last] {
            let found = index(corner);
            let expected = [first[0] + corner[0], first[1] + corner[1], first[2]];
            let off = minus(found, expected);
            if !off.iter().all(|voxels| voxels.abs() <= OFF) {
                return Err(Apart::Off { mm: self.length(off) });
            }
        }
        // Far off is off the grid, however far.
        Ok(first.map(|index| index.clamp(-1e12, 1e12) as i64))
    }

    /// The length of a step of so many voxels, in millimetres.
    pub(super) fn length(&self, step: [f64; 3]) -> f64 {
        length(self.grid.affine.0.map(|row| row[0] * step[0] + row[1] * step[1] + row[2] * step[2]))
    }

    /// The slice nearest to a position, where slices are not evenly spaced.
    fn slice_at(&self, position: [f64; 3]) -> Option<usize> {
        let affine = &self.grid.affine.0;
        let [u, v] = [0, 1].map(|axis| [0, 1, 2].map(|k| affine[k][axis]));
        let normal = cross(u, v);
        let step = [0, 1, 2].map(|k| affine[k][2]);
        let sign = dot(step, normal).signum();
        let height = |place: [f64; 3]| sign * dot(place, normal);
        let wanted = height(turned(position));
        let of = |slice: usize| {
            let place = self.grid.affine.apply([0.0, 0.0, slice as f64]);
            height(self.places[slice].shifted(place))
        };
        let (mut low, mut high) = (0, self.places.len());
        while low < high {
            let middle = low.midpoint(high);
            if of(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        let around = low.saturating_sub(1)..(low + 1).min(self.places.len());
        around.min_by(|a, b| (of(*a) - wanted).abs().total_cmp(&(of(*b) - wanted).abs()))
    }
}

/// The plane and the normal in which the slices of masks are told.
struct Basis {
    plane: Plane,
    size: [u16; 2],
    normal: [f64; 3],
}

impl Basis {
    fn new(slices: &Slices) -> Self {
        let plane = slices.planes[0];
        let normal = plane.normal();
        Self { plane, size: slices.size, normal: times(normal, 1.0 / length(normal)) }
    }

    fn height(&self, place: [f64; 3]) -> f64 {
        dot(place, self.normal)
    }

    /// Where a slice begins whose rows and columns may run along others or against them.
    fn origin(&self, plane: &Plane, [rows, columns]: [u16; 2]) -> Result<[f64; 3], Apart> {
        let normal = plane.normal();
        let is_parallel = length(cross(normal, self.normal)) <= PARALLEL * length(normal);
        if !is_parallel {
            return Err(Apart::Angle);
        }
        let [right, down] = [f64::from(columns) - 1.0, f64::from(rows) - 1.0];
        let corners = [[0.0; 2], [right, 0.0], [0.0, down], [right, down]];
        let (mut least, mut most) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for corner in corners {
            let pixel = self.plane.pixel(plane.place(corner));
            for axis in 0..2 {
                least[axis] = least[axis].min(pixel[axis]);
                most[axis] = most[axis].max(pixel[axis]);
            }
        }
        let found = [0, 1].map(|axis| most[axis] - least[axis] + 1.0);
        let own = [self.size[1], self.size[0]].map(usize::from);
        if !(0..2).all(|axis| (found[axis] - own[axis] as f64).abs() <= OFF) {
            return Err(Apart::Size { of: own, and: found.map(|n| n.round() as usize) });
        }
        let inside = self.plane.place(least);
        let up = self.height(minus(plane.position, inside));
        Ok([0, 1, 2].map(|k| inside[k] + up * self.normal[k]))
    }

    /// By height; of those nearer than that to one another, the first.
    fn sorted(&self, mut origins: Vec<[f64; 3]>, near: f64) -> Vec<[f64; 3]> {
        origins.sort_by(|a, b| self.height(*a).total_cmp(&self.height(*b)));
        origins.dedup_by(|a, b| self.height(*a) - self.height(*b) < near);
        origins
    }

    fn distances(&self, origins: &[[f64; 3]]) -> Vec<f64> {
        origins.windows(2).map(|pair| self.height(minus(pair[1], pair[0]))).collect()
    }

    /// The layout of slices that begin in these places. Their usual distance is the one told, or
    /// the least; a slice alone may be told how thick it is.
    fn layout(&self, origins: &[[f64; 3]], distances: &[f64], told: [Option<f64>; 2]) -> Layout {
        let first = Plane { position: origins[0], ..self.plane };
        let (size, last) = (self.size.map(usize::from), origins[origins.len() - 1]);
        let [told, alone] = told;
        let least = distances.iter().copied().reduce(f64::min);
        let most = (MOST_MISSING * (origins.len() + 1)).min(MAX_SLICES) as f64;
        for usual in [told, least.or(alone)].into_iter().flatten() {
            let steps: f64 = distances.iter().map(|distance| (distance / usual).round()).sum();
            let step = match distances {
                [] => times(self.normal, usual),
                _ => times(minus(last, origins[0]), 1.0 / steps),
            };
            let is_plausible = steps < most && steps >= distances.len() as f64;
            if !is_plausible {
                continue;
            }
            let layout = Layout::grid(space::grid(first, size, step, steps as usize + 1));
            let lies = |origin: &[f64; 3]| {
                layout.place(&Plane { position: *origin, ..first }, self.size).is_ok()
            };
            if origins.iter().all(lies) {
                return layout;
            }
        }
        self.uneven(first, origins, distances)
    }

    /// The layout of slices on no grid.
    fn uneven(&self, first: Plane, origins: &[[f64; 3]], distances: &[f64]) -> Layout {
        let whole = minus(origins[origins.len() - 1], origins[0]);
        let step = times(whole, 1.0 / distances.len() as f64);
        let grid = space::grid(first, self.size.map(usize::from), step, origins.len());
        let heights: Vec<f64> = origins.iter().map(|origin| self.height(*origin)).collect();
        let reaches = reaches(&heights, None);
        let places = space::places(&grid, origins, &reaches, self.height(step));
        Layout { grid, places }
    }
}
