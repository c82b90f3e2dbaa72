//! `monet evaluate` through the real binary: scores against an outside judge on real labels, and what is told of scores
//! that are undefined and labels that nobody named.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use monet::measure::LabelVolume;
use serde_json::Value;
use support::{Nifti, UINT8, monet, python, real_data, stderr, text};

/// A uint8 label volume with this spacing.
fn labels(size: [usize; 3], spacing: [f32; 3], voxels: &[u8]) -> Nifti {
    let mut nifti = Nifti::new(size, &[]);
    (nifti.datatype, nifti.bitpix, nifti.voxels) = (UINT8, 8, voxels.to_vec());
    let mut rows = [[0.0; 4]; 3];
    for axis in 0..3 {
        rows[axis][axis] = spacing[axis];
        nifti.pixdim[axis + 1] = spacing[axis];
    }
    nifti.sform = Some(rows);
    nifti
}

/// Every voxel moved by `by` along each axis; what leaves the volume is lost, what enters is background.
fn shifted(voxels: &[u8], [w, h, d]: [usize; 3], by: [usize; 3]) -> Vec<u8> {
    let mut out = vec![0; voxels.len()];
    for z in by[2]..d {
        for y in by[1]..h {
            for x in by[0]..w {
                out[(z * h + y) * w + x] = voxels[((z - by[2]) * h + y - by[1]) * w + x - by[0]];
            }
        }
    }
    out
}

/// Two folders, for predictions and truths.
fn folders(root: &Path) -> [PathBuf; 2] {
    ["pred", "truth"].map(|name| {
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        path
    })
}

/// scipy must find the same Dice, Hausdorff distances and volumes: real hippocampi, shifted, swapped between labels and missed, at spacings
/// from isotropic to thick slices.
#[test]
fn scipy_finds_the_same_scores_on_real_labels() {
    let name = "scipy_finds_the_same_scores_on_real_labels";
    let (Some(python), Some(data)) = (python(name), real_data(name)) else { return };
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    let mut all: Vec<PathBuf> = fs::read_dir(data.join("Task04_Hippocampus/labelsTr"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("hippocampus_")))
        .collect();
    all.sort();
    let spacings = [[1.0, 1.0, 1.0], [0.98, 0.98, 3.27], [0.5, 2.0, 1.25]];
    let shifts = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 1, 3], [0, 0, 0]];
    for (n, path) in all.iter().take(15).enumerate() {
        let volume = LabelVolume::read(path).unwrap();
        let (size, spacing) = (volume.geometry.size, spacings[n % 3]);
        let mut moved = shifted(&volume.voxels, size, shifts[n % 5]);
        match n {
            // A stray voxel far from everything, a label missed, two labels exchanged.
            6 => moved[0] = 1,
            7 => moved.iter_mut().filter(|v| **v == 2).for_each(|v| *v = 0),
            8 => moved.iter_mut().filter(|v| **v > 0).for_each(|v| *v = 3 - *v),
            _ => {}
        }
        let file = format!("s{n:02}.nii.gz");
        labels(size, spacing, &volume.voxels).write(&truth.join(&file));
        labels(size, spacing, &moved).write(&pred.join(&file));
    }
    let json = root.path().join("scores.json");
    let names = "1=anterior,2=posterior";
    let args = ["--pred", text(&pred), "--truth", text(&truth), "--labels", names, "--json", text(&json)];
    let ran = monet(&[&["evaluate"], &args[..]].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judge_measure.py");
    let judged = Command::new(python).arg(judge).args([&pred, &truth, &json]).output().unwrap();
    println!("{}", String::from_utf8_lossy(&judged.stdout));
    assert!(judged.status.success(), "{}", stderr(&judged));
}

#[test]
fn undefined_scores_are_counted_and_told() {
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    // Label 1 found in a, missed in b, in neither volume in c.
    for (file, p, t) in [("a.nii", 1, 1), ("b.nii", 0, 1), ("c.nii", 0, 0)] {
        labels([2, 1, 1], [1.0; 3], &[p, 0]).write(&pred.join(file));
        labels([2, 1, 1], [1.0; 3], &[t, 0]).write(&truth.join(file));
    }
    let args = ["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--labels", "1=spot"];
    let ran = monet(&[&args[..], &["--json", "-"]].concat());
    let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let of = |score: &str, what: &str| json["summary"][0][score][what].clone();
    assert_eq!((of("dice", "count"), of("dice", "undefined")), (2.into(), 1.into()));
    assert_eq!((of("hd95_mm", "count"), of("hd95_mm", "undefined")), (1.into(), 2.into()));
    assert_eq!((of("hausdorff_mm", "count"), of("hausdorff_mm", "undefined")), (1.into(), 2.into()));
    assert_eq!(of("dice", "mean"), 0.5);
    assert_eq!(json["subjects"][1]["labels"][0]["difference_percent"], -100.0);
    assert_eq!(json["subjects"][2]["labels"][0]["difference_percent"], Value::Null);
    let table = String::from_utf8(monet(&args).stdout).unwrap();
    assert!(table.contains("HD95 and HD of spot: undefined for 2 of 3, not in its mean"), "{table}");
    assert!(table.contains("Dice of spot: undefined for 1 of 3, not in its mean"), "{table}");
}

#[test]
fn labels_that_nobody_named_are_told_and_not_compared() {
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = ["pred.nii", "truth.nii"].map(|name| root.path().join(name));
    labels([4, 1, 1], [1.0; 3], &[1, 7, 0, 0]).write(&pred);
    labels([4, 1, 1], [1.0; 3], &[1, 0, 9, 0]).write(&truth);
    let args = ["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"];
    let ran = monet(&[&args[..], &["--labels", "1=spot"]].concat());
    assert!(stderr(&ran).contains("labels [7, 9] have no name"), "{}", stderr(&ran));
    let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(json["subjects"][0]["unknown"], serde_json::json!([7, 9]));
    assert_eq!(json["subjects"][0]["labels"].as_array().unwrap().len(), 1);

    // Without names every label that occurs is compared.
    let json: Value = serde_json::from_slice(&monet(&args).stdout).unwrap();
    assert_eq!(json["subjects"][0]["labels"].as_array().unwrap().len(), 3);
}

#[test]
fn labels_that_cannot_be_meant_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a.nii");
    labels([2, 1, 1], [1.0; 3], &[1, 0]).write(&file);
    for (labels, code, found) in [
        ("0=background", 2, "no label value"),
        ("256=much", 2, "no label value"),
        ("anterior", 2, "VALUE=NAME"),
        ("1=", 2, "has no name"),
        ("1=a,1=b", 1, "named twice"),
    ] {
        let ran = monet(&["evaluate", "--pred", text(&file), "--truth", text(&file), "--labels", labels]);
        assert_eq!(ran.status.code(), Some(code), "{labels}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(found), "{labels}: {}", stderr(&ran));
    }
}

#[test]
fn two_files_of_one_subject_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    let volume = labels([2, 1, 1], [1.0; 3], &[1, 0]);
    [pred.join("a.nii"), pred.join("a.nii.gz"), truth.join("a.nii")].iter().for_each(|p| {
        volume.write(p);
    });
    let ran = monet(&["evaluate", "--pred", text(&pred), "--truth", text(&truth)]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("the same subject"), "{}", stderr(&ran));
}
