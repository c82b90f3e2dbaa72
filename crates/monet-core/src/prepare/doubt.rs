//! What makes a volume's intensities doubtful: warnings that say which figures and what to do.
//!
//! A net is shown intensities that were mapped to a window. Where that window has no width, or a
//! few voxels or padding alone set it, the net sees nothing of the body, finds nothing, and nobody
//! would know why.

use core::fmt;

use thiserror::Error;

/// How much a window must share with the one that the other voxels would set (of what either
/// covers) not to be doubted. The windows of 282 MR and CT volumes at hand, whole ones and crops,
/// share 0.70 and more; the sample with a layer of -1000 around it, in which no label is found,
/// 0.49.
pub(super) const SHARED: f64 = 0.6;

/// A doubt about one channel of a volume.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{}{doubt}", Channel(*channel))]
pub struct IntensityWarning {
    /// Channel, from 0; `None` where the volume has only one.
    pub channel: Option<usize>,
    /// What is doubtful.
    pub doubt: Doubt,
}

/// What can be doubtful.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Doubt {
    /// No voxel is a number.
    #[error("no voxel is a number: the net is shown nothing; check how the volume was made")]
    Nothing,
    /// Two percentiles are the same value.
    #[error(
        "percentiles {} and {} are both {value}: the net is shown nothing; check whether the \
         volume is empty, and crop padding or \
         segment a part (--region)", percentiles[0], percentiles[1]
    )]
    SamePercentiles {
        /// Which percentiles.
        percentiles: [f32; 2],
        /// Their value.
        value: f32,
    },
    /// The standard deviation is 0.
    #[error("all voxels are {value}: the net is shown nothing; check whether the volume is empty")]
    NoDeviation {
        /// The only value.
        value: f32,
    },
    /// Slices that are normalised each by itself, and have one value at both percentiles.
    #[error(
        "{blank} of {all} slices are blank (percentiles {} and {} of such a slice are the same): \
         the net is shown nothing of them; check whether they are empty, and leave them out or \
         segment a part (--region)", percentiles[0], percentiles[1]
    )]
    BlankSlices {
        /// How many.
        blank: u64,
        /// Of how many.
        all: u64,
        /// Which percentiles.
        percentiles: [f32; 2],
    },
    /// All voxels lie on one side of the package's window.
    #[error(
        "no voxel lies within the package's window of {} to {}, all are {} to {}: the net is shown \
         nothing; check the volume's \
         scaling (for CT, Hounsfield units), or choose a package for this kind of \
         image", window[0], window[1], range[0], range[1]
    )]
    OutsideWindow {
        /// The manifest's window.
        window: [f32; 2],
        /// Least and most value of the volume.
        range: [f32; 2],
    },
    /// Voxels that are hardly the body's set the window.
    #[error(
        "{} of the voxels, those {which} {value}, set the intensities that the net is shown: {} to \
         {} instead of about {} to {} \
         without them; check them, and crop padding or segment a part (--region)",
        Percent(*share), window[0], window[1], without[0], without[1]
    )]
    Few {
        /// Part of all voxels, 0 to 1.
        share: f64,
        /// Which voxels.
        which: Side,
        /// The value that bounds them.
        value: f32,
        /// What the net is shown: becomes 0 and 1; with a z-score, a standard deviation around the
        /// mean.
        window: [f32; 2],
        /// What it would be without those voxels.
        without: [f32; 2],
    },
}

/// Voxels on which side of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Up to it.
    UpTo,
    /// That have it.
    At,
    /// From it on.
    From,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpTo => "up to",
            Self::At => "of about",
            Self::From => "from",
        })
    }
}

struct Channel(Option<usize>);

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |channel| write!(f, "channel {channel}: "))
    }
}

struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match 100.0 * self.0 {
            percent if percent < 0.1 => f.write_str("less than 0.1 %"),
            percent => write!(f, "{percent:.1} %"),
        }
    }
}

/// The part of what two windows cover that both cover.
pub(super) fn shared([a, b]: [f64; 2], [c, d]: [f64; 2]) -> f64 {
    let (both, either) = (b.min(d) - a.max(c), b.max(d) - a.min(c));
    if either > 0.0 { both.max(0.0) / either } else { 1.0 }
}
