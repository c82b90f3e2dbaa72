//! The part of the Python package `monet` that is Rust: module `monet._monet`. The package's own
//! modules, in `python/monet`, are what its users see.
//!
//! ```text
//! path ─────────── FileJob ──┐                        ┌─▶ files
//!                            ├─▶ the pipeline ────────┤
//! array ─ ArrayReader ─ Job ─┘   without the GIL      └─▶ LabelArray (a bytearray)
//! ```
//!
//! No panic leaves it: PyO3 makes an exception of one. Nothing here prints, or ends the process.

mod array;
mod errors;
mod labels;
mod model;
mod tools;
mod waiting;

use pyo3::prelude::*;

/// What `python/monet` is made of.
#[pymodule]
fn _monet(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<model::Model>()?;
    module.add_function(wrap_pyfunction!(tools::evaluate, module)?)?;
    module.add_function(wrap_pyfunction!(tools::kernels, module)?)?;
    module.add_function(wrap_pyfunction!(tools::recover, module)?)?;
    module.add_function(wrap_pyfunction!(array::nifti_affine, module)?)?;
    errors::add(module)
}
