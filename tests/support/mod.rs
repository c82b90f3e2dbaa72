//! What the tests share: volumes and packages made on the fly, real data where it is, the binary.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses its own part of this"
)]

#[cfg(feature = "tract")]
mod threshold;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use monet::volume::{SliceSource, SourceOptions};

#[cfg(feature = "tract")]
pub use threshold::{largest, threshold_package};

/// A NIfTI-1 file to be: header fields as the tests need them, voxels as bytes.
#[derive(Clone)]
pub struct Nifti {
    pub dim: Vec<i16>,
    pub datatype: i16,
    pub bitpix: i16,
    pub pixdim: [f32; 8],
    pub vox_offset: f32,
    pub slope: f32,
    pub intercept: f32,
    pub sform: Option<[[f32; 4]; 3]>,
    /// b, c, d, x, y, z
    pub qform: Option<[f32; 6]>,
    /// qform_code and sform_code, where they are not 1 for a form that is there.
    pub codes: Option<[i16; 2]>,
    pub units: u8,
    pub magic: [u8; 4],
    pub big_endian: bool,
    pub voxels: Vec<u8>,
}

pub const UINT8: i16 = 2;
pub const INT16: i16 = 4;
pub const FLOAT32: i16 = 16;

impl Nifti {
    /// An int16 volume at 1 mm in RAS.
    pub fn new(size: [usize; 3], voxels: &[i16]) -> Self {
        Self {
            dim: vec![3, size[0] as i16, size[1] as i16, size[2] as i16],
            datatype: INT16,
            bitpix: 16,
            pixdim: [1.0; 8],
            vox_offset: 352.0,
            slope: 1.0,
            intercept: 0.0,
            sform: Some([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]),
            qform: None,
            codes: None,
            units: 2,
            magic: *b"n+1\0",
            big_endian: false,
            voxels: voxels.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// A volume with something in it: a bright ellipsoid on a ramp.
    pub fn blob(size: [usize; 3]) -> Self {
        let mut voxels = Vec::with_capacity(size.iter().product());
        for z in 0..size[2] {
            for y in 0..size[1] {
                for x in 0..size[0] {
                    let at = |i: usize, n: usize, c: f64| (i as f64 + 0.5) / n as f64 - c;
                    let (u, v, w) =
                        (at(x, size[0], 0.4), at(y, size[1], 0.55), at(z, size[2], 0.45));
                    let inside = u * u + v * v * 1.5 + w * w < 0.06;
                    voxels.push(
                        if inside { 900 } else { 100 } + ((x * 3 + y * 5 + z * 7) % 97) as i16,
                    );
                }
            }
        }
        Self::new(size, &voxels)
    }

    pub fn header(&self) -> Vec<u8> {
        let mut out = vec![0; 352];
        let mut put = |at: usize, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if self.big_endian {
                bytes.reverse();
            }
            out[at..at + bytes.len()].copy_from_slice(&bytes);
        };
        put(0, &348i32.to_le_bytes());
        (0..8).for_each(|i| put(40 + 2 * i, &self.dim.get(i).copied().unwrap_or(1).to_le_bytes()));
        put(70, &self.datatype.to_le_bytes());
        put(72, &self.bitpix.to_le_bytes());
        (0..8).for_each(|i| put(76 + 4 * i, &self.pixdim[i].to_le_bytes()));
        put(108, &self.vox_offset.to_le_bytes());
        put(112, &self.slope.to_le_bytes());
        put(116, &self.intercept.to_le_bytes());
        put(123, &[self.units]);
        let there = [self.qform.is_some(), self.sform.is_some()].map(i16::from);
        self.codes
            .unwrap_or(there)
            .iter()
            .enumerate()
            .for_each(|(i, v)| put(252 + 2 * i, &v.to_le_bytes()));
        self.qform
            .iter()
            .flatten()
            .enumerate()
            .for_each(|(i, v)| put(256 + 4 * i, &v.to_le_bytes()));
        self.sform
            .iter()
            .flatten()
            .flatten()
            .enumerate()
            .for_each(|(i, v)| put(280 + 4 * i, &v.to_le_bytes()));
        out[344..348].copy_from_slice(&self.magic);
        out
    }

    /// The same file in version 2 of the format.
    pub fn second_version(&self) -> Vec<u8> {
        let one = self.header();
        let mut out = vec![0; 544];
        let mut put = |at: usize, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if self.big_endian {
                bytes.reverse();
            }
            out[at..at + bytes.len()].copy_from_slice(&bytes);
        };
        put(0, &540i32.to_le_bytes());
        put(12, &self.datatype.to_le_bytes());
        put(14, &self.bitpix.to_le_bytes());
        (0..8).for_each(|i| {
            put(16 + 8 * i, &i64::from(self.dim.get(i).copied().unwrap_or(1)).to_le_bytes());
            put(104 + 8 * i, &f64::from(self.pixdim[i]).to_le_bytes());
        });
        let offset = if self.vox_offset == 352.0 { 544 } else { self.vox_offset as i64 };
        put(168, &offset.to_le_bytes());
        put(176, &f64::from(self.slope).to_le_bytes());
        put(184, &f64::from(self.intercept).to_le_bytes());
        put(344, &i32::from(self.qform.is_some()).to_le_bytes());
        put(348, &i32::from(self.sform.is_some()).to_le_bytes());
        let floats = self
            .qform
            .unwrap_or_default()
            .into_iter()
            .chain(self.sform.unwrap_or_default().concat());
        floats.enumerate().for_each(|(i, v)| put(352 + 8 * i, &f64::from(v).to_le_bytes()));
        put(500, &i32::from(self.units).to_le_bytes());
        let magic =
            if one[344..348] == *b"n+1\0" { b"n+2\0\r\n\x1a\n" } else { b"ni2\0\r\n\x1a\n" };
        out[4..12].copy_from_slice(magic);
        [out, self.voxels.clone()].concat()
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.header(), self.voxels.clone()].concat()
    }

    /// Writes the file, gzipped where the name says so.
    pub fn write(&self, path: &Path) -> PathBuf {
        write(path, &self.bytes())
    }
}

