//! What all objects have in common: patient, study, series, equipment, instance.

use super::codes::{ACQUISITION, PROCESSING};
use super::context::{Context, Kind, Slice};
use super::error::{ObjectError, Warning};
use super::origin::Origin;
use super::text::Encoder;
use crate::dataset::Dataset;
use crate::tags;

/// Said in the description of every object and its series.
const RESEARCH: &str = "RESEARCH USE ONLY";

/// The beginnings of an object.
#[derive(Debug)]
pub(super) struct Header {
    /// The elements so far.
    pub(super) set: Dataset,
    /// Encodes further text.
    pub(super) text: Encoder,
    /// Date and time of the object.
    pub(super) moment: (String, String),
    /// What is odd about it.
    pub(super) warnings: Vec<Warning>,
}

/// Begins an object.
pub(super) fn header(context: &Context, kind: Kind) -> Result<Header, ObjectError> {
    let mut warnings = context.check()?;
    let mut origin = Origin::new(&context.source.first);
    let mut set = Dataset::new();
    origin.patient_and_study(&mut set);
    let scanner = origin.equipment();
    let taken: Vec<&Dataset> = [&set].into_iter().chain(&scanner).collect();
    let text = Encoder::new(context, &taken);
    text.put_set(&mut set);
    if !text.complete {
        warnings.push(Warning::Characters);
    }
    if text.guessed {
        warnings.push(Warning::Undeclared);
    }
    warnings.append(&mut origin.warnings);
    let moment = moment(context);
    series(context, kind, &text, &moment, &mut set);
    equipment(context, &text, scanner, &mut set);
    set.put_text(tags::SOP_CLASS, b"UI", kind.class_uid());
    set.put_text(tags::SOP_INSTANCE, b"UI", context.instance_uid(kind));
    set.put_text(tags::INSTANCE_NUMBER, b"IS", "1");
    Ok(Header { set, text, moment, warnings })
}

impl Header {
    /// Adds the frame of reference, if the source has one.
    pub(super) fn frame_of_reference(&mut self, context: &Context) {
        let mut origin = Origin::new(&context.source.first);
        origin.frame_of_reference(&mut self.set);
        self.warnings.append(&mut origin.warnings);
    }

    /// Adds what a derived image says: its type, its moment, the source's compression.
    pub(super) fn derived_image(&mut self, context: &Context, image_type: &str) {
        let mut origin = Origin::new(&context.source.first);
        origin.image(&mut self.set);
        self.warnings.append(&mut origin.warnings);
        self.set.put_text(tags::IMAGE_TYPE, b"CS", image_type);
        self.content_moment();
    }

    /// Adds Content Date and Time.
    pub(super) fn content_moment(&mut self) {
        self.set.put_text(tags::CONTENT_DATE, b"DA", &self.moment.0);
        self.set.put_text(tags::CONTENT_TIME, b"TM", &self.moment.1);
    }

    /// Adds what an image's pixels are (C.7.6.3).
    pub(super) fn pixels(&mut self, context: &Context, bits: u16) {
        let set = &mut self.set;
        set.put_u16(tags::SAMPLES_PER_PIXEL, &[1]);
        set.put_text(tags::PHOTOMETRIC, b"CS", "MONOCHROME2");
        set.put_u16(tags::ROWS, &[context.source.rows]);
        set.put_u16(tags::COLUMNS, &[context.source.columns]);
        set.put_u16(tags::BITS_ALLOCATED, &[bits]);
        set.put_u16(tags::BITS_STORED, &[bits]);
        set.put_u16(tags::HIGH_BIT, &[bits - 1]);
        set.put_u16(tags::PIXEL_REPRESENTATION, &[0]);
    }

    /// Adds the series and the instances of slices (C.12.2), each instance once.
    pub(super) fn references<'a>(
        &mut self,
        context: &Context,
        slices: impl Iterator<Item = &'a Slice>,
    ) {
        let mut series = Dataset::new();
        series.put_items(tags::REFERENCED_INSTANCES, instances(slices));
        series.put_text(tags::SERIES_UID, b"UI", context.source_series());
        self.set.put_items(tags::REFERENCED_SERIES, vec![series]);
    }
}

/// References to the instances of slices, each once. Slices of an instance lie together or not.
pub(super) fn instances<'a>(slices: impl Iterator<Item = &'a Slice>) -> Vec<Dataset> {
    let mut seen = std::collections::HashSet::new();
    slices
        .filter(|slice| seen.insert(slice.instance_uid.as_str()))
        .map(|slice| reference(&slice.class_uid, &slice.instance_uid))
        .collect()
}

