//! Scores on whole volumes: labels brought back to the subject's own grid, then Dice and Hausdorff
//! distances per label; for data whose slices are images of their own, Dice per slice beside them.

use anyhow::Result;
use monet::measure;
use monet::package::{Manifest, Output, pieces};
use monet::volume::Geometry;
use serde::Serialize;
use tch::{Device, Kind, Tensor, no_grad};

use crate::dataset::Subject;
use crate::net;

/// One label's scores in one subject; `None` where undefined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Overlap, 0 to 1.
    pub dice: Option<f64>,
    /// Largest of the surface distances, mm.
    #[serde(rename = "hausdorff_mm")]
    pub hausdorff: Option<f64>,
    /// 95th percentile of surface distances, mm.
    #[serde(rename = "hd95_mm")]
    pub hd95: Option<f64>,
}

impl Score {
    /// Of one label in two volumes; distances only when wanted, since they take longer than the
    /// network.
    #[must_use]
    pub fn of(
        labels: &[u8],
        truth: &[u8],
        value: u8,
        geometry: &Geometry,
        distances: bool,
    ) -> Self {
        let distance =
            distances.then(|| measure::hausdorff(labels, truth, value, geometry)).flatten();
        Self {
            dice: measure::dice(labels, truth, value),
            hausdorff: distance.map(|d| d.max),
            hd95: distance.map(|d| d.p95),
        }
    }
}

/// Dice of a label in each slice of a subject in which it was drawn or found.
#[must_use]
pub fn by_slice(labels: &[u8], truth: &[u8], value: u8, pixels: usize) -> Vec<f64> {
    let slices = labels.chunks_exact(pixels).zip(truth.chunks_exact(pixels));
    slices.filter_map(|(labels, truth)| measure::dice(labels, truth, value)).collect()
}

/// Mean and standard deviation over the subjects for which a score is defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Mean; 0 where no subject counts.
    pub mean: f64,
    /// Standard deviation (of the sample: n - 1).
    pub std: f64,
    /// Subjects that count.
    pub count: usize,
}

/// A network as seen from here: a batch of slices `[n, channels, h, w]` to logits.
pub type Predict<'a> = dyn Fn(&Tensor) -> Result<Tensor> + 'a;

/// Labels of a whole subject in its own grid, slices × height × width, as the device gives them: of
/// labels that are limited to it, the largest piece.
///
/// # Errors
/// Those of `predict`.
pub fn segment(
    subject: &Subject,
    package: &Manifest,
    device: Device,
    predict: &Predict,
) -> Result<Vec<u8>> {
    let net_plane = subject.net_size().area();
    let threshold = threshold(package);
    let size = subject.geometry.slice_size();
    let mut labels = vec![0; subject.labels.len()];
    let mut slices = labels.chunks_exact_mut(size.area());
    for x in subject.batches(device) {
        let y = no_grad(|| predict(&x))?;
        let net_labels = Vec::<u8>::try_from(
            net::labels(&y, threshold).to_kind(Kind::Uint8).flatten(0, -1).to_device(Device::Cpu),
        )?;
        for (from, to) in net_labels.chunks_exact(net_plane).zip(&mut slices) {
            subject.fit.restore(from, to)?;
        }
    }
    pieces::keep_largest(&mut labels, size, &package.largest())?;
    Ok(labels)
}

/// Probability above which a single label counts; unused where there are several.
#[must_use]
pub fn threshold(package: &Manifest) -> f64 {
    match package.output {
        Output::Sigmoid { threshold } => f64::from(threshold),
        Output::Argmax => 0.5,
    }
}

/// Scores of each subject and label; see [`Score::of`].
///
/// # Errors
/// Those of `predict`.
pub fn scores<'a>(
    subjects: impl IntoIterator<Item = &'a Subject>,
    package: &Manifest,
    device: Device,
    distances: bool,
    predict: &Predict,
) -> Result<Vec<Vec<Score>>> {
    let all = subjects.into_iter().map(|subject| {
        let labels = segment(subject, package, device, predict)?;
        Ok(of_subject(subject, package, &labels, distances))
    });
    all.collect()
}

/// Scores of each label of a subject that was segmented.
#[must_use]
pub fn of_subject(
    subject: &Subject,
    package: &Manifest,
    labels: &[u8],
    distances: bool,
) -> Vec<Score> {
    let score = |value| Score::of(labels, &subject.labels, value, &subject.geometry, distances);
    package.labels.iter().map(|label| score(label.value)).collect()
}

/// Mean and deviation of one score of one label.
#[must_use]
pub fn summary(
    scores: &[Vec<Score>],
    label: usize,
    value: impl Fn(&Score) -> Option<f64>,
) -> Summary {
    let values: Vec<f64> = scores.iter().filter_map(|s| value(&s[label])).collect();
    Summary::of(&values)
}

impl Summary {
    /// Of these values.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Self { mean, std: (squares / count.saturating_sub(1).max(1) as f64).sqrt(), count }
    }
}

/// Mean Dice of each label.
#[must_use]
pub fn dice(scores: &[Vec<Score>], package: &Manifest) -> Vec<f64> {
    (0..package.labels.len()).map(|label| summary(scores, label, |s| s.dice).mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dataset, preset};

    #[test]
    fn a_slice_counts_where_the_label_was_drawn_or_found() {
        // Four slices of two pixels: hit, missed, found where there is none, nothing at all.
        let (labels, truth) = ([1, 0, 0, 0, 0, 1, 2, 0], [1, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(by_slice(&labels, &truth, 1, 2), [2.0 / 3.0, 0.0, 0.0]);
        assert_eq!(by_slice(&labels, &truth, 3, 2), [] as [f64; 0]);
        let summary = Summary::of(&[0.0, 1.0]);
        assert_eq!((summary.mean, summary.std, summary.count), (0.5, 0.5f64.sqrt(), 2));
    }

    #[test]
    fn what_is_scored_is_what_the_device_keeps() {
        let mut package = preset::manifest("hippocampus").unwrap();
        package.input.neighbours = 0;
        // Slices show their labels: a large piece and a small one of each of two.
        let mut shown = vec![0u8; 2 * 48 * 48];
        for (at, value) in
            [(0..9, 1), (20..22, 1), (48..60, 2), (200..201, 2), (48 * 48..48 * 48 + 9, 1)]
        {
            shown[at].fill(value);
        }
        let net = Tensor::from_slice(&shown).to_kind(Kind::Float).reshape([2, 1, 48, 48]);
        let subject = dataset::tests::subject(&package, net, 1);
        let logits =
            |x: &Tensor| Ok(x.squeeze_dim(1).to_kind(Kind::Int64).one_hot(3).permute([0, 3, 1, 2]));
        assert!(segment(&subject, &package, Device::Cpu, &logits).unwrap() == shown);
        package.labels[0].largest = true;
        shown[20..22].fill(0);
        assert!(segment(&subject, &package, Device::Cpu, &logits).unwrap() == shown);
        package.labels[1].largest = true;
        shown[200] = 0;
        assert!(segment(&subject, &package, Device::Cpu, &logits).unwrap() == shown);
    }
}
