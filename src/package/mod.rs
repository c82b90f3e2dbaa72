//! Model packages: what a net is for, what it expects and how a slice is brought to it and back.
//!
//! A package is an ONNX file and a TOML manifest beside it, or both in one [plan file](plan_file).
//! This module reads and checks packages, and keeps the largest piece of a label ([`pieces`]). What
//! turns intensities into what the net was trained on ([`normalise`]), and brings slices to the
//! net's size and back ([`fit`]), is `monet-core`'s. It neither reads volumes nor runs nets.
//! Training, device and board prepare a slice with the same code.

mod accepts;
mod codes;
mod colour;
mod load;
mod manifest;
pub mod pieces;
pub mod plan_file;
mod slice_size;
pub mod table;

pub use accepts::{Accepts, Beyond, Limits, SeriesRule, SeriesText, SeriesTexts};
pub use codes::{Code, Codes};
pub use colour::Colour;
#[cfg(feature = "models")]
pub(crate) use load::MAX_MODEL;
#[cfg(any(feature = "dicom", feature = "models"))]
pub(crate) use load::hex;
pub use load::{Net, Package, PackageError, sha256};
#[cfg(all(test, feature = "models"))]
pub(crate) use manifest::tests::example as manifest_for_tests;
pub use manifest::{
    Data, FORMAT, Input, Label, Manifest, ManifestError, Metric, Output, SIZE_STEP, SelfTest,
};
pub use monet_core::prepare::{
    Doubt, Fit, FitError, FitRows, FitRule, Intensity, IntensityStats, IntensityWarning, Normalise,
    Recipe, Side, SliceIntensity, fit, normalise,
};
pub use plan_file::PlanFileError;
pub use slice_size::{SliceSizeError, slice_size};
