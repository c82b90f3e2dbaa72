//! A NIfTI-1 file's header: found, parsed through `nifti`, and validated, so that the rest of the library can trust it.
//!
//! Format: <https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h>. Nothing is allocated from what a header claims.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nifti::{Endianness, NiftiHeader, NiftiType};

use super::bytes;
use super::error::{VolumeError, VolumeWarning};
use super::geometry::{Affine, Geometry};

/// Largest width or height of a slice. CT and MR stay below 2048.
pub const MAX_SIDE: usize = 8192;

/// Largest number of voxels in a slice, times channels: bounds every slice buffer to 64 MiB of f32.
pub const MAX_SLICE_VOXELS: usize = 16 << 20;

/// Largest number of channels in a 4-D file.
pub const MAX_CHANNELS: usize = 64;

/// Bytes of a NIfTI-1 header.
pub(super) const HEADER_LEN: usize = 348;

/// How voxels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DataType {
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl DataType {
    /// Bytes a voxel.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    fn from_nifti(kind: NiftiType) -> Option<Self> {
        Some(match kind {
            NiftiType::Uint8 => Self::U8,
            NiftiType::Int8 => Self::I8,
            NiftiType::Int16 => Self::I16,
            NiftiType::Uint16 => Self::U16,
            NiftiType::Int32 => Self::I32,
            NiftiType::Uint32 => Self::U32,
            NiftiType::Int64 => Self::I64,
            NiftiType::Uint64 => Self::U64,
            NiftiType::Float32 => Self::F32,
            NiftiType::Float64 => Self::F64,
            _ => return None,
        })
    }
}

/// A validated header.
#[derive(Debug, Clone)]
pub struct VolumeHeader {
    /// The file that was named: `.nii`, `.nii.gz`, `.hdr` or `.img`.
    pub path: PathBuf,
    /// The file with the voxels: the same, or the `.img` of a pair.
    pub data_path: PathBuf,
    /// Byte at which the voxels start in that file, after decompression.
    pub data_offset: u64,
    /// Width, height and slices in the file's own axis order.
    pub size: [usize; 3],
    /// Channels: the fourth dimension, slowest in the file.
    pub channels: usize,
    /// How voxels are stored.
    pub data_type: DataType,
    /// Whether they are stored most significant byte first.
    pub big_endian: bool,
    /// Factor for stored values.
    pub slope: f64,
    /// Added after the factor.
    pub intercept: f64,
    /// Placement of the file's own grid.
    pub geometry: Geometry,
    /// What was odd and worked around.
    pub warnings: Vec<VolumeWarning>,
    /// All fields as parsed, for copies.
    pub(super) raw: NiftiHeader,
}

impl VolumeHeader {
    /// Finds, parses and validates the header of a `.nii`, `.nii.gz`, `.hdr[.gz]` or `.img[.gz]` file.
    ///
    /// # Errors
    /// [`VolumeError::Open`], [`VolumeError::NotNifti`], [`VolumeError::Header`]
    pub fn read(path: &Path) -> Result<Self, VolumeError> {
        let header_path = sibling(path, "img", "hdr").unwrap_or_else(|| path.to_owned());
        let raw = parse(&header_path)?;
        let pair = &raw.magic == nifti::header::MAGIC_CODE_NI1;
        let data_path = match sibling(&header_path, "hdr", "img") {
            Some(image) if pair => image,
            None if pair => {
                return Err(not_nifti(
                    &header_path,
                    "the header of a pair, but the name does not end in .hdr",
                ));
            }
            _ => header_path.clone(),
        };
        Checker { path: &header_path, raw: &raw }.check(path, data_path, pair)
    }

    /// Slices of all channels in the file.
    pub(super) fn planes(&self) -> usize {
        self.size[2] * self.channels
    }

    /// Bytes of one slice of one channel in the file.
    pub(super) fn slice_bytes(&self) -> usize {
        self.size[0] * self.size[1] * self.data_type.size()
    }
}

