//! The manifest: a TOML file that says what a net is for and what it expects.
//!
//! Here is the whole; [`sections`] has its tables, [`check`] what their types do not say. Finding
//! the ONNX file and checking its hash is [`super::Package`]'s.

mod check;
mod sections;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

pub(super) use check::refuse;
pub use check::{ManifestError, SIZE_STEP};
use monet_core::prepare::{FitRule, Normalise, Recipe};
pub use sections::{Data, Input, Label, Metric, Output, SelfTest};

use super::Accepts;
use crate::volume::Orientation;

/// The manifest format that this library reads and writes.
pub const FORMAT: u32 = 1;

/// A model package's manifest. See `models/` for commented examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The manifest's own format, [`FORMAT`].
    pub format: u32,
    /// Short name, without spaces.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// What the net segments, in a sentence.
    pub task: String,
    /// The ONNX file's name, in the manifest's own folder.
    pub model: String,
    /// SHA-256 of the ONNX file, 64 hexadecimal digits.
    pub sha256: String,
    /// Orientation of the slices that the net was trained on; slices follow one another along the
    /// third axis.
    #[serde(default)]
    pub orientation: Orientation,
    /// Size of the net's input.
    pub input: Input,
    /// Volumes that the net was made for; others are refused. Without it, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Accepts>,
    /// How intensities are normalised.
    pub normalise: Normalise,
    /// How a slice is brought to the net's size.
    pub fit: FitRule,
    /// How the net's output becomes labels.
    pub output: Output,
    /// The labels, background excluded.
    pub labels: Vec<Label>,
    /// What the net was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Measured quality.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// What the net must give in [`test_package`](crate::engine::test_package).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selftest: Option<SelfTest>,
}

impl Manifest {
    /// Parses and validates.
    ///
    /// # Errors
    /// [`ManifestError`], naming the field.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The manifest as TOML that [`Manifest::parse`] reads back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a manifest has only types that TOML has")
    }

    /// What it says about preparing slices.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        let Input { channels, neighbours, ceiling, step, .. } = self.input;
        let (size, normalise, fit) = (self.input.size(), self.normalise, self.fit);
        Recipe { channels, neighbours, size, ceiling, step, normalise, fit }
    }

    /// Number of channels that the net puts out.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self.output {
            Output::Sigmoid { .. } => 1,
            Output::Argmax => self.labels.len() + 1,
        }
    }

    /// Values of the labels of which only the largest piece is kept.
    #[must_use]
    pub fn largest(&self) -> Vec<u8> {
        self.labels.iter().filter(|label| label.largest).map(|label| label.value).collect()
    }
}

impl From<&Manifest> for Recipe {
    fn from(manifest: &Manifest) -> Self {
        manifest.recipe()
    }
}
