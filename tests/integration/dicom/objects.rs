//! What results hold, and results compared with each other.

use std::fs;
use std::path::Path;

use monet::dicom::format::read::{self, Keep};
use monet::dicom::format::tags;
use monet_testing::{stderr, text};
use serde_json::Value;

use super::{COLUMNS, Made, ROWS, Slice, expected, stack};
use crate::monet;

#[test]
fn objects_hold_the_labels_and_the_same_run_gives_the_same_bytes() {
    let made = Made::new(&stack(6));
    let extras = [text(&made.path("r.dcm")).to_owned(), text(&made.path("c.dcm")).to_owned()];
    let more = ["--report", extras[0].as_str(), "--capture", extras[1].as_str()];
    for format in ["seg", "labelmap", "rtstruct"] {
        let extra = if format == "rtstruct" { &[][..] } else { &more[..] };
        let run = |output: &str| {
            let ran = made.segment(output, &[&["--format", format], extra].concat());
            assert!(ran.status.success(), "{format}: {}", stderr(&ran));
            fs::read(made.path(output)).unwrap()
        };
        let one = run("one.dcm");
        assert!(one == run("two.dcm"), "{format}");
        assert_eq!(&one[128..132], b"DICM");
        assert!(one.windows(8).any(|w| w == b"Doe^Jane"), "the patient's name goes over");
    }
    for name in ["r.dcm", "c.dcm"] {
        assert_eq!(&fs::read(made.path(name)).unwrap()[128..132], b"DICM");
    }
}

