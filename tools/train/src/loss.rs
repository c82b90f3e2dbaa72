//! The loss: cross-entropy plus one minus the soft Dice.

use tch::{Kind, Tensor};

/// Keeps the soft Dice of an absent class defined.
const SMOOTH: f64 = 1.0;

/// Loss of logits `[n, classes, h, w]` against the probability of each label `[n, labels, h, w]`, 1 or 0 where it is certain: binary
/// cross-entropy for one class, cross-entropy over channels for several (background is what the labels leave), plus `1 - Dice`
/// averaged over the labels, each Dice over the whole batch.
pub fn loss(logits: &Tensor, truth: &Tensor) -> Tensor {
    let labels = truth.size()[1];
    let (entropy, foreground) = if logits.size()[1] == 1 {
        let entropy =
            logits.binary_cross_entropy_with_logits::<Tensor>(truth, None, None, tch::Reduction::Mean);
        (entropy, logits.sigmoid())
    } else {
        // Rounded probabilities may add up to a little more than 1.
        let background = (truth.sum_dim_intlist(1, true, Kind::Float) * -1.0 + 1.0).clamp_min(0.0);
        let all = Tensor::cat(&[&background, truth], 1);
        let entropy = logits.cross_entropy_loss::<Tensor>(&all, None, tch::Reduction::Mean, -100, 0.0);
        (entropy, logits.softmax(1, Kind::Float).narrow(1, 1, labels))
    };
    let sum = |t: &Tensor| t.sum_dim_intlist([0i64, 2, 3].as_slice(), false, Kind::Float);
    let overlap = sum(&(&foreground * truth));
    let dice = (overlap * 2.0 + SMOOTH) / (sum(&foreground) + sum(truth) + SMOOTH);
    entropy + (dice * -1.0 + 1.0).mean(Kind::Float)
}

/// Labels `[n, h, w]` (int64) of a net of so many classes, as certain probabilities `[n, labels, h, w]`.
pub fn truth(labels: &Tensor, classes: i64) -> Tensor {
    let classes = classes.max(2);
    labels.one_hot(classes).permute([0, 3, 1, 2]).narrow(1, 1, classes - 1).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_perfect_prediction_costs_nothing_and_a_wrong_one_does() {
        for classes in [1, 3] {
            let labels = Tensor::randint(classes.max(2), [2, 6, 5], (Kind::Int64, Device::Cpu));
            let hot = if classes == 1 {
                labels.unsqueeze(1)
            } else {
                labels.one_hot(classes).permute([0, 3, 1, 2])
            };
            let logits = (hot.to_kind(Kind::Float) * 2.0 - 1.0) * 50.0;
            assert!(loss(&logits, &truth(&labels, classes)).double_value(&[]) < 1e-3);
            assert!(loss(&(logits * -1.0), &truth(&labels, classes)).double_value(&[]) > 1.0);
        }
    }

    #[test]
    fn an_uncertain_truth_costs_least_where_the_net_is_as_uncertain() {
        let truth = Tensor::full([1, 2, 8, 8], 0.3, (Kind::Float, Device::Cpu));
        let entropy_of = |p: [f64; 3]| {
            let logits: Vec<Tensor> = p.iter().map(|p| truth.narrow(1, 0, 1).full_like(p.ln())).collect();
            loss(&Tensor::cat(&logits, 1), &truth).double_value(&[])
        };
        // Soft Dice alone would rather have the foreground larger; where the background is alike, all is even.
        assert!(entropy_of([0.4, 0.3, 0.3]) < entropy_of([0.4, 0.5, 0.1]));
        assert!(entropy_of([0.4, 0.3, 0.3]) < entropy_of([0.8, 0.1, 0.1]));
    }
}
