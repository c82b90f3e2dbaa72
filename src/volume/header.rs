//! A NIfTI file's header, version 1 or 2: found, parsed, and validated, so that the rest of the
//! library can trust it.
//!
//! Nothing is allocated from what a header claims.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::bytes::{self, Input, Stop, Stream};
use super::error::{VolumeError, VolumeWarning};
use super::fields::{Fields, Version};
use super::forms;
use super::geometry::Geometry;
use super::kinds;

/// Largest width or height of a slice. CT and MR stay below 2048.
pub const MAX_SIDE: usize = 8192;

/// Largest number of voxels in a slice, times channels: bounds every slice buffer to 64 MiB of f32.
pub const MAX_SLICE_VOXELS: usize = 16 << 20;

/// Largest number of channels in a 4-D file.
pub const MAX_CHANNELS: usize = 64;

/// Largest number of slices of a channel. A version 1 header can say 32,767.
pub const MAX_SLICES: usize = 1 << 20;

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

    /// The type of a `datatype` code.
    fn of(code: i16) -> Option<Self> {
        Some(match code {
            2 => Self::U8,
            256 => Self::I8,
            4 => Self::I16,
            512 => Self::U16,
            8 => Self::I32,
            768 => Self::U32,
            1024 => Self::I64,
            1280 => Self::U64,
            16 => Self::F32,
            64 => Self::F64,
            _ => return None,
        })
    }

    /// Name of a `datatype` code that is no [`DataType`].
    fn name_of_other(code: i16) -> &'static str {
        match code {
            1 => " (bits)",
            32 => " (complex64)",
            128 => " (RGB24)",
            1536 => " (float128)",
            1792 => " (complex128)",
            2048 => " (complex256)",
            2304 => " (RGBA32)",
            _ => "",
        }
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
    /// Placement of the file's own grid, in millimetres whatever the file's unit.
    pub geometry: Geometry,
    /// What was odd and worked around.
    pub warnings: Vec<VolumeWarning>,
    /// All that placement needs as it was stored, for copies.
    pub(super) raw: Fields,
}

impl VolumeHeader {
    /// Finds, parses and validates the header of a `.nii`, `.nii.gz`, `.hdr[.gz]` or `.img[.gz]`
    /// file.
    ///
    /// # Errors
    /// [`VolumeError::Open`], [`VolumeError::NotNifti`], [`VolumeError::Header`]
    pub fn read(path: &Path) -> Result<Self, VolumeError> {
        Self::open(path, &None).map(|(header, _, _)| header)
    }

