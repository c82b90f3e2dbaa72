//! Predicted label volumes against true ones: Dice, Hausdorff distances and volume difference, per
//! subject and over subjects.

use std::collections::{BTreeMap, TryReserveError};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::grid;
use super::label_volume::{LabelVolume, MAX_LABEL_VOXELS};
use super::nearest::Frame;
use super::overlap::dice_of;
use super::surface::{self, Hausdorff};
use super::unread::Unread;
use crate::text::shown;
use crate::volume::{AxisMap, VolumeError};

/// Voxels of labels whose surfaces are held at once, unless a single label has more: distances to
/// hundreds of labels then take a few passes over the volumes and tens of megabytes.
const AT_ONCE: u64 = 4 << 20;

/// Why label volumes cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// A file cannot be read.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A voxel is no label.
    #[error(
        "{}: voxel value {value} in slice {slice} of the file, expected whole numbers from 0 to \
         65535, a thousandth more or less: this is no label volume, or its background or its slope \
         needs mending",
        shown(path)
    )]
    NoLabel {
        /// The file.
        path: PathBuf,
        /// In the file's order.
        slice: usize,
        /// The value.
        value: f32,
    },
    /// A volume has several channels.
    #[error(
        "{}: {channels} channels, expected one label a voxel: write the number of its channel into \
         each voxel of a 3-D volume, or compare every channel as a 3-D volume of its own where \
         channels overlap",
        shown(path)
    )]
    Channels {
        /// The file.
        path: PathBuf,
        /// The fourth dimension.
        channels: usize,
    },
    /// A volume has too many voxels to be held whole.
    #[error(
        "{}: {size:?} voxels, expected at most {MAX_LABEL_VOXELS} in all: cut or resample both \
         volumes first",
        shown(path)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In the file's order.
        size: [usize; 3],
    },
    /// A structure set has contours and no grid.
    #[error(
        "{}: a structure set has no grid of its own: compare it with a mask that has slices",
        shown(path)
    )]
    NoGrid {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no more memory.
    #[error(
        "{}: not enough memory for its labels: give more, or cut both volumes first",
        shown(path)
    )]
    Memory {
        /// The file.
        path: PathBuf,
    },
    /// The two grids differ.
    #[error(
        "{} and {} have different grids ({found}): resample one to the other first",
        shown(pred),
        shown(truth)
    )]
    Geometry {
        /// Predicted labels.
        pred: PathBuf,
        /// True labels.
        truth: PathBuf,
        /// The difference.
        found: String,
    },
}

/// One label in one subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScore {
    /// Voxel value.
    pub label: u16,
    /// Dice; `None` where neither volume has the label.
    pub dice: Option<f64>,
    /// Hausdorff distance, the largest between the surfaces, in mm; `None` where either volume
    /// lacks the label.
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
    /// Dice in each slice along the truth's third axis, where that was asked for; `None` in slices
    /// where neither volume has the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_dice: Option<Vec<Option<f64>>>,
}

/// All labels of one subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubjectScore {
    /// The subject, by file name.
    pub subject: String,
    /// In the order of the labels wanted, else ascending.
    pub labels: Vec<LabelScore>,
    /// Labels that occur in either volume but were not wanted, ascending; they are not compared.
    pub unknown: Vec<u16>,
    /// What was odd about the files and was worked around.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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
    /// Subjects left out because the score is undefined there. A label missed altogether has no
    /// distance, so that a mean distance without this number looks better than it is.
    pub undefined: usize,
}

/// One label over all subjects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Voxel value.
    pub label: u16,
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
    /// Of Dice over the slices of all subjects, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_dice: Option<Summary>,
}

