//! Errors as exceptions, with the texts that the command has.

use std::error::Error;

use monet::pipeline::PipelineError;
use monet::text;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;

create_exception!(monet, MonetError, PyException, "What monet could not do, and why.");
create_exception!(monet, VolumeError, MonetError, "A volume that cannot be read or understood.");
create_exception!(monet, ModelError, MonetError, "A package that cannot be loaded or run.");
create_exception!(
    monet,
    NotAcceptedError,
    MonetError,
    "A volume that the package was not made for; accept_any=True segments it all the same."
);
create_exception!(monet, OutputError, MonetError, "An output that cannot be written.");

/// Adds the exceptions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("MonetError", py.get_type::<MonetError>())?;
    module.add("VolumeError", py.get_type::<VolumeError>())?;
    module.add("ModelError", py.get_type::<ModelError>())?;
    module.add("NotAcceptedError", py.get_type::<NotAcceptedError>())?;
    module.add("OutputError", py.get_type::<OutputError>())
}

/// An error with its causes, as the command tells it.
fn told(error: &dyn Error) -> String {
    text::lines(&text::causes(error)).into_owned()
}

/// The exception of a volume that was not segmented.
pub(crate) fn pipeline(error: &PipelineError) -> PyErr {
    let text = told(error);
    match error {
        PipelineError::Volume(_) | PipelineError::Fit { .. } => VolumeError::new_err(text),
        PipelineError::NotAccepted { .. } => NotAcceptedError::new_err(text),
        PipelineError::Output(_) | PipelineError::Path(_) => OutputError::new_err(text),
        PipelineError::Load(_) | PipelineError::Engine { .. } => ModelError::new_err(text),
        PipelineError::Interrupted => PyKeyboardInterrupt::new_err(text),
        _ => MonetError::new_err(text),
    }
}

/// The exception of a package.
pub(crate) fn model(error: &dyn Error) -> PyErr {
    ModelError::new_err(told(error))
}

/// The exception of a volume.
pub(crate) fn volume(error: &dyn Error) -> PyErr {
    VolumeError::new_err(told(error))
}

/// The exception of an output.
pub(crate) fn output(error: &dyn Error) -> PyErr {
    OutputError::new_err(told(error))
}

/// The exception of what has no kind of its own.
pub(crate) fn other(error: &dyn Error) -> PyErr {
    MonetError::new_err(told(error))
}
