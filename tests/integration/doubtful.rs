//! Nothing is passed over in silence: intensities that show the net nothing, and a mask without
//! labels.

use std::path::Path;

use monet::package::Normalise;
use monet_testing::{
    nifti::{self, Nifti},
    package, stderr, text,
};

use crate::{monet, segment};

#[test]
fn padding_that_decides_what_the_net_sees_is_told_and_an_empty_mask_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("padded.nii.gz");
    // Much padding with nought, more than 99.5 % of all voxels: all percentiles are nought.
    let mut voxels = vec![0; 60 * 60 * 60];
    for (i, bytes) in Nifti::blob([10, 10, 10]).voxels.as_chunks().0.iter().enumerate() {
        voxels[((20 + i / 100) * 60 + 25 + i / 10 % 10) * 60 + 30 + i % 10] =
            i16::from_le_bytes(*bytes);
    }
    let (told, report) = segment(&Nifti::new([60, 60, 60], &voxels).write(&path), &[]);
    assert!(
        told.contains("percentiles 0.5 and 99.5 are both 0") && told.contains("the mask is empty"),
        "{told}"
    );
    assert_eq!(report["empty"], true);
    // One layer far below everything.
    let (told, report) = segment(&nifti::padded_sample(&path, [40, 54, 38], [1, 1, 1], -1000), &[]);
    assert!(told.contains("those up to -1000, set the intensities"), "{told}");
    assert!(!report["warnings"].as_array().unwrap().is_empty());
    // A sane margin is nothing to speak of, and half of the volume is not either where the rest is
    // seen as well.
    let (told, report) = segment(&nifti::padded_sample(&path, [42, 56, 40], [2, 2, 2], 0), &[]);
    assert!(told.is_empty() && report["empty"] == false, "{told}");
}

#[test]
fn a_volume_that_shows_the_net_nothing_is_told_with_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let size = [6, 6, 4];
    let n = size.iter().product::<usize>();
    let float = |values: Vec<f32>| Nifti {
        datatype: nifti::FLOAT32,
        bitpix: 32,
        voxels: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Nifti::new(size, &[])
    };
    let ramp = |scale: f32| (0..n).map(|i| scale * i as f32).collect::<Vec<_>>();
    let each = Normalise::SlicePercentiles { low: 0.5, high: 99.5 };
    let (window, percentiles, score) = (
        Normalise::Window { low: -150.0, high: 250.0 },
        Normalise::Percentiles { low: 0.5, high: 99.5 },
        Normalise::ZScore { clip: 5.0 },
    );
    let outlier = [&ramp(1.0)[..n - 1], &[1e30]].concat();
    let extremes = Normalise::Percentiles { low: 0.0, high: 100.0 };
    let negative = Nifti { slope: -2.0, intercept: 5.0, ..Nifti::new(size, &vec![3; n]) };
    let cases = [
        (
            "constant",
            Nifti::new(size, &vec![7; n]),
            percentiles,
            "percentiles 0.5 and 99.5 are both 7",
        ),
        ("constant-each", Nifti::new(size, &vec![7; n]), each, "4 of 4 slices are blank"),
        ("nan-each", float(vec![f32::NAN; n]), each, "no voxel is a number"),
        ("constant-z", Nifti::new(size, &vec![7; n]), score, "all voxels are 7"),
        ("negative-slope", negative, percentiles, "percentiles 0.5 and 99.5 are both -1"),
        ("nan", float(vec![f32::NAN; n]), percentiles, "no voxel is a number"),
        ("nan-window", float(vec![f32::NAN; n]), window, "no voxel is a number"),
        (
            "unscaled",
            Nifti::new(size, &vec![1024; n]),
            window,
            "window of -150 to 250, all are 1024 to 1024",
        ),
        (
            "air",
            Nifti::new(size, &vec![-1000; n]),
            window,
            "window of -150 to 250, all are -1000 to -1000",
        ),
        ("fractions", float(ramp(1e-9)), window, ""),
        ("outlier", float(outlier.clone()), extremes, "those from 1"),
        ("outlier-cut", float(outlier), Normalise::Percentiles { low: 2.0, high: 98.0 }, ""),
        (
            "two-values",
            Nifti::new(size, &(0..n).map(|i| i16::from(i % 3 == 0)).collect::<Vec<_>>()),
            percentiles,
            "",
        ),
    ];
    for (name, file, normalise, expected) in cases {
        let package = package::threshold_package(folder.path(), 1, normalise);
        let input = file.write(&folder.path().join(format!("{name}.nii")));
        let (told, report) = segment(&input, &["--model", text(&package)]);
        assert!(told.contains(expected), "{name}: {told}");
        let empty = report["labels"][0]["voxels"] == 0;
        assert_eq!(report["empty"], empty, "{name}");
        assert_eq!(told.contains("the mask is empty"), empty, "{name}: {told}");
        if expected.is_empty() {
            let doubt = report["warnings"]
                .as_array()
                .unwrap()
                .iter()
                .any(|w| w.as_str().unwrap().contains("net is shown"));
            assert!(!doubt, "{name}: {told}");
        }
    }
}

