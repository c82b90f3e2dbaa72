//! Labels out: a label volume written one slice at a time in the source file's own geometry, complete or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use nifti::NiftiHeader;

use super::error::VolumeError;
use super::source::SliceSource;
use super::spool::{Layout, Spool};
use super::voxels::Placement;
use crate::atomic::{self, Staged, Temporary};

/// `NIFTI_INTENT_LABEL`.
const INTENT_LABEL: i16 = 1002;

/// `DT_UINT8`.
const DATATYPE_UINT8: i16 = 2;

/// Voxels start here: header and four bytes that say that no extension follows.
const DATA_OFFSET: f32 = 352.0;

/// A label volume in the making: uint8, same dimensions, sform, qform and units as the source's file.
#[derive(Debug)]
pub struct LabelSink {
    path: PathBuf,
    overwrite: bool,
    out: Output,
    placement: Placement,
    spool: Option<Spool>,
    /// One slice in the file's order.
    plane: Vec<u8>,
    pushed: usize,
    /// Slices that make the volume whole.
    slices: usize,
}

#[derive(Debug)]
enum Output {
    Plain(BufWriter<Temporary>),
    Gzip(Box<GzEncoder<BufWriter<Temporary>>>),
}

impl Output {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file,
        }
    }

    fn finish(self) -> io::Result<Temporary> {
        let buffered = match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file.finish()?,
        };
        buffered.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl LabelSink {
    /// Begins a label volume at `path` (`.nii` or `.nii.gz`). Until [`LabelSink::finish`] it is a temporary file in the
    /// same folder; dropped unfinished, that is removed and `path` is untouched. A spool, should one be needed, goes to
    /// `spool_dir` or the system's temporary folder.
    ///
    /// # Errors
    /// [`VolumeError::Exists`] unless `overwrite`, [`VolumeError::Name`], [`VolumeError::Write`]
    pub fn create(
        path: &Path,
        source: &SliceSource,
        overwrite: bool,
        spool_dir: Option<&Path>,
    ) -> Result<Self, VolumeError> {
        let header = source.header();
        let failed = |source| VolumeError::Write { path: path.to_owned(), source };
        let gzip = is_gzip(path)?;
        if !overwrite && path.exists() {
            return Err(VolumeError::Exists { path: path.to_owned() });
        }
        let file = BufWriter::with_capacity(64 << 10, atomic::begin(path).map_err(failed)?);
        let mut out = if gzip {
            Output::Gzip(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Output::Plain(file)
        };
        out.writer().write_all(&encode(&label_header(&header.raw, header.size))).map_err(failed)?;
        let map = source.axis_map();
        let spool = if map.keeps_slices() {
            None
        } else {
            Some(Spool::create(spool_dir, Layout::new(header.size, 1, 1, map))?)
        };
        let placement = Placement::new(header.size, map);
        Ok(Self {
            path: path.to_owned(),
            overwrite,
            out,
            placement,
            spool,
            plane: vec![0; placement.len()],
            pushed: 0,
            slices: source.geometry().size[2],
        })
    }

    /// Takes the labels of the next slice (row after row, in the model's orientation), in the order of the source.
    ///
    /// # Errors
    /// [`VolumeError::Write`], [`VolumeError::Spool`]
    ///
    /// # Panics
    /// When `labels` has not the source's width × height.
    pub fn push(&mut self, labels: &[u8]) -> Result<(), VolumeError> {
        assert_eq!(labels.len(), self.plane.len(), "label slice length");
        self.pushed += 1;
        self.placement.labels_to_file(labels, &mut self.plane);
        match &mut self.spool {
            Some(spool) => spool.write_record(&self.plane),
            None => self.out.writer().write_all(&self.plane).map_err(|e| failed(&self.path, e)),
        }
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`VolumeError::Incomplete`] unless every slice was pushed once, [`VolumeError::Write`], [`VolumeError::Spool`],
    /// [`VolumeError::Exists`] when another process made the file meanwhile
    pub fn finish(self) -> Result<(), VolumeError> {
        let overwrite = self.overwrite;
        commit(self.stage()?, overwrite)
    }

    /// Completes the file, but leaves its naming to the caller.
    pub(crate) fn stage(mut self) -> Result<Staged, VolumeError> {
        if self.pushed != self.slices {
            let Self { path, pushed, slices, .. } = self;
            return Err(VolumeError::Incomplete { path, pushed, slices });
        }
        if let Some(mut spool) = self.spool.take() {
            let (out, path) = (self.out.writer(), &self.path);
            spool.drain(|planes| out.write_all(planes).map_err(|e| failed(path, e)))?;
        }
        let file = self.out.finish().map_err(|e| failed(&self.path, e))?;
        Staged::new(file, &self.path).map_err(|e| failed(&self.path, e))
    }
}

/// Gives a complete file its name.
pub(crate) fn commit(staged: Staged, overwrite: bool) -> Result<(), VolumeError> {
    let path = staged.path().to_owned();
    staged.commit(overwrite).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => VolumeError::Exists { path },
        _ => failed(&path, e),
    })
}

