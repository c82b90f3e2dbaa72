//! What every object says: the stack that was segmented, the segments, and what segmented it.

use super::codes::Code;
use super::error::{ObjectError, Warning};
use super::groups::Groups;
use super::header::header;
use crate::dataset::{Dataset, Tag, Value};
use crate::{tags, uid};

/// What every object says.
#[derive(Debug, Clone)]
pub struct Context {
    /// The stack that was segmented.
    pub source: Source,
    /// The segments, in any order; binary segmentations and structure sets number them 1, 2, 3 by
    /// this order, since their readers expect no gaps.
    pub segments: Vec<Segment>,
    /// What segmented it.
    pub algorithm: Algorithm,
    /// What else the result follows from, such as a digest of input and settings. The objects'
    /// UIDs are derived from it, and from the slices' UIDs and the algorithm.
    pub identity: Vec<u8>,
    /// A digest of the planes of labels. The instances' UIDs are derived from it, too, from the
    /// slices' places and from the first instance's elements, so that objects that differ in
    /// labels, places, patient or study never share a UID.
    pub content: Vec<u8>,
    /// Date (`YYYYMMDD`) and time (`HHMMSS`) of the objects; none takes the source's, so that the
    /// objects do not depend on the clock.
    pub moment: Option<(String, String)>,
    /// The number of the objects' series; none makes one of the source's number.
    pub series_number: Option<u32>,
}

/// The stack that was segmented.
#[derive(Debug, Clone)]
pub struct Source {
    /// The elements of the stack's first instance, without pixels. Patient and study are taken
    /// over from here as bytes, under its Specific Character Set.
    pub first: Dataset,
    /// The slices, in the order of the planes of labels.
    pub slices: Vec<Slice>,
    /// Rows of a slice.
    pub rows: u16,
    /// Columns of a slice.
    pub columns: u16,
    /// Millimetres between neighbouring slices along their normal, if all are equally far apart.
    pub slice_spacing: Option<f64>,
}

/// One slice: an instance, or a frame of one. Positions and spacings are the source's own bytes
/// (decimal text), because receivers look slices up by them; an empty one is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// SOP Class UID (0008,0016).
    pub class_uid: String,
    /// SOP Instance UID (0008,0018).
    pub instance_uid: String,
    /// The frame of a multi-frame instance, from 1.
    pub frame: Option<u32>,
    /// Image Position (Patient) (0020,0032).
    pub position: Vec<u8>,
    /// Image Orientation (Patient) (0020,0037).
    pub orientation: Vec<u8>,
    /// Pixel Spacing (0028,0030).
    pub spacing: Vec<u8>,
    /// Slice Thickness (0018,0050).
    pub thickness: Vec<u8>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its value in the planes of labels, from 1.
    pub value: u8,
    /// Its name.
    pub label: String,
    /// Its colour: red, green, blue.
    pub colour: [u8; 3],
    /// What kind of thing it is (CID 7150), such as (91723000, SCT, "Anatomical Structure").
    pub category: Option<Code>,
    /// What it is, such as (15776009, SCT, "Pancreas").
    pub kind: Option<Code>,
    /// Which part or side of it, such as (7771000, SCT, "Left").
    pub modifiers: Vec<Code>,
    /// Where it is.
    pub region: Option<Code>,
}

/// What segmented the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithm {
    /// Name of the package.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// SHA-256 of the package, as hexadecimal digits.
    pub sha256: String,
    /// Who makes the equipment: Manufacturer (0008,0070).
    pub manufacturer: String,
    /// Manufacturer's Model Name (0008,1090).
    pub model: String,
    /// Software Versions (0018,1020).
    pub software: String,
    /// Device Serial Number (0018,1000).
    pub serial: String,
}

/// The kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Binary segmentation.
    Seg,
    /// Label map segmentation.
    Labelmap,
    /// Radiotherapy structure set.
    Rtstruct,
    /// Measurement report.
    Report,
    /// Secondary capture.
    Capture,
}

