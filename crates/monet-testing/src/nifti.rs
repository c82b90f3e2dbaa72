//! NIfTI volumes made on the fly, well formed or not: every field is written as it stands.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use monet::volume::{SliceSource, SourceOptions};

use crate::root;

/// A NIfTI-1 file to be: header fields as the tests need them, voxels as bytes.
#[derive(Clone)]
pub struct Nifti {
    /// Number of axes and their lengths; axes that are not named are 1.
    pub dim: Vec<i16>,
    /// Code of the voxels' type.
    pub datatype: i16,
    /// Bits a voxel.
    pub bitpix: i16,
    /// The sign of the qform's third axis, and the spacing.
    pub pixdim: [f32; 8],
    /// Where the voxels begin.
    pub vox_offset: f32,
    /// A voxel's value is `slope` × what is stored + `intercept`.
    pub slope: f32,
    /// See `slope`.
    pub intercept: f32,
    /// Rows that take voxels to millimetres.
    pub sform: Option<[[f32; 4]; 3]>,
    /// A rotation as the quaternion's b, c and d, and a shift.
    pub qform: Option<[f32; 6]>,
    /// qform_code and sform_code, where they are not 1 for a form that is there.
    pub codes: Option<[i16; 2]>,
    /// `xyzt_units`: 2 is millimetres.
    pub units: u8,
    /// `n+1` or `ni1`.
    pub magic: [u8; 4],
    /// Byte order of the header; the voxels are written as they stand.
    pub big_endian: bool,
    /// What follows the header.
    pub voxels: Vec<u8>,
}

/// Code of a voxel's type.
pub const UINT8: i16 = 2;
/// Code of a voxel's type.
pub const INT16: i16 = 4;
/// Code of a voxel's type.
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

    /// The header and the four bytes behind it.
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

    /// The file in version 1 of the format.
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

/// Bytes as `gzip` packs them.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// All voxels of a volume in its file's own order, scaled.
pub fn read(path: &Path) -> Vec<f32> {
    let header = SliceSource::open(path, &SourceOptions::default()).unwrap();
    let orientation = header.grid().geometry().affine.orientation();
    SliceSource::open(path, &SourceOptions { orientation, ..SourceOptions::default() })
        .unwrap()
        .read_all()
        .unwrap()
}

/// The sample's voxels in a file of another size, at `at`, the rest `padding`.
pub fn padded_sample(path: &Path, size: [usize; 3], at: [usize; 3], padding: i16) -> PathBuf {
    let sample = read(&root().join("models/sample/mni152-hippocampus.nii.gz"));
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
