//! Coded concepts (PS3.3, section 8; PS3.16).

use std::borrow::Cow;

/// A coded concept, such as (15776009, SCT, "Pancreas").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Code {
    /// Code Value (0008,0100): 16 characters at most.
    pub value: Cow<'static, str>,
    /// Coding Scheme Designator (0008,0102), such as `SCT` or `DCM`.
    pub scheme: Cow<'static, str>,
    /// Code Meaning (0008,0104): 64 characters at most.
    pub meaning: Cow<'static, str>,
}

impl Code {
    /// A code that this program knows.
    #[must_use]
    pub const fn new(value: &'static str, scheme: &'static str, meaning: &'static str) -> Self {
        Self {
            value: Cow::Borrowed(value),
            scheme: Cow::Borrowed(scheme),
            meaning: Cow::Borrowed(meaning),
        }
    }

    /// Whether value, scheme and meaning are there and short enough for their elements.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let fits = |text: &str, most| {
            (1..=most).contains(&text.chars().count())
                && !text.contains(|c: char| c.is_control() || c == '\\')
        };
        fits(&self.value, 16) && fits(&self.scheme, 16) && fits(&self.meaning, 64)
    }
}

/// What a segment is when nobody says: its category and its type.
pub(super) static TISSUE: Code = Code::new("85756007", "SCT", "Tissue");
/// What the pixels are that belong to no segment.
pub(super) static BACKGROUND: Code = Code::new("125040", "DCM", "Background");
/// The category of [`BACKGROUND`].
pub(super) static SPATIAL: Code = Code::new("309825002", "SCT", "Spatial and Relational Concept");
/// The family of algorithms that nets belong to (CID 7162).
pub(super) static ARTIFICIAL_INTELLIGENCE: Code =
    Code::new("123110", "DCM", "Artificial Intelligence");
/// What was done to the source (A.51.5.1).
pub(super) static SEGMENTATION: Code = Code::new("113076", "DCM", "Segmentation");
/// What the source is to a segmentation (A.51.5.1).
pub(super) static SOURCE_IMAGE: Code =
    Code::new("121322", "DCM", "Source Image for Image Processing Operation");
/// What the scanner contributed (CID 7005).
pub(super) static ACQUISITION: Code = Code::new("109101", "DCM", "Acquisition Equipment");
/// What this program contributed (CID 7005).
pub(super) static PROCESSING: Code = Code::new("109102", "DCM", "Processing Equipment");