impl Kind {
    /// The SOP class (PS3.6, table A-1).
    #[must_use]
    pub fn class_uid(self) -> &'static str {
        match self {
            Self::Seg => "1.2.840.10008.5.1.4.1.1.66.4",
            Self::Labelmap => "1.2.840.10008.5.1.4.1.1.66.7",
            Self::Rtstruct => "1.2.840.10008.5.1.4.1.1.481.3",
            Self::Report => "1.2.840.10008.5.1.4.1.1.88.22",
            Self::Capture => "1.2.840.10008.5.1.4.1.1.7",
        }
    }

    /// The modality that its series has.
    pub(super) fn modality(self) -> &'static str {
        match self {
            Self::Seg | Self::Labelmap => "SEG",
            Self::Rtstruct => "RTSTRUCT",
            Self::Report => "SR",
            Self::Capture => "OT",
        }
    }

    /// What the series' description calls it.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Seg => "segmentation",
            Self::Labelmap => "label map",
            Self::Rtstruct => "contours",
            Self::Report => "measurements",
            Self::Capture => "picture",
        }
    }

    /// A number of its own, by which its UIDs and series number differ from the others'.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Seg => 1,
            Self::Labelmap => 2,
            Self::Rtstruct => 3,
            Self::Report => 4,
            Self::Capture => 5,
        }
    }
}

/// Puts elements as bytes that are the same for the same elements alone, valid or not.
fn put_elements(set: &Dataset, to: &mut Vec<u8>) {
    for element in set {
        let Tag(group, number) = element.tag;
        to.extend([group.to_le_bytes(), number.to_le_bytes(), element.vr.0].concat());
        match &element.value {
            Value::Bytes(bytes) => {
                to.extend((bytes.len() as u64).to_le_bytes());
                to.extend(bytes);
            }
            Value::Items(items) => {
                to.extend((items.len() as u64).to_le_bytes());
                for item in items {
                    put_elements(item, to);
                    // No element has this tag.
                    to.extend([0xff; 4]);
                }
            }
        }
    }
}

impl Context {
    /// The UID of a thing of an object: its series, the instance, and others.
    pub(super) fn uid(&self, kind: Kind, thing: &str) -> String {
        let mut parts: Vec<&[u8]> = vec![b"monet-dicom", &[], thing.as_bytes(), &self.identity];
        let number = [kind.number()];
        parts[1] = &number;
        let algorithm = &self.algorithm;
        parts.extend(
            [&algorithm.name, &algorithm.version, &algorithm.sha256].map(|text| text.as_bytes()),
        );
        let frames: Vec<[u8; 4]> =
            self.source.slices.iter().map(|s| s.frame.unwrap_or(0).to_le_bytes()).collect();
        for (slice, frame) in self.source.slices.iter().zip(&frames) {
            parts.extend([slice.instance_uid.as_bytes(), frame]);
        }
        uid::derived(&parts)
    }

    /// The UID of the instance that a writer of segmentations or structure sets makes; a report
    /// refers to it.
    #[must_use]
    pub fn instance_uid(&self, kind: Kind) -> String {
        self.instance_of(kind, &[])
    }

    /// The UID of an instance that holds more than labels.
    pub(super) fn instance_of(&self, kind: Kind, more: &[u8]) -> String {
        let follows = self.uid(kind, "instance");
        let mut first = Vec::new();
        put_elements(&self.source.first, &mut first);
        let mut parts = vec![follows.as_bytes(), &self.content, more, &first];
        for slice in &self.source.slices {
            parts.extend([&slice.position[..], &slice.orientation, &slice.spacing]);
        }
        uid::derived(&parts)
    }

    /// What an object of a kind leaves out or changes.
    ///
    /// # Errors
    ///
    /// What makes an object impossible: see [`ObjectError`].
    pub fn warnings(&self, kind: Kind) -> Result<Vec<Warning>, ObjectError> {
        let mut header = header(self, kind)?;
        match kind {
            Kind::Seg | Kind::Labelmap => {
                Groups::new(self, &mut header, true);
                header.derived_image(self, "DERIVED\\PRIMARY");
            }
            Kind::Capture => header.derived_image(self, "DERIVED\\SECONDARY"),
            Kind::Rtstruct => header.frame_of_reference(self),
            Kind::Report => {}
        }
        let mut all: Vec<Warning> = Vec::new();
        for warning in header.warnings {
            if !all.contains(&warning) {
                all.push(warning);
            }
        }
        Ok(all)
    }

