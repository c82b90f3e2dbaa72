//! Reads segmentations, label maps and structure sets as label volumes, for comparisons.
//!
//! - A segmentation leaves out slices without labels, and a structure set has no slices at all.
//!   Both are therefore laid onto the grid of what they are compared with.
//! - Values are the segments' numbers, or the places of the regions in their list, from 1.

use std::io::Read;
use std::path::{Path, PathBuf};

use monet_dicom::Dataset;
use monet_dicom::objects::masks::{Contours, Frames, MaskError, Plane, Regions, Span, keep};
use monet_dicom::read::{self, Instance, PixelPlace};
use monet_dicom::vector::{dot, minus, times};

use super::space::{self, turned};
use crate::volume::{
    AxisMap, ByteOrder, FileAxis, Geometry, Grid, PlaneReader, Scaling, VolumeError, VolumeWarning,
    VoxelType,
};

/// Most voxels of a mask's grid; a plane without labels takes no memory.
const MAX_VOXELS: usize = 1 << 30;
/// Slices whose heights differ by less, in millimetres, are the same.
const SAME_PLACE: f64 = 0.01;

/// A mask in a file, of which no label was read.
#[derive(Debug)]
pub(crate) struct Mask {
    path: PathBuf,
    /// The file's data set.
    set: Dataset,
    instance: Instance,
    /// A segmentation's frames and the planes of its slices; `None` of a structure set.
    frames: Option<(Frames, Vec<Plane>)>,
}

/// A mask in memory, plane by plane.
#[derive(Debug)]
pub(crate) struct MaskReader {
    grid: Grid,
    /// `None` without labels.
    planes: Vec<Option<Vec<u8>>>,
    next: usize,
}

impl Mask {
    /// Reads a file's header.
    ///
    /// # Errors
    /// [`VolumeError::Data`]
    pub(crate) fn open(path: &Path) -> Result<Self, VolumeError> {
        let mut instance = read::open(path, &keep()).map_err(|e| failed(path, e.into()))?;
        let set = std::mem::take(&mut instance.header.data);
        let frames = match Contours::new(&set) {
            Ok(_) => Ok(None),
            Err(MaskError::Class { .. }) => frames(&set).map(Some),
            Err(error) => Err(error.into()),
        };
        let frames = frames.map_err(|e| failed(path, e))?;
        Ok(Self { path: path.to_owned(), set, instance, frames })
    }

    /// Its own grid; a structure set has none.
    ///
    /// # Errors
    /// [`VolumeError::Data`] where its slices make no grid.
    pub(crate) fn geometry(&self) -> Result<Option<Geometry>, VolumeError> {
        let own = |(frames, planes): &(Frames, Vec<Plane>)| stack(planes, frames.size, None);
        let own = self.frames.as_ref().map(own).transpose();
        Ok(own.map_err(|e| failed(&self.path, e))?.map(|(geometry, _)| geometry))
    }

    /// Reads its labels onto another grid: on its own slices as far as the other reaches, or of a
    /// structure set on the other's slices.
    ///
    /// # Errors
    /// [`VolumeError::Data`]
    pub(crate) fn read(mut self, onto: &Geometry) -> Result<MaskReader, VolumeError> {
        let read = match self.frames.take() {
            Some((frames, planes)) => self.segments(&frames, &planes, onto),
            None => regions(&self.path, &self.set, onto),
        };
        read.map_err(|e| failed(&self.path, e))
    }

    fn segments(
        &mut self,
        frames: &Frames,
        planes: &[Plane],
        onto: &Geometry,
    ) -> Result<MaskReader, Failure> {
        let header = &self.instance.header;
        let Some(pixels) = header.pixels else { return Err("it has no pixels".into()) };
        let PixelPlace::Native { offset, length } = pixels.place else {
            return Err(
                "its frames are compressed: decompress it, with `gdcmconv --raw IN OUT`".into()
            );
        };
        let (geometry, places) = stack(planes, frames.size, Some(onto))?;
        let mut reader = MaskReader::empty(&self.path, geometry)?;
        let mut labels = vec![0; reader.grid.plane_voxels()];
        let mut overlaps = 0;
        let source = &mut self.instance.source;
        for (slice, place) in places.into_iter().enumerate() {
            let bytes = |span: Span, out: &mut Vec<u8>| {
                if span.start + span.length as u64 > u64::from(length) {
                    return Err(Failure::from("its pixels end early"));
                }
                source.seek_to(offset + span.start)?;
                source.take(span.length as u64).read_to_end(out)?;
                Ok(())
            };
            overlaps += frames.plane::<Failure>(slice, bytes, &mut labels)?;
            reader.put(place, &labels);
        }
        reader.tell(overlaps);
        Ok(reader)
    }
}

fn failed(path: &Path, error: Failure) -> VolumeError {
    let (path, found) = (path.to_owned(), error.to_string());
    VolumeError::Data { path, slice: 0, slices: 0, found }
}

