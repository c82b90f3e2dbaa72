//! What makes sense in a manifest.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{FORMAT, FitRule, Input, Label, Manifest, Normalise, Output, Recipe};
use crate::package::{Accepts, Codes};
use crate::text::is_plain;

/// A net's height and width are multiples of this at least: MoNet halves the slice twice and
/// doubles it twice.
pub const SIZE_STEP: usize = 4;

/// Why a manifest is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not TOML, or a field is missing, unknown or of another type.
    #[error("not a model manifest")]
    Syntax(#[from] toml::de::Error),
    /// A field has a value that makes no sense.
    #[error("`{field}` is {found}, expected {expected}")]
    Field {
        /// Dotted path of the field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
}

/// Shorthand for a refused field.
pub(in crate::package) fn refuse<T>(
    field: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> Result<T, ManifestError> {
    Err(ManifestError::Field { field, found: found.to_string(), expected })
}

impl Manifest {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`ManifestError::Field`] for the first field that makes no sense.
    pub fn validate(&self) -> Result<(), ManifestError> {
        if self.format != FORMAT {
            return refuse("format", self.format, "1, the format that this version reads");
        }
        if self.name.is_empty() || self.name.contains(|c: char| c.is_whitespace() || c == '/') {
            return refuse("name", format!("{:?}", self.name), "a short name without spaces");
        }
        let has_folder = self.model.contains(['/', '\\']);
        if has_folder || !self.model.ends_with(".onnx") {
            return refuse(
                "model",
                &self.model,
                "the name of an .onnx file in the manifest's folder",
            );
        }
        let tested = self.selftest.iter().map(|test| ("selftest.sha256", &test.sha256));
        for (field, hash) in [("sha256", &self.sha256)].into_iter().chain(tested) {
            if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                return refuse(field, format!("{hash:?}"), "64 hexadecimal digits");
            }
        }
        if self.labels.iter().any(|label| label.name.trim().is_empty()) {
            return refuse("labels.name", "empty", "a name as a person reads it");
        }
        self.validate_text()?;
        self.validate_input()?;
        self.accepts.as_ref().map_or(Ok(()), Accepts::validate)?;
        self.labels
            .iter()
            .filter_map(|label| label.codes.as_ref())
            .try_for_each(Codes::validate)?;
        self.validate_normalise()?;
        self.validate_labels()
    }

    /// What is shown on terminals and in logs has no control characters.
    fn validate_text(&self) -> Result<(), ManifestError> {
        let own = [
            ("name", &self.name),
            ("version", &self.version),
            ("task", &self.task),
            ("model", &self.model),
        ];
        let labels = self.labels.iter().map(|label| ("labels.name", &label.name));
        let data = self.data.iter().flat_map(|d| {
            [
                ("data.name", &d.name),
                ("data.licence", &d.licence),
                ("data.attribution", &d.attribution),
            ]
        });
        let metrics = self.metrics.iter().flat_map(|m| {
            let [name, label, split, command] = [&m.name, &m.label, &m.split, &m.command];
            [
                ("metrics.name", name),
                ("metrics.label", label),
                ("metrics.split", split),
                ("metrics.command", command),
            ]
        });
        let mut all = own.into_iter().chain(labels).chain(data).chain(metrics);
        match all.find(|(_, text)| !is_plain(text)) {
            Some((field, text)) => {
                refuse(field, format!("{text:?}"), "text on one line, without control characters")
            }
            None => Ok(()),
        }
    }

    fn validate_input(&self) -> Result<(), ManifestError> {
        let Input { width, height, channels, neighbours, ceiling, step } = self.input;
        if step == 0 || !step.is_multiple_of(SIZE_STEP) {
            return refuse("input.step", step, "a multiple of 4");
        }
        let fits = |side: usize| side > 0 && side.is_multiple_of(step) && side <= ceiling;
        if !(1..=Recipe::MAX_SIDE).contains(&ceiling) {
            return refuse("input.ceiling", ceiling, "1 to 4096 pixels");
        }
        if !fits(width) {
            return refuse(
                "input.width",
                width,
                "a multiple of `input.step` (4 unless given) up to `input.ceiling`",
            );
        }
        if !fits(height) {
            return refuse(
                "input.height",
                height,
                "a multiple of `input.step` (4 unless given) up to `input.ceiling`",
            );
        }
        if !(1..=Recipe::MAX_CHANNELS).contains(&channels) {
            return refuse("input.channels", channels, "1 to 16");
        }
        if neighbours > Recipe::MAX_NEIGHBOURS {
            return refuse("input.neighbours", neighbours, "0 to 4");
        }
        match self.fit {
            FitRule::Pad { spacing } if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) => {
                refuse("fit.spacing", format!("{spacing:?}"), "two positive lengths in mm")
            }
            _ => Ok(()),
        }
    }

    fn validate_normalise(&self) -> Result<(), ManifestError> {
        match self.normalise {
            Normalise::Window { low, high } if !(low < high && (high - low).is_finite()) => {
                refuse("normalise", format!("{low} to {high}"), "a window with low < high")
            }
            Normalise::Percentiles { low, high }
            | Normalise::ForegroundPercentiles { low, high }
            | Normalise::SlicePercentiles { low, high }
                if !(0.0 <= low && low < high && high <= 100.0) =>
            {
                refuse(
                    "normalise",
                    format!("{low} to {high}"),
                    "percentiles with 0 <= low < high <= 100",
                )
            }
            Normalise::ZScore { clip } if !(clip > 0.0 && clip.is_finite()) => {
                refuse("normalise.clip", clip, "a positive number of standard deviations")
            }
            _ => Ok(()),
        }
    }

    fn validate_labels(&self) -> Result<(), ManifestError> {
        let values: BTreeSet<u8> = self.labels.iter().map(|label| label.value).collect();
        // Consecutive from 1: a label's value is the channel that it comes from.
        let consecutive = values.iter().zip(1u8..).all(|(&value, expected)| value == expected);
        if self.labels.is_empty() || values.len() != self.labels.len() || !consecutive {
            return refuse("labels", format!("{values:?}"), "values 1, 2, … each once");
        }
        let mut sources = BTreeSet::new();
        if self
            .labels
            .iter()
            .flat_map(Label::sources)
            .any(|&value| value == 0 || !sources.insert(value))
        {
            return refuse(
                "labels.from",
                format!("{:?}", self.labels),
                "values above 0, none in two labels",
            );
        }
        match self.output {
            Output::Sigmoid { threshold } if !(threshold > 0.0 && threshold < 1.0) => {
                refuse("output.threshold", threshold, "a probability between 0 and 1")
            }
            Output::Sigmoid { .. } if self.labels.len() != 1 => {
                refuse("labels", self.labels.len(), "one label with a sigmoid output")
            }
            _ => Ok(()),
        }
    }
}
