//! Volumes as files are: version 2 of the format, pipes, files that change while they are read,
//! reading that is to stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use monet::core::Kernel;
use monet::package::Package;
use monet::pipeline::{self, FileJob, Model, PipelineError};
use monet::volume::{LabelSink, NiftiHeader, SliceSource, SourceOptions, VolumeError};
use monet_testing::{
    judges,
    nifti::{self, Nifti},
    stderr, text,
};
use proptest::prelude::*;

use crate::monet;

fn open(path: &Path) -> Result<SliceSource<'static>, VolumeError> {
    SliceSource::open(path, &SourceOptions::default())
}

/// Axes in an order that needs the spool.
const SIDEWAYS: [[f32; 4]; 3] =
    [[0.0, 0.0, 3.0, -9.0], [2.0, 0.0, 0.0, 8.0], [0.0, -1.0, 0.0, 7.0]];

/// A volume that streams straight, and one that passes through the spool.
fn two_ways() -> [Nifti; 2] {
    [Nifti::blob([5, 4, 3]), Nifti { sform: Some(SIDEWAYS), ..Nifti::blob([5, 4, 3]) }]
}

#[test]
fn the_second_version_reads_as_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let quaternion = Nifti {
        sform: None,
        qform: Some([0.1, 0.2, 0.3, 4.0, 5.0, 6.0]),
        ..Nifti::blob([5, 4, 3])
    };
    for file in two_ways().into_iter().chain([quaternion]) {
        for big_endian in [false, true] {
            let voxels = if big_endian {
                file.voxels.chunks(2).flat_map(|v| [v[1], v[0]]).collect()
            } else {
                file.voxels.clone()
            };
            let file =
                Nifti { big_endian, slope: 0.5, intercept: -3.0, units: 3, voxels, ..file.clone() };
            let one = open(&file.write(&at("one.nii"))).unwrap().read_all().unwrap();
            let geometry = *NiftiHeader::read(&at("one.nii")).unwrap().grid.geometry();
            for name in ["two.nii", "two.nii.gz"] {
                let path = nifti::write(&at(name), &file.second_version());
                let mut source = open(&path).unwrap();
                assert_eq!(source.read_all().unwrap(), one, "{name} {big_endian}");
                let theirs = *source.grid().geometry();
                let same = geometry
                    .affine
                    .0
                    .iter()
                    .flatten()
                    .zip(theirs.affine.0.iter().flatten())
                    .all(|(a, b)| (a - b).abs() < 1e-6);
                assert!(same, "{name}: {geometry:?} {theirs:?}");
            }
            let pair = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..file.clone() };
            let bytes = pair.second_version();
            fs::write(at("two.hdr"), &bytes[..540]).unwrap();
            fs::write(at("two.img"), &bytes[544..]).unwrap();
            assert_eq!(open(&at("two.img")).unwrap().read_all().unwrap(), one);
        }
    }
}

#[test]
fn a_mask_has_its_input_s_version_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for file in two_ways() {
        let mut bytes = file.second_version();
        // More digits than 32 bits hold.
        bytes[400 + 24..400 + 32].copy_from_slice(&0.123_456_789_012_345f64.to_le_bytes());
        let input = nifti::write(&at("in.nii.gz"), &bytes);
        let source = open(&input).unwrap();
        let mut sink = LabelSink::create(&at("out.nii"), &source, true, None).unwrap();
        let [width, height, slices] = source.geometry().size;
        (0..slices).for_each(|z| sink.push(&vec![z as u8; width * height]).unwrap());
        sink.finish(true).unwrap();
        let written = fs::read(at("out.nii")).unwrap();
        for (what, range) in [("pixdim", 104..168), ("forms", 344..496), ("units", 500..504)] {
            assert_eq!(written[range.clone()], bytes[range], "{what}");
        }
        let mask = open(&at("out.nii")).unwrap();
        assert_eq!(mask.grid().geometry(), source.grid().geometry());
    }
}

#[test]
fn hostile_headers_of_the_second_version_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let good = Nifti::blob([5, 4, 3]).second_version();
    let with = |at: usize, value: i64| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let line_ends = {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(b"\n\x1a\n\n");
        bytes
    };
    let cases = [
        (with(24, i64::MAX), "dim"),
        (with(24, -5), "dim[1]"),
        (with(40, i64::MAX), "dim[3]"),
        (with(40, 1 << 20), "of 1048576"),
        (with(16, 1 << 33), "dim[0]"),
        (with(168, -1), "vox_offset"),
        (with(168, 100), "vox_offset"),
        (with(168, i64::MAX), "vox_offset"),
        (good[..500].to_vec(), "500 bytes of a 540-byte header"),
        (good[..600].to_vec(), "ends here"),
        (line_ends, "line ends"),
    ];
    for (bytes, expected) in cases {
        let path = nifti::write(&folder.path().join("h.nii"), &bytes);
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_second_version_makes_the_reader_panic(
        changes in prop::collection::vec((12usize..540, any::<u8>()), 1..12)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = Nifti::blob([6, 5, 4]).second_version();
        changes.iter().for_each(|(at, value)| bytes[*at] = *value);
        let path = nifti::write(&folder.path().join("h.nii"), &bytes);
        if let Ok(mut source) = open(&path) {
            let (slice, slices) = (source.slice_len(), source.geometry().size[2]);
            if let Ok(voxels) = source.read_all() {
                prop_assert_eq!(voxels.len(), slice * slices);
            }
        }
    }
}

