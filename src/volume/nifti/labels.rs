//! A label volume as a NIfTI file: complete or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::error::OutputError;
use super::super::grid::Grid;
use super::super::planes::LabelWriter;
use super::Fields;
use crate::atomic::{self, Part, Staged};

/// Writes labels as a NIfTI file of uint8.
///
/// Where the volume is a NIfTI file, dimensions, sform, qform, units and version of the format are
/// that file's, so that its numbers stay what they are; none of its texts is copied, since they may
/// name the patient. For any other volume, the grid's affine becomes an sform in millimetres.
///
/// Until it is finished and named, the output is a temporary file in its folder. Dropped, it is
/// gone.
#[derive(Debug)]
pub struct NiftiLabels {
    path: PathBuf,
    out: Output,
}

#[derive(Debug)]
enum Output {
    Plain(BufWriter<Part>),
    Gzip(Box<GzEncoder<BufWriter<Part>>>),
}

impl Output {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file,
        }
    }

    fn finish(self) -> io::Result<Part> {
        let buffered = match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file.finish()?,
        };
        buffered.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl NiftiLabels {
    /// Begins the labels of a grid, to be at `path` (`.nii` or `.nii.gz`). `caret_xml` tells the
    /// labels' names and colours, as [`caret_xml`](crate::package::table::caret_xml) gives them,
    /// and becomes an extension of the header; empty, it becomes none.
    ///
    /// # Errors
    /// [`OutputError::Exists`] unless `overwrite`, [`OutputError::Name`], [`OutputError::Write`]
    pub fn create(
        path: &Path,
        grid: &Grid,
        overwrite: bool,
        caret_xml: &str,
    ) -> Result<Self, OutputError> {
        let failed = |e| failed(path, e);
        let gzip = is_gzip(path)?;
        if !overwrite && path.exists() {
            return Err(OutputError::Exists { path: path.to_owned() });
        }
        let file = BufWriter::with_capacity(64 << 10, atomic::begin(path).map_err(failed)?);
        let mut out = if gzip {
            Output::Gzip(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Output::Plain(file)
        };
        out.writer().write_all(&beginning(grid, caret_xml)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), out })
    }
}

impl LabelWriter for NiftiLabels {
    fn name(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, plane: &[u8]) -> Result<(), OutputError> {
        self.out.writer().write_all(plane).map_err(|e| failed(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<Vec<Staged>, OutputError> {
        let Self { path, out } = *self;
        let staged = out.finish().and_then(|file| Staged::new(file, &path));
        staged.map(|staged| vec![staged]).map_err(|e| failed(&path, e))
    }
}

fn failed(path: &Path, source: io::Error) -> OutputError {
    OutputError::Write { path: path.to_owned(), source }
}

fn is_gzip(path: &Path) -> Result<bool, OutputError> {
    let name =
        path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    match () {
        () if name.ends_with(".nii.gz") => Ok(true),
        () if name.ends_with(".nii") => Ok(false),
        () => Err(OutputError::Name { path: path.to_owned() }),
    }
}

/// `NIFTI_ECODE_CARET`: the extension is XML of Caret and Connectome Workbench.
const CODE_CARET: i32 = 30;

/// The bytes before the voxels:
///
/// - the header;
/// - four bytes, the first of which says whether an extension follows;
/// - the extension: its length, its code, and the XML, which white space fills up to a multiple of
///   16 bytes.
fn beginning(grid: &Grid, caret_xml: &str) -> Vec<u8> {
    let placed = grid.stored().cloned().unwrap_or_else(|| Fields::of_geometry(grid.geometry()));
    let header = placed.version.header_len() + 4;
    let extension =
        if caret_xml.is_empty() { 0 } else { (8 + caret_xml.len()).next_multiple_of(16) };
    let voxels_at = header + extension;
    let program = concat!("monet ", env!("CARGO_PKG_VERSION"));
    let mut out = placed.label_header(grid.size(), voxels_at, program);
    out.resize(header, 0);
    if extension > 0 {
        out[header - 4] = 1;
        out.extend((extension as i32).to_le_bytes());
        out.extend(CODE_CARET.to_le_bytes());
        out.extend(caret_xml.as_bytes());
        out.resize(voxels_at, b'\n');
    }
    out
}
