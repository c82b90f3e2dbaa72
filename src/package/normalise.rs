//! Intensity normalisation: statistics over the whole volume in streaming passes, then a clipped linear map per channel.
//!
//! Memory does not depend on the volume: percentiles are exact, by counting each value in one pass where all are whole numbers of 16
//! bits, else the ordered bit patterns of the intensities in two passes, high half then low half (a radix selection). Non-finite voxels take no part in the
//! statistics and become background.

use super::Normalise;

/// The value of padding and of voxels that are not finite, after normalisation.
pub const BACKGROUND: f32 = 0.0;

/// Collects what a [`Normalise`] needs to know of a volume.
///
/// ```
/// use monet::package::{IntensityStats, Normalise};
///
/// let slice = [0.0, 10.0, 20.0, 40.0];
/// let mut stats = IntensityStats::new(Normalise::Percentiles { low: 0.0, high: 100.0 }, 1);
/// while stats.wants_pass() {
///     stats.add(&slice); // every slice of the volume, in any order
///     stats.end_pass();
/// }
/// let mut normalised = slice;
/// stats.finish().apply(&mut normalised, 4); // one plane of four pixels
/// assert_eq!(normalised, [0.0, 0.25, 0.5, 1.0]);
/// ```
#[derive(Debug)]
pub struct IntensityStats {
    normalise: Normalise,
    channels: Vec<Channel>,
}

#[derive(Debug)]
enum Channel {
    Done(Map),
    Moments(Moments),
    Ranks(Box<Ranks>),
}

impl IntensityStats {
    /// Statistics for a volume of `channels` modalities.
    #[must_use]
    pub fn new(normalise: Normalise, channels: usize) -> Self {
        let channel = || match normalise {
            Normalise::Window { low, high } => Channel::Done(Map::unit(low, high)),
            Normalise::Percentiles { low, high } => Channel::Ranks(Box::new(Ranks::new([low, high]))),
            Normalise::ZScore { .. } => Channel::Moments(Moments::default()),
        };
        Self { normalise, channels: (0..channels).map(|_| channel()).collect() }
    }

    /// Whether a (further) pass over the volume is needed before [`IntensityStats::finish`].
    #[must_use]
    pub fn wants_pass(&self) -> bool {
        self.channels.iter().any(|channel| !matches!(channel, Channel::Done(_)))
    }

    /// Takes in one slice: channel after channel, each of the same number of voxels.
    pub fn add(&mut self, slice: &[f32]) {
        let per_channel = (slice.len() / self.channels.len()).max(1);
        for (channel, voxels) in self.channels.iter_mut().zip(slice.chunks_exact(per_channel)) {
            let finite = voxels.iter().copied().filter(|voxel| voxel.is_finite());
            match channel {
                Channel::Done(_) => {}
                Channel::Moments(moments) => finite.for_each(|voxel| moments.add(voxel)),
                Channel::Ranks(ranks) => finite.for_each(|voxel| ranks.add(voxel)),
            }
        }
    }

    /// Ends a pass over the volume.
    pub fn end_pass(&mut self) {
        for channel in &mut self.channels {
            let map = match (&mut *channel, self.normalise) {
                (Channel::Moments(moments), Normalise::ZScore { clip }) => Some(moments.map(clip)),
                (Channel::Ranks(ranks), _) => ranks.end_pass().map(|[low, high]| Map::unit(low, high)),
                _ => None,
            };
            if let Some(map) = map {
                *channel = Channel::Done(map);
            }
        }
    }

    /// The map that normalises this volume.
    ///
    /// # Panics
    /// When a pass is still wanted: that is a fault of the calling code.
    #[must_use]
    pub fn finish(self) -> Intensity {
        let map = |channel| match channel {
            Channel::Done(map) => map,
            _ => panic!("finish was called while wants_pass was true"),
        };
        Intensity(self.channels.into_iter().map(map).collect())
    }
}

/// A volume's normalisation: one clipped linear map a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Intensity(Vec<Map>);

impl Intensity {
    /// Normalises planes of so many `pixels` in place, the channels of one slice after those of another; what is not finite
    /// becomes [`BACKGROUND`].
    pub fn apply(&self, planes: &mut [f32], pixels: usize) {
        for (i, plane) in planes.chunks_exact_mut(pixels).enumerate() {
            self.apply_to(i % self.0.len(), plane);
        }
    }

    /// Normalises voxels of one channel in place, as [`Intensity::apply`] does.
    ///
    /// # Panics
    /// When there is no such channel.
    pub fn apply_to(&self, channel: usize, voxels: &mut [f32]) {
        let map = self.0[channel];
        voxels.iter_mut().for_each(|voxel| *voxel = map.apply(*voxel));
    }
}

