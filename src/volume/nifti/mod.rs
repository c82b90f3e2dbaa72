//! NIfTI, versions 1 and 2: the one file format that is read and written.
//!
//! A header is found in bytes and parsed into numbers, which are validated into a
//! [`Grid`](super::Grid); planes follow it. Where a file is something else, the error names what it
//! is.

mod bytes;
mod fields;
mod forms;
mod header;
mod kinds;
mod labels;
mod reader;

pub(super) use fields::Fields;
pub use header::NiftiHeader;
pub use labels::NiftiLabels;
pub use reader::NiftiReader;
