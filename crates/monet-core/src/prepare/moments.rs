//! Mean and deviation of voxels.

use super::doubt::{Doubt, SHARED, Side, shared};
use super::normalise::Map;
use super::sqrt::sqrt;

/// Voxels that are fewer than this part of all are few: if they set a deviation, they are outliers.
const FEW: f64 = 0.01;

/// Running mean and sum of squared deviations (Welford 1962), which stays exact where plain sums of
/// squares cancel; and how many voxels have the least and the most value.
#[derive(Debug, Default)]
pub(super) struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    ends: Option<[(f32, u64); 2]>,
}

impl Moments {
    pub(super) fn add(&mut self, x: f32) {
        self.count += 1;
        let delta = f64::from(x) - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (f64::from(x) - self.mean);
        let [least, most] = self.ends.get_or_insert([(x, 0); 2]);
        let beyond = [x < least.0, x > most.0];
        for (end, beyond) in [least, most].into_iter().zip(beyond) {
            if beyond {
                *end = (x, 0);
            }
            end.1 += u64::from(end.0 == x);
        }
    }

    /// Doubts a deviation of nought, or one that the few voxels of the least or the most value
    /// make.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        let ends = self.ends?;
        if self.map(1.0).is_flat() {
            return Some(Doubt::NoDeviation { value: ends[0].0 });
        }
        let n = self.count as f64;
        let around = |mean: f64, squares: f64, n: f64| {
            let deviation = sqrt(squares.max(0.0) / n);
            [mean - deviation, mean + deviation]
        };
        let window = around(self.mean, self.squares, n);
        let sides = [(Side::UpTo, ends[0]), (Side::From, ends[1])];
        sides.into_iter().find_map(|(which, (value, count))| {
            let (count, delta) = (count as f64, f64::from(value) - self.mean);
            let rest = n - count;
            let without = around(
                self.mean - delta * count / rest,
                self.squares - delta * delta * count * n / rest,
                rest,
            );
            (count < FEW * n && shared(window, without) < SHARED).then(|| Doubt::Few {
                share: count / n,
                which,
                value,
                window: window.map(|v| v as f32),
                without: without.map(|v| v as f32),
            })
        })
    }

    pub(super) fn map(&self, clip: f32) -> Map {
        let scale = 1.0 / sqrt(self.squares / self.count.max(1) as f64);
        Map::new(self.mean as f32, scale, [-clip, clip])
    }
}
