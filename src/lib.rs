//! Segments medical volumes on devices without GPU: slice by slice, in bounded memory, with a
//! quantized MoNet.
//!
//! What the library promises:
//!
//! - **Bounded memory.** One slice buffer a stage and worker, allocated before the first slice;
//!   nothing grows with the number of slices, and nothing is allocated from what a header merely
//!   claims.
//! - **All or nothing.** An output appears under its name only when it is complete, and a volume's
//!   outputs appear together; an earlier one is never damaged ([`atomic`]), and no output is an
//!   input or another output ([`paths`]).
//! - **The volume's own geometry.** Slices reach the net in the orientation it was trained on,
//!   whatever the file's; labels go back to the file's own grid.
//! - **Errors, not panics.** Bad input is an error that says what was found, what was expected and
//!   what to do. An ONNX file is checked whole before tract meets it, and a panic of tract's is an
//!   error where panics unwind. Tract might still abort or never end: a program that takes ONNX
//!   files from strangers tries them in another process first, as the command does (`onnx::needs`).
//!
//! Data takes one way: [`volume`] reads slices, [`package`] prepares them for the net and brings
//! labels back, [`engine`] runs the net, [`pipeline`] joins the three, [`measure`] says what came
//! out. Beside it, [`profile`](mod@profile) times a net on this machine or predicts it for one of
//! the [`targets`]. The int8 engine is a crate of its own; its types are at [`core`],
//! so that one dependency suffices.
//!
//! # Features
//!
//! Features add and never alter; each is on by default. Without any the crate is the library alone
//! and takes nets as plans.
//!
//! | feature | adds |
//! |---|---|
//! | `tract` | module `onnx`: packages whose net is an ONNX file, and plans made of them |
//! | `cli` | the command `monet`; `lean` is another name for it |
//! | `dicom` | module `dicom`: series as volumes, labels as DICOM objects |
//! | `models` | module `models`: signed packages in slots, with a way back |
//! | `serve` | the command's service, which needs nothing more of the library |
//! | `board` | module `board`, and `monet board`: volumes through a board at a serial line |
//! | `desk` | what a device has no use for: predictions and comparisons by the command |
//!
//! ```
//! use std::sync::Arc;
//!
//! use monet::core::Kernel;
//! use monet::package::Package;
//! use monet::pipeline::{self, FileJob, Model};
//!
//! let folder = tempfile::tempdir()?;
//! let job = FileJob {
//!     input: "models/sample/mni152-hippocampus.nii.gz".into(),
//!     output: folder.path().join("mask.nii.gz"),
//!     ..FileJob::default()
//! };
//! let mut model = Model::new(Package::embedded(), 2, Kernel::best());
//! let report = pipeline::segment_file(&mut model, &job, &Arc::default(), &mut |_, _| {})?;
//! assert_eq!(report.slices, 52);
//! assert!(report.labels.iter().all(|label| label.ml > 0.1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod atomic;
#[cfg(feature = "board")]
pub mod board;
#[cfg(feature = "dicom")]
pub mod dicom;
pub mod engine;
mod host;
pub mod measure;
#[cfg(feature = "models")]
pub mod models;
#[cfg(feature = "tract")]
pub mod onnx;
pub mod package;
pub mod paths;
pub mod pipeline;
pub mod profile;
mod size;
pub mod targets;
pub mod text;
mod unfinished;
pub mod volume;
mod whole;

pub use monet_core as core;
pub use monet_core::Size;
pub use unfinished::abandon_outputs;
