//! Predicted label volumes against true ones: Dice, Hausdorff distances and volume difference, per subject and over subjects.

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::{dice, hausdorff};
use crate::volume::{Geometry, SliceSource, SourceOptions, VolumeError};

/// Affines may differ by this much, in mm at the volume's corners, and still be the same grid.
const SAME_PLACE_MM: f64 = 1e-2;

/// Why label volumes cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// A file cannot be read.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A voxel is no label.
    #[error("{}: voxel value {value} in slice {slice}, expected whole numbers from 0 to 255: this is no label volume", path.display())]
    NoLabel {
        /// The file.
        path: PathBuf,
        /// Along the third axis in RAS.
        slice: usize,
        /// The value.
        value: f32,
    },
    /// The two grids differ.
    #[error("{} and {} have different grids ({found}): resample one to the other first", pred.display(), truth.display())]
    Geometry {
        /// Predicted labels.
        pred: PathBuf,
        /// True labels.
        truth: PathBuf,
        /// The difference.
        found: String,
    },
}

/// A label volume in memory, in RAS orientation.
#[derive(Debug, Clone)]
pub struct LabelVolume {
    /// Its grid.
    pub geometry: Geometry,
    /// Slices × height × width.
    pub voxels: Vec<u8>,
}

impl LabelVolume {
    /// Reads a label volume of any NIfTI type.
    ///
    /// # Errors
    /// [`MeasureError::Volume`], [`MeasureError::NoLabel`]
    pub fn read(path: &Path) -> Result<Self, MeasureError> {
        let mut source = SliceSource::open(path, &SourceOptions::default())?;
        let mut slice = vec![0.0; source.slice_len()];
        let mut slices = Vec::new();
        while let Some(index) = source.next_into(&mut slice)? {
            let labels = slice.iter().map(|&value| {
                let whole = value.fract() == 0.0 && (0.0..=255.0).contains(&value);
                if whole {
                    Ok(value as u8)
                } else {
                    Err(MeasureError::NoLabel { path: path.into(), slice: index, value })
                }
            });
            slices.push((index, labels.collect::<Result<Vec<u8>, _>>()?));
        }
        slices.sort_by_key(|(index, _)| *index);
        Ok(Self { geometry: *source.geometry(), voxels: slices.into_iter().flat_map(|(_, s)| s).collect() })
    }
}

/// One label in one subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScore {
    /// Voxel value.
    pub label: u8,
    /// Dice; `None` where neither volume has the label.
    pub dice: Option<f64>,
    /// Hausdorff distance, the largest between the surfaces, in mm; `None` where either volume lacks the label.
    pub hausdorff_mm: Option<f64>,
    /// 95th percentile Hausdorff distance in mm, likewise.
    pub hd95_mm: Option<f64>,
    /// Predicted volume.
    pub pred_ml: f64,
    /// True volume.
    pub truth_ml: f64,
    /// Predicted minus true volume.
    pub difference_ml: f64,
    /// The difference in percent of the true volume; `None` where the truth lacks the label.
    pub difference_percent: Option<f64>,
}

/// All labels of one subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubjectScore {
    /// The subject, by file name.
    pub subject: String,
    /// In the order of the labels wanted, else ascending.
    pub labels: Vec<LabelScore>,
    /// Labels that occur in either volume but were not wanted, ascending; they are not compared.
    pub unknown: Vec<u8>,
}

/// Mean and standard deviation (n - 1) over the subjects where a score is defined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// `None` where no subject counts.
    pub mean: Option<f64>,
    /// `None` below two subjects.
    pub std: Option<f64>,
    /// Subjects that count.
    pub count: usize,
    /// Subjects left out because the score is undefined there. A label missed altogether has no distance, so that a
    /// mean distance without this number looks better than it is.
    pub undefined: usize,
}

/// One label over all subjects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Voxel value.
    pub label: u8,
    /// Of Dice.
    pub dice: Summary,
    /// Of the Hausdorff distance.
    pub hausdorff_mm: Summary,
    /// Of HD95.
    pub hd95_mm: Summary,
    /// Of the volume difference.
    pub difference_ml: Summary,
    /// Of the volume difference in percent.
    pub difference_percent: Summary,
}

