//! Statistics of a label volume, gathered slice by slice.

use serde::Serialize;

use super::IntensityReport;
use crate::package::Label;
use crate::volume::{Geometry, SlicePlace, Uneven};

/// What a person wants to know of one label. Indices and axes are those of the model's orientation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelReport {
    /// Voxel value.
    pub value: u8,
    /// Name.
    pub name: String,
    /// Number of voxels.
    pub voxels: u64,
    /// Their volume in millilitres.
    pub ml: f64,
    /// Centre of mass in RAS+ millimetres; `None` where there is no voxel.
    pub centroid_mm: Option<[f64; 3]>,
    /// First and last index along each axis.
    pub bounding_box: Option<[[usize; 2]; 3]>,
    /// Lowest and highest RAS+ coordinate in millimetres, to the outer faces of the voxels, along
    /// each anatomical axis.
    pub bounding_box_mm: Option<[[f64; 2]; 3]>,
    /// First and last slice.
    pub slices: Option<[usize; 2]>,
    /// Intensities of its voxels, where they were measured and there is a voxel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intensity: Option<IntensityReport>,
}

impl LabelReport {
    /// Adds to all indices those of the first voxel of the part that the report is about;
    /// millimetres stay, as they are the whole's.
    pub(crate) fn shift(&mut self, first: [usize; 3]) {
        let ranges = self.bounding_box.iter_mut().flatten().zip(first);
        for (range, first) in ranges.chain(self.slices.as_mut().zip(Some(first[2]))) {
            *range = range.map(|index| index + first);
        }
    }
}

/// Gathers [`LabelReport`]s; memory is a few numbers a label, and a slice where slices are not
/// evenly spaced.
#[derive(Debug, Clone)]
pub struct LabelStats {
    geometry: Geometry,
    labels: Vec<Label>,
    sums: Vec<Sums>,
    uneven: Option<Uneven>,
    /// Of each label, what lies in each slice that is not evenly spaced.
    layers: Vec<Vec<Layer>>,
}

/// What a label has in one slice.
#[derive(Debug, Clone, Copy, Default)]
struct Layer {
    voxels: u64,
    /// Of the indices.
    index: [u64; 3],
}

#[derive(Debug, Clone, Copy)]
struct Sums {
    voxels: u64,
    /// Of the indices, exact: 2⁶⁴ holds the sum over any volume of three 16-bit dimensions.
    index: [u64; 3],
    first: [usize; 3],
    last: [usize; 3],
}

impl LabelStats {
    /// For a volume of this geometry with these labels.
    #[must_use]
    pub fn new(geometry: &Geometry, labels: &[Label]) -> Self {
        let none = Sums { voxels: 0, index: [0; 3], first: [usize::MAX; 3], last: [0; 3] };
        let sums = vec![none; labels.len()];
        let (geometry, labels) = (*geometry, labels.to_vec());
        Self { geometry, labels, sums, uneven: None, layers: Vec::new() }
    }

    /// For slices that are not evenly spaced, of which nothing was taken in yet.
    #[must_use]
    pub fn with_uneven(self, uneven: Option<Uneven>) -> Self {
        let slices = uneven.as_ref().map_or(0, |uneven| uneven.places.len());
        let layers = vec![vec![Layer::default(); slices]; self.labels.len()];
        Self { uneven, layers, ..self }
    }

    /// Takes in a slice: its index along the third axis and its labels, row after row.
    pub fn add(&mut self, slice: usize, labels: &[u8]) {
        for (y, row) in labels.chunks_exact(self.geometry.size[0].max(1)).enumerate() {
            // Most rows are background only.
            if row.iter().all(|&v| v == 0) {
                continue;
            }
            for (n, (label, sums)) in self.labels.iter().zip(&mut self.sums).enumerate() {
                for (x, _) in row.iter().enumerate().filter(|(_, v)| **v == label.value) {
                    sums.add([x, y, slice]);
                    if let Some(uneven) = &self.uneven {
                        self.layers[n][[x, y, slice][uneven.axis]].add([x, y, slice]);
                    }
                }
            }
        }
    }

