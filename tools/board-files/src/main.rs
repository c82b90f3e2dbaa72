//! Makes what the programs of `targets/bare-metal` embed or read, by the host's own library.
//!
//! ```text
//! board-files FOLDER [CASES]
//!   FOLDER/hippocampus.KERNEL.image   the embedded package's plan for 48×48, for a kernel
//!   FOLDER/sample.bin                 the slices of models/sample, normalised and fitted
//!   FOLDER/cases.KERNEL.bin           random nets, inputs, and what the scalar kernel makes
//! ```
//!
//! It prints the hash of the labels that the host finds, FNV-1a of 64 bits: on the first slices,
//! and on all. `sample.rs` and `cases.rs` describe the files.

mod cases;
mod sample;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use monet::core::{Kernel, Schedule};
use monet::engine;
use monet::package::Package;

/// The kernels of the boards.
const KERNELS: [Kernel; 4] = [Kernel::Scalar, Kernel::CortexMDsp, Kernel::CortexMMve, Kernel::Neon];
/// Slices that a slow kernel is tried on.
const FEW: usize = 4;
/// Random nets a kernel, where the command does not say it.
const CASES: usize = 60;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().context("usage: board-files FOLDER [CASES]")?;
    let cases = match arguments.next() {
        None => CASES,
        Some(text) => text.to_str().and_then(|n| n.parse().ok()).context("CASES is a number")?,
    };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let package = Package::embedded();
    let size = package.size();
    for kernel in KERNELS {
        let image = engine::compile(&package, size, kernel, Schedule::Planes)?;
        fs::write(folder.join(format!("hippocampus.{kernel}.image")), image.bytes())?;
        fs::write(folder.join(format!("cases.{kernel}.bin")), cases::make(kernel, cases)?)?;
    }
    let sample = sample::record()?;
    ensure!(sample.slices() == 52, "the sample has {} slices, expected 52", sample.slices());
    fs::write(folder.join("sample.bin"), sample.bytes())?;
    for count in [FEW, sample.slices()] {
        println!("slices {count} labels {:016x}", sample.labels(count));
    }
    Ok(())
}

/// FNV-1a, 64 bits, of bytes that follow those of `hash`;
/// see <http://isthe.com/chongo/tech/comp/fnv>.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The hash of nothing.
const FNV: u64 = 0xcbf2_9ce4_8422_2325;
