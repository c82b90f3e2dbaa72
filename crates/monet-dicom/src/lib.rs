//! DICOM series as volumes, and labels as DICOM objects.
//!
//! ```text
//! files, zip, DICOMDIR ─ read ─▶ Dataset ─ series ─▶ stacks of slices ─ pixels ─▶ samples
//! labels ─────────────── objects (SEG, label map, RTSTRUCT, SR, capture) ─ write ─▶ file
//! ```
//!
//! The crate knows DICOM and nothing of nets. Nothing in a file is trusted: what a length declares
//! is compared with what is left of the file before memory is taken for it, and depth and counts
//! have limits.

#![forbid(unsafe_code)]

pub mod dataset;
#[doc(hidden)]
pub mod fuzz;
pub mod objects;
pub mod pixels;
pub mod read;
pub mod series;
pub mod syntax;
pub mod tags;
pub mod uid;
pub mod valid;
pub mod vector;
pub mod write;

pub use dataset::{Dataset, Element, Tag, Value, Vr};