    /// Voxels so far of each label.
    pub fn voxels(&self) -> impl Iterator<Item = u64> + '_ {
        self.sums.iter().map(|s| s.voxels)
    }

    /// The reports, in the order of the labels.
    #[must_use]
    pub fn finish(&self) -> Vec<LabelReport> {
        self.labels
            .iter()
            .zip(&self.sums)
            .enumerate()
            .map(|(n, (label, sums))| {
                let some = sums.voxels > 0;
                let (ml, centre) = self.mass(n);
                let ranges = [0, 1, 2].map(|axis| [sums.first[axis], sums.last[axis]]);
                LabelReport {
                    value: label.value,
                    name: label.name.clone(),
                    voxels: sums.voxels,
                    ml,
                    centroid_mm: some.then_some(centre),
                    bounding_box: some.then_some(ranges),
                    bounding_box_mm: some.then(|| self.extent_mm(ranges)),
                    slices: some.then_some(ranges[2]),
                    intensity: None,
                }
            })
            .collect()
    }
}

impl LabelStats {
    /// A label's volume and its centre.
    fn mass(&self, label: usize) -> (f64, [f64; 3]) {
        let (sums, voxel_ml) = (&self.sums[label], self.geometry.voxel_ml());
        let affine = &self.geometry.affine;
        let mean = |index: [u64; 3], voxels: u64| {
            affine.apply(index.map(|sum| sum as f64 / voxels.max(1) as f64))
        };
        let Some(uneven) = &self.uneven else {
            return (sums.voxels as f64 * voxel_ml, mean(sums.index, sums.voxels));
        };
        // A voxel counts as thick as its slice, here in steps of the grid.
        let (mut thick, mut weighted) = (0.0, [0.0; 3]);
        for (layer, place) in self.layers[label].iter().zip(&uneven.places) {
            let weight = layer.voxels as f64 * place.thickness();
            let centre = place.shifted(mean(layer.index, layer.voxels));
            thick += weight;
            (0..3).for_each(|k| weighted[k] += weight * centre[k]);
        }
        (thick * voxel_ml, weighted.map(|sum| sum / thick))
    }

    /// RAS+ extent of the box of voxels with these first and last indices; an oblique box is
    /// enclosed.
    fn extent_mm(&self, ranges: [[usize; 2]; 3]) -> [[f64; 2]; 3] {
        let mut extent = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        let place = |axis: usize, index: usize| match &self.uneven {
            Some(uneven) if uneven.axis == axis => uneven.places[index],
            _ => SlicePlace::EVEN,
        };
        for corner in 0..8 {
            // A voxel's index is its centre; its faces are half a step to either side.
            let mut shift = SlicePlace::EVEN;
            let index = [0, 1, 2].map(|axis| {
                let upper = corner >> axis & 1;
                let at = ranges[axis][upper];
                let SlicePlace { shift: own, reach } = place(axis, at);
                shift.shift = shift.shifted(own);
                if upper == 0 { at as f64 - reach[0] } else { at as f64 + reach[1] }
            });
            let placed = shift.shifted(self.geometry.affine.apply(index));
            for (range, mm) in extent.iter_mut().zip(placed) {
                *range = [range[0].min(mm), range[1].max(mm)];
            }
        }
        extent
    }
}

impl Layer {
    fn add(&mut self, at: [usize; 3]) {
        self.voxels += 1;
        (0..3).for_each(|axis| self.index[axis] += at[axis] as u64);
    }
}