/// A reference to an instance.
pub(super) fn reference(class: &str, instance: &str) -> Dataset {
    let mut item = Dataset::new();
    item.put_text(tags::REFERENCED_CLASS, b"UI", class);
    item.put_text(tags::REFERENCED_INSTANCE, b"UI", instance);
    item
}

/// A reference to a slice: an instance, or a frame of one.
pub(super) fn slice_reference(slice: &Slice) -> Dataset {
    let mut item = reference(&slice.class_uid, &slice.instance_uid);
    if let Some(frame) = slice.frame {
        item.put_text(tags::REFERENCED_FRAME, b"IS", frame.to_string());
    }
    item
}

/// Date and time of an object: given ones, or the source's.
fn moment(context: &Context) -> (String, String) {
    let first = &context.source.first;
    let valid = |tag, vr: &[u8; 2]| {
        let bytes = first.bytes(tag)?;
        let valid = crate::valid::value(crate::Vr(*vr), bytes, crate::valid::Characters::Bytes);
        first.text(tag).filter(|_| valid).map(str::to_owned)
    };
    let of_source = || {
        [
            (tags::SERIES_DATE, tags::SERIES_TIME),
            (tags::ACQUISITION_DATE, tags::ACQUISITION_TIME),
            (tags::CONTENT_DATE, tags::CONTENT_TIME),
            (tags::STUDY_DATE, tags::STUDY_TIME),
        ]
        .into_iter()
        .find_map(|(date, time)| Some((valid(date, b"DA")?, valid(time, b"TM")?)))
    };
    let first_day = || ("19700101".to_owned(), "000000".to_owned());
    context.moment.clone().or_else(of_source).unwrap_or_else(first_day)
}

/// The series (C.7.3.1).
fn series(
    context: &Context,
    kind: Kind,
    text: &Encoder,
    (date, time): &(String, String),
    set: &mut Dataset,
) {
    set.put_text(tags::MODALITY, b"CS", kind.modality());
    set.put_text(tags::SERIES_UID, b"UI", context.series_uid(kind));
    set.put_text(tags::SERIES_DATE, b"DA", date);
    set.put_text(tags::SERIES_TIME, b"TM", time);
    let source: u32 = context.source.first.integer(tags::SERIES_NUMBER).unwrap_or(0);
    // Series 4 has its segmentation in series 401; numbers that would not fit start at 1.
    let made = source.checked_mul(100).filter(|n| i32::try_from(*n).is_ok()).unwrap_or(0);
    let number = context.series_number.unwrap_or(made + u32::from(kind.number()));
    set.put_text(tags::SERIES_NUMBER, b"IS", number.to_string());
    let description = description(context, kind);
    text.put_long(set, tags::SERIES_DESCRIPTION, &description);
}

/// What an object is, in one line that ends with the words that matter.
pub(super) fn description(context: &Context, kind: Kind) -> String {
    let what = format!("{} {}", context.algorithm.name, kind.noun());
    let most = 64 - RESEARCH.len() - 3;
    let what: String = what.chars().take(most).collect();
    format!("{what} ({RESEARCH})")
}

/// The equipment (C.7.5.1, C.7.5.2) and what contributed (C.12.1): the scanner, the package.
fn equipment(context: &Context, text: &Encoder, scanner: Option<Dataset>, set: &mut Dataset) {
    let algorithm = &context.algorithm;
    let describe = |to: &mut Dataset| {
        // Elements that must not be empty.
        let named = |text: &str| if text.trim().is_empty() { "unknown" } else { text }.to_owned();
        text.put_long(to, tags::MANUFACTURER, &named(&algorithm.manufacturer));
        text.put_long(to, tags::MODEL_NAME, &named(&algorithm.model));
        text.put_long(to, tags::SERIAL_NUMBER, &named(&algorithm.serial));
        text.put_long(to, tags::SOFTWARE_VERSIONS, &named(&algorithm.software));
    };
    describe(set);
    let mut items = Vec::new();
    if let Some(mut scanner) = scanner {
        text.put_codes(&mut scanner, tags::PURPOSE, [&ACQUISITION]);
        items.push(scanner);
    }
    let mut own = Dataset::new();
    describe(&mut own);
    text.put_codes(&mut own, tags::PURPOSE, [&PROCESSING]);
    let Context { algorithm, .. } = context;
    let contribution = format!(
        "Package {} {}, SHA-256 {}. {RESEARCH}.",
        algorithm.name, algorithm.version, algorithm.sha256
    );
    own.put_bytes(tags::CONTRIBUTION, b"ST", text.encode(&contribution, 1024));
    items.push(own);
    set.put_items(tags::CONTRIBUTING_EQUIPMENT, items);
}
