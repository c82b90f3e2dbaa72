//! The spool: one unlinked temporary file in which slices wait when the file's order is not the
//! model's.
//!
//! It holds records, one for each slice along the model's slice axis; a record has a run for each
//! channel and file plane. Planes come and go in blocks of at most [`BLOCK_BYTES`], so that memory
//! is bounded and disk accesses are long.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::SpoolError;
use super::geometry::AxisMap;

/// Most memory that a block of file planes takes (one plane, where that is larger).
pub(super) const BLOCK_BYTES: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    folder: PathBuf,
    layout: Layout,
    block: Vec<u8>,
    run: Vec<u8>,
}

/// How records lie in the spool and in file planes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Size of the file's planes and their number.
    size: [usize; 3],
    channels: usize,
    /// Bytes of a voxel.
    voxel: usize,
    /// File axis along which records follow one another.
    axis: usize,
}

impl Layout {
    pub(super) fn new(size: [usize; 3], channels: usize, voxel: usize, map: AxisMap) -> Self {
        Self { size, channels, voxel, axis: map.slice.axis }
    }

    fn plane_bytes(&self) -> usize {
        self.size[0] * self.size[1] * self.voxel
    }

    /// Bytes that one file plane gives to one record.
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

    /// Planes handled at once.
    fn block_planes(&self) -> usize {
        if self.axis == 2 { 1 } else { (BLOCK_BYTES / self.plane_bytes()).clamp(1, self.size[2]) }
    }

    /// Where in the spool the runs of planes from `plane` on of one channel and record start.
    fn offset(&self, record: usize, channel: usize, plane: usize) -> u64 {
        let within = if self.axis == 2 { channel } else { channel * self.size[2] + plane };
        record as u64 * self.record_bytes() as u64 + within as u64 * self.run_bytes() as u64
    }

    /// Records touched by a block that starts at `plane`.
    fn records(&self, plane: usize) -> std::ops::Range<usize> {
        if self.axis == 2 { plane..plane + 1 } else { 0..self.size[self.axis] }
    }

    /// Copies between a block of planes and the runs of one record:
    /// `copy(position in block, position in run, length)`.
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

    /// Takes in the whole file: `read` fills the next plane in the file's order (all of a
    /// channel's, then the next channel's).
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

    /// Passes over records that are not wanted.
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
