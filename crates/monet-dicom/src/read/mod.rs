//! From bytes to [`Dataset`](crate::Dataset): a file's header, and where its pixels lie.
//!
//! ```text
//! file, zip entry ─ Source ─▶ preamble, meta ─▶ [inflate] ─▶ elements ─▶ Header ─┐
//!                                                             Keep ──┘   Source ─┴▶ FrameReader
//! ```
//!
//! Memory holds what [`Keep`] asks for, within limits that stand beside it; never a whole file and
//! never pixels.

mod cursor;
pub mod directory;
mod element;
mod error;
mod header;
mod keep;
mod parse;
mod source;
mod vrs;
pub mod zip;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

pub use directory::{FileId, References, referenced};
pub use element::Skipped;
pub use error::ReadError;
pub use header::{
    Header, Instance, PixelData, PixelPlace, START, data_set, is_dicom, meta, open, read,
};
pub use keep::{
    Keep, MAX_DEPTH, MAX_ELEMENTS, MAX_INFLATED, MAX_KEPT, MAX_KEPT_OVER_FILE, MAX_SKIPPED,
    MAX_VALUE,
};
pub(crate) use source::fill;
pub use source::{FileSource, Source};
