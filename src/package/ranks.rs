//! Percentiles of all voxels of a volume, exactly and in bounded memory, in one to four streaming
//! passes.
//!
//! Whole numbers of 16 bits are counted value by value in one pass. Others are selected by the
//! ordered bit patterns of floats, high half then low half (a radix selection); where the most
//! frequent value is to be left out, a pass between the two counts those values that may be it.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use super::doubt::{Doubt, SHARED, Side, shared};

/// Values of one half of the ordered bits, and those of an `i16`.
const HALF: usize = 1 << 16;

/// A value is the background if more than one in so many voxels have it, and none is more frequent.
const BACKGROUND_SHARE: u64 = 128;

/// Between the ends of a window, counted by high halves, must lie so many for a doubt: two apart
/// may be neighbours.
const COARSE: usize = 4;

/// Selects the values at two percentiles, by nearest rank: the value at position
/// `round(p / 100 · (n - 1))` of the sorted voxels, so that the result is always an intensity of
/// the volume.
#[derive(Debug)]
pub(super) struct Ranks {
    percentiles: [f32; 2],
    counts: Counts,
    /// Whether the most frequent value takes no part.
    foreground: bool,
    /// It, once it is known and as long as something is left without it.
    background: Option<Background>,
}

/// The most frequent value.
#[derive(Debug, Clone, Copy)]
struct Background {
    /// Its ordered bits.
    key: u32,
    /// Where it is counted.
    bin: usize,
    /// Voxels that have it.
    count: u64,
}

/// Of so many voxels in a bin, how many stay.
type Stays<'a> = &'a dyn Fn(usize, u64) -> u64;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    /// The values at the two percentiles.
    pub(super) ends: [f32; 2],
    /// What is doubtful about them.
    pub(super) doubt: Option<Doubt>,
}

#[derive(Debug)]
enum Counts {
    /// First pass, as long as all voxels are whole numbers that an `i16` holds, as those of most
    /// scans: how many have each value. Then it is the only pass.
    Whole(Vec<u64>),
    /// First pass of others: how many voxels have each high half, and values that may be the
    /// background.
    High(Vec<u64>, Frequent),
    /// A pass to count these.
    Candidates(Vec<u64>, HashMap<u32, u64>),
    /// Last pass, per percentile.
    Low(Vec<u64>, [Low; 2]),
}

#[derive(Debug)]
struct Low {
    /// The high half looked for.
    high: u32,
    /// The rank left within it.
    rank: u64,
    /// Of low halves.
    counts: Vec<u64>,
}

impl Ranks {
    /// Percentiles of all voxels, or of those that are not the background.
    pub(super) fn new(percentiles: [f32; 2], foreground: bool) -> Self {
        Self { percentiles, foreground, background: None, counts: Counts::Whole(vec![0; HALF]) }
    }

    pub(super) fn add(&mut self, x: f32) {
        let key = ordered(x);
        match &mut self.counts {
            Counts::Whole(counts) => {
                let whole = x as i16;
                // By bits, since -0.0 is no i16.
                if f32::from(whole).to_bits() == x.to_bits() {
                    counts[bin(whole)] += 1;
                } else {
                    let frequent =
                        if self.foreground { Frequent::of(counts) } else { Frequent::default() };
                    self.counts = Counts::High(high_halves(counts), frequent);
                    self.add(x);
                }
            }
            Counts::High(counts, frequent) => {
                counts[(key >> 16) as usize] += 1;
                if self.foreground {
                    frequent.add(key);
                }
            }
            Counts::Candidates(_, counts) => {
                if let Some(count) = counts.get_mut(&key) {
                    *count += 1;
                }
            }
            Counts::Low(_, lows) => {
                for low in lows.iter_mut().filter(|low| low.high == key >> 16) {
                    low.counts[key as usize % HALF] += 1;
                }
            }
        }
    }

    /// The window, or nothing where a further pass must find it. Without any voxel, 0 to 0.
    pub(super) fn end_pass(&mut self) -> Option<Window> {
        match std::mem::replace(&mut self.counts, Counts::Whole(Vec::new())) {
            Counts::Whole(counts) => Some(self.whole(&counts)),
            Counts::High(counts, frequent) if self.foreground => {
                self.counts = Counts::Candidates(
                    counts,
                    frequent.0.into_keys().map(|key| (key, 0)).collect(),
                );
                None
            }
            Counts::High(counts, _) => self.select(counts),
            Counts::Candidates(counts, candidates) => {
                let all = counts.iter().sum();
                let found = candidates.into_iter().map(|(key, count)| Background {
                    key,
                    bin: (key >> 16) as usize,
                    count,
                });
                self.background = background(found, all);
                self.select(counts)
            }
            Counts::Low(counts, lows) => self.selected(counts, lows),
        }
    }

