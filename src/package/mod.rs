//! Model packages: what a net is for, what it expects and how a slice is brought to it and back.
//!
//! A package is an ONNX file and a TOML manifest beside it, or both in one [plan file](plan_file).
//! This module reads and checks packages. It turns intensities into what the net was trained on
//! ([`normalise`]), brings slices to the net's size and back ([`fit`]), and keeps the largest piece
//! of a label ([`pieces`]). It neither reads volumes nor runs nets. Training and device share it,
//! so that both prepare a slice with the same code.

mod accepts;
mod codes;
mod colour;
mod doubt;
pub mod fit;
mod load;
mod manifest;
pub mod normalise;
pub mod pieces;
pub mod plan_file;
mod ranks;
mod slicewise;
pub mod table;

pub use accepts::{Accepts, Beyond, Limits, SeriesRule, SeriesText, SeriesTexts};
pub use codes::{Code, Codes};
pub use colour::Colour;
pub use doubt::{Doubt, IntensityWarning, Side};
pub use fit::{Fit, FitError};
#[cfg(feature = "models")]
pub(crate) use load::MAX_MODEL;
#[cfg(any(feature = "dicom", feature = "models"))]
pub(crate) use load::hex;
pub use load::{Net, Package, PackageError, sha256};
#[cfg(all(test, feature = "models"))]
pub(crate) use manifest::tests::example as manifest_for_tests;
pub use manifest::{
    Data, FORMAT, FitRule, Input, Label, MAX_NEIGHBOURS, Manifest, ManifestError, Metric,
    Normalise, Output, SIZE_STEP, SelfTest,
};
pub use normalise::{Intensity, IntensityStats};
pub use plan_file::PlanFileError;
pub use slicewise::SliceIntensity;
