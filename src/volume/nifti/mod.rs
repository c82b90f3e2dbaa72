//! NIfTI, versions 1 and 2: the one file format that is read and written.
//!
//! | file | job |
//! |---|---|
//! | `bytes` | a file's bytes, decompressed and watched for changes |
//! | `fields` | a header's numbers, from bytes and to bytes |
//! | `forms` | the placement that these numbers mean |
//! | `header` | finds, parses and validates a header into a [`Grid`](super::Grid) |
//! | `kinds` | names files that are something else |
//! | `reader` | planes in |
//! | `labels` | labels out |

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
