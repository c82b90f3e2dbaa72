//! Objects are judged by programs that nobody here wrote: dciodvfy, pydicom, highdicom, dcmqi,
//! rt-utils, plastimatch.
//!
//! `MONET_DICOM_PYTHON` names a Python with the packages that `judge.py` imports.

mod back;
mod cases;
mod origin;
mod real;

use std::fs::{self, File};
use std::io::{BufWriter, Cursor};
use std::path::Path;
use std::process::Command;

use cases::Case;
use monet_dicom::objects::report::{Intensity, Measurement};
use monet_dicom::objects::{
    Kind, LabelmapWriter, ObjectError, RtstructWriter, SegWriter, Segment, Slice, Warning, capture,
    report,
};
use monet_testing::judges::dicom_python;

/// Runs a judge, which fails where it finds fault.
fn judge(python: &Path, args: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/judge.py");
    let ran = Command::new(python).arg(script).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{args:?}:\n{said}");
    said.into_owned()
}

/// Writes what a judge compares an object with.
fn expectation(case: &Case, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("labels"), case.planes.concat()).unwrap();
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().escape_default().to_string();
    let line = |slice: &Slice| {
        let fields = [
            slice.class_uid.clone(),
            slice.instance_uid.clone(),
            slice.frame.unwrap_or(0).to_string(),
            text(&slice.position),
            text(&slice.orientation),
            text(&slice.spacing),
        ];
        fields.join("\t") + "\n"
    };
    let source = &case.context.source;
    fs::write(folder.join("slices"), source.slices.iter().map(line).collect::<String>()).unwrap();
    let mut segments = String::new();
    for segment in &case.context.segments {
        segments += &format!("{}\t{}\n", segment.value, segment.label);
    }
    fs::write(folder.join("segments"), segments).unwrap();
    let size = case.size().map(|n| n.to_string()).join("\t");
    fs::write(folder.join("size"), size).unwrap();
}

fn seg(case: &Case) -> Result<(Vec<u8>, Vec<Warning>), ObjectError> {
    let mut writer = SegWriter::new(&case.context, Cursor::new(Vec::new()))?;
    case.planes.iter().try_for_each(|plane| writer.push(plane))?;
    writer.finish(Vec::new())
}

fn labelmap(case: &Case, path: &Path) -> Vec<Warning> {
    let file = BufWriter::new(File::create(path).unwrap());
    let mut writer = LabelmapWriter::new(&case.context, file).unwrap();
    case.planes.iter().for_each(|plane| writer.push(plane).unwrap());
    writer.finish().unwrap().1
}

fn rtstruct(case: &Case) -> Result<(Vec<u8>, Vec<Warning>), ObjectError> {
    let mut writer = RtstructWriter::new(&case.context, Cursor::new(Vec::new()))?;
    case.planes.iter().try_for_each(|plane| writer.push(plane))?;
    writer.finish(Vec::new())
}

/// Writes an object of every case that has one, made up or of these real series, and lets the
/// judge see all.
fn judge_each(command: &str, real: &[(&'static str, &str)], write: impl Fn(&Case, &Path) -> bool) {
    let Some(python) = dicom_python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec![command.to_owned()];
    for case in cases::made_up().into_iter().chain(real::cases(&python, real)) {
        let folder = folder.path().join(case.name);
        expectation(&case, &folder);
        if write(&case, &folder) {
            args.push(folder.to_str().unwrap().to_owned());
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    eprintln!("{}", judge(&python, &args));
}

#[test]
fn a_segmentation_lies_on_its_source() {
    judge_each("seg", &real::ALL, |case, folder| {
        let (bytes, _) = seg(case).unwrap();
        fs::write(folder.join("seg.dcm"), bytes).unwrap();
        true
    });
}

#[test]
fn a_label_map_lies_on_its_source() {
    judge_each("labelmap", &real::ALL, |case, folder| {
        labelmap(case, &folder.join("labelmap.dcm"));
        true
    });
}

#[test]
fn contours_enclose_the_labels() {
    judge_each("rtstruct", &real::ALL, |case, folder| {
        match rtstruct(case) {
            Ok((bytes, _)) => fs::write(folder.join("rtstruct.dcm"), bytes).unwrap(),
            Err(ObjectError::NoFrameOfReference) => return false,
            Err(error) => panic!("{}: {error}", case.name),
        }
        true
    });
}

/// Measurements that no voxel has, but that a reader must find.
fn measurements(case: &Case) -> Vec<Measurement> {
    let measured = |(i, segment): (usize, &Segment)| Measurement {
        value: segment.value,
        volume: 1234.5678 * i as f64,
        // The first segment is empty.
        intensity: (i > 0).then_some(Intensity {
            mean: 41.123_456_789_012_34,
            deviation: 1.0 / 3.0,
            least: -1024.0,
            largest: 1e6 * i as f64,
        }),
    };
    case.context.segments.iter().enumerate().map(measured).collect()
}

#[test]
fn a_report_tells_measurements() {
    judge_each("report", &real::ALL[..2], |case, folder| {
        let measurements = measurements(case);
        let file = report::write(&case.context, Kind::Seg, &measurements, Vec::new()).unwrap().0;
        fs::write(folder.join("report.dcm"), file).unwrap();
        fs::write(folder.join("seg.dcm"), seg(case).unwrap().0).unwrap();
        let mut lines = String::new();
        for measurement in measurements {
            let mut numbers = vec![measurement.volume];
            if let Some(Intensity { mean, deviation, least, largest }) = measurement.intensity {
                numbers.extend([mean, deviation, least, largest]);
            }
            let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
            lines += &(numbers.join("\t") + "\n");
        }
        fs::write(folder.join("measurements"), lines).unwrap();
        true
    });
}

#[test]
fn a_capture_is_the_picture() {
    judge_each("capture", &real::ALL[..2], |case, folder| {
        let picture: Vec<u8> = (0..5 * 7 * 3).map(|i| (i * 37 % 256) as u8).collect();
        fs::write(folder.join("picture"), &picture).unwrap();
        let file = capture::write(&case.context, 5, 7, &picture, Vec::new()).unwrap().0;
        fs::write(folder.join("capture.dcm"), file).unwrap();
        true
    });
}

#[test]
fn equal_input_gives_equal_bytes() {
    for case in cases::made_up() {
        assert_eq!(seg(&case).unwrap().0, seg(&case).unwrap().0, "{}", case.name);
        let [first, second] = [(); 2].map(|()| rtstruct(&case).map(|(bytes, _)| bytes).ok());
        assert_eq!(first, second, "{}", case.name);
    }
}