fn failed(path: &Path, source: io::Error) -> VolumeError {
    VolumeError::Write { path: path.to_owned(), source }
}

fn is_gzip(path: &Path) -> Result<bool, VolumeError> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    match () {
        () if name.ends_with(".nii.gz") => Ok(true),
        () if name.ends_with(".nii") => Ok(false),
        () => Err(VolumeError::Name { path: path.to_owned() }),
    }
}

/// The source's header with what labels change.
fn label_header(source: &NiftiHeader, size: [usize; 3]) -> NiftiHeader {
    let mut header = source.clone();
    header.dim = [3, 1, 1, 1, 1, 1, 1, 1];
    header.dim[1..4].iter_mut().zip(size).for_each(|(dim, size)| *dim = size as u16);
    header.datatype = DATATYPE_UINT8;
    header.bitpix = 8;
    header.vox_offset = DATA_OFFSET;
    header.scl_slope = 1.0;
    header.scl_inter = 0.0;
    header.cal_min = 0.0;
    header.cal_max = 0.0;
    header.intent_code = INTENT_LABEL;
    [header.intent_p1, header.intent_p2, header.intent_p3] = [0.0; 3];
    header.intent_name = [0; 16];
    header.descrip = concat!("monet ", env!("CARGO_PKG_VERSION")).into();
    header.aux_file = [0; 24];
    header.magic = *nifti::header::MAGIC_CODE_NIP1;
    header
}

/// A header's 352 bytes, little-endian; field order of nifti1.h. (`nifti` writes headers only with whole volumes.)
fn encode(h: &NiftiHeader) -> Vec<u8> {
    let mut out = Vec::with_capacity(DATA_OFFSET as usize);
    let i16s = |out: &mut Vec<u8>, values: &[i16]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let f32s = |out: &mut Vec<u8>, values: &[f32]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    out.extend(348i32.to_le_bytes());
    out.extend(h.data_type);
    out.extend(h.db_name);
    out.extend(h.extents.to_le_bytes());
    i16s(&mut out, &[h.session_error]);
    out.extend([h.regular, h.dim_info]);
    h.dim.iter().for_each(|v| out.extend(v.to_le_bytes()));
    f32s(&mut out, &[h.intent_p1, h.intent_p2, h.intent_p3]);
    i16s(&mut out, &[h.intent_code, h.datatype, h.bitpix, h.slice_start]);
    f32s(&mut out, &h.pixdim);
    f32s(&mut out, &[h.vox_offset, h.scl_slope, h.scl_inter]);
    i16s(&mut out, &[h.slice_end]);
    out.extend([h.slice_code, h.xyzt_units]);
    f32s(&mut out, &[h.cal_max, h.cal_min, h.slice_duration, h.toffset]);
    [h.glmax, h.glmin].iter().for_each(|v| out.extend(v.to_le_bytes()));
    out.extend(h.descrip.iter().copied().chain(std::iter::repeat(0)).take(80));
    out.extend(h.aux_file);
    i16s(&mut out, &[h.qform_code, h.sform_code]);
    f32s(&mut out, &[h.quatern_b, h.quatern_c, h.quatern_d, h.quatern_x, h.quatern_y, h.quatern_z]);
    f32s(&mut out, &h.srow_x);
    f32s(&mut out, &h.srow_y);
    f32s(&mut out, &h.srow_z);
    out.extend(h.intent_name);
    out.extend(h.magic);
    out.extend([0; 4]);
    out
}