    /// The ranks of the percentiles among so many voxels.
    fn ranks(&self, voxels: u64) -> [u64; 2] {
        nearest(self.percentiles, voxels)
    }

    fn whole(&mut self, counts: &[u64]) -> Window {
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return Window { ends: [0.0; 2], doubt: None };
        }
        if self.foreground {
            let each = (0..HALF).map(|bin| Background {
                key: ordered(value(bin)),
                bin,
                count: counts[bin],
            });
            self.background = background(each, all);
        }
        let mut found = self.find(counts);
        if found[0].0 == found[1].0 && self.background.take().is_some() {
            found = self.find(counts);
        }
        let ends = found.map(|(bin, _)| bin);
        let within = ends.map(|bin| self.left(counts, bin));
        let doubt = self.doubt(counts, ends, within, ends.map(value), value);
        Window { ends: ends.map(value), doubt }
    }

    /// Begins the last pass.
    fn select(&mut self, counts: Vec<u64>) -> Option<Window> {
        if counts.iter().sum::<u64>() == 0 {
            return Some(Window { ends: [0.0; 2], doubt: None });
        }
        let found = self.find(&counts);
        let low = found.map(|(high, rank)| Low { high: high as u32, rank, counts: vec![0; HALF] });
        self.counts = Counts::Low(counts, low);
        None
    }

    /// Ends the last pass, or begins it again where without the background no width is left.
    fn selected(&mut self, counts: Vec<u64>, mut lows: [Low; 2]) -> Option<Window> {
        for low in &mut lows {
            if let Some(background) = self.background.filter(|it| it.key >> 16 == low.high) {
                low.counts[background.key as usize % HALF] = 0;
            }
        }
        let halves = lows.each_ref().map(|low| find(low.counts.iter().copied(), low.rank).0);
        let ends = [0, 1].map(|i| from_ordered(lows[i].high << 16 | halves[i] as u32));
        if ends[0] == ends[1] && self.background.take().is_some() {
            return self.select(counts);
        }
        // What lies at the ends or beyond, of those with the same high half.
        let within =
            [lows[0].counts[..=halves[0]].iter().sum(), lows[1].counts[halves[1]..].iter().sum()];
        let bins = lows.map(|low| low.high as usize);
        let doubt = self.doubt(&counts, bins, within, ends, |bin| from_ordered((bin as u32) << 16));
        Some(Window { ends, doubt })
    }

    /// Voxels in a bin without the background.
    fn left(&self, counts: &[u64], bin: usize) -> u64 {
        let taken = self.background.filter(|it| it.bin == bin).map_or(0, |it| it.count);
        counts[bin].saturating_sub(taken)
    }

    /// The bins of the two percentiles, and their ranks within them, background apart.
    fn find(&self, counts: &[u64]) -> [(usize, u64); 2] {
        let left = || (0..counts.len()).map(|bin| self.left(counts, bin));
        self.ranks(left().sum::<u64>().max(1)).map(|rank| find(left(), rank))
    }

    /// Doubts a window that has no width, or that changes when those voxels are left out that set
    /// an end of it or, where half of all have nearly one value, these. `ends` are the bins of its
    /// ends, `within` how many voxels of these lie at the end or beyond, `exact` the ends
    /// themselves.
    fn doubt(
        &self,
        counts: &[u64],
        ends: [usize; 2],
        within: [u64; 2],
        exact: [f32; 2],
        value: impl Fn(usize) -> f32,
    ) -> Option<Doubt> {
        if exact[0] == exact[1] {
            return Some(Doubt::SamePercentiles { percentiles: self.percentiles, value: exact[0] });
        }
        // Most bins are empty, and lie outside of these.
        let first = counts.iter().position(|&n| n > 0).unwrap_or(0);
        let last = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
        let each = || (first..=last).map(|bin| (bin, self.left(counts, bin)));
        let all: u64 = each().map(|(_, n)| n).sum();
        let common =
            each().max_by_key(|&(_, n)| n).filter(|(_, n)| 2 * n > all).map(|(bin, _)| bin);
        // Of a bin: how many stay when those up to the low end, from the high end on, or of the
        // common value go.
        let up_to = |bin: usize, n: u64| match bin.cmp(&ends[0]) {
            Ordering::Less => 0,
            Ordering::Equal => n.saturating_sub(within[0]),
            Ordering::Greater => n,
        };
        let from = |bin: usize, n: u64| match bin.cmp(&ends[1]) {
            Ordering::Less => n,
            Ordering::Equal => n.saturating_sub(within[1]),
            Ordering::Greater => 0,
        };
        let at = |bin: usize, n: u64| if Some(bin) == common { 0 } else { n };
        let sides: [(Side, f32, Stays); 3] = [
            (Side::UpTo, exact[0], &up_to),
            (Side::From, exact[1], &from),
            (Side::At, common.map_or(0.0, &value), &at),
        ];
        let window = ends.map(|bin| f64::from(value(bin)));
        sides.into_iter().find_map(|(which, bound, stays)| {
            let rest = || each().map(|(bin, n)| stays(bin, n));
            let left: u64 = rest().sum();
            if left == 0 || left == all {
                return None;
            }
            let without = self.ranks(left).map(|rank| first + find(rest(), rank).0);
            let far = ends[1].saturating_sub(ends[0]) >= COARSE;
            let without = without.map(&value);
            (far && shared(window, without.map(f64::from)) < SHARED).then(|| Doubt::Few {
                share: (all - left) as f64 / all as f64,
                which,
                value: bound,
                window: exact,
                without,
            })
        })
    }
}

