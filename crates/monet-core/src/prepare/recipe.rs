//! What a package says about preparing slices: a few numbers.

use core::fmt;

use super::super::size::Size;

/// Intensity normalisation, per channel and volume, or slice.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)
)]
pub enum Normalise {
    /// `[low, high]` (for CT in HU) becomes `[0, 1]`; what is outside is clipped.
    Window {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// The volume's own percentiles `low` and `high` (0–100) become 0 and 1; what is outside is
    /// clipped.
    Percentiles {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// As `percentiles`, of the voxels that do not have the volume's most frequent value: for
    /// volumes that are padded, or cut out by a mask. That value must be one voxel's in 128 at
    /// least; where the others leave no width, all voxels count.
    #[cfg_attr(feature = "serde", serde(rename = "foreground-percentiles"))]
    ForegroundPercentiles {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// As `percentiles`, of every slice by itself: for packages whose slices are images of their
    /// own. How bright a slice is among others is then lost.
    #[cfg_attr(feature = "serde", serde(rename = "slice-percentiles"))]
    SlicePercentiles {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// Mean 0 and standard deviation 1 over the volume, clipped to `[-clip, clip]`.
    ZScore {
        /// In standard deviations.
        clip: f32,
    },
}

impl fmt::Display for Normalise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { low, high } => write!(f, "intensities {low} to {high}"),
            Self::Percentiles { low, high } => write!(f, "percentiles {low} to {high}"),
            Self::ForegroundPercentiles { low, high } => {
                write!(f, "percentiles {low} to {high} of the foreground")
            }
            Self::SlicePercentiles { low, high } => {
                write!(f, "percentiles {low} to {high} of each slice")
            }
            Self::ZScore { clip } => write!(f, "mean 0 and deviation 1, clipped at {clip}"),
        }
    }
}

/// How a slice is brought to the net's size.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)
)]
pub enum FitRule {
    /// Resampled to this in-plane spacing, then padded with 0 around its centre. A slice larger
    /// than the package's size is never cropped: the net is planned larger.
    Pad {
        /// Millimetres per pixel along width and height.
        spacing: [f64; 2],
    },
    /// The whole field of view is resized to the net's size.
    Resize,
}

impl fmt::Display for FitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pad { spacing: [x, y] } => write!(f, "padded at {x} x {y} mm"),
            Self::Resize => write!(f, "resized to the net's size"),
        }
    }
}

/// What a package says about preparing slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Channels of a slice.
    pub channels: usize,
    /// Neighbours on either side of a slice that the net sees with it.
    pub neighbours: usize,
    /// The least size of the net's input: a multiple of `step`.
    pub size: Size,
    /// Largest height and width of the net's input.
    pub ceiling: usize,
    /// A slice is padded to multiples of this.
    pub step: usize,
    /// How intensities are normalised.
    pub normalise: Normalise,
    /// How a slice is brought to the net's size.
    pub fit: FitRule,
}

impl Recipe {
    /// Largest height and width of a net's input, and so of `ceiling`.
    pub const MAX_SIDE: usize = 4096;
    /// Most channels of a slice.
    pub const MAX_CHANNELS: usize = 16;
    /// Most neighbours on either side of a slice.
    pub const MAX_NEIGHBOURS: usize = 4;

    /// Slices that the net sees at once: one between its neighbours.
    #[must_use]
    pub fn slices(&self) -> usize {
        2 * self.neighbours + 1
    }
}
