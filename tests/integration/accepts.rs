//! Nets are not run in silence on what they were not made for.

use std::fs;
use std::path::{Path, PathBuf};

use monet_testing::{
    nifti::{self, Nifti},
    skip, stderr, text,
};
use serde_json::json;

use crate::{monet, segment};

const SAMPLE: &str = "models/sample/mni152-hippocampus.nii.gz";

/// Fails, and nothing is left: the message.
fn refused(input: &Path, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("o.nii.gz");
    let ran = monet(&[&["segment", text(input), "-o", text(&output)], more].concat());
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing was begun");
    stderr(&ran)
}

/// A head as large as the MNI152 template, and the template where it is: refused with both figures
/// and the ways out, one of which is a box, which then has the labels of the cropped file.
#[test]
fn a_whole_head_is_refused_and_a_box_of_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        nifti::padded_sample(&folder.path().join("head.nii.gz"), [197, 233, 189], [54, 84, 41], 30);
    let template = std::env::var_os("MONET_TEMPLATE").map(PathBuf::from);
    if template.is_none() {
        skip("MONET_TEMPLATE names no mni152_t1.nii.gz");
    }
    let plan = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/hippocampus.plan");
    let own = segment(Path::new(SAMPLE), &[]).1;
    for (head, exact) in [(Some(made), true), (template, false)] {
        let Some(head) = head else { continue };
        for model in [&[][..], &["--model", text(&plan)]] {
            let told = refused(&head, model);
            for part in [
                "not a volume that hippocampus",
                "197.0 mm from left to right, expected 20 to 65 mm",
                "189.0 mm from bottom to top",
                "233.0 mm from back to front",
                "233 slices",
                "--region",
                "--accept-any",
            ] {
                assert!(told.contains(part), "{part}: {told}");
            }
        }
        let (told, report) = segment(&head, &["--region-mm", "-44:-7,-50:1,-31:4"]);
        assert!(told.is_empty(), "{told}");
        assert_eq!(report["region"]["size"], json!([38, 36, 52]));
        for (label, own) in
            report["labels"].as_array().unwrap().iter().zip(own["labels"].as_array().unwrap())
        {
            let [found, expected] = [label, own].map(|label| label["voxels"].as_f64().unwrap());
            // The template is the sample's origin, in other numbers.
            assert!(
                (found / expected - 1.0).abs() < if exact { 1e-9 } else { 0.1 },
                "{found} {expected}"
            );
            let first = |label: &serde_json::Value| label["slices"][0].as_i64().unwrap();
            assert!(
                (first(label) - first(own) - 84).abs() < if exact { 1 } else { 3 },
                "{label} {own}"
            );
        }
        let (told, report) = segment(&head, &["--accept-any", "--region", "20:100,80:140,30:90"]);
        assert!(told.contains("warning") && told.contains("segmented all the same"), "{told}");
        assert!(
            report["warnings"][0]
                .as_str()
                .unwrap()
                .contains("80.0 mm from left to right, expected"),
            "{report}"
        );
    }
}

#[test]
fn one_slice_and_voxels_in_centimetres_are_refused_and_crops_by_hand_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let input = |name: &str, size, mm: f32| {
        let mut file = Nifti::blob(size);
        file.sform = Some([[mm, 0.0, 0.0, 0.0], [0.0, mm, 0.0, 0.0], [0.0, 0.0, mm, 0.0]]);
        file.write(&folder.path().join(name))
    };
    let told = refused(&input("slice.nii", [40, 1, 40], 1.0), &[]);
    assert!(told.contains("1.0 mm from back to front") && told.contains("1 slices"), "{told}");
    let told = refused(&input("cm.nii", [4, 4, 4], 10.0), &[]);
    assert!(
        told.contains("voxels of 10.000 mm from left to right, expected 0.5 to 2 mm"),
        "{told}"
    );
    // What would not help is not advised.
    assert!(told.contains("resample it") && !told.contains("--region"), "{told}");
    let told = refused(&input("small.nii", [8, 8, 8], 1.0), &[]);
    assert!(told.contains("give more of the body") && !told.contains("--region"), "{told}");
    for (size, mm) in [
        ([30, 30, 30], 1.0),
        ([60, 60, 60], 1.0),
        ([75, 75, 75], 0.8),
        ([100, 120, 80], 0.5),
        ([20, 25, 22], 2.0),
    ] {
        let (told, _) = segment(&input("crop.nii", size, mm), &[]);
        assert!(!told.contains("was made for"), "{size:?}: {told}");
    }
}

#[test]
fn inspect_shows_the_limits() {
    let shown = monet(&["inspect"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for line in [
        "accepts  modality: MR (not checked for NIfTI, which does not tell",
        "accepts  extent, mm: 20 to 65 from left to right",
        "accepts  slices: ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&monet(&["inspect", "--json"]).stdout).unwrap();
    assert_eq!(json["manifest"]["accepts"]["modality"], json!(["MR"]));
    let bench = monet(&["inspect", "models/bench/monet-256.int8.toml", "--size", "32x32"]);
    assert!(!String::from_utf8_lossy(&bench.stdout).contains("accepts"));
}
