//! Memory must not depend on the number of slices: measured on the real binary, with volumes of 100
//! and of 2000 slices.

#![cfg(feature = "tract")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use monet::package::Normalise;
use monet_testing::{nifti::Nifti, package, stderr, text};

const SIDE: usize = 512;

/// Runs the command.
fn monet(args: &[&str]) -> std::process::Output {
    monet_testing::run(env!("CARGO_BIN_EXE_monet"), args)
}

/// The peaks of two runs may differ by this much.
const TOLERANCE: u64 = 2 << 20;

/// A volume of `slices` slices, written slice by slice.
fn volume(path: &Path, slices: usize) -> PathBuf {
    let header = Nifti {
        dim: vec![3, SIDE as i16, SIDE as i16, slices as i16],
        ..Nifti::new([SIDE, SIDE, slices], &[])
    };
    let file = BufWriter::new(File::create(path).unwrap());
    let mut out: Box<dyn Write> = if path.extension().is_some_and(|e| e == "gz") {
        Box::new(GzEncoder::new(file, Compression::fast()))
    } else {
        Box::new(file)
    };
    out.write_all(&header.header()).unwrap();
    // A disc whose radius changes from slice to slice, on a ramp.
    for z in 0..slices {
        let radius = 40.0 + (z % 100) as f32;
        let mut slice = Vec::with_capacity(2 * SIDE * SIDE);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let (dx, dy) = (x as f32 - 250.0, y as f32 - 260.0);
                let value = if dx * dx + dy * dy < radius * radius { 900 } else { (x / 8) as i16 };
                slice.extend(value.to_le_bytes());
            }
        }
        out.write_all(&slice).unwrap();
    }
    out.flush().unwrap();
    path.to_owned()
}

/// Peak resident memory of a segmentation: the least of some runs, as one in ten, and more of them
/// on a busy machine, has up to 7 MiB more, by how its threads meet. What grows with the slices
/// grows in each run.
fn peak(folder: &Path, package: &Path, input: &Path, threads: &str) -> u64 {
    // Of two threads, whose volumes are small here, more meet.
    let runs = if threads == "1" { 3 } else { 12 };
    let peaks = (0..runs).map(|_| peak_once(folder, package, input, threads));
    peaks.min().expect("some runs")
}

/// Peak resident memory of a segmentation, as it reports it itself.
fn peak_once(folder: &Path, package: &Path, input: &Path, threads: &str) -> u64 {
    let (output, stats) = (folder.join("o.nii.gz"), folder.join("s.json"));
    let ran = monet(&[
        "segment",
        text(input),
        "-o",
        text(&output),
        "--model",
        text(package),
        "--stats",
        text(&stats),
        "--force",
        "--threads",
        threads,
        "--preview",
        text(&folder.join("p.png")),
    ]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(stats).unwrap()).unwrap();
    assert!(report["labels"][0]["voxels"].as_u64().unwrap() > 0, "the disc was found");
    report["peak_memory_bytes"].as_u64().expect("this system tells peak memory")
}

#[test]
fn peak_memory_is_the_same_for_100_and_2000_slices() {
    let folder = tempfile::tempdir().unwrap();
    let package = package::threshold_package(
        folder.path(),
        1,
        Normalise::Percentiles { low: 0.5, high: 100.0 },
    );
    for ending in ["nii", "nii.gz"] {
        let peaks = [100, 2000].map(|slices| {
            let input = volume(&folder.path().join(format!("v.{ending}")), slices);
            let peak = peak(folder.path(), &package, &input, "1");
            println!(
                "{SIDE}x{SIDE}x{slices} .{ending}: peak {:.2} MiB",
                peak as f64 / (1 << 20) as f64
            );
            peak
        });
        assert!(peaks[0].abs_diff(peaks[1]) < TOLERANCE, ".{ending}: {peaks:?}");
    }
}

/// Sagittal slices of an axial file go through the spool, which must be as bounded.
#[test]
fn peak_memory_is_the_same_when_slices_are_spooled() {
    let folder = tempfile::tempdir().unwrap();
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1000.0 });
    let peaks = [200usize, 1000].map(|depth| {
        // The file's fastest axis runs to superior: slices follow one another along it.
        let size = [depth, 64, 256];
        let sform = [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]];
        let file = Nifti { sform: Some(sform), ..Nifti::blob(size) };
        let input = file.write(&folder.path().join("spooled.nii"));
        peak(folder.path(), &package, &input, "2")
    });
    println!("spooled, 200 and 1000 slices: {peaks:?} bytes");
    // Blocks of up to 4 MiB are the same for both.
    assert!(peaks[0].abs_diff(peaks[1]) < 2 * TOLERANCE, "{peaks:?}");
}

/// As must be slices that wait until the largest piece is known.
#[test]
fn peak_memory_is_the_same_when_slices_wait_for_the_largest_piece() {
    let folder = tempfile::tempdir().unwrap();
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1000.0 });
    let package = package::largest(&package);
    let peaks = [200usize, 1000].map(|depth| {
        let input = Nifti::blob([256, 64, depth]).write(&folder.path().join("waiting.nii"));
        peak(folder.path(), &package, &input, "2")
    });
    println!("waiting, 200 and 1000 slices: {peaks:?} bytes");
    assert!(peaks[0].abs_diff(peaks[1]) < TOLERANCE, "{peaks:?}");
}
