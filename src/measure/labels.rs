//! Statistics of a label volume, gathered slice by slice.

use serde::Serialize;

use super::IntensityReport;
use crate::package::Label;
use crate::volume::Geometry;

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
    /// Mean position in RAS+ millimetres; `None` where there is no voxel.
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

/// Gathers [`LabelReport`]s; memory is a few numbers a label.
#[derive(Debug, Clone)]
pub struct LabelStats {
    geometry: Geometry,
    labels: Vec<Label>,
    sums: Vec<Sums>,
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
        Self { geometry: *geometry, labels: labels.to_vec(), sums: vec![none; labels.len()] }
    }

    /// Takes in a slice: its index along the third axis and its labels, row after row.
    pub fn add(&mut self, slice: usize, labels: &[u8]) {
        for (y, row) in labels.chunks_exact(self.geometry.size[0].max(1)).enumerate() {
            // Most rows are background only.
            if row.iter().all(|&v| v == 0) {
                continue;
            }
            for (label, sums) in self.labels.iter().zip(&mut self.sums) {
                for (x, _) in row.iter().enumerate().filter(|(_, v)| **v == label.value) {
                    sums.add([x, y, slice]);
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
        let voxel_ml = self.geometry.voxel_ml();
        self.labels
            .iter()
            .zip(&self.sums)
            .map(|(label, sums)| {
                let some = sums.voxels > 0;
                let mean = sums.index.map(|sum| sum as f64 / sums.voxels.max(1) as f64);
                let ranges = [0, 1, 2].map(|axis| [sums.first[axis], sums.last[axis]]);
                LabelReport {
                    value: label.value,
                    name: label.name.clone(),
                    voxels: sums.voxels,
                    ml: sums.voxels as f64 * voxel_ml,
                    centroid_mm: some.then(|| self.geometry.affine.apply(mean)),
                    bounding_box: some.then_some(ranges),
                    bounding_box_mm: some.then(|| extent_mm(&self.geometry, ranges)),
                    slices: some.then_some(ranges[2]),
                    intensity: None,
                }
            })
            .collect()
    }
}

/// RAS+ extent of the box of voxels with these first and last indices; an oblique box is enclosed.
fn extent_mm(geometry: &Geometry, ranges: [[usize; 2]; 3]) -> [[f64; 2]; 3] {
    let mut extent = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
    for corner in 0..8 {
        // A voxel's index is its centre; its faces are half a step to either side.
        let index = [0, 1, 2].map(|axis| {
            let [first, last] = ranges[axis].map(|i| i as f64);
            if corner >> axis & 1 == 0 { first - 0.5 } else { last + 0.5 }
        });
        for (range, mm) in extent.iter_mut().zip(geometry.affine.apply(index)) {
            *range = [range[0].min(mm), range[1].max(mm)];
        }
    }
    extent
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
    use super::*;
    use crate::package::Colour;
    use crate::volume::Affine;

    #[test]
    fn the_extent_does_not_depend_on_the_direction_of_the_axes() {
        let affine = Affine([[0.0, -2.0, 0.0, 4.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]);
        let geometry = Geometry::new([4, 4, 4], affine);
        let extent = extent_mm(&geometry, [[1, 2], [0, 0], [3, 3]]);
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
}
