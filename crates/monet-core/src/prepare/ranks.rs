//! Percentiles of all voxels of a channel, exactly, in streaming passes and in memory that the
//! caller bounds.
//!
//! Values are selected digit by digit (a radix selection). A pass counts how many voxels have each
//! value of the next digit, of those whose digits so far are the percentile's; the memory decides
//! how long a digit is.
//!
//! ```text
//! whole numbers of 16 bits     key: the number, from the least      16 bits
//! other voxels                 key: ordered bits of the float       32 bits
//!
//! first pass          first digit of all voxels
//! candidates          voxels of those values that may be the most frequent, where it is to be
//!                     left out and the first digit is not the whole key
//! further passes      next digit of the voxels around each of the two percentiles
//! ```
//!
//! A volume is taken for one of whole numbers until another voxel comes. Counts then become those
//! of the other key, where there is room to convert them; else the pass is void, and the next one
//! begins anew.

mod doubt;

use super::bins::{Bins, Count, add_one, change, part};
use super::frequent::{self, Background, Frequent, background};
use super::sqrt::round;

/// Values of one half of the ordered bits, and those of an `i16`.
const HALF: usize = 1 << 16;

/// Selects the values at two percentiles, by nearest rank: the value at position
/// `round(p / 100 · (n - 1))` of the sorted voxels, so that the result is always an intensity of
/// the volume.
#[derive(Debug)]
pub(super) struct Ranks<B: Bins> {
    percentiles: [f32; 2],
    /// The memory: candidates where the most frequent value takes no part, then first digits, then
    /// digits around each percentile. Where it is short, the last take the place of the former.
    bins: B,
    /// Whether the most frequent value takes no part.
    foreground: bool,
    /// It, once it is known and as long as something is left without it.
    background: Option<Background>,
    /// Candidates so far.
    candidates: usize,
    keys: Keys,
    pass: Pass,
}

/// What voxels are counted by.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keys {
    Whole,
    Floats,
}

impl Keys {
    fn bits(self) -> u32 {
        match self {
            Self::Whole => 16,
            Self::Floats => 32,
        }
    }

    /// Of a voxel; none of one that is not finite, or no whole number where there are only such.
    fn of(self, voxel: f32) -> Option<u32> {
        match self {
            Self::Whole => whole(voxel),
            Self::Floats => voxel.is_finite().then(|| ordered(voxel)),
        }
    }

