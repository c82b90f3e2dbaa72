//! What a file says of the image in it, and of each of the image's slices.

use std::sync::Arc;

use super::Reason;
use crate::dataset::{Dataset, Tag};
use crate::syntax::Syntax;
use crate::tags::{
    ACQUISITION_NUMBER, B_VALUE, BITS_ALLOCATED, BODY_PART, COLUMNS, DIFFUSION_SEQUENCE,
    ECHO_SEQUENCE, ECHO_TIME, EFFECTIVE_ECHO_TIME, FRAME_ACQUISITION_NUMBER,
    FRAME_CONTENT_SEQUENCE, FRAME_OF_REFERENCE, FRAMES, IMAGE_ORIENTATION, IMAGE_POSITION,
    IMAGE_TYPE, INSTANCE_NUMBER, LOSSY, MODALITY, PADDING_LIMIT, PADDING_VALUE, PER_FRAME,
    PHOTOMETRIC, PIXEL_MEASURES, PIXEL_REPRESENTATION, PIXEL_SPACING, PLANE_ORIENTATION,
    PLANE_POSITION, RESCALE_INTERCEPT, RESCALE_SLOPE, ROWS, SAMPLES_PER_PIXEL, SERIES_DESCRIPTION,
    SERIES_NUMBER, SERIES_UID, SHARED, SLICE_SPACING, SLICE_THICKNESS, SOP_CLASS, SOP_INSTANCE,
    STACK_ID, STUDY_UID, TEMPORAL_INDEX, TEMPORAL_POSITION, TRIGGER_TIME, VALUE_TRANSFORMATION,
};
use crate::vector::{directions, dot, length};

/// Most slices of one image.
pub const MAX_FRAMES: usize = 1 << 16;

/// Segmentation Storage, binary and label map: labels, not intensities.
const SEGMENTATIONS: [&str; 2] = ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"];

/// What all images of a series say alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// Study Instance UID; empty where the file has none.
    pub study: String,
    /// Series Instance UID; empty where the file has none.
    pub series: String,
}

/// The image of a file.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it says as most images of its series do.
    pub common: Arc<Common>,
    /// SOP Instance UID.
    pub instance: String,
    /// The image's slices: one, or one for each frame. A `Vec` of one would keep room for four.
    pub slices: Box<[Slice]>,
    /// Why the pixels cannot be read and what to do, where the header shows it.
    pub undecodable: Option<Box<str>>,
}

impl SeriesKey {
    /// Of a file's data set.
    #[must_use]
    pub fn of(set: &Dataset) -> Self {
        let text = |tag| set.text(tag).unwrap_or_default().to_owned();
        Self { study: text(STUDY_UID), series: text(SERIES_UID) }
    }
}

impl std::ops::Deref for Image {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

/// What images of a series say alike, most often; in memory once for those that do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The series that the image belongs to.
    pub key: SeriesKey,
    /// SOP Class UID.
    pub class: String,
    /// Modality, such as `CT`.
    pub modality: String,
    /// Image Type, such as `ORIGINAL`, `PRIMARY`, `AXIAL`.
    pub image_type: Vec<String>,
    /// Body Part Examined.
    pub body_part: String,
    /// Series Description, as ASCII: other characters are question marks.
    pub description: String,
    /// Series Number.
    pub number: Option<i32>,
    /// Frame of Reference UID.
    pub frame_of_reference: Option<String>,
    /// Rows and columns of a slice.
    pub size: [usize; 2],
    /// How samples are stored.
    pub samples: Samples,
    /// Whether the pixels were once compressed with loss.
    pub lossy: bool,
    /// How the pixels are compressed.
    pub syntax: Syntax,
}

/// How the numbers of an image are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// Whether they are in two's complement.
    pub signed: bool,
    /// Bytes of a sample: of Bits Allocated.
    pub bytes: usize,
    /// Whether small values are white: Photometric Interpretation is MONOCHROME1.
    pub inverted: bool,
}

/// A slice: where it lies, and what makes values of its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Number of the frame in its file, from 0.
    pub frame: u32,
    /// Centre of the first pixel, in millimetres of the patient's space (LPS).
    pub position: [f64; 3],
    /// The position as its file has it.
    pub position_text: Vec<u8>,
    /// Directions of a row and of a column.
    pub orientation: [f64; 6],
    /// The orientation as its file has it.
    pub orientation_text: Vec<u8>,
    /// Millimetres between rows and between columns.
    pub spacing: [f64; 2],
    /// The spacing as its file has it.
    pub spacing_text: Vec<u8>,
    /// Slice Thickness.
    pub thickness: Option<f64>,
    /// Spacing Between Slices, which many files have wrong; a stack's positions say better.
    pub step: Option<f64>,
    /// Rescale Slope and Rescale Intercept.
    pub rescale: [f64; 2],
    /// Samples from the first number to the second are no measurement: Pixel Padding Value and
    /// Pixel Padding Range Limit.
    pub padding: Option<[i64; 2]>,
    /// Instance Number.
    pub number: Option<i32>,
    /// What tells slices at one position apart, in the order of [`DISCRIMINATORS`].
    pub discriminators: [Option<f64>; DISCRIMINATORS.len()],
    /// Stack ID of a multi-frame image.
    pub stack: String,
}

