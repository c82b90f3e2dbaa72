//! Runs a package's net on one slice.
//!
//! [`Engine`] is the seam: the pipeline knows nothing else of nets. Volumes, intensities and files
//! are not known here.

#[cfg(feature = "tract")]
mod bare;
#[cfg(feature = "tract")]
mod compile;
mod describe;
#[cfg(feature = "tract")]
mod guard;
pub mod int8;
#[cfg(feature = "tract")]
mod needs;
#[cfg(feature = "tract")]
mod onnx;
mod quantized;
#[cfg(feature = "tract")]
mod reading;
mod selftest;
#[cfg(feature = "tract")]
mod stock;

#[cfg(feature = "tract")]
pub use bare::bare;
#[cfg(feature = "tract")]
pub use compile::compile;
pub use describe::{Layer, Summary, describe};
#[cfg(feature = "tract")]
pub use guard::OnnxError;
#[cfg(feature = "tract")]
pub use needs::{Needs, needs};
pub use quantized::QuantizedEngine;
pub use selftest::{KernelCheck, self_test};
#[cfg(feature = "tract")]
pub use stock::StockEngine;

use thiserror::Error;

use crate::package::Package;
#[cfg(feature = "tract")]
use crate::package::{Output, PackageError};

/// Turns a prepared slice into labels; each worker thread owns one.
pub trait Engine: Send {
    /// Height and width that it is planned for.
    fn size(&self) -> [usize; 2];

    /// What it is, for reports: `int8 avx512-vnni`.
    fn name(&self) -> String;

    /// Segments a slice: `input` is planes × height × width, each part of it as
    /// [`Fit::prepare`](crate::package::Fit::prepare) makes it from the slice or a
    /// neighbour, `labels` height × width.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError>;
}

/// Which engine runs a net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// What is quantized, the int8 engine with this kernel; the rest, tract.
    Int8(int8::Kernel),
    /// All of it tract, as it comes: an outside check.
    #[cfg(feature = "tract")]
    Tract,
}

impl From<int8::Kernel> for Choice {
    fn from(kernel: int8::Kernel) -> Self {
        Self::Int8(kernel)
    }
}

/// Why a net cannot be loaded or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The ONNX file is none, or has an operator or a shape that tract does not take.
    #[error("{origin}: the ONNX file cannot be used: {reason}")]
    Load {
        /// Where the package came from.
        origin: String,
        /// What tract says.
        reason: String,
    },
    /// The ONNX file is refused before anything is made of it.
    #[cfg(feature = "tract")]
    #[error("{origin}: this ONNX file cannot be used")]
    Refused {
        /// Where the package came from.
        origin: String,
        /// What is wrong with it.
        source: OnnxError,
    },
    /// Tract panicked on the net, which the panic did not leave.
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
    /// A trial of the net, which the caller has made of it before, failed.
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
        /// Shape and type in the ONNX file.
        found: String,
        /// What the manifest makes one expect.
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
    #[cfg(feature = "tract")]
    #[error(transparent)]
    File(#[from] PackageError),
    /// The net of a plan file is none, although the file is whole.
    #[error("{origin}: the plan's net cannot be used")]
    Plan {
        /// Where the package came from.
        origin: String,
        /// What is wrong with it.
        source: int8::WireError,
    },
    /// No plan can be made for a slice's size or a kernel.
    #[error("{origin}: the net cannot be planned")]
    Unplannable {
        /// Where the package came from.
        origin: String,
        /// Why not.
        source: int8::PlanError,
    },
    /// The net is an ONNX file and this build has no tract to read it with.
    #[error(
        "{origin}: is an ONNX package, and this build runs plans alone: make one of it with `monet \
         compile` of the full build"
    )]
    NeedsTract {
        /// Where the package came from.
        origin: String,
    },
    /// The int8 engine does not take the whole net, and nothing else runs in a plan.
    #[error(
        "{origin}: no plan can be made of a net that the int8 engine does not take as a whole: \
         {reason}"
    )]
    NotWhole {
        /// Where the package came from.
        origin: String,
        /// What stands in the way.
        reason: String,
    },
    /// The kernel asked for cannot be had.
    #[error(transparent)]
    Kernel(#[from] int8::KernelError),
    /// Running failed.
    #[error("the net failed on a slice: {0}")]
    Run(String),
}

/// The engines of one volume: one a worker thread, sharing weights. A [`Kernel`](int8::Kernel) asks
/// for the int8 engine wherever the net is quantized: the whole of it, or as an operator among
/// tract's.
///
/// # Errors
/// [`EngineError`] but [`EngineError::Run`]
pub fn engines(
    package: &Package,
    size: [usize; 2],
    workers: usize,
    choice: impl Into<Choice>,
) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    let choice = choice.into();
    let mut all: Vec<Box<dyn Engine>> = Vec::with_capacity(workers);
    if let Some(first) = QuantizedEngine::chosen(package, size, choice)? {
        (1..workers).for_each(|_| all.push(Box::new(first.another())));
        all.push(Box::new(first));
        return Ok(all);
    }
    #[cfg(not(feature = "tract"))]
    return Err(EngineError::NeedsTract { origin: package.origin.clone() });
    #[cfg(feature = "tract")]
    {
        let first = StockEngine::new(package, size, choice)?;
        for _ in 1..workers {
            all.push(Box::new(first.another()?));
        }
        all.push(Box::new(first));
        Ok(all)
    }
}

/// Labels from probabilities `[classes, pixels]`.
#[cfg(feature = "tract")]
fn decide(output: Output, probabilities: &[f32], labels: &mut [u8]) {
    let pixels = labels.len();
    match output {
        Output::Sigmoid { threshold } => {
            for (label, p) in labels.iter_mut().zip(probabilities) {
                *label = u8::from(*p > threshold);
            }
        }
        Output::Argmax => {
            for (i, label) in labels.iter_mut().enumerate() {
                let classes = probabilities.iter().skip(i).step_by(pixels);
                let best =
                    (0u8..).zip(classes).fold((0, f32::NEG_INFINITY), |best, (class, &p)| {
                        if p > best.1 { (class, p) } else { best }
                    });
                *label = best.0;
            }
        }
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_class_wins_and_of_equals_the_first() {
        let probabilities = [0.2, 0.4, 0.1, /**/ 0.5, 0.4, 0.1, /**/ 0.3, 0.2, 0.8];
        let mut labels = [9; 3];
        decide(Output::Argmax, &probabilities, &mut labels);
        assert_eq!(labels, [1, 0, 2]);
    }

    #[test]
    fn a_threshold_must_be_exceeded() {
        let mut labels = [9; 3];
        decide(Output::Sigmoid { threshold: 0.5 }, &[0.4, 0.5, 0.6], &mut labels);
        assert_eq!(labels, [0, 0, 1]);
    }
}
