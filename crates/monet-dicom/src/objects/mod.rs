//! What a segmentation becomes: DICOM objects that say where they come from.
//!
//! ```text
//!             ┌─ SegWriter ──────── binary segmentation: a frame a slice and segment, bits
//!  Context    ├─ LabelmapWriter ─── label map segmentation: a frame a slice, bytes
//!  planes     │
//!             ├─ report::write ──── measurement report (TID 1500) on the segments
//!             └─ capture::write ─── a picture
//! ```
//!
//! The first three take one plane of labels after the other, in the order of the context's
//! slices, and keep what is encoded in a spool, a temporary file, because a DICOM file says how
//! much there is before it says what. Their memory does not depend on how many slices there are,
//! but for some bytes a slice.
//!
//! Nothing here asks the clock or the machine: equal contexts and planes give equal bytes. An
//! instance's UID follows from its content; since a header names it, whoever makes an object says
//! beforehand what the planes are ([`Context::content`]).
//! [`masks`] is the way back, from objects to planes of labels.

pub mod capture;
mod codes;
mod colour;
mod content;
mod context;
mod contours;
mod error;
mod groups;
mod header;
mod labelmap;
pub mod masks;
mod origin;
pub mod report;
mod rtstruct;
mod seg;
mod segment;
mod text;

pub use codes::Code;
pub use context::{Algorithm, Context, Kind, Segment, Slice, Source};
pub use error::{ObjectError, Warning};
pub use labelmap::LabelmapWriter;
pub use rtstruct::RtstructWriter;
pub use seg::SegWriter;