/// The other file of an `.hdr`/`.img` pair: the same name with its ending replaced, `.gz` kept where that file exists.
fn sibling(path: &Path, from: &str, to: &str) -> Option<PathBuf> {
    let is = |p: &Path, e: &str| p.extension().is_some_and(|x| x.eq_ignore_ascii_case(e));
    let plain = if is(path, "gz") { path.with_extension("") } else { path.to_owned() };
    if !is(&plain, from) {
        return None;
    }
    let other = plain.with_extension(to);
    let zipped = PathBuf::from(format!("{}.gz", other.display()));
    Some(if !other.exists() && zipped.exists() { zipped } else { other })
}

fn not_nifti(path: &Path, found: impl Into<String>) -> VolumeError {
    VolumeError::NotNifti { path: path.to_owned(), found: found.into() }
}

/// Reads the 348 bytes and has `nifti` parse them.
fn parse(path: &Path) -> Result<NiftiHeader, VolumeError> {
    let mut header = [0; HEADER_LEN];
    let failed = |source| VolumeError::Open { path: path.to_owned(), source };
    let mut reader = bytes::open(path).map_err(failed)?.reader;
    let mut length = 0;
    while length < HEADER_LEN {
        match reader.read(&mut header[length..]) {
            Ok(0) => return Err(not_nifti(path, format!("only {length} bytes of a 348-byte header"))),
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Err(not_nifti(path, format!("damaged gzip data in the header ({e})")));
            }
            Err(source) => return Err(failed(source)),
        }
    }
    if !matches!(&header[344..348], b"n+1\0" | b"ni1\0") {
        let two = header[4..8] == *b"n+2\0" || header[4..8] == *b"ni2\0";
        let found = if two { "a NIfTI-2 header" } else { "no NIfTI-1 magic at byte 344" };
        return Err(not_nifti(path, found));
    }
    NiftiHeader::from_reader(&header[..]).map_err(|e| not_nifti(path, e.to_string()))
}

/// Validates a parsed header, naming fields in its errors.
struct Checker<'a> {
    path: &'a Path,
    raw: &'a NiftiHeader,
}

