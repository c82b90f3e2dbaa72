//! Masks of segmentations: which frames make up which slice (A.51, C.7.6.16).

use super::{MaskError, Plane, show, text};
use crate::dataset::{Dataset, Tag};
use crate::objects::Kind;
use crate::tags;
use crate::vector::dot;

/// Frames nearer to each other along the normal lie in one slice, in millimetres.
const SAME_PLACE: f64 = 0.01;
/// Among so many slices at one height a frame looks for its own.
const MOST_BESIDE: usize = 64;
/// Directions that differ by less are parallel.
const PARALLEL: f64 = 1e-3;

/// What a sample says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Samples {
    /// A bit: in the segment or not.
    Bits,
    /// A share of a largest value; half of it and more is in the segment.
    Shares { largest: u16 },
    /// A segment's number, in bytes of so many, and which of them is background.
    Numbers { bytes: u8, background: u16 },
}

/// A segmentation's frames, sorted into slices.
#[derive(Debug, Clone)]
pub struct Frames {
    /// Rows and columns of a frame.
    pub size: [u16; 2],
    /// Number and name of each segment.
    pub segments: Vec<(u16, String)>,
    /// The slices along the normal of the first frame; where frames have no position, by their
    /// place in a stack, or in the order of the file.
    pub slices: Vec<SliceFrames>,
    /// The distance between slices, as the first frame has it.
    pub distance: Option<f64>,
    /// The thickness of a slice, as the first frame has it.
    pub thickness: Option<f64>,
    /// Frame of Reference UID.
    pub frame_of_reference: Option<String>,
    samples: Samples,
    /// Whether each frame's bits begin with a byte, as those of compressed frames do.
    aligned: bool,
}

/// A slice and its frames.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceFrames {
    /// Where the slice lies, if the file says so.
    pub plane: Option<Plane>,
    /// SOP Instance UID and frame (from 1) of the image that the first of the frames comes from.
    pub source: Option<(String, Option<u32>)>,
    /// Index of each frame in the pixel data, from 0, and its segment's number; 0 where pixels
    /// have numbers.
    pub frames: Vec<(u32, u16)>,
}

/// Which bytes of uncompressed pixel data a frame is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Index of the frame, from 0.
    pub frame: u32,
    /// Its first byte, which may hold bits of the frame before, too.
    pub start: u64,
    /// How many bytes hold a part of it.
    pub length: usize,
}

/// A frame before it is sorted.
struct Described {
    index: u32,
    segment: u16,
    plane: Option<Plane>,
    source: Option<(String, Option<u32>)>,
    /// In-Stack Position Number.
    in_stack: Option<u32>,
}

impl Frames {
    /// Of a segmentation's data set, whose frames are compressed (encapsulated) or not.
    ///
    /// # Errors
    ///
    /// What makes it none that can be read: see [`MaskError`].
    pub fn new(set: &Dataset, compressed: bool) -> Result<Self, MaskError> {
        let class = set.text(tags::SOP_CLASS).unwrap_or_default();
        if class != Kind::Seg.class_uid() && class != Kind::Labelmap.class_uid() {
            return Err(MaskError::Class { class: class.to_owned() });
        }
        let size = [needed(set, tags::ROWS)?, needed(set, tags::COLUMNS)?];
        if size.contains(&0) {
            return Err(MaskError::Element { tag: tags::ROWS });
        }
        let samples = Samples::of(set)?;
        let by_segment = !matches!(samples, Samples::Numbers { .. });
        let slices = sorted(described(set, by_segment)?)?;
        let [distance, thickness] =
            [tags::SLICE_SPACING, tags::SLICE_THICKNESS].map(|tag| measure(set, tag));
        let uid = set.text(tags::FRAME_OF_REFERENCE).map(str::to_owned);
        let segments = samples.segments(set)?;
        let aligned = compressed;
        Ok(Self {
            size,
            segments,
            slices,
            distance,
            thickness,
            frame_of_reference: uid,
            samples,
            aligned,
        })
    }

    /// Pixels of a frame.
    fn pixels(&self) -> usize {
        usize::from(self.size[0]) * usize::from(self.size[1])
    }

    /// Where a frame lies in uncompressed pixel data. A compressed frame, once decompressed, has
    /// as many bytes as the span says.
    #[must_use]
    pub fn span(&self, frame: u32) -> Span {
        let bits = match self.samples {
            Samples::Bits => 1,
            Samples::Shares { .. } => 8,
            Samples::Numbers { bytes, .. } => 8 * u64::from(bytes),
        };
        let bits = bits * self.pixels() as u64;
        let first = if self.aligned { 0 } else { bits * u64::from(frame) };
        let length = ((first + bits).div_ceil(8) - first / 8) as usize;
        Span { frame, start: first / 8, length }
    }

