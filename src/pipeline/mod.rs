//! From a volume to its labels, with figures and a preview: the one way data takes through the
//! library.
//!
//! A [`Job`] says where a volume comes from and where its results go; [`FileJob`] says it by paths.
//! [`segment`] prepares the stages for one job and gathers the [`Report`]; [`stream`](mod@stream)
//! joins the stages. Nothing here knows a file format or the command line; progress goes to a
//! callback.

mod deferred;
mod device;
mod doubtful;
mod intensities;
mod job;
mod model;
mod outputs;
mod queue;
mod report;
mod segment;
pub mod stream;
mod window;

use thiserror::Error;

pub use device::Device;
pub use job::{Document, Extra, FileJob, Job, Make};
pub use model::Model;
pub use report::{Instance, ModelReport, Origin, Report};
pub use segment::{segment, segment_file, segment_file_on};

use crate::engine::EngineError;
use crate::package::{Beyond, FitError};
use crate::paths::PathError;
use crate::text::shown;
use crate::volume::{OutputError, VolumeError};

/// Why a volume was not segmented.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// Reading the volume failed.
    #[error(transparent)]
    Volume(VolumeError),
    /// Writing labels, picture or report failed.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The volume's slices do not fit the model.
    #[error("{}: does not fit the model", shown(path))]
    Fit {
        /// The volume.
        path: std::path::PathBuf,
        /// Why not.
        source: FitError,
    },
    /// The volume, or the part of it that is to be segmented, is not what the package's `[accepts]`
    /// asks for.
    #[error(
        "{}: not a volume that {package} was made for: {}: {}choose another package, or \
         --accept-any to segment it all the same",
        shown(path),
        doubtful::list(beyond),
        doubtful::advice(beyond)
    )]
    NotAccepted {
        /// The volume.
        path: std::path::PathBuf,
        /// Name and version of the package.
        package: String,
        /// The limits that it does not keep.
        beyond: Vec<Beyond>,
    },
    /// The net cannot be loaded.
    #[error(transparent)]
    Load(EngineError),
    /// The net failed.
    #[error("slice {slice} could not be segmented")]
    Engine {
        /// Along the third axis of the model's orientation.
        slice: usize,
        /// Why.
        source: EngineError,
    },
    /// A device that segments in the place of this machine's engines failed.
    #[error("{device}: slice {slice} could not be segmented")]
    Device {
        /// Which device.
        device: String,
        /// Of the slices, counted from 0 along the third axis of the model's orientation.
        slice: usize,
        /// Why.
        source: crate::engine::Cause,
    },
    /// An output that is an input or another output, exists, or cannot be written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A thread of the pipeline panicked: a fault in this program, not in the volume.
    #[error(
        "the {thread} thread panicked: {text}: this is a fault in the program, please report it"
    )]
    Panicked {
        /// `reader` or `worker` (the net).
        thread: &'static str,
        /// What the panic said.
        text: String,
    },
    /// The system had no further thread to give.
    #[error(
        "one of {threads} threads could not be started: ask for fewer, or raise the limits on \
         processes and memory \
         (ulimit -u and -v, a container's limit on pids)"
    )]
    Thread {
        /// How many the volume takes beside the caller's: a reader and the workers.
        threads: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// Stopped from outside.
    #[error("interrupted before the volume was done: nothing of it was written")]
    Interrupted,
}

impl From<VolumeError> for PipelineError {
    fn from(error: VolumeError) -> Self {
        match error {
            VolumeError::Interrupted { .. } => Self::Interrupted,
            other => Self::Volume(other),
        }
    }
}