#[test]
fn the_constant_channel_of_several_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let normalise = Normalise::Percentiles { low: 0.0, high: 100.0 };
    let package = package::threshold_package(folder.path(), 2, normalise);
    let n = 5 * 6 * 3;
    let voxels: Vec<i16> = (0..n).map(|i| i % 30).chain((0..n).map(|_| 4)).collect();
    let file = Nifti { dim: vec![4, 5, 6, 3, 2], ..Nifti::new([5, 6, 3], &voxels) };
    let (told, _) =
        segment(&file.write(&folder.path().join("in.nii")), &["--model", text(&package)]);
    assert!(
        told.contains("channel 1: percentiles 0 and 100 are both 4") && !told.contains("channel 0"),
        "{told}"
    );
}

/// With the most frequent value left out, padding changes nothing.
#[test]
fn foreground_percentiles_see_the_same_body_whatever_surrounds_it() {
    let folder = tempfile::tempdir().unwrap();
    let normalise = Normalise::ForegroundPercentiles { low: 0.5, high: 99.5 };
    let package = package::threshold_package(folder.path(), 1, normalise);
    let voxels = |size: [usize; 3], at: usize, padding: i16| {
        let sample = nifti::read(&nifti::padded_sample(
            &folder.path().join("in.nii"),
            size,
            [at; 3],
            padding,
        ));
        let normal = monet_labels(&folder.path().join("in.nii"), &package);
        let body: Vec<f32> = sample
            .iter()
            .zip(normal)
            .filter(|(v, _)| **v != f32::from(padding))
            .map(|(_, l)| l)
            .collect();
        body
    };
    let own = voxels([40, 54, 38], 1, -1000);
    assert!(own.iter().any(|&v| v > 0.0) && own.contains(&0.0));
    for (size, at, padding) in
        [([80, 80, 80], 20, -1000), ([150, 150, 150], 40, -3024), ([44, 58, 42], 3, 30_000)]
    {
        assert!(voxels(size, at, padding) == own, "{size:?} {padding}");
    }
}

fn monet_labels(input: &Path, package: &Path) -> Vec<f32> {
    let output = input.with_file_name("o.nii");
    let ran = monet(&[
        "segment",
        text(input),
        "-o",
        text(&output),
        "--model",
        text(package),
        "--force",
        "--quiet",
    ]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    nifti::read(&output)
}

/// The stack's slices have the same pattern in other intensities, and get the same labels; as a
/// volume only the brightest would be seen.
#[test]
fn slices_that_are_images_of_their_own_are_normalised_each_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let pattern: Vec<i16> = (0..5 * 6).map(|i| i * 7 % 30).collect();
    let stack = [(1, 0), (40, -300), (3, 900), (0, 17)];
    let voxels: Vec<i16> = stack
        .iter()
        .flat_map(|(gain, offset)| pattern.iter().map(move |v| v * gain + offset))
        .collect();
    // Stored slice by slice, and with the slices along the first axis, by way of a spool file.
    let turned: Vec<i16> = (0..120).map(|i| voxels[i % 4 * 30 + i / 4]).collect();
    let axes = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]];
    let files = [
        ("stack", Nifti::new([5, 6, 4], &voxels)),
        ("turned", Nifti { sform: Some(axes), ..Nifti::new([4, 5, 6], &turned) }),
    ];
    let labels = |file: &Nifti, name: &str, normalise| {
        let package = package::threshold_package(folder.path(), 1, normalise);
        let input = file.write(&folder.path().join(format!("{name}.nii.gz")));
        let (told, report) = segment(&input, &["--model", text(&package)]);
        (monet_labels(&input, &package), told, report["labels"][0]["voxels"].as_u64().unwrap())
    };
    let bright = pattern.iter().filter(|v| **v > 14).count();
    let each = Normalise::SlicePercentiles { low: 0.0, high: 100.0 };
    for (name, file) in &files {
        let (found, told, voxels) = labels(file, name, each);
        assert!(told.contains("1 of 4 slices are blank"), "{told}");
        assert_eq!(voxels, 3 * bright as u64, "{name}");
        if *name == "stack" {
            let expected: Vec<f32> = pattern.iter().map(|v| f32::from(u8::from(*v > 14))).collect();
            assert_eq!(found[..90], expected.repeat(3)[..]);
            assert_eq!(found[90..], [0.0; 30]);
        }
    }
    let whole = Normalise::Percentiles { low: 0.0, high: 100.0 };
    assert_ne!(labels(&files[0].1, "stack", whole).2, 3 * bright as u64);
}