/// What may tell slices at one position apart.
pub const DISCRIMINATORS: [&str; 5] =
    ["acquisition", "temporal position", "echo time", "b-value", "trigger time"];

impl Image {
    /// Of a file's data set and transfer syntax.
    ///
    /// # Errors
    /// Why the file holds no slice of a volume.
    pub fn new(set: &Dataset, syntax: &Syntax) -> Result<Self, Reason> {
        let text = |tag| set.text(tag).unwrap_or_default().to_owned();
        let (rows, columns): (Option<usize>, Option<usize>) =
            (set.integer(ROWS), set.integer(COLUMNS));
        let (Some(rows), Some(columns)) = (rows, columns) else {
            return Err(Reason::NoImage { class: text(SOP_CLASS), modality: text(MODALITY) });
        };
        if rows == 0 || columns == 0 {
            return Err(Reason::NoImage { class: text(SOP_CLASS), modality: text(MODALITY) });
        }
        let class = text(SOP_CLASS);
        if text(MODALITY) == "SEG" || SEGMENTATIONS.contains(&class.as_str()) {
            return Err(Reason::Segmentation);
        }
        let image_type: Vec<String> = set.texts(IMAGE_TYPE).map(str::to_owned).collect();
        if image_type.iter().any(|value| value == "MOSAIC") {
            return Err(Reason::Mosaic);
        }
        let samples = set.integer(SAMPLES_PER_PIXEL).unwrap_or(1_u16);
        let photometric = text(PHOTOMETRIC);
        if samples != 1 || !photometric.starts_with("MONOCHROME") {
            return Err(Reason::Colour { photometric });
        }
        let frames = set.integer::<usize>(FRAMES).unwrap_or(1);
        if !(1..=MAX_FRAMES).contains(&frames) {
            return Err(Reason::Frames { found: frames });
        }
        let groups = set.items(PER_FRAME);
        if frames > 1 && groups.len() != frames {
            return Err(Reason::Groups { frames, groups: groups.len() });
        }
        let slices = (0..frames).map(|frame| slice(set, frame)).collect::<Result<_, _>>()?;
        let common = Common {
            key: SeriesKey::of(set),
            class,
            modality: text(MODALITY),
            body_part: text(BODY_PART),
            description: ascii(set.bytes(SERIES_DESCRIPTION).unwrap_or_default()),
            number: set.integer(SERIES_NUMBER),
            frame_of_reference: set.text(FRAME_OF_REFERENCE).map(str::to_owned),
            size: [rows, columns],
            samples: Samples {
                signed: set.integer(PIXEL_REPRESENTATION) == Some(1_u16),
                bytes: set.integer::<usize>(BITS_ALLOCATED).unwrap_or(16).div_ceil(8),
                inverted: photometric == "MONOCHROME1",
            },
            lossy: set.text(LOSSY) == Some("01"),
            image_type,
            syntax: syntax.clone(),
        };
        let instance = text(SOP_INSTANCE);
        Ok(Self { common: Arc::new(common), instance, slices, undecodable: None })
    }
}

impl Common {
    /// Whether the image is an overview for planning further images.
    #[must_use]
    pub fn is_localizer(&self) -> bool {
        self.image_type.iter().any(|value| value.contains("LOCALIZER") || value == "SCOUT")
    }
}

/// Attributes of one frame: those of the frame's own functional groups come before those that all
/// frames share, and these before the image's own (PS3.3, C.7.6.16).
struct Groups<'a> {
    sets: [Option<&'a Dataset>; 2],
    image: &'a Dataset,
}

impl<'a> Groups<'a> {
    fn new(image: &'a Dataset, frame: usize) -> Self {
        Self { sets: [image.items(PER_FRAME).get(frame), image.item(SHARED)], image }
    }

