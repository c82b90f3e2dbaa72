//! What needs no package: scores, and the kernels of this machine.

use std::path::PathBuf;

use monet::atomic;
use monet::core::Kernel;
use monet::measure;
use pyo3::prelude::*;

use crate::errors;

/// Scores of a label volume against the truth, as JSON.
#[pyfunction]
pub(crate) fn evaluate(
    py: Python<'_>,
    subject: &str,
    pred: PathBuf,
    truth: PathBuf,
    labels: Vec<u16>,
    by_slice: bool,
) -> PyResult<String> {
    let score = py.detach(|| measure::compare(subject, &pred, &truth, &labels, by_slice));
    score.map(|score| measure::json(&score)).map_err(|error| errors::volume(&error))
}

/// Names of the kernels that this machine has, the slowest first.
#[pyfunction]
pub(crate) fn kernels() -> Vec<&'static str> {
    Kernel::available().map(Kernel::name).collect()
}

/// Tidies up what killed processes have left in folders of outputs: what is there afterwards is
/// complete and stays.
#[pyfunction]
pub(crate) fn recover(py: Python<'_>, folders: Vec<PathBuf>) {
    py.detach(|| atomic::recover(&folders));
}
