//! Reads segmentations, label maps and structure sets as label volumes, for comparisons.
//!
//! - A segmentation leaves out slices without labels, and a structure set has no slices at all.
//!   Masks are therefore laid onto a [`Layout`]: the grid of what they are compared with, or the
//!   slices that two masks have together. Each frame goes where its own position says.
//! - Values are the segments' numbers, or the places of the regions in their list, from 1.

mod layout;
mod reader;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};

use monet_dicom::objects::masks::{Contours, Frames, MaskError, Plane, Regions, Span, keep};
use monet_dicom::read::{self, Instance, PixelPlace};
use monet_dicom::{Dataset, tags};

pub(crate) use self::layout::{Apart, Layout, Slices};
pub(crate) use self::reader::MaskReader;
use crate::volume::{AxisMap, FileAxis, VolumeError};

/// A mask in a file, of which no label was read.
#[derive(Debug)]
pub(crate) struct Mask {
    path: PathBuf,
    /// The file's data set.
    set: Dataset,
    instance: Instance,
    /// A segmentation's frames and the planes of its slices; `None` of a structure set.
    frames: Option<(Frames, Slices)>,
}

/// Why a mask is not laid onto slices.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It cannot be read.
    Volume(VolumeError),
    /// It lies elsewhere.
    Apart(Apart),
}

impl<E: Into<VolumeError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Volume(error.into())
    }
}

impl From<Apart> for Failure {
    fn from(apart: Apart) -> Self {
        Self::Apart(apart)
    }
}

/// Whether a file is to be read as a mask in DICOM.
pub(crate) fn is_mask(path: &Path) -> bool {
    path.is_file() && monet_dicom::series::is_dicom(path)
}

impl Mask {
    /// Reads a file's header.
    ///
    /// # Errors
    /// [`VolumeError::Damaged`]; [`VolumeError::Format`] of any other object, and of frames
    /// without positions.
    pub(crate) fn open(path: &Path) -> Result<Self, VolumeError> {
        let mut instance = read::open(path, &keep()).map_err(|e| damaged(path, &e))?;
        let set = std::mem::take(&mut instance.header.data);
        let frames = match Contours::new(&set) {
            Ok(_) => None,
            Err(MaskError::Class { .. }) => {
                let has_pixels = instance.header.pixels.is_some();
                let frames = Frames::new(&set, false);
                let frames = frames.map_err(|e| refused(path, e, &set, has_pixels))?;
                let slices = slices(&frames).ok_or_else(|| unplaced(path))?;
                Some((frames, slices))
            }
            Err(error) => return Err(refused(path, error, &set, false)),
        };
        Ok(Self { path: path.to_owned(), set, instance, frames })
    }

    /// Its own slices; a structure set has none.
    pub(crate) fn slices(&self) -> Option<&Slices> {
        self.frames.as_ref().map(|(_, slices)| slices)
    }