/// Dice of the first label, by `monet evaluate`.
fn dice(pred: &Path, truth: &Path) -> f64 {
    let ran = monet(&["evaluate", "--pred", text(pred), "--truth", text(truth), "--json", "-"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let found = report.pointer("/subjects/0/labels/0/dice").and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn results_are_compared_with_each_other_whatever_their_format() {
    let mut slices = stack(8);
    // Nothing bright in the first slices and the last.
    [0, 1, 7].into_iter().for_each(|k| slices[k].samples.fill(0));
    let made = Made::new(&slices);
    assert_eq!(made.labels(&[]), expected(&slices));
    for format in ["seg", "labelmap", "rtstruct"] {
        let ran = made.segment(&format!("{format}.dcm"), &["--format", format]);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    let [seg, map, contours, nifti] =
        ["seg.dcm", "labelmap.dcm", "rtstruct.dcm", "labels.nii"].map(|name| made.path(name));
    for pair in [[&seg, &nifti], [&nifti, &seg], [&map, &seg], [&seg, &seg], [&nifti, &map]] {
        assert!((dice(pair[0], pair[1]) - 1.0).abs() < 1e-12, "{pair:?}");
    }
    for truth in [&nifti, &map] {
        for dice in [dice(&contours, truth), dice(truth, &contours)] {
            assert!(dice > 0.95, "{dice}");
        }
    }
    let ran = monet(&["evaluate", "--pred", text(&contours), "--truth", text(&contours)]);
    assert!(stderr(&ran).contains("has no grid of its own"), "{}", stderr(&ran));
}

/// Slices whose positions are uneven, tilted or missing, by name.
fn odd_stacks() -> Vec<(&'static str, Vec<Slice>)> {
    let tilt = |slice: &mut Slice| slice.position[1] += slice.position[2] * 0.25;
    let uneven = |slice: &mut Slice| slice.position[2] += 0.02 * slice.position[2].powi(2);
    let moved = |count: u32, moves: &[&dyn Fn(&mut Slice)]| {
        let mut slices = stack(count);
        slices.iter_mut().for_each(|slice| moves.iter().for_each(|change| change(slice)));
        slices
    };
    let without = |slices: Vec<Slice>, gone: &[u32]| -> Vec<Slice> {
        slices.into_iter().filter(|slice| !gone.contains(&slice.instance)).collect()
    };
    let turned = |slice: &mut Slice| slice.orientation = [0.0, -1.0, 0.0, 0.8, 0.0, 0.6];
    vec![
        ("tilted", moved(9, &[&tilt])),
        ("with gaps", without(stack(12), &[3, 7, 8])),
        ("tilted, with gaps", without(moved(12, &[&tilt]), &[4, 5])),
        ("uneven", moved(11, &[&uneven])),
        ("tilted and uneven", moved(11, &[&uneven, &tilt])),
        ("oblique and tilted", moved(7, &[&turned])),
    ]
}

#[test]
fn results_of_odd_series_are_compared_slice_by_slice() {
    for (name, mut slices) in odd_stacks() {
        // A segmentation leaves out the first slices and one within.
        [0, 1, 5].into_iter().for_each(|k| slices[k].samples.fill(0));
        let made = Made::new(&slices);
        for format in ["seg", "labelmap", "rtstruct"] {
            let more = ["--format", format, "--allow-gaps"];
            let ran = made.segment(&format!("{format}.dcm"), &more);
            assert!(ran.status.success(), "{name}: {}", stderr(&ran));
        }
        let mut files = ["seg.dcm", "labelmap.dcm"].map(|file| made.path(file)).to_vec();
        if made.segment("labels.nii", &["--allow-gaps"]).status.success() {
            files.push(made.path("labels.nii"));
        }
        for (pred, truth) in files.iter().flat_map(|a| files.iter().map(move |b| (a, b))) {
            let found = dice(pred, truth);
            assert!((found - 1.0).abs() < 1e-12, "{name}: {pred:?} {truth:?} {found}");
        }
        let contours = made.path("rtstruct.dcm");
        let found = dice(&contours, &made.path("labelmap.dcm"));
        assert!(found > 0.95, "{name}: {found}");
    }
}

#[test]
fn what_is_no_mask_or_lies_elsewhere_is_told_as_what_it_is() {
    let made = Made::new(&stack(6));
    let report = made.path("report.dcm");
    let ran = made.segment("seg.dcm", &["--report", text(&report)]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(made.labels(&[]).len(), 6 * ROWS * COLUMNS);
    let elsewhere: Vec<Slice> = stack(6)
        .into_iter()
        .map(|mut slice| {
            slice.position[0] += 500.0;
            slice
        })
        .collect();
    let elsewhere = Made::new(&elsewhere);
    assert!(elsewhere.segment("far.dcm", &[]).status.success());
    let (far, image) = (elsewhere.path("far.dcm"), made.path("in/919"));
    for (pred, expected) in [
        (&image, "an image of modality \"CT\""),
        (&report, "a report of modality \"SR\""),
        (&far, "6 of 6 frames have labels off the grid, up to 500.00 mm"),
    ] {
        for truth in [made.path("labels.nii"), made.path("seg.dcm")] {
            let ran = monet(&["evaluate", "--pred", text(pred), "--truth", text(&truth)]);
            let message = stderr(&ran);
            assert_eq!(ran.status.code(), Some(1), "{message}");
            assert!(message.contains(expected), "expected {expected:?}: {message}");
            assert!(!message.contains("copy it again"), "{message}");
        }
    }
}

/// Volume and centre of the one label.
fn mass(made: &Made, more: &[&str]) -> (f64, Vec<f64>) {
    let ran = made.segment("mass.dcm", &[&["--stats", "-"], more].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let label = &report["labels"][0];
    let centre = label["centroid_mm"].as_array().unwrap();
    let centre = centre.iter().map(|mm| mm.as_f64().unwrap()).collect();
    (label["ml"].as_f64().unwrap(), centre)
}

#[test]
fn a_voxel_counts_as_thick_as_its_slice() {
    for (name, slices) in odd_stacks() {
        let heights: Vec<f64> = slices.iter().map(|s| s.position[2]).collect();
        let has_gaps = name.contains("gaps");
        let between = |pair: &[f64]| if has_gaps { 1.0 } else { pair[1] - pair[0] };
        let between: Vec<f64> = heights.windows(2).map(between).collect();
        let area = if name.starts_with("oblique") { 0.8 } else { 1.0 };
        let (mut volume, mut weighted) = (0.0, [0.0; 3]);
        for (k, slice) in slices.iter().enumerate() {
            let before = k.checked_sub(1).map(|at| between[at]);
            let after = between.get(k).copied();
            let thick = (before.or(after).unwrap() + after.or(before).unwrap()) / 2.0;
            for (i, sample) in slice.samples.iter().enumerate() {
                if f64::from(*sample) + slice.intercept > 0.0 {
                    let (x, y) = ((i % COLUMNS) as f64, (i / COLUMNS) as f64);
                    let [a, b, c, d, e, f] = slice.orientation;
                    let [p, q, r] = slice.position;
                    // To the right, to anterior and to superior.
                    let place = [-(p + a * x + d * y), -(q + b * x + e * y), r + c * x + f * y];
                    volume += thick * area;
                    (0..3).for_each(|axis| weighted[axis] += thick * area * place[axis]);
                }
            }
        }
        let (ml, centre) = mass(&Made::new(&slices), &["--allow-gaps"]);
        assert!((ml * 1000.0 - volume).abs() < 1e-6 * volume, "{name}: {ml} {volume}");
        for (found, sum) in centre.iter().zip(weighted) {
            assert!((found - sum / volume).abs() < 1e-3, "{name}: {found} {}", sum / volume);
        }
    }
}

#[test]
fn names_that_say_another_format_are_errors() {
    let made = Made::new(&stack(3));
    fs::create_dir(made.path("results")).unwrap();
    for (output, more, expected) in [
        ("one.jpg", &[][..], "expected a name that ends in .dcm"),
        ("one.nii", &["--format", "seg"], "expected a name that ends in .dcm"),
        ("one.nii.gz", &["--format", "rtstruct"], "expected a name that ends in .dcm"),
        ("one.dcm", &["--format", "nifti"], "ends in .nii or .nii.gz"),
        ("one.dcm", &["--report", "report.pdf"], "report.pdf: a DICOM object"),
        ("one.dcm", &["--capture", "capture.png"], "capture.png: a DICOM object"),
        ("none/", &[], "no such folder: make it first"),
    ] {
        let ran = made.segment(output, more);
        let message = stderr(&ran);
        assert_eq!(ran.status.code(), Some(1), "{output}: {message}");
        assert!(message.contains(expected), "expected {expected:?}: {message}");
        assert!(!made.path(output).exists());
    }
    for output in ["one.DCM", "one", "1.2.3", "one.nii", "results/"] {
        let ran = made.segment(output, &[]);
        assert!(ran.status.success(), "{output}: {}", stderr(&ran));
    }
}

#[test]
fn all_that_was_written_is_listed() {
    let made = Made::new(&stack(3));
    let written = ["o.dcm", "r.dcm", "c.dcm", "p.png"].map(|name| made.path(name));
    let (input, [o, r, c, p]) = (made.path("in"), written.each_ref().map(|path| text(path)));
    let args = ["segment", text(&input), "-o", o, "--report", r, "--capture", c, "--preview", p];
    let ran = monet(&[&args[..], &["--model", text(&made.package)]].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(written.iter().all(|path| told.contains(text(path))), "{told}");
}

#[test]
fn other_labels_are_other_instances() {
    let uids = |slices: &[Slice], more: &[&str]| {
        let made = Made::new(slices);
        let (report, capture) = (made.path("r.dcm"), made.path("c.dcm"));
        let extras = ["--report", text(&report), "--capture", text(&capture)];
        let ran = made.segment("o.dcm", &[&extras[..], more].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
        ["o.dcm", "r.dcm", "c.dcm"].map(|name| {
            let keep = Keep::all();
            let set = read::open(&made.path(name), &keep).unwrap().header.data;
            let uid = |tag| set.text(tag).unwrap().to_owned();
            (uid(tags::SOP_INSTANCE), uid(tags::SERIES_UID), fs::read(made.path(name)).unwrap())
        })
    };
    let slices = stack(4);
    let first = uids(&slices, &[]);
    let again = uids(&slices.iter().rev().cloned().collect::<Vec<_>>(), &["--threads", "2"]);
    assert!(first == again, "file names and threads change nothing");
    let mut brighter = stack(4);
    brighter[2].intercept = -400.0;
    let mut moved = stack(4);
    moved.iter_mut().for_each(|slice| slice.position[0] += 1.0);
    let mut renamed = stack(4);
    let name = (tags::PATIENT_NAME, *b"PN", "Roe^Jane".to_owned());
    renamed.iter_mut().for_each(|slice| slice.more.push(name.clone()));
    for (what, changed) in [
        ("labels", uids(&brighter, &[])),
        ("place", uids(&moved, &[])),
        ("patient", uids(&renamed, &[])),
    ] {
        for (one, other) in first.iter().zip(&changed) {
            assert_ne!(one.0, other.0, "another {what}, another instance");
            assert_eq!(one.1, other.1, "the series is the same");
        }
    }
    // The report names the segmentation that was written with it.
    let named = first[0].0.as_bytes();
    assert!(first[1].2.windows(named.len()).any(|window| window == named));
}

#[test]
fn an_output_never_meets_an_input() {
    let made = Made::new(&stack(3));
    let (input, file) = (made.path("in"), made.path("in/919"));
    let before = fs::read(&file).unwrap();
    let ran = monet(&[
        "segment",
        text(&input),
        "-o",
        text(&file),
        "--force",
        "--model",
        text(&made.package),
    ]);
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    assert!(fs::read(&file).unwrap() == before);
}
