//! Whether few voxels, or padding alone, set the percentiles.

use core::cmp::Ordering;

use super::super::bins::{Bins, Count};
use super::super::doubt::{Doubt, SHARED, Side, shared};
use super::{Found, Pass, Ranks, each_left, find, nearest};

/// Between the ends of a window, counted by high halves, must lie so many for a doubt: two apart
/// may be neighbours.
const COARSE: usize = 4;

/// Of so many voxels in a bin, how many stay.
type Stays<'a> = &'a dyn Fn(usize, u64) -> u64;

impl<B: Bins> Ranks<B> {
    /// Doubts a window that has no width, or that changes when those voxels are left out that set
    /// an end of it or, where half of all have nearly one value, these. The latter is seen only
    /// where all voxels were counted by 16 bits of their keys, and these counts are there still.
    pub(in super::super) fn doubt(&mut self) -> Option<Doubt> {
        let Pass::Ended(Found { ends: Some(exact), bins }) = self.pass else { return None };
        let (percentiles, keys, background) = (self.percentiles, self.keys, self.background);
        if exact[0] == exact[1] {
            return Some(Doubt::SamePercentiles { percentiles, value: exact[0] });
        }
        let (ends, within) = bins?;
        let value = |bin: usize| keys.value((bin as u32) << (keys.bits() - 16));
        let counts = &*self.first();
        // Most bins are empty, and lie outside of these.
        let first = counts.iter().position(|n| n.get() > 0).unwrap_or(0);
        let last = counts.iter().rposition(|n| n.get() > 0).unwrap_or(0);
        let each = || {
            let bins = each_left(counts, keys, background).enumerate();
            bins.skip(first).take(last + 1 - first)
        };
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
            let without = nearest(percentiles, left).map(|rank| first + find(rest(), rank).0);
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
