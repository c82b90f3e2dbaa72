//! What the tests, benches and fuzzers of monet share. Nothing that ships depends on this crate.
//!
//! | module | makes |
//! |---|---|
//! | [`nets`] | int8 nets with seeded random weights |
//! | `nifti`, `package` (feature `volumes`) | volumes; a package whose result is known exactly |
//! | `dicom` (feature `dicom`) | DICOM images |
//! | `onnx`, `qdq` (feature `onnx`) | ONNX files, good ones and hostile ones |
//! | `fuzz` (feature `onnx`) | what a fuzzer runs for each format |
//! | [`damage`] | damaged files, with memory counted |
//! | [`certificates`] | certificates and keys for TLS |
//! | [`judges`] | the outside programs and data that tests compare with |
//!
//! A test whose needs this machine does not meet calls [`skip`], which nobody can overlook.

pub mod certificates;
pub mod damage;
#[cfg(feature = "dicom")]
pub mod dicom;
#[cfg(feature = "onnx")]
pub mod fuzz;
pub mod judges;
pub mod nets;
#[cfg(feature = "volumes")]
pub mod nifti;
#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "onnx")]
pub mod package;
#[cfg(feature = "onnx")]
pub mod qdq;
mod random;
mod skips;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use random::Random;
pub use skips::skip;

/// The folder of the root package, where `models`, `targets` and `tools` are.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate is two folders below the root").to_owned()
}

/// Runs a program to its end.
///
/// # Panics
///
/// Panics where the program cannot be started.
pub fn run(program: impl AsRef<Path>, args: &[&str]) -> Output {
    let program = program.as_ref();
    let ran = Command::new(program).args(args).output();
    ran.unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()))
}

/// What a program wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A path as text.
///
/// # Panics
///
/// Panics on a path that is no UTF-8.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the tests name their files in UTF-8")
}
