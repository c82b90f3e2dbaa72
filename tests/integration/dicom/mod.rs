//! DICOM series in, DICOM objects and NIfTI out: made series with every oddity, and real ones.

mod objects;
mod real;
mod stacks;
mod told;

use std::fs;
use std::path::PathBuf;

use monet::dicom::format::{Dataset, tags};
use monet::package::Normalise;
use monet_testing::{dicom, package, stderr, text};
use serde_json::Value;

use crate::monet;

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
    more: Vec<dicom::Text>,
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
        let own = [
            (tags::IMAGE_TYPE, *b"CS", "ORIGINAL\\PRIMARY\\AXIAL".to_owned()),
            (tags::SOP_CLASS, *b"UI", dicom::CT.to_owned()),
            (tags::SOP_INSTANCE, *b"UI", format!("1.2.{}.{}", self.series, self.instance)),
            (tags::MODALITY, *b"CS", "CT".to_owned()),
            (tags::PATIENT_NAME, *b"PN", "Doe^Jane".to_owned()),
            (tags::STUDY_UID, *b"UI", "1.2.3".to_owned()),
            (tags::SERIES_UID, *b"UI", format!("1.2.3.{}", self.series)),
            (tags::SERIES_NUMBER, *b"IS", self.series.to_string()),
            (tags::INSTANCE_NUMBER, *b"IS", self.instance.to_string()),
            (tags::IMAGE_POSITION, *b"DS", list(&self.position)),
            (tags::IMAGE_ORIENTATION, *b"DS", list(&self.orientation)),
            (tags::FRAME_OF_REFERENCE, *b"UI", "1.2.4".to_owned()),
            (tags::PIXEL_SPACING, *b"DS", "1\\1".to_owned()),
            (tags::SLICE_THICKNESS, *b"DS", "1".to_owned()),
            (tags::RESCALE_INTERCEPT, *b"DS", self.intercept.to_string()),
            (tags::RESCALE_SLOPE, *b"DS", self.slope.to_string()),
        ];
        let samples = dicom::Samples::Signed(&self.samples);
        dicom::image(ROWS, samples, &[&own[..], &self.more].concat())
    }
}

/// Name of the i-th file, which says nothing of the order.
fn file_of(i: usize) -> String {
    format!("in/{:03}", (i * 7919) % 1000)
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
            dicom::write(&slice.data_set(), &folder.path().join(file_of(i)));
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
