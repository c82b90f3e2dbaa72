//! What a package accepts: limits within which a volume must lie to be of the kind that the net was
//! trained on.
//!
//! A net labels whatever it is shown, and outside what it knows it does so wrongly and without a
//! word; so volumes are held against these limits before anything is computed. A limit that is left
//! out is not checked.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::manifest::{ManifestError, refuse};
use crate::text::is_plain;
use crate::volume::{Geometry, Orientation};

/// How far beyond a limit a figure may lie, as a part of it: spacings are stored in 32 bits, and
/// often rounded.
const TOLERANCE: f64 = 1e-3;

/// Least and most.
pub type Limits<T> = [T; 2];

/// The manifest's `[accepts]`. Axes are the package's own: width, height, slices in its
/// orientation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepts {
    /// What made the image, as DICOM's attribute Modality (0008,0060) has it: one of these. NIfTI
    /// files do not tell; there it is shown, and not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modality: Vec<String>,
    /// Rules for the text of a DICOM series; all of them hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<SeriesRule>,
    /// Millimetres that the volume reaches along each axis: voxels times spacing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extent: Option<[Limits<f64>; 3]>,
    /// Millimetres between voxels along each axis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spacing: Option<[Limits<f64>; 3]>,
    /// Number of slices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<Limits<usize>>,
}

/// A rule for the text of a DICOM series: the attribute contains one of some words, or none of
/// others. Letters count as equal in both cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesRule {
    /// What is looked at.
    pub attribute: SeriesText,
    /// It contains one of these, unless there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<String>,
    /// It contains none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub none: Vec<String>,
}

/// Text that describes a DICOM series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesText {
    /// Image Type (0008,0008), its values divided by `\\`.
    ImageType,
    /// Body Part Examined (0018,0015).
    BodyPart,
    /// Series Description (0008,103E).
    Description,
}

impl SeriesText {
    /// Its name in messages.
    fn name(self) -> &'static str {
        match self {
            Self::ImageType => "image type",
            Self::BodyPart => "body part",
            Self::Description => "description",
        }
    }
}

impl SeriesRule {
    /// Whether a text keeps the rule.
    fn holds(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        let contains = |word: &String| text.contains(&word.to_ascii_lowercase());
        (self.any.is_empty() || self.any.iter().any(contains)) && !self.none.iter().any(contains)
    }

    /// What the rule expects, in words.
    fn expects(&self) -> String {
        let list = |words: &[String]| words.join(" or ");
        match (self.any.is_empty(), self.none.is_empty()) {
            (false, true) => list(&self.any),
            (true, _) => format!("not {}", list(&self.none)),
            (false, false) => format!("{} and not {}", list(&self.any), list(&self.none)),
        }
    }
}

/// What a DICOM series says of itself.
#[derive(Debug, Clone, Copy)]
pub struct SeriesTexts<'a> {
    /// Modality.
    pub modality: &'a str,
    /// Image Type.
    pub image_type: &'a [String],
    /// Body Part Examined.
    pub body_part: &'a str,
    /// Series Description.
    pub description: &'a str,
}

/// A limit that a volume does not keep.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Beyond {
    /// See [`Accepts::modality`] and [`Accepts::series`].
    #[error("{what} {found:?}, expected {expected}")]
    Series {
        /// Which text.
        what: &'static str,
        /// Of the series.
        found: String,
        /// Of the package.
        expected: String,
    },
    /// A series of a kind that no package is made for.
    #[error("{found}")]
    Kind {
        /// Which kind.
        found: String,
    },
    /// See [`Accepts::extent`].
    #[error("{found:.1} mm {axis}, expected {} to {} mm", limits[0], limits[1])]
    Extent {
        /// Which axis, in words.
        axis: &'static str,
        /// Of the volume.
        found: f64,
        /// Of the package.
        limits: Limits<f64>,
    },
    /// See [`Accepts::spacing`].
    #[error("voxels of {found:.3} mm {axis}, expected {} to {} mm", limits[0], limits[1])]
    Spacing {
        /// Which axis, in words.
        axis: &'static str,
        /// Of the volume.
        found: f64,
        /// Of the package.
        limits: Limits<f64>,
    },
    /// See [`Accepts::slices`].
    #[error("{found} slices, expected {} to {}", limits[0], limits[1])]
    Slices {
        /// Of the volume.
        found: usize,
        /// Of the package.
        limits: Limits<usize>,
    },
}

