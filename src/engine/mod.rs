//! Runs a package's net on one slice.
//!
//! [`Engine`] is the seam: the pipeline knows nothing else of nets. Volumes, intensities and files are not known here.

#[cfg(feature = "tract")]
mod describe;
pub mod int8;
#[cfg(feature = "tract")]
mod quantized;
#[cfg(feature = "tract")]
mod stock;

#[cfg(feature = "tract")]
pub use describe::{Layer, Summary, describe};
#[cfg(feature = "tract")]
pub use quantized::QuantizedEngine;
#[cfg(feature = "tract")]
pub use stock::StockEngine;

use thiserror::Error;

#[cfg(feature = "tract")]
use crate::package::{Output, Package};

/// Turns a prepared slice into labels; each worker thread owns one.
pub trait Engine: Send {
    /// Height and width that it is planned for.
    fn size(&self) -> [usize; 2];

    /// What it is, for reports: `int8 avx512-vnni`.
    fn name(&self) -> String;

    /// Segments a slice: `input` is channels × height × width as [`FitPlan::prepare`](crate::package::FitPlan::prepare)
    /// makes it, `labels` height × width.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    fn segment(&mut self, input: &[f32], labels: &mut [u8]) -> Result<(), EngineError>;
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
    /// The net's input or output is not what the manifest says.
    #[error(
        "{origin}: the net's {what} is {found}, the manifest says {expected}: file and manifest do not belong together"
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
    /// The kernel asked for cannot be had.
    #[error(transparent)]
    Kernel(#[from] int8::KernelError),
    /// Running failed.
    #[error("the net failed on a slice: {0}")]
    Run(String),
}

/// The engines of one volume: one a worker thread, sharing weights. The int8 engine with this kernel where it takes the whole
/// net, stock tract otherwise.
///
/// # Errors
/// [`EngineError::Load`], [`EngineError::Mismatch`]
#[cfg(feature = "tract")]
pub fn engines(
    package: &Package,
    size: [usize; 2],
    workers: usize,
    kernel: int8::Kernel,
) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    let mut all: Vec<Box<dyn Engine>> = Vec::with_capacity(workers);
    if let Some(first) = QuantizedEngine::new(package, size, kernel)? {
        (1..workers).for_each(|_| all.push(Box::new(first.another())));
        all.push(Box::new(first));
    } else {
        let first = StockEngine::new(package, size)?;
        for _ in 1..workers {
            all.push(Box::new(first.another()?));
        }
        all.push(Box::new(first));
    }
    Ok(all)
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
                let best = (0u8..).zip(classes).fold((0, f32::NEG_INFINITY), |best, (class, &p)| {
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
