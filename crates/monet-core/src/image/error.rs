//! Why bytes are no image.

use super::VERSION;
use super::reason::Reason;
use super::record::Section;
use core::fmt;

/// Bytes that are no image of a plan, or one that must not be run.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes do not lie at a multiple of 64.
    #[error("the plan lies at an address that is no multiple of 64")]
    Unaligned,
    /// Something else.
    #[error("this is no plan: it does not begin with MONETPLN")]
    Magic,
    /// Of a version that this program does not know.
    #[error(
        "the plan has version {0}, this program runs version {VERSION}: compile it again with the \
         `monet compile --for` of this program, or use the program that made it"
    )]
    Version(u32),
    /// The end came early, or something follows.
    #[error("the plan has {found} bytes, its header says {expected}: copy the file again")]
    Length {
        /// Bytes that are there.
        found: usize,
        /// Bytes that should be.
        expected: u64,
    },
    /// A kernel that this program does not know.
    #[error(
        "the plan is for kernel number {0}, which this program does not know: compile it again"
    )]
    Kernel(u32),
    /// A section lies outside the image, overlaps another or holds no whole records.
    #[error("the plan's section of {0} is not where it should be: the file is damaged")]
    Section(SectionName),
    /// A record says what cannot be.
    #[error("{what} {index} of the plan is not valid: {reason}")]
    Invalid {
        /// Kind of record.
        what: &'static str,
        /// Its index.
        index: usize,
        /// What is wrong.
        reason: Reason,
    },
}

/// The name of a part of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SectionName(pub(crate) Section);

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Section::Tensors => "tensors",
            Section::Steps => "steps",
            Section::Passes => "passes",
            Section::Phases => "phases",
            Section::Feeds => "feeds",
            Section::Stages => "stages",
            Section::Taps => "taps",
            Section::Bias => "biases",
            Section::Scales => "scales",
            Section::Tables => "tables",
            Section::Names => "names",
            Section::Attachment => "the attachment",
            Section::Weights => "weights",
            Section::Recipe => "the recipe",
        })
    }
}

impl fmt::Debug for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
