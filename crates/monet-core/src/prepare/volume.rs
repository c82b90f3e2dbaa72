//! Whole volumes of several channels, in memory of their own.
//!
//! Where the package normalises every slice by itself, a slice's maps come from its own voxels
//! ([`slicewise`]), and the pass looks for slices that show nothing. What looks doubtful about the
//! result is a warning.

use alloc::{vec, vec::Vec};

use super::doubt::{Doubt, IntensityWarning};
use super::normalise::{ChannelStats, Map};
use super::recipe::Normalise;
use super::slicewise::{self, SliceIntensity};

/// Collects what a [`Normalise`] needs to know of a volume.
///
/// ```
/// use monet_core::prepare::{IntensityStats, Normalise};
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
    Stats(ChannelStats<Vec<u64>>),
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
            Normalise::SlicePercentiles { low, high } => Channel::Slices(Slices::new([low, high])),
            _ => {
                let stats = ChannelStats::new(normalise, Vec::new());
                if stats.wants_pass() { Channel::Stats(stats) } else { Channel::Done(stats.map()) }
            }
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
            match channel {
                Channel::Done(_) => {}
                Channel::Stats(stats) => stats.add(voxels.iter().copied()),
                Channel::Slices(slices) => slices.add(voxels),
            }
        }
    }

    /// Ends a pass over the volume.
    pub fn end_pass(&mut self) {
        let several = self.channels.len() > 1;
        for (i, channel) in self.channels.iter_mut().enumerate() {
            let ended = match channel {
                Channel::Stats(stats) => {
                    stats.end_pass();
                    (!stats.wants_pass()).then(|| (stats.map(), stats.doubt()))
                }
                // The map of no slice: each has its own.
                Channel::Slices(slices) => Some((Map::unit(0.0, 0.0), slices.doubt())),
                Channel::Done(_) => None,
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
    /// another; what is not finite becomes [`BACKGROUND`](super::normalise::BACKGROUND).
    pub fn apply(&self, planes: &mut [f32], pixels: usize) {
        let mut maps = self.maps.clone();
        let mut voxels = vec![0.0; self.each_slice.map_or(0, |_| pixels)];
        for (i, plane) in planes.chunks_exact_mut(pixels).enumerate() {
            let map = &mut maps[i % self.maps.len()];
            if let Some(percentiles) = self.each_slice {
                voxels.copy_from_slice(plane);
                *map = slicewise::map(&mut voxels, percentiles);
            }
            map.apply_all(plane);
        }
    }

    /// The same for slices that come row by row, of so many pixels a channel; all that it needs is
    /// allocated here.
    #[must_use]
    pub fn by_rows(&self, pixels: usize) -> SliceIntensity {
        SliceIntensity::new(self, pixels)
    }
}
