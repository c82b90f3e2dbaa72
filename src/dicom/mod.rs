//! DICOM series as volumes, labels as DICOM objects.
//!
//! ```text
//! folder, zip, file ─ Scan ─▶ Series ─ DicomReader (PlaneReader) ─▶ the pipeline
//!                    choose ──┘  └──── DicomLabels (LabelWriter) ◀─ labels
//! ```
//!
//! [`monet_dicom`] knows the format. This module knows both it and the library: how a stack of
//! slices becomes a [`Grid`](crate::volume::Grid), which series a package takes, and what the
//! package's labels are called in DICOM.

mod choose;
mod context;
mod form;
mod job;
mod labels;
pub(crate) mod masks;
mod oddity;
mod reader;
mod series;
mod space;

pub use choose::{Choice, ChoiceError, choose, list, obstacles, unread};
pub use context::Device;
pub use form::{Form, Format, NameError, object_name};
pub use job::{Decoders, DicomJob};
pub use labels::DicomLabels;
pub use oddity::Oddity;
pub use reader::DicomReader;
pub use series::Series;

pub use monet_dicom as format;