    /// Reads its labels onto a layout.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) fn read(mut self, onto: &Layout) -> Result<MaskReader, Failure> {
        match self.frames.take() {
            Some((frames, slices)) => self.segments(&frames, &slices, onto),
            None => self.regions(onto),
        }
    }

    fn segments(
        &mut self,
        frames: &Frames,
        slices: &Slices,
        onto: &Layout,
    ) -> Result<MaskReader, Failure> {
        let path = &self.path;
        let (offset, length) = match self.instance.header.pixels.map(|pixels| pixels.place) {
            Some(PixelPlace::Native { offset, length }) => (offset, length),
            Some(_) => return Err(compressed(path).into()),
            None => return Err(damaged(path, &"it has no pixels").into()),
        };
        let layout = onto.facing(&slices.planes[0])?;
        let mut reader = MaskReader::new(path, &layout)?;
        let mut labels = vec![0; frames.size.iter().map(|n| usize::from(*n)).product()];
        let source = &mut self.instance.source;
        for (slice, plane) in slices.planes.iter().enumerate() {
            let bytes = |span: Span, out: &mut Vec<u8>| -> Result<(), Unread> {
                if span.start + span.length as u64 > u64::from(length) {
                    return Err(damaged(path, &"its pixels end early").into());
                }
                let read = source
                    .seek_to(offset + span.start)
                    .and_then(|()| source.by_ref().take(span.length as u64).read_to_end(out));
                read.map(drop).map_err(|e| damaged(path, &e).into())
            };
            let overlaps = frames.plane(slice, bytes, &mut labels);
            reader.overlaps += overlaps.map_err(|e: Unread| e.of(path))?;
            if labels.iter().any(|label| *label > 0) {
                reader.put(&layout, layout.place(plane, frames.size)?, frames.size, &labels);
            }
        }
        reader.finish(slices.planes.len())
    }

    /// A structure set's mask. Contours lie in planes across one of the grid's axes: the one
    /// across which most of them find a slice.
    fn regions(&self, onto: &Layout) -> Result<MaskReader, Failure> {
        let wrong = |e| refused(&self.path, e, &self.set, false);
        let contours = Contours::new(&self.set).map_err(wrong)?;
        let mut best: Option<(Layout, Regions)> = None;
        for turn in [[0, 1, 2], [1, 2, 0], [0, 2, 1]] {
            let map = AxisMap::of(turn.map(|axis| FileAxis { axis, reversed: false }));
            let Some(layout) = onto.oriented(map) else { continue };
            let [width, height, slices] = layout.geometry().size;
            let planes = (0..slices).map(|slice| layout.plane(slice)).collect();
            let laid = contours.onto([height as u16, width as u16], planes).map_err(wrong)?;
            if best.as_ref().is_none_or(|(_, other)| laid.left_out < other.left_out) {
                best = Some((layout, laid));
            }
        }
        let Some((layout, laid)) = best else { return Err(Apart::Angle.into()) };
        let [width, height, slices] = layout.geometry().size;
        let mut reader = MaskReader::new(&self.path, &layout)?;
        let mut labels = vec![0; width * height];
        for slice in 0..slices {
            reader.overlaps += laid.plane(slice, &mut labels).map_err(wrong)?;
            let first = [0, 0, slice as i64];
            reader.put(&layout, first, [height as u16, width as u16], &labels);
        }
        reader.left_out(laid.left_out);
        reader.finish(slices)
    }
}

/// Why a slice's labels were not read.
enum Unread {
    Mask(MaskError),
    Volume(VolumeError),
}

impl From<MaskError> for Unread {
    fn from(error: MaskError) -> Self {
        Self::Mask(error)
    }
}

impl From<VolumeError> for Unread {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl Unread {
    fn of(self, path: &Path) -> VolumeError {
        match self {
            Self::Volume(error) => error,
            Self::Mask(error) => refused(path, error, &Dataset::new(), true),
        }
    }
}

/// The planes of a segmentation's slices; `None` without positions.
fn slices(frames: &Frames) -> Option<Slices> {
    let planes: Option<Vec<Plane>> = frames.slices.iter().map(|slice| slice.plane).collect();
    let planes = planes.filter(|planes| !planes.is_empty())?;
    let Frames { size, distance, thickness, .. } = *frames;
    Some(Slices { size, planes, distance, thickness })
}

fn damaged(path: &Path, found: &dyn std::fmt::Display) -> VolumeError {
    VolumeError::Damaged { path: path.to_owned(), found: found.to_string() }
}

fn unplaced(path: &Path) -> VolumeError {
    VolumeError::Format {
        path: path.to_owned(),
        expected: "a position for each: without one, as without a frame of reference, nobody \
                   knows where they lie",
        found: "frames without positions".to_owned(),
        advice: "compare labels that were written as NIfTI",
    }
}

fn compressed(path: &Path) -> VolumeError {
    VolumeError::Format {
        path: path.to_owned(),
        expected: "a mask that is not compressed",
        found: "compressed frames".to_owned(),
        advice: "decompress it, with `gdcmconv --raw IN OUT`",
    }
}

/// What is no mask, or one that cannot be read.
fn refused(path: &Path, error: MaskError, set: &Dataset, has_pixels: bool) -> VolumeError {
    let (found, expected, advice) = match &error {
        MaskError::Size { .. } => return damaged(path, &error),
        MaskError::Class { class } => (
            kind(set.text(tags::MODALITY).unwrap_or("unknown"), class, has_pixels),
            "a segmentation, a label map or a structure set",
            "name a mask; `monet segment` makes one of a series",
        ),
        MaskError::Number { number } => {
            (format!("segment number {number}"), "numbers up to 255", "number its segments anew")
        }
        _ => (error.to_string(), "a mask as the standard has it", "have it written again"),
    };
    VolumeError::Format { path: path.to_owned(), expected, found, advice }
}

/// What an object is, in words. Both texts are the file's.
fn kind(modality: &str, class: &str, has_pixels: bool) -> String {
    let what = match modality {
        "SR" | "KO" => "a report",
        _ if has_pixels => "an image",
        _ => "a DICOM object",
    };
    format!("{what} of modality {modality:?} (SOP class {class:?})")
}