/// The ranks, from 0, that lie nearest to percentiles of so many voxels, at least one.
pub(super) fn nearest(percentiles: [f32; 2], voxels: u64) -> [u64; 2] {
    percentiles.map(|p| (f64::from(p) / 100.0 * (voxels - 1) as f64).round() as u64)
}

/// The most frequent of values, if it is frequent enough and not the only one; of equals the one
/// with the lowest key.
fn background(values: impl Iterator<Item = Background>, all: u64) -> Option<Background> {
    let most = values.max_by_key(|it| (it.count, Reverse(it.key)));
    most.filter(|it| it.count > all / BACKGROUND_SHARE && it.count < all)
}

/// Values among which are all that more than one in [`BACKGROUND_SHARE`] voxels have (Misra and
/// Gries 1982), by their ordered bits.
#[derive(Debug, Default)]
struct Frequent(HashMap<u32, u64>);

impl Frequent {
    /// Of counted whole numbers.
    fn of(counts: &[u64]) -> Self {
        let mut all: Vec<(u32, u64)> = (0..HALF)
            .filter(|&bin| counts[bin] > 0)
            .map(|bin| (ordered(value(bin)), counts[bin]))
            .collect();
        all.sort_unstable_by_key(|(_, count)| Reverse(*count));
        // What is taken from each is at most what the first that is left out had, as if all had
        // come one by one.
        let most = BACKGROUND_SHARE as usize - 1;
        let taken = all.get(most).map_or(0, |(_, count)| *count);
        Self(
            all.into_iter()
                .take(most)
                .filter(|(_, n)| *n > taken)
                .map(|(key, n)| (key, n - taken))
                .collect(),
        )
    }

    fn add(&mut self, key: u32) {
        if let Some(count) = self.0.get_mut(&key) {
            *count += 1;
        } else if (self.0.len() as u64) < BACKGROUND_SHARE - 1 {
            self.0.insert(key, 1);
        } else {
            self.0.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }
}

/// Bit pattern of a float such that patterns order as the floats do (sign bit flipped, negatives
/// complemented).
fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// Inverse of [`ordered`].
fn from_ordered(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Where a whole number is counted, so that bins rise with it.
fn bin(whole: i16) -> usize {
    (i32::from(whole) - i32::from(i16::MIN)) as usize
}

/// The whole number that is counted there.
fn value(bin: usize) -> f32 {
    bin as f32 + f32::from(i16::MIN)
}

/// Counts of whole numbers as those of their high halves.
fn high_halves(counts: &[u64]) -> Vec<u64> {
    let mut high = vec![0; HALF];
    for (bin, count) in counts.iter().enumerate() {
        high[(ordered(value(bin)) >> 16) as usize] += count;
    }
    high
}

/// The bin in which the voxel of this rank lies, and its rank within the bin.
fn find(counts: impl Iterator<Item = u64>, rank: u64) -> (usize, u64) {
    let (mut left, mut last) = (rank, 0);
    for (bin, count) in counts.enumerate() {
        if left < count {
            return (bin, left);
        }
        left -= count;
        last = bin;
    }
    // Only when the last pass saw fewer voxels than the first: the file changed between the two.
    (last, 0)
}

#[cfg(test)]
mod tests;
