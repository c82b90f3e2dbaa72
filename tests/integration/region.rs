//! A part of a volume: the mask of the cropped file, pasted back, whatever way axes run and however
//! many threads there are.

use std::fs;
use std::path::{Path, PathBuf};

use monet::package::Normalise;
use monet_testing::{
    nifti::{self, Nifti},
    package, stderr, text,
};
use proptest::prelude::*;
use serde_json::json;

use crate::monet;

/// Voxels of an int16 file and where they lie.
#[derive(Debug, Clone)]
struct Scan {
    size: [usize; 3],
    channels: usize,
    voxels: Vec<i16>,
    sform: [[f32; 4]; 3],
}

impl Scan {
    /// Something of every brightness, stored so that the file's axis `a` runs along the world's
    /// `order[a]`, against it where `reversed`.
    fn new(size: [usize; 3], channels: usize, order: [usize; 3], reversed: [bool; 3]) -> Self {
        let voxels = (0..channels * size.iter().product::<usize>())
            .map(|i| {
                let [x, y, z] =
                    [i % size[0], i / size[0] % size[1], i / size[0] / size[1]].map(|v| v as f64);
                (500.0
                    + 400.0 * (x * 0.7).sin() * (y * 0.5 + 1.0).cos() * (z * 0.6).cos()
                    + 3.0 * z) as i16
            })
            .collect();
        let mut sform = [[0.0, 0.0, 0.0, -20.0], [0.0, 0.0, 0.0, 13.0], [0.0, 0.0, 0.0, 4.5]];
        for a in 0..3 {
            sform[order[a]][a] = [1.0, 1.0, 2.0][a] * if reversed[a] { -1.0 } else { 1.0 };
        }
        Self { size, channels, voxels, sform }
    }

    /// Where the voxels of a box are in the file, channel after channel.
    fn indices(&self, first: [usize; 3], size: [usize; 3]) -> Vec<usize> {
        let mut all = Vec::new();
        for c in 0..self.channels {
            for z in 0..size[2] {
                for y in 0..size[1] {
                    let row = ((c * self.size[2] + first[2] + z) * self.size[1] + first[1] + y)
                        * self.size[0];
                    all.extend((0..size[0]).map(|x| row + first[0] + x));
                }
            }
        }
        all
    }

    fn crop(&self, first: [usize; 3], size: [usize; 3]) -> Self {
        let mut sform = self.sform;
        for row in &mut sform {
            row[3] += (0..3).map(|a| row[a] * first[a] as f32).sum::<f32>();
        }
        let voxels = self.indices(first, size).iter().map(|&i| self.voxels[i]).collect();
        Self { size, voxels, sform, ..*self }
    }

    fn write(&self, path: &Path) -> PathBuf {
        let mut file = Nifti { sform: Some(self.sform), ..Nifti::new(self.size, &self.voxels) };
        if self.channels > 1 {
            file.dim[0] = 4;
            file.dim.push(self.channels as i16);
        }
        file.write(path)
    }
}