    /// The header, the files that it needs, and the stream in which its voxels come.
    pub(super) fn open(path: &Path, stop: &Stop) -> Result<(Self, Files, Stream), VolumeError> {
        let header_path = sibling(path, "img", "hdr").unwrap_or_else(|| path.to_owned());
        let header = Input::open(&header_path, stop.clone())?;
        // Both files of a pair at once, lest one be replaced between.
        let image = sibling(&header_path, "hdr", "img")
            .map(|path| (Input::open(&path, stop.clone()), path));
        let mut stream = header.start()?;
        let raw = parse(&header_path, &mut stream)?;
        let (data_path, data) = match image {
            Some((image, path)) if raw.pair => (path, Some(image?)),
            None if raw.pair => {
                let found = "the header of a pair, but the name does not end in .hdr";
                return Err(not_nifti(
                    &header_path,
                    found,
                    "give both files one name, ending in .hdr and .img",
                ));
            }
            _ => (header_path.clone(), None),
        };
        let checked = Checker { path: &header_path, raw: &raw }.check(path, data_path)?;
        if let Some(data) = &data {
            stream = data.start()?;
        }
        Ok((checked, Files { header, data }, stream))
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

/// The open files of a volume.
#[derive(Debug)]
pub(super) struct Files {
    header: Input,
    /// Voxels, where they lie in a file of their own.
    data: Option<Input>,
}

impl Files {
    /// The file with the voxels.
    pub(super) fn data(&self) -> &Input {
        self.data.as_ref().unwrap_or(&self.header)
    }

    /// Fails where one of them changed or was replaced.
    pub(super) fn check(&self) -> Result<(), VolumeError> {
        self.header.check()?;
        self.data.as_ref().map_or(Ok(()), Input::check)
    }
}

/// The other file of an `.hdr`/`.img` pair: the same name with its ending replaced, in the same
/// case, in small letters or in capitals, compressed or not, as it exists; where none does, in the
/// same case.
fn sibling(path: &Path, from: &str, to: &str) -> Option<PathBuf> {
    let is = |p: &Path, e: &str| p.extension().is_some_and(|x| x.eq_ignore_ascii_case(e));
    let plain = if is(path, "gz") { path.with_extension("") } else { path.to_owned() };
    if !is(&plain, from) {
        return None;
    }
    let given = plain.extension()?.as_encoded_bytes();
    let alike = |(letter, like): (char, &u8)| {
        if like.is_ascii_uppercase() { letter.to_ascii_uppercase() } else { letter }
    };
    let endings = [to.chars().zip(given).map(alike).collect(), to.to_owned(), to.to_uppercase()];
    let named = |ending: &str, zip: &str| {
        let mut name = OsString::from(plain.with_extension(ending));
        name.push(zip);
        PathBuf::from(name)
    };
    let mut candidates = endings.iter().flat_map(|e| ["", ".gz", ".GZ"].map(|zip| named(e, zip)));
    Some(candidates.find(|path| path.exists()).unwrap_or_else(|| named(&endings[0], "")))
}

fn not_nifti(path: &Path, found: impl Into<String>, advice: &'static str) -> VolumeError {
    VolumeError::NotNifti { path: path.to_owned(), found: found.into(), advice }
}

/// Reads and parses as many bytes as the header has.
fn parse(path: &Path, stream: &mut Stream) -> Result<Fields, VolumeError> {
    let mut bytes = [0; 540];
    let shortest = Version::One.header_len();
    let mut length = fill(path, stream, &mut bytes[..shortest])?;
    let Some((version, pair)) = Version::of(&bytes[..length]) else {
        let other = match length {
            _ if length == shortest => "no NIfTI magic at byte 344 or 4".to_owned(),
            _ => format!("only {length} bytes of a {shortest}-byte header"),
        };
        let kind = kinds::of(&bytes[..length]);
        let (found, advice) =
            kind.map_or((other, kinds::CONVERT), |(found, advice)| (found.to_owned(), advice));
        return Err(not_nifti(path, found, advice));
    };
    let whole = version.header_len();
    if length == shortest {
        length += fill(path, stream, &mut bytes[shortest..whole])?;
    }
    if length < whole {
        return Err(not_nifti(path, format!("only {length} bytes of a {whole}-byte header"), COPY));
    }
    // Bytes that a transfer as text would change; some programs leave them zero.
    if version == Version::Two && !matches!(&bytes[8..12], b"\r\n\x1a\n" | [0, 0, 0, 0]) {
        return Err(not_nifti(path, "a NIfTI-2 header whose line ends were changed", COPY));
    }
    Fields::parse(&bytes[..whole], version, pair).map_err(|e| not_nifti(path, e.to_string(), COPY))
}

const COPY: &str = "copy it again, byte for byte";

/// Reads until the buffer is full or the stream ends; returns how many bytes there were.
fn fill(path: &Path, stream: &mut Stream, buffer: &mut [u8]) -> Result<usize, VolumeError> {
    let mut length = 0;
    while length < buffer.len() {
        match stream.reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Err(not_nifti(
                    path,
                    format!("damaged gzip data in the header ({e})"),
                    COPY,
                ));
            }
            Err(source) => return Err(bytes::failed(path, source)),
        }
    }
    stream.at += length as u64;
    Ok(length)
}

