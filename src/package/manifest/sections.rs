//! The tables of a manifest.

use serde::{Deserialize, Serialize};

use super::SIZE_STEP;
use crate::Size;
use crate::package::{Codes, Colour};

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
    /// Neighbours on either side of a slice that the net sees with it. The net takes the planes of
    /// the lowest slice first; at the ends of the volume the first or last slice is repeated.
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
    /// Height and width: the least size at which the net runs.
    #[must_use]
    pub fn size(&self) -> Size {
        Size { height: self.height, width: self.width }
    }

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
    /// Whether only its largest connected piece is kept ([`crate::package::pieces`]), in the
    /// volume's grid: for an organ or a tumour of which there is one. The device then keeps
    /// labels in a temporary file beside the output until the last slice has passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub largest: bool,
    /// What it is, in the codes of DICOM objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Codes>,
}

impl Label {
    /// A label of one value, with all its pieces and without codes.
    #[must_use]
    pub fn new(value: u8, name: impl Into<String>, colour: Colour) -> Self {
        Self { value, name: name.into(), colour, from: Vec::new(), largest: false, codes: None }
    }

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

/// What the net gives for the built-in slice: a device compares, before it trusts the package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// SHA-256 of the labels, one byte a pixel, row by row; 64 hexadecimal digits.
    pub sha256: String,
}
