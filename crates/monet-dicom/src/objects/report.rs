//! Measurement reports: Enhanced SR (A.35.2) after template 1500 (PS3.16), a group a segment.
//!
//! ```text
//!  Imaging Measurement Report (TID 1500)
//!  ├─ language, device observer (TID 1004), procedure reported
//!  └─ Imaging Measurements
//!     └─ Measurement Group (TID 1411), one for each segment
//!        ├─ tracking, finding, finding site, referenced segment, source series
//!        ├─ algorithm (TID 4019)
//!        └─ volume; mean, standard deviation, minimum and maximum of the intensity
//! ```

use std::io::Write;

use super::codes::{Code, TISSUE};
use super::content::{Relation, code, container, image, number, text, uid};
use super::context::{Context, Kind, Segment};
use super::error::{ObjectError, Warning};
use super::groups::decimal;
use super::header::{header, instances, reference};
use super::text::Encoder;
use crate::dataset::Dataset;
use crate::tags;
use crate::write::{Syntax, Writer};

/// What was measured of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// The segment's value in the planes of labels.
    pub value: u8,
    /// Its volume in cubic millimetres.
    pub volume: f64,
    /// Its intensities, unless it has no voxel.
    pub intensity: Option<Intensity>,
}

/// Intensities of a segment in the source's units: Hounsfield units in computed tomography.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intensity {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub largest: f64,
}

static REPORT: Code = Code::new("126000", "DCM", "Imaging Measurement Report");
static LANGUAGE: Code = Code::new("121049", "DCM", "Language of Content Item and Descendants");
static ENGLISH: Code = Code::new("en-US", "RFC5646", "English (United States)");
static OBSERVER_TYPE: Code = Code::new("121005", "DCM", "Observer Type");
static DEVICE: Code = Code::new("121007", "DCM", "Device");
static DEVICE_UID: Code = Code::new("121012", "DCM", "Device Observer UID");
static DEVICE_NAME: Code = Code::new("121013", "DCM", "Device Observer Name");
static DEVICE_MAKER: Code = Code::new("121014", "DCM", "Device Observer Manufacturer");
static DEVICE_MODEL: Code = Code::new("121015", "DCM", "Device Observer Model Name");
static DEVICE_SERIAL: Code = Code::new("121016", "DCM", "Device Observer Serial Number");
static PROCEDURE: Code = Code::new("121058", "DCM", "Procedure reported");
static MEASUREMENTS: Code = Code::new("126010", "DCM", "Imaging Measurements");
static GROUP: Code = Code::new("125007", "DCM", "Measurement Group");
static TRACKING: Code = Code::new("112039", "DCM", "Tracking Identifier");
static TRACKING_UID: Code = Code::new("112040", "DCM", "Tracking Unique Identifier");
static CATEGORY: Code = Code::new("276214006", "SCT", "Finding category");
static FINDING: Code = Code::new("121071", "DCM", "Finding");
static SITE: Code = Code::new("363698007", "SCT", "Finding Site");
static SEGMENT: Code = Code::new("121191", "DCM", "Referenced Segment");
static SOURCE_SERIES: Code = Code::new("121232", "DCM", "Source series for segmentation");
static ALGORITHM: Code = Code::new("111001", "DCM", "Algorithm Name");
static ALGORITHM_VERSION: Code = Code::new("111003", "DCM", "Algorithm Version");
static ALGORITHM_PARAMETERS: Code = Code::new("111002", "DCM", "Algorithm Parameters");
static VOLUME: Code = Code::new("118565006", "SCT", "Volume");
static CUBIC_MILLIMETRE: Code = Code::new("mm3", "UCUM", "cubic millimeter");
static DERIVATION: Code = Code::new("121401", "DCM", "Derivation");
static MEAN: Code = Code::new("373098007", "SCT", "Mean");
static DEVIATION: Code = Code::new("386136009", "SCT", "Standard Deviation");
static LEAST: Code = Code::new("255605001", "SCT", "Minimum");
static LARGEST: Code = Code::new("56851009", "SCT", "Maximum");

/// What a modality's procedure and intensities are called, and in which units these are.
struct Modality {
    procedure: Code,
    intensity: Code,
    units: Code,
}

