//! A volume in a buffer of Python's: a numpy array, as bytes.

use std::path::Path;

use monet::volume::{
    Affine, ByteOrder, Geometry, Grid, NiftiHeader, PlaneReader, Scaling, VolumeError, VoxelType,
};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PySlice};

use crate::errors;

/// What messages call a volume in memory.
const NAME: &str = "array";

/// Reads planes of a buffer. Each plane is copied while the interpreter is held, so that nobody
/// changes the array meanwhile; the net runs without it.
pub(crate) struct ArrayReader {
    grid: Grid,
    voxels: Py<PyMemoryView>,
    next: usize,
}

/// What an array is: numpy's name of its type, its sizes with the fastest axis first and channels
/// last, and where its voxels lie: rows of the affine, in millimetres to the right, anterior and
/// superior. Of a NIfTI image also its header, for what is odd about it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Description {
    dtype: String,
    size: [usize; 3],
    channels: usize,
    affine: [[f64; 4]; 3],
    nifti: Option<Vec<u8>>,
}

impl ArrayReader {
    /// A volume in a view of bytes, one after another.
    pub(crate) fn new(voxels: &Bound<'_, PyMemoryView>, about: &Description) -> PyResult<Self> {
        let (voxel_type, order) = voxel_type(&about.dtype)?;
        let geometry = Geometry::new(about.size, Affine(about.affine));
        let mut grid = Grid::new(NAME, geometry, voxel_type, order)
            .and_then(|grid| grid.with_channels(about.channels))
            .map_err(|error| errors::volume(&error))?;
        if let Some(bytes) = &about.nifti {
            let odd = header(bytes)?.grid;
            odd.warnings().iter().for_each(|warning| grid.warn(warning.clone()));
        }
        let expected = grid.planes() * grid.plane_bytes();
        let found = voxels.len()?;
        if found != expected {
            return Err(PyValueError::new_err(format!(
                "the array has {found} bytes, expected {expected}"
            )));
        }
        Ok(Self { grid, voxels: voxels.clone().unbind(), next: 0 })
    }

    fn copy(&self, py: Python<'_>, plane: &mut [u8]) -> PyResult<()> {
        let [first, after] = [self.next, self.next + 1].map(|n| n * plane.len());
        // `PySlice::new` of PyO3 0.30 never gives its numbers back.
        let range = py.get_type::<PySlice>().call1((first, after))?;
        PyBuffer::get(&self.voxels.bind(py).get_item(range)?)?.copy_to_slice(py, plane)
    }
}

impl PlaneReader for ArrayReader {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn read(&mut self, plane: &mut [u8]) -> Result<Scaling, VolumeError> {
        let copied = Python::attach(|py| self.copy(py, plane));
        copied.map_err(|error| VolumeError::Data {
            path: self.grid.name().to_owned(),
            slice: self.next,
            slices: self.grid.planes(),
            found: error.to_string(),
        })?;
        self.next += 1;
        Ok(Scaling::NONE)
    }

    fn restart(&mut self) -> Result<(), VolumeError> {
        self.next = 0;
        Ok(())
    }
}

/// Where the header of a NIfTI image places its voxels: rows of the affine, in millimetres whatever
/// the header's unit is.
#[pyfunction]
pub(crate) fn nifti_affine(bytes: &[u8]) -> PyResult<[[f64; 4]; 3]> {
    header(bytes).map(|header| header.grid.geometry().affine.0)
}

fn header(bytes: &[u8]) -> PyResult<NiftiHeader> {
    NiftiHeader::of(Path::new(NAME), bytes).map_err(|error| errors::volume(&error))
}

/// The type that numpy calls so: byte order, kind, bytes.
fn voxel_type(dtype: &str) -> PyResult<(VoxelType, ByteOrder)> {
    let (order, name) = match dtype.split_at_checked(1) {
        Some(("<", name)) => (ByteOrder::Little, name),
        Some((">", name)) => (ByteOrder::Big, name),
        Some(("|", name)) => (ByteOrder::NATIVE, name),
        _ => (ByteOrder::NATIVE, dtype),
    };
    let voxel = match name {
        "u1" | "b1" => VoxelType::U8,
        "i1" => VoxelType::I8,
        "i2" => VoxelType::I16,
        "u2" => VoxelType::U16,
        "i4" => VoxelType::I32,
        "u4" => VoxelType::U32,
        "i8" => VoxelType::I64,
        "u8" => VoxelType::U64,
        "f4" => VoxelType::F32,
        "f8" => VoxelType::F64,
        _ => {
            return Err(PyTypeError::new_err(format!(
                "an array of {dtype}: expected whole or floating-point numbers of 8 to 64 bits"
            )));
        }
    };
    Ok((voxel, order))
}
