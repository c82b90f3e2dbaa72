//! What a label is, in the codes that DICOM objects carry.

use serde::{Deserialize, Serialize};

use super::manifest::{ManifestError, refuse};
use crate::text::is_plain;

/// A coded concept: value, coding scheme and meaning, written as a list of the three, such as
/// `["5366008", "SCT", "Hippocampus"]`. `SCT` is SNOMED CT, `DCM` the standard's own (PS3.16).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "[String; 3]")]
pub struct Code {
    /// The code.
    pub value: String,
    /// The scheme in which the code means something.
    pub scheme: String,
    /// What the code means, for people.
    pub meaning: String,
}

impl From<[String; 3]> for Code {
    fn from([value, scheme, meaning]: [String; 3]) -> Self {
        Self { value, scheme, meaning }
    }
}

impl TryFrom<Vec<String>> for Code {
    type Error = String;

    fn try_from(parts: Vec<String>) -> Result<Self, String> {
        let parts = <[String; 3]>::try_from(parts);
        parts.map(Self::from).map_err(|parts| {
            let found = parts.len();
            format!("a code of {found} parts: expected [value, scheme, meaning]")
        })
    }
}

impl From<Code> for [String; 3] {
    fn from(code: Code) -> Self {
        [code.value, code.scheme, code.meaning]
    }
}

/// What a label is: Segmented Property Category and Type with their modifiers, and where it is
/// found (PS3.3, C.8.20.4; codes of PS3.16, CID 7150 and the contexts that it names).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    /// The kind of thing, such as an anatomical structure.
    pub category: Code,
    /// The thing, such as a hippocampus.
    #[serde(rename = "type")]
    pub kind: Code,
    /// Which part or side of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modifiers: Vec<Code>,
    /// The anatomical region that it lies in, where the type does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Code>,
}

impl Codes {
    /// All codes.
    fn all(&self) -> impl Iterator<Item = &Code> {
        [&self.category, &self.kind].into_iter().chain(&self.modifiers).chain(&self.region)
    }

    /// Checks what the types do not: lengths and characters as the value representations SH and LO
    /// have them (PS3.5, section 6.2).
    pub(super) fn validate(&self) -> Result<(), ManifestError> {
        let fits = |text: &str, most: usize| {
            let length = text.chars().count();
            (1..=most).contains(&length) && is_plain(text) && !text.contains('\\')
        };
        let good = |code: &&Code| {
            fits(&code.value, 16) && fits(&code.scheme, 16) && fits(&code.meaning, 64)
        };
        match self.all().find(|code| !good(code)) {
            Some(code) => refuse(
                "labels.codes",
                format!("{:?}", <[String; 3]>::from(code.clone())),
                "a value and a scheme of 1 to 16 characters and a meaning of 1 to 64, without `\\`",
            ),
            None => Ok(()),
        }
    }
}