    /// The labels of a slice, row by row, and how many pixels belong to several segments. The
    /// function gives the bytes of a frame's span.
    ///
    /// # Errors
    ///
    /// What the function says, or a size that is not the frame's: see [`MaskError`].
    pub fn plane<E: From<MaskError>>(
        &self,
        slice: usize,
        mut bytes: impl FnMut(Span, &mut Vec<u8>) -> Result<(), E>,
        out: &mut [u8],
    ) -> Result<u64, E> {
        let (found, expected) = (out.len(), self.pixels());
        if found != expected {
            return Err(MaskError::Size { found, expected }.into());
        }
        let frames = &self.slices.get(slice).ok_or(MaskError::NoSlice { slice })?.frames;
        out.fill(0);
        let mut buffer = Vec::new();
        let mut overlaps = 0;
        for &(frame, segment) in frames {
            let span = self.span(frame);
            buffer.clear();
            bytes(span, &mut buffer)?;
            let (found, expected) = (buffer.len(), span.length);
            if found != expected {
                return Err(MaskError::Size { found, expected }.into());
            }
            overlaps += self.show(frame, segment, &buffer, out)?;
        }
        Ok(overlaps)
    }

    fn show(
        &self,
        frame: u32,
        segment: u16,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Result<u64, MaskError> {
        let number =
            u8::try_from(segment).map_err(|_| MaskError::Number { number: segment.into() });
        match self.samples {
            Samples::Bits => {
                let bits = if self.aligned { 0 } else { self.pixels() as u64 * u64::from(frame) };
                let first = (bits % 8) as usize;
                let bit = |i: usize| bytes[(first + i) / 8] >> ((first + i) % 8) & 1 == 1;
                Ok(show(out, (0..self.pixels()).map(bit), number?))
            }
            Samples::Shares { largest } => {
                let inside = |share: &u8| 2 * u32::from(*share) >= u32::from(largest);
                Ok(show(out, bytes.iter().map(inside), number?))
            }
            Samples::Numbers { bytes: 1, background } => {
                for (pixel, value) in out.iter_mut().zip(bytes) {
                    *pixel = if u16::from(*value) == background { 0 } else { *value };
                }
                Ok(0)
            }
            Samples::Numbers { background, .. } => {
                for (pixel, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    let number = u16::from_le_bytes(*value);
                    let shown = if number == background { 0 } else { number };
                    *pixel = u8::try_from(shown)
                        .map_err(|_| MaskError::Number { number: number.into() })?;
                }
                Ok(0)
            }
        }
    }
}

impl Samples {
    fn of(set: &Dataset) -> Result<Self, MaskError> {
        let wrong = |tag| MaskError::Element { tag };
        let bits: u16 = needed(set, tags::BITS_ALLOCATED)?;
        match (set.text(tags::SEGMENTATION_TYPE), bits) {
            (Some("BINARY"), 1) => Ok(Self::Bits),
            (Some("FRACTIONAL"), 8) => {
                let largest = set.integer(tags::FRACTIONAL_MAXIMUM).unwrap_or(255);
                // A share of nothing would put every pixel in.
                if largest == 0 {
                    return Err(wrong(tags::FRACTIONAL_MAXIMUM));
                }
                Ok(Self::Shares { largest })
            }
            (Some("LABELMAP"), 8 | 16) => {
                let background = set.integer(tags::PADDING_VALUE).unwrap_or(0);
                Ok(Self::Numbers { bytes: (bits / 8) as u8, background })
            }
            (Some("BINARY" | "FRACTIONAL" | "LABELMAP"), _) => Err(wrong(tags::BITS_ALLOCATED)),
            _ => Err(wrong(tags::SEGMENTATION_TYPE)),
        }
    }

