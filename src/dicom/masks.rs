//! Reads segmentations, label maps and structure sets as label volumes, for comparisons.
//!
//! - A segmentation leaves out slices without labels, and a structure set has no slices at all.
//!   Both are therefore laid onto the grid of what they are compared with.
//! - Values are the segments' numbers, or the places of the regions in their list, from 1.

use std::io::Read;
use std::path::Path;

use monet_dicom::Dataset;
use monet_dicom::objects::masks::{Contours, Frames, MaskError, Plane, keep};
use monet_dicom::read::{self, Instance, PixelPlace};

use crate::volume::{
    Affine, AxisMap, ByteOrder, FileAxis, Geometry, Grid, PlaneReader, Scaling, VolumeError,
    VolumeWarning, VoxelType,
};

/// Most voxels of a mask's grid; a plane without labels takes no memory.
const MAX_VOXELS: usize = 1 << 30;
/// Slices whose heights differ by less, in millimetres, are the same.
const SAME_PLACE: f64 = 0.01;

/// A mask in memory, plane by plane.
#[derive(Debug)]
pub(crate) struct MaskReader {
    grid: Grid,
    /// `None` without labels.
    planes: Vec<Option<Vec<u8>>>,
    next: usize,
}

impl MaskReader {
    /// Reads the mask in a file, if the file is DICOM; onto another grid where one is known. A
    /// structure set needs one: without it there is `None`, too.
    ///
    /// # Errors
    /// [`VolumeError::Data`], [`VolumeError::Grid`]
    pub(crate) fn open(path: &Path, onto: Option<&Geometry>) -> Result<Option<Self>, VolumeError> {
        let failed =
            |found: String| VolumeError::Data { path: path.to_owned(), slice: 0, slices: 0, found };
        let mut instance = read::open(path, &keep()).map_err(|e| failed(e.to_string()))?;
        let set = std::mem::take(&mut instance.header.data);
        match Contours::new(&set) {
            Ok(contours) => {
                let onto = onto.map(|onto| regions(path, &contours, onto));
                onto.transpose().map_err(|e| failed(e.to_string()))
            }
            Err(MaskError::Class { .. }) => {
                frames(path, &set, instance, onto).map(Some).map_err(|e| failed(e.to_string()))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }
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

/// A segmentation's mask.
fn frames(
    path: &Path,
    set: &Dataset,
    mut instance: Instance,
    onto: Option<&Geometry>,
) -> Result<MaskReader, Failure> {
    let Some(pixels) = instance.header.pixels else { return Err("it has no pixels".into()) };
    let PixelPlace::Native { offset, length } = pixels.place else {
        return Err("its frames are compressed: decompress it, with `gdcmconv --raw IN OUT`".into());
    };
    let frames = Frames::new(set, false)?;
    let planes: Option<Vec<Plane>> = frames.slices.iter().map(|slice| slice.plane).collect();
    let planes = planes.filter(|planes| !planes.is_empty());
    let planes = planes.ok_or("its frames have no positions")?;
    let (geometry, places) = stack(&planes, frames.size, onto)?;
    let mut reader = empty(path, geometry)?;
    let mut labels = vec![0; reader.grid.plane_voxels()];
    let mut overlaps = 0;
    for (slice, place) in places.into_iter().enumerate() {
        let bytes = |span: monet_dicom::objects::masks::Span, out: &mut Vec<u8>| {
            if span.start + span.length as u64 > u64::from(length) {
                return Err(Failure::from("its pixels end early"));
            }
            instance.source.seek_to(offset + span.start)?;
            (&mut instance.source).take(span.length as u64).read_to_end(out)?;
            Ok(())
        };
        overlaps += frames.plane::<Failure>(slice, bytes, &mut labels)?;
        reader.put(place, &labels);
    }
    reader.tell(overlaps);
    Ok(reader)
}

/// A structure set's mask. Contours lie in planes across one of the grid's axes: the one across
/// which most of them find a slice.
fn regions(path: &Path, contours: &Contours, onto: &Geometry) -> Result<MaskReader, Failure> {
    let mut best = None;
    for turn in [[0, 1, 2], [1, 2, 0], [0, 2, 1]] {
        let map = AxisMap::of(turn.map(|axis| FileAxis { axis, reversed: false }));
        let geometry = onto.oriented(map);
        let [width, height, slices] = geometry.size;
        let planes = (0..slices).map(|slice| plane(&geometry, slice)).collect();
        let laid = contours.onto([height as u16, width as u16], planes)?;
        if best.as_ref().is_none_or(|(_, other): &(Geometry, _)| {
            let other: &monet_dicom::objects::masks::Regions = other;
            laid.left_out < other.left_out
        }) {
            best = Some((geometry, laid));
        }
    }
    let Some((geometry, laid)) = best else { return Err("no grid".into()) };
    let mut reader = empty(path, geometry)?;
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

fn empty(path: &Path, geometry: Geometry) -> Result<MaskReader, Failure> {
    let voxels = geometry.size.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    if voxels.is_none_or(|voxels| voxels > MAX_VOXELS) {
        return Err(format!("its grid has {:?} voxels, too many", geometry.size).into());
    }
    let grid = Grid::new(path, geometry, VoxelType::U8, ByteOrder::Little)?;
    let planes = (0..geometry.size[2]).map(|_| None).collect();
    Ok(MaskReader { grid, planes, next: 0 })
}

impl MaskReader {
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

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// A slice of a grid in the patient's space (LPS).
fn plane(geometry: &Geometry, slice: usize) -> Plane {
    let lps = |[x, y, z]: [f64; 3]| [-x, -y, z];
    let rows = &geometry.affine.0;
    let direction = |axis: usize| lps([0, 1, 2].map(|k| rows[k][axis] / geometry.spacing[axis]));
    let ([a, b, c], [d, e, f]) = (direction(0), direction(1));
    Plane {
        position: lps(geometry.affine.apply([0.0, 0.0, slice as f64])),
        orientation: [a, b, c, d, e, f],
        spacing: [geometry.spacing[1], geometry.spacing[0]],
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
        let [x, y, z] = normal;
        let ras = [-x, -y, z];
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
    let [a, b, c, d, e, f] = first.orientation;
    let ([row, column], [between_rows, between_columns]) = ([[a, b, c], [d, e, f]], first.spacing);
    let affine = [0, 1, 2].map(|k| {
        let sign = if k < 2 { -1.0 } else { 1.0 };
        let origin = first.position[k] - before * step * normal[k];
        let [x, y] = [row[k] * between_columns, column[k] * between_rows];
        [sign * x, sign * y, sign * normal[k] * step, sign * origin]
    });
    let size = [usize::from(columns), usize::from(rows), count];
    Ok((Geometry::new(size, Affine(affine)), places))
}
