//! Intensity normalisation: statistics of a channel in streaming passes, then a clipped linear map.
//!
//! Non-finite voxels take no part in the statistics and become background. Percentiles are exact,
//! by nearest rank, and counted in memory of the caller; the more memory there is, the fewer passes
//! over the voxels they need:
//!
//! | counts in memory | voxels that an `i16` holds | other voxels |
//! |---|---|---|
//! | 65,536 | 1 pass | at most 4 |
//! | 4096 | 2 | at most 5 |
//! | 512 | 2 | at most 6 |
//!
//! Leaving out the background takes 512 / 2 − 2 = 254 of the counts. Where these are fewer than
//! 131,072 in all, it takes up to three passes more, and begins anew where nothing of a width is
//! left without the background. A voxel that no `i16` holds, late in a volume, can cost one more
//! pass again.

use super::bins::Bins;
use super::doubt::{Doubt, IntensityWarning};
pub use super::fit::BACKGROUND;
use super::moments::Moments;
use super::ranks::Ranks;
use super::recipe::Normalise;
#[cfg(feature = "alloc")]
pub use super::volume::{Intensity, IntensityStats};

/// Collects what a [`Normalise`] needs to know of one channel.
///
/// Of [`Normalise::SlicePercentiles`] the statistics are a slice's, and every slice has its own.
///
/// ```
/// use monet_core::prepare::{LEAST_BINS, Normalise, normalise::ChannelStats};
///
/// let slices: [&[i16]; 2] = [&[0, 10], &[20, 40]];
/// let mut memory = [0u32; LEAST_BINS];
/// let percentiles = Normalise::Percentiles { low: 0.0, high: 100.0 };
/// let mut stats = ChannelStats::new(percentiles, &mut memory);
/// while stats.wants_pass() {
///     for slice in slices {
///         stats.add(slice.iter().map(|&voxel| f32::from(voxel)));
///     }
///     stats.end_pass();
/// }
/// let map = stats.map();
/// assert_eq!([0.0, 10.0, 40.0, 50.0].map(|x| map.apply(x)), [0.0, 0.25, 1.0, 1.0]);
/// ```
#[derive(Debug)]
pub struct ChannelStats<B: Bins>(Kind<B>);

#[derive(Debug)]
enum Kind<B: Bins> {
    Window(Map),
    Moments { moments: Moments, clip: f32, ended: bool },
    Ranks(Ranks<B>),
}

impl<B: Bins> ChannelStats<B> {
    /// Of no voxels yet. Percentiles are counted in `memory`; the other kinds need none.
    pub fn new(normalise: Normalise, memory: B) -> Self {
        Self(match normalise {
            Normalise::Window { low, high } => Kind::Window(Map::unit(low, high)),
            Normalise::Percentiles { low, high } | Normalise::SlicePercentiles { low, high } => {
                Kind::Ranks(Ranks::new([low, high], false, memory))
            }
            Normalise::ForegroundPercentiles { low, high } => {
                Kind::Ranks(Ranks::new([low, high], true, memory))
            }
            Normalise::ZScore { clip } => {
                Kind::Moments { moments: Moments::default(), clip, ended: false }
            }
        })
    }

    /// Whether a (further) pass over the voxels is needed.
    pub fn wants_pass(&self) -> bool {
        match &self.0 {
            Kind::Window(_) => false,
            Kind::Moments { ended, .. } => !ended,
            Kind::Ranks(ranks) => ranks.ends().is_none(),
        }
    }

    /// Takes in voxels, in any order.
    pub fn add(&mut self, mut voxels: impl Iterator<Item = f32>) {
        match &mut self.0 {
            Kind::Window(_) => {}
            Kind::Moments { moments, .. } => {
                voxels.filter(|voxel| voxel.is_finite()).for_each(|voxel| moments.add(voxel));
            }
            Kind::Ranks(ranks) => ranks.add(&mut voxels),
        }
    }

    /// Ends a pass over the voxels.
    pub fn end_pass(&mut self) {
        match &mut self.0 {
            Kind::Window(_) => {}
            Kind::Moments { ended, .. } => *ended = true,
            Kind::Ranks(ranks) => ranks.end_pass(),
        }
    }

    /// What is doubtful once no pass is wanted any more. Whether few voxels set a percentile is
    /// seen only where the memory has room for 196,608 counts.
    pub fn doubt(&mut self) -> Option<Doubt> {
        match &mut self.0 {
            Kind::Window(_) => None,
            Kind::Moments { moments, .. } => moments.doubt(),
            Kind::Ranks(ranks) => ranks.doubt(),
        }
    }

    /// The map that normalises the voxels; while a pass is wanted still, one to background.
    pub fn map(&self) -> Map {
        match &self.0 {
            Kind::Window(map) => *map,
            Kind::Moments { moments, clip, .. } => moments.map(*clip),
            Kind::Ranks(ranks) => {
                let [low, high] = ranks.ends().unwrap_or_default();
                Map::unit(low, high)
            }
        }
    }
}

/// `clamp((x - offset) * scale, low, high)`; what is not finite becomes [`BACKGROUND`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Map {
    offset: f32,
    scale: f32,
    low: f32,
    high: f32,
}

impl Map {
    /// Takes `offset` to 0, its neighbourhood times `scale` to `low` to `high`; where that has no
    /// width, all becomes 0.
    pub(super) fn new(offset: f32, scale: f64, [low, high]: [f32; 2]) -> Self {
        let scale = scale as f32;
        Self { offset, scale: if scale.is_finite() { scale } else { 0.0 }, low, high }
    }

    /// Maps `[low, high]` to `[0, 1]`; where they are equal, all becomes background.
    pub fn unit(low: f32, high: f32) -> Self {
        // In f64, because the width of two huge values overflows f32.
        Self::new(low, 1.0 / (f64::from(high) - f64::from(low)), [0.0, 1.0])
    }

    /// Whether all values become one.
    pub(super) fn is_flat(&self) -> bool {
        self.scale == 0.0
    }

    /// A normalised voxel.
    #[inline]
    pub fn apply(self, x: f32) -> f32 {
        let y = (x - self.offset) * self.scale;
        // An offset near the ends of f32 can overflow the difference; times scale 0 that is NaN.
        if !x.is_finite() || y.is_nan() {
            BACKGROUND
        } else if y < self.low {
            self.low
        } else if y > self.high {
            self.high
        } else {
            y
        }
    }

    /// Normalises voxels in place.
    #[inline]
    pub fn apply_all(self, voxels: &mut [f32]) {
        voxels.iter_mut().for_each(|voxel| *voxel = self.apply(*voxel));
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

#[cfg(all(test, feature = "alloc"))]
mod tests;
