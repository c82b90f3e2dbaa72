//! What every build of the device's binary must do, the lean one among them: needs neither ONNX nor
//! tract.
//!
//! `cargo test --no-default-features --features lean --test device`

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Most memory resident while 512 × 512 slices are segmented by the embedded net at 256 × 256, one
/// thread. Of it 3.3 MB are the arena, 2 MB slices on their way, up to 2.5 MB the weights as AVX2
/// wants them, the rest the program (larger here than the one that ships) and its libraries.
const MOST_MEMORY: u64 = if cfg!(feature = "tract") { 24 << 20 } else { 16 << 20 };

/// SHA-256 of the embedded model's labels of the sample, a byte a voxel, the same on every kernel,
/// triple and build.
const SAMPLE_LABELS: &str = "554dc6d5418f356068a6f4da520671de5589799954f80e73732d03fc19086855";

const SAMPLE: &str = "models/sample/mni152-hippocampus.nii.gz";

fn monet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_monet")).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An int16 head of `slices` coronal slices, those that the embedded net sees, of 512 × 512 pixels
/// at 0.5 mm, written slice by slice.
fn volume(path: &Path, slices: i16) {
    const SIDE: i16 = 512;
    let mut header = [0; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    [3, SIDE, SIDE, slices, 1, 1, 1, 1]
        .iter()
        .enumerate()
        .for_each(|(i, n)| put(40 + 2 * i, &n.to_le_bytes()));
    put(70, &4i16.to_le_bytes());
    put(72, &16i16.to_le_bytes());
    [1.0, 0.5, 0.5, 1.0f32]
        .iter()
        .enumerate()
        .for_each(|(i, mm)| put(76 + 4 * i, &mm.to_le_bytes()));
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    let rows = [[0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.0, 0.0f32]];
    rows.as_flattened().iter().enumerate().for_each(|(i, n)| put(280 + 4 * i, &n.to_le_bytes()));
    put(344, b"n+1\0");
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&header).unwrap();
    for z in 0..slices {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let (dx, dy) = (i32::from(x) - 250, i32::from(y) - 260);
                let inside = dx * dx + 3 * dy * dy < 40_000;
                file.write_all(&(if inside { 700 } else { 0 } + (x ^ y ^ z) % 90).to_le_bytes())
                    .unwrap();
            }
        }
    }
    file.flush().unwrap();
}

/// `nohup monet segment ... &` goes on when its terminal is closed.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_that_is_ignored_at_the_start_interrupts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    volume(Path::new(&path("v.nii")), 20);
    let mut child = Command::new("nohup")
        .args([
            env!("CARGO_BIN_EXE_monet"),
            "segment",
            &path("v.nii"),
            "-o",
            &path("o.nii"),
            "--quiet",
            "--accept-any",
        ])
        .spawn()
        .unwrap();
    // A net runs once there is a thread that is called so.
    let works = |tasks: fs::ReadDir| {
        tasks
            .flatten()
            .any(|t| fs::read_to_string(t.path().join("comm")).is_ok_and(|name| name == "worker\n"))
    };
    let clock = Instant::now();
    while !fs::read_dir(format!("/proc/{}/task", child.id())).is_ok_and(works) {
        assert!(clock.elapsed() < Duration::from_secs(60), "no net runs");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success()
    );
    assert!(child.wait().unwrap().success() && Path::new(&path("o.nii")).exists());
}

#[test]
fn memory_stays_below_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    volume(Path::new(&path("v.nii")), 8);
    let (input, output, stats) = (path("v.nii"), path("o.nii.gz"), path("s.json"));
    let ran =
        monet(&["segment", &input, "-o", &output, "--stats", &stats, "--quiet", "--accept-any"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(stats).unwrap()).unwrap();
    let peak = report["peak_memory_bytes"].as_u64().expect("this system tells peak memory");
    println!("{}: peak {peak} bytes of {MOST_MEMORY}", report["engine"]);
    assert!(peak <= MOST_MEMORY, "{peak} bytes, more than {MOST_MEMORY}");
}

#[test]
fn the_samples_labels_are_the_ones_that_every_build_gives() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("labels.nii");
    let ran = monet(&["segment", SAMPLE, "-o", output.to_str().unwrap(), "--quiet"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let bytes = fs::read(output).unwrap();
    // Voxels alone: what precedes them names the program's version and the labels.
    let voxels_at = f32::from_le_bytes(bytes[108..112].try_into().unwrap()) as usize;
    let found = monet::package::sha256(&bytes[voxels_at..]);
    assert_eq!(
        found, SAMPLE_LABELS,
        "where the embedded model has changed on purpose, this becomes SAMPLE_LABELS"
    );
}

#[test]
fn the_doctor_finds_this_machine_healthy() {
    let ran = monet(&["doctor", "--json"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (&found["healthy"], &found["reads_onnx"]),
        (&true.into(), &cfg!(feature = "tract").into())
    );
    assert_eq!(
        found["self_test"].as_array().unwrap().len(),
        found["kernels"].as_array().unwrap().len()
    );
    assert!(String::from_utf8_lossy(&monet(&["doctor"]).stdout).ends_with("healthy\n"));
}

#[cfg(not(feature = "tract"))]
#[test]
fn the_lean_build_says_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("o.nii");
    let package = "models/hippocampus.int8.toml";
    for (args, expected) in [
        (
            &["segment", SAMPLE, "-o", "o.nii", "--model", package][..],
            "is an ONNX package, and this build runs plans alone",
        ),
        (&["profile", package], "is an ONNX package, and this build runs plans alone"),
        (&["inspect", package], "is an ONNX package, and this build runs plans alone"),
        (&["compile", package, "-o", "o.plan"], "this build runs plans and cannot make them"),
    ] {
        let args: Vec<_> = args
            .iter()
            .map(|a| if a.starts_with("o.") { out.to_str().unwrap() } else { a })
            .collect();
        let ran = monet(&args);
        assert_eq!(ran.status.code(), Some(1));
        assert!(
            stderr(&ran).contains(expected) && stderr(&ran).lines().count() == 1,
            "{}",
            stderr(&ran)
        );
        assert!(!out.exists());
    }
}

#[test]
fn the_embedded_model_can_be_inspected() {
    let ran = monet(&["inspect"]);
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && text.contains("package  hippocampus"),
        "{text}{}",
        stderr(&ran)
    );
}