impl Accepts {
    /// The limits that a volume, in the package's orientation, does not keep.
    #[must_use]
    pub fn beyond(&self, volume: &Geometry) -> Vec<Beyond> {
        let axes = axes(volume.affine.orientation());
        let extents = [0, 1, 2].map(|axis| volume.size[axis] as f64 * volume.spacing[axis]);
        let mut all = Vec::new();
        for (limits, (axis, found)) in
            self.extent.iter().flatten().zip(axes.into_iter().zip(extents))
        {
            if outside(found, *limits) {
                all.push(Beyond::Extent { axis, found, limits: *limits });
            }
        }
        for (limits, (axis, found)) in
            self.spacing.iter().flatten().zip(axes.into_iter().zip(volume.spacing))
        {
            if outside(found, *limits) {
                all.push(Beyond::Spacing { axis, found, limits: *limits });
            }
        }
        let found = volume.size[2];
        if let Some(limits) = self.slices.filter(|[least, most]| !(*least..=*most).contains(&found))
        {
            all.push(Beyond::Slices { found, limits });
        }
        all
    }

    /// The limits that what a DICOM series says of itself does not keep.
    #[must_use]
    pub fn beyond_texts(&self, series: SeriesTexts<'_>) -> Vec<Beyond> {
        let mut all = Vec::new();
        if !self.modality.is_empty() && !self.modality.iter().any(|m| m == series.modality) {
            let (found, expected) = (series.modality.to_owned(), self.modality.join(" or "));
            all.push(Beyond::Series { what: "modality", found, expected });
        }
        for rule in &self.series {
            let text = match rule.attribute {
                SeriesText::ImageType => &series.image_type.join("\\"),
                SeriesText::BodyPart => series.body_part,
                SeriesText::Description => series.description,
            };
            if !rule.holds(text) {
                let (what, found) = (rule.attribute.name(), text.to_owned());
                all.push(Beyond::Series { what, found, expected: rule.expects() });
            }
        }
        all
    }

    /// The limits as a person reads them, with the axes' directions in an orientation; nothing
    /// where there is none.
    #[must_use]
    pub fn describe(&self, orientation: Orientation) -> Vec<String> {
        let each = |what: &str, limits: &[Limits<f64>; 3]| {
            let axes = axes(orientation).into_iter().zip(limits);
            let each: Vec<String> =
                axes.map(|(axis, [least, most])| format!("{least} to {most} {axis}")).collect();
            format!("{what}, mm: {}", each.join(", "))
        };
        let modality = (!self.modality.is_empty()).then(|| {
            format!(
                "modality: {} (not checked for NIfTI, which does not tell)",
                self.modality.join(" or ")
            )
        });
        let extent = self.extent.as_ref().map(|limits| each("extent", limits));
        let spacing = self.spacing.as_ref().map(|limits| each("spacing", limits));
        let slices = self.slices.map(|[least, most]| format!("slices: {least} to {most}"));
        let rules =
            self.series.iter().map(|rule| format!("{}: {}", rule.attribute.name(), rule.expects()));
        let limits = [extent, spacing, slices].into_iter().flatten();
        modality.into_iter().chain(rules).chain(limits).collect()
    }

    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), ManifestError> {
        let code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if let Some(bad) =
            self.modality.iter().find(|m| !(1..=16).contains(&m.len()) || !m.chars().all(code))
        {
            return refuse(
                "accepts.modality",
                format!("{bad:?}"),
                "codes as DICOM has them, such as CT or MR",
            );
        }
        let words = |rule: &SeriesRule| rule.any.iter().chain(&rule.none).cloned().collect();
        let word = |word: &String| (1..=64).contains(&word.len()) && is_plain(word);
        let good = |words: &Vec<String>| !words.is_empty() && words.iter().all(word);
        if let Some(bad) = self.series.iter().map(words).find(|words| !good(words)) {
            return refuse(
                "accepts.series",
                format!("{bad:?}"),
                "words of 1 to 64 characters in `any` or `none`",
            );
        }
        let lengths =
            |[least, most]: &Limits<f64>| *least > 0.0 && least <= most && most.is_finite();
        let expected = "positive lengths in mm for each of three axes, the least first";
        for (field, limits) in
            [("accepts.extent", &self.extent), ("accepts.spacing", &self.spacing)]
        {
            if let Some(limits) = limits.as_ref().filter(|limits| !limits.iter().all(lengths)) {
                return refuse(field, format!("{limits:?}"), expected);
            }
        }
        match self.slices {
            Some([least, most]) if least == 0 || least > most => refuse(
                "accepts.slices",
                format!("{least} to {most}"),
                "at least 1, the least first",
            ),
            _ => Ok(()),
        }
    }
}

