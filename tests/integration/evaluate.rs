//! `monet evaluate` through the real binary: scores against an outside judge on real labels, and
//! what is told of scores that are undefined and labels that nobody named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use monet::measure::LabelVolume;
use monet_testing::{
    judges::{self, python, real_data},
    nifti::{FLOAT32, Nifti, UINT8},
    stderr, text,
};
use serde_json::Value;

use crate::{MONET, monet};

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

/// Every voxel moved by `by` along each axis; what leaves the volume is lost, what enters is
/// background.
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

/// The same labels in the same places, stored with the last axis first and running the other way.
fn across(volume: &Nifti) -> Nifti {
    let [w, h, d] = [1, 2, 3].map(|i| volume.dim[i] as usize);
    let voxels: Vec<u8> = (0..w)
        .flat_map(|x| (0..h).map(move |y| (x, y)))
        .flat_map(|(x, y)| (0..d).rev().map(move |z| (z * h + y) * w + x))
        .map(|at| volume.voxels[at])
        .collect();
    let mut out = labels([d, h, w], [1.0; 3], &voxels);
    out.sform = volume
        .sform
        .map(|rows| rows.map(|[x, y, z, shift]| [-z, y, x, shift + z * (d as f32 - 1.0)]));
    out
}

/// Per slice of the truth's third axis, whichever way the other volume stores it.
#[test]
fn slices_are_scored_each_by_itself_where_that_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    // Four slices of 2 × 2: hit by half, missed, found where there is none, without the label.
    let true_voxels = [1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let found = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2];
    let volume = |voxels: &[u8]| labels([2, 2, 4], [1.0; 3], voxels);
    for name in ["a.nii", "b.nii"] {
        volume(&true_voxels).write(&truth.join(name));
    }
    volume(&found).write(&pred.join("a.nii"));
    across(&volume(&found)).write(&pred.join("b.nii"));
    let args =
        ["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--labels", "1=spot,2=dot"];
    let output = monet(&[&args[..], &["--slices", "--json", "-"]].concat());
    let scores = scores(&output);
    for subject in [0, 1] {
        let slices = &scores["subjects"][subject]["labels"][0]["slice_dice"];
        assert_eq!(*slices, serde_json::json!([2.0 / 3.0, 0.0, 0.0, null]), "{subject}");
    }
    let summary = &scores["summary"][0]["slice_dice"];
    assert_eq!((summary["count"].as_u64(), summary["undefined"].as_u64()), (Some(6), Some(2)));
    assert!((summary["mean"].as_f64().unwrap() - 2.0 / 9.0).abs() < 1e-12, "{summary}");
    let table = String::from_utf8(monet(&[&args[..], &["--slices"]].concat()).stdout).unwrap();
    assert!(
        table.contains(
            "Dice per slice of spot: 0.2222 ± 0.3443 over 6 slices with it; 2 are without"
        ),
        "{table}"
    );
    assert!(table.contains("Dice per slice of dot: 1.0000 ± 0.0000 over 2 slices"), "{table}");
    let plain = String::from_utf8(monet(&args).stdout).unwrap();
    assert!(!plain.contains("per slice"), "{plain}");
}

/// Two folders, for predictions and truths.
fn folders(root: &Path) -> [PathBuf; 2] {
    ["pred", "truth"].map(|name| {
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        path
    })
}

