//! What can be wrong with a DICOM file, or with what holds it.

use std::io;

use super::keep::{MAX_DEPTH, MAX_ELEMENTS, MAX_INFLATED, MAX_KEPT};
use crate::dataset::{Tag, Vr};

/// Why a file is not read.
///
/// An error names places and tags, never values: values may name a patient.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read at byte {offset}: {source}")]
    Io {
        /// Where in the file, or in the inflated data set.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error(
        "no DICOM file: {}",
        if *blank { "it is empty, or begins with zeros alone: copy it again" }
        else { "neither `DICM` at byte 128 nor a data set at byte 0" }
    )]
    NotDicom {
        /// Whether the file is empty or begins with zeros alone, as a copy that failed does.
        blank: bool,
    },
    /// The file ends in the midst of an element.
    #[error(
        "element {tag} at byte {offset} needs {needed} bytes, the file has {left} more: \
             the file is cut off or its length is wrong"
    )]
    Truncated {
        /// Which element; (0000,0000) where even the tag is missing.
        tag: Tag,
        /// Where the element's value begins.
        offset: u64,
        /// How many bytes the element declares.
        needed: u64,
        /// How many bytes are there.
        left: u64,
    },
    /// An element reaches over the end of the item or sequence that it is in.
    #[error("element {tag} at byte {offset} is longer than the item or sequence that holds it")]
    Overrun {
        /// Which element.
        tag: Tag,
        /// Where the element begins.
        offset: u64,
    },
    /// Sequences in sequences.
    #[error("sequence {tag} at byte {offset} lies deeper than {MAX_DEPTH} levels")]
    Depth {
        /// Which sequence.
        tag: Tag,
        /// Where the sequence begins.
        offset: u64,
    },
    /// More elements than a header has.
    #[error("more than {MAX_ELEMENTS} elements up to byte {offset}")]
    Elements {
        /// Where the first element too many begins.
        offset: u64,
    },
    /// Kept elements would take too much memory.
    #[error(
        "the header takes more than {limit} bytes of memory up to byte {offset} \
             (limits: the file's size and 16 MiB, {MAX_KEPT} in all)"
    )]
    Memory {
        /// Where the element begins that is too much.
        offset: u64,
        /// The limit for this file.
        limit: u64,
    },
    /// An item or a delimiter where none can be.
    #[error("{tag} at byte {offset} stands outside of a sequence")]
    Stray {
        /// Item, Item Delimitation or Sequence Delimitation.
        tag: Tag,
        /// Where it is.
        offset: u64,
    },
    /// A sequence that holds something other than items.
    #[error("{tag} at byte {offset} stands in a sequence where an item must begin")]
    NoItem {
        /// What stands there.
        tag: Tag,
        /// Where it is.
        offset: u64,
    },
    /// A length that cannot be undefined is.
    #[error("element {tag} ({vr}) at byte {offset} has no length")]
    NoLength {
        /// Which element.
        tag: Tag,
        /// Its value representation.
        vr: Vr,
        /// Where the element begins.
        offset: u64,
    },
    /// A compressed data set or zip entry that grows too large.
    #[error("more than {MAX_INFLATED} bytes come out of the compressed data")]
    Inflated,
    /// A zip archive that cannot be read.
    #[error("zip archive: {0}")]
    Zip(&'static str),
    /// A DICOMDIR that cannot be used.
    #[error("DICOMDIR: {0}")]
    Directory(&'static str),
}
