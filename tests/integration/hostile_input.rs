//! Bad input through the real binary: one clear error, a non-zero exit, nothing at the output path
//! and no earlier output damaged.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use monet::package::Normalise;
use monet_testing::{
    nifti::{self, FLOAT32, Nifti},
    package, stderr, text,
};

use crate::{MONET, monet};

/// Segments `input` to a fresh place and to one where an earlier output lies; both must fail with a
/// message that has all of `expected`, and leave no trace.
fn refused(folder: &Path, input: &Path, expected: &[&str]) {
    let (fresh, earlier) = (folder.join("fresh.nii.gz"), folder.join("earlier.nii.gz"));
    fs::write(&earlier, "an earlier output").unwrap();
    let before = listing(folder);
    for output in [&fresh, &earlier] {
        let preview = folder.join("preview.png");
        let stats = folder.join("stats.json");
        let ran = monet(&[
            "segment",
            "--accept-any",
            text(input),
            "-o",
            text(output),
            "--force",
            "--preview",
            text(&preview),
            "--stats",
            text(&stats),
        ]);
        let message = stderr(&ran);
        assert_eq!(ran.status.code(), Some(1), "{expected:?}: {message}");
        assert_eq!(message.lines().count(), 1, "one error, not {message}");
        expected
            .iter()
            .for_each(|part| assert!(message.contains(part), "no {part:?} in {message}"));
        assert!(
            message.contains(&*input.file_name().unwrap().to_string_lossy()),
            "no file name in {message}"
        );
    }
    assert_eq!(fs::read_to_string(&earlier).unwrap(), "an earlier output");
    assert_eq!(listing(folder), before);
    fs::remove_file(earlier).unwrap();
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn files_that_are_no_nifti_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("empty.nii", vec![], "only 0 bytes of a 348-byte header"),
        ("text.nii", b"hello".repeat(200), "no NIfTI magic"),
        ("short.nii", Nifti::blob([4, 4, 4]).bytes()[..200].to_vec(), "only 200 bytes"),
        ("zeros.nii", vec![0; 4096], "no NIfTI magic"),
        ("scan.nii.zst", [b"\x28\xb5\x2f\xfd", &[7; 400][..]].concat(), "zstd -d"),
        ("scan.nii.bz2", [b"BZh91AY&SY", &[7; 400][..]].concat(), "bzip2 -d"),
        ("tar.nii.gz", nifti::gzip(&[&[b'n'; 257][..], b"ustar", &[0; 300]].concat()), "tar -x"),
        ("half.nii.gz", nifti::gzip(&Nifti::blob([9, 9, 9]).bytes())[..60].to_vec(), "header"),
        ("garbage.nii.gz", [vec![0x1f, 0x8b], vec![7; 500]].concat(), "gzip"),
    ];
    for (name, bytes, expected) in cases {
        let input = folder.path().join(name);
        fs::write(&input, bytes).unwrap();
        refused(folder.path(), &input, &[expected, "expected a NIfTI file"]);
    }
    // A build without DICOM says what would make NIfTI of it.
    let input = folder.path().join("IM0001.nii");
    fs::write(&input, [&[0; 128][..], b"DICM", &[2, 0, 0, 0].repeat(99)].concat()).unwrap();
    let expected = if cfg!(feature = "dicom") { "the file is cut off" } else { "dcm2niix" };
    refused(folder.path(), &input, &[expected]);
    refused(folder.path(), &folder.path().join("absent.nii"), &["cannot be read", "No such file"]);
}

#[test]
fn truncated_and_corrupt_voxels_are_refused_and_the_slice_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Nifti::blob([16, 16, 10]).bytes();
    let cut = &bytes[..352 + 16 * 16 * 2 * 4 + 100];
    let input = nifti::write(&folder.path().join("cut.nii"), cut);
    refused(folder.path(), &input, &["slice 4 of 10", "ends here", "copy it again"]);
    let input = nifti::write(&folder.path().join("cut.nii.gz"), cut);
    refused(folder.path(), &input, &["slice 4 of 10", "truncated or damaged"]);
    let whole = nifti::gzip(&bytes);
    for (name, damaged) in
        [("torn.nii.gz", whole[..whole.len() / 2].to_vec()), ("flipped.nii.gz", flipped(&whole))]
    {
        let input = folder.path().join(name);
        fs::write(&input, damaged).unwrap();
        refused(folder.path(), &input, &["of 10", "truncated or damaged"]);
    }
    let input = Nifti { vox_offset: 1e6, ..Nifti::blob([4, 4, 4]) }
        .write(&folder.path().join("offset.nii"));
    refused(folder.path(), &input, &["ends before byte 1000000"]);
}

/// Bytes in the middle inverted: the compressed data no longer makes sense.
fn flipped(bytes: &[u8]) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes
        .iter()
        .enumerate()
        .map(|(i, b)| if (middle..middle + 32).contains(&i) { !b } else { *b })
        .collect()
}