/// scipy must find the same Dice, Hausdorff distances and volumes: real hippocampi, shifted,
/// swapped between labels and missed, at spacings from isotropic to thick slices.
#[test]
fn scipy_finds_the_same_scores_on_real_labels() {
    let (Some(python), Some(data)) = (python(), real_data()) else { return };
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    let mut all: Vec<PathBuf> = fs::read_dir(data.join("Task04_Hippocampus/labelsTr"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("hippocampus_"))
        })
        .collect();
    all.sort();
    let spacings = [[1.0, 1.0, 1.0], [0.98, 0.98, 3.27], [0.5, 2.0, 1.25]];
    let shifts = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 1, 3], [0, 0, 0]];
    for (n, path) in all.iter().take(15).enumerate() {
        let volume = LabelVolume::read(path).unwrap();
        let (size, spacing) = (volume.geometry().size, spacings[n % 3]);
        let voxels: Vec<u8> = volume.labels().map(|label| label as u8).collect();
        let mut moved = shifted(&voxels, size, shifts[n % 5]);
        match n {
            // A stray voxel far from everything, a label missed, two labels exchanged.
            6 => moved[0] = 1,
            7 => moved.iter_mut().filter(|v| **v == 2).for_each(|v| *v = 0),
            8 => moved.iter_mut().filter(|v| **v > 0).for_each(|v| *v = 3 - *v),
            _ => {}
        }
        let file = format!("s{n:02}.nii.gz");
        let [mut p, mut t] = [&moved, &voxels].map(|voxels| labels(size, spacing, voxels));
        match n {
            // A gantry's tilt.
            3 | 9 => {
                [&mut p, &mut t].into_iter().for_each(|v| v.sform.as_mut().unwrap()[1][2] = -0.7)
            }
            // Sheared in every way.
            4 | 10 => [&mut p, &mut t].into_iter().for_each(|v| {
                let rows = v.sform.as_mut().unwrap();
                (rows[0][1], rows[0][2], rows[1][2], rows[2][0]) = (0.2, 0.4, -0.3, 0.1);
            }),
            5 | 11 => p = across(&p),
            _ => {}
        }
        p.write(&pred.join(&file));
        t.write(&truth.join(&file));
    }
    let json = root.path().join("scores.json");
    let names = "1=anterior,2=posterior";
    let args =
        ["--pred", text(&pred), "--truth", text(&truth), "--labels", names, "--json", text(&json)];
    let ran = monet(&[&["evaluate"], &args[..]].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let judge = judges::judge("measure");
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
    assert_eq!(
        (of("hausdorff_mm", "count"), of("hausdorff_mm", "undefined")),
        (1.into(), 2.into())
    );
    assert_eq!(of("dice", "mean"), 0.5);
    assert_eq!(json["subjects"][1]["labels"][0]["difference_percent"], -100.0);
    assert_eq!(json["subjects"][2]["labels"][0]["difference_percent"], Value::Null);
    let table = String::from_utf8(monet(&args).stdout).unwrap();
    assert!(
        table.contains("HD95 and HD of spot: undefined for 2 of 3, not in its mean"),
        "{table}"
    );
    assert!(table.contains("Dice of spot: undefined for 1 of 3, not in its mean"), "{table}");
}

#[test]
fn a_pair_without_any_label_is_told_and_a_path_that_leads_nowhere_is_named() {
    let root = tempfile::tempdir().unwrap();
    let empty = labels([2, 1, 1], [1.0; 3], &[0, 0]).write(&root.path().join("empty.nii"));
    let ran = monet(&["evaluate", "--pred", text(&empty), "--truth", text(&empty)]);
    assert!(
        ran.status.success() && stderr(&ran).contains("empty: neither volume has a label"),
        "{}",
        stderr(&ran)
    );
    let nowhere = root.path().join("nowhere");
    let ran = monet(&["evaluate", "--pred", text(&nowhere), "--truth", text(root.path())]);
    assert!(stderr(&ran).contains("nowhere: there is no such file or folder"), "{}", stderr(&ran));
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
        ("65536=much", 2, "no label value"),
        ("anterior", 2, "VALUE=NAME"),
        ("1=", 2, "has no name"),
        ("1=a,1=b", 1, "named twice"),
    ] {
        let ran =
            monet(&["evaluate", "--pred", text(&file), "--truth", text(&file), "--labels", labels]);
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

/// The scores of a run that writes them to standard output.
fn scores(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(output)))
}

/// What is done to a volume before it is written.
type Change<'a> = &'a dyn Fn(&mut Nifti);

/// A mask that is found one voxel beside its truth, as a volume of any type.
fn pair_of(root: &Path, name: &str, change: impl Fn(&mut Nifti)) -> [PathBuf; 2] {
    let row = |at: usize| (0..8).map(|x| u8::from(x == at || x == at + 1)).collect::<Vec<_>>();
    [("pred", row(3)), ("truth", row(2))].map(|(folder, voxels)| {
        let mut volume = labels([8, 1, 1], [2.0; 3], &voxels);
        change(&mut volume);
        fs::create_dir_all(root.join(folder)).unwrap();
        volume.write(&root.join(folder).join(name))
    })
}

/// Stores the labels, each times `factor`, in another type.
fn stored<const N: usize>(volume: &mut Nifti, datatype: i16, bytes: impl Fn(u8) -> [u8; N]) {
    (volume.datatype, volume.bitpix) = (datatype, 8 * N as i16);
    volume.voxels = volume.voxels.iter().flat_map(|&v| bytes(v)).collect();
}

