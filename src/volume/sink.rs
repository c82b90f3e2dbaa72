//! Labels out: a label volume written one slice at a time in the source file's own geometry,
//! complete or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::error::VolumeError;
use super::header::VolumeHeader;
use super::source::SliceSource;
use super::spool::{Layout, Spool};
use super::voxels::Placement;
use crate::atomic::{self, CommitError, Part, Staged};

/// A label volume in the making: uint8, with the dimensions, sform, qform, units and version of the
/// format of the source's file, so that its numbers stay what they are. None of the source's texts
/// is copied, since they may name the patient. The grid is the file's whole one; what lies outside
/// of the region that the source was to read has no label.
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
    /// Slices that are to be pushed: those of the source.
    slices: usize,
    /// Slices of the whole grid before and behind them, which have no label.
    outside: [usize; 2],
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

impl LabelSink {
    /// Begins a label volume at `path` (`.nii` or `.nii.gz`). Until [`LabelSink::finish`] it is a
    /// temporary file in the same folder; dropped unfinished, that is removed and `path` is
    /// untouched. A spool, should one be needed, goes to `spool_dir` or the system's temporary
    /// folder.
    ///
    /// # Errors
    /// [`VolumeError::Exists`] unless `overwrite`, [`VolumeError::Name`], [`VolumeError::Write`]
    pub fn create(
        path: &Path,
        source: &SliceSource,
        overwrite: bool,
        spool_dir: Option<&Path>,
    ) -> Result<Self, VolumeError> {
        Self::create_named(path, source, overwrite, spool_dir, "")
    }

    /// As [`LabelSink::create`], with a text that tells the labels' names and colours, as
    /// [`caret_xml`](crate::package::table::caret_xml) gives it: it becomes an extension of the
    /// header. Empty, it becomes none.
    ///
    /// # Errors
    /// As [`LabelSink::create`].
    pub fn create_named(
        path: &Path,
        source: &SliceSource,
        overwrite: bool,
        spool_dir: Option<&Path>,
        caret_xml: &str,
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
        out.writer().write_all(&beginning(header, caret_xml)).map_err(failed)?;
        let map = source.axis_map();
        let spool = if map.keeps_slices() {
            None
        } else {
            Some(Spool::create(spool_dir, Layout::new(header.size, 1, 1, map))?)
        };
        let placement = Placement::new(header.size, map);
        let part = source.part();
        Ok(Self {
            path: path.to_owned(),
            overwrite,
            out,
            placement: placement.within(part),
            spool,
            plane: vec![0; placement.len()],
            pushed: 0,
            slices: part.size[2],
            outside: part.outside(header.size[map.0[2].axis], map),
        })
    }

    /// Takes the labels of the next slice (row after row, in the model's orientation), in the order
    /// of the source.
    ///
    /// # Errors
    /// [`VolumeError::Write`], [`VolumeError::Spool`]
    ///
    /// # Panics
    /// When `labels` has not the source's width × height.
    pub fn push(&mut self, labels: &[u8]) -> Result<(), VolumeError> {
        assert_eq!(labels.len(), self.placement.len(), "label slice length");
        if self.pushed == 0 {
            self.write_planes(self.outside[0])?;
        }
        self.pushed += 1;
        self.placement.labels_to_file(labels, &mut self.plane);
        self.write_planes(1)
    }

    /// Writes the plane so many times.
    fn write_planes(&mut self, times: usize) -> Result<(), VolumeError> {
        (0..times).try_for_each(|_| match &mut self.spool {
            Some(spool) => spool.write_record(&self.plane),
            None => self.out.writer().write_all(&self.plane).map_err(|e| failed(&self.path, e)),
        })
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`VolumeError::Incomplete`] unless every slice was pushed once, [`VolumeError::Write`],
    /// [`VolumeError::Spool`], [`VolumeError::Exists`] when another process made the file meanwhile
    pub fn finish(self) -> Result<(), VolumeError> {
        let overwrite = self.overwrite;
        commit(vec![self.stage()?], overwrite)
    }

    /// Completes the file, but leaves its naming to the caller.
    pub(crate) fn stage(mut self) -> Result<Staged, VolumeError> {
        if self.pushed != self.slices {
            let Self { path, pushed, slices, .. } = self;
            return Err(VolumeError::Incomplete { path, pushed, slices });
        }
        self.plane.fill(0);
        self.write_planes(self.outside[1])?;
        if let Some(mut spool) = self.spool.take() {
            let (out, path) = (self.out.writer(), &self.path);
            spool.drain(|planes| out.write_all(planes).map_err(|e| failed(path, e)))?;
        }
        let file = self.out.finish().map_err(|e| failed(&self.path, e))?;
        Staged::new(file, &self.path).map_err(|e| failed(&self.path, e))
    }
}

/// Gives complete files their names, all or none.
pub(crate) fn commit(set: Vec<Staged>, overwrite: bool) -> Result<(), VolumeError> {
    atomic::commit(set, overwrite).map_err(|CommitError { path, source }| match source.kind() {
        io::ErrorKind::AlreadyExists if !overwrite => VolumeError::Exists { path },
        _ => failed(&path, source),
    })
}

fn failed(path: &Path, source: io::Error) -> VolumeError {
    VolumeError::Write { path: path.to_owned(), source }
}

fn is_gzip(path: &Path) -> Result<bool, VolumeError> {
    let name =
        path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    match () {
        () if name.ends_with(".nii.gz") => Ok(true),
        () if name.ends_with(".nii") => Ok(false),
        () => Err(VolumeError::Name { path: path.to_owned() }),
    }
}

/// `NIFTI_ECODE_CARET`: the extension is XML of Caret and Connectome Workbench.
const CODE_CARET: i32 = 30;

/// What precedes the voxels: the header, four bytes that say whether an extension follows, and the
/// extension, which is filled up to 16 bytes with white space, since that is XML, too.
fn beginning(source: &VolumeHeader, caret_xml: &str) -> Vec<u8> {
    let header = source.raw.version.header_len() + 4;
    let extension =
        if caret_xml.is_empty() { 0 } else { (8 + caret_xml.len()).next_multiple_of(16) };
    let voxels_at = header + extension;
    let mut out = source.raw.label_header(
        source.size,
        voxels_at,
        concat!("monet ", env!("CARGO_PKG_VERSION")),
    );
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
