//! Names and colours of labels as other programs read them: within a mask, and in a file beside it.
//!
//! NIfTI has no field for them. What readers share is the Caret extension of the header, code 30
//! (`NIFTI_ECODE_CARET` of nifti1.h), an XML text whose label table is that of GIFTI: Connectome
//! Workbench writes and reads it (`CaretVolumeExtension` in its sources), nibabel gives it as
//! `header.extensions[0].text`, and TotalSegmentator writes the same text under code 0
//! (`nifti_ext_header.py`). MRIcroGL, NiiVue and FSLeyes colour a mask by its intent code alone and
//! take names from a file, as 3D Slicer and ITK-SNAP do.

use std::path::Path;

use super::{Colour, Label};

/// The label table as a Caret extension's text. Value 0 is in it as background, transparent.
#[must_use]
pub fn caret_xml(labels: &[Label]) -> String {
    let mut out = "<?xml version=\"1.0\" \
        encoding=\"UTF-8\"?>\n<CaretExtension>\n<VolumeInformation \
        Index=\"0\">\n<LabelTable>\n"
        .to_owned();
    for (value, Colour(rgb), alpha, name) in entries(labels) {
        let [red, green, blue] = rgb.map(|v| f64::from(v) / 255.0);
        let name = escaped(name);
        out += &format!(
            "<Label Key=\"{value}\" Red=\"{red:.6}\" Green=\"{green:.6}\" Blue=\"{blue:.6}\" \
             Alpha=\"{alpha}\">{name}</Label>\n"
        );
    }
    out + "</LabelTable>\n<StudyMetaDataLinkSet></StudyMetaDataLinkSet>\n\
           <VolumeType>Label</VolumeType>\n</VolumeInformation>\n</CaretExtension>\n"
}

/// The label table as a file of its own: a colour table of 3D Slicer where the name ends in
/// `.ctbl`, else a label description of ITK-SNAP.
#[must_use]
pub fn file_text(path: &Path, labels: &[Label]) -> String {
    let slicer = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("ctbl"));
    if slicer { slicer_table(labels) } else { itksnap_descriptions(labels) }
}

/// Value, name without spaces, red, green, blue, opacity: what 3D Slicer loads as a colour table.
fn slicer_table(labels: &[Label]) -> String {
    let mut out = "# Color table: value, name, red, green, blue, alpha\n".to_owned();
    for (value, Colour([red, green, blue]), alpha, name) in entries(labels) {
        let name = one_line(name).replace(' ', "_");
        out += &format!("{value} {name} {red} {green} {blue} {}\n", alpha * 255);
    }
    out
}

/// Value, red, green, blue, opacity from 0 to 1, whether it is visible in slices and in 3-D, name.
fn itksnap_descriptions(labels: &[Label]) -> String {
    let mut out =
        "# ITK-SnAP Label Description File\n# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n"
            .to_owned();
    for (value, Colour([red, green, blue]), alpha, name) in entries(labels) {
        let name = one_line(name).replace('"', "'");
        out += &format!(
            "{value:>5} {red:>5} {green:>4} {blue:>4} {alpha:>8} {alpha:>2} {alpha:>2}    \
             \"{name}\"\n"
        );
    }
    out
}

/// Value, colour, opacity (0 or 1) and name, background first.
fn entries(labels: &[Label]) -> impl Iterator<Item = (u8, Colour, u8, &str)> {
    let background = (0, Colour([0; 3]), 0, "background");
    std::iter::once(background).chain(labels.iter().map(|l| (l.value, l.colour, 1, &*l.name)))
}

/// A name without characters that end lines or that XML does not allow.
fn one_line(name: &str) -> String {
    let odd =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
    name.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

fn escaped(name: &str) -> String {
    one_line(name)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<Label> {
        let label = |value, name: &str, colour| Label::new(value, name, Colour(colour));
        vec![label(1, "anterior", [230, 25, 75]), label(7, "a<b> & \"c\"\u{1b}", [0, 255, 51])]
    }

    #[test]
    fn a_caret_table_has_the_background_and_every_label() {
        let text = caret_xml(&labels());
        for part in [
            "<Label Key=\"0\" Red=\"0.000000\" Green=\"0.000000\" Blue=\"0.000000\" \
             Alpha=\"0\">background</Label>",
            "<Label Key=\"1\" Red=\"0.901961\" Green=\"0.098039\" Blue=\"0.294118\" \
             Alpha=\"1\">anterior</Label>",
            "Green=\"1.000000\" Blue=\"0.200000\" Alpha=\"1\">a&lt;b&gt; &amp; \
             &quot;c&quot;\u{fffd}</Label>",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }

    #[test]
    fn the_ending_tells_the_program() {
        let slicer = file_text(Path::new("a/labels.CTBL"), &labels());
        assert!(
            slicer.ends_with(
                "0 background 0 0 0 0\n1 anterior 230 25 75 255\n7 a<b>_&_\"c\"\u{fffd} 0 255 51 \
                 255\n"
            ),
            "{slicer}"
        );
        let snap = file_text(Path::new("labels.txt"), &labels());
        let fields: Vec<Vec<&str>> =
            snap.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(fields[0], ["0", "0", "0", "0", "0", "0", "0", "\"background\""]);
        assert_eq!(fields[1], ["1", "230", "25", "75", "1", "1", "1", "\"anterior\""]);
        assert!(snap.contains("\"a<b> & 'c'\u{fffd}\""), "{snap}");
    }
}