#[test]
fn labels_of_every_type_and_scale_are_scored() {
    const INT32: i16 = 8;
    const FLOAT64: i16 = 64;
    const UINT16: i16 = 512;
    let root = tempfile::tempdir().unwrap();
    let big = |v: &mut Nifti| stored(v, INT32, |l| (1001 * i32::from(l)).to_le_bytes());
    let changes: [(&str, u64, Change); 8] = [
        ("uint8.nii", 1, &|_| {}),
        ("int32.nii.gz", 1001, &big),
        ("uint16.NII.GZ", 65535, &|v| stored(v, UINT16, |l| (u16::from(l) * 65535).to_le_bytes())),
        ("float64.nii", 2, &|v| stored(v, FLOAT64, |l| (f64::from(l) * 1.9995).to_le_bytes())),
        // Slopes a hair off, as resampling and rescaling tools write them.
        ("slope.nii", 3, &|v| {
            stored(v, FLOAT32, |l| (f32::from(l) * 2.0).to_le_bytes());
            (v.slope, v.intercept) = (1.4999, 0.0003);
        }),
        ("byte.nii", 1, &|v| {
            v.voxels.iter_mut().for_each(|l| *l *= 255);
            v.slope = 0.003_92;
        }),
        ("one-channel.nii", 1, &|v| v.dim = vec![4, 8, 1, 1, 1]),
        ("five-dimensions.nii", 1, &|v| v.dim = vec![5, 8, 1, 1, 1, 1]),
    ];
    for (name, label, change) in changes {
        let [pred, truth] = pair_of(root.path(), name, change);
        let ran =
            monet(&["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"]);
        let scores = scores(&ran);
        let found = &scores["subjects"][0]["labels"];
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{name}: {found}");
        assert_eq!(found[0]["label"], label, "{name}");
        assert_eq!(
            (&found[0]["dice"], &found[0]["hausdorff_mm"]),
            (&0.5.into(), &2.0.into()),
            "{name}"
        );
    }
    // All of them as two folders.
    let [pred, truth] = ["pred", "truth"].map(|folder| root.path().join(folder));
    let ran = monet(&["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"]);
    assert_eq!(scores(&ran)["subjects"].as_array().map(Vec::len), Some(8), "{}", stderr(&ran));
}

