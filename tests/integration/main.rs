//! The command and the library as their users have them, one module a theme; one program, since
//! linking is what tests take longest for. A test has a program of its own beside this one only
//! where it must: `allocations` counts what its process allocates, `bounded_memory` and `device`
//! measure. Kernels have their tests in `monet-core`.
//!
//! Modules that need ONNX files say so here; the others run in the lean build, too.

use std::fs;
use std::path::Path;
use std::process::Output;

use monet_testing::{stderr, text};

// Many volumes.
mod archives;

// One volume, from file to file.
#[cfg(feature = "tract")]
mod accepts;
#[cfg(all(feature = "dicom", feature = "tract"))]
mod dicom;
#[cfg(feature = "tract")]
mod doubtful;
#[cfg(feature = "tract")]
mod inputs;
#[cfg(feature = "tract")]
mod region;
#[cfg(feature = "tract")]
mod segment;

// What is left behind, whatever happens.
#[cfg(feature = "tract")]
mod faults;
#[cfg(feature = "tract")]
mod interrupts;
#[cfg(feature = "tract")]
mod limits;
#[cfg(feature = "tract")]
mod outputs;
#[cfg(feature = "tract")]
mod terminal;

// The box.
#[cfg(all(feature = "serve", unix))]
mod serve;

// The other commands.
mod boards;
#[cfg(feature = "tract")]
mod evaluate;
#[cfg(feature = "tract")]
mod plan;
#[cfg(feature = "tract")]
mod profile;

// Volumes and their headers.
mod buffers;
mod judged_headers;
mod placement;
mod volume_damage;
mod volumes;

// Nets: those of other tools, planned ones and damaged ones.
#[cfg(feature = "tract")]
mod foreign;
#[cfg(feature = "tract")]
mod forms;
#[cfg(feature = "tract")]
mod fuzz;
#[cfg(feature = "tract")]
mod hostile_input;
#[cfg(feature = "tract")]
mod hostile_nets;
mod images;
#[cfg(feature = "models")]
mod models;
#[cfg(feature = "tract")]
mod parts;

/// The command that is tested.
const MONET: &str = env!("CARGO_BIN_EXE_monet");

/// Runs the command.
fn monet(args: &[&str]) -> Output {
    monet_testing::run(MONET, args)
}

/// Runs `monet segment`, which has to succeed, with all its outputs in a folder that goes again:
/// messages and figures.
#[cfg_attr(not(feature = "tract"), expect(dead_code, reason = "it serves tests with ONNX files"))]
fn segment(input: &Path, more: &[&str]) -> (String, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let [output, stats, preview] =
        ["o.nii", "o.json", "p.png"].map(|name| folder.path().join(name));
    let args = [
        "segment",
        text(input),
        "-o",
        text(&output),
        "--stats",
        text(&stats),
        "--preview",
        text(&preview),
    ];
    let ran = monet(&[&args[..], more].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    (stderr(&ran), serde_json::from_slice(&fs::read(stats).unwrap()).unwrap())
}