/// Compares two label volumes; labels are those of `wanted`, or all that occur in either where that
/// is empty.
///
/// The volumes may store the same grid in different orders of its axes. Both are held whole, at one
/// or two bytes a voxel. `by_slice` asks for the scores of each slice, too.
///
/// # Errors
/// [`MeasureError`]
pub fn compare(
    subject: &str,
    pred_path: &Path,
    truth_path: &Path,
    wanted: &[u16],
    by_slice: bool,
) -> Result<SubjectScore, MeasureError> {
    let [pred, truth] = Unread::pair([pred_path, truth_path])?;
    let map = grid::alignment(pred.geometry(), truth.geometry()).map_err(|found| {
        MeasureError::Geometry { pred: pred_path.into(), truth: truth_path.into(), found }
    })?;
    let pair = Pair { pred: pred.read()?, map, truth: truth.read()? };
    let occurring = (1..=u16::MAX).filter(|&label| pair.voxels(label).iter().any(|&n| n > 0));
    let mut labels: Vec<u16> = Vec::new();
    if wanted.is_empty() {
        labels.extend(occurring.clone());
    } else {
        wanted.iter().for_each(|label| {
            if *label > 0 && !labels.contains(label) {
                labels.push(*label);
            }
        });
    }
    let unknown = occurring.filter(|label| !wanted.is_empty() && !wanted.contains(label)).collect();
    let both = pair.both();
    let distances =
        pair.distances(&labels).map_err(|_| MeasureError::Memory { path: pred_path.into() })?;
    let slices = by_slice.then(|| pair.by_slice());
    let millilitres = [&pair.pred, &pair.truth].map(LabelVolume::millilitres);
    let score = |(label, distance): (u16, Option<Hausdorff>)| {
        let voxels = pair.voxels(label);
        let [pred_ml, truth_ml] = [0, 1].map(|which| millilitres[which][usize::from(label)]);
        let difference_ml = pred_ml - truth_ml;
        LabelScore {
            label,
            dice: dice_of(both[usize::from(label)], voxels.iter().sum()),
            hausdorff_mm: distance.map(|d| d.max),
            hd95_mm: distance.map(|d| d.p95),
            pred_ml,
            truth_ml,
            difference_ml,
            difference_percent: (truth_ml > 0.0).then(|| 100.0 * difference_ml / truth_ml),
            slice_dice: slices.as_ref().map(|slices| pair.slice_dice(slices, label)),
        }
    };
    let labels = labels.into_iter().zip(distances).map(score).collect();
    Ok(SubjectScore {
        subject: subject.to_owned(),
        labels,
        unknown,
        warnings: pair.warnings([pred_path, truth_path]),
    })
}

/// Two label volumes on the same grid in space.
struct Pair {
    pred: LabelVolume,
    /// From the prediction's axes to the truth's.
    map: AxisMap,
    truth: LabelVolume,
}

impl Pair {
    /// Voxels of a label in the prediction and in the truth.
    fn voxels(&self, label: u16) -> [u64; 2] {
        [&self.pred, &self.truth].map(|volume| volume.voxels(label))
    }

    /// For every label the voxels that have it in both volumes.
    fn both(&self) -> Vec<u64> {
        let (back, size) = (grid::inverse(self.map), self.truth.geometry().size);
        let mut both = vec![0; 1 << 16];
        let Ok(()) = self.truth.each(|at, label| {
            both[usize::from(label)] +=
                u64::from(self.pred.label(grid::moved(back, size, at)) == label);
            Ok::<_, Infallible>(())
        });
        both
    }

    /// The voxels of each label in each slice of the truth: how many have it in both volumes, and
    /// how many in the one plus in the other.
    fn by_slice(&self) -> BTreeMap<(u16, usize), [u64; 2]> {
        let back = grid::inverse(self.map);
        let [size, pred_size] = [&self.truth, &self.pred].map(|volume| volume.geometry().size);
        let mut counts: BTreeMap<_, [u64; 2]> = BTreeMap::new();
        let Ok(()) = self.truth.each(|at, label| {
            let both = self.pred.label(grid::moved(back, size, at)) == label;
            let [agreed, either] = counts.entry((label, at[2])).or_default();
            (*agreed, *either) = (*agreed + u64::from(both), *either + 1);
            Ok::<_, Infallible>(())
        });
        let Ok(()) = self.pred.each(|at, label| {
            let slice = grid::moved(self.map, pred_size, at)[2];
            counts.entry((label, slice)).or_default()[1] += 1;
            Ok::<_, Infallible>(())
        });
        counts
    }