#[test]
fn what_is_no_label_volume_is_refused_by_name_and_the_others_are_scored() {
    const RGB24: i16 = 128;
    const INT32: i16 = 8;
    let root = tempfile::tempdir().unwrap();
    let changes: [(&str, &str, Change); 8] = [
        ("channels", "2 channels, expected one label a voxel", &|v| v.dim = vec![4, 2, 2, 1, 2]),
        ("half", "voxel value 0.5 in slice 0", &|v| v.slope = 0.5),
        ("negative", "voxel value -1 in slice 0", &|v| v.slope = -1.0),
        ("nan", "voxel value NaN", &|v| {
            stored(v, FLOAT32, |l| if l > 0 { f32::NAN } else { 0.0 }.to_le_bytes());
        }),
        ("much", "voxel value 70000", &|v| {
            stored(v, INT32, |l| (70000 * i32::from(l)).to_le_bytes())
        }),
        ("colours", "datatype", &|v| stored(v, RGB24, |l| [l; 3])),
        ("short", "truncated or damaged", &|v| v.voxels.truncate(5)),
        ("vectors", "header field `dim`", &|v| v.dim = vec![5, 1, 1, 1, 1, 8]),
    ];
    for (name, _, change) in &changes {
        pair_of(root.path(), &format!("{name}.nii"), change);
    }
    let good = pair_of(root.path(), "good.nii.gz", |_| {});
    let [pred, truth] = ["pred", "truth"].map(|folder| root.path().join(folder));
    // Another grid; one without its counterpart; two of one subject; a damaged member; another
    // format; a folder.
    pair_of(root.path(), "moved.nii", |_| {});
    labels([8, 1, 1], [3.0; 3], &[0; 8]).write(&pred.join("moved.nii"));
    fs::copy(&good[0], pred.join("alone.nii.gz")).unwrap();
    pair_of(root.path(), "twice.nii", |_| {});
    pair_of(root.path(), "twice.nii.gz", |_| {});
    for folder in [&pred, &truth] {
        let mut damaged = fs::read(&good[0]).unwrap();
        let last = damaged.len() - 6;
        damaged[last] ^= 0x55;
        fs::write(folder.join("damaged.nii.gz"), damaged).unwrap();
        fs::write(folder.join("other.mgz"), "not NIfTI").unwrap();
        fs::create_dir(folder.join("within")).unwrap();
        fs::copy(&good[0], folder.join("within/lost.nii.gz")).unwrap();
    }
    let ran = monet(&["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    let scores = scores(&ran);
    let subjects: Vec<_> =
        scores["subjects"].as_array().unwrap().iter().map(|s| &s["subject"]).collect();
    assert_eq!(subjects, ["good"], "{}", stderr(&ran));
    let others = [
        ("moved", "different grids"),
        ("alone", "no file of this name"),
        ("twice", "the same subject"),
        ("damaged", "damaged"),
        ("other", "expected a NIfTI"),
    ];
    for (name, found) in changes.iter().map(|(name, found, _)| (*name, *found)).chain(others) {
        let told = stderr(&ran);
        let told = told.lines().find(|line| line.contains(&format!("{name}."))).unwrap_or_default();
        assert!(told.contains(found), "{name}: {}", stderr(&ran));
    }
}

#[test]
fn a_label_above_255_does_not_block_those_that_are_named() {
    let root = tempfile::tempdir().unwrap();
    let voxels: Vec<u8> = [17u16, 53, 1001, 17].iter().flat_map(|l| l.to_le_bytes()).collect();
    let mut volume = labels([4, 1, 1], [1.0; 3], &voxels);
    (volume.datatype, volume.bitpix) = (512, 16);
    let file = volume.write(&root.path().join("a.nii"));
    let args = ["evaluate", "--pred", text(&file), "--truth", text(&file), "--json", "-"];
    let ran = monet(&[&args[..], &["--labels", "17=l,53=r"]].concat());
    assert!(stderr(&ran).contains("labels [1001] have no name"), "{}", stderr(&ran));
    assert_eq!(scores(&ran)["subjects"][0]["labels"].as_array().map(Vec::len), Some(2));
    let ran = monet(&[&args[..], &["--labels", "1001=cortex"]].concat());
    assert_eq!(scores(&ran)["subjects"][0]["labels"][0]["pred_ml"], 0.001);
}

/// Every voxel has another label, so that what a label costs is seen; and the warning of labels
/// without a name stays short.
#[test]
fn tens_of_thousands_of_labels_are_scored() {
    let root = tempfile::tempdir().unwrap();
    let size = [64, 32, 32];
    let [pred, truth] = [("pred.nii", 1u16), ("truth.nii", 0)].map(|(name, by)| {
        let label = |at: u16| at.wrapping_sub(by).to_le_bytes();
        let mut volume = labels(size, [1.0; 3], &[]);
        volume.voxels = (0..=u16::MAX).flat_map(label).collect();
        (volume.datatype, volume.bitpix) = (512, 16);
        volume.write(&root.path().join(name))
    });
    let args = ["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"];
    let ran = monet(&args);
    let all = scores(&ran);
    assert_eq!(all["summary"].as_array().map(Vec::len), Some(65535));
    // Moved by one along a row.
    assert_eq!(all["subjects"][0]["labels"][0]["hausdorff_mm"], 1.0);
    let ran = monet(&[&args[..], &["--labels", "7=spot"]].concat());
    assert!(stderr(&ran).contains("and 65514 more have no name"), "{}", stderr(&ran));
}

#[test]
fn pairs_of_header_and_image_in_a_folder_are_compared() {
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    for (folder, at) in [(&pred, 1), (&truth, 2)] {
        let voxels: Vec<u8> = (0..4).map(|x| u8::from(x == at)).collect();
        let mut volume = labels([4, 1, 1], [1.0; 3], &voxels);
        (volume.magic, volume.vox_offset) = (*b"ni1\0", 0.0);
        fs::write(folder.join("a.hdr"), volume.header()).unwrap();
        fs::write(folder.join("a.img"), &volume.voxels).unwrap();
        fs::write(folder.join("alone.img"), &volume.voxels).unwrap();
    }
    let ran = monet(&["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"]);
    let scores = scores(&ran);
    assert_eq!(scores["subjects"][0]["labels"][0]["hausdorff_mm"], 1.0);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("alone.hdr"), "{}", stderr(&ran));
}

#[cfg(unix)]
#[test]
fn names_that_differ_in_a_byte_that_is_no_text_are_two_subjects() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    let volume = labels([2, 1, 1], [1.0; 3], &[1, 0]);
    for name in [&b"M\xfcller.nii"[..], b"M\xf6ller.nii"] {
        [&pred, &truth].into_iter().for_each(|folder| {
            volume.write(&folder.join(std::ffi::OsStr::from_bytes(name)));
        });
    }
    let args = ["evaluate", "--pred", text(&pred), "--truth", text(&truth)];
    let ran = monet(&[&args[..], &["--json", "-"]].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let scores = scores(&ran);
    let subjects: Vec<_> =
        scores["subjects"].as_array().unwrap().iter().map(|s| &s["subject"]).collect();
    assert_eq!(subjects, ["M\\xf6ller", "M\\xfcller"]);
}

/// Axes in another order need no temporary folder.
#[test]
fn no_temporary_folder_is_needed() {
    let root = tempfile::tempdir().unwrap();
    let voxels: Vec<u8> = (0..60).map(|i| u8::from(i % 7 == 0)).collect();
    let truth = labels([3, 4, 5], [1.0, 2.0, 3.0], &voxels);
    let pred = across(&truth).write(&root.path().join("pred.nii.gz"));
    let truth = truth.write(&root.path().join("truth.nii.gz"));
    let ran = Command::new(MONET)
        .args(["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"])
        .env("TMPDIR", root.path().join("missing"))
        .output()
        .unwrap();
    let found = &scores(&ran)["subjects"][0]["labels"][0];
    assert_eq!((&found["dice"], &found["hausdorff_mm"]), (&1.0.into(), &0.0.into()));
}

/// A pipe gives its bytes once.
#[cfg(unix)]
#[test]
fn a_pipe_is_scored() {
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = pair_of(root.path(), "a.nii.gz", |_| {});
    let command = format!(
        "cat '{}' | '{}' evaluate --pred /dev/stdin --truth '{}' --json -",
        text(&pred),
        MONET,
        text(&truth)
    );
    let ran = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(scores(&ran)["subjects"][0]["labels"][0]["dice"], 0.5);
}

#[test]
fn more_voxels_than_can_be_held_are_refused_before_they_are_read() {
    let root = tempfile::tempdir().unwrap();
    let mut volume = labels([1, 1, 1], [1.0; 3], &[0]);
    volume.dim = vec![3, 8000, 2000, 100];
    let file = volume.write(&root.path().join("a.nii"));
    // As long as the header says, in a file that takes no space.
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(16 << 30).unwrap();
    let ran = monet(&["evaluate", "--pred", text(&file), "--truth", text(&file)]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("expected at most 1073741824"), "{}", stderr(&ran));
}

/// Memory follows what a file holds: 78 million voxels with few labels pass in 100 MB, and a file
/// that is full of them is refused by name, where more would be needed; the next subject is scored.
#[cfg(target_os = "linux")]
#[test]
fn memory_follows_labels_and_its_lack_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let [pred, truth] = folders(root.path());
    let size = [512, 512, 300];
    let few: Vec<u8> = (0..512 * 512 * 300).map(|at| u8::from(at < 1000)).collect();
    for (name, voxels) in [("few.nii.gz", &few), ("full.nii.gz", &vec![1; few.len()])] {
        let file = labels(size, [1.0; 3], voxels).write(&pred.join(name));
        fs::copy(file, truth.join(name)).unwrap();
    }
    let last = labels([2, 1, 1], [1.0; 3], &[1, 0]);
    [&pred, &truth].into_iter().for_each(|folder| {
        last.write(&folder.join("last.nii"));
    });
    let limited = |kb: u32| {
        let command = format!(
            "ulimit -v {kb}; exec '{}' evaluate --pred '{}' --truth '{}' --json -",
            MONET,
            text(&pred),
            text(&truth)
        );
        Command::new("sh").args(["-c", &command]).output().unwrap()
    };
    let ran = limited(100_000);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("full.nii.gz: not enough memory"), "{}", stderr(&ran));
    let scores = scores(&ran);
    let subjects: Vec<_> =
        scores["subjects"].as_array().unwrap().iter().map(|s| &s["subject"]).collect();
    assert_eq!(subjects, ["few", "last"]);
}
