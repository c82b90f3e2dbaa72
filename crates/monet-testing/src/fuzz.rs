//! What a fuzzer runs: each function takes a file's bytes and does with them what the command
//! would. None may panic, allocate without bound or go on for ever; errors are what most bytes end
//! in.
//!
//! `cargo fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET` runs one under libFuzzer, and
//! `tests/integration/fuzz.rs` all of them on stable Rust with a mutator of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use monet::core::{self, Kernel, Plan, Size};
use monet::engine::{EngineError, EngineFactory};
use monet::onnx::{self, EngineChoice};
use monet::package::{Manifest, Net, Package};
use monet::profile::{self, Profile};
use monet::targets::Target;
use monet::volume::{NiftiHeader, SliceSource, SourceOptions};

/// Most multiplications and bytes of an arena with which a plan is run, and most values of a volume
/// that are read.
const MOST: u64 = 1 << 22;

/// Writes a file for a reader that wants one, and lets it read.
fn with_file<T>(ending: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    // In memory where the system has that.
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    let made = tempfile::Builder::new().prefix("monet-fuzz-").suffix(ending).tempfile_in(folder);
    let file = made.expect("a temporary file");
    fs::write(file.path(), bytes).expect("room for a temporary file");
    read(file.path())
}

/// A NIfTI header.
pub fn header(bytes: &[u8]) {
    let _ = with_file(".nii", bytes, NiftiHeader::read);
}

/// A NIfTI volume, compressed or not.
pub fn volume(bytes: &[u8]) {
    let ending = if bytes.starts_with(&[0x1f, 0x8b]) { ".nii.gz" } else { ".nii" };
    with_file(ending, bytes, |path| {
        let Ok(mut source) = SliceSource::open(path, &SourceOptions::default()) else { return };
        let mut slice = vec![0.0; source.slice_len()];
        let mut read = 0;
        while let Ok(Some(_)) = source.next_into(&mut slice) {
            read += slice.len() as u64 + 1;
            if read > MOST {
                break;
            }
        }
        let _ = source.rewind();
    });
}

/// A plan file; and its net as if its hash were right, planned and, where that is little work, run.
pub fn plan(bytes: &[u8]) {
    let _ = with_file(".plan", bytes, Package::load);
    // Behind magic, version, hash and the manifest's length.
    let net = bytes.get(48..).map(|rest| {
        let length = u32::from_le_bytes([bytes[44], bytes[45], bytes[46], bytes[47]]) as usize;
        rest.get(length..).unwrap_or(rest)
    });
    let Some(Ok(graph)) = net.map(core::decode) else { return };
    for kernel in [Kernel::Scalar, Kernel::best()] {
        let Ok(plan) = Plan::new(&graph, Size::new(12, 20), kernel) else { return };
        if plan.arena_len() as u64 > MOST || plan.macs() > MOST {
            return;
        }
        let mut arena = vec![0; plan.arena_len()];
        let mut labels = vec![0; plan.output_size().area()];
        plan.run(&mut arena, &[&vec![0.5; plan.input_len()]], &mut labels)
            .expect("buffers of the plan's sizes");
    }
}

/// A manifest, which comes back as it went.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(manifest) = Manifest::parse(text) else { return };
    let (_, _) = (manifest.classes(), manifest.largest());
    assert!(Manifest::parse(&manifest.to_toml()).is_ok(), "a manifest is written as it is read");
}

/// A package of an ONNX file for small slices, without regard to its hash.
fn package(onnx: &[u8]) -> Package {
    let mut package = Package::embedded();
    package.manifest.input.channels = 1;
    package.manifest.input.neighbours = 0;
    package.net = Net::Onnx(onnx.to_vec().into());
    package
}

const SIZE: Size = Size::new(8, 12);

/// An ONNX file as far as this library's own code reads it: the guard, the importer, the int8
/// engine.
pub fn onnx(bytes: &[u8]) {
    let package = package(bytes);
    let _ = onnx::needs(&package, SIZE, EngineChoice::Tract);
    let _ = onnx::import(&package);
    let _ = with_file(".onnx", bytes, |path| onnx::package_from_onnx(path, Some(SIZE)));
    if let Ok(plan) = onnx::to_plan(&package) {
        let _ = Kernel::Scalar.make(&plan, SIZE, 1);
    }
}

/// An ONNX file that the guard lets pass, through tract. A panic of tract's is an error of the
/// library's, and a finding to a fuzzer.
pub fn tract(bytes: &[u8]) {
    let Ok(package) = with_file(".onnx", bytes, |path| onnx::package_from_onnx(path, Some(SIZE)))
    else {
        return;
    };
    for mut choice in [EngineChoice::Tract, EngineChoice::Int8(Kernel::Scalar)] {
        let Ok(needs) = onnx::needs(&package, SIZE, choice) else { return };
        // What is large is tried in another process by the command, and not run here.
        if needs.is_some_and(|needs| needs.seconds > 4 || needs.memory_bytes > 600 << 20) {
            return;
        }
        match choice.make(&package, SIZE, 1) {
            Ok(mut engines) => {
                let planes = vec![vec![0.5; SIZE.area()]; package.manifest.input.planes()].concat();
                let mut labels = vec![0; SIZE.area()];
                told(engines[0].segment(&[&planes], &mut labels));
            }
            Err(error) => told(Err(error)),
        }
    }
}

/// What tract's panics said, each once, of which there should be none.
pub static PANICS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn told(result: Result<(), EngineError>) {
    if let Err(EngineError::Panicked { reason, .. }) = result {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).insert(reason);
    }
}

/// A device profile.
pub fn target(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(target) = Target::parse(text, "target") else { return };
    let _ = (target.arch(), target.cache_bytes(), target.peak_gmac_per_s(&target.kernel));
    let question = profile::Question { size: Size::new(64, 64), slices: 20, threads: None };
    if let Ok(predicted) = profile::predict(&Package::embedded(), &target, &question) {
        let _ = profile::Verdict::new(&predicted, &target);
        let _ = profile::page(&predicted);
    }
}

/// A profile, on its page and beside itself.
pub fn profile(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(profile) = Profile::parse(text, "profile") else { return };
    let _ = (
        profile::page(&profile),
        profile::csv(&profile),
        profile.told(),
        profile::date(profile.unix_s),
    );
    let _ = profile::diff(&profile, &profile);
    let _ = profile::diff_page(&profile, &profile);
    let _ = profile::history_page("fuzz", &[(&profile, profile.latency_ms.median); 2]);
}
