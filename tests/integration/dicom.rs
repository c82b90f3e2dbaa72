//! DICOM series in, DICOM objects and NIfTI out: made series with every oddity, and real ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use monet::dicom::format::read::{self, Keep};
use monet::dicom::format::write::{Syntax, Writer};
use monet::dicom::format::{Dataset, tags};
use monet::measure::LabelVolume;
use monet::package::Normalise;
use monet_testing::{judges, package, skip, stderr, text};
use proptest::prelude::*;
use serde_json::Value;

use crate::monet;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
/// Rows and columns of a made slice: no multiple of 8 pixels.
const ROWS: usize = 5;
const COLUMNS: usize = 7;

/// A slice of a made CT.
#[derive(Clone)]
struct Slice {
    series: u32,
    instance: u32,
    position: [f64; 3],
    orientation: [f64; 6],
    slope: f64,
    intercept: f64,
    samples: Vec<i16>,
    /// Elements besides.
    more: Vec<(monet::dicom::format::Tag, [u8; 2], String)>,
}

impl Slice {
    /// The k-th axial slice of series 1, at 1 mm, as the net wants it: values in Hounsfield units
    /// from -1000 up.
    fn axial(k: u32) -> Self {
        let samples = (0..ROWS * COLUMNS).map(|i| ((i * 37 + k as usize * 11) % 200) as i16 * 10);
        Self {
            series: 1,
            instance: k,
            position: [-3.0, -20.0, f64::from(k)],
            orientation: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            slope: 1.0,
            intercept: -1000.0,
            samples: samples.collect(),
            more: Vec::new(),
        }
    }

    fn data_set(&self) -> Dataset {
        let list = |numbers: &[f64]| {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\\")
        };
        let mut set = Dataset::new();
        for (tag, vr, value) in [
            (tags::IMAGE_TYPE, b"CS", "ORIGINAL\\PRIMARY\\AXIAL".to_owned()),
            (tags::SOP_CLASS, b"UI", CT.to_owned()),
            (tags::SOP_INSTANCE, b"UI", format!("1.2.{}.{}", self.series, self.instance)),
            (tags::MODALITY, b"CS", "CT".to_owned()),
            (tags::PATIENT_NAME, b"PN", "Doe^Jane".to_owned()),
            (tags::STUDY_UID, b"UI", "1.2.3".to_owned()),
            (tags::SERIES_UID, b"UI", format!("1.2.3.{}", self.series)),
            (tags::SERIES_NUMBER, b"IS", self.series.to_string()),
            (tags::INSTANCE_NUMBER, b"IS", self.instance.to_string()),
            (tags::IMAGE_POSITION, b"DS", list(&self.position)),
            (tags::IMAGE_ORIENTATION, b"DS", list(&self.orientation)),
            (tags::FRAME_OF_REFERENCE, b"UI", "1.2.4".to_owned()),
            (tags::PHOTOMETRIC, b"CS", "MONOCHROME2".to_owned()),
            (tags::PIXEL_SPACING, b"DS", "1\\1".to_owned()),
            (tags::SLICE_THICKNESS, b"DS", "1".to_owned()),
            (tags::RESCALE_INTERCEPT, b"DS", self.intercept.to_string()),
            (tags::RESCALE_SLOPE, b"DS", self.slope.to_string()),
        ] {
            set.put_text(tag, vr, value);
        }
        for (tag, number) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, ROWS as u16),
            (tags::COLUMNS, COLUMNS as u16),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 16),
            (tags::HIGH_BIT, 15),
            (tags::PIXEL_REPRESENTATION, 1),
        ] {
            set.put_u16(tag, &[number]);
        }
        for (tag, vr, value) in &self.more {
            set.put_text(*tag, vr, value);
        }
        let samples: Vec<u8> = self.samples.iter().flat_map(|n| n.to_le_bytes()).collect();
        set.put_bytes(tags::PIXEL_DATA, b"OW", samples);
        set
    }

    fn write(&self, path: &Path) {
        let set = self.data_set();
        let instance = set.text(tags::SOP_INSTANCE).unwrap_or_default().to_owned();
        let file = fs::File::create(path).unwrap();
        let mut writer = Writer::file(file, Syntax::Explicit, CT, &instance).unwrap();
        writer.elements(&set).unwrap();
        writer.finish().unwrap();
    }
}

