//! The intensities that a volume has under each label.

use serde::Serialize;

use crate::package::Label;

/// Intensities under a label, in the volume's units: Hounsfield units in CT. Of a volume with
/// several channels, those of the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct IntensityReport {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the voxels (divided by their number).
    pub std: f64,
    /// Least.
    pub min: f32,
    /// Largest.
    pub max: f32,
}

/// Gathers [`IntensityReport`]s slice by slice; memory is a few numbers a label.
#[derive(Debug, Clone)]
pub struct Intensities {
    sums: Vec<(u8, Sums)>,
}

/// Of a label so far. The mean and the squared deviations are updated voxel by voxel (Welford,
/// Technometrics 4(3), 1962), which keeps its digits where the mean is far from 0.
#[derive(Debug, Clone, Copy)]
struct Sums {
    count: u64,
    mean: f64,
    squares: f64,
    min: f32,
    max: f32,
}

impl Intensities {
    /// For these labels.
    #[must_use]
    pub fn new(labels: &[Label]) -> Self {
        let none =
            Sums { count: 0, mean: 0.0, squares: 0.0, min: f32::INFINITY, max: f32::NEG_INFINITY };
        Self { sums: labels.iter().map(|label| (label.value, none)).collect() }
    }

    /// Takes in a slice: its labels and its intensities, voxel by voxel. Further intensities, those
    /// of other channels, are not looked at.
    pub fn add(&mut self, labels: &[u8], intensities: &[f32]) {
        for (label, intensity) in labels.iter().zip(intensities).filter(|(label, _)| **label > 0) {
            if let Some((_, sums)) = self.sums.iter_mut().find(|(value, _)| value == label) {
                sums.add(*intensity);
            }
        }
    }

    /// Of a label; `None` where it has no voxel.
    #[must_use]
    pub fn of(&self, value: u8) -> Option<IntensityReport> {
        let (_, sums) = self.sums.iter().find(|(own, sums)| *own == value && sums.count > 0)?;
        let std = (sums.squares / sums.count as f64).sqrt();
        Some(IntensityReport { mean: sums.mean, std, min: sums.min, max: sums.max })
    }
}

impl Sums {
    fn add(&mut self, intensity: f32) {
        self.count += 1;
        let value = f64::from(intensity);
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.min = self.min.min(intensity);
        self.max = self.max.max(intensity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Colour;

    #[test]
    fn figures_are_those_of_the_definition() {
        let label = |value| Label::new(value, "x", Colour([0; 3]));
        let mut intensities = Intensities::new(&[label(1), label(2)]);
        intensities.add(&[0, 1, 1, 7], &[9.0, 100_002.0, 100_004.0, 5.0]);
        intensities.add(&[1], &[100_009.0, -1.0]);
        let found = intensities.of(1).unwrap();
        assert_eq!((found.min, found.max, found.mean), (100_002.0, 100_009.0, 100_005.0));
        assert!((found.std - (26.0_f64 / 3.0).sqrt()).abs() < 1e-9, "{found:?}");
        assert_eq!(intensities.of(2), None);
        assert_eq!(intensities.of(7), None);
    }
}