static CT: Modality = Modality {
    procedure: Code::new("77477000", "SCT", "Computed tomography"),
    intensity: Code::new("112031", "DCM", "Attenuation Coefficient"),
    units: Code::new("[hnsf'U]", "UCUM", "Hounsfield unit"),
};
static MR: Modality = Modality {
    procedure: Code::new("113091000", "SCT", "Magnetic resonance imaging"),
    intensity: Code::new("110852", "DCM", "MR signal intensity"),
    units: Code::new("1", "UCUM", "no units"),
};
static OTHER: Modality = Modality {
    procedure: Code::new("363679005", "SCT", "Imaging"),
    intensity: Code::new("INTENSITY", "99MONET", "Intensity"),
    units: Code::new("1", "UCUM", "no units"),
};

/// Writes a report on segments, which it refers to in a segmentation of a kind: the instance that
/// a writer of that kind makes of this context.
///
/// # Errors
///
/// A measurement of no segment or that is no finite number, what makes an object impossible, or
/// what the destination says: see [`ObjectError`].
pub fn write<W: Write>(
    context: &Context,
    segmentation: Kind,
    measurements: &[Measurement],
    out: W,
) -> Result<(W, Vec<Warning>), ObjectError> {
    let mut header = header(context, Kind::Report)?;
    header.content_moment();
    let set = &mut header.set;
    set.put_items(tags::PERFORMED_STEP, Vec::new());
    set.put_items(tags::PERFORMED_CODES, Vec::new());
    set.put_text(tags::COMPLETION, b"CS", "COMPLETE");
    set.put_text(tags::VERIFICATION, b"CS", "UNVERIFIED");
    set.put_items(tags::EVIDENCE, vec![evidence(context, segmentation)]);
    let report = Report { context, segmentation, text: &header.text };
    let root = report.root(measurements)?;
    // What the report says, which its UID follows from.
    let mut said = Writer::data_set(Vec::new(), Syntax::Explicit);
    said.elements(&root)?;
    let instance = context.instance_of(Kind::Report, &said.finish()?);
    root.iter().for_each(|element| set.put(element.clone()));
    set.put_text(tags::SOP_INSTANCE, b"UI", &instance);
    let class = Kind::Report.class_uid();
    let mut writer = Writer::file(out, Syntax::Explicit, class, &instance)?;
    writer.elements(&*set)?;
    Ok((writer.finish()?, header.warnings))
}

/// The instances that the report refers to (C.17.2.1): the segmentation and its source.
fn evidence(context: &Context, segmentation: Kind) -> Dataset {
    let series = |uid: &str, instances| {
        let mut series = Dataset::new();
        series.put_text(tags::SERIES_UID, b"UI", uid);
        series.put_items(tags::REFERENCED_SOP, instances);
        series
    };
    let segmented = reference(segmentation.class_uid(), &context.instance_uid(segmentation));
    let mut study = Dataset::new();
    let study_uid = context.source.first.text(tags::STUDY_UID).unwrap_or_default();
    study.put_text(tags::STUDY_UID, b"UI", study_uid);
    let of_segmentation = series(&context.series_uid(segmentation), vec![segmented]);
    let of_source = series(context.source_series(), instances(context.source.slices.iter()));
    study.put_items(tags::REFERENCED_SERIES, vec![of_segmentation, of_source]);
    study
}

struct Report<'a> {
    context: &'a Context,
    segmentation: Kind,
    text: &'a Encoder,
}