/// A folder with slices, in files whose names say nothing of the order, and a package that labels
/// what is brighter than 0 HU.
struct Made {
    folder: tempfile::TempDir,
    package: PathBuf,
}

impl Made {
    fn new(slices: &[Slice]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let normalise = Normalise::Window { low: -1000.0, high: 1000.0 };
        let package = package::threshold_package(folder.path(), 1, normalise);
        for (i, slice) in slices.iter().enumerate() {
            slice.write(&folder.path().join(format!("in/{:03}", (i * 7919) % 1000)));
        }
        Self { folder, package }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn segment(&self, output: &str, more: &[&str]) -> std::process::Output {
        let (input, output) = (self.path("in"), self.path(output));
        let args = ["segment", text(&input), "-o", text(&output), "--model", text(&self.package)];
        monet(&[&args[..], &["--force", "--quiet"], more].concat())
    }

    /// The labels as NIfTI: the bytes behind the header, in the order of the file.
    fn labels(&self, more: &[&str]) -> Vec<u8> {
        let ran = self.segment("labels.nii", more);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let file = fs::read(self.path("labels.nii")).unwrap();
        let offset = f32::from_le_bytes(file[108..112].try_into().unwrap()) as usize;
        file[offset..].to_vec()
    }

    fn series(&self, more: &[&str]) -> Value {
        let input = self.path("in");
        let args = ["series", text(&input), "--json", "--model", text(&self.package)];
        let ran = monet(&[&args[..], more].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    fn refused(&self, more: &[&str], expected: &str) {
        let ran = self.segment("refused.dcm", more);
        let message = stderr(&ran);
        assert_eq!(ran.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "expected {expected:?}: {message}");
        assert!(!self.path("refused.dcm").exists());
    }
}

/// What the package says of slices: 1 where a value is above 0 HU.
fn expected(slices: &[Slice]) -> Vec<u8> {
    let label = |slice: &Slice, sample: i16| {
        u8::from(f64::from(sample) * slice.slope + slice.intercept > 0.0)
    };
    slices.iter().flat_map(|s| s.samples.iter().map(move |n| label(s, *n))).collect()
}

fn stack(count: u32) -> Vec<Slice> {
    (0..count).map(Slice::axial).collect()
}

#[test]
fn slices_come_in_the_order_of_their_positions_and_scaled_one_by_one() {
    let mut slices = stack(6);
    for (k, slice) in slices.iter_mut().enumerate() {
        slice.instance = 100 - k as u32;
        slice.slope = 1.0 + k as f64 / 2.0;
        slice.intercept = -1000.0 - 100.0 * k as f64;
    }
    let made = Made::new(&slices);
    assert_eq!(made.labels(&[]), expected(&slices));
}

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
fn figures_name_the_input_and_no_patient() {
    let made = Made::new(&stack(3));
    let stats = made.path("s.json");
    let ran = made.segment("o.dcm", &["--stats", text(&stats)]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let text = fs::read_to_string(stats).unwrap();
    assert!(!text.contains("Doe") && !stderr(&ran).contains("Doe"));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["dicom"]["series"], "1.2.3.1");
    assert_eq!(report["dicom"]["instances"].as_array().unwrap().len(), 3);
    assert_eq!(report["dicom"]["instances"][0]["uid"], "1.2.1.0");
    assert!(report["labels"][0]["intensity"]["min"].as_f64().unwrap() > 0.0);
}

#[test]
fn figures_are_the_same_wherever_they_go() {
    let mut slices = stack(4);
    slices.extend(stack(4).into_iter().map(|s| Slice { series: 2, ..s }));
    let made = Made::new(&slices);
    fs::create_dir(made.path("out")).unwrap();
    let stats = made.path("all.json");
    let ran = made.segment("out", &["--stats", text(&stats)]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let all: Value = serde_json::from_slice(&fs::read(stats).unwrap()).unwrap();
    let ran = made.segment("one.dcm", &["--series", "1.2.3.1", "--stats", "-"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let one: Value = serde_json::from_slice(&ran.stdout).unwrap();
    for report in all.as_array().unwrap().iter().chain([&one]) {
        assert!(report["labels"][0]["intensity"]["mean"].is_number(), "{report}");
        assert_eq!(report["dicom"]["instances"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn gaps_are_refused_by_name_and_segmented_when_allowed() {
    let slices: Vec<Slice> =
        stack(9).into_iter().filter(|s| ![3, 4].contains(&s.instance)).collect();
    let made = Made::new(&slices);
    made.refused(&[], "2 slices are missing");
    let ran = made.segment("gaps.dcm", &["--allow-gaps"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let ran = made.segment("gaps.nii", &["--allow-gaps"]);
    assert!(stderr(&ran).contains("NIfTI cannot tell"), "{}", stderr(&ran));
    assert_eq!(made.series(&[])["stacks"][0]["oddities"][0]["kind"], "gap");
}

#[test]
fn a_tilted_series_becomes_a_sheared_volume() {
    let mut slices = stack(6);
    slices.iter_mut().for_each(|s| s.position[1] += s.position[2] * 0.2);
    let made = Made::new(&slices);
    assert_eq!(made.labels(&[]), expected(&slices));
    let listed = made.series(&[]);
    assert_eq!(listed["stacks"][0]["oddities"][0]["kind"], "tilt");
    let file = fs::read(made.path("labels.nii")).unwrap();
    let real = |at: usize| f32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    // The sform's second row: its third column holds the shear, in millimetres to anterior.
    assert!((real(296 + 8) - -0.2).abs() < 1e-5, "{}", real(296 + 8));
}

#[test]
fn several_series_are_listed_and_one_is_named() {
    let mut slices = stack(4);
    let others = stack(4).into_iter().map(|s| Slice { series: 2, intercept: -500.0, ..s });
    let others: Vec<Slice> = others.collect();
    slices.extend(others.clone());
    let made = Made::new(&slices);
    made.refused(&[], "2 series fit the model");
    made.refused(&["--series", "9.9"], "no series 9.9");
    assert_eq!(made.labels(&["--series", "1.2.3.2"]), expected(&others));
    fs::create_dir(made.path("out")).unwrap();
    let ran = made.segment("out", &[]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(fs::read_dir(made.path("out")).unwrap().count(), 2);
}

#[test]
fn what_lies_at_one_place_is_told_apart_or_refused() {
    let mut slices = stack(4);
    for slice in stack(4) {
        let echo = |text: &str| vec![(tags::ECHO_TIME, *b"DS", text.to_owned())];
        slices[slice.instance as usize].more = echo("5");
        let instance = 10 + slice.instance;
        slices.push(Slice { instance, more: echo("9"), ..slice });
    }
    let made = Made::new(&slices);
    let listed = made.series(&[]);
    assert_eq!(listed["stacks"].as_array().unwrap().len(), 2);
    assert_eq!(listed["stacks"][1]["told_apart_by"][0][0], "echo time");
    assert_eq!(listed["stacks"][1]["selector"], "1.2.3.1:2");
    made.refused(&[], "--series 1.2.3.1:2");
    made.refused(&["--series", "1.2.3.1"], "2 series fit the model");
    made.refused(&["--series", "1.2.3.1:3"], "no series 1.2.3.1:3; there are:");
    for (part, instance) in [("1.2.3.1:1", "1.2.1.0"), ("1.2.3.1:2", "1.2.1.10")] {
        let ran = made.segment("part.dcm", &["--series", part, "--stats", "-"]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(report["dicom"]["instances"][0]["uid"], instance);
    }

    let twice: Vec<Slice> =
        stack(4).into_iter().chain([Slice { instance: 77, ..Slice::axial(2) }]).collect();
    Made::new(&twice).refused(&[], "1 slice lies where others lie");
}

#[test]
fn what_the_package_does_not_accept_is_refused_with_both_figures() {
    let made = Made::new(&stack(4));
    let manifest = fs::read_to_string(&made.package).unwrap();
    let limits = "[accepts]\nmodality = [\"MR\"]\nslices = [10, 20]\n\
                  series = [{ attribute = \"image-type\", none = [\"AXIAL\"] }]\n\n[normalise]";
    fs::write(&made.package, manifest.replace("[normalise]", limits)).unwrap();
    made.refused(&[], "modality \"CT\", expected MR");
    made.refused(&[], "4 slices, expected 10 to 20");
    made.refused(&[], "expected not AXIAL");
    assert_eq!(made.labels(&["--accept-any"]), expected(&stack(4)));
    assert_eq!(made.series(&[])["stacks"][0]["accepted"], false);
    // All of it is told where it does not count. A part of the volume changes nothing about texts.
    let ran = made.segment("any.dcm", &["--accept-any", "--stats", "-"]);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let warning = report["warnings"].to_string().replace("\\\"", "\"");
    for told in ["modality \"CT\", expected MR", "expected not AXIAL", "4 slices, expected 10"] {
        assert!(warning.contains(told), "{warning}");
    }
    let part = ["--region", "0:5,0:5,:"];
    made.refused(&part, "modality \"CT\", expected MR");
}

#[test]
fn an_input_that_fits_nothing_costs_no_other() {
    let made = Made::new(&stack(4));
    fs::create_dir(made.path("none")).unwrap();
    fs::create_dir(made.path("out")).unwrap();
    let [input, none, out] = ["in", "none", "out"].map(|name| made.path(name));
    let package = ["--model", text(&made.package)];
    for inputs in [[&none, &input], [&input, &none]] {
        let args = ["segment", text(inputs[0]), text(inputs[1]), "-o", text(&out), "--force"];
        let ran = monet(&[&args[..], &package, &["--stats", "-"]].concat());
        let message = stderr(&ran);
        assert_eq!(ran.status.code(), Some(3), "{message}");
        assert!(message.contains("no series of slices found"), "{message}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
        let figures: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(figures.as_array().unwrap().len(), 1);
    }
    let args = ["segment", text(&none), text(&none), "-o", text(&out)];
    assert_eq!(monet(&[&args[..], &package].concat()).status.code(), Some(1));
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
fn localizers_mosaics_and_reports_are_passed_over() {
    let mut slices = stack(5);
    let kind = |text: &str| vec![(tags::IMAGE_TYPE, *b"CS", text.to_owned())];
    slices[0].more = kind("ORIGINAL\\PRIMARY\\LOCALIZER");
    slices[1].more = kind("ORIGINAL\\PRIMARY\\M\\MOSAIC");
    let made = Made::new(&slices);
    fs::write(made.path("in/notes.txt"), "no DICOM").unwrap();
    assert_eq!(made.labels(&[]), expected(&slices[2..]));
    let listed = made.series(&[]);
    assert_eq!(listed["other_files"], 1);
    assert!(listed["passed_over"][0]["reason"].as_str().unwrap().contains("mosaic"));
}

#[test]
fn without_identifiers_labels_are_nifti_and_no_object() {
    let mut slices = stack(3);
    slices.iter_mut().for_each(|s| s.more.push((tags::STUDY_UID, *b"UI", String::new())));
    let made = Made::new(&slices);
    assert_eq!(made.labels(&[]), expected(&slices));
    made.refused(&[], "no valid UID");
}

#[test]
fn padding_counts_as_air() {
    let mut slices = stack(3);
    for slice in &mut slices {
        slice.samples[0] = -32768;
        slice.samples[1] = 32767;
        slice.more.push((tags::PADDING_VALUE, *b"SS", String::new()));
    }
    let made = Made::new(&slices);
    for (i, slice) in slices.iter().enumerate() {
        let mut set = slice.data_set();
        set.put_bytes(tags::PADDING_VALUE, b"SS", 32767_i16.to_le_bytes());
        let file = fs::File::create(made.path(&format!("in/{:03}", (i * 7919) % 1000))).unwrap();
        let uid = set.text(tags::SOP_INSTANCE).unwrap().to_owned();
        let mut writer = Writer::file(file, Syntax::Explicit, CT, &uid).unwrap();
        writer.elements(&set).unwrap();
        writer.finish().unwrap();
    }
    let mut want = expected(&slices);
    (0..3).for_each(|k| want[k * ROWS * COLUMNS + 1] = 0);
    assert_eq!(made.labels(&[]), want);
}

#[test]
fn a_truncated_file_is_an_error_that_names_it() {
    let made = Made::new(&stack(3));
    let file = made.path("in/919");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
    made.refused(&[], "919");
}

/// What `segment` warns of on the terminal, which is what the figures say, too.
fn warnings(made: &Made, output: &str, more: &[&str]) -> Vec<String> {
    let (input, output, stats) = (made.path("in"), made.path(output), made.path("warned.json"));
    let args = ["segment", text(&input), "-o", text(&output), "--model", text(&made.package)];
    let ran = monet(&[&args[..], &["--force", "--stats", text(&stats)], more].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report: Value = serde_json::from_slice(&fs::read(stats).unwrap()).unwrap();
    let all: Vec<String> = serde_json::from_value(report["warnings"].clone()).unwrap();
    all.iter().for_each(|warning| assert!(stderr(&ran).contains(warning.as_str()), "{warning}"));
    all
}

/// Whether one of the warnings has all of the texts.
fn tells(warnings: &[String], texts: &[&str]) -> bool {
    warnings.iter().any(|warning| texts.iter().all(|text| warning.contains(text)))
}

#[test]
fn files_that_cannot_be_read_are_told_and_a_readme_is_not() {
    let whole = fs::read(Made::new(&stack(1)).path("in/000")).unwrap();
    for (name, content, told) in [
        ("cut", &whole[..300], true),
        ("zeros", &[0; 4000], true),
        ("empty", &[], true),
        ("noise.dcm", &[0xa7; 500], true),
        ("README", b"not an image", false),
        ("empty.txt", &[], false),
        (".hidden", &[], false),
    ] {
        let made = Made::new(&stack(4));
        fs::write(made.path("in").join(name), content).unwrap();
        let warned = warnings(&made, "o.nii", &[]);
        assert_eq!(tells(&warned, &["1 DICOM file cannot be read", name]), told, "{warned:?}");
        let listed = made.series(&[]);
        assert_eq!(listed["passed_over"].as_array().unwrap().len(), usize::from(told), "{listed}");
        assert_eq!(listed["other_files"], u64::from(!told));
    }
}

#[test]
fn a_dicomdir_tells_what_it_names_in_vain() {
    let made = Made::new(&stack(4));
    let names = ["IN\\000", "IN\\919", "IN\\838", "IN\\757", "IN\\GONE", "..\\X", "/etc/passwd"];
    let record = |name: &&str| {
        let mut record = Dataset::new();
        record.put_text(tags::RECORD_TYPE, b"CS", "IMAGE");
        record.put_bytes(tags::REFERENCED_FILE, b"UN", name.as_bytes());
        record
    };
    let mut set = Dataset::new();
    set.put_items(tags::DIRECTORY_RECORDS, names.iter().map(record).collect());
    let directory = made.path("DICOMDIR");
    let mut writer =
        Writer::file(fs::File::create(&directory).unwrap(), Syntax::Explicit, "1.2", "1.3")
            .unwrap();
    writer.elements(&set).unwrap();
    writer.finish().unwrap();
    fs::rename(made.path("in"), made.path("IN")).unwrap();
    let output = made.path("o.nii");
    let args = ["segment", text(&directory), "-o", text(&output), "--model", text(&made.package)];
    let ran = monet(&args);
    assert!(ran.status.success(), "{}", stderr(&ran));
    for told in ["3 DICOM files cannot be read", "GONE", "out of the folder"] {
        assert!(stderr(&ran).contains(told), "{told}: {}", stderr(&ran));
    }
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(told.contains("4 slices"), "{told}");
}

#[test]
fn one_instance_in_two_files_counts_once_or_is_refused() {
    let mut slices = stack(4);
    slices.push(slices[2].clone());
    let made = Made::new(&slices);
    assert!(tells(&warnings(&made, "o.nii", &[]), &["1 of the files are there already"]));
    assert_eq!(made.labels(&[]), expected(&slices[..4]));
    // The same instance with other pixels, whichever of them comes first.
    for other in [2, 4] {
        let mut slices = slices.clone();
        slices[other].samples[3] ^= 1;
        let made = Made::new(&slices);
        made.refused(&["--accept-any"], "and not its content");
        let listed = made.series(&[]);
        let odd = &listed["stacks"][0]["oddities"][0];
        assert_eq!((&odd["kind"], &odd["count"]), (&"conflict".into(), &1.into()), "{listed}");
        let files: Vec<String> = serde_json::from_value(odd["files"].clone()).unwrap();
        assert!(files.iter().any(|file| file.ends_with("838")), "{files:?}");
    }
}

#[test]
fn slices_of_the_series_that_are_not_in_the_volume_are_told() {
    let mut slices = stack(7);
    // Another modality; an orientation that is none; a slope that is no number.
    slices[4].more = vec![(tags::MODALITY, *b"CS", "MR".into())];
    slices[5].more = vec![(tags::RESCALE_SLOPE, *b"DS", "nan".into())];
    slices[6].more = vec![(tags::IMAGE_ORIENTATION, *b"DS", "1\\0\\0\\1\\0\\0".into())];
    let made = Made::new(&slices);
    let manifest = fs::read_to_string(&made.package).unwrap();
    let limits = "[accepts]\nmodality = [\"CT\"]\n\n[normalise]";
    fs::write(&made.package, manifest.replace("[normalise]", limits)).unwrap();
    let warned = warnings(&made, "o.nii", &[]);
    assert!(tells(&warned, &["1 slice of this series is in other stacks"]), "{warned:?}");
    assert!(
        tells(&warned, &["2 images of this series passed over", "an orientation"]),
        "{warned:?}"
    );
}

#[test]
fn a_slope_of_nought_makes_all_values_the_intercept() {
    let mut slices = stack(3);
    slices[1].slope = 0.0;
    slices[1].intercept = 5.0;
    let made = Made::new(&slices);
    assert_eq!(made.labels(&[]), expected(&slices));
}

#[test]
fn what_matters_to_a_reader_is_told() {
    let mut slices = stack(6);
    slices.remove(3);
    for slice in &mut slices {
        slice.position[1] += slice.position[2] * 0.2;
        slice.more = vec![
            (tags::PHOTOMETRIC, *b"CS", "MONOCHROME1".into()),
            (tags::LOSSY, *b"CS", "01".into()),
            (tags::PATIENT_ID, *b"LO", "SECRET".repeat(11)),
            (tags::ACCESSION_NUMBER, *b"SH", "A\\B".into()),
        ];
    }
    let made = Made::new(&slices);
    let warned = warnings(&made, "o.dcm", &["--allow-gaps"]);
    for told in [
        "1 slice is missing, 3.000 mm from the first slice",
        "tilted gantry",
        "MONOCHROME1",
        "with loss",
        "(0010,0020) of the source is no valid LO",
        "(0008,0050) of the source is no valid SH",
    ] {
        assert!(tells(&warned, &[told]), "{told}: {warned:?}");
    }
    assert!(!warned.iter().any(|warning| warning.contains("SECRET")), "{warned:?}");
}

#[test]
fn pixels_that_cannot_be_read_are_no_accepted_series() {
    let made = Made::new(&stack(3));
    let file = made.path("in/919");
    let whole = fs::read(&file).unwrap();
    let explicit = b"1.2.840.10008.1.2.1\0";
    let at = whole.windows(explicit.len()).position(|w| w == explicit).unwrap();
    let mut mpeg = whole.clone();
    mpeg[at..at + explicit.len()].copy_from_slice(b"1.2.840.10008.1.2.9\0");
    for (content, told) in [
        (&whole[..whole.len() - 20], "frame 0 needs"),
        (&mpeg[..], "cannot be decoded: convert it"),
    ] {
        fs::write(&file, content).unwrap();
        let listed = made.series(&[]);
        assert_eq!(listed["stacks"][0]["accepted"], false, "{listed}");
        let obstacle = listed["stacks"][0]["obstacles"][0].as_str().unwrap();
        assert!(obstacle.contains(told) && obstacle.contains("919"), "{obstacle}");
        assert!(obstacle.matches("convert").count() < 2, "{obstacle}");
        made.refused(&["--accept-any"], told);
    }
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
    for (what, changed) in [("labels", uids(&brighter, &[])), ("place", uids(&moved, &[]))] {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The labels of a series are those of its slices, whatever their orientation, direction and
    /// number.
    #[test]
    fn labels_lie_on_their_voxels(
        count in 1_u32..9,
        axes in prop::sample::select(vec![
            [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            [0.0, 1.0, 0.0, 0.0, 0.0, -1.0],
            [1.0, 0.0, 0.0, 0.0, 0.0, -1.0],
            [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0],
            [0.6, 0.8, 0.0, -0.8, 0.6, 0.0],
        ]),
        reversed in any::<bool>(),
    ) {
        let [a, b, c, d, e, f] = axes;
        let normal = [b * f - c * e, c * d - a * f, a * e - b * d];
        let mut slices = stack(count);
        for (k, slice) in slices.iter_mut().enumerate() {
            let along = if reversed { -(k as f64) } else { k as f64 };
            slice.orientation = axes;
            slice.position = normal.map(|n| 10.0 + n * along);
        }
        let made = Made::new(&slices);
        if reversed {
            slices.reverse();
        }
        prop_assert_eq!(made.labels(&[]), expected(&slices));
    }
}

/// A folder of real DICOM data.
fn real(name: &str) -> Option<PathBuf> {
    Some(judges::real_dicom()?.join(name))
}

#[test]
fn a_series_gives_the_labels_of_the_same_volume_as_nifti() {
    let Some(folder) = real("sts001/MR_T1") else { return };
    let out = tempfile::tempdir().unwrap();
    let (dicom, nifti) = (out.path().join("d.nii"), out.path().join("n.nii"));
    let image = folder.join("MR_T1_image.nii.gz");
    let model = monet_testing::root().join("models/sarcoma.int8.toml");
    for (input, output) in [(&folder, &dicom), (&image, &nifti)] {
        let args = ["segment", text(input), "-o", text(output), "--model", text(&model)];
        let ran = monet(&[&args[..], &["--threads", "2"]].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    // Hundredths of a millimetre.
    let points = |path: &Path| -> BTreeSet<[i64; 3]> {
        let volume = LabelVolume::read(path).unwrap();
        let [width, height, slices] = volume.geometry().size;
        let all = (0..width * height * slices)
            .map(|i| [i % width, i / width % height, i / width / height]);
        let labelled = all.filter(|at| volume.label(*at) > 0);
        let affine = volume.geometry().affine;
        labelled
            .map(|at| affine.apply(at.map(|n| n as f64)).map(|mm| (mm * 100.0).round() as i64))
            .collect()
    };
    let (a, b) = (points(&dicom), points(&nifti));
    assert!(a.len() > 100_000, "{}", a.len());
    assert!(a == b, "{} and {} labelled voxels", a.len(), b.len());
}

#[test]
fn a_zip_archive_and_its_folder_give_the_same() {
    let Some(folder) = real("hippocampus_mr") else { return };
    let out = tempfile::tempdir().unwrap();
    let zip = out.path().join("study.zip");
    let script = "import shutil, sys; shutil.make_archive(sys.argv[1], 'zip', sys.argv[2])";
    let base = out.path().join("study");
    let made = monet_testing::run("python3", &["-c", script, text(&base), text(&folder)]);
    assert!(made.status.success(), "{}", stderr(&made));
    let labels = |input: &Path, name: &str| {
        let folder = out.path().join(name);
        fs::create_dir(&folder).unwrap();
        let ran = monet(&["segment", text(input), "-o", text(&folder), "--quiet"]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let mut files: Vec<Vec<u8>> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect();
        files.sort();
        files
    };
    let (a, b) = (labels(&folder, "a"), labels(&zip, "b"));
    assert_eq!(a.len(), 3);
    assert!(a == b);
}

#[test]
fn an_archive_with_a_damaged_entry_is_refused_by_the_entrys_name() {
    let made = Made::new(&stack(5));
    let (folder, zip) = (made.path("in"), made.path("study.zip"));
    // Stored and deflated in turn; then a bit of the last pixel of 757, a stored one, is turned.
    let script = "import os, sys, zipfile\n\
        archive = zipfile.ZipFile(sys.argv[2], 'w')\n\
        for i, name in enumerate(sorted(os.listdir(sys.argv[1]))):\n\
        \x20   archive.write(os.path.join(sys.argv[1], name), name, 8 * (i % 2))\n\
        end = archive.getinfo('757').header_offset + 33 + archive.getinfo('757').compress_size\n\
        archive.close()\n\
        data = bytearray(open(sys.argv[2], 'rb').read())\n\
        data[end - 1] ^= int(sys.argv[3])\n\
        open(sys.argv[2], 'wb').write(data)";
    let out = made.path("o.nii");
    for (bit, good) in [("0", true), ("8", false)] {
        let ran = monet_testing::run("python3", &["-c", script, text(&folder), text(&zip), bit]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let args = ["segment", text(&zip), "-o", text(&out), "--force", "--quiet", "--model"];
        let ran = monet(&[&args[..], &[text(&made.package)]].concat());
        assert_eq!(ran.status.success(), good, "{}", stderr(&ran));
        if !good {
            assert!(stderr(&ran).contains("757: slice"), "{}", stderr(&ran));
            assert!(stderr(&ran).contains("checksum"), "{}", stderr(&ran));
        }
    }
}

/// Encoders of each compression, as DCMTK and GDCM have them: the syntax, the program and its
/// options.
const ENCODERS: [(&str, &str, &[&str]); 10] = [
    ("implicit", "dcmconv", &["+ti"]),
    ("big-endian", "dcmconv", &["+tb"]),
    ("deflated", "dcmconv", &["+td"]),
    ("without meta", "dcmconv", &["+te", "-F"]),
    ("rle", "dcmcrle", &[]),
    ("jpeg lossless", "dcmcjpeg", &["+el"]),
    ("jpeg lossless, first order", "dcmcjpeg", &["+e1"]),
    ("jpeg-ls", "dcmcjpls", &["+el"]),
    ("jpeg-ls by gdcm", "gdcmconv", &["--jpegls"]),
    ("jpeg 2000", "gdcmconv", &["--j2k"]),
];

#[test]
fn each_syntax_gives_the_labels_of_the_native_series() {
    let Some(folder) = real("hippocampus_mr/study1") else { return };
    let out = tempfile::tempdir().unwrap();
    let labels = |input: &Path| {
        let output = out.path().join("labels.nii");
        let run = ["segment", text(input), "-o", text(&output), "--force", "--quiet"];
        let ran = monet(&run);
        assert!(ran.status.success(), "{}: {}", input.display(), stderr(&ran));
        fs::read(output).unwrap()
    };
    let want = labels(&folder);
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for (name, program, options) in ENCODERS {
        if std::process::Command::new(program).arg("--version").output().is_err() {
            skip(&format!("no {program} on this machine"));
            continue;
        }
        let encoded = out.path().join(name);
        fs::create_dir(&encoded).unwrap();
        for (i, file) in files.iter().enumerate() {
            let to = encoded.join(i.to_string());
            let ran = monet_testing::run(program, &[options, &[text(file), text(&to)]].concat());
            assert!(ran.status.success(), "{name}: {}", stderr(&ran));
        }
        assert!(labels(&encoded) == want, "{name}");
    }
}

/// A damaged frame is an error, whatever it does to its codec.
#[test]
fn damaged_frames_are_errors() {
    let Some(folder) = real("hippocampus_mr/study1") else { return };
    if std::process::Command::new("dcmcjpls").arg("--version").output().is_err() {
        skip("no dcmcjpls on this machine");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let input = out.path().join("in");
    fs::create_dir(&input).unwrap();
    let mut folders = vec![folder];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let to = input.join(count.to_string());
            let ran = monet_testing::run("dcmcjpls", &["+el", text(&path), text(&to)]);
            assert!(ran.status.success(), "{}", stderr(&ran));
            count += 1;
        }
    }
    let victim = input.join("3");
    let whole = fs::read(&victim).unwrap();
    let mut random = monet_testing::Random(7);
    for _ in 0..20 {
        let mut damaged = whole.clone();
        for _ in 0..8 {
            let at = whole.len() - 1 - random.below(600);
            damaged[at] ^= 1 << random.below(8);
        }
        fs::write(&victim, &damaged).unwrap();
        let output = out.path().join("o.dcm");
        let run = ["segment", text(&input), "-o", text(&output), "--force", "--quiet"];
        let ran = monet(&run);
        // A frame may still decode, to other values.
        assert!(matches!(ran.status.code(), Some(0 | 1)), "{:?}: {}", ran.status, stderr(&ran));
        assert!(!stderr(&ran).contains("panicked"), "{}", stderr(&ran));
    }
}
