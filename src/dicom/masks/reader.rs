//! A mask in memory, plane by plane.

use std::path::Path;

use super::Failure;
use super::layout::{Apart, Layout};
use crate::volume::{ByteOrder, Grid, PlaneReader, Scaling, VolumeError, VolumeWarning, VoxelType};

/// Most voxels of a mask's grid; a plane without labels takes no memory.
const MAX_VOXELS: usize = 1 << 30;

/// A mask's labels on a layout.
#[derive(Debug)]
pub(crate) struct MaskReader {
    grid: Grid,
    /// `None` without labels.
    planes: Vec<Option<Vec<u8>>>,
    next: usize,
    /// Voxels that have several labels.
    pub(super) overlaps: u64,
    /// Frames with labels off the grid, and how far off, in millimetres.
    beyond: (usize, f64),
}

impl MaskReader {
    /// Without labels.
    ///
    /// # Errors
    /// [`VolumeError::Grid`]
    pub(super) fn new(path: &Path, layout: &Layout) -> Result<Self, VolumeError> {
        let geometry = *layout.geometry();
        let voxels = geometry.size.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        if voxels.is_none_or(|voxels| voxels > MAX_VOXELS) {
            return Err(VolumeError::Grid {
                name: path.to_owned(),
                field: "size",
                found: format!("{:?}", geometry.size),
                expected: format!("at most {MAX_VOXELS} voxels"),
            });
        }
        let mut grid = Grid::new(path, geometry, VoxelType::U8, ByteOrder::Little)?;
        if !layout.places().is_empty() {
            grid = grid.with_places(layout.places().to_vec())?;
        }
        let planes = (0..geometry.size[2]).map(|_| None).collect();
        Ok(Self { grid, planes, next: 0, overlaps: 0, beyond: (0, 0.0) })
    }

    /// Takes a frame's labels, the first of which has this index. Labels off the grid are noted.
    pub(super) fn put(
        &mut self,
        layout: &Layout,
        first: [i64; 3],
        [rows, columns]: [u16; 2],
        labels: &[u8],
    ) {
        let [width, height, slices] = self.grid.size().map(|n| n as i64);
        let inside = |at: i64, end: i64| (0..end).contains(&at);
        let mut farthest: f64 = -1.0;
        let plane_voxels = self.grid.plane_voxels();
        for (i, label) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
            let (row, column) = (i / usize::from(columns), i % usize::from(columns));
            let [x, y, z] = [first[0] + column as i64, first[1] + row as i64, first[2]];
            if inside(x, width) && inside(y, height) && inside(z, slices) {
                let plane = &mut self.planes[z as usize];
                let plane = plane.get_or_insert_with(|| vec![0; plane_voxels]);
                let voxel = &mut plane[(y * width + x) as usize];
                self.overlaps += u64::from(*voxel > 0 && voxel != label);
                *voxel = (*voxel).max(*label);
            } else {
                let off = |at: i64, end: i64| (at - at.clamp(0, end - 1)) as f64;
                let step = [off(x, width), off(y, height), off(z, slices)];
                farthest = farthest.max(layout.length(step));
            }
        }
        debug_assert_eq!(labels.len(), usize::from(rows) * usize::from(columns));
        if farthest > 0.0 {
            self.beyond = (self.beyond.0 + 1, self.beyond.1.max(farthest));
        }
    }

    /// Notes how many contours lie on no slice.
    pub(super) fn left_out(&mut self, contours: usize) {
        if contours > 0 {
            let text = format!("{contours} contours lie on no slice and are left out");
            self.grid.warn(VolumeWarning::Mask(text));
        }
    }

    /// The mask of so many slices.
    ///
    /// # Errors
    /// [`Apart::Beyond`]
    pub(super) fn finish(mut self, all: usize) -> Result<Self, Failure> {
        let (frames, mm) = self.beyond;
        if frames > 0 {
            return Err(Apart::Beyond { frames, all, mm }.into());
        }
        let overlaps = self.overlaps;
        if overlaps > 0 {
            let text = format!("{overlaps} voxels have several labels; the largest one counts");
            self.grid.warn(VolumeWarning::Mask(text));
        }
        Ok(self)
    }
}

impl PlaneReader for MaskReader {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn read(&mut self, plane: &mut [u8]) -> Result<Scaling, VolumeError> {
        match &self.planes[self.next] {
            Some(labels) => plane.copy_from_slice(labels),
            None => plane.fill(0),
        }
        self.next += 1;
        Ok(Scaling::NONE)
    }

    fn restart(&mut self) -> Result<(), VolumeError> {
        self.next = 0;
        Ok(())
    }
}
