//! Which slices are a volume, in which order, and what is refused.

use std::fs;

use monet::dicom::format::tags;
use monet_testing::{dicom, stderr, text};
use proptest::prelude::*;
use serde_json::Value;

use super::{COLUMNS, Made, ROWS, Slice, expected, file_of, stack};
use crate::monet;

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
        dicom::write(&set, &made.path(&file_of(i)));
    }
    let mut want = expected(&slices);
    (0..3).for_each(|k| want[k * ROWS * COLUMNS + 1] = 0);
    assert_eq!(made.labels(&[]), want);
}

#[test]
fn a_slope_of_nought_makes_all_values_the_intercept() {
    let mut slices = stack(3);
    slices[1].slope = 0.0;
    slices[1].intercept = 5.0;
    let made = Made::new(&slices);
    assert_eq!(made.labels(&[]), expected(&slices));
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
