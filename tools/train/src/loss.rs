//! The loss: cross-entropy plus one minus the soft Dice.
//!
//! Where there are teachers, the cross-entropy is taken against a mixture of their probabilities
//! and the labels; the soft Dice, whose optimum is at labels alone, always against the labels.

use tch::{Kind, Tensor};

/// Keeps the soft Dice of an absent class defined.
const SMOOTH: f64 = 1.0;

/// Loss of logits `[n, classes, h, w]` against labels `[n, h, w]` (int64): binary cross-entropy for
/// one class, cross-entropy over channels for several, plus `1 - Dice` averaged over the classes
/// but the background, each Dice over the whole batch. `taught` is what teachers say, as
/// probabilities of the logits' shape, and their part of the cross-entropy, 0 to 1.
pub fn loss(logits: &Tensor, labels: &Tensor, taught: Option<(&Tensor, f64)>) -> Tensor {
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
    let sum = |t: Tensor| t.sum_dim_intlist([0i64, 2, 3].as_slice(), false, Kind::Float);
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
            assert!(loss(&logits, &labels, None).double_value(&[]) < 1e-3);
            assert!(loss(&(logits * -1.0), &labels, None).double_value(&[]) > 1.0);
        }
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
            let value =
                |says: &Tensor, part| loss(&logits, &labels, Some((says, part))).double_value(&[]);
            let alone = loss(&logits, &labels, None).double_value(&[]);
            assert!((value(&hot, 0.7) - alone).abs() < 1e-5, "{classes}");
            // The loss is linear in the part.
            let doubt = crate::net::probabilities(&(&logits * 0.5));
            let [none, half, all] = [0.0, 0.5, 1.0].map(|part| value(&doubt, part));
            assert!((none - alone).abs() < 1e-5 && (half - (none + all) / 2.0).abs() < 1e-5);
            assert!((all - none).abs() > 1e-3, "{classes}: {all} {none}");
        }
    }
}
