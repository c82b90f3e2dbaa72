//! Overlap of two label volumes.

/// Dice coefficient `2·|P ∩ T| / (|P| + |T|)` of one label (Dice 1945), between 0 and 1; `None`
/// where neither volume has the label, since the quotient is then undefined.
///
/// # Panics
/// When the volumes differ in length.
///
/// ```
/// assert_eq!(monet::measure::dice(&[1u8, 1, 0, 2], &[1, 0, 0, 2], 1), Some(2.0 / 3.0));
/// assert_eq!(monet::measure::dice(&[0u8, 2], &[0, 2], 1), None);
/// ```
#[must_use]
pub fn dice<L: Copy + PartialEq>(pred: &[L], truth: &[L], label: L) -> Option<f64> {
    assert_eq!(pred.len(), truth.len(), "label volumes of different size");
    let (mut both, mut either) = (0, 0);
    for (&p, &t) in pred.iter().zip(truth) {
        both += u64::from(p == label && t == label);
        either += u64::from(p == label) + u64::from(t == label);
    }
    dice_of(both, either)
}

/// Dice of a label that `both` voxels have in both volumes and `either` in the one plus in the
/// other.
pub(super) fn dice_of(both: u64, either: u64) -> Option<f64> {
    (either > 0).then(|| 2.0 * both as f64 / either as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::dice;

    proptest! {
        #[test]
        fn it_is_symmetric_within_nought_and_one_and_one_on_itself(
            pairs in prop::collection::vec((0u8..3, 0u8..3), 1..200)
        ) {
            let (pred, truth): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
            let score = dice(&pred, &truth, 1);
            prop_assert_eq!(score, dice(&truth, &pred, 1));
            prop_assert_eq!(score.is_some(), pred.contains(&1) || truth.contains(&1));
            prop_assert!(score.is_none_or(|s| (0.0..=1.0).contains(&s)));
            prop_assert_eq!(dice(&pred, &pred, 1), pred.contains(&1).then_some(1.0));
        }
    }
}
