//! What an object takes over from its source: patient, study, frame of reference, equipment.
//!
//! Values go over as bytes. A value that breaks the rules of its representation is left out, or
//! empty where an element must be there, because receivers refuse an object for it.

use super::context::only_uid;
use super::error::Warning;
use super::text::declared;
use crate::dataset::{Dataset, Tag};
use crate::tags;
use crate::valid::{self, Characters};

/// An element that is taken over.
struct Taken {
    tag: Tag,
    vr: &'static [u8; 2],
    /// Whether the element must be there, empty if need be (type 2).
    always: bool,
    /// Whether it may have several values.
    several: bool,
}

const fn always(tag: Tag, vr: &'static [u8; 2]) -> Taken {
    Taken { tag, vr, always: true, several: false }
}

const fn optional(tag: Tag, vr: &'static [u8; 2]) -> Taken {
    Taken { tag, vr, always: false, several: false }
}

const fn several(tag: Tag, vr: &'static [u8; 2]) -> Taken {
    Taken { tag, vr, always: false, several: true }
}

/// Patient (C.7.1.1), General Study (C.7.2.1), Patient Study (C.7.2.2).
const PATIENT_AND_STUDY: &[Taken] = &[
    always(tags::STUDY_DATE, b"DA"),
    always(tags::STUDY_TIME, b"TM"),
    always(tags::ACCESSION_NUMBER, b"SH"),
    always(tags::REFERRING_PHYSICIAN, b"PN"),
    optional(tags::STUDY_DESCRIPTION, b"LO"),
    always(tags::PATIENT_NAME, b"PN"),
    always(tags::PATIENT_ID, b"LO"),
    optional(tags::ISSUER_OF_PATIENT_ID, b"LO"),
    always(tags::PATIENT_BIRTH_DATE, b"DA"),
    always(tags::PATIENT_SEX, b"CS"),
    optional(tags::PATIENT_AGE, b"AS"),
    optional(tags::PATIENT_SIZE, b"DS"),
    optional(tags::PATIENT_WEIGHT, b"DS"),
    optional(tags::IDENTITY_REMOVED, b"CS"),
    several(tags::DEIDENTIFICATION_METHOD, b"LO"),
    always(tags::STUDY_UID, b"UI"),
    always(tags::STUDY_ID, b"SH"),
];

/// What of an image's series (C.7.3.1) holds for images that are made of it.
const IMAGE_SERIES: &[Taken] = &[optional(tags::BODY_PART, b"CS")];

/// Frame of Reference (C.7.4.1).
const FRAME_OF_REFERENCE: &[Taken] =
    &[always(tags::FRAME_OF_REFERENCE, b"UI"), always(tags::POSITION_REFERENCE, b"LO")];

/// Lossy compression (C.7.6.1.1.5), which a derived image inherits.
const LOSSY: &[Taken] = &[
    optional(tags::LOSSY, b"CS"),
    several(tags::LOSSY_RATIO, b"DS"),
    several(tags::LOSSY_METHOD, b"CS"),
];

/// The scanner, in the words of Contributing Equipment (C.12.1.1.5).
const EQUIPMENT: &[Taken] = &[
    optional(tags::MANUFACTURER, b"LO"),
    optional(tags::INSTITUTION, b"LO"),
    optional(tags::STATION_NAME, b"SH"),
    optional(tags::MODEL_NAME, b"LO"),
    optional(tags::SERIAL_NUMBER, b"LO"),
    several(tags::SOFTWARE_VERSIONS, b"LO"),
];

/// Takes elements over from a source.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    source: &'a Dataset,
    characters: Characters,
    /// What was left out so far.
    pub(super) warnings: Vec<Warning>,
}

impl<'a> Origin<'a> {
    pub(super) fn new(source: &'a Dataset) -> Self {
        // Text of no set that is known goes over where it shows itself that it is UTF-8.
        let set = declared(source.bytes(tags::CHARACTER_SET).unwrap_or_default());
        let characters = set.map_or(Characters::Utf8, |set| Characters::of(set.as_bytes()));
        Self { source, characters, warnings: Vec::new() }
    }