#[test]
fn impossible_dimensions_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(Vec<i16>, &[&str]); 8] = [
        (vec![3, 0, 4, 4], &["dim[1]", "is 0", "positive"]),
        (vec![3, 4, -5, 4], &["dim[2]", "is -5", "positive"]),
        (vec![3, 32767, 32767, 32767], &["dim", "32767", "at most"]),
        (vec![2, 4, 4], &["dim[0]", "is 2", "3-D"]),
        (vec![5, 4, 4, 4, 1, 3], &["dim", "4-D with channels last"]),
        (vec![9, 4, 4, 4], &["dim[0]", "3 or 4"]),
        (vec![-3, 4, 4, 4], &["dim[0]", "3 or 4"]),
        (vec![4, 4, 4, 4, 3000], &["dim[4]", "3000", "at most 64"]),
    ];
    for (dim, expected) in cases {
        let input = Nifti { dim, ..Nifti::blob([4, 4, 4]) }.write(&folder.path().join("dims.nii"));
        let clock = Instant::now();
        refused(folder.path(), &input, expected);
        assert!(
            clock.elapsed() < Duration::from_secs(20),
            "no work, no allocation from declared sizes"
        );
    }
    // As large as is allowed, and nothing behind it: the header's claim alone costs neither memory
    // nor disk.
    let claim = Nifti { dim: vec![3, 1000, 1000, 32767], ..Nifti::blob([4, 4, 4]) };
    for name in ["claim.nii", "claim.nii.gz"] {
        refused(folder.path(), &claim.write(&folder.path().join(name)), &["slice 0 of 32767"]);
    }
}

#[test]
fn data_types_without_a_number_per_voxel_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (datatype, name) in [(128, "RGB24"), (32, "complex64"), (1, "1"), (0, "0"), (9999, "9999")]
    {
        let input =
            Nifti { datatype, ..Nifti::blob([4, 4, 4]) }.write(&folder.path().join("type.nii"));
        refused(folder.path(), &input, &["datatype", name, "convert the volume"]);
    }
}

#[test]
fn a_wrong_number_of_channels_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = Nifti { dim: vec![4, 4, 4, 2, 2], ..Nifti::blob([4, 4, 4]) }
        .write(&folder.path().join("two.nii.gz"));
    refused(folder.path(), &input, &["2 channel(s)", "expects 1"]);
}

#[test]
fn a_pair_without_its_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..Nifti::blob([4, 3, 2]) };
    let input = nifti::write(&folder.path().join("alone.hdr"), &file.header()[..348]);
    let ran = monet(&["segment", text(&input), "-o", text(&folder.path().join("o.nii"))]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("alone.img"), "{}", stderr(&ran));
}

#[test]
fn voxels_that_are_not_finite_are_background_counted_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1.0 });
    let values: Vec<f32> = (0..64).map(|i| [1.0, f32::NAN, 0.0, f32::INFINITY][i % 4]).collect();
    let voxels = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let input = Nifti { datatype: FLOAT32, bitpix: 32, voxels, ..Nifti::new([4, 4, 4], &[]) };
    let input = input.write(&folder.path().join("nan.nii"));
    let (output, stats) = (folder.path().join("o.nii"), folder.path().join("s.json"));
    let ran = monet(&[
        "segment",
        text(&input),
        "-o",
        text(&output),
        "--model",
        text(&package),
        "--stats",
        text(&stats),
    ]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("32 of 64 voxels are NaN or infinite"), "{}", stderr(&ran));
    let expected: Vec<f32> = values.iter().map(|v| f32::from(u8::from(*v == 1.0))).collect();
    assert_eq!(nifti::read(&output), expected);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(stats).unwrap()).unwrap();
    assert_eq!(report["non_finite_voxels"], 32);
}

#[test]
fn odd_headers_that_can_be_read_are_read_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let package = package::threshold_package(
        folder.path(),
        1,
        Normalise::Percentiles { low: 0.0, high: 100.0 },
    );
    let plain = Nifti::blob([8, 8, 4]);
    let cases = [
        ("slope-nan", Nifti { slope: f32::NAN, ..plain.clone() }, "scl_slope"),
        ("slope-zero", Nifti { slope: 0.0, ..plain.clone() }, ""),
        ("no-affine", Nifti { sform: None, ..plain.clone() }, "neither sform nor qform"),
    ];
    let segment = |file: &Nifti, name: &str| {
        let input = file.write(&folder.path().join(format!("{name}.nii.gz")));
        let output = folder.path().join(format!("{name}-mask.nii.gz"));
        let ran = monet(&["segment", text(&input), "-o", text(&output), "--model", text(&package)]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        (nifti::read(&output), stderr(&ran))
    };
    let (expected, quiet) = segment(&plain, "plain");
    assert!(quiet.is_empty() && expected.contains(&1.0));
    for (name, file, warning) in cases {
        let (labels, message) = segment(&file, name);
        assert_eq!(labels, expected, "{name}");
        assert_eq!(message.contains("warning"), !warning.is_empty(), "{message}");
        assert!(message.contains(warning), "{message}");
    }
}

