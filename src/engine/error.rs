//! Why a net cannot be loaded or run.

use std::error::Error;

use monet_core::{Kernel, KernelError, PlanError, Size, WireError};

use crate::package::PackageError;

/// What an engine or a reader of nets says, whatever its error type is.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a net cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine does not take the net.
    #[error("{origin}: the net cannot be loaded")]
    Load {
        /// Where the package came from.
        origin: String,
        /// What the engine says.
        source: Cause,
    },
    /// The net's file is refused before an engine meets it.
    #[error("{origin}: this ONNX file cannot be used")]
    Refused {
        /// Where the package came from.
        origin: String,
        /// What is wrong with the file.
        source: Cause,
    },
    /// The engine panicked on the net. The panic ended inside the engine.
    #[error(
        "{origin}: tract failed on this net: {reason}: the file is damaged, or made in a way that \
         tract does not take"
    )]
    Panicked {
        /// Where the package came from.
        origin: String,
        /// What the panic said.
        reason: String,
    },
    /// A caller's factory tried the net before running it, and the trial failed.
    #[error("{origin}: this net is not run here: {reason}")]
    Trial {
        /// Where the package came from.
        origin: String,
        /// How the trial failed.
        reason: String,
    },
    /// The net's input or output is not what the manifest says.
    #[error(
        "{origin}: the net's {what} is {found}, the manifest says {expected}: file and manifest do \
         not belong together"
    )]
    Mismatch {
        /// Where the package came from.
        origin: String,
        /// Input or output.
        what: &'static str,
        /// Shape and type in the net.
        found: String,
        /// Shape and type that follow from the manifest.
        expected: String,
    },
    /// An ONNX file without manifest does not say what its slices are.
    #[error("{origin}: the net's {what} is {found}, expected {expected}")]
    Bare {
        /// The ONNX file.
        origin: String,
        /// Input or output.
        what: &'static str,
        /// What the file says.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] PackageError),
    /// The plan file is whole, but its net is malformed.
    #[error("{origin}: the plan's net cannot be used")]
    Plan {
        /// Where the package came from.
        origin: String,
        /// What is wrong with it.
        source: WireError,
    },
    /// The int8 engine cannot plan the net for the slice's size.
    #[error("{origin}: the net cannot be planned")]
    Unplannable {
        /// Where the package came from.
        origin: String,
        /// Why not.
        source: PlanError,
    },
    /// The package is an image, which is planned for a kernel that a board does not take.
    #[error(
        "{origin}: is planned for the kernel {found}, and the board takes {expected}: compile its \
         package with `--for {expected}`"
    )]
    OtherKernel {
        /// Where the package came from.
        origin: String,
        /// The image's kernel.
        found: Kernel,
        /// The board's.
        expected: Kernel,
    },
    /// The package is an image, which is planned for slices of another size.
    #[error(
        "{origin}: is planned for slices of {found}, and these need {expected}: compile it with \
         `--for {kernel} --size {expected}`"
    )]
    Planned {
        /// Where the package came from.
        origin: String,
        /// Height and width that the image is for.
        found: Size,
        /// Height and width of the net's slices here.
        expected: Size,
        /// The image's kernel.
        kernel: Kernel,
    },
    /// The net is an ONNX file and the factory takes plans alone.
    #[error(
        "{origin}: is an ONNX package, and this build runs plans alone: make one of it with `monet \
         compile` of the full build"
    )]
    NeedsPlan {
        /// Where the package came from.
        origin: String,
    },
    /// The int8 engine does not take the whole net, so no plan can be made of it.
    #[error(
        "{origin}: no plan can be made of a net that the int8 engine does not take as a whole: \
         {reason}"
    )]
    NotWhole {
        /// Where the package came from.
        origin: String,
        /// The nodes that the int8 engine does not take.
        reason: String,
    },
    /// The kernel asked for is unknown or the CPU lacks it.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The net failed on a slice.
    #[error("the net failed on a slice")]
    Run {
        /// What the engine says.
        source: Cause,
    },
}

impl EngineError {
    /// The net failed on a slice, for engines of your own.
    pub fn run(source: impl Into<Cause>) -> Self {
        Self::Run { source: source.into() }
    }
}
