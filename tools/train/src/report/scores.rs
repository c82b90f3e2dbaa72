//! Dice and Hausdorff distances of a package on every subject: on the whole volume, and cropped to
//! the label as in the paper.
//!
//! The paper's test volumes were cropped along the slices to the label with 16 slices on either
//! side. That tells the network where to look, since whatever it finds elsewhere is left out; so
//! the whole volume comes first.

use std::ops::Range;

use anyhow::{Result, ensure};
use monet::measure::Summary;
use monet::package::Manifest;
use serde::Serialize;
use tch::Device;

use super::statistics::{interval, of_mean};
use super::{Cohort, MARGIN, Model};
use crate::commands;
use crate::dataset::{self, Subject};
use crate::evaluate::{self, Score};

/// A figure of merit.
pub(super) struct Metric {
    /// Name of files and fields.
    pub(super) key: &'static str,
    /// Name as a person reads it, with its unit.
    pub(super) title: &'static str,
    /// Digits after the point.
    pub(super) digits: usize,
    /// Its value among a label's scores.
    pub(super) of: fn(&Score) -> Option<f64>,
}

/// The figures of the paper's tables, in the order of columns.
pub(super) const METRICS: [Metric; 3] = [
    Metric { key: "dice", title: "Dice", digits: 3, of: |s| s.dice },
    Metric { key: "hausdorff", title: "Hausdorff (mm)", digits: 2, of: |s| s.hausdorff },
    Metric { key: "hd95", title: "HD95 (mm)", digits: 2, of: |s| s.hd95 },
];

/// What of a volume is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// All of it.
    Whole,
    /// The slices of the label and [`MARGIN`] on either side.
    Cropped,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cropped => "cropped",
        }
    }
}

/// One subject's scores, label by label.
#[derive(Debug, Serialize)]
pub(super) struct SubjectScores {
    pub(super) subject: String,
    pub(super) slices: usize,
    pub(super) cropped_slices: usize,
    pub(super) whole: Vec<Score>,
    pub(super) cropped: Vec<Score>,
    /// Dice in each slice in which the label was drawn or found, label by label.
    pub(super) slice_dice: Vec<Vec<f64>>,
}

/// One package on one data set.
#[derive(Debug, Serialize)]
pub(super) struct Evaluation {
    /// Indices into the report's cohorts and models.
    pub(super) cohort: usize,
    pub(super) model: usize,
    /// Label by label.
    whole: Vec<Means>,
    cropped: Vec<Means>,
    pub(super) by_slice: Vec<SliceMeans>,
    pub(super) subjects: Vec<SubjectScores>,
}

/// Mean and deviation of a label's scores.
#[derive(Debug, Serialize)]
struct Means {
    dice: Summary,
    /// 95 % of the mean, by bootstrap over subjects.
    dice_interval: Option<[f64; 2]>,
    hausdorff_mm: Summary,
    hd95_mm: Summary,
}

/// Mean and deviation of a label's Dice over all slices in which it was drawn or found.
#[derive(Debug, Serialize)]
pub(super) struct SliceMeans {
    pub(super) dice: Summary,
    /// 95 % of the mean: subjects are drawn, with all of their slices, as slices of one are alike.
    pub(super) dice_interval: Option<[f64; 2]>,
}

impl SliceMeans {
    /// Of each subject's slices.
    fn of(subjects: &[&[f64]]) -> Self {
        let sums: Vec<f64> = subjects.iter().map(|slices| slices.iter().sum()).collect();
        let mean = |drawn: &[Vec<usize>]| {
            let (mut sum, mut count) = (0.0, 0);
            for &i in &drawn[0] {
                sum += sums[i];
                count += subjects[i].len();
            }
            (count > 0).then(|| sum / count as f64)
        };
        let all: Vec<_> = subjects.concat().into_iter().map(Some).collect();
        Self { dice: Summary::of(&all), dice_interval: interval(&[sums.len()], mean) }
    }
}

impl SubjectScores {
    pub(super) fn of(&self, protocol: Protocol) -> &[Score] {
        match protocol {
            Protocol::Whole => &self.whole,
            Protocol::Cropped => &self.cropped,
        }
    }
}

impl Evaluation {
    fn new([cohort, model]: [usize; 2], labels: usize, subjects: Vec<SubjectScores>) -> Self {
        let means = |protocol| -> Vec<Means> {
            let label = |l| {
                let [dice, hausdorff, hd95] =
                    METRICS.each_ref().map(|metric| values(&subjects, protocol, l, metric));
                let defined: Vec<f64> = dice.iter().copied().flatten().collect();
                Means {
                    dice: Summary::of(&dice),
                    dice_interval: of_mean(&defined),
                    hausdorff_mm: Summary::of(&hausdorff),
                    hd95_mm: Summary::of(&hd95),
                }
            };
            (0..labels).map(label).collect()
        };
        let slices = |label: usize| -> Vec<&[f64]> {
            subjects.iter().map(|s| s.slice_dice[label].as_slice()).collect()
        };
        Self {
            cohort,
            model,
            whole: means(Protocol::Whole),
            cropped: means(Protocol::Cropped),
            by_slice: (0..labels).map(|label| SliceMeans::of(&slices(label))).collect(),
            subjects,
        }
    }

    /// Whether the crop left anything out of any volume.
    pub(super) fn crops(&self) -> bool {
        self.subjects.iter().any(|s| s.cropped_slices < s.slices)
    }

    /// 95 % interval of a label's mean Dice.
    pub(super) fn dice_interval(&self, protocol: Protocol, label: usize) -> Option<[f64; 2]> {
        match protocol {
            Protocol::Whole => self.whole[label].dice_interval,
            Protocol::Cropped => self.cropped[label].dice_interval,
        }
    }