/// Compares two label volumes; labels are those of `wanted`, or all that occur in either where that is empty.
///
/// # Errors
/// [`MeasureError`]
pub fn compare(
    subject: &str,
    pred_path: &Path,
    truth_path: &Path,
    wanted: &[u8],
) -> Result<SubjectScore, MeasureError> {
    let (pred, truth) = (LabelVolume::read(pred_path)?, LabelVolume::read(truth_path)?);
    if let Some(found) = difference(&pred.geometry, &truth.geometry) {
        return Err(MeasureError::Geometry { pred: pred_path.into(), truth: truth_path.into(), found });
    }
    let mut counts = [[0u64; 256]; 2];
    for (count, volume) in counts.iter_mut().zip([&pred, &truth]) {
        volume.voxels.iter().for_each(|&v| count[usize::from(v)] += 1);
    }
    let occurs = |label: &u8| counts.iter().any(|c| c[usize::from(*label)] > 0);
    let labels: Vec<u8> =
        if wanted.is_empty() { (1..=255).filter(occurs).collect() } else { wanted.to_vec() };
    let unknown = (1..=255).filter(|label| occurs(label) && !labels.contains(label)).collect();
    let score = |label: u8| {
        let [pred_ml, truth_ml] = counts.map(|c| c[usize::from(label)] as f64 * truth.geometry.voxel_ml());
        let difference_ml = pred_ml - truth_ml;
        let distance = hausdorff(&pred.voxels, &truth.voxels, label, &truth.geometry);
        LabelScore {
            label,
            dice: dice(&pred.voxels, &truth.voxels, label),
            hausdorff_mm: distance.map(|d| d.max),
            hd95_mm: distance.map(|d| d.p95),
            pred_ml,
            truth_ml,
            difference_ml,
            difference_percent: (truth_ml > 0.0).then(|| 100.0 * difference_ml / truth_ml),
        }
    };
    Ok(SubjectScore { subject: subject.to_owned(), labels: labels.into_iter().map(score).collect(), unknown })
}

/// How two grids differ, if they do.
fn difference(a: &Geometry, b: &Geometry) -> Option<String> {
    if a.size != b.size {
        return Some(format!("{:?} and {:?} voxels", a.size, b.size));
    }
    let corner =
        |i: usize| [0, 1, 2].map(|axis| if i >> axis & 1 == 1 { a.size[axis] as f64 - 1.0 } else { 0.0 });
    let apart = |i: usize| {
        let (p, q) = (a.affine.apply(corner(i)), b.affine.apply(corner(i)));
        (0..3).map(|k| (p[k] - q[k]).powi(2)).sum::<f64>().sqrt()
    };
    let most = (0..8).map(apart).fold(0.0, f64::max);
    (most > SAME_PLACE_MM).then(|| format!("corners {most:.2} mm apart"))
}

/// Means and deviations per label over subjects.
#[must_use]
pub fn summarise(subjects: &[SubjectScore]) -> Vec<Comparison> {
    let mut labels: Vec<u8> = subjects.iter().flat_map(|s| s.labels.iter().map(|l| l.label)).collect();
    labels.sort_unstable();
    labels.dedup();
    let of = |label: u8, value: &dyn Fn(&LabelScore) -> Option<f64>| {
        let scores = subjects.iter().flat_map(|s| &s.labels).filter(|l| l.label == label);
        Summary::of(&scores.map(value).collect::<Vec<_>>())
    };
    let comparison = |label| Comparison {
        label,
        dice: of(label, &|s| s.dice),
        hausdorff_mm: of(label, &|s| s.hausdorff_mm),
        hd95_mm: of(label, &|s| s.hd95_mm),
        difference_ml: of(label, &|s| Some(s.difference_ml)),
        difference_percent: of(label, &|s| s.difference_percent),
    };
    labels.into_iter().map(comparison).collect()
}

impl Summary {
    /// Of these values, `None` being undefined ones.
    #[must_use]
    pub fn of(scores: &[Option<f64>]) -> Self {
        let values: Vec<f64> = scores.iter().copied().flatten().collect();
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Self {
            mean: (count > 0).then_some(mean),
            std: (count > 1).then(|| (squares / (count as f64 - 1.0)).sqrt()),
            count,
            undefined: scores.len() - count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_scores_do_not_count() {
        let subject = |dice| SubjectScore {
            subject: String::new(),
            labels: vec![LabelScore {
                label: 1,
                dice,
                hausdorff_mm: None,
                hd95_mm: None,
                pred_ml: 3.0,
                truth_ml: 2.0,
                difference_ml: 1.0,
                difference_percent: Some(50.0),
            }],
            unknown: vec![],
        };
        let [one] = summarise(&[subject(Some(0.5)), subject(None), subject(Some(1.0))]).try_into().unwrap();
        assert_eq!((one.dice.mean, one.dice.count, one.dice.undefined), (Some(0.75), 2, 1));
        assert!((one.dice.std.unwrap() - 0.125f64.sqrt()).abs() < 1e-12);
        assert_eq!(one.hd95_mm, Summary { mean: None, std: None, count: 0, undefined: 3 });
        assert_eq!(one.difference_ml.mean, Some(1.0));
        assert_eq!(one.difference_percent.mean, Some(50.0));
    }
}