/// Whether a file is to be read as a mask in DICOM.
pub(crate) fn is_mask(path: &Path) -> bool {
    path.is_file() && monet_dicom::series::is_dicom(path)
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

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A segmentation's frames, and the planes of its slices.
fn frames(set: &Dataset) -> Result<(Frames, Vec<Plane>), Failure> {
    let frames = Frames::new(set, false)?;
    let planes: Option<Vec<Plane>> = frames.slices.iter().map(|slice| slice.plane).collect();
    let planes = planes.filter(|planes| !planes.is_empty());
    Ok((frames, planes.ok_or("its frames have no positions")?))
}

/// A structure set's mask. Contours lie in planes across one of the grid's axes: the one across
/// which most of them find a slice.
fn regions(path: &Path, set: &Dataset, onto: &Geometry) -> Result<MaskReader, Failure> {
    let contours = Contours::new(set)?;
    let mut best: Option<(Geometry, Regions)> = None;
    for turn in [[0, 1, 2], [1, 2, 0], [0, 2, 1]] {
        let map = AxisMap::of(turn.map(|axis| FileAxis { axis, reversed: false }));
        let geometry = onto.oriented(map);
        let [width, height, slices] = geometry.size;
        let planes = (0..slices).map(|slice| space::plane(&geometry, slice)).collect();
        let laid = contours.onto([height as u16, width as u16], planes)?;
        if best.as_ref().is_none_or(|(_, other)| laid.left_out < other.left_out) {
            best = Some((geometry, laid));
        }
    }
    let Some((geometry, laid)) = best else { return Err("no grid".into()) };
    let mut reader = MaskReader::empty(path, geometry)?;
    let mut labels = vec![0; reader.grid.plane_voxels()];
    let mut overlaps = 0;
    for slice in 0..geometry.size[2] {
        overlaps += laid.plane(slice, &mut labels)?;
        reader.put(slice, &labels);
    }
    reader.tell(overlaps);
    if laid.left_out > 0 {
        let text = format!("{} contours lie on no slice and are left out", laid.left_out);
        reader.grid.warn(VolumeWarning::Mask(text));
    }
    Ok(reader)
}

impl MaskReader {
    /// On a grid, without labels.
    fn empty(path: &Path, geometry: Geometry) -> Result<Self, Failure> {
        let voxels = geometry.size.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        if voxels.is_none_or(|voxels| voxels > MAX_VOXELS) {
            return Err(format!("its grid has {:?} voxels, too many", geometry.size).into());
        }
        let grid = Grid::new(path, geometry, VoxelType::U8, ByteOrder::Little)?;
        let planes = (0..geometry.size[2]).map(|_| None).collect();
        Ok(Self { grid, planes, next: 0 })
    }

    fn put(&mut self, slice: usize, labels: &[u8]) {
        if labels.iter().any(|label| *label > 0) {
            self.planes[slice] = Some(labels.to_vec());
        }
    }

    fn tell(&mut self, overlaps: u64) {
        if overlaps > 0 {
            let text = format!("{overlaps} voxels have several labels; the largest one counts");
            self.grid.warn(VolumeWarning::Mask(text));
        }
    }
}

/// The grid of parallel slices, which reaches as far along their normal as another grid does, and
/// the place of each slice on it.
fn stack(
    planes: &[Plane],
    [rows, columns]: [u16; 2],
    onto: Option<&Geometry>,
) -> Result<(Geometry, Vec<usize>), Failure> {
    let first = planes[0];
    let normal = first.normal();
    let heights: Vec<f64> = planes.iter().map(|plane| dot(plane.position, normal)).collect();
    let own = heights.windows(2).map(|pair| pair[1] - pair[0]);
    let own = own.filter(|distance| *distance > SAME_PLACE).fold(f64::INFINITY, f64::min);
    let (mut least, mut most) = (heights[0], heights[heights.len() - 1]);
    let mut step = if own.is_finite() { own } else { 1.0 };
    if let Some(other) = onto {
        let ras = turned(normal);
        let rows = &other.affine.0;
        let along = |axis: usize| dot([rows[0][axis], rows[1][axis], rows[2][axis]], ras);
        let axis = [0, 1, 2].into_iter().max_by(|a, b| along(*a).abs().total_cmp(&along(*b).abs()));
        let axis = axis.unwrap_or(2);
        step = along(axis).abs();
        let mut last = [0.0; 3];
        last[axis] = other.size[axis] as f64 - 1.0;
        let ends = [[0.0; 3], last].map(|index| dot(other.affine.apply(index), ras));
        least = least.min(ends[0].min(ends[1]));
        most = most.max(ends[0].max(ends[1]));
    }
    if step <= SAME_PLACE {
        return Err("its slices lie across the other mask's".into());
    }
    let before = ((heights[0] - least) / step).round();
    let places: Vec<usize> =
        heights.iter().map(|h| ((h - heights[0]) / step + before).round() as usize).collect();
    let count = ((most - heights[0]) / step + before).round() as usize + 1;
    let off = |(height, place): (&f64, &usize)| {
        (heights[0] + (*place as f64 - before) * step - height).abs() > 0.1 * step
    };
    if heights.iter().zip(&places).any(off) {
        return Err(format!("its slices lie on no grid of {step:.3} mm").into());
    }
    let position = minus(first.position, times(normal, before * step));
    let size = [usize::from(rows), usize::from(columns)];
    Ok((space::grid(Plane { position, ..first }, size, times(normal, step), count), places))
}
