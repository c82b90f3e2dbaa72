//! The spool: one unlinked temporary file that turns stored planes into slices along another axis,
//! and such slices back into planes.
//!
//! - The spool holds a record for each slice.
//! - A record holds a run for each channel and plane: the voxels that the plane has in common with
//!   the slice. Where planes are slices, a run is a whole plane.
//! - Planes go through memory in blocks of at most [`BLOCK_BYTES`], so that memory is bounded, and
//!   the runs that a block gives to a record are written at once.
//!
//! ```text
//! planes    p0  p1  p2  …          a plane holds a row or column of every slice
//! record 0  [p0∩s0][p1∩s0][p2∩s0] …
//! record 1  [p0∩s1][p1∩s1][p2∩s1] …
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::SpoolError;
use super::geometry::AxisMap;

/// Most memory that a block of planes takes, but for a single plane that is larger.
pub(super) const BLOCK_BYTES: usize = 4 << 20;

/// A spool on disk; the module says how it works.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    folder: PathBuf,
    layout: Layout,
    block: Vec<u8>,
    run: Vec<u8>,
}

/// Where the voxels of records lie, in the spool and in the planes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Width and height of the planes, and their number.
    size: [usize; 3],
    channels: usize,
    /// Bytes of a voxel.
    voxel: usize,
    /// The stored axis along which slices, and so records, follow one another.
    axis: usize,
}

impl Layout {
    pub(super) fn new(size: [usize; 3], channels: usize, voxel: usize, map: AxisMap) -> Self {
        Self { size, channels, voxel, axis: map.slice.axis }
    }

    fn plane_bytes(&self) -> usize {
        self.size[0] * self.size[1] * self.voxel
    }

    /// Bytes of a run: what one plane gives to one record.
    fn run_bytes(&self) -> usize {
        match self.axis {
            0 => self.size[1] * self.voxel,
            1 => self.size[0] * self.voxel,
            _ => self.plane_bytes(),
        }
    }

    /// Bytes of a record: all channels.
    pub(super) fn record_bytes(&self) -> usize {
        let planes = if self.axis == 2 { 1 } else { self.size[2] };
        self.channels * planes * self.run_bytes()
    }

    /// Planes of a block.
    fn block_planes(&self) -> usize {
        if self.axis == 2 { 1 } else { (BLOCK_BYTES / self.plane_bytes()).clamp(1, self.size[2]) }
    }

    /// Where in the spool the run starts that `plane` of a channel gives to a record. The runs of
    /// the next planes follow it.
    fn offset(&self, record: usize, channel: usize, plane: usize) -> u64 {
        let within = if self.axis == 2 { channel } else { channel * self.size[2] + plane };
        record as u64 * self.record_bytes() as u64 + within as u64 * self.run_bytes() as u64
    }

    /// The records to which a block that starts at `plane` gives runs.
    fn records(&self, plane: usize) -> std::ops::Range<usize> {
        if self.axis == 2 { plane..plane + 1 } else { 0..self.size[self.axis] }
    }

    /// Calls `copy(position in block, position in runs, length)` for each stretch of bytes that a
    /// block of planes and the runs of one record have in common.
    fn each_piece(&self, record: usize, planes: usize, mut copy: impl FnMut(usize, usize, usize)) {
        let (plane, run, row) = (self.plane_bytes(), self.run_bytes(), self.size[0] * self.voxel);
        for p in 0..planes {
            match self.axis {
                0 => (0..self.size[1]).for_each(|y| {
                    copy(
                        p * plane + y * row + record * self.voxel,
                        p * run + y * self.voxel,
                        self.voxel,
                    );
                }),
                1 => copy(p * plane + record * row, p * run, run),
                _ => copy(p * plane, p * run, run),
            }
        }
    }
}

impl Spool {
    /// An empty spool in `folder`, or in the system's temporary folder.
    pub(super) fn create(folder: Option<&Path>, layout: Layout) -> Result<Self, SpoolError> {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        let file = tempfile::tempfile_in(&folder)
            .map_err(|source| SpoolError { path: folder.clone(), source })?;
        let planes = layout.block_planes();
        let block = vec![0; planes * layout.plane_bytes()];
        let run = vec![0; planes * layout.run_bytes()];
        Ok(Self { file, folder, layout, block, run })
    }

    fn failed(&self, source: io::Error) -> SpoolError {
        SpoolError { path: self.folder.clone(), source }
    }

    /// Takes in the whole volume: `read` fills the next plane in the stored order, all of one
    /// channel and then those of the next.
    pub(super) fn fill<E: From<SpoolError>>(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let layout = self.layout;
        for channel in 0..layout.channels {
            for first in (0..layout.size[2]).step_by(layout.block_planes()) {
                let planes = layout.block_planes().min(layout.size[2] - first);
                for plane in self.block.chunks_exact_mut(layout.plane_bytes()).take(planes) {
                    read(plane)?;
                }
                for record in layout.records(first) {
                    let (block, run) = (&self.block, &mut self.run[..planes * layout.run_bytes()]);
                    let from = if layout.axis == 2 { 0 } else { record };
                    layout.each_piece(from, planes, |b, r, n| {
                        run[r..r + n].copy_from_slice(&block[b..b + n])
                    });
                    let written = self
                        .file
                        .seek(SeekFrom::Start(layout.offset(record, channel, first)))
                        .and_then(|_| self.file.write_all(run));
                    written.map_err(|e| self.failed(e))?;
                }
            }
        }
        Ok(self.rewind()?)
    }

    /// Back to the first record.
    pub(super) fn rewind(&mut self) -> Result<(), SpoolError> {
        self.file.rewind().map_err(|e| self.failed(e))
    }

    /// Skips records that are not wanted.
    pub(super) fn skip(&mut self, records: usize) -> Result<(), SpoolError> {
        let bytes = records as i64 * self.layout.record_bytes() as i64;
        self.file.seek_relative(bytes).map_err(|e| self.failed(e))
    }

    /// Reads the next record.
    pub(super) fn read_record(&mut self, record: &mut [u8]) -> Result<(), SpoolError> {
        self.file.read_exact(record).map_err(|e| self.failed(e))
    }

    /// Appends the next record.
    pub(super) fn write_record(&mut self, record: &[u8]) -> Result<(), SpoolError> {
        self.file.write_all(record).map_err(|e| self.failed(e))
    }

    /// Gives the whole content back plane by plane, in the stored order.
    pub(super) fn drain<E: From<SpoolError>>(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let layout = self.layout;
        for channel in 0..layout.channels {
            for first in (0..layout.size[2]).step_by(layout.block_planes()) {
                let planes = layout.block_planes().min(layout.size[2] - first);
                for record in layout.records(first) {
                    let (block, run) =
                        (&mut self.block, &mut self.run[..planes * layout.run_bytes()]);
                    let read = self
                        .file
                        .seek(SeekFrom::Start(layout.offset(record, channel, first)))
                        .and_then(|_| self.file.read_exact(run));
                    let from = if layout.axis == 2 { 0 } else { record };
                    layout.each_piece(from, planes, |b, r, n| {
                        block[b..b + n].copy_from_slice(&run[r..r + n])
                    });
                    read.map_err(|e| self.failed(e))?;
                }
                let mut whole = self.block.chunks_exact(layout.plane_bytes()).take(planes);
                whole.try_for_each(&mut write)?;
            }
        }
        Ok(())
    }
}
