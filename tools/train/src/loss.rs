//! The loss: cross-entropy plus one minus the soft Dice.
//!
//! Where there are teachers, the cross-entropy is taken against a mixture of their probabilities
//! and the labels; the soft Dice, whose optimum is at labels alone, always against the labels.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// What a soft Dice is taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// All slices of a step together
    #[default]
    Batch,
    /// Each slice by itself, for slices that are scored one by one: a small label counts as much as
    /// a large one
    Slice,
}

/// Keeps the soft Dice of an absent class defined.
const SMOOTH: f64 = 1.0;

/// Loss of logits `[n, classes, h, w]` against labels `[n, h, w]` (int64): binary cross-entropy for
/// one class, cross-entropy over channels for several, plus `1 - Dice` averaged over the classes
/// but the background and, where each Dice is `over` a slice, over the slices. `taught` is what
/// teachers say, as probabilities of the logits' shape, and their part of the cross-entropy, 0 to
/// 1.
pub fn loss(
    logits: &Tensor,
    labels: &Tensor,
    over: Over,
    taught: Option<(&Tensor, f64)>,
) -> Tensor {
    let classes = logits.size()[1];
    let mixed = |truth: &Tensor| match taught {
        Some((says, part)) => truth * (1.0 - part) + says * part,
        None => truth.shallow_clone(),
    };
    let (entropy, foreground, truth) = if classes == 1 {
        let truth = labels.unsqueeze(1).to_kind(Kind::Float);
        let entropy = logits.binary_cross_entropy_with_logits::<Tensor>(
            &mixed(&truth),
            None,
            None,
            tch::Reduction::Mean,
        );
        (entropy, logits.sigmoid(), truth)
    } else {
        let truth = labels.one_hot(classes).permute([0, 3, 1, 2]).to_kind(Kind::Float);
        let target = if taught.is_some() { mixed(&truth) } else { labels.shallow_clone() };
        let entropy =
            logits.cross_entropy_loss::<Tensor>(&target, None, tch::Reduction::Mean, -100, 0.0);
        let rest = |t: &Tensor| t.narrow(1, 1, classes - 1);
        (entropy, rest(&logits.softmax(1, Kind::Float)), rest(&truth))
    };
    let axes: &[i64] = match over {
        Over::Batch => &[0, 2, 3],
        Over::Slice => &[2, 3],
    };
    let sum = |t: Tensor| t.sum_dim_intlist(axes, false, Kind::Float);
    let overlap = sum(&foreground * &truth);
    let dice = (overlap * 2.0 + SMOOTH) / (sum(foreground) + sum(truth) + SMOOTH);
    entropy + (dice * -1.0 + 1.0).mean(Kind::Float)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_perfect_prediction_costs_nothing_and_a_wrong_one_does() {
        for classes in [1, 3] {
            let most = classes.max(2);
            let labels = Tensor::randint(most, [2, 6, 5], (Kind::Int64, Device::Cpu));
            let hot = if classes == 1 {
                labels.unsqueeze(1)
            } else {
                labels.one_hot(classes).permute([0, 3, 1, 2])
            };
            let logits = (hot.to_kind(Kind::Float) * 2.0 - 1.0) * 50.0;
            for over in [Over::Batch, Over::Slice] {
                assert!(loss(&logits, &labels, over, None).double_value(&[]) < 1e-3);
                assert!(loss(&(&logits * -1.0), &labels, over, None).double_value(&[]) > 1.0);
            }
        }
    }

    #[test]
    fn a_small_label_that_is_missed_costs_its_slice_or_its_few_pixels() {
        let labels = Tensor::zeros([2, 8, 8], (Kind::Int64, Device::Cpu));
        let _ = labels.get(0).fill_(1);
        let _ = labels.get(1).narrow(0, 0, 1).narrow(1, 0, 4).fill_(1);
        let logits = labels.unsqueeze(1).to_kind(Kind::Float) * 100.0 - 50.0;
        let _ = logits.get(1).fill_(-50.0);
        let entropy = 50.0 * 4.0 / 128.0;
        let dice = |over| loss(&logits, &labels, over, None).double_value(&[]) - entropy;
        // Found: 64 of 68 pixels together; all of the first slice's, none of the second's 4.
        assert!((dice(Over::Batch) - (1.0 - 129.0 / 133.0)).abs() < 1e-4);
        assert!((dice(Over::Slice) - (1.0 - 1.0 / 5.0) / 2.0).abs() < 1e-4);
    }

    #[test]
    fn a_teacher_who_says_the_labels_changes_nothing_and_one_in_doubt_takes_its_part() {
        for classes in [1, 3] {
            let labels = Tensor::randint(classes.max(2), [2, 6, 5], (Kind::Int64, Device::Cpu));
            let logits = Tensor::randn([2, classes, 6, 5], (Kind::Float, Device::Cpu));
            let hot = match classes {
                1 => labels.unsqueeze(1),
                _ => labels.one_hot(classes).permute([0, 3, 1, 2]),
            };
            let hot = hot.to_kind(Kind::Float);
            let value = |says: &Tensor, part| {
                loss(&logits, &labels, Over::Batch, Some((says, part))).double_value(&[])
            };
            let alone = loss(&logits, &labels, Over::Batch, None).double_value(&[]);
            assert!((value(&hot, 0.7) - alone).abs() < 1e-5, "{classes}");
            // The loss is linear in the part.
            let doubt = crate::net::probabilities(&(&logits * 0.5));
            let [none, half, all] = [0.0, 0.5, 1.0].map(|part| value(&doubt, part));
            assert!((none - alone).abs() < 1e-5 && (half - (none + all) / 2.0).abs() < 1e-5);
            assert!((all - none).abs() > 1e-3, "{classes}: {all} {none}");
        }
    }
}