    fn value(self, key: u32) -> f32 {
        match self {
            Self::Whole => key as f32 + f32::from(i16::MIN),
            Self::Floats => from_ordered(key),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Pass {
    /// First digits of all voxels.
    First,
    /// Nothing: it turned out that it must begin anew.
    Void,
    /// Voxels of the values that may be the most frequent.
    Candidates,
    /// Next digits around the two percentiles.
    Next(Next),
    Ended(Found),
}

/// A pass over the digits around two percentiles.
#[derive(Debug, Clone, Copy)]
struct Next {
    /// The digits so far.
    prefix: [u32; 2],
    /// Ranks among the voxels that have them.
    ranks: [u64; 2],
    /// Bits of the key after these digits.
    left: u32,
    /// Bits of the next digit.
    bits: u32,
    /// Where the counts of the first percentile's digits begin; those of the second follow.
    start: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// The values at the two percentiles; none without any voxel.
    ends: Option<[f32; 2]>,
    /// Where the counts of all voxels are there still: the bins of the ends, and how many voxels
    /// in them lie at the end or beyond.
    bins: Option<([usize; 2], [u64; 2])>,
}

impl<B: Bins> Ranks<B> {
    /// Percentiles of all voxels, or of those that are not the background.
    pub(super) fn new(percentiles: [f32; 2], foreground: bool, bins: B) -> Self {
        let (background, candidates) = (None, 0);
        let (keys, pass) = (Keys::Whole, Pass::First);
        let mut new = Self { percentiles, bins, foreground, background, candidates, keys, pass };
        new.begin();
        new
    }

    /// The values at the two percentiles, the lower first, once no pass is needed any more; 0 and 0
    /// where there was no voxel.
    pub(super) fn ends(&self) -> Option<[f32; 2]> {
        match self.pass {
            Pass::Ended(found) => Some(found.ends.unwrap_or_default()),
            _ => None,
        }
    }

    /// Takes voxels into the pass.
    pub(super) fn add(&mut self, voxels: &mut impl Iterator<Item = f32>) {
        if let (Pass::First, Keys::Whole) = (self.pass, self.keys)
            && let Some(odd) = self.add_whole(voxels)
        {
            self.become_floats();
            if let Pass::First = self.pass {
                self.add_floats(&mut core::iter::once(odd));
            }
        }
        match self.pass {
            Pass::First if self.keys == Keys::Floats => self.add_floats(voxels),
            Pass::Candidates => {
                let (keys, mut frequent) = (self.keys, self.frequent());
                let counted = voxels.filter(|&voxel| keys.of(voxel).is_some());
                counted.for_each(|voxel| frequent.count(ordered(voxel)));
            }
            Pass::Next(next) => self.add_next(next, voxels),
            Pass::First | Pass::Void | Pass::Ended(_) => {}
        }
    }

    /// Ends the pass.
    pub(super) fn end_pass(&mut self) {
        match self.pass {
            Pass::First => {
                let all = total(self.first());
                if all == 0 {
                    self.pass = Pass::Ended(Found { ends: None, bins: None });
                } else if self.needs_candidates() {
                    self.frequent().recount();
                    self.pass = Pass::Candidates;
                } else {
                    if self.foreground {
                        let values = self.first().iter().zip(0..).map(|(count, key)| Background {
                            key: ordered(Keys::Whole.value(key)),
                            count: count.get(),
                        });
                        self.background = background(values, all);
                    }
                    self.select();
                }
            }
            Pass::Void => self.begin(),
            Pass::Candidates => {
                let all = total(self.first());
                self.background = background(self.frequent().each(), all);
                self.select();
            }
            Pass::Next(next) => self.select_next(next),
            Pass::Ended(_) => {}
        }
    }

    /// Where the first digits are counted.
    fn base(&self) -> usize {
        if self.foreground { frequent::LEN } else { 0 }
    }

    /// Bits of the first digit.
    fn first_bits(&mut self) -> u32 {
        let base = self.base();
        log2(self.bins.room(base + HALF).len().saturating_sub(base))
    }

    /// First digits of all voxels.
    fn first(&mut self) -> &mut [B::Count] {
        let (base, len) = (self.base(), 1 << self.first_bits());
        part(self.bins.room(base + len), base, len)
    }

    /// Whether digits are not whole values, so that candidates are needed.
    fn needs_candidates(&mut self) -> bool {
        self.foreground && self.first_bits() < self.keys.bits()
    }

    fn frequent(&mut self) -> Frequent<'_, B::Count> {
        Frequent::new(self.bins.room(frequent::LEN), &mut self.candidates)
    }

    /// Begins the first pass.
    fn begin(&mut self) {
        self.first().fill(B::Count::default());
        (self.candidates, self.pass) = (0, Pass::First);
    }

    /// The candidates, where there are any, and the first digits.
    fn first_and_candidates(&mut self) -> (Option<Frequent<'_, B::Count>>, &mut [B::Count]) {
        let (base, len) = (self.base(), 1 << self.first_bits());
        let wanted = self.needs_candidates();
        let (candidates, first) = halves(self.bins.room(base + len), base);
        (wanted.then(|| Frequent::new(candidates, &mut self.candidates)), first)
    }

    /// Takes voxels as long as they are whole numbers, and gives the first that is none.
    fn add_whole(&mut self, voxels: &mut impl Iterator<Item = f32>) -> Option<f32> {
        let shift = Keys::Whole.bits() - self.first_bits();
        let (mut candidates, counts) = self.first_and_candidates();
        voxels.find(|&voxel| {
            let Some(key) = whole(voxel) else { return voxel.is_finite() };
            add_one(counts, (key >> shift) as usize);
            if let Some(candidates) = &mut candidates {
                candidates.add(ordered(voxel), 1);
            }
            false
        })
    }

    fn add_floats(&mut self, voxels: &mut impl Iterator<Item = f32>) {
        let shift = Keys::Floats.bits() - self.first_bits();
        let (mut candidates, counts) = self.first_and_candidates();
        for key in voxels.filter_map(|voxel| Keys::Floats.of(voxel)) {
            add_one(counts, (key >> shift) as usize);
            if let Some(candidates) = &mut candidates {
                candidates.add(key, 1);
            }
        }
    }

    fn add_next(&mut self, next: Next, voxels: &mut impl Iterator<Item = f32>) {
        let Next { prefix, left, bits, start, .. } = next;
        let (keys, digits) = (self.keys, 1 << bits);
        let counts = part(self.bins.room(start + 2 * digits), start, 2 * digits);
        let (lower, upper) = halves(counts, digits);
        let mut counts = [lower, upper];
        for key in voxels.filter_map(|voxel| keys.of(voxel)) {
            let digit = (key >> (left - bits)) as usize % digits;
            for (counts, prefix) in counts.iter_mut().zip(prefix) {
                // A shift by all bits of a key is one too many for the processor.
                if u64::from(key) >> left == u64::from(prefix) {
                    add_one(counts, digit);
                }
            }
        }
    }

    /// Goes on with floats: converts the counts so far, begins anew where there are none, or gives
    /// up the pass.
    fn become_floats(&mut self) {
        self.keys = Keys::Floats;
        let base = self.base();
        let all = base + 2 * HALF;
        if total(self.first()) == 0 {
            self.begin();
        } else if self.bins.room(all).len() < all {
            self.pass = Pass::Void;
        } else {
            let (candidates, counts) = halves(self.bins.room(all), base);
            let (wholes, high) = halves(counts, HALF);
            high.fill(B::Count::default());
            for (key, voxels) in (0..).zip(wholes.iter().map(|count| count.get())) {
                let key = ordered(Keys::Whole.value(key));
                change(high, (key >> 16) as usize, |count| count + voxels);
                if self.foreground {
                    Frequent::new(candidates, &mut self.candidates).add(key, voxels);
                }
            }
            wholes.iter_mut().zip(high).for_each(|(to, count)| *to = *count);
        }
    }

    /// Finds the first digits of the two percentiles, background apart.
    fn select(&mut self) {
        let (keys, background, percentiles) = (self.keys, self.background, self.percentiles);
        let left = keys.bits() - self.first_bits();
        let counts = self.first();
        let voxels = || each_left(counts, keys, background);
        let ranks = nearest(percentiles, voxels().sum::<u64>().max(1));
        let found = ranks.map(|rank| find(voxels(), rank));
        let prefix = found.map(|(bin, _)| bin as u32);
        if left > 0 {
            let at = Next { prefix, ranks: found.map(|(_, rank)| rank), left, bits: 0, start: 0 };
            return self.begin_next(at);
        }
        if prefix[0] == prefix[1] && background.is_some() {
            self.background = None;
            return self.select();
        }
        let bins = found.map(|(bin, _)| bin);
        let within = bins.map(|bin| voxels().nth(bin).unwrap_or(0));
        let ends = Some(prefix.map(|key| keys.value(key)));
        self.pass = Pass::Ended(Found { ends, bins: Some((bins, within)) });
    }

    /// Whether the first digits' counts stay beside the next ones'.
    fn keeps_first(&mut self) -> bool {
        let all = self.base() + 3 * HALF;
        self.bins.room(all).len() == all
    }

    /// Begins a pass over the digits that come next.
    fn begin_next(&mut self, at: Next) {
        let start = self.base() + if self.keeps_first() { HALF } else { 0 };
        let room = self.bins.room(start + 2 * HALF);
        let bits = log2(room.len().saturating_sub(start) / 2).min(at.left);
        part(room, start, 2 << bits).fill(B::Count::default());
        self.pass = Pass::Next(Next { bits, start, ..at });
    }

    /// Finds the next digits; begins again where without the background no width is left.
    fn select_next(&mut self, Next { mut prefix, mut ranks, left, bits, start }: Next) {
        let keys = self.keys;
        let (background, digits) = (self.background, 1 << bits);
        let rest = left - bits;
        let own = background.and_then(|it| Some((keys.of(from_ordered(it.key))?, it.count)));
        let counts = part(self.bins.room(start + 2 * digits), start, 2 * digits);
        let (lower, upper) = halves(counts, digits);
        let mut digit = [0; 2];
        let ends = prefix.iter_mut().zip(&mut ranks).zip(&mut digit);
        for (counts, ((prefix, rank), digit)) in [&mut *lower, &mut *upper].into_iter().zip(ends) {
            if let Some((key, count)) = own
                && u64::from(key) >> left == u64::from(*prefix)
            {
                let bin = (key >> rest) as usize % digits;
                change(counts, bin, |all| all.saturating_sub(count));
            }
            (*digit, *rank) = find(counts.iter().map(|count| count.get()), *rank);
            *prefix = *prefix << bits | *digit as u32;
        }
        let within = [
            lower.iter().take(digit[0] + 1).map(|count| count.get()).sum(),
            upper.iter().skip(digit[1]).map(|count| count.get()).sum(),
        ];
        if rest > 0 {
            return self.begin_next(Next { prefix, ranks, left: rest, bits: 0, start });
        }
        let kept = self.keeps_first();
        let ends = prefix.map(|key| keys.value(key));
        // Not by keys: 0 and -0 are no width.
        if ends[0] == ends[1] && self.background.take().is_some() {
            if kept {
                return self.select();
            }
            self.foreground = false;
            return self.begin();
        }
        let bins = kept.then(|| (prefix.map(|key| (key >> 16) as usize), within));
        self.pass = Pass::Ended(Found { ends: Some(ends), bins });
    }
}

/// Counts before a place and from it on; all of them before where there are fewer.
fn halves<C>(counts: &mut [C], at: usize) -> (&mut [C], &mut [C]) {
    counts.split_at_mut(at.min(counts.len()))
}

/// Bits that number so many digits.
fn log2(digits: usize) -> u32 {
    digits.checked_ilog2().unwrap_or(0)
}

/// The ranks, from 0, that lie nearest to percentiles of so many voxels, at least one.
pub(super) fn nearest(percentiles: [f32; 2], voxels: u64) -> [u64; 2] {
    percentiles.map(|p| round(f64::from(p) / 100.0 * (voxels - 1) as f64))
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

/// The key of a whole number that an `i16` holds, so that keys rise with it.
fn whole(voxel: f32) -> Option<u32> {
    let whole = voxel as i16;
    // By bits, since -0.0 is no i16.
    let is_whole = f32::from(whole).to_bits() == voxel.to_bits();
    is_whole.then_some((i32::from(whole) - i32::from(i16::MIN)) as u32)
}

fn total<C: Count>(counts: &[C]) -> u64 {
    counts.iter().map(|count| count.get()).sum()
}

/// Voxels with each first digit, without the background.
fn each_left<C: Count>(
    counts: &[C],
    keys: Keys,
    background: Option<Background>,
) -> impl Iterator<Item = u64> {
    let shift = keys.bits() - log2(counts.len());
    let own = background
        .and_then(|it| Some(((keys.of(from_ordered(it.key))? >> shift) as usize, it.count)));
    counts.iter().enumerate().map(move |(bin, count)| match own {
        Some((own, taken)) if own == bin => count.get().saturating_sub(taken),
        _ => count.get(),
    })
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

#[cfg(all(test, feature = "alloc"))]
mod tests;