    /// The UID of the series that a writer of this kind makes.
    #[must_use]
    pub fn series_uid(&self, kind: Kind) -> String {
        self.uid(kind, "series")
    }

    /// The series that was segmented.
    pub(super) fn source_series(&self) -> &str {
        self.source.first.text(tags::SERIES_UID).unwrap_or_default()
    }

    /// The frame of reference, if there is one.
    pub(super) fn frame_of_reference(&self) -> Option<&str> {
        only_uid(&self.source.first, tags::FRAME_OF_REFERENCE)
    }

    /// Pixels of a plane.
    pub(super) fn plane_len(&self) -> usize {
        usize::from(self.source.rows) * usize::from(self.source.columns)
    }

    /// Which segment of the list each value of a plane is.
    pub(super) fn segment_of_value(&self) -> [Option<u8>; 256] {
        let mut map = [None; 256];
        for (index, segment) in self.segments.iter().enumerate() {
            map[usize::from(segment.value)] = Some(index as u8);
        }
        map
    }

    /// Which values a plane has, if it is one of this stack's.
    pub(super) fn present(&self, plane: &[u8], index: usize) -> Result<[bool; 256], ObjectError> {
        let (found, expected) = (plane.len(), self.plane_len());
        if found != expected {
            return Err(ObjectError::PlaneSize { found, expected });
        }
        if index >= self.source.slices.len() {
            self.check_count(index + 1)?;
        }
        let mut present = [false; 256];
        plane.iter().for_each(|value| present[usize::from(*value)] = true);
        let segments = self.segment_of_value();
        let unknown =
            (1..=255).find(|v| present[usize::from(*v)] && segments[usize::from(*v)].is_none());
        unknown.map_or(Ok(present), |value| Err(ObjectError::UnknownValue { value }))
    }

    /// Whether as many planes came as there are slices.
    pub(super) fn check_count(&self, found: usize) -> Result<(), ObjectError> {
        let expected = self.source.slices.len();
        if found == expected { Ok(()) } else { Err(ObjectError::PlaneCount { found, expected }) }
    }

    /// Whether an object can be made of this at all, and what is odd about it.
    pub(super) fn check(&self) -> Result<Vec<Warning>, ObjectError> {
        for tag in [tags::STUDY_UID, tags::SERIES_UID] {
            if only_uid(&self.source.first, tag).is_none() {
                return Err(ObjectError::NoUid { tag });
            }
        }
        let named =
            |slice: &Slice| uid::is_valid(&slice.class_uid) && uid::is_valid(&slice.instance_uid);
        if !self.source.slices.iter().all(named) {
            return Err(ObjectError::NoUid { tag: tags::SOP_INSTANCE });
        }
        if self.plane_len() == 0 || self.source.slices.is_empty() {
            return Err(ObjectError::Empty);
        }
        let mut seen = [false; 256];
        seen[0] = true;
        for segment in &self.segments {
            if std::mem::replace(&mut seen[usize::from(segment.value)], true) {
                return Err(ObjectError::SegmentValue { value: segment.value });
            }
        }
        if self.segments.is_empty() {
            return Err(ObjectError::Empty);
        }
        let uncoded = |segment: &&Segment| segment.codes().is_none();
        Ok(self
            .segments
            .iter()
            .filter(uncoded)
            .map(|s| Warning::NoCodes { value: s.value })
            .collect())
    }
}

/// A valid UID that is an element's only value.
pub(super) fn only_uid(set: &Dataset, tag: Tag) -> Option<&str> {
    let mut all = set.texts(tag);
    all.next().filter(|uid| uid::is_valid(uid)).filter(|_| all.next().is_none())
}

impl Segment {
    /// Its label, or something in its place: an object must name it.
    pub(super) fn name(&self, number: usize) -> String {
        let label = self.label.trim();
        if label.is_empty() { format!("Segment {number}") } else { label.to_owned() }
    }

    /// Category and type, if both are there and valid.
    pub(super) fn codes(&self) -> Option<[&Code; 2]> {
        let codes = [self.category.as_ref()?, self.kind.as_ref()?];
        codes.iter().all(|code| code.is_valid()).then_some(codes)
    }
}