impl Report<'_> {
    fn root(&self, measurements: &[Measurement]) -> Result<Dataset, ObjectError> {
        let t = self.text;
        let groups: Result<Vec<_>, _> =
            measurements.iter().map(|measurement| self.group(measurement)).collect();
        let mut content = vec![code(t, Relation::Modifier, &LANGUAGE, &ENGLISH)];
        content.extend(self.observer());
        content.push(code(t, Relation::Modifier, &PROCEDURE, &self.modality().procedure));
        content.push(container(t, Some(Relation::Contains), &MEASUREMENTS, None, groups?));
        Ok(container(t, None, &REPORT, Some("1500"), content))
    }

    /// Who observed: this device.
    fn observer(&self) -> Vec<Dataset> {
        let (t, algorithm) = (self.text, &self.context.algorithm);
        let context = Relation::Context;
        let device = [&algorithm.manufacturer, &algorithm.model, &algorithm.serial];
        let parts: Vec<&[u8]> = device.iter().map(|part| part.as_bytes()).collect();
        let mut items = vec![
            code(t, context, &OBSERVER_TYPE, &DEVICE),
            uid(t, context, &DEVICE_UID, &crate::uid::derived(&parts)),
        ];
        let named = [
            (&DEVICE_NAME, &algorithm.model),
            (&DEVICE_MAKER, &algorithm.manufacturer),
            (&DEVICE_MODEL, &algorithm.model),
            (&DEVICE_SERIAL, &algorithm.serial),
        ];
        let named = named.into_iter().filter(|(_, value)| !value.trim().is_empty());
        items.extend(named.map(|(name, value)| text(t, context, name, value)));
        items
    }

    fn modality(&self) -> &'static Modality {
        let first = &self.context.source.first;
        match first.text(tags::MODALITY) {
            Some("CT") if matches!(first.text(tags::RESCALE_TYPE), None | Some("HU")) => &CT,
            Some("MR") => &MR,
            _ => &OTHER,
        }
    }

    /// What is known of a segment.
    fn group(&self, measurement: &Measurement) -> Result<Dataset, ObjectError> {
        let value = measurement.value;
        let index = self.context.segment_of_value()[usize::from(value)];
        let index = usize::from(index.ok_or(ObjectError::UnknownValue { value })?);
        let segment = &self.context.segments[index];
        let number = match self.segmentation {
            Kind::Labelmap => u16::from(value),
            _ => index as u16 + 1,
        };
        let mut items = self.subject(segment, number);
        items.extend(self.numbers(measurement)?);
        Ok(container(self.text, Some(Relation::Contains), &GROUP, Some("1411"), items))
    }

    /// Which segment a group is about, and what found it.
    fn subject(&self, segment: &Segment, number: u16) -> Vec<Dataset> {
        let (t, algorithm) = (self.text, &self.context.algorithm);
        let tracking = self.context.uid(Kind::Report, &format!("segment {}", segment.value));
        let [category, kind] = segment.codes().map_or([&TISSUE, &TISSUE], |codes| codes);
        let mut items = vec![
            text(t, Relation::Context, &TRACKING, &segment.name(number.into())),
            uid(t, Relation::Context, &TRACKING_UID, &tracking),
            code(t, Relation::Contains, &CATEGORY, category),
            code(t, Relation::Contains, &FINDING, kind),
        ];
        if let Some(region) = segment.region.as_ref().filter(|code| code.is_valid()) {
            items.push(code(t, Relation::Modifier, &SITE, region));
        }
        items.push(text(t, Relation::Modifier, &ALGORITHM, &algorithm.name));
        items.push(text(t, Relation::Modifier, &ALGORITHM_VERSION, &algorithm.version));
        let parameters = format!("sha256={}", algorithm.sha256);
        items.push(text(t, Relation::Modifier, &ALGORITHM_PARAMETERS, &parameters));
        let kind = self.segmentation;
        let mut segmented = reference(kind.class_uid(), &self.context.instance_uid(kind));
        segmented.put_u16(tags::REFERENCED_SEGMENT, &[number]);
        items.push(image(t, Relation::Contains, &SEGMENT, segmented));
        items.push(uid(t, Relation::Contains, &SOURCE_SERIES, self.context.source_series()));
        items
    }

    fn numbers(&self, measurement: &Measurement) -> Result<Vec<Dataset>, ObjectError> {
        let t = self.text;
        let checked = |value: f64| {
            let value = Some(value).filter(|value| value.is_finite());
            value.map(decimal).ok_or(ObjectError::Measurement { value: measurement.value })
        };
        let volume = checked(measurement.volume)?;
        let mut items = vec![number(t, &VOLUME, &volume, &CUBIC_MILLIMETRE, Vec::new())];
        let Some(intensity) = measurement.intensity else { return Ok(items) };
        let modality = self.modality();
        for (derivation, value) in [
            (&MEAN, intensity.mean),
            (&DEVIATION, intensity.deviation),
            (&LEAST, intensity.least),
            (&LARGEST, intensity.largest),
        ] {
            let how = code(t, Relation::Modifier, &DERIVATION, derivation);
            let (name, units) = (&modality.intensity, &modality.units);
            items.push(number(t, name, &checked(value)?, units, vec![how]));
        }
        Ok(items)
    }
}
