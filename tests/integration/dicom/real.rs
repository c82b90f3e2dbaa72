//! Real series, archives of them, and each compression.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use monet::measure::LabelVolume;
use monet_testing::{judges, skip, stderr, text};

use super::{Made, stack};
use crate::monet;

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
