//! Reads a series plane by plane.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use monet_dicom::pixels::{Decode, FrameReader, PixelError};
use monet_dicom::read::Keep;
use monet_dicom::series::Place;
use monet_dicom::tags;

use super::Series;
use crate::volume::{Grid, PlaneReader, Scaling, VolumeError, VoxelType};

/// What of a header says how pixels are to be read.
const KEEP: Keep = Keep::all().only(&[
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC,
    tags::PLANAR_CONFIGURATION,
    tags::FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
]);

/// Reads the slices of a series in the order of their positions. Memory holds one frame, and its
/// compressed bytes.
pub struct DicomReader {
    series: Series,
    grid: Grid,
    decoder: Box<dyn Decode + Send>,
    /// What each image's file was when reading began.
    files: Vec<Fingerprint>,
    /// The image that is open, by its index in the scan.
    open: Option<(usize, FrameReader)>,
    samples: Vec<u8>,
    /// The least measured sample of the last slice that had one.
    background: Option<i64>,
    next: usize,
    interrupted: Option<Arc<AtomicBool>>,
}

/// What tells a file from one that took its place.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    path: PathBuf,
    seen: Option<(u64, Option<SystemTime>)>,
}

impl Fingerprint {
    fn new(path: PathBuf) -> Self {
        let metadata = fs::metadata(&path).ok();
        let seen = metadata.map(|metadata| (metadata.len(), metadata.modified().ok()));
        Self { path, seen }
    }

    fn check(&self) -> Result<(), VolumeError> {
        if Self::new(self.path.clone()) == *self {
            return Ok(());
        }
        Err(VolumeError::Changed { path: self.path.clone(), found: "the file changed" })
    }
}

impl DicomReader {
    /// Begins with the first slice. Compressed frames go through `decoder`; set from outside,
    /// `interrupted` ends reading.
    ///
    /// # Errors
    /// [`VolumeError::Grid`], [`VolumeError::Format`] where an image is compressed in a way that
    /// is not supported.
    pub fn new(
        series: &Series,
        decoder: Box<dyn Decode + Send>,
        interrupted: Option<Arc<AtomicBool>>,
    ) -> Result<Self, VolumeError> {
        let mut reader = Self {
            grid: series.grid()?,
            files: series.files().map(Fingerprint::new).collect(),
            series: series.clone(),
            decoder,
            open: None,
            samples: Vec::new(),
            background: None,
            next: 0,
            interrupted,
        };
        // What cannot be decoded is told before any work.
        reader.open = Some(reader.take(0)?);
        Ok(reader)
    }

    /// The image of a slice: the open one, or opened now.
    fn take(&mut self, slice: usize) -> Result<(usize, FrameReader), VolumeError> {
        let image = self.series.stack().members[slice].image;
        if let Some(open) = self.open.take().filter(|(open, _)| *open == image) {
            return Ok(open);
        }
        let (_, _, place) = self.series.slice(slice);
        let instance = place.open_checked(&KEEP);
        let instance = instance.map_err(|error| self.damaged(slice, error.to_string()))?;
        let frames = FrameReader::new(&instance.header, instance.source);
        Ok((image, frames.map_err(|error| self.undecoded(slice, &error))?))
    }

    fn damaged(&self, slice: usize, found: String) -> VolumeError {
        let (_, _, place) = self.series.slice(slice);
        VolumeError::Data { path: place.name(), slice, slices: self.series.slices(), found }
    }

    fn undecoded(&self, slice: usize, error: &PixelError) -> VolumeError {
        let (_, _, place) = self.series.slice(slice);
        match error.advice() {
            Some(advice) => VolumeError::Format {
                path: place.name(),
                expected: "pixels that are native or compressed by RLE, JPEG, JPEG-LS or JPEG 2000",
                found: error.to_string(),
                advice,
            },
            None => self.damaged(slice, error.to_string()),
        }
    }
}

