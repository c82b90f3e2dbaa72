//! The manifest: a TOML file that says what a net is for and what it expects.
//!
//! Parsing and validation only; finding the ONNX file and checking its hash is
//! [`super::Package`]'s.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Accepts, Colour};
use crate::text::is_plain;
use crate::volume::Orientation;

/// The manifest format that this library reads and writes.
pub const FORMAT: u32 = 1;

/// A net's height and width are multiples of this at least: MoNet halves the slice twice and
/// doubles it twice.
pub const SIZE_STEP: usize = 4;

/// No side of a net's input may be larger, whatever a manifest allows.
const MAX_SIDE: usize = 4096;

/// No net may take more channels.
const MAX_CHANNELS: usize = 16;

/// No net may see more slices on either side of a slice.
pub const MAX_NEIGHBOURS: usize = 4;

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
    pub fit: Fit,
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
}

/// Size of the net's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Pixels along the first axis, a multiple of `step`.
    pub width: usize,
    /// Pixels along the second axis, a multiple of `step`.
    pub height: usize,
    /// Modalities, stored as the fourth dimension of the file.
    pub channels: usize,
    /// Slices on either side that the net sees beside each slice; its planes are those of the
    /// lowest slice first, and beyond the volume's ends the last slice stands again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub neighbours: usize,
    /// Largest width and height for which a larger slice is planned instead of being refused.
    #[serde(default = "Input::default_ceiling")]
    pub ceiling: usize,
    /// A slice's width and height are padded to multiples of this, which is one of [`SIZE_STEP`]
    /// itself: a net that halves the slice four times needs 16.
    #[serde(default = "Input::default_step", skip_serializing_if = "Input::is_default_step")]
    pub step: usize,
}

impl Input {
    /// Planes of the net's input: all channels of a slice and its neighbours.
    #[must_use]
    pub fn planes(&self) -> usize {
        self.channels * (2 * self.neighbours + 1)
    }

    /// Default of [`Input::ceiling`]: twice the side of a usual CT slice.
    fn default_ceiling() -> usize {
        1024
    }

    /// Default of [`Input::step`].
    fn default_step() -> usize {
        SIZE_STEP
    }

    fn is_default_step(step: &usize) -> bool {
        *step == SIZE_STEP
    }
}

/// Whether a field may be left out.
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Intensity normalisation, per volume and channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Normalise {
    /// `[low, high]` (for CT in HU) becomes `[0, 1]`; what is outside is clipped.
    Window {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// The volume's own percentiles `low` and `high` (0–100) become 0 and 1; what is outside is
    /// clipped.
    Percentiles {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// As `percentiles`, of the voxels that do not have the volume's most frequent value: for
    /// volumes that are padded, or cut out by a mask. That value must be one voxel's in 128 at
    /// least; where the others leave no width, all voxels count.
    #[serde(rename = "foreground-percentiles")]
    ForegroundPercentiles {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// Mean 0 and standard deviation 1 over the volume, clipped to `[-clip, clip]`.
    ZScore {
        /// In standard deviations.
        clip: f32,
    },
}

/// How a slice is brought to the net's size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Fit {
    /// Resampled to this in-plane spacing, then padded with 0 around its centre. A slice larger
    /// than the package's size is never cropped: the net is planned larger.
    Pad {
        /// Millimetres per pixel along width and height.
        spacing: [f64; 2],
    },
    /// The whole field of view is resized to the net's size.
    Resize,
}

/// How the net's output becomes labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Output {
    /// One channel of probabilities: 1 where above the threshold.
    Sigmoid {
        /// Between 0 and 1, exclusive.
        threshold: f32,
    },
    /// One channel a class, background first: the first of the most probable ones.
    Argmax,
}

/// A label other than the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Voxel value, equal to the net's output channel; from 1.
    pub value: u8,
    /// Name as a person reads it.
    pub name: String,
    /// Colour in previews.
    pub colour: Colour,
    /// Values that it has in the label volumes of its training data, where these tell more apart;
    /// `value` alone if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<u8>,
    /// Whether only its largest connected piece is kept ([`super::pieces`]), in the volume's own
    /// grid: for an organ or a tumour of which there is one. The device then keeps labels in a
    /// temporary file beside the output until the last slice has passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub largest: bool,
}

