//! A volume in the caller's memory: voxels from a buffer, labels into one.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::error::{OutputError, VolumeError};
use super::grid::{Grid, Scaling};
use super::planes::{LabelWriter, PlaneReader};
use crate::atomic::Staged;

/// Reads a volume from a buffer, borrowed or owned.
#[derive(Debug)]
pub struct BufferReader<'a> {
    grid: Grid,
    voxels: Cow<'a, [u8]>,
    /// One for all planes, or one for each.
    scalings: Vec<Scaling>,
    next: usize,
}

impl<'a> BufferReader<'a> {
    /// A volume of stored voxels, [`Grid::planes`] × [`Grid::plane_bytes`] bytes in the grid's
    /// order, whose values are intensities.
    ///
    /// # Errors
    /// [`VolumeError::Grid`] where the buffer has another length.
    pub fn new(grid: Grid, voxels: impl Into<Cow<'a, [u8]>>) -> Result<Self, VolumeError> {
        let voxels = voxels.into();
        let bytes = grid.planes() * grid.plane_bytes();
        if voxels.len() != bytes {
            let expected = format!("{bytes}, as the grid says");
            return Err(grid.refused("bytes of voxels", voxels.len().to_string(), expected));
        }
        Ok(Self { grid, voxels, scalings: vec![Scaling::NONE], next: 0 })
    }

    /// The same volume with scaled values: one scaling for all planes, or one for each, in the
    /// order of the planes.
    ///
    /// # Errors
    /// [`VolumeError::Grid`] where there is neither one scaling nor one a plane, or one is not
    /// finite.
    pub fn scaled(self, scalings: Vec<Scaling>) -> Result<Self, VolumeError> {
        let planes = self.grid.planes();
        if scalings.len() != 1 && scalings.len() != planes {
            let expected = format!("1 or {planes}");
            return Err(self.grid.refused("scalings", scalings.len().to_string(), expected));
        }
        let finite = |s: &Scaling| s.slope.is_finite() && s.intercept.is_finite();
        match scalings.iter().find(|scaling| !finite(scaling)) {
            Some(odd) => {
                Err(self.grid.refused("scaling", format!("{odd:?}"), "finite numbers".into()))
            }
            None => Ok(Self { scalings, ..self }),
        }
    }
}

impl PlaneReader for BufferReader<'_> {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn read(&mut self, plane: &mut [u8]) -> Result<Scaling, VolumeError> {
        plane.copy_from_slice(&self.voxels[self.next * plane.len()..][..plane.len()]);
        let scaling = self.scalings.get(self.next).unwrap_or(&self.scalings[0]);
        self.next += 1;
        Ok(*scaling)
    }

    fn restart(&mut self) -> Result<(), VolumeError> {
        self.next = 0;
        Ok(())
    }
}

/// Writes labels into the caller's buffer. Dropped unfinished, it clears the buffer, so that half a
/// result is never taken for a whole one.
#[derive(Debug)]
pub struct LabelBuffer<'a> {
    name: PathBuf,
    labels: &'a mut [u8],
    written: usize,
    finished: bool,
}

impl<'a> LabelBuffer<'a> {
    /// Labels of a grid, one byte a voxel. `name` stands for them in messages and reports.
    ///
    /// # Errors
    /// [`OutputError::Buffer`] where the buffer has another length.
    pub fn new(
        name: impl Into<PathBuf>,
        grid: &Grid,
        labels: &'a mut [u8],
    ) -> Result<Self, OutputError> {
        let (name, found) = (name.into(), labels.len());
        let expected = grid.plane_voxels() * grid.size()[2];
        if found != expected {
            return Err(OutputError::Buffer { path: name, found, expected });
        }
        Ok(Self { name, labels, written: 0, finished: false })
    }
}

impl LabelWriter for LabelBuffer<'_> {
    fn name(&self) -> &Path {
        &self.name
    }

    fn write(&mut self, plane: &[u8]) -> Result<(), OutputError> {
        self.labels[self.written..][..plane.len()].copy_from_slice(plane);
        self.written += plane.len();
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Staged>, OutputError> {
        self.finished = true;
        Ok(Vec::new())
    }
}

impl Drop for LabelBuffer<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.labels.fill(0);
        }
    }
}