/// Validates a parsed header, naming fields in its errors.
struct Checker<'a> {
    path: &'a Path,
    raw: &'a Fields,
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

    fn check(self, path: &Path, data_path: PathBuf) -> Result<VolumeHeader, VolumeError> {
        let (size, channels) = self.size()?;
        let data_type = self.data_type()?;
        let data_offset = self.data_offset()?;
        let (affine, mut warnings) = match forms::place(self.raw, size) {
            Ok(placed) => placed,
            Err((field, found, expected)) => return self.refuse(field, found, expected),
        };
        let [slope, intercept] = self.scaling(&mut warnings);
        Ok(VolumeHeader {
            path: path.to_owned(),
            data_path,
            data_offset,
            size,
            channels,
            data_type,
            big_endian: self.raw.big_endian,
            slope,
            intercept,
            geometry: Geometry::new(size, affine),
            warnings,
            raw: self.raw.clone(),
        })
    }

    /// Of the dimensions behind the third, 0 is read as 1: there is nothing along them.
    fn size(&self) -> Result<([usize; 3], usize), VolumeError> {
        let dim = self.raw.dim;
        if !(1..=7).contains(&dim[0]) {
            return self.refuse("dim[0]", dim[0], "the number of dimensions, 3 or 4");
        }
        let rank = dim[0] as usize;
        let names = ["dim[1]", "dim[2]", "dim[3]", "dim[4]", "dim[5]", "dim[6]", "dim[7]"];
        for i in 1..=rank {
            if dim[i] < 0 || dim[i] == 0 && i <= 3 {
                return self.refuse(names[i - 1], dim[i], "a positive number of voxels");
            }
        }
        let length = |i: usize| if i <= rank { dim[i].max(1) } else { 1 };
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
        // In 64 bits, because what a header declares may not fit a 32-bit target's usize.
        let size = [length(1), length(2), length(3)].map(|n| n as u64);
        let channels = length(4);
        if size[0].max(size[1]) > MAX_SIDE as u64 || size[0] * size[1] > MAX_SLICE_VOXELS as u64 {
            let most =
                format!("slices of at most {MAX_SIDE} × {MAX_SIDE} and {MAX_SLICE_VOXELS} voxels");
            return self.refuse("dim", format!("{size:?}"), most);
        }
        if size[2] > MAX_SLICES as u64 {
            return self.refuse("dim[3]", size[2], format!("at most {MAX_SLICES} slices"));
        }
        if channels > MAX_CHANNELS as i64 {
            return self.refuse("dim[4]", channels, format!("at most {MAX_CHANNELS} channels"));
        }
        Ok((size.map(|n| n as usize), channels as usize))
    }

    fn data_type(&self) -> Result<DataType, VolumeError> {
        const EXPECTED: &str = "one of uint8, int8, int16, uint16, int32, uint32, int64, uint64, \
            float32, float64: convert the volume";
        let code = self.raw.datatype;
        match DataType::of(code) {
            Some(data_type) => Ok(data_type),
            None => self.refuse(
                "datatype",
                format!("{code}{}", DataType::name_of_other(code)),
                EXPECTED,
            ),
        }
    }

    fn data_offset(&self) -> Result<u64, VolumeError> {
        let (offset, header) = (self.raw.vox_offset, self.raw.version.header_len());
        let least = if self.raw.pair { 0 } else { header };
        if offset == 0.0 {
            // Some tools write it for "right after the header and its 4 extension bytes".
            return Ok(if self.raw.pair { 0 } else { header as u64 + 4 });
        }
        if !offset.is_finite() || offset < least as f64 || offset > 1e9 {
            let expected = format!(
                "the byte at which voxels start, {} or more",
                if self.raw.pair { 0 } else { header + 4 }
            );
            return self.refuse("vox_offset", offset, expected);
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
        [slope, intercept]
    }
}