impl Checker<'_> {
    fn refuse<T>(
        &self,
        field: &'static str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Result<T, VolumeError> {
        let (path, found, expected) = (self.path.to_owned(), found.to_string(), expected.into());
        Err(VolumeError::Header { path, field, found, expected })
    }

    fn check(self, path: &Path, data_path: PathBuf, pair: bool) -> Result<VolumeHeader, VolumeError> {
        let ([x, y, z], channels) = self.size()?;
        let mut warnings = Vec::new();
        let data_type = self.data_type()?;
        let data_offset = self.data_offset(pair)?;
        let [slope, intercept] = self.scaling(&mut warnings);
        let affine = self.affine([x, y, z], &mut warnings);
        Ok(VolumeHeader {
            path: path.to_owned(),
            data_path,
            data_offset,
            size: [x, y, z],
            channels,
            data_type,
            big_endian: self.raw.endianness == Endianness::Big,
            slope,
            intercept,
            geometry: Geometry::new([x, y, z], affine),
            warnings,
            raw: self.raw.clone(),
        })
    }

    fn size(&self) -> Result<([usize; 3], usize), VolumeError> {
        let dim = self.raw.dim;
        let signed = |i: usize| dim[i] as i16;
        if !(1..=7).contains(&signed(0)) {
            return self.refuse("dim[0]", signed(0), "the number of dimensions, 3 or 4");
        }
        let rank = usize::from(dim[0]);
        let names = ["dim[1]", "dim[2]", "dim[3]", "dim[4]", "dim[5]", "dim[6]", "dim[7]"];
        for i in 1..=rank {
            if signed(i) <= 0 {
                return self.refuse(names[i - 1], signed(i), "a positive number of voxels");
            }
        }
        let length = |i: usize| if i <= rank { usize::from(dim[i]) } else { 1 };
        if (5..=7).any(|i| length(i) > 1) {
            return self.refuse(
                "dim",
                format!("{:?}", &dim[1..=rank]),
                "a 3-D volume, or 4-D with channels last",
            );
        }
        if rank < 3 {
            let advice = "a 3-D volume: stack single slices into a volume first";
            return self.refuse("dim[0]", rank, advice);
        }
        let (size, channels) = ([length(1), length(2), length(3)], length(4));
        if size[0] > MAX_SIDE || size[1] > MAX_SIDE || size[0] * size[1] > MAX_SLICE_VOXELS {
            let most = format!("slices of at most {MAX_SIDE} × {MAX_SIDE} and {MAX_SLICE_VOXELS} voxels");
            return self.refuse("dim", format!("{size:?}"), most);
        }
        if channels > MAX_CHANNELS {
            return self.refuse("dim[4]", channels, format!("at most {MAX_CHANNELS} channels"));
        }
        Ok((size, channels))
    }

    fn data_type(&self) -> Result<DataType, VolumeError> {
        const EXPECTED: &str = "one of uint8, int8, int16, uint16, int32, uint32, int64, uint64, float32, float64: convert the volume";
        let Ok(kind) = self.raw.data_type() else {
            return self.refuse("datatype", self.raw.datatype, EXPECTED);
        };
        match DataType::from_nifti(kind) {
            Some(data_type) => Ok(data_type),
            None => self.refuse("datatype", format!("{} ({kind:?})", self.raw.datatype), EXPECTED),
        }
    }

    fn data_offset(&self, pair: bool) -> Result<u64, VolumeError> {
        let offset = self.raw.vox_offset;
        if pair && offset == 0.0 {
            return Ok(0);
        }
        let least = if pair { 0.0 } else { HEADER_LEN as f32 };
        // 0 is written by some tools for "right after the header and its 4 extension bytes".
        if !pair && offset == 0.0 {
            return Ok(352);
        }
        if !offset.is_finite() || offset < least || offset > 1e9 {
            return self.refuse("vox_offset", offset, "the byte at which voxels start, 352 or more");
        }
        Ok(offset as u64)
    }

    fn scaling(&self, warnings: &mut Vec<VolumeWarning>) -> [f64; 2] {
        let (slope, intercept) = (self.raw.scl_slope, self.raw.scl_inter);
        if slope == 0.0 {
            return [1.0, 0.0];
        }
        if !slope.is_finite() || !intercept.is_finite() {
            warnings.push(VolumeWarning::NoScaling);
            return [1.0, 0.0];
        }
        [f64::from(slope), f64::from(intercept)]
    }

    /// sform, else qform, else pixdim, as the format's author recommends ("method 3, 2, 1" of nifti1.h).
    fn affine(&self, size: [usize; 3], warnings: &mut Vec<VolumeWarning>) -> Affine {
        let sform = (self.raw.sform_code > 0)
            .then(|| Affine([self.raw.srow_x, self.raw.srow_y, self.raw.srow_z].map(|r| r.map(f64::from))));
        let qform = (self.raw.qform_code > 0).then(|| self.qform());
        if let Some(affine) = [sform, qform].into_iter().flatten().find(Affine::is_invertible) {
            return affine;
        }
        warnings.push(VolumeWarning::NoAffine);
        let mut rows = [[0.0; 4]; 3];
        for axis in 0..3 {
            let mut step = f64::from(self.raw.pixdim[axis + 1]).abs();
            if !(step.is_finite() && step > 0.0) {
                warnings.push(VolumeWarning::NoSpacing(axis));
                step = 1.0;
            }
            rows[axis][axis] = step;
            rows[axis][3] = -step * (size[axis] as f64 - 1.0) / 2.0;
        }
        Affine(rows)
    }

    /// The quaternion form; formula in nifti1.h under "method 2".
    fn qform(&self) -> Affine {
        let raw = self.raw;
        let stored = [raw.quatern_b, raw.quatern_c, raw.quatern_d].map(f64::from);
        let norm = stored.iter().map(|v| v * v).sum::<f64>();
        // Rounding, or a careless writer, may leave more than a unit quaternion: it is scaled to half a turn.
        let [b, c, d] = stored.map(|v| v / norm.max(1.0).sqrt());
        let a = (1.0 - norm).max(0.0).sqrt();
        let handed = if raw.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let step = [
            f64::from(raw.pixdim[1]).abs(),
            f64::from(raw.pixdim[2]).abs(),
            f64::from(raw.pixdim[3]).abs() * handed,
        ];
        let rotation = [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ];
        let shift = [raw.quatern_x, raw.quatern_y, raw.quatern_z].map(f64::from);
        Affine([0, 1, 2].map(|row| {
            let r = rotation[row];
            [r[0] * step[0], r[1] * step[1], r[2] * step[2], shift[row]]
        }))
    }
}
