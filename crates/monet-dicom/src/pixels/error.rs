//! What can be wrong with an image's pixels.

use std::io;

use super::format::{MAX_FRAME_BYTES, MAX_FRAMES};
use crate::dataset::Tag;
use crate::read::ReadError;
use crate::syntax::Syntax;

/// Why pixels are not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PixelError {
    /// The file holds no pixels.
    #[error("no Pixel Data: the file holds no image")]
    None,
    /// An element that describes the pixels is missing or is no number.
    #[error("element {0} is missing or is no whole number")]
    Missing(Tag),
    /// An element says what cannot be.
    #[error("element {tag} is {found}, expected {expected}")]
    Value {
        /// Which element.
        tag: Tag,
        /// What it says.
        found: u64,
        /// What it may say.
        expected: &'static str,
    },
    /// One frame is larger than this reader takes.
    #[error("a frame of {found} bytes, {MAX_FRAME_BYTES} are the most")]
    Large {
        /// Its size.
        found: u64,
    },
    /// There are more frames than this reader takes.
    #[error("{found} frames, {MAX_FRAMES} are the most")]
    Frames {
        /// Their number.
        found: u64,
    },
    /// A form of pixels that this crate does not decode.
    #[error("{0} cannot be decoded")]
    Unsupported(&'static str),
    /// Float Pixel Data or Double Float Pixel Data.
    #[error("floating point pixels cannot be read")]
    Floats,
    /// A transfer syntax that this build does not decode.
    #[error("transfer syntax {syntax} cannot be decoded")]
    Syntax {
        /// Which syntax.
        syntax: Syntax,
    },
    /// A frame that the image does not have.
    #[error("frame {frame} is asked for, the image has {frames} (counted from 0)")]
    Frame {
        /// The frame, from 0.
        frame: u32,
        /// How many there are.
        frames: u32,
    },
    /// The pixels end before the frame does.
    #[error(
        "frame {frame} needs {needed} bytes, {left} are there: the file is cut off or its \
             Rows, Columns or Number of Frames are wrong"
    )]
    Truncated {
        /// The frame, from 0.
        frame: u32,
        /// How many bytes it takes.
        needed: u64,
        /// How many are there.
        left: u64,
    },
    /// Items of compressed pixels that are no such items.
    #[error("compressed pixels at byte {offset}: {what}")]
    Encapsulation {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A compressed frame that contradicts the file's header.
    #[error("the {codec} frame says {what} {found}, the file's header {expected}")]
    Mismatch {
        /// Which compression.
        codec: &'static str,
        /// Of what.
        what: &'static str,
        /// What the frame says.
        found: u64,
        /// What the header says.
        expected: u64,
    },
    /// A compressed frame that is damaged.
    #[error("the {codec} frame is damaged: {what}")]
    Codec {
        /// Which compression.
        codec: &'static str,
        /// What its decoder says.
        what: String,
    },
    /// A decoder gave too little or too much.
    #[error("the decoded frame has {found} bytes, expected {expected}")]
    Length {
        /// How many.
        found: usize,
        /// How many a frame has.
        expected: usize,
    },
    /// A sample that does not fit into 32 bits with a sign.
    #[error("a sample is larger than 2147483647")]
    Range,
    /// A decoder in another process failed.
    #[error("decoding failed: {0}")]
    Process(String),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl PixelError {
    /// What to do with a file that is of no form that this crate reads; none of one that is
    /// damaged.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Syntax { .. } | Self::Unsupported(_) => {
                Some("convert it, with `gdcmconv --raw IN OUT` or `dcmdjpeg IN OUT`")
            }
            Self::Floats => Some("write it as whole numbers with slope and intercept"),
            _ => None,
        }
    }
}

impl From<io::Error> for PixelError {
    fn from(error: io::Error) -> Self {
        Self::Read(error.into())
    }
}