impl PlaneReader for DicomReader {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn read(&mut self, plane: &mut [u8]) -> Result<Scaling, VolumeError> {
        if self.interrupted.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(VolumeError::Interrupted { path: self.series.path().to_owned() });
        }
        let index = self.next;
        let frame = self.series.slice(index).0.frame;
        let (image, mut frames) = self.take(index)?;
        let read = frames.read(frame, &mut *self.decoder, &mut self.samples);
        read.map_err(|error| self.undecoded(index, &error))?;
        frames.format().clean(&mut self.samples);
        self.open = Some((image, frames));
        if self.samples.len() != plane.len() {
            let found = format!("{} bytes, expected {}", self.samples.len(), plane.len());
            return Err(self.damaged(index, found));
        }
        plane.copy_from_slice(&self.samples);
        let (slice, ..) = self.series.slice(index);
        if let Some(range) = slice.padding {
            self.background = fill_padding(plane, self.grid.voxel_type(), range, self.background);
        }
        let [slope, intercept] = slice.rescale;
        self.next += 1;
        if self.next == self.series.slices() {
            self.verify()?;
        }
        Ok(Scaling { slope, intercept })
    }

    fn restart(&mut self) -> Result<(), VolumeError> {
        self.next = 0;
        self.background = None;
        Ok(())
    }

    fn verify(&self) -> Result<(), VolumeError> {
        self.files.iter().try_for_each(Fingerprint::check)
    }
}

impl std::fmt::Debug for DicomReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DicomReader").field("series", &self.series.path()).finish_non_exhaustive()
    }
}

/// Gives samples that are no measurement the least measured sample's value, so that they look like
/// air and not like something darker: of the plane, or where it has none, of the plane before.
/// Returns that value.
fn fill_padding(
    plane: &mut [u8],
    voxel_type: VoxelType,
    range: [i64; 2],
    before: Option<i64>,
) -> Option<i64> {
    macro_rules! fill {
        ($number:ty) => {{
            let (samples, _) = plane.as_chunks_mut::<{ size_of::<$number>() }>();
            let value =
                |sample: &[u8; size_of::<$number>()]| i64::from(<$number>::from_le_bytes(*sample));
            let is_padding = |value: i64| (range[0]..=range[1]).contains(&value);
            let measured = samples.iter().map(&value).filter(|value| !is_padding(*value));
            let least = measured.min().or(before);
            if let Some(least) = least {
                let bytes = (least as $number).to_le_bytes();
                for sample in samples {
                    if is_padding(value(sample)) {
                        *sample = bytes;
                    }
                }
            }
            least
        }};
    }
    match voxel_type {
        VoxelType::U8 => fill!(u8),
        VoxelType::I8 => fill!(i8),
        VoxelType::U16 => fill!(u16),
        VoxelType::I16 => fill!(i16),
        VoxelType::U32 => fill!(u32),
        VoxelType::I32 => fill!(i32),
        _ => before,
    }
}

impl Series {
    /// The files that its slices are in, each once: an archive in place of its entries.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let mut seen = std::collections::BTreeSet::new();
        let file = |slice| match self.slice(slice).2 {
            Place::File(path) => path.clone(),
            _ => self.path().to_owned(),
        };
        seen.extend((0..self.slices()).map(file));
        seen.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_looks_like_the_least_measurement() {
        let mut plane: Vec<u8> =
            [-2000_i16, -1000, 40, -2000].iter().flat_map(|n| n.to_le_bytes()).collect();
        let least = fill_padding(&mut plane, VoxelType::I16, [-2000, -2000], None);
        assert_eq!(least, Some(-1000));
        let found: Vec<i16> = plane.chunks(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
        assert_eq!(found, [-1000, -1000, 40, -1000]);

        let mut plane = vec![255, 255];
        assert_eq!(fill_padding(&mut plane, VoxelType::U8, [255, 255], Some(3)), Some(3));
        assert_eq!(plane, [3, 3]);
        let mut plane = vec![255, 255];
        assert_eq!(fill_padding(&mut plane, VoxelType::U8, [255, 255], None), None);
        assert_eq!(plane, [255, 255], "nothing is known that it could look like");
    }
}
