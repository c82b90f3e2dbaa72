//! Packages whose net is an ONNX file: reading them, running them, making plans of them.
//!
//! The file's way, module by module:
//!
//! 1. `guard` checks the bytes, and for one slice size the memory and work of every node.
//! 2. `reading` brings the several ways to write a quantized net into one.
//! 3. `import` finds the parts that the int8 engine can run, and names what it cannot.
//! 4. A net that is one such part, whole, runs as a plan of the int8 engine. Any other runs in
//!    tract: `region` puts the parts into tract's graph as operators, `engine` runs the graph.
//!
//! This module alone knows ONNX and tract. No public item names a type of tract.
//!
//! The guard is no proof that tract ends, or that it ends without a panic. A panic becomes
//! [`EngineError::Panicked`] where panics unwind. A program that must survive every file asks
//! [`needs`] for the bounds of an honest net and tries the file in another process first, as the
//! command does.

mod describe;
mod engine;
mod guard;
mod import;
mod needs;
mod package;
mod plan;
mod proto;
mod reading;
mod region;
#[cfg(test)]
mod tests;

use monet_core::{Kernel, QuantGraph};

pub use self::describe::describe;
pub use self::guard::OnnxError;
pub use self::import::{Import, Region, Unfused};
pub use self::needs::{Needs, needs};
pub use self::package::package_from_onnx;
pub use self::plan::to_plan;

use self::engine::TractEngine;
use crate::Size;
use crate::engine::quantized::{self, QuantizedEngine};
use crate::engine::{Cause, Engine, EngineError, EngineFactory};
use crate::package::{Net, Package};

/// Which engine runs a net. The choice is the factory of engines for every package, be its net an
/// ONNX file or a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// The int8 engine with this kernel for what is quantized, tract for the rest.
    Int8(Kernel),
    /// Tract alone, as an outside check.
    Tract,
}

impl From<Kernel> for EngineChoice {
    fn from(kernel: Kernel) -> Self {
        Self::Int8(kernel)
    }
}

impl EngineFactory for EngineChoice {
    fn make(
        &mut self,
        package: &Package,
        size: Size,
        workers: usize,
    ) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        match int8(package, size, *self)? {
            Some(engine) => Ok(engine.copies(workers)),
            None => TractEngine::new(package, size, *self)?.copies(workers),
        }
    }
}

/// The int8 engine, where it runs the whole net; `None` where tract has a part in that.
fn int8(
    package: &Package,
    size: Size,
    choice: EngineChoice,
) -> Result<Option<QuantizedEngine>, EngineError> {
    match (&package.net, choice) {
        (Net::Plan(_) | Net::Image(_), EngineChoice::Int8(kernel)) => {
            QuantizedEngine::new(package, size, kernel).map(Some)
        }
        (Net::Plan(_) | Net::Image(_), EngineChoice::Tract) => {
            let reason = "tract cannot run a plan: give the package that it was compiled from";
            Err(load(package)(reason))
        }
        (Net::Onnx(_), EngineChoice::Int8(kernel)) => graph(package)?
            .map(|graph| QuantizedEngine::of_graph(package, &graph, size, kernel))
            .transpose(),
        (Net::Onnx(_), EngineChoice::Tract) => Ok(None),
    }
}

/// What the int8 engine makes of a package's ONNX file; of a plan, nothing.
///
/// # Errors
/// [`EngineError::Refused`]
pub fn import(package: &Package) -> Result<Import, EngineError> {
    let Net::Onnx(onnx) = &package.net else { return Ok(Import::default()) };
    Ok(import::import(&reading::read(onnx).map_err(refused(&package.origin))?))
}

/// The net of an ONNX package with the manifest's threshold, where the int8 engine takes all of it.
///
/// A net that does not fit its manifest is left to tract, which says what is wrong.
fn graph(package: &Package) -> Result<Option<QuantGraph>, EngineError> {
    let import = import(package)?;
    let Ok([region]) = <[_; 1]>::try_from(import.regions) else { return Ok(None) };
    let mut graph = region.graph;
    let whole = import.unfused.is_empty() && quantized::fits(&mut graph, &package.manifest);
    Ok(whole.then_some(graph))
}

/// Makes an error of what tract or the int8 engine says while it loads a package's net.
fn load<E: Into<Cause>>(package: &Package) -> impl Fn(E) -> EngineError {
    move |error| EngineError::Load { origin: package.origin.clone(), source: error.into() }
}

/// Makes an error of what the guard says of a file.
fn refused(origin: &str) -> impl Fn(OnnxError) -> EngineError + use<> {
    let origin = origin.to_owned();
    move |error| EngineError::Refused { origin: origin.clone(), source: error.into() }
}
