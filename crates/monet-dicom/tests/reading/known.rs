//! pydicom's own test files: equal, or refused for a reason that stands here.

use super::compare::{Outcome, compare};
use super::pydicom_files;
use monet_testing::judges::dicom_python;

/// Files that this crate refuses, and a part of what it says.
const REFUSED: &[(&str, &str)] = &[
    // No DICOM: a byte too many in front, a text, and what pydicom ships beside.
    ("no_meta.dcm", "no DICOM file"),
    ("README", "no DICOM file"),
    ("README.md", "no DICOM file"),
    // Cut off, or with lengths that are wrong.
    ("MR_truncated.dcm", "frame 0 needs 8192 bytes, 8130 are there"),
    ("rtplan_truncated.dcm", "needs 976 bytes, the file has 711 more"),
    ("DICOMDIR-nooffset", "needs 248 bytes, the file has 224 more"),
    // Pixels without description, and Number of Frames "1A".
    ("meta_missing_tsyntax.dcm", "(0028,0100) is missing"),
    ("nested_priv_SQ.dcm", "(0028,0100) is missing"),
    ("badVR.dcm", "(0028,0008) is missing or is no whole number"),
    // pydicom's decoders refuse this frame, too.
    ("JPEG2000-embedded-sequence-delimiter.dcm", "says columns"),
    // Colour is no volume.
    ("SC_jpeg_no_color_transform.dcm", "JPEG of colour"),
    ("SC_jpeg_no_color_transform_2.dcm", "JPEG of colour"),
    ("SC_rgb_jpeg.dcm", "JPEG of colour"),
    ("SC_rgb_jpeg_app14_dcmd.dcm", "JPEG of colour"),
    ("SC_rgb_dcmtk_+eb+cr.dcm", "JPEG of colour"),
    ("SC_rgb_dcmtk_+eb+cy+n1.dcm", "JPEG of colour"),
    ("SC_rgb_dcmtk_+eb+cy+n2.dcm", "JPEG of colour"),
    ("SC_rgb_dcmtk_+eb+cy+np.dcm", "JPEG of colour"),
    ("SC_rgb_dcmtk_+eb+cy+s2.dcm", "JPEG of colour"),
    ("SC_rgb_dcmtk_+eb+cy+s4.dcm", "JPEG of colour"),
    ("SC_rgb_jpeg_dcmtk.dcm", "JPEG of colour"),
    ("SC_rgb_jpeg_lossy_gdcm.dcm", "JPEG of colour"),
    ("SC_rgb_small_odd_jpeg.dcm", "JPEG of colour"),
    ("examples_ybr_color.dcm", "JPEG of colour"),
    ("SC_ybr_full_422_uncompressed.dcm", "native YBR_FULL_422"),
    ("SC_rgb_jls_lossy_line.dcm", "JPEG-LS of colour"),
    ("SC_rgb_jls_lossy_sample.dcm", "JPEG-LS of colour"),
    // Samples of 32 bits, all of them ones.
    ("SC_rgb_rle_32bit.dcm", "larger than 2147483647"),
    ("SC_rgb_rle_32bit_2frame.dcm", "larger than 2147483647"),
];

/// Files whose values may differ from another decoder's by so much.
const NEAR: &[(&str, u32)] = &[
    ("JPGExtended.dcm", 1),
    // The irreversible transform, in floats.
    ("JPEG2000.dcm", 1),
];

/// Files that pydicom's decoders cannot read: JPEG of 12 bits (`encoders` has another judge).
const UNJUDGED: &[&str] = &["JPEG-lossy.dcm"];

#[test]
fn every_file_of_pydicom_is_equal_or_refused_by_name() {
    let Some(python) = dicom_python() else { return };
    let files = pydicom_files(&python);
    assert!(files.len() > 80);
    let mut wrong = Vec::new();
    for (name, outcome) in compare(&python, &files, true) {
        let refused = REFUSED.iter().find(|(file, _)| *file == name);
        let near = NEAR.iter().find(|(file, _)| *file == name).map_or(0, |(_, most)| *most);
        let good = match (&outcome, refused) {
            (Outcome::Refused(why), Some((_, part))) => why.contains(part),
            (Outcome::Equal, None) => true,
            (Outcome::Near(most), None) => *most <= near,
            (Outcome::Unjudged(_), None) => UNJUDGED.contains(&&*name),
            _ => false,
        };
        if !good {
            wrong.push(format!("{name}: {outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
