//! Intensity normalisation: statistics over the whole volume in streaming passes, then a clipped
//! linear map per channel. Where the package normalises every slice by itself, a slice's maps come
//! from its own voxels (`slicewise`), and the pass looks for slices that show nothing.
//!
//! Memory does not depend on the volume: percentiles are exact, and counted in one pass where all
//! voxels are whole numbers of 16 bits, in a few elsewhere. Non-finite voxels take no part in the
//! statistics and become background. What looks doubtful about the result is a warning.

use super::Normalise;
use super::doubt::{Doubt, IntensityWarning, SHARED, Side, shared};
use super::ranks::Ranks;
use super::slicewise::{self, SliceIntensity};

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
    warnings: Vec<IntensityWarning>,
}

#[derive(Debug)]
enum Channel {
    Done(Map),
    Moments(Moments),
    Ranks(Box<Ranks>),
    Slices(Slices),
}

/// Slices of which each is normalised by itself, and those that have no width.
#[derive(Debug)]
struct Slices {
    percentiles: [f32; 2],
    voxels: Vec<f32>,
    blank: u64,
    all: u64,
}

impl Slices {
    fn new(percentiles: [f32; 2]) -> Self {
        Self { percentiles, voxels: Vec::new(), blank: 0, all: 0 }
    }

    fn add(&mut self, plane: &[f32]) {
        self.voxels.resize(plane.len(), 0.0);
        self.voxels.copy_from_slice(plane);
        let ends = slicewise::percentiles(&mut self.voxels, self.percentiles);
        self.blank += u64::from(ends.is_some_and(|[low, high]| low == high));
        self.all += 1;
    }

    fn doubt(&self) -> Option<Doubt> {
        let Self { percentiles, blank, all, .. } = *self;
        (blank > 0).then_some(Doubt::BlankSlices { blank, all, percentiles })
    }
}

impl IntensityStats {
    /// Statistics for a volume of `channels` modalities.
    #[must_use]
    pub fn new(normalise: Normalise, channels: usize) -> Self {
        let channel = || match normalise {
            Normalise::Window { low, high } => Channel::Done(Map::unit(low, high)),
            Normalise::Percentiles { low, high } => {
                Channel::Ranks(Box::new(Ranks::new([low, high], false)))
            }
            Normalise::ForegroundPercentiles { low, high } => {
                Channel::Ranks(Box::new(Ranks::new([low, high], true)))
            }
            Normalise::SlicePercentiles { low, high } => Channel::Slices(Slices::new([low, high])),
            Normalise::ZScore { .. } => Channel::Moments(Moments::default()),
        };
        Self {
            normalise,
            channels: (0..channels).map(|_| channel()).collect(),
            warnings: Vec::new(),
        }
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
                Channel::Slices(slices) => slices.add(voxels),
            }
        }
    }

    /// Ends a pass over the volume.
    pub fn end_pass(&mut self) {
        let several = self.channels.len() > 1;
        for (i, channel) in self.channels.iter_mut().enumerate() {
            let ended = match (&mut *channel, self.normalise) {
                (Channel::Moments(moments), Normalise::ZScore { clip }) => {
                    Some((moments.map(clip), moments.doubt()))
                }
                (Channel::Ranks(ranks), _) => ranks
                    .end_pass()
                    .map(|window| (Map::unit(window.ends[0], window.ends[1]), window.doubt)),
                // The map of no slice: each has its own.
                (Channel::Slices(slices), _) => Some((Map::unit(0.0, 0.0), slices.doubt())),
                _ => None,
            };
            if let Some((map, doubt)) = ended {
                *channel = Channel::Done(map);
                let channel = several.then_some(i);
                self.warnings.extend(doubt.map(|doubt| IntensityWarning { channel, doubt }));
            }
        }
    }

    /// What is doubtful, as far as the passes that have ended show it.
    #[must_use]
    pub fn warnings(&self) -> &[IntensityWarning] {
        &self.warnings
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
        Intensity {
            maps: self.channels.into_iter().map(map).collect(),
            each_slice: match self.normalise {
                Normalise::SlicePercentiles { low, high } => Some([low, high]),
                _ => None,
            },
        }
    }
}

/// A volume's normalisation: one clipped linear map a channel, or percentiles from which every
/// slice gets its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Intensity {
    pub(super) maps: Vec<Map>,
    pub(super) each_slice: Option<[f32; 2]>,
}

impl Intensity {
    /// Normalises planes of so many `pixels` in place, the channels of one slice after those of
    /// another; what is not finite becomes [`BACKGROUND`].
    pub fn apply(&self, planes: &mut [f32], pixels: usize) {
        let mut maps = self.maps.clone();
        let mut voxels = vec![0.0; self.each_slice.map_or(0, |_| pixels)];
        for (i, plane) in planes.chunks_exact_mut(pixels).enumerate() {
            let map = &mut maps[i % self.maps.len()];
            if let Some(percentiles) = self.each_slice {
                voxels.copy_from_slice(plane);
                *map = slicewise::map(&mut voxels, percentiles);
            }
            plane.iter_mut().for_each(|voxel| *voxel = map.apply(*voxel));
        }
    }

    /// The same for slices that come row by row, of so many pixels a channel; all that it needs is
    /// allocated here.
    #[must_use]
    pub fn by_rows(&self, pixels: usize) -> SliceIntensity {
        SliceIntensity::new(self, pixels)
    }
}

/// `clamp((x - offset) * scale, low, high)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Map {
    offset: f32,
    scale: f32,
    low: f32,
    high: f32,
}