impl Sums {
    fn add(&mut self, at: [usize; 3]) {
        self.voxels += 1;
        for (axis, index) in at.into_iter().enumerate() {
            self.index[axis] += index as u64;
            self.first[axis] = self.first[axis].min(index);
            self.last[axis] = self.last[axis].max(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::package::Colour;
    use crate::volume::Affine;

    #[test]
    fn the_extent_does_not_depend_on_the_direction_of_the_axes() {
        let affine = Affine([[0.0, -2.0, 0.0, 4.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]);
        let geometry = Geometry::new([4, 4, 4], affine);
        let extent = LabelStats::new(&geometry, &[]).extent_mm([[1, 2], [0, 0], [3, 3]]);
        assert_eq!(extent, [[3.0, 5.0], [0.5, 2.5], [-3.5, -2.5]]);
    }

    #[test]
    fn a_box_of_voxels_is_reported_as_it_lies() {
        let affine = Affine([[2.0, 0.0, 0.0, -10.0], [0.0, 1.0, 0.0, 5.0], [0.0, 0.0, 3.0, 0.0]]);
        let geometry = Geometry::new([4, 3, 5], affine);
        let label = |value, name: &str| Label::new(value, name, Colour([0; 3]));
        let mut stats = LabelStats::new(&geometry, &[label(1, "one"), label(2, "two")]);
        for slice in [3, 2] {
            stats.add(slice, &[0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0]);
        }
        let [one, two] = stats.finish().try_into().unwrap();
        assert_eq!((one.voxels, two.voxels), (8, 0));
        assert!((one.ml - 8.0 * 6.0 / 1000.0).abs() < 1e-12);
        assert_eq!(one.bounding_box, Some([[1, 2], [1, 2], [2, 3]]));
        assert_eq!(one.bounding_box_mm, Some([[-9.0, -5.0], [5.5, 7.5], [4.5, 10.5]]));
        let mut shifted = one.clone();
        shifted.shift([10, 20, 30]);
        assert_eq!(shifted.bounding_box, Some([[11, 12], [21, 22], [32, 33]]));
        assert_eq!(
            (shifted.slices, shifted.bounding_box_mm),
            (Some([32, 33]), one.bounding_box_mm)
        );
        assert_eq!(one.slices, Some([2, 3]));
        assert_eq!(one.centroid_mm, Some([-7.0, 6.5, 7.5]));
        assert_eq!((two.centroid_mm, two.bounding_box, two.slices), (None, None, None));
        assert_eq!(two.bounding_box_mm, None);
    }

    /// Along the second axis, in a volume whose slices are across it: 0, 1 and 4 mm, and shifted.
    #[test]
    fn a_voxel_is_as_thick_as_its_slice() {
        let affine = Affine([[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 5.0], [0.0, 0.0, 1.0, 0.0]]);
        let geometry = Geometry::new([2, 3, 1], affine);
        let place = |shift: f64, reach| SlicePlace { shift: [shift / 2.0, shift, 0.0], reach };
        let places = vec![place(0.0, [0.5, 0.5]), place(0.0, [0.5, 1.5]), place(2.0, [1.5, 1.5])];
        let label = Label::new(1, "one", Colour([0; 3]));
        let stats = LabelStats::new(&geometry, &[label]);
        let mut stats = stats.with_uneven(Some(Uneven { axis: 1, places }));
        stats.add(0, &[1, 0, 0, 0, 1, 1]);
        let [found] = stats.finish().try_into().unwrap();
        // 1 voxel of 1 mm and 2 of 3 mm, each of 2 mm².
        assert!((found.ml - 0.014).abs() < 1e-12, "{}", found.ml);
        let [x, y, z] = found.centroid_mm.unwrap();
        assert!((x - 6.0 * 2.0 / 7.0).abs() < 1e-12 && (y - (5.0 + 24.0 / 7.0)).abs() < 1e-12);
        assert_eq!(z, 0.0);
        assert_eq!(found.bounding_box_mm, Some([[-1.0, 4.0], [4.5, 10.5], [-0.5, 0.5]]));
    }

    proptest! {
        /// Slices whose places are those of the grid change nothing but rounding.
        #[test]
        fn even_places_are_the_grid_s(
            labels in prop::collection::vec(0u8..3, 60),
            axis in 0usize..3,
        ) {
            let rows = [[0.9, 0.1, 0.0, 3.0], [0.0, 1.2, 0.3, -4.0], [0.0, 0.0, 2.0, 8.0]];
            let affine = Affine(rows);
            let geometry = Geometry::new([5, 4, 3], affine);
            let all = [Label::new(1, "one", Colour([0; 3])), Label::new(2, "two", Colour([0; 3]))];
            let even = LabelStats::new(&geometry, &all);
            let places = vec![SlicePlace::EVEN; geometry.size[axis]];
            let uneven = even.clone().with_uneven(Some(Uneven { axis, places }));
            let [a, b] = [even, uneven].map(|mut stats| {
                labels.chunks(20).enumerate().for_each(|(slice, plane)| stats.add(slice, plane));
                stats.finish()
            });
            for (a, b) in a.iter().zip(&b) {
                prop_assert!((a.ml - b.ml).abs() < 1e-12);
                prop_assert_eq!(a.bounding_box_mm, b.bounding_box_mm);
                let centres = a.centroid_mm.into_iter().flatten();
                for (a, b) in centres.zip(b.centroid_mm.into_iter().flatten()) {
                    prop_assert!((a - b).abs() < 1e-9);
                }
            }
        }
    }
}
