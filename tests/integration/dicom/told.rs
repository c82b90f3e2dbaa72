//! What the command says: figures, warnings, and errors that name a file.

use std::fs;

use monet::dicom::format::write::{Syntax, Writer};
use monet::dicom::format::{Dataset, tags};
use monet_testing::{stderr, text};
use serde_json::Value;

use super::{Made, Slice, expected, stack};
use crate::monet;

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