/// Writes bytes, gzipped where the name says so.
pub fn write(path: &Path, bytes: &[u8]) -> PathBuf {
    if path.extension().is_some_and(|e| e == "gz") {
        fs::write(path, gzip(bytes)).unwrap();
    } else {
        fs::write(path, bytes).unwrap();
    }
    path.to_owned()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Runs the binary.
pub fn monet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_monet")).args(args).output().unwrap()
}

/// Runs `monet segment`, which has to succeed, with all its outputs in a folder that goes again:
/// messages and figures.
pub fn segment(input: &Path, more: &[&str]) -> (String, serde_json::Value) {
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

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All voxels of a volume in its file's own order, scaled.
pub fn read(path: &Path) -> Vec<f32> {
    let header = SliceSource::open(path, &SourceOptions::default()).unwrap();
    let orientation = header.header().geometry.affine.orientation();
    SliceSource::open(path, &SourceOptions { orientation, ..SourceOptions::default() })
        .unwrap()
        .read_all()
        .unwrap()
}

/// The sample's voxels in a file of another size, at `at`, the rest `padding`.
pub fn padded_sample(path: &Path, size: [usize; 3], at: [usize; 3], padding: i16) -> PathBuf {
    let sample = read(Path::new("models/sample/mni152-hippocampus.nii.gz"));
    let mut voxels = vec![padding; size.iter().product()];
    for (i, value) in sample.iter().enumerate() {
        let [x, y, z] = [i % 38, i / 38 % 52, i / 38 / 52];
        voxels[((at[2] + z) * size[1] + at[1] + y) * size[0] + at[0] + x] = *value as i16;
    }
    let origin = [-44.0, -50.0, -31.0];
    let mut sform = [[0.0; 4]; 3];
    for a in 0..3 {
        sform[a][a] = 1.0;
        sform[a][3] = origin[a] - at[a] as f32;
    }
    Nifti { sform: Some(sform), ..Nifti::new(size, &voxels) }.write(path)
}

/// The real data, where it is; says which test goes without otherwise.
pub fn real_data(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("MONET_DATA").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED {test}: no real data at {} (set MONET_DATA)", folder.display());
    None
}

/// A Python with the packages that outside judges need, where the caller names one.
pub fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("MONET_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!(
            "SKIPPED {test}: MONET_PYTHON names no Python with numpy, nibabel, scipy and onnxruntime"
        );
    }
    python
}