/// Whether a figure lies beyond limits; what is no number does.
fn outside(found: f64, [least, most]: Limits<f64>) -> bool {
    !(found >= least * (1.0 - TOLERANCE) && found <= most * (1.0 + TOLERANCE))
}

/// The axes of an orientation, in words.
fn axes(orientation: Orientation) -> [&'static str; 3] {
    let mut words = orientation
        .to_string()
        .chars()
        .map(|letter| match letter {
            'L' | 'R' => "from left to right",
            'A' | 'P' => "from back to front",
            _ => "from bottom to top",
        })
        .collect::<Vec<_>>()
        .into_iter();
    [0, 1, 2].map(|_| words.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    fn accepts() -> Accepts {
        Accepts {
            modality: vec!["MR".into()],
            series: vec![],
            extent: Some([[20.0, 60.0], [30.0, 70.0], [40.0, 80.0]]),
            spacing: Some([[0.5, 2.0]; 3]),
            slices: Some([20, 90]),
        }
    }

    /// Right, superior, anterior, as the shipped packages see volumes.
    fn volume(size: [usize; 3], mm: [f64; 3]) -> Geometry {
        let affine =
            Affine([[mm[0], 0.0, 0.0, 0.0], [0.0, 0.0, mm[2], 0.0], [0.0, mm[1], 0.0, 0.0]]);
        Geometry::new(size, affine)
    }

    #[test]
    fn what_lies_within_is_accepted_up_to_rounding() {
        for (size, mm) in [
            ([40, 40, 60], [1.0; 3]),
            ([20, 30, 40], [1.0; 3]),
            ([30, 35, 40], [2.0005, 2.0, 1.9999]),
        ] {
            assert_eq!(accepts().beyond(&volume(size, mm)), [], "{size:?} {mm:?}");
        }
        assert_eq!(Accepts::default().beyond(&volume([1, 1, 9999], [1e-3, 1e3, 9.0])), []);
    }

    #[test]
    fn every_limit_that_is_not_kept_is_told_with_both_figures() {
        let told: Vec<String> = accepts()
            .beyond(&volume([197, 189, 233], [1.0, 1.0, 0.4]))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "197.0 mm from left to right, expected 20 to 60 mm",
                "189.0 mm from bottom to top, expected 30 to 70 mm",
                "93.2 mm from back to front, expected 40 to 80 mm",
                "voxels of 0.400 mm from back to front, expected 0.5 to 2 mm",
                "233 slices, expected 20 to 90",
            ]
        );
    }

    #[test]
    fn what_a_series_says_is_held_against_the_rules() {
        let rule = |attribute, any: &[&str], none: &[&str]| SeriesRule {
            attribute,
            any: any.iter().map(ToString::to_string).collect(),
            none: none.iter().map(ToString::to_string).collect(),
        };
        let accepts = Accepts {
            series: vec![
                rule(SeriesText::Description, &["t1", "mprage"], &["post"]),
                rule(SeriesText::ImageType, &[], &["DERIVED"]),
            ],
            ..accepts()
        };
        let series = SeriesTexts {
            modality: "MR",
            image_type: &["ORIGINAL".into(), "PRIMARY".into()],
            body_part: "",
            description: "Sag MPRAGE",
        };
        assert_eq!(accepts.beyond_texts(series), []);
        let other = SeriesTexts {
            modality: "CT",
            image_type: &["DERIVED".into()],
            description: "T1 post contrast",
            ..series
        };
        let told: Vec<String> =
            accepts.beyond_texts(other).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "modality \"CT\", expected MR",
                "description \"T1 post contrast\", expected t1 or mprage and not post",
                "image type \"DERIVED\", expected not DERIVED",
            ]
        );
    }

    #[test]
    fn limits_are_described_along_their_axes() {
        assert_eq!(
            accepts().describe("RSA".parse().unwrap()),
            [
                "modality: MR (not checked for NIfTI, which does not tell)",
                "extent, mm: 20 to 60 from left to right, 30 to 70 from bottom to top, 40 to 80 \
                 from back to front",
                "spacing, mm: 0.5 to 2 from left to right, 0.5 to 2 from bottom to top, 0.5 to 2 \
                 from back to front",
                "slices: 20 to 90",
            ]
        );
        assert!(Accepts::default().describe(Orientation::default()).is_empty());
    }
}
