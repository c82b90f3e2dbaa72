//! Seconds for 150 slices: the device's own binary on a made-up volume of the package's size, with
//! one thread.

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use monet::package::{FitRule, Manifest};
use monet::volume::Orientation;
use serde::{Deserialize, Serialize};

/// Slices of the volume, as in the paper.
pub(super) const SLICES: usize = 150;

/// Times that a volume is segmented, the middle one counting; fewer once [`ENOUGH_S`] are over.
const RUNS: usize = 3;

/// Seconds after which a slow network is not run again.
const ENOUGH_S: f64 = 60.0;

/// Name of the device's binary.
const NAME: &str = "monet";

/// The device's binary.
#[derive(Debug)]
pub(super) struct Binary {
    pub(super) path: PathBuf,
    pub(super) version: String,
}

/// How long a volume of [`SLICES`] slices takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Speed {
    slices: usize,
    /// Width and height of a slice.
    pub(super) size: [usize; 2],
    threads: usize,
    /// Volumes segmented; the figures are those of the one in the middle.
    pub(super) runs: usize,
    /// From the volume's opening to the finished label volume.
    pub(super) seconds: f64,
    /// Of these, in the network.
    pub(super) net_seconds: f64,
    /// What ran the network.
    pub(super) engine: String,
    /// Most memory resident.
    pub(super) peak_memory_bytes: Option<u64>,
}

/// The part of `monet segment --stats` that is needed.
#[derive(Debug, Deserialize)]
struct Stats {
    slices: usize,
    threads: usize,
    engine: String,
    wall_s: f64,
    stages: Stages,
    peak_memory_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Stages {
    infer_s: f64,
}

impl Binary {
    /// The binary named, which must be one; else one beside this program or on PATH, if there is
    /// any.
    ///
    /// # Errors
    /// Where the binary named does not run or is another program.
    pub(super) fn find(named: Option<&Path>) -> Result<Option<Self>> {
        if let Some(path) = named {
            let found = Self::new(path).with_context(|| {
                format!("--monet {}: expected the device's binary", path.display())
            });
            return found.map(Some);
        }
        let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        let on_path =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or(vec![]);
        let places = beside.into_iter().chain(on_path).map(|folder| folder.join(NAME));
        Ok(places.filter(|path| path.is_file()).find_map(|path| Self::new(&path).ok()))
    }

    fn new(path: &Path) -> Result<Self> {
        // A bare name would be looked for on PATH.
        let path = path.canonicalize()?;
        let told = Command::new(&path).arg("--version").output()?;
        let text = String::from_utf8_lossy(&told.stdout);
        let version = text.trim().strip_prefix("monet ").filter(|_| told.status.success());
        let version = version.with_context(|| format!("`--version` says {:?}", text.trim()))?;
        Ok(Self { version: version.to_owned(), path })
    }

    /// Times a package.
    ///
    /// # Errors
    /// Where the binary cannot run it, as the lean build an ONNX file.
    pub(super) fn measure(&self, package: &Path, manifest: &Manifest) -> Result<Speed> {
        let folder = tempfile::tempdir()?;
        let volume = folder.path().join("volume.nii");
        write_volume(&volume, manifest).with_context(|| volume.display().to_string())?;
        let begun = Instant::now();
        let mut runs = vec![];
        while runs.is_empty() || (runs.len() < RUNS && begun.elapsed().as_secs_f64() < ENOUGH_S) {
            runs.push(self.segment(package, &volume, folder.path())?);
        }
        runs.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        let count = runs.len();
        let middle = runs.swap_remove((count - 1) / 2);
        Ok(Speed {
            slices: middle.slices,
            size: [manifest.input.width, manifest.input.height],
            threads: middle.threads,
            runs: count,
            seconds: middle.wall_s,
            net_seconds: middle.stages.infer_s,
            engine: middle.engine,
            peak_memory_bytes: middle.peak_memory_bytes,
        })
    }

