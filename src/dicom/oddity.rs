//! What is odd about a stack of slices.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// What is odd about a stack of slices. Some of it is only worth knowing; where
/// [`Oddity::obstacle`] says so, the stack is no volume.
#[derive(Debug, Clone, PartialEq, Serialize, Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Oddity {
    /// Slices are missing: distances are whole multiples of the usual one.
    #[error(
        "{} missing, {} from the first slice",
        Count(*count, "slice is", "slices are"),
        Places(at_mm, *count)
    )]
    Gap {
        /// How many.
        count: usize,
        /// Where the first few of them would be, along the normal from the first slice.
        at_mm: Vec<f64>,
    },
    /// Distances differ, and not by whole slices.
    #[error("slices are {} to {} apart", Mm(*least_mm), Mm(*most_mm))]
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
    #[error(
        "{} where others lie, and nothing tells them apart",
        Count(*count, "slice lies", "slices lie")
    )]
    Repeated {
        /// How many.
        count: usize,
    },
    /// The same instances are there several times. They count once.
    #[error("{count} of the files are there already under another name, and count once")]
    Duplicates {
        /// How many files.
        count: usize,
    },
    /// Files with one SOP Instance UID and different content.
    #[error(
        "{count} of the files have the instance UID of another file and not its content, such as \
         {} and {}: which of them is the instance? Remove the other",
        files[0], files[1]
    )]
    Conflict {
        /// How many files.
        count: usize,
        /// Two of the files.
        files: [String; 2],
    },
    /// Slices of the series are in other stacks.
    #[error(
        "{} in other stacks, as size, orientation, modality, echo time or the like differ",
        Count(*count, "slice of this series is", "slices of this series are")
    )]
    Siblings {
        /// How many.
        count: usize,
    },
    /// Images of the series are in no stack.
    #[error("{} of this series passed over: {reason}", Count(*count, "image", "images"))]
    LeftOut {
        /// How many images.
        count: usize,
        /// Why the first of them is.
        reason: String,
    },
    /// Pixels that cannot be read, as far as headers show it.
    #[error(
        "{} pixels that cannot be read, such as {file}: {reason}",
        Count(*count, "file has", "files have")
    )]
    Undecodable {
        /// How many files.
        count: usize,
        /// One of the files.
        file: String,
        /// Why, and what to do.
        reason: String,
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
            Self::Crooked
            | Self::Repeated { .. }
            | Self::Conflict { .. }
            | Self::Undecodable { .. } => true,
            _ => false,
        }
    }
}

/// A length of any size, in few characters.
pub(super) struct Mm(pub(super) f64);

impl fmt::Display for Mm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mm", Number(self.0))
    }
}

/// A number of any size, in few characters.
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What files say need not be what a scanner can measure.
        if self.0.abs() < 1e6 { write!(f, "{:.3}", self.0) } else { write!(f, "{:.3e}", self.0) }
    }
}

/// Places in a stack, the first few of so many.
struct Places<'a>(&'a [f64], usize);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|mm| Number(*mm).to_string()).collect();
        let more = if self.1 > all.len() { " and more" } else { "" };
        write!(f, "{}{more} mm", all.join(", "))
    }
}

/// So many of something, by its words for one and for several.
struct Count(usize, &'static str, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { self.1 } else { self.2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_several_are_several() {
        let gap = |count, at_mm: &[f64]| Oddity::Gap { count, at_mm: at_mm.to_vec() }.to_string();
        assert_eq!(gap(1, &[3.0]), "1 slice is missing, 3.000 mm from the first slice");
        assert_eq!(
            gap(2, &[3.0, 9.5]),
            "2 slices are missing, 3.000, 9.500 mm from the first slice"
        );
        assert!(gap(9, &[1.0]).contains("1.000 and more mm"));
        let repeated = Oddity::Repeated { count: 1 }.to_string();
        assert!(repeated.starts_with("1 slice lies where others lie"));
    }

    #[test]
    fn no_number_is_long() {
        let odd = Oddity::Uneven { least_mm: -1e300, most_mm: f64::MAX }.to_string();
        assert_eq!(odd, "slices are -1.000e300 mm to 1.798e308 mm apart");
    }
}