/// `clamp((x - offset) * scale, low, high)`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Map {
    offset: f32,
    scale: f32,
    low: f32,
    high: f32,
}

impl Map {
    /// Maps `[low, high]` to `[0, 1]`; a volume of one value becomes all background.
    fn unit(low: f32, high: f32) -> Self {
        // In f64, because the width of two huge values overflows f32.
        let scale = (1.0 / (f64::from(high) - f64::from(low))) as f32;
        Self { offset: low, scale: if scale.is_finite() { scale } else { 0.0 }, low: 0.0, high: 1.0 }
    }

    fn apply(self, x: f32) -> f32 {
        if x.is_finite() {
            let y = (x - self.offset) * self.scale;
            // An offset near the ends of f32 can overflow the difference; times scale 0 that is NaN.
            if y.is_nan() { BACKGROUND } else { y.clamp(self.low, self.high) }
        } else {
            BACKGROUND
        }
    }
}

/// Running mean and sum of squared deviations (Welford 1962), which stays exact where plain sums of squares cancel.
#[derive(Debug, Default)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, x: f32) {
        self.count += 1;
        let delta = f64::from(x) - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (f64::from(x) - self.mean);
    }

    fn map(&self, clip: f32) -> Map {
        let scale = (1.0 / (self.squares / self.count.max(1) as f64).sqrt()) as f32;
        let scale = if scale.is_finite() { scale } else { 0.0 };
        Map { offset: self.mean as f32, scale, low: -clip, high: clip }
    }
}