impl Map {
    /// Maps `[low, high]` to `[0, 1]`; a volume of one value becomes all background.
    pub(super) fn unit(low: f32, high: f32) -> Self {
        // In f64, because the width of two huge values overflows f32.
        let scale = (1.0 / (f64::from(high) - f64::from(low))) as f32;
        Self {
            offset: low,
            scale: if scale.is_finite() { scale } else { 0.0 },
            low: 0.0,
            high: 1.0,
        }
    }

    pub(super) fn apply(self, x: f32) -> f32 {
        if x.is_finite() {
            let y = (x - self.offset) * self.scale;
            // An offset near the ends of f32 can overflow the difference; times scale 0 that is
            // NaN.
            if y.is_nan() { BACKGROUND } else { y.clamp(self.low, self.high) }
        } else {
            BACKGROUND
        }
    }
}

impl Normalise {
    /// What is doubtful about a channel (of several, or the only one) whose least and most finite
    /// value are these, that no statistics show: that it has none, or none within a fixed window.
    #[must_use]
    pub fn doubt(
        self,
        channel: Option<usize>,
        range: Option<[f32; 2]>,
    ) -> Option<IntensityWarning> {
        let doubt = match (self, range) {
            (_, None) => Doubt::Nothing,
            (Self::Window { low, high }, Some([least, most])) if most <= low || least >= high => {
                Doubt::OutsideWindow { window: [low, high], range: [least, most] }
            }
            _ => return None,
        };
        Some(IntensityWarning { channel, doubt })
    }
}

/// Running mean and sum of squared deviations (Welford 1962), which stays exact where plain sums of
/// squares cancel; and how many voxels have the least and the most value.
#[derive(Debug, Default)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    ends: Option<[(f32, u64); 2]>,
}

/// Voxels that are fewer than this part of all are few: if they set a deviation, they are outliers.
const FEW: f64 = 0.01;

impl Moments {
    fn add(&mut self, x: f32) {
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
    fn doubt(&self) -> Option<Doubt> {
        let ends = self.ends?;
        if self.map(1.0).scale == 0.0 {
            return Some(Doubt::NoDeviation { value: ends[0].0 });
        }
        let n = self.count as f64;
        let around = |mean: f64, squares: f64, n: f64| {
            let deviation = (squares.max(0.0) / n).sqrt();
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

    fn map(&self, clip: f32) -> Map {
        let scale = (1.0 / (self.squares / self.count.max(1) as f64).sqrt()) as f32;
        let scale = if scale.is_finite() { scale } else { 0.0 };
        Map { offset: self.mean as f32, scale, low: -clip, high: clip }
    }
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
        for normalise in
            [Normalise::Percentiles { low: 0.5, high: 99.5 }, Normalise::ZScore { clip: 5.0 }]
        {
            assert_eq!(normalised(normalise, &[&[7.0; 4]], 1)[0], [0.0; 4]);
            assert_eq!(normalised(normalise, &[&[f32::NAN; 4]], 1)[0], [0.0; 4]);
        }
    }

    /// What is doubtful, as a person reads it.
    fn doubts(normalise: Normalise, slice: &[f32], channels: usize) -> Vec<String> {
        let mut stats = IntensityStats::new(normalise, channels);
        while stats.wants_pass() {
            stats.add(slice);
            stats.end_pass();
        }
        stats.warnings().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_channel_without_width_is_named() {
        let slice = [1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0, 7.0];
        for (normalise, what) in [
            (
                Normalise::Percentiles { low: 0.5, high: 99.5 },
                "channel 1: percentiles 0.5 and 99.5 are both 7",
            ),
            (
                Normalise::ForegroundPercentiles { low: 0.5, high: 99.5 },
                "channel 1: percentiles 0.5 and 99.5 are both 7",
            ),
            (Normalise::ZScore { clip: 5.0 }, "channel 1: all voxels are 7"),
        ] {
            let found = doubts(normalise, &slice, 2);
            assert!(found.len() == 1 && found[0].starts_with(what), "{found:?}");
        }
        assert!(
            doubts(Normalise::ZScore { clip: 5.0 }, &[f32::NAN; 4], 1).is_empty(),
            "told by the range"
        );
    }

    #[test]
    fn an_outlier_that_is_the_deviation_is_doubted_and_a_bright_voxel_is_not() {
        let normalise = Normalise::ZScore { clip: 5.0 };
        let body: Vec<f32> = (0..10_000).map(|i| (i % 100) as f32).collect();
        assert!(doubts(normalise, &[&body[..], &[500.0]].concat(), 1).is_empty());
        for (outlier, what) in [(1e30, "those from 1"), (-30_000.0, "those up to -30000")] {
            let found = doubts(normalise, &[&body[..], &[outlier]].concat(), 1);
            assert!(
                found.len() == 1 && found[0].contains(what) && found[0].contains("without"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_is_no_number_and_what_lies_outside_a_window_is_doubted() {
        let window = Normalise::Window { low: -150.0, high: 250.0 };
        let told = |range| window.doubt(None, range).map(|doubt| doubt.to_string());
        assert!(told(None).unwrap().starts_with("no voxel is a number"));
        for range in [[-1024.0, -150.0], [250.0, 9e9], [-1000.0, -1000.0]] {
            assert!(
                told(Some(range))
                    .unwrap()
                    .starts_with("no voxel lies within the package's window of -150 to 250")
            );
        }
        assert_eq!(told(Some([-1024.0, -149.0])), None);
        assert_eq!(Normalise::ZScore { clip: 1.0 }.doubt(Some(2), Some([0.0, 0.0])), None);
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
        fn normalised_voxels_stay_in_range(voxels in prop::collection::vec(any::<f32>(), 1..50)) {
            let unit = Normalise::Percentiles { low: 1.0, high: 99.0 };
            let values = &normalised(unit, &[&voxels], 1)[0];
            prop_assert!(values.iter().all(|x| (0.0..=1.0).contains(x)));
        }
    }
}