    /// The data set that has an attribute: the item of a functional group, or the image.
    fn holder(&self, group: Tag, tag: Tag) -> Option<&'a Dataset> {
        let groups = self.sets.into_iter().flatten().filter_map(|set| set.item(group));
        groups.chain([self.image]).find(|set| set.get(tag).is_some())
    }

    fn number(&self, group: Tag, tag: Tag) -> Option<f64> {
        self.holder(group, tag)?.number(tag)
    }

    /// Numbers, and the bytes that say them.
    fn array<const N: usize>(&self, group: Tag, tag: Tag) -> Option<([f64; N], Vec<u8>)> {
        let set = self.holder(group, tag)?;
        Some((set.array(tag)?, set.bytes(tag)?.to_vec()))
    }
}

fn slice(set: &Dataset, frame: usize) -> Result<Slice, Reason> {
    let groups = Groups::new(set, frame);
    let (position, position_text) =
        groups.array(PLANE_POSITION, IMAGE_POSITION).ok_or(Reason::NoPositions)?;
    let (orientation, orientation_text) =
        groups.array(PLANE_ORIENTATION, IMAGE_ORIENTATION).ok_or(Reason::NoPositions)?;
    let (spacing, spacing_text) =
        groups.array::<2>(PIXEL_MEASURES, PIXEL_SPACING).ok_or(Reason::NoSpacing)?;
    if !spacing.iter().all(|mm| *mm > 0.0) {
        return Err(Reason::NoSpacing);
    }
    check_orientation(&orientation)?;
    let rescale =
        [rescale(&groups, RESCALE_SLOPE, 1.0)?, rescale(&groups, RESCALE_INTERCEPT, 0.0)?];
    let content = |tag| groups.number(FRAME_CONTENT_SEQUENCE, tag);
    let stack = groups
        .holder(FRAME_CONTENT_SEQUENCE, STACK_ID)
        .and_then(|set| set.text(STACK_ID))
        .unwrap_or_default();
    Ok(Slice {
        frame: frame as u32,
        position,
        position_text,
        orientation,
        orientation_text,
        spacing,
        spacing_text,
        thickness: groups.number(PIXEL_MEASURES, SLICE_THICKNESS).filter(|mm| *mm > 0.0),
        step: groups.number(PIXEL_MEASURES, SLICE_SPACING),
        rescale,
        padding: padding(set),
        number: set.integer(INSTANCE_NUMBER),
        discriminators: [
            content(FRAME_ACQUISITION_NUMBER).or_else(|| set.number(ACQUISITION_NUMBER)),
            content(TEMPORAL_INDEX).or_else(|| set.number(TEMPORAL_POSITION)),
            groups.number(ECHO_SEQUENCE, EFFECTIVE_ECHO_TIME).or_else(|| set.number(ECHO_TIME)),
            groups.number(DIFFUSION_SEQUENCE, B_VALUE),
            set.number(TRIGGER_TIME),
        ],
        stack: stack.to_owned(),
    })
}

/// Slope or intercept; the usual one where there is none.
fn rescale(groups: &Groups<'_>, tag: Tag, usual: f64) -> Result<f64, Reason> {
    let Some(set) = groups.holder(VALUE_TRANSFORMATION, tag) else { return Ok(usual) };
    let blank = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b' ' | 0));
    match set.number(tag) {
        None if set.bytes(tag).is_some_and(blank) => Ok(usual),
        number => number.ok_or(Reason::Rescale),
    }
}

/// Directions are perpendicular and of length 1, as far as text of 16 characters says it.
fn check_orientation(orientation: &[f64; 6]) -> Result<(), Reason> {
    const TOLERANCE: f64 = 1e-2;
    let [row, column] = directions(*orientation);
    let (lengths, dot) = ([row, column].map(length), dot(row, column));
    let close = lengths.iter().all(|length| (length - 1.0).abs() < TOLERANCE);
    if close && dot.abs() < TOLERANCE { Ok(()) } else { Err(Reason::Orientation) }
}

/// The range of samples that are no measurement.
fn padding(set: &Dataset) -> Option<[i64; 2]> {
    let signed = set.integer(PIXEL_REPRESENTATION) == Some(1_u16);
    // Written as US or SS; the samples' own representation decides.
    let number = |tag| {
        let bytes: [u8; 2] = set.bytes(tag)?.try_into().ok()?;
        Some(if signed {
            i16::from_le_bytes(bytes).into()
        } else {
            u16::from_le_bytes(bytes).into()
        })
    };
    let value: i64 = number(PADDING_VALUE)?;
    let limit = number(PADDING_LIMIT).unwrap_or(value);
    Some([value.min(limit), value.max(limit)])
}

/// Text with a question mark for each byte that is no printable ASCII.
fn ascii(bytes: &[u8]) -> String {
    let printable = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' };
    let end = bytes.iter().rposition(|byte| !matches!(byte, b' ' | 0)).map_or(0, |at| at + 1);
    bytes[..end].iter().map(printable).collect()
}