    /// Dice of a label in each slice.
    fn slice_dice(
        &self,
        counts: &BTreeMap<(u16, usize), [u64; 2]>,
        label: u16,
    ) -> Vec<Option<f64>> {
        let dice = |slice| counts.get(&(label, slice)).and_then(|&[both, all]| dice_of(both, all));
        (0..self.truth.geometry().size[2]).map(dice).collect()
    }

    /// Hausdorff distances of each label.
    fn distances(&self, labels: &[u16]) -> Result<Vec<Option<Hausdorff>>, TryReserveError> {
        let truth = &self.truth;
        let frame = Frame::new(&truth.geometry().affine).with_places(truth.places());
        let mut distances = Vec::with_capacity(labels.len());
        while distances.len() < labels.len() {
            let left = &labels[distances.len()..];
            let at_once = &left[..at_once(left.iter().map(|&label| self.voxels(label)))];
            distances.extend(surface::distances(
                &self.pred,
                self.map,
                &self.truth,
                at_once,
                &frame,
            )?);
        }
        Ok(distances)
    }

    /// What was odd about either file.
    fn warnings(&self, paths: [&Path; 2]) -> Vec<String> {
        let of = |(volume, path): (&LabelVolume, &Path)| -> Vec<String> {
            volume.warnings().iter().map(|warning| format!("{}: {warning}", shown(path))).collect()
        };
        [&self.pred, &self.truth].into_iter().zip(paths).flat_map(of).collect()
    }
}

/// How many of the labels with so many voxels in either volume are taken together: one at least.
fn at_once(voxels: impl Iterator<Item = [u64; 2]>) -> usize {
    let sums = voxels.scan(0, |sum: &mut u64, [pred, truth]| {
        *sum += pred + truth;
        Some(*sum)
    });
    sums.take_while(|&sum| sum <= AT_ONCE).count().max(1)
}

/// Means and deviations per label over subjects.
#[must_use]
pub fn summarise(subjects: &[SubjectScore]) -> Vec<Comparison> {
    let mut labels: BTreeMap<u16, Vec<&LabelScore>> = BTreeMap::new();
    subjects
        .iter()
        .flat_map(|s| &s.labels)
        .for_each(|l| labels.entry(l.label).or_default().push(l));
    let comparison = |(label, scores): (u16, Vec<&LabelScore>)| {
        let of = |value: &dyn Fn(&LabelScore) -> Option<f64>| {
            Summary::of(&scores.iter().map(|score| value(score)).collect::<Vec<_>>())
        };
        Comparison {
            label,
            dice: of(&|s| s.dice),
            hausdorff_mm: of(&|s| s.hausdorff_mm),
            hd95_mm: of(&|s| s.hd95_mm),
            difference_ml: of(&|s| Some(s.difference_ml)),
            difference_percent: of(&|s| s.difference_percent),
            slice_dice: scores
                .iter()
                .map(|score| score.slice_dice.clone())
                .collect::<Option<Vec<_>>>()
                .map(|slices| Summary::of(&slices.concat())),
        }
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
                slice_dice: None,
            }],
            unknown: vec![],
            warnings: vec![],
        };
        let [one] =
            summarise(&[subject(Some(0.5)), subject(None), subject(Some(1.0))]).try_into().unwrap();
        assert_eq!((one.dice.mean, one.dice.count, one.dice.undefined), (Some(0.75), 2, 1));
        assert!((one.dice.std.unwrap() - 0.125f64.sqrt()).abs() < 1e-12);
        assert_eq!(one.hd95_mm, Summary { mean: None, std: None, count: 0, undefined: 3 });
        assert_eq!(one.difference_ml.mean, Some(1.0));
        assert_eq!(one.difference_percent.mean, Some(50.0));
    }
}
