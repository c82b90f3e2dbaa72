//! What is odd about a stack of slices.

use serde::Serialize;
use thiserror::Error;

/// What is odd about a stack of slices. Some of it is only worth knowing; where
/// [`Oddity::obstacle`] says so, the stack is no volume.
#[derive(Debug, Clone, PartialEq, Serialize, Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Oddity {
    /// Slices are missing: distances are whole multiples of the usual one.
    #[error("{count} slices are missing, the first {first_mm:.2} mm from the first slice")]
    Gap {
        /// How many.
        count: usize,
        /// Where the first of them would be, along the normal from the first slice.
        first_mm: f64,
    },
    /// Distances differ, and not by whole slices.
    #[error("slices are {least_mm:.3} to {most_mm:.3} mm apart")]
    Uneven {
        /// The least distance.
        least_mm: f64,
        /// The greatest.
        most_mm: f64,
    },
    /// Each slice is shifted against the one before, as a tilted gantry does.
    #[error("the slices are shifted by {degrees:.1} degrees, as with a tilted gantry")]
    Tilt {
        /// The angle.
        degrees: f64,
    },
    /// Shifts follow no line.
    #[error("the slices' first pixels lie on no line")]
    Crooked,
    /// Slices lie where others lie, and nothing tells them apart.
    #[error("{count} slices lie where others lie, and nothing tells them apart")]
    Repeated {
        /// How many.
        count: usize,
    },
    /// The same instances are there several times. They count once.
    #[error("{count} instances are there twice, and count once")]
    Duplicates {
        /// How many.
        count: usize,
    },
    /// It is an overview for planning.
    #[error("a localizer")]
    Localizer,
    /// It has no Study, Series or SOP Instance UID of its own, which a DICOM result would name.
    #[error("identifiers are missing: its results can be NIfTI, not DICOM")]
    NoUids,
    /// Small values are white.
    #[error("small values are white (MONOCHROME1); intensities are taken as they are")]
    Inverted,
    /// Pixels were once compressed with loss.
    #[error("pixels were compressed with loss")]
    Lossy,
}

impl Oddity {
    /// Whether it keeps the stack from being a volume. Gaps and uneven distances do unless they
    /// are allowed.
    #[must_use]
    pub fn obstacle(&self, allow_gaps: bool) -> bool {
        match self {
            Self::Gap { .. } | Self::Uneven { .. } => !allow_gaps,
            Self::Crooked | Self::Repeated { .. } => true,
            _ => false,
        }
    }
}
