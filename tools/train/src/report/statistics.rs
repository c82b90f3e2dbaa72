//! What differences between packages are worth: intervals by bootstrap over subjects (Efron 1979)
//! and Wilcoxon's signed-rank test (1945).

use monet::measure::percentile;

use crate::random::Random;

/// Times that subjects are drawn anew.
pub(super) const DRAWS: usize = 10_000;

/// Part of the draws that an interval holds.
const HELD: f64 = 0.95;

/// Most pairs whose ranks are gone through exactly.
const EXACT: usize = 200;

/// 95 % interval of a figure over subjects drawn with replacement from each group, as percentiles
/// of [`DRAWS`] draws. The figure sees the numbers drawn in each group. `None` where a group has
/// fewer than two subjects, or the figure is undefined in a draw.
pub(super) fn interval(
    groups: &[usize],
    figure: impl Fn(&[Vec<usize>]) -> Option<f64>,
) -> Option<[f64; 2]> {
    if groups.iter().any(|&n| n < 2) {
        return None;
    }
    let mut random = Random::of(0, 0);
    let mut draw = || -> Option<f64> {
        let drawn: Vec<Vec<usize>> =
            groups.iter().map(|&n| (0..n).map(|_| random.below(n)).collect()).collect();
        figure(&drawn)
    };
    let mut found = (0..DRAWS).map(|_| draw()).collect::<Option<Vec<f64>>>()?;
    found.sort_by(f64::total_cmp);
    Some([(1.0 - HELD) / 2.0, (1.0 + HELD) / 2.0].map(|part| percentile(&found, part)))
}

/// [`interval`] of the values' mean.
pub(super) fn of_mean(values: &[f64]) -> Option<[f64; 2]> {
    interval(&[values.len()], |drawn| Some(mean_of(values, &drawn[0])))
}

/// Mean of the values with these numbers.
pub(super) fn mean_of(values: &[f64], numbers: &[usize]) -> f64 {
    numbers.iter().map(|&i| values[i]).sum::<f64>() / numbers.len().max(1) as f64
}

/// How likely differences of pairs lie as far to one side, or farther, if the sign of each is
/// chance: two-sided, differences of 0 left out, equal ones with their mean rank. Exact up to 200
/// pairs, beyond by the normal approximation with both corrections. `None` where no pair differs.
pub(super) fn wilcoxon(differences: &[f64]) -> Option<f64> {
    let mut pairs: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    if pairs.is_empty() {
        return None;
    }
    pairs.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the rank, so that ties have whole numbers, too.
    let mut ranks = Vec::with_capacity(pairs.len());
    let mut tied = 0.0;
    for group in pairs.chunk_by(|a, b| a.abs() == b.abs()) {
        let n = group.len();
        let twice = 2 * ranks.len() + n + 1;
        ranks.extend(std::iter::repeat_n(twice, n));
        tied += (n * n * n - n) as f64;
    }
    let total: usize = ranks.iter().sum();
    let up: usize = pairs.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, r)| r).sum();
    let least = up.min(total - up);
    if pairs.len() > EXACT {
        return Some(normal(least, pairs.len(), tied));
    }
    // Part of all choices of signs whose ranks come to each sum.
    let mut parts = vec![0.0; total + 1];
    parts[0] = 1.0;
    let mut reach = 0;
    for &rank in &ranks {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= rank { parts[sum - rank] } else { 0.0 };
            parts[sum] = (parts[sum] + with) / 2.0;
        }
    }
    Some((2.0 * parts[..=least].iter().sum::<f64>()).min(1.0))
}

/// From twice the lesser sum of ranks, by the normal distribution.
fn normal(least: usize, pairs: usize, tied: f64) -> f64 {
    let n = pairs as f64;
    let (mean, sum) = (n * (n + 1.0) / 4.0, least as f64 / 2.0);
    let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - tied / 48.0).sqrt();
    let z = ((mean - sum - 0.5) / deviation).max(0.0);
    (2.0 * upper(z)).min(1.0)
}

/// Part of the normal distribution above `z`, 0 or more (Abramowitz and Stegun 26.2.17, within
/// 7.5e-8).
fn upper(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let parts = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let series = parts.iter().fold(0.0, |sum, part| (sum + part) * t);
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against SciPy 1.15, `scipy.stats.wilcoxon(..., mode="exact")`, and all 256 signs gone
    /// through where values tie.
    #[test]
    fn the_test_finds_what_others_find() {
        let p = |values: &[f64]| wilcoxon(values).unwrap();
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
        close(p(&[0.1, -0.05, 0.2, 0.15, -0.02, 0.3, 0.12, 0.07]), 0.039_062_5);
        let whole: Vec<f64> = [1, 2, -3, 4, 5, 6, -7, 8, 9, 10, 11, 12].map(f64::from).to_vec();
        close(p(&whole), 0.020_996_093_75);
        let tied: Vec<f64> = [1, 1, -1, 2, 2, 3, -3, 4, 0, 0].map(f64::from).to_vec();
        close(p(&tied), 0.242_187_5);
        close(p(&[1.0, -1.0]), 1.0);
        close(p(&[2.0]), 1.0);
        assert_eq!(wilcoxon(&[0.0, 0.0]), None);
    }

    #[test]
    fn many_pairs_are_judged_as_few() {
        let values = |n: u32| -> Vec<f64> {
            (1..=n).map(|i| f64::from(i) * if i % 3 == 0 { -1.0 } else { 1.0 }).collect()
        };
        let pairs = values(40);
        let exact = wilcoxon(&pairs).unwrap();
        let up: u32 = (1..=40).filter(|i| i % 3 != 0).sum();
        let near = normal(2 * (820 - up as usize), 40, 0.0);
        assert!((exact - near).abs() < 0.002, "{exact} {near}");
        // Two thirds of the ranks on one side, of many.
        assert!(wilcoxon(&values(300)).unwrap() < 1e-5);
        assert!((upper(1.959_963_985) - 0.025).abs() < 1e-7);
    }

    #[test]
    fn an_interval_holds_the_mean_as_often_as_it_says() {
        let mut random = Random::of(5, 5);
        let mut held = 0;
        for _ in 0..40 {
            let values =
                Vec::<f64>::try_from(random.normal(&[30]).to_kind(tch::Kind::Double)).unwrap();
            let [low, high] = of_mean(&values).unwrap();
            // ± 1.96 / √30.
            assert!((high - low - 0.716).abs() < 0.3, "{low} {high}");
            held += usize::from(low < 0.0 && 0.0 < high);
        }
        assert!(held >= 33, "{held} of 40");
        assert_eq!(interval(&[1], |_| Some(0.0)), None);
        assert_eq!(interval(&[4], |_| None), None);
        // A constant has no spread, and a second group is drawn apart.
        assert_eq!(interval(&[3, 2], |d| Some((d[0].len() + d[1].len()) as f64)), Some([5.0, 5.0]));
    }
}
