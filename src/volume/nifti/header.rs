//! A NIfTI file's header, version 1 or 2: found, parsed, and validated, so that the rest of the
//! library can trust it.
//!
//! Nothing is allocated from what a header claims.

use std::ffi::OsString;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use super::super::error::{VolumeError, VolumeWarning};
use super::super::grid::{self, ByteOrder, Grid, MAX_CHANNELS, Scaling, VoxelType};
use super::bytes::{self, Input, Stop, Stream};
use super::fields::{Fields, Version};
use super::{forms, kinds};

/// What the reader expects, for the message about a file that is something else.
const EXPECTED: &str = "a NIfTI file (.nii, .nii.gz or an .hdr/.img pair)";

/// The type that a `datatype` code stands for.
fn voxel_type(code: i16) -> Option<VoxelType> {
    Some(match code {
        2 => VoxelType::U8,
        256 => VoxelType::I8,
        4 => VoxelType::I16,
        512 => VoxelType::U16,
        8 => VoxelType::I32,
        768 => VoxelType::U32,
        1024 => VoxelType::I64,
        1280 => VoxelType::U64,
        16 => VoxelType::F32,
        64 => VoxelType::F64,
        _ => return None,
    })
}

/// Name of a `datatype` code that is no [`VoxelType`].
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

/// A validated header.
#[derive(Debug, Clone)]
pub struct NiftiHeader {
    /// The grid, named by the file that the caller named: `.nii`, `.nii.gz`, `.hdr` or `.img`.
    pub grid: Grid,
    /// The file with the voxels: the same, or the `.img` of a pair.
    pub data_path: PathBuf,
    /// Byte at which the voxels start in that file, after decompression.
    pub data_offset: u64,
    /// What scales the stored values of all planes.
    pub scaling: Scaling,
}

impl NiftiHeader {
    /// Finds, parses and validates the header of a `.nii`, `.nii.gz`, `.hdr[.gz]` or `.img[.gz]`
    /// file.
    ///
    /// # Errors
    /// [`VolumeError::Open`], [`VolumeError::Format`], [`VolumeError::Header`]
    pub fn read(path: &Path) -> Result<Self, VolumeError> {
        Self::open(path, &None).map(|(header, _, _)| header)
    }

    /// Parses and validates the bytes of a header that another program has read. `name` stands for
    /// the volume in messages, and for the file with the voxels, of which nothing is known.
    ///
    /// # Errors
    /// [`VolumeError::Format`], [`VolumeError::Header`]
    pub fn of(name: &Path, bytes: &[u8]) -> Result<Self, VolumeError> {
        let reader = Box::new(Cursor::new(bytes.to_vec()));
        let raw = parse(name, &mut Stream { reader, at: 0, most: Some(bytes.len() as u64) })?;
        Checker { path: name, raw: &raw }.check(name, name.to_owned())
    }

    /// The header, the files that it needs, and the stream in which its voxels come.
    pub(super) fn open(path: &Path, stop: &Stop) -> Result<(Self, Files, Stream), VolumeError> {
        let header_path = sibling(path, "img", "hdr").unwrap_or_else(|| path.to_owned());
        let header = Input::open(&header_path, stop.clone())?;
        // Both files of a pair are opened at once, so that none can be replaced in between.
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

/// The other file of an `.hdr`/`.img` pair: the first that exists of
///
/// - the name with its ending replaced in the same case, in small letters, in capitals;
/// - each of them plain, with `.gz`, with `.GZ`.
///
/// Where none exists, the first of these names. `None` where the name does not end in `from`.
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
    let (path, found) = (path.to_owned(), found.into());
    VolumeError::Format { path, expected: EXPECTED, found, advice }
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
    // These bytes show whether a transfer as text changed line ends. Some programs leave them zero.
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

    fn check(self, path: &Path, data_path: PathBuf) -> Result<NiftiHeader, VolumeError> {
        let (size, channels) = self.size()?;
        let voxel_type = self.voxel_type()?;
        let data_offset = self.data_offset()?;
        let (geometry, mut warnings) = match forms::place(self.raw, size) {
            Ok(placed) => placed,
            Err((field, found, expected)) => return self.refuse(field, found, expected),
        };
        let scaling = self.scaling(&mut warnings);
        let order = if self.raw.big_endian { ByteOrder::Big } else { ByteOrder::Little };
        let grid = Grid::unchecked(path.to_owned(), geometry, channels, voxel_type, order);
        let grid = grid.stored_as(self.raw.clone(), warnings);
        Ok(NiftiHeader { grid, data_path, data_offset, scaling })
    }

    /// Sizes of the three axes, and channels. A size of 0 behind the third axis is read as 1, since
    /// some programs leave it.
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
        if let Some((axis, found, expected)) = grid::beyond_limits(size) {
            return self.refuse(["dim", "dim", "dim[3]"][axis], found, expected);
        }
        if channels > MAX_CHANNELS as i64 {
            return self.refuse("dim[4]", channels, format!("at most {MAX_CHANNELS} channels"));
        }
        Ok((size.map(|n| n as usize), channels as usize))
    }

    fn voxel_type(&self) -> Result<VoxelType, VolumeError> {
        const EXPECTED: &str = "one of uint8, int8, int16, uint16, int32, uint32, int64, uint64, \
            float32, float64: convert the volume";
        let code = self.raw.datatype;
        let found = || format!("{code}{}", name_of_other(code));
        voxel_type(code).map_or_else(|| self.refuse("datatype", found(), EXPECTED), Ok)
    }

    fn data_offset(&self) -> Result<u64, VolumeError> {
        let (offset, header) = (self.raw.vox_offset, self.raw.version.header_len());
        let least = if self.raw.pair { 0 } else { header };
        if offset == 0.0 {
            // Some tools mean "right after the header and its 4 extension bytes" by 0.
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

    fn scaling(&self, warnings: &mut Vec<VolumeWarning>) -> Scaling {
        let (slope, intercept) = (self.raw.scl_slope, self.raw.scl_inter);
        if slope == 0.0 {
            return Scaling::NONE;
        }
        if !slope.is_finite() || !intercept.is_finite() {
            warnings.push(VolumeWarning::NoScaling);
            return Scaling::NONE;
        }
        Scaling { slope, intercept }
    }
}