    /// Mean and deviation of one score of one label.
    pub(super) fn summary(&self, protocol: Protocol, label: usize, metric: &Metric) -> Summary {
        Summary::of(&values(&self.subjects, protocol, label, metric))
    }
}

/// One score of one label, subject by subject.
pub(super) fn values(
    subjects: &[SubjectScores],
    protocol: Protocol,
    label: usize,
    metric: &Metric,
) -> Vec<Option<f64>> {
    subjects.iter().map(|s| (metric.of)(&s.of(protocol)[label])).collect()
}

/// Reads every subject, so that what is wrong with one is said before hours of work, and sees that
/// each label occurs.
pub(super) fn check(cohort: &Cohort, package: &Manifest) -> Result<()> {
    let mut occurs = [false; 256];
    for pair in &cohort.pairs {
        dataset::load(pair, package)?.labels.iter().for_each(|&v| occurs[usize::from(v)] = true);
    }
    for label in &package.labels {
        ensure!(
            occurs[usize::from(label.value)],
            "{}: no subject has label {} ({}), which the packages find: expected data of the same \
             task",
            cohort.told(),
            label.value,
            label.name
        );
    }
    Ok(())
}

/// Scores of every subject, one in memory at a time; `at` is the place of cohort and model in the
/// report.
pub(super) fn evaluate(
    at: [usize; 2],
    model: &Model,
    cohort: &Cohort,
    device: Device,
) -> Result<Evaluation> {
    let package = &model.package.manifest;
    let subjects = cohort.pairs.iter().map(|pair| {
        let subject = dataset::load(pair, package)?;
        let labels =
            evaluate::segment(&subject, package, device, &|x| commands::logits(&model.net, x))?;
        Ok(scores(&subject, &labels, package, MARGIN))
    });
    Ok(Evaluation::new(at, package.labels.len(), subjects.collect::<Result<_>>()?))
}

/// A subject's scores in both protocols.
fn scores(subject: &Subject, labels: &[u8], package: &Manifest, margin: usize) -> SubjectScores {
    let [width, height, slices] = subject.geometry.size;
    let plane = width * height;
    let kept = near_label(&subject.labels, plane, margin);
    let within = |range: &Range<usize>| -> Vec<Score> {
        let voxels = range.start * plane..range.end * plane;
        let mut geometry = subject.geometry;
        geometry.size[2] = range.len();
        let (labels, truth) = (&labels[voxels.clone()], &subject.labels[voxels]);
        package.labels.iter().map(|l| Score::of(labels, truth, l.value, &geometry, true)).collect()
    };
    let whole = within(&(0..slices));
    let cropped = if kept.len() == slices { whole.clone() } else { within(&kept) };
    let by_slice = |value| evaluate::by_slice(labels, &subject.labels, value, plane);
    SubjectScores {
        subject: subject.name.clone(),
        slices,
        cropped_slices: kept.len(),
        whole,
        cropped,
        slice_dice: package.labels.iter().map(|label| by_slice(label.value)).collect(),
    }
}

/// The slices that have any label, and `margin` on either side; all where there is none.
fn near_label(truth: &[u8], plane: usize, margin: usize) -> Range<usize> {
    let slices = truth.len() / plane;
    let has = |slice: &[u8]| slice.iter().any(|&v| v > 0);
    let first = truth.chunks_exact(plane).position(has).unwrap_or(0);
    let last = truth.chunks_exact(plane).rposition(has).unwrap_or(slices.saturating_sub(1));
    first.saturating_sub(margin)..(last + 1 + margin).min(slices)
}

#[cfg(test)]
mod tests {
    use monet::package::Fit;
    use monet::volume::{Affine, Geometry};

    use super::*;
    use crate::preset;

    #[test]
    fn slices_near_the_label_are_kept() {
        let mut truth = vec![0; 2 * 10];
        truth[2 * 4] = 1;
        truth[2 * 5 + 1] = 2;
        assert_eq!(near_label(&truth, 2, 0), 4..6);
        assert_eq!(near_label(&truth, 2, 3), 1..9);
        assert_eq!(near_label(&truth, 2, 16), 0..10);
        assert_eq!(near_label(&[0; 20], 2, 1), 0..10);
    }

    /// What a network finds far from the label spoils the whole volume's scores and not the cropped
    /// ones.
    #[test]
    fn the_crop_hides_what_is_found_far_away() {
        let package = preset::manifest("sarcoma").unwrap();
        let geometry = Geometry::new(
            [4, 4, 60],
            Affine([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]),
        );
        let mut truth = vec![0; 16 * 60];
        truth[16 * 30 + 5] = 1;
        let mut found = truth.clone();
        found[16 * 59 + 5] = 1;
        let subject = Subject {
            name: "s".into(),
            geometry,
            fit: Fit::new(&package, 1, monet::Size::new(4, 4), [1.0, 1.0]).unwrap(),
            net: tch::Tensor::new(),
            neighbours: 0,
            net_labels: vec![],
            labels: truth,
        };
        let scores = scores(&subject, &found, &package, MARGIN);
        assert_eq!((scores.slices, scores.cropped_slices), (60, 33));
        assert_eq!(scores.whole[0].dice, Some(2.0 / 3.0));
        assert_eq!(scores.whole[0].hausdorff, Some(58.0));
        assert_eq!(scores.cropped[0].dice, Some(1.0));
        assert_eq!(scores.cropped[0].hausdorff, Some(0.0));
        // One slice hit, one found where there is nothing.
        assert_eq!(scores.slice_dice, [[1.0, 0.0]]);
    }
}