#[test]
fn outputs_that_cannot_be_are_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let input = Nifti::blob([8, 8, 4]).write(&folder.path().join("in.nii.gz"));
    let cases = [
        ("nowhere/o.nii", "nowhere does not exist"),
        ("o.mha", "ends in .nii or .nii.gz"),
        ("in.nii.gz", "as well as an output"),
    ];
    for (output, expected) in cases {
        let before = listing(folder.path());
        let ran = monet(&[
            "segment",
            text(&input),
            "-o",
            text(&folder.path().join(output)),
            "--force",
            "--accept-any",
        ]);
        assert_eq!(ran.status.code(), Some(1));
        assert!(stderr(&ran).contains(expected), "{}", stderr(&ran));
        assert_eq!(listing(folder.path()), before);
    }
}

#[test]
fn an_existing_output_needs_force() {
    let folder = tempfile::tempdir().unwrap();
    let input = Nifti::blob([8, 8, 4]).write(&folder.path().join("in.nii.gz"));
    let [output, stats, preview] =
        ["o.nii.gz", "s.json", "p.png"].map(|name| folder.path().join(name));
    for existing in [&output, &stats, &preview] {
        fs::write(existing, "earlier").unwrap();
        let args = [
            "segment",
            "--accept-any",
            text(&input),
            "-o",
            text(&output),
            "--stats",
            text(&stats),
            "--preview",
            text(&preview),
        ];
        let ran = monet(&args);
        assert_eq!(ran.status.code(), Some(1));
        assert!(stderr(&ran).contains("--force"), "{}", stderr(&ran));
        assert_eq!(fs::read_to_string(existing).unwrap(), "earlier");
        let forced = monet(&[&args[..], &["--force"]].concat());
        assert!(forced.status.success(), "{}", stderr(&forced));
        [&output, &stats, &preview].into_iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

/// A limit on the file size stands in for a full disk: the same write fails at the same place.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1000.0 });
    let input = Nifti::blob([64, 64, 40]).write(&folder.path().join("in.nii"));
    let output = folder.path().join("o.nii");
    let before = listing(folder.path());
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let ran = Command::new("sh")
        .args(["-c", script, MONET, "segment", text(&input), "-o", text(&output)])
        .args(["--model", text(&package)])
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("cannot be written: File too large"), "{}", stderr(&ran));
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn of_several_inputs_the_good_ones_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let good = Nifti::blob([8, 8, 4]).write(&folder.path().join("good.nii.gz"));
    let bad = nifti::write(&folder.path().join("bad.nii.gz"), b"nothing");
    let masks = folder.path().join("masks");
    fs::create_dir(&masks).unwrap();
    let ran =
        monet(&["segment", text(&bad), text(&good), "-o", text(&masks), "--quiet", "--accept-any"]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert_eq!(listing(&masks), ["good.nii.gz"]);
    assert!(ran.stdout.is_empty());
    let alone =
        monet(&["segment", text(&bad), text(&good), "-o", text(&folder.path().join("no-folder"))]);
    assert_eq!(alone.status.code(), Some(1));
    let twice = monet(&["segment", text(&good), text(&good), "-o", text(&masks), "--force"]);
    assert!(stderr(&twice).contains("two outputs have this name"), "{}", stderr(&twice));
}

#[test]
fn damaged_packages_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = Nifti::blob([8, 8, 4]).write(&folder.path().join("in.nii.gz"));
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1.0 });
    let good = fs::read_to_string(&package).unwrap();
    let net = fs::read(folder.path().join("threshold.onnx")).unwrap();
    let rehash =
        |bytes: &[u8]| good.replace(&monet::package::sha256(&net), &monet::package::sha256(bytes));
    let torn = net[..net.len() / 2].to_vec();
    let cases: [(&str, String, Vec<u8>, &str); 5] = [
        ("no manifest", "garbage".into(), net.clone(), "manifest"),
        ("changed net", good.clone(), [net.clone(), vec![0]].concat(), "SHA-256"),
        ("torn net", rehash(&torn), torn.clone(), "ONNX"),
        ("no net", rehash(b""), vec![], "threshold.toml"),
        (
            "other classes",
            good.replace("kind = \"sigmoid\"\nthreshold = 0.5", "kind = \"argmax\""),
            net.clone(),
            "do not belong together",
        ),
    ];
    for (what, manifest, onnx, expected) in cases {
        fs::write(&package, manifest).unwrap();
        fs::write(folder.path().join("threshold.onnx"), onnx).unwrap();
        let output = folder.path().join("o.nii.gz");
        let ran = monet(&["segment", text(&input), "-o", text(&output), "--model", text(&package)]);
        assert_eq!(ran.status.code(), Some(1), "{what}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(expected), "{what}: {}", stderr(&ran));
        assert!(!output.exists(), "{what}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["segment"][..],
        &["segment", "x.nii"],
        &["frobnicate"],
        &["segment", "x", "-o", "y", "--threads", "0"],
    ] {
        assert_eq!(monet(args).status.code(), Some(2), "{args:?}");
    }
}
