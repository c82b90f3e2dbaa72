//! Runs a package's net on one slice.
//!
//! [`Engine`] is what the pipeline sees of a net, [`EngineFactory`] what makes engines for slices
//! of one size. A [`Kernel`] is the factory for plans: every engine that it makes is the int8
//! engine, [`monet_core`]. Another factory may run other nets; module `onnx` (feature `tract`) has
//! one for ONNX packages.
//!
//! This module does not know volumes, intensities, files or ONNX.

mod compile;
pub(crate) mod describe;
mod error;
pub(crate) mod quantized;
mod selftest;

use monet_core::{Kernel, Plan};

pub use compile::compile;
pub use describe::{Layer, Summary, describe};
pub use error::{Cause, EngineError};
pub use selftest::{Against, KernelCheck, PackageCheck, expected_labels, self_test, test_package};

use self::quantized::QuantizedEngine;
use crate::Size;
use crate::package::Package;

/// Turns a prepared slice into labels; each worker thread owns one.
pub trait Engine: Send {
    /// Height and width of the slices that the engine takes.
    fn size(&self) -> Size;

    /// The engine's name for reports: `int8 avx512-vnni`.
    fn name(&self) -> String;

    /// The plan, where one plan of the int8 engine runs the whole net.
    fn plan(&self) -> Option<&Plan<'static>> {
        None
    }

    /// Segments a slice.
    ///
    /// `input` holds planes × height × width values in one or more parts, each made by
    /// [`Fit::prepare`](crate::package::Fit::prepare) from the slice or a neighbour;
    /// `labels` takes height × width.
    ///
    /// # Errors
    /// [`EngineError::Run`]; [`EngineError::Panicked`] where the engine contains panics.
    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError>;
}

/// Makes the engines of a net.
pub trait EngineFactory: Send {
    /// One engine a worker thread, for slices of this height and width. Engines share weights.
    ///
    /// # Errors
    /// [`EngineError`] but [`EngineError::Run`]
    fn make(
        &mut self,
        package: &Package,
        size: Size,
        workers: usize,
    ) -> Result<Vec<Box<dyn Engine>>, EngineError>;
}

/// The int8 engine with this kernel, for packages whose net is a plan.
impl EngineFactory for Kernel {
    fn make(
        &mut self,
        package: &Package,
        size: Size,
        workers: usize,
    ) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        Ok(QuantizedEngine::new(package, size, *self)?.copies(workers))
    }
}