/// Bit pattern of a float such that patterns order as the floats do (sign bit flipped, negatives complemented).
fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// Inverse of [`ordered`].
fn from_ordered(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Values of one half of the ordered bits, and those of an `i16`.
const HALF: usize = 1 << 16;

/// Selects the values at two percentiles, by nearest rank: the value at position `round(p / 100 · (n - 1))` of the
/// sorted voxels, so that the result is always an intensity of the volume.
#[derive(Debug)]
struct Ranks {
    percentiles: [f32; 2],
    counts: Counts,
}

#[derive(Debug)]
enum Counts {
    /// First pass, as long as all voxels are whole numbers that an `i16` holds, as those of most scans: how many have each value. Then
    /// it is the only pass.
    Whole(Vec<u64>),
    /// First pass of others: how many voxels have each high half.
    High(Vec<u64>),
    /// Second pass, per percentile.
    Low([Low; 2]),
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
    fn new(percentiles: [f32; 2]) -> Self {
        Self { percentiles, counts: Counts::Whole(vec![0; HALF]) }
    }

    fn add(&mut self, x: f32) {
        let key = ordered(x);
        match &mut self.counts {
            Counts::Whole(counts) => {
                let whole = x as i16;
                // By bits, since -0.0 is no i16.
                if f32::from(whole).to_bits() == x.to_bits() {
                    counts[bin(whole)] += 1;
                } else {
                    self.counts = Counts::High(high_halves(counts));
                    self.add(x);
                }
            }
            Counts::High(counts) => counts[(key >> 16) as usize] += 1,
            Counts::Low(lows) => {
                for low in lows.iter_mut().filter(|low| low.high == key >> 16) {
                    low.counts[key as usize % HALF] += 1;
                }
            }
        }
    }

    /// The two values, or nothing where a second pass must find them.
    fn end_pass(&mut self) -> Option<[f32; 2]> {
        let (Counts::Whole(counts) | Counts::High(counts)) = &self.counts else {
            let Counts::Low(lows) = &self.counts else { return None };
            return Some([0, 1].map(|i| {
                let (low, _) = find(&lows[i].counts, lows[i].rank);
                from_ordered(lows[i].high << 16 | low)
            }));
        };
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return Some([0.0; 2]);
        }
        let found = self
            .percentiles
            .map(|p| find(counts, (f64::from(p) / 100.0 * (total - 1) as f64).round() as u64));
        if let Counts::Whole(_) = self.counts {
            return Some(found.map(|(bin, _)| value(bin as usize)));
        }
        self.counts = Counts::Low(found.map(|(high, rank)| Low { high, rank, counts: vec![0; HALF] }));
        None
    }
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
fn find(counts: &[u64], rank: u64) -> (u32, u64) {
    let mut left = rank;
    for (bin, &count) in (0u32..).zip(counts) {
        if left < count {
            return (bin, left);
        }
        left -= count;
    }
    // Only when the second pass saw fewer voxels than the first: the file changed between the two.
    (counts.len() as u32 - 1, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalised(normalise: Normalise, slices: &[&[f32]], channels: usize) -> Vec<Vec<f32>> {
        let mut stats = IntensityStats::new(normalise, channels);
        while stats.wants_pass() {
            slices.iter().for_each(|slice| stats.add(slice));
            stats.end_pass();
        }
        let intensity = stats.finish();
        slices
            .iter()
            .map(|slice| {
                let mut slice = slice.to_vec();
                let pixels = slice.len() / channels;
                intensity.apply(&mut slice, pixels);
                slice
            })
            .collect()
    }

    #[test]
    fn a_window_needs_no_pass_and_clips() {
        let window = Normalise::Window { low: -150.0, high: 250.0 };
        assert!(!IntensityStats::new(window, 1).wants_pass());
        let slice = [-1000.0, -150.0, 50.0, 250.0, 3000.0, f32::NAN, f32::INFINITY];
        assert_eq!(normalised(window, &[&slice], 1)[0], [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn channels_are_normalised_apart() {
        let whole = Normalise::Percentiles { low: 0.0, high: 100.0 };
        let slices: [&[f32]; 2] = [&[0.0, 2.0, 10.0, 30.0], &[4.0, 1.0, 50.0, 20.0]];
        let expected = [vec![0.0, 0.5, 0.0, 0.5], vec![1.0, 0.25, 1.0, 0.25]];
        assert_eq!(normalised(whole, &slices, 2), expected);
    }

    #[test]
    fn a_volume_of_one_value_or_of_none_is_background() {
        for normalise in [Normalise::Percentiles { low: 0.5, high: 99.5 }, Normalise::ZScore { clip: 5.0 }] {
            assert_eq!(normalised(normalise, &[&[7.0; 4]], 1)[0], [0.0; 4]);
            assert_eq!(normalised(normalise, &[&[f32::NAN; 4]], 1)[0], [0.0; 4]);
        }
    }

    #[test]
    fn a_z_score_has_mean_nought_and_deviation_one() {
        let slice: Vec<f32> = (0..1000).map(|i| 1.0e6 + (i * 37 % 1000) as f32).collect();
        let out = &normalised(Normalise::ZScore { clip: 10.0 }, &[&slice], 1)[0];
        let mean = out.iter().sum::<f32>() / 1000.0;
        let var = out.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 1000.0;
        assert!(mean.abs() < 1e-3 && (var - 1.0).abs() < 1e-3, "{mean} {var}");
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_voxels(
            voxels in prop::collection::vec(any::<f32>(), 1..200),
            p in (0.0f32..50.0, 50.0f32..=100.0),
        ) {
            let mut sorted: Vec<f32> = voxels.iter().copied().filter(|x| x.is_finite()).collect();
            sorted.sort_by(f32::total_cmp);
            prop_assume!(!sorted.is_empty());
            let mut ranks = Ranks::new([p.0, p.1]);
            let mut found = None;
            while found.is_none() {
                voxels.iter().filter(|x| x.is_finite()).for_each(|x| ranks.add(*x));
                found = ranks.end_pass();
            }
            let at = |p: f32| sorted[(f64::from(p) / 100.0 * (sorted.len() - 1) as f64).round() as usize];
            prop_assert_eq!(found.unwrap().map(f32::to_bits), [at(p.0).to_bits(), at(p.1).to_bits()]);
        }

        /// Of whole numbers one pass is enough, and a voxel that is none, late in the volume, changes nothing but that.
        #[test]
        fn percentiles_of_whole_numbers_take_one_pass(
            whole in prop::collection::vec(any::<i16>(), 1..200),
            odd in prop::option::of(prop::sample::select(vec![-0.0f32, 0.5, 32768.0, -1.0e9])),
            p in (0.0f32..50.0, 50.0f32..=100.0),
        ) {
            let voxels: Vec<f32> = whole.iter().map(|&x| f32::from(x)).chain(odd).collect();
            let mut sorted = voxels.clone();
            sorted.sort_by(f32::total_cmp);
            let mut ranks = Ranks::new([p.0, p.1]);
            voxels.iter().for_each(|x| ranks.add(*x));
            let first = ranks.end_pass();
            prop_assert_eq!(first.is_some(), odd.is_none());
            let found = first.or_else(|| {
                voxels.iter().for_each(|x| ranks.add(*x));
                ranks.end_pass()
            });
            let at = |p: f32| sorted[(f64::from(p) / 100.0 * (sorted.len() - 1) as f64).round() as usize];
            prop_assert_eq!(found.unwrap().map(f32::to_bits), [at(p.0).to_bits(), at(p.1).to_bits()]);
        }

        #[test]
        fn normalised_voxels_stay_in_range(voxels in prop::collection::vec(any::<f32>(), 1..50)) {
            let unit = Normalise::Percentiles { low: 1.0, high: 99.0 };
            prop_assert!(normalised(unit, &[&voxels], 1)[0].iter().all(|x| (0.0..=1.0).contains(x)));
        }
    }
}