    fn segments(self, set: &Dataset) -> Result<Vec<(u16, String)>, MaskError> {
        let mut segments = Vec::new();
        for item in set.items(tags::SEGMENTS) {
            let number: u16 = needed(item, tags::SEGMENT_NUMBER)?;
            let is_background =
                matches!(self, Self::Numbers { background, .. } if background == number);
            if !is_background {
                let label = item.bytes(tags::SEGMENT_LABEL).unwrap_or_default();
                segments.push((number, text::name(label, set)));
            }
        }
        Ok(segments)
    }
}

fn needed<T: TryFrom<i64>>(set: &Dataset, tag: Tag) -> Result<T, MaskError> {
    set.integer(tag).ok_or(MaskError::Element { tag })
}

/// The frames, from the groups of each and of all.
fn described(set: &Dataset, by_segment: bool) -> Result<Vec<Described>, MaskError> {
    let items = set.items(tags::PER_FRAME);
    let frames = needed(set, tags::FRAMES)?;
    if u32::try_from(items.len()) != Ok(frames) || frames == 0 {
        return Err(MaskError::FrameCount { frames, groups: items.len() });
    }
    let empty = Dataset::new();
    let shared = set.item(tags::SHARED).unwrap_or(&empty);
    let describe = |(index, groups): (u32, &Dataset)| {
        let group = |tag| groups.item(tag).or_else(|| shared.item(tag)).unwrap_or(&empty);
        let segment = if by_segment {
            needed(group(tags::SEGMENT_IDENTIFICATION), tags::REFERENCED_SEGMENT)?
        } else {
            0
        };
        let source = group(tags::DERIVATION_IMAGE).item(tags::SOURCE_IMAGES);
        let source = source.and_then(|image| {
            let uid = image.text(tags::REFERENCED_INSTANCE)?.to_owned();
            Some((uid, image.integer(tags::REFERENCED_FRAME)))
        });
        let in_stack = group(tags::FRAME_CONTENT_SEQUENCE).integer(tags::IN_STACK_POSITION);
        Ok(Described { index, segment, plane: plane(&group), source, in_stack })
    };
    (0..).zip(items).map(describe).collect()
}

/// A positive number of the pixel measures that all frames have, or the first of them.
fn measure(set: &Dataset, tag: Tag) -> Option<f64> {
    let groups = [set.item(tags::SHARED), set.item(tags::PER_FRAME)];
    let measures = groups.into_iter().flatten().find_map(|g| g.item(tags::PIXEL_MEASURES))?;
    let [number] = measures.array(tag)?;
    Some(number).filter(|number| *number > 0.0)
}

fn plane<'a>(group: &impl Fn(Tag) -> &'a Dataset) -> Option<Plane> {
    Some(Plane {
        position: group(tags::PLANE_POSITION).array(tags::IMAGE_POSITION)?,
        orientation: group(tags::PLANE_ORIENTATION).array(tags::IMAGE_ORIENTATION)?,
        spacing: group(tags::PIXEL_MEASURES).array(tags::PIXEL_SPACING)?,
    })
}

/// Slices of the frames, in their order.
fn sorted(frames: Vec<Described>) -> Result<Vec<SliceFrames>, MaskError> {
    let first = frames.iter().map(|frame| frame.plane).next().flatten();
    let placed = first.filter(|_| frames.iter().all(|frame| frame.plane.is_some()));
    let mut order: Vec<(f64, Described)> = Vec::with_capacity(frames.len());
    let mut sources: std::collections::HashMap<(String, Option<u32>), usize> = Default::default();
    for (at, frame) in frames.into_iter().enumerate() {
        let place = match (placed, frame.plane) {
            (Some(first), Some(plane)) => {
                let differs = |(a, b): (&f64, &f64)| (a - b).abs() > PARALLEL;
                if plane.orientation.iter().zip(&first.orientation).any(differs) {
                    return Err(MaskError::Angle { frame: at + 1 });
                }
                dot(plane.position, first.normal())
            }
            // By the place in a stack, or each source image in the place of its first frame.
            _ => match (frame.in_stack, &frame.source) {
                (Some(place), _) => f64::from(place),
                (None, Some(source)) => *sources.entry(source.clone()).or_insert(at) as f64,
                (None, None) => at as f64,
            },
        };
        order.push((place, frame));
    }
    order.sort_by(|(a, x), (b, y)| {
        a.total_cmp(b).then(x.segment.cmp(&y.segment)).then(x.index.cmp(&y.index))
    });
    let mut slices: Vec<SliceFrames> = Vec::new();
    // Of each slice, how far along the normal it lies.
    let mut places: Vec<f64> = Vec::new();
    for (place, frame) in order {
        // Frames at one height may still lie beside each other.
        let beside = |at: &usize| is_same(slices[*at].plane.as_ref(), frame.plane.as_ref());
        let near = (0..slices.len()).rev().take_while(|at| place - places[*at] <= SAME_PLACE);
        let at = near.take(MOST_BESIDE).find(beside).unwrap_or(slices.len());
        if at == slices.len() {
            let plane = frame.plane.filter(|_| placed.is_some());
            slices.push(SliceFrames { plane, source: frame.source, frames: Vec::new() });
            places.push(place);
        }
        slices[at].frames.push((frame.index, frame.segment));
    }
    // Rounding may have put frames of one slice in the order of their positions.
    slices.iter_mut().for_each(|slice| slice.frames.sort_by_key(|(index, s)| (*s, *index)));
    Ok(slices)
}

/// Whether two planes begin in one place; without positions, source images have told.
fn is_same(a: Option<&Plane>, b: Option<&Plane>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.position.iter().zip(b.position).all(|(a, b)| (a - b).abs() <= SAME_PLACE)
        }
        _ => true,
    }
}
