//! Packages beside the first one: paired differences over subjects, and what each loses from the
//! split to the independent set.

use serde::Serialize;

use super::scores::{self, Evaluation, METRICS, Metric, Protocol};
use super::statistics::{interval, mean_of, of_mean, wilcoxon};

/// Two packages on the same subjects, in one figure of merit of one label, whole volumes.
#[derive(Debug, Serialize)]
pub(super) struct Paired {
    /// Indices into the report's cohorts, models and labels.
    pub(super) cohort: usize,
    /// Compared with the first model.
    pub(super) model: usize,
    pub(super) label: usize,
    pub(super) metric: &'static str,
    /// Subjects for which both are defined.
    pub(super) pairs: usize,
    /// Mean of this package's value less the first one's.
    pub(super) difference: f64,
    /// 95 %, by bootstrap over subjects.
    pub(super) interval: Option<[f64; 2]>,
    /// Wilcoxon's signed ranks, two-sided; `None` where no pair differs.
    pub(super) p: Option<f64>,
}

/// Mean Dice on the split less that on the independent set.
#[derive(Debug, Serialize)]
pub(super) struct Loss {
    /// Indices into the report's models and labels.
    pub(super) model: usize,
    pub(super) label: usize,
    pub(super) loss: f64,
    /// 95 %, by bootstrap over the subjects of both.
    pub(super) interval: Option<[f64; 2]>,
    /// The loss less the first package's; `None` for that one.
    pub(super) beyond_first: Option<f64>,
    /// Of that, with both packages on the same subjects drawn.
    pub(super) beyond_interval: Option<[f64; 2]>,
}

/// Values of a label on whole volumes, subject by subject.
fn values(evaluation: &Evaluation, label: usize, metric: &Metric) -> Vec<Option<f64>> {
    scores::values(&evaluation.subjects, Protocol::Whole, label, metric)
}

/// Every package beside the first, on each cohort.
pub(super) fn paired(evaluations: &[Evaluation], labels: usize) -> Vec<Paired> {
    let mut found = Vec::new();
    for other in evaluations.iter().filter(|e| e.model > 0) {
        let first = evaluations.iter().find(|e| e.model == 0 && e.cohort == other.cohort);
        let Some(first) = first else { continue };
        for label in 0..labels {
            for metric in &METRICS {
                let (a, b) = (values(first, label, metric), values(other, label, metric));
                let pairs = a.into_iter().zip(b);
                let differences: Vec<f64> = pairs.filter_map(|(a, b)| Some(b? - a?)).collect();
                let n = differences.len();
                if n == 0 {
                    continue;
                }
                found.push(Paired {
                    cohort: other.cohort,
                    model: other.model,
                    label,
                    metric: metric.key,
                    pairs: n,
                    difference: differences.iter().sum::<f64>() / n as f64,
                    interval: of_mean(&differences),
                    p: wilcoxon(&differences),
                });
            }
        }
    }
    found
}

/// What each package loses from the first cohort to the second; nothing where there is none.
pub(super) fn losses(evaluations: &[Evaluation], models: usize, labels: usize) -> Vec<Loss> {
    let [dice, ..] = &METRICS;
    let of = |cohort: usize, model: usize, label: usize| {
        let evaluation = evaluations.iter().find(|e| (e.cohort, e.model) == (cohort, model))?;
        Some(values(evaluation, label, dice))
    };
    let mut found = Vec::new();
    for model in 0..models {
        for label in 0..labels {
            let sets = [(0, model), (1, model), (0, 0), (1, 0)].map(|(c, m)| of(c, m, label));
            let [Some(own), Some(own_far), Some(first), Some(first_far)] = sets else { continue };
            // Subjects for which both packages have a value, so that drawing them draws both.
            let both = |a: Vec<Option<f64>>, b: Vec<Option<f64>>| -> (Vec<f64>, Vec<f64>) {
                a.into_iter().zip(b).filter_map(|(a, b)| a.zip(b)).unzip()
            };
            let ((near, first_near), (far, first_far)) =
                (both(own, first), both(own_far, first_far));
            let sizes = [near.len(), far.len()];
            if sizes.contains(&0) {
                continue;
            }
            let all = sizes.map(|n| (0..n).collect::<Vec<_>>());
            let loss = |d: &[Vec<usize>]| mean_of(&near, &d[0]) - mean_of(&far, &d[1]);
            let beyond = |d: &[Vec<usize>]| {
                loss(d) - (mean_of(&first_near, &d[0]) - mean_of(&first_far, &d[1]))
            };
            let other = model > 0;
            found.push(Loss {
                model,
                label,
                loss: loss(&all),
                interval: interval(&sizes, |d| Some(loss(d))),
                beyond_first: other.then(|| beyond(&all)),
                beyond_interval: other.then(|| interval(&sizes, |d| Some(beyond(d)))).flatten(),
            });
        }
    }
    found
}