/// Segments, and returns the labels in the file's order and the figures.
fn segment(input: &Path, package: &Path, more: &[&str]) -> (Vec<f32>, serde_json::Value) {
    let [output, stats] = ["o.nii", "o.json"].map(|name| input.with_file_name(name));
    let args = [
        "segment",
        text(input),
        "-o",
        text(&output),
        "--stats",
        text(&stats),
        "--force",
        "--quiet",
    ];
    let ran = monet(&[&args[..], &["--model", text(package)], more].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    (nifti::read(&output), serde_json::from_slice(&fs::read(stats).unwrap()).unwrap())
}

/// `first:after` along each axis.
fn voxels(first: [usize; 3], size: [usize; 3]) -> String {
    [0, 1, 2].map(|a| format!("{}:{}", first[a], first[a] + size[a])).join(",")
}

fn packages(folder: &Path) -> [PathBuf; 3] {
    let normalise = Normalise::Percentiles { low: 5.0, high: 90.0 };
    let [one, two] = [1, 2].map(|channels| {
        let folder = folder.join(channels.to_string());
        fs::create_dir(&folder).unwrap();
        package::threshold_package(&folder, channels, normalise)
    });
    // Slices beside a slice count as much as it does; only the largest piece is kept.
    let seen = folder.join("3");
    fs::create_dir(&seen).unwrap();
    let seen = package::largest(&package::threshold_package(&seen, 3, normalise));
    let manifest = fs::read_to_string(&seen).unwrap();
    fs::write(&seen, manifest.replace("channels = 3", "channels = 1\nneighbours = 1")).unwrap();
    [one, two, seen]
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_region_is_the_cropped_volume_pasted_back(
        order in prop::sample::select(&ORDERS[..]),
        reversed in any::<[bool; 3]>(),
        which in 0usize..3,
        seed in any::<[u16; 6]>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let package = &packages(folder.path())[which];
        let scan = Scan::new([9, 13, 11], [1, 2, 1][which], order, reversed);
        let first = [0, 1, 2].map(|a| seed[a] as usize % scan.size[a]);
        let size = [0, 1, 2].map(|a| 1 + seed[3 + a] as usize % (scan.size[a] - first[a]));
        let whole = scan.write(&folder.path().join("whole.nii.gz"));
        let crop = scan.crop(first, size).write(&folder.path().join("crop.nii"));
        let (labels, alone) = segment(&crop, package, &[]);
        let mut expected = vec![0.0; scan.size.iter().product()];
        let within = Scan { channels: 1, ..scan.clone() };
        let places = within.indices(first, size).into_iter();
        places.zip(labels).for_each(|(at, label)| expected[at] = label);
        for threads in ["1", "3"] {
            let region = voxels(first, size);
        let (found, report) =
            segment(&whole, package, &["--region", &region, "--threads", threads]);
            prop_assert_eq!(&found, &expected);
            let (found, alone) = (&report["labels"][0], &alone["labels"][0]);
            for figure in ["voxels", "ml"] {
                prop_assert_eq!(&found[figure], &alone[figure]);
            }
            for axis in 0..3 {
                let mm = |label: &serde_json::Value| {
                label["centroid_mm"][axis].as_f64().unwrap_or(0.0)
            };
                prop_assert!((mm(found) - mm(alone)).abs() < 1e-4, "the same place");
            }
            prop_assert_eq!(&report["empty"], &json!(found["voxels"] == 0));
        }
    }
}

#[test]
fn figures_count_in_the_whole_volume_and_world_coordinates_mean_the_same_box() {
    let folder = tempfile::tempdir().unwrap();
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 2.0 });
    // Stored to the left and downwards: the model counts the other way.
    let mut scan = Scan::new([10, 8, 6], 1, [0, 1, 2], [true, false, true]);
    scan.voxels = vec![0; 480];
    let at = |x: usize, y: usize, z: usize| (z * 8 + y) * 10 + x;
    // Two spots, of which one lies in the box.
    scan.voxels[at(2, 3, 4)] = 2;
    scan.voxels[at(8, 7, 0)] = 2;
    let input = scan.write(&folder.path().join("in.nii"));
    let preview = folder.path().join("p.png");
    let (labels, report) =
        segment(&input, &package, &["--region", "1:5,2:6,3:6", "--preview", text(&preview)]);
    assert_eq!(labels.iter().sum::<f32>(), 1.0);
    assert_eq!(labels[at(2, 3, 4)], 1.0);
    assert_eq!(report["size"], json!([10, 8, 6]));
    assert_eq!(report["region"], json!({ "first": [5, 2, 0], "size": [4, 4, 3] }));
    assert_eq!((&report["slices"], &report["empty"]), (&json!(3), &json!(false)));
    let label = &report["labels"][0];
    assert_eq!(label["bounding_box"], json!([[7, 7], [3, 3], [1, 1]]));
    assert_eq!(label["slices"], json!([1, 1]));
    assert_eq!(label["centroid_mm"], json!([-22.0, 16.0, -3.5]));
    assert!(fs::read(&preview).unwrap().starts_with(b"\x89PNG"));
    // x falls from -20 mm by 1, y rises from 13 by 1, z falls from 4.5 by 2.
    let (same, again) = segment(&input, &package, &["--region-mm", "-24:-21,15:18,:-1.5"]);
    assert_eq!((same, &again["region"]), (labels, &report["region"]));
    // Without a region the report has none.
    assert!(segment(&input, &package, &[]).1["region"].is_null());
}

#[test]
fn a_region_is_normalised_by_what_lies_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let package = package::threshold_package(
        folder.path(),
        1,
        Normalise::Percentiles { low: 0.0, high: 100.0 },
    );
    let mut voxels: Vec<i16> = (0..8 * 8 * 4).map(|i| (i % 8) as i16).collect();
    voxels[0] = 30_000;
    let input = Nifti::new([8, 8, 4], &voxels).write(&folder.path().join("in.nii"));
    assert_eq!(segment(&input, &package, &[]).0.iter().sum::<f32>(), 1.0, "the bright voxel alone");
    let (labels, _) = segment(&input, &package, &["--region", ":,:,1:"]);
    assert_eq!(labels.iter().sum::<f32>(), 3.0 * 8.0 * 4.0, "the brighter half of each row");
}

#[test]
fn what_is_no_part_of_the_volume_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let input = Nifti::blob([8, 9, 10]).write(&folder.path().join("in.nii"));
    let output = folder.path().join("o.nii");
    for (option, region, told) in [
        ("--region", "0:9,:,:", "0:9 along the file's axis 1 is no part of its 8 voxels"),
        ("--region", ":,5:5,:", "5:5 along the file's axis 2"),
        ("--region-mm", "100:120,:,:", "the volume reaches from 0:7,0:8,0:9 mm"),
        ("--region", "1:2,3:4", "as in 10:60,20:80,5:40"),
        ("--region-mm", "1:2,3:4,nan:9", "NaN is no coordinate"),
    ] {
        let ran = monet(&["segment", text(&input), "-o", text(&output), option, region]);
        assert!(
            matches!(ran.status.code(), Some(1 | 2)) && stderr(&ran).contains(told),
            "{}",
            stderr(&ran)
        );
        assert!(!output.exists());
    }
    let both = monet(&[
        "segment",
        text(&input),
        "-o",
        text(&output),
        "--region",
        ":,:,:",
        "--region-mm",
        ":,:,:",
    ]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
}

/// Damage behind the part is damage all the same, and what is in front of it is passed over in a
/// compressed file too.
#[test]
fn a_file_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1000.0 });
    let bytes = nifti::gzip(&Nifti::blob([16, 16, 40]).bytes());
    let input = folder.path().join("in.nii.gz");
    fs::write(&input, &bytes[..bytes.len() - 40]).unwrap();
    let output = folder.path().join("o.nii");
    let ran = monet(&[
        "segment",
        text(&input),
        "-o",
        text(&output),
        "--model",
        text(&package),
        "--region",
        ":,:,2:5",
    ]);
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("truncated or damaged") && !output.exists(), "{}", stderr(&ran));
}
