//! Labels out: label slices in the model's orientation back into the planes of the volume's grid.

use std::io;
use std::path::Path;

use super::error::OutputError;
use super::nifti::NiftiLabels;
use super::planes::LabelWriter;
use super::source::SliceSource;
use super::spool::{Layout, Spool};
use super::voxels::Placement;
use crate::atomic::{self, CommitError, Staged};

/// Labels in the making. They cover the volume's whole grid; outside the region that the source
/// reads there is no label. Dropped unfinished, they leave nothing.
pub struct LabelSink<'a> {
    writer: Box<dyn LabelWriter + 'a>,
    placement: Placement,
    spool: Option<Spool>,
    /// One slice in the stored order.
    plane: Vec<u8>,
    pushed: usize,
    /// Slices that are to be pushed: those of the source.
    slices: usize,
    /// Slices of the whole grid before and behind them, which have no label.
    outside: [usize; 2],
}

impl std::fmt::Debug for LabelSink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabelSink")
            .field("name", &self.writer.name())
            .field("pushed", &self.pushed)
            .finish_non_exhaustive()
    }
}

impl LabelSink<'static> {
    /// Begins a NIfTI file of the source's labels, without their names: see
    /// [`NiftiLabels::create`] and [`LabelSink::new`].
    ///
    /// # Errors
    /// As these.
    pub fn create(
        path: &Path,
        source: &SliceSource,
        overwrite: bool,
        spool_dir: Option<&Path>,
    ) -> Result<Self, OutputError> {
        let writer = NiftiLabels::create(path, source.grid(), overwrite, "")?;
        Self::new(Box::new(writer), source, spool_dir)
    }
}

impl<'a> LabelSink<'a> {
    /// Begins the labels of what the source reads. A spool, should one be needed, goes to
    /// `spool_dir` or the system's temporary folder.
    ///
    /// # Errors
    /// [`OutputError::Spool`]
    pub fn new(
        writer: Box<dyn LabelWriter + 'a>,
        source: &SliceSource,
        spool_dir: Option<&Path>,
    ) -> Result<Self, OutputError> {
        let (size, map, part) = (source.grid().size(), source.axis_map(), source.part());
        let spool = if map.keeps_slices() {
            None
        } else {
            Some(Spool::create(spool_dir, Layout::new(size, 1, 1, map))?)
        };
        let placement = Placement::new(size, map);
        Ok(Self {
            writer,
            placement: placement.within(part),
            spool,
            plane: vec![0; placement.len()],
            pushed: 0,
            slices: part.size[2],
            outside: part.outside(size[map.slice.axis], map),
        })
    }

    /// What messages and reports call the labels.
    #[must_use]
    pub fn name(&self) -> &Path {
        self.writer.name()
    }

    /// Takes the labels of the next slice (row after row, in the model's orientation), in the order
    /// of the source.
    ///
    /// # Errors
    /// [`OutputError::Write`], [`OutputError::Spool`]
    ///
    /// # Panics
    /// When `labels` has not the source's width × height.
    pub fn push(&mut self, labels: &[u8]) -> Result<(), OutputError> {
        assert_eq!(labels.len(), self.placement.len(), "label slice length");
        if self.pushed == 0 {
            self.write_slices(self.outside[0])?;
        }
        self.pushed += 1;
        // A writer is promised as many planes as the grid has: those too many are told by `stage`.
        if self.pushed > self.slices {
            return Ok(());
        }
        self.placement.store_labels(labels, &mut self.plane);
        self.write_slices(1)
    }

    /// Writes the slice in `plane` so many times.
    fn write_slices(&mut self, times: usize) -> Result<(), OutputError> {
        (0..times).try_for_each(|_| match &mut self.spool {
            Some(spool) => Ok(spool.write_record(&self.plane)?),
            None => self.writer.write(&self.plane),
        })
    }

    /// Completes the labels and gives a file its name; where one has it, it is replaced with
    /// `overwrite`.
    ///
    /// # Errors
    /// [`OutputError::Incomplete`] unless every slice was pushed once, [`OutputError::Write`],
    /// [`OutputError::Spool`], [`OutputError::Exists`] when another process made the file meanwhile
    pub fn finish(self, overwrite: bool) -> Result<(), OutputError> {
        publish(self.stage()?, overwrite)
    }

    /// Completes the labels, but leaves the naming of files to the caller: see [`publish`].
    ///
    /// # Errors
    /// As [`LabelSink::finish`].
    pub fn stage(mut self) -> Result<Vec<Staged>, OutputError> {
        if self.pushed != self.slices {
            let (path, pushed, slices) = (self.name().to_owned(), self.pushed, self.slices);
            return Err(OutputError::Incomplete { path, pushed, slices });
        }
        self.plane.fill(0);
        self.write_slices(self.outside[1])?;
        if let Some(mut spool) = self.spool.take() {
            spool.drain(|plane| self.writer.write(plane))?;
        }
        self.writer.finish()
    }
}

/// Gives complete files their names: all of them, the last one last, or none. Existing ones are
/// replaced with `overwrite`.
///
/// # Errors
/// [`OutputError::Exists`], [`OutputError::Write`]
pub fn publish(files: Vec<Staged>, overwrite: bool) -> Result<(), OutputError> {
    if files.is_empty() {
        return Ok(());
    }
    atomic::commit(files, overwrite).map_err(|CommitError { path, source }| match source.kind() {
        io::ErrorKind::AlreadyExists if !overwrite => OutputError::Exists { path },
        _ => OutputError::Write { path, source },
    })
}