    /// Patient and study.
    pub(super) fn patient_and_study(&mut self, to: &mut Dataset) {
        self.take(PATIENT_AND_STUDY, to);
        let methods = self.source.items(tags::DEIDENTIFICATION_CODES).iter();
        let methods: Vec<Dataset> = methods.filter_map(|item| self.code(item)).collect();
        // Whoever says that the identity was removed must say how (C.7.1.1).
        if to.bytes(tags::DEIDENTIFICATION_METHOD).is_none() && methods.is_empty() {
            to.remove(tags::IDENTITY_REMOVED);
        }
        if to.text(tags::IDENTITY_REMOVED) == Some("YES") && !methods.is_empty() {
            to.put_items(tags::DEIDENTIFICATION_CODES, methods);
        }
    }

    /// The frame of reference, if the source has one.
    pub(super) fn frame_of_reference(&mut self, to: &mut Dataset) {
        if only_uid(self.source, tags::FRAME_OF_REFERENCE).is_some() {
            self.take(FRAME_OF_REFERENCE, to);
        }
    }

    /// What an image keeps of its source: the body part, and whether there were losses.
    pub(super) fn image(&mut self, to: &mut Dataset) {
        self.take(IMAGE_SERIES, to);
        self.take(LOSSY, to);
        if to.text(tags::LOSSY) != Some("01") {
            for taken in LOSSY {
                to.remove(taken.tag);
            }
            to.put_text(tags::LOSSY, b"CS", "00");
        }
    }

    /// The scanner; none if its maker is not known, which an item must say.
    pub(super) fn equipment(&mut self) -> Option<Dataset> {
        let mut equipment = Dataset::new();
        self.take(EQUIPMENT, &mut equipment);
        equipment.bytes(tags::MANUFACTURER).is_some().then_some(equipment)
    }

    fn take(&mut self, elements: &'static [Taken], to: &mut Dataset) {
        for Taken { tag, vr, always, several } in elements {
            let bytes = self.source.bytes(*tag).unwrap_or_default();
            let blank = bytes.iter().all(|byte| matches!(byte, b' ' | 0));
            let single = || valid::is_single(crate::Vr(**vr), bytes, self.characters);
            let allowed = blank || (*several || single()) && self.allowed(*tag, vr, bytes);
            if !allowed {
                let vr = std::str::from_utf8(*vr).unwrap_or_default();
                self.warnings.push(Warning::Invalid { tag: *tag, vr });
            }
            if allowed && !blank {
                to.put_bytes(*tag, vr, bytes);
            } else if *always {
                to.put_bytes(*tag, vr, []);
            }
        }
    }

    fn allowed(&self, tag: Tag, vr: &[u8; 2], bytes: &[u8]) -> bool {
        let valid = valid::value(crate::Vr(*vr), bytes, self.characters);
        // Values that the standard enumerates.
        let one_of: &[&str] = match tag {
            tags::PATIENT_SEX => &["M", "F", "O"],
            tags::IDENTITY_REMOVED => &["YES", "NO"],
            tags::LOSSY => &["00", "01"],
            _ => return valid,
        };
        valid && self.source.text(tag).is_some_and(|text| one_of.contains(&text))
    }

    /// A code, without what else an item may hold; none where a part is missing or not valid.
    fn code(&self, item: &Dataset) -> Option<Dataset> {
        let mut code = Dataset::new();
        for (tag, vr) in
            [(tags::CODE_VALUE, b"SH"), (tags::CODE_SCHEME, b"SH"), (tags::CODE_MEANING, b"LO")]
        {
            let bytes = item.bytes(tag).filter(|bytes| !bytes.trim_ascii().is_empty())?;
            let valid = valid::value(crate::Vr(*vr), bytes, self.characters);
            code.put_bytes(tag, vr, Some(bytes).filter(|_| valid)?);
        }
        Some(code)
    }
}