#[cfg(unix)]
fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once_and_gives_as_many_passes_as_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    for (i, file) in two_ways().into_iter().enumerate() {
        let expected = open(&file.write(&folder.path().join("a.nii"))).unwrap().read_all().unwrap();
        for (name, bytes) in [
            ("plain", file.bytes()),
            ("zipped", nifti::gzip(&file.bytes())),
            ("two", file.second_version()),
        ] {
            let path = folder.path().join(format!("{name}{i}"));
            pipe(&path);
            let writer = path.clone();
            let writing = std::thread::spawn(move || fs::write(writer, bytes));
            let mut source = open(&path).unwrap();
            assert_eq!(
                (source.read_all().unwrap(), source.read_all().unwrap()),
                (expected.clone(), expected.clone())
            );
            source.verify().unwrap();
            writing.join().unwrap().unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn reading_stops_while_the_spool_is_filled() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let bytes = Nifti { sform: Some(SIDEWAYS), ..Nifti::blob([64, 64, 64]) }.bytes();
    let path = folder.path().join("pipe");
    pipe(&path);
    let (stop, writer) = (Arc::new(AtomicBool::new(false)), path.clone());
    let stopper = stop.clone();
    let writing = std::thread::spawn(move || {
        let mut file = fs::OpenOptions::new().write(true).open(writer).unwrap();
        file.write_all(&bytes[..200_000]).unwrap();
        stopper.store(true, Ordering::Relaxed);
        // Nobody reads it any more.
        let _ = file.write_all(&bytes[200_000..]);
    });
    let error = SliceSource::open(
        &path,
        &SourceOptions { interrupted: Some(stop), ..SourceOptions::default() },
    )
    .unwrap_err();
    assert!(matches!(error, VolumeError::Interrupted { .. }), "{error}");
    assert!(matches!(PipelineError::from(error), PipelineError::Interrupted));
    writing.join().unwrap();
}

/// What happens to a file while it is read.
type Change = (&'static str, fn(&Path));

fn changes() -> Vec<Change> {
    vec![
        ("replaced", |path| {
            let beside = path.with_extension("new");
            fs::write(&beside, Nifti::new([5, 4, 3], &[7; 60]).bytes()).unwrap();
            fs::rename(beside, path).unwrap();
        }),
        ("rewritten in place", |path| {
            fs::write(path, Nifti::new([5, 4, 3], &[7; 60]).bytes()).unwrap()
        }),
        ("cut", |path| fs::write(path, "").unwrap()),
        ("longer", |path| fs::write(path, [0; 4096]).unwrap()),
    ]
}

#[cfg(unix)]
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (what, change) in changes() {
        for file in two_ways() {
            let path = file.write(&folder.path().join("a.nii"));
            // Longer than the grain of the clock that stamps files.
            std::thread::sleep(Duration::from_millis(30));
            let mut source = open(&path).unwrap();
            let mut slice = vec![0.0; source.slice_len()];
            source.next_into(&mut slice).unwrap().unwrap();
            change(&path);
            let rest = (0..2).map(|_| source.next_into(&mut slice)).collect::<Result<Vec<_>, _>>();
            let spooled = file.sform == Some(SIDEWAYS);
            assert!(
                spooled || matches!(rest, Err(VolumeError::Changed { .. })),
                "{what}: {rest:?}"
            );
            assert!(matches!(source.verify(), Err(VolumeError::Changed { .. })), "{what}");
            if !spooled {
                assert!(matches!(source.rewind(), Err(VolumeError::Changed { .. })), "{what}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_header_that_is_replaced_while_its_image_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..Nifti::blob([5, 4, 3]) };
    let [header, image] = ["a.hdr", "a.img"].map(|name| folder.path().join(name));
    fs::write(&header, &file.header()[..348]).unwrap();
    fs::write(&image, &file.voxels).unwrap();
    let source = open(&image).unwrap();
    source.verify().unwrap();
    fs::write(folder.path().join("b.hdr"), &file.header()[..348]).unwrap();
    fs::rename(folder.path().join("b.hdr"), &header).unwrap();
    let error = source.verify().unwrap_err();
    assert!(error.to_string().contains("a.hdr: another file took its name"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_volume_that_is_replaced_gives_no_mask() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy("models/sample/mni152-hippocampus.nii.gz", at("a.nii.gz")).unwrap();
    fs::copy("models/sample/mni152-hippocampus.nii.gz", at("b.nii.gz")).unwrap();
    let job = FileJob { input: at("a.nii.gz"), output: at("o.nii.gz"), ..FileJob::default() };
    let mut model = Model::new(Package::embedded(), 2, Kernel::best());
    let error = pipeline::segment_file(&mut model, &job, &Arc::default(), &mut |done, slices| {
        if done == slices {
            fs::rename(at("b.nii.gz"), at("a.nii.gz")).unwrap();
        }
    });
    let error = error.unwrap_err();
    assert!(matches!(&error, PipelineError::Volume(VolumeError::Changed { .. })), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left");
}

/// A file whose free texts name somebody, and its voxels.
fn named(path: &Path, two: bool) -> PathBuf {
    let file = Nifti::blob([16, 16, 8]);
    let mut bytes = if two { file.second_version() } else { file.bytes() };
    let texts = if two {
        vec![(240, 104), (508, 16), (525, 15)]
    } else {
        vec![(4, 28), (148, 104), (328, 16)]
    };
    for (at, length) in texts {
        bytes[at..at + length].copy_from_slice(&b"Jane^Roe".repeat(13)[..length]);
    }
    nifti::write(path, &bytes)
}

#[test]
fn a_mask_tells_its_labels_and_nothing_of_the_patient() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (two, header) in [(false, 348), (true, 540)] {
        let input = named(&at("in.nii.gz"), two);
        let ran = monet(&[
            "segment",
            text(&input),
            "-o",
            text(&at("o.nii")),
            "--quiet",
            "--force",
            "--accept-any",
        ]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let bytes = fs::read(at("o.nii")).unwrap();
        assert!(!bytes.windows(4).any(|w| w == b"Jane" || w == b"^Roe"), "a name is in the mask");
        let number = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (size, code) = (number(header + 4) as usize, number(header + 8));
        assert_eq!((bytes[header], code, size % 16), (1, 30, 0));
        assert_eq!(bytes.len(), header + 4 + size + 16 * 16 * 8);
        let xml = String::from_utf8(bytes[header + 12..header + 4 + size].to_vec()).unwrap();
        assert!(xml.contains("<Label Key=\"2\"") && xml.contains(">posterior</Label>"), "{xml}");
        assert!(xml.trim_end().ends_with("</CaretExtension>"), "{xml}");
    }
}

#[test]
fn nibabel_and_simpleitk_read_masks_and_their_labels() {
    let Some(python) = judges::python() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sample = "models/sample/mni152-hippocampus.nii.gz";
    let [plain, zipped] = ["o.nii", "o.nii.gz"].map(|name| folder.path().join(name));
    for output in [&plain, &zipped] {
        let ran = monet(&["segment", sample, "-o", text(output), "--quiet"]);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    let script = "\
import sys, numpy, nibabel, SimpleITK, xml.etree.ElementTree as tree
source, *masks = sys.argv[1:]
for path in masks:
    mask = nibabel.load(path)
    voxels = numpy.asarray(mask.dataobj)
    assert voxels.dtype == numpy.uint8 and set(numpy.unique(voxels)) == {0, 1, 2}, \
    numpy.unique(voxels)
    assert numpy.array_equal(mask.affine, nibabel.load(source).affine)
    assert mask.header['vox_offset'] % 16 == 0
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    assert numpy.array_equal(itk.transpose(), voxels)
    [extension] = mask.header.extensions
    assert extension.get_code() == 30, extension.get_code()
    table = tree.fromstring(extension.text)
    names = {int(label.get('Key')): label.text for label in table.iter('Label')}
    assert names == {0: 'background', 1: 'anterior', 2: 'posterior'}, names
";
    let output = std::process::Command::new(python)
        .args(["-c", script, sample])
        .args([plain, zipped])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_label_table_is_written_on_request_and_never_over_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let input = Nifti::blob([24, 28, 18]).write(&at("in.nii.gz"));
    let segment = |table: &Path, more: &[&str]| {
        let output = at("o.nii");
        let args =
            ["segment", text(&input), "-o", text(&output), "--quiet", "--label-table", text(table)];
        monet(&[&args[..], more].concat())
    };
    for (name, expected) in
        [("l.ctbl", "\n1 anterior 255 107 53 255\n"), ("l.txt", "    \"posterior\"\n")]
    {
        let ran = segment(&at(name), &["--force"]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let table = fs::read_to_string(at(name)).unwrap();
        assert!(table.contains(expected), "{table}");
    }
    assert!(stderr(&segment(&at("l.txt"), &[])).contains("exists already"));
    for other in [&input, &at("o.nii")] {
        let before = fs::read(other).unwrap();
        assert_eq!(segment(other, &["--force"]).status.code(), Some(1));
        assert_eq!(fs::read(other).unwrap(), before);
    }
}