    fn segment(&self, package: &Path, volume: &Path, folder: &Path) -> Result<Stats> {
        let stats = folder.join("stats.json");
        let mut command = Command::new(&self.path);
        command
            .args(["segment", "--accept-any"])
            .arg(volume)
            .arg("-o")
            .arg(folder.join("labels.nii"))
            .arg("--model")
            .arg(package);
        command.args(["--threads", "1", "--force", "--quiet", "--stats"]).arg(&stats);
        let ran = command.output().with_context(|| self.path.display().to_string())?;
        ensure!(ran.status.success(), "{}", told(&ran.stderr));
        let stats: Stats =
            serde_json::from_slice(&fs::read(&stats)?).context("monet segment --stats")?;
        ensure!(stats.slices == SLICES, "segmented {} slices, expected {SLICES}", stats.slices);
        Ok(stats)
    }
}

/// What the binary says of its failure.
fn told(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.trim().trim_start_matches("monet: error: ").to_owned()
}

/// Writes noise as an int16 NIfTI-1 volume of the package's channels and size, so that every slice
/// fits the network exactly (header: <https://nifti.nimh.nih.gov/nifti-1>).
fn write_volume(path: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let (width, height) = (manifest.input.width, manifest.input.height);
    let spacing = match manifest.fit {
        FitRule::Pad { spacing } => [spacing[0], spacing[1], 1.0],
        FitRule::Resize => [1.0; 3],
    };
    let mut header = [0; 352];
    let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    let channels = manifest.input.channels;
    let dims = [if channels > 1 { 4 } else { 3 }, width, height, SLICES, channels, 1, 1, 1];
    dims.iter().enumerate().for_each(|(i, &d)| put(40 + 2 * i, &(d as i16).to_le_bytes()));
    put(70, &4i16.to_le_bytes()); // int16
    put(72, &16i16.to_le_bytes());
    put(76, &1f32.to_le_bytes()); // pixdim
    (0..3).for_each(|i| put(80 + 4 * i, &(spacing[i] as f32).to_le_bytes()));
    put(108, &352f32.to_le_bytes()); // vox_offset
    put(112, &1f32.to_le_bytes()); // scl_slope
    put(123, &[2]); // millimetres
    put(254, &1i16.to_le_bytes()); // sform_code
    for (axis, (row, sign)) in directions(manifest.orientation).into_iter().enumerate() {
        put(280 + 16 * row + 4 * axis, &(sign * spacing[axis] as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&header)?;
    let mut noise = 1u32;
    for _ in 0..width * height * SLICES * channels {
        // Numerical Recipes' generator; the upper bits as intensities from -150 to 361, HU or not.
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.write_all(&((noise >> 23) as i16 - 150).to_le_bytes())?;
    }
    file.flush()
}

/// Row of the affine and sign of each axis of a volume that is stored as the package wants it.
fn directions(orientation: Orientation) -> [(usize, f32); 3] {
    let letters = orientation.to_string();
    let mut directions = [(0, 1.0); 3];
    for (direction, letter) in directions.iter_mut().zip(letters.chars()) {
        let row = ["RL", "AP", "SI"].iter().position(|pair| pair.contains(letter)).unwrap_or(0);
        *direction = (row, if "RAS".contains(letter) { 1.0 } else { -1.0 });
    }
    directions
}

#[cfg(test)]
mod tests {
    use monet::volume::{SliceSource, SourceOptions};

    use super::*;
    use crate::preset;

    #[test]
    fn the_volume_has_the_package_s_size_in_its_orientation() {
        let folder = tempfile::tempdir().unwrap();
        for (preset, orientation) in
            [("hippocampus", "RAS"), ("brain-tumour", "PIR"), ("pancreas", "LPS")]
        {
            let mut manifest = preset::manifest(preset).unwrap();
            manifest.orientation = orientation.parse().unwrap();
            (manifest.input.width, manifest.input.height) = (24, 16);
            let path = folder.path().join("volume.nii");
            write_volume(&path, &manifest).unwrap();
            let options =
                SourceOptions { orientation: manifest.orientation, ..SourceOptions::default() };
            let mut source = SliceSource::open(&path, &options).unwrap();
            assert_eq!(source.geometry().size, [24, 16, SLICES], "{preset}");
            assert_eq!(source.channels(), manifest.input.channels);
            if let FitRule::Pad { spacing } = manifest.fit {
                let found = source.geometry().spacing;
                assert!((0..2).all(|i| (found[i] - spacing[i]).abs() < 1e-6), "{found:?}");
            }
            let voxels = source.read_all().unwrap();
            assert!(voxels.iter().all(|v| (-150.0..=361.0).contains(v)));
            assert!(voxels.iter().any(|&v| v < 0.0) && voxels.iter().any(|&v| v > 300.0));
        }
    }

    #[test]
    fn a_program_that_is_not_the_device_s_is_refused() {
        for path in ["/nowhere/monet", "/bin/sh", "/"] {
            let error = format!("{:#}", Binary::find(Some(path.as_ref())).unwrap_err());
            assert!(error.contains(path) && error.contains("device's binary"), "{error}");
        }
    }
}
