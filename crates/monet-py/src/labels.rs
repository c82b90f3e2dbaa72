//! Labels into a `bytearray`, which numpy takes without a copy.

use std::path::{Path, PathBuf};

use monet::atomic::Staged;
use monet::volume::{LabelWriter, OutputError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

/// Appends planes to a `bytearray`: it grows with what was segmented, not with what a header
/// claims.
pub(crate) struct LabelArray {
    name: PathBuf,
    labels: Py<PyByteArray>,
}

impl LabelArray {
    /// Labels that are to go into an empty `bytearray`.
    pub(crate) fn new(labels: Py<PyByteArray>) -> Self {
        Self { name: "labels".into(), labels }
    }
}

impl LabelWriter for LabelArray {
    fn name(&self) -> &Path {
        &self.name
    }

    fn write(&mut self, plane: &[u8]) -> Result<(), OutputError> {
        let append =
            |py: Python<'_>| self.labels.call_method1(py, "extend", (PyBytes::new(py, plane),));
        match Python::attach(append) {
            Ok(_) => Ok(()),
            Err(error) => Err(OutputError::Write {
                path: self.name.clone(),
                source: std::io::Error::other(error.to_string()),
            }),
        }
    }

    fn finish(self: Box<Self>) -> Result<Vec<Staged>, OutputError> {
        Ok(Vec::new())
    }
}