impl Label {
    /// The values that mean this label in the label volumes of its training data.
    #[must_use]
    pub fn sources(&self) -> &[u8] {
        if self.from.is_empty() { std::slice::from_ref(&self.value) } else { &self.from }
    }
}

/// Provenance of the training data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The collection's name.
    pub name: String,
    /// Its licence, which the weights carry on.
    pub licence: String,
    /// Whom to credit.
    pub attribution: String,
}

/// One measured figure and how it was had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What was measured, for instance "Dice".
    pub name: String,
    /// The label that it is about.
    pub label: String,
    /// Mean over subjects.
    pub mean: f64,
    /// Standard deviation over subjects.
    pub std: f64,
    /// Which subjects.
    pub split: String,
    /// The command that produced it.
    pub command: String,
}

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
pub(super) fn refuse<T>(
    field: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> Result<T, ManifestError> {
    Err(ManifestError::Field { field, found: found.to_string(), expected })
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
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return refuse("sha256", &self.sha256, "64 hexadecimal digits");
        }
        if self.labels.iter().any(|label| label.name.trim().is_empty()) {
            return refuse("labels.name", "empty", "a name as a person reads it");
        }
        self.validate_text()?;
        self.validate_input()?;
        self.accepts.as_ref().map_or(Ok(()), Accepts::validate)?;
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
        if !(1..=MAX_SIDE).contains(&ceiling) {
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
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return refuse("input.channels", channels, "1 to 16");
        }
        if neighbours > MAX_NEIGHBOURS {
            return refuse("input.neighbours", neighbours, "0 to 4");
        }
        match self.fit {
            Fit::Pad { spacing } if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) => {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A valid manifest for tests to bend.
    pub(crate) fn example() -> Manifest {
        Manifest {
            format: FORMAT,
            name: "example".into(),
            version: "1.0.0".into(),
            task: "An example".into(),
            model: "example.onnx".into(),
            sha256: "0".repeat(64),
            orientation: Orientation::default(),
            input: Input {
                width: 64,
                height: 48,
                channels: 1,
                neighbours: 0,
                ceiling: 256,
                step: 4,
            },
            accepts: Some(Accepts {
                modality: vec!["MR".into()],
                extent: Some([[20.0, 60.0]; 3]),
                spacing: None,
                slices: Some([1, 300]),
            }),
            normalise: Normalise::Percentiles { low: 0.5, high: 99.5 },
            fit: Fit::Pad { spacing: [1.0, 1.0] },
            output: Output::Argmax,
            labels: vec![
                Label {
                    value: 1,
                    name: "anterior".into(),
                    colour: Colour([230, 25, 75]),
                    from: vec![],
                    largest: false,
                },
                Label {
                    value: 2,
                    name: "posterior".into(),
                    colour: Colour([60, 180, 75]),
                    from: vec![],
                    largest: false,
                },
            ],
            data: None,
            metrics: Vec::new(),
        }
    }

    #[test]
    fn a_manifest_reads_back_as_written() {
        let manifest = example();
        assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
    }

    #[test]
    fn each_normalisation_has_its_name() {
        for (normalise, kind) in [
            (Normalise::Window { low: 0.0, high: 1.0 }, "window"),
            (Normalise::Percentiles { low: 0.0, high: 1.0 }, "percentiles"),
            (Normalise::ForegroundPercentiles { low: 0.0, high: 1.0 }, "foreground-percentiles"),
            (Normalise::ZScore { clip: 1.0 }, "zscore"),
        ] {
            let manifest = Manifest { normalise, ..example() };
            assert!(manifest.to_toml().contains(&format!("kind = \"{kind}\"")));
            assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
        }
    }

    #[test]
    fn an_unknown_field_is_named() {
        let text = format!("surprise = 1\n{}", example().to_toml());
        let ManifestError::Syntax(error) = Manifest::parse(&text).unwrap_err() else {
            panic!("not a syntax error")
        };
        assert!(error.to_string().contains("surprise"), "{error}");
    }

    fn bend(manifest: &mut Manifest) -> &mut Accepts {
        manifest.accepts.get_or_insert_default()
    }

    #[test]
    fn a_manifest_of_before_accepts_everything() {
        let old = Manifest { accepts: None, ..example() };
        let text = old.to_toml();
        assert!(!text.contains("accepts"), "{text}");
        assert_eq!(Manifest::parse(&text).unwrap(), old);
    }

    #[test]
    fn a_limit_that_this_version_does_not_know_is_refused_rather_than_passed_over() {
        let text = example().to_toml().replace("[accepts]", "[accepts]\nbody_part = [\"BRAIN\"]");
        assert!(
            matches!(Manifest::parse(&text), Err(ManifestError::Syntax(e)) if e.to_string().contains("body_part"))
        );
    }

    #[test]
    fn each_senseless_field_is_named() {
        type Bend = fn(&mut Manifest);
        let cases: [(&str, Bend); 29] = [
            ("labels.name", |m| m.labels[0].name = " ".into()),
            ("format", |m| m.format = 2),
            ("name", |m| m.name = "two words".into()),
            ("model", |m| m.model = "../other/net.onnx".into()),
            ("sha256", |m| m.sha256 = "abc".into()),
            ("input.width", |m| m.input.width = 0),
            ("input.width", |m| m.input.width = 66),
            ("input.height", |m| m.input.height = 260),
            ("input.channels", |m| m.input.channels = 0),
            ("input.neighbours", |m| m.input.neighbours = 5),
            ("input.step", |m| m.input.step = 0),
            ("input.step", |m| m.input.step = 6),
            ("input.width", |m| m.input = Input { width: 72, step: 16, ..m.input.clone() }),
            ("labels.from", |m| m.labels[0].from = vec![0]),
            ("labels.from", |m| m.labels[0].from = vec![1, 2]),
            ("labels.from", |m| m.labels.iter_mut().for_each(|l| l.from = vec![3])),
            ("input.ceiling", |m| m.input.ceiling = usize::MAX),
            ("fit.spacing", |m| m.fit = Fit::Pad { spacing: [1.0, f64::NAN] }),
            ("accepts.modality", |m| bend(m).modality = vec!["MR".into(), "magnetic".into()]),
            ("accepts.extent", |m| bend(m).extent = Some([[0.0, 1.0]; 3])),
            ("accepts.extent", |m| {
                bend(m).extent = Some([[1.0, 2.0], [1.0, f64::INFINITY], [1.0, 2.0]])
            }),
            ("accepts.spacing", |m| bend(m).spacing = Some([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])),
            ("accepts.slices", |m| bend(m).slices = Some([0, 5])),
            ("normalise", |m| m.normalise = Normalise::Window { low: 1.0, high: 1.0 }),
            ("normalise", |m| m.normalise = Normalise::Percentiles { low: -1.0, high: 50.0 }),
            ("normalise", |m| {
                m.normalise = Normalise::ForegroundPercentiles { low: 50.0, high: 50.0 }
            }),
            ("labels", |m| m.labels[1].value = 1),
            ("labels", |m| m.labels[1].value = 3),
            ("output.threshold", |m| m.output = Output::Sigmoid { threshold: 1.0 }),
        ];
        for (field, bend) in cases {
            let mut manifest = example();
            bend(&mut manifest);
            match manifest.validate() {
                Err(ManifestError::Field { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
