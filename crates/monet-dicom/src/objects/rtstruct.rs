//! Radiotherapy structure sets (A.19, C.8.8.5 to C.8.8.8): closed contours a slice and segment.
//!
//! ```text
//!  push   plane ─▶ for each segment in it: contours, encoded ─▶ end of the spool
//!  finish structure set and regions; then, region by region, its contours from the spool
//! ```
//!
//! The file is implicit VR little endian, since an explicit length of Contour Data (3006,0050) has
//! 16 bits only: too few for a long contour.

use std::io::{Read, Seek, SeekFrom, Write};

use super::context::{Context, Kind, Slice};
use super::contours::{Point, Tracer};
use super::error::{ObjectError, Warning};
use super::groups::{decimal, parsed};
use super::header::{Header, description, header, instances, reference, slice_reference};
use super::segment::segment_kind;
use crate::dataset::Dataset;
use crate::tags;
use crate::vector::{directions, times};
use crate::write::{Syntax, Writer};

const SYNTAX: Syntax = Syntax::Implicit;
/// What a study is to a structure set that refers to it (C.8.8.5).
const STUDY: &str = "1.2.840.10008.3.1.2.3.1";
/// No place and no step is farther, in millimetres.
const FARTHEST: f64 = 1e6;
/// How far text may move a vertex, in pixels.
const PRECISION: f64 = 2e-4;

/// Writes a structure set of planes that come one by one.
#[derive(Debug)]
pub struct RtstructWriter<'a, S> {
    context: &'a Context,
    header: Header,
    spool: S,
    /// Where in the spool the contours of which segment are, and how many bytes.
    spooled: Vec<Spooled>,
    spooled_len: u64,
    /// How many contours each segment has so far.
    counts: Vec<u32>,
    tracer: Tracer,
    segments: [Option<u8>; 256],
    planes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spooled {
    segment: u8,
    start: u64,
    length: u64,
}

impl<'a, S: Read + Write + Seek> RtstructWriter<'a, S> {
    /// Begins a structure set. The spool is an empty temporary file.
    ///
    /// # Errors
    ///
    /// What makes an object impossible, such as a slice without a place: see [`ObjectError`].
    pub fn new(context: &'a Context, spool: S) -> Result<Self, ObjectError> {
        let mut header = header(context, Kind::Rtstruct)?;
        if context.frame_of_reference().is_none() {
            return Err(ObjectError::NoFrameOfReference);
        }
        for (index, slice) in context.source.slices.iter().enumerate() {
            Place::of(slice).ok_or(ObjectError::NoGeometry { slice: index + 1 })?;
        }
        header.frame_of_reference(context);
        Ok(Self {
            context,
            header,
            spool,
            spooled: Vec::new(),
            spooled_len: 0,
            counts: vec![0; context.segments.len()],
            tracer: Tracer::new(context.source.rows, context.source.columns),
            segments: context.segment_of_value(),
            planes: 0,
        })
    }

    /// Takes the next slice's labels, row by row.
    ///
    /// # Errors
    ///
    /// A plane of another size, one too many, a value of no segment, or what the spool says.
    pub fn push(&mut self, plane: &[u8]) -> Result<(), ObjectError> {
        let present = self.context.present(plane, self.planes)?;
        let slice = &self.context.source.slices[self.planes];
        let place = Place::of(slice).ok_or(ObjectError::NoGeometry { slice: self.planes + 1 })?;
        for value in (1..=255).filter(|value| present[usize::from(*value)]) {
            let Some(segment) = self.segments[usize::from(value)] else { continue };
            let contours = self.tracer.contours(plane, value);
            let mut writer = Writer::data_set(Vec::new(), SYNTAX);
            for contour in contours {
                let count = &mut self.counts[usize::from(segment)];
                *count += 1;
                let item = contour_item(&contour, slice, &place, *count);
                writer.begin_item(SYNTAX.length(&item))?;
                writer.elements(&item)?;
            }
            let bytes = writer.finish()?;
            self.spool.write_all(&bytes).map_err(ObjectError::Spool)?;
            let (start, length) = (self.spooled_len, bytes.len() as u64);
            self.spooled.push(Spooled { segment, start, length });
            self.spooled_len += length;
        }
        self.planes += 1;
        Ok(())
    }

    /// Writes the file, once all planes have come.
    ///
    /// # Errors
    ///
    /// Planes that are missing, or what the spool or the destination says.
    pub fn finish<W: Write>(mut self, out: W) -> Result<(W, Vec<Warning>), ObjectError> {
        self.context.check_count(self.planes)?;
        self.spooled.sort_unstable();
        self.describe();
        let (class, instance) =
            (Kind::Rtstruct.class_uid(), self.context.instance_uid(Kind::Rtstruct));
        let mut writer = Writer::file(out, SYNTAX, class, &instance)?;
        let set = std::mem::take(&mut self.header.set);
        writer.elements(set.iter().filter(|element| element.tag < tags::ROI_CONTOURS))?;
        self.contours(&mut writer)?;
        writer.elements(set.iter().filter(|element| element.tag > tags::ROI_CONTOURS))?;
        Ok((writer.finish()?, self.header.warnings))
    }

    /// The structure set, and the regions but for their contours.
    fn describe(&mut self) {
        let (context, header) = (self.context, &mut self.header);
        let (text, set) = (&header.text, &mut header.set);
        set.put_bytes(tags::OPERATORS_NAME, b"PN", []);
        text.put_short(set, tags::STRUCTURE_SET_LABEL, &context.algorithm.name);
        let described = description(context, Kind::Rtstruct);
        set.put_bytes(tags::STRUCTURE_SET_DESCRIPTION, b"ST", text.encode(&described, 1024));
        set.put_text(tags::STRUCTURE_SET_DATE, b"DA", &header.moment.0);
        set.put_text(tags::STRUCTURE_SET_TIME, b"TM", &header.moment.1);
        set.put_text(tags::APPROVAL, b"CS", "UNAPPROVED");
        let frame = context.frame_of_reference().unwrap_or_default();
        set.put_items(
            tags::REFERENCED_FRAMES_OF_REFERENCE,
            vec![frame_of_reference(context, frame)],
        );
        let (mut regions, mut observations) = (Vec::new(), Vec::new());
        for (index, segment) in context.segments.iter().enumerate() {
            let number = (index + 1).to_string();
            let mut region = Dataset::new();
            region.put_text(tags::ROI_NUMBER, b"IS", &number);
            region.put_text(tags::ROI_FRAME_OF_REFERENCE, b"UI", frame);
            text.put_long(&mut region, tags::ROI_NAME, &segment.name(index + 1));
            region.put_text(tags::ROI_GENERATION, b"CS", "AUTOMATIC");
            let algorithm = &context.algorithm;
            let by = format!("{} {}", algorithm.name, algorithm.version);
            text.put_long(&mut region, tags::ROI_GENERATION_DESCRIPTION, &by);
            regions.push(region);
            let mut observation = Dataset::new();
            observation.put_text(tags::OBSERVATION_NUMBER, b"IS", &number);
            observation.put_text(tags::REFERENCED_ROI, b"IS", &number);
            observation.put_items(tags::ROI_IDENTIFICATION, vec![segment_kind(text, segment)]);
            observation.put_bytes(tags::ROI_INTERPRETED_TYPE, b"CS", []);
            observation.put_bytes(tags::ROI_INTERPRETER, b"PN", []);
            observations.push(observation);
        }
        set.put_items(tags::STRUCTURE_SET_ROIS, regions);
        set.put_items(tags::ROI_OBSERVATIONS, observations);
    }

    /// The contours of all regions (C.8.8.6).
    fn contours<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), ObjectError> {
        let context = self.context;
        // A region without contours has no sequence of them.
        let regions: Vec<(Dataset, Dataset, u64)> = (0..context.segments.len())
            .map(|index| {
                let of_segment = |spooled: &&Spooled| usize::from(spooled.segment) == index;
                let length = self.spooled.iter().filter(of_segment).map(|s| s.length).sum();
                let (mut before, mut after) = (Dataset::new(), Dataset::new());
                let colour = context.segments[index].colour.map(|c| c.to_string()).join("\\");
                before.put_text(tags::ROI_COLOUR, b"IS", colour);
                after.put_text(tags::REFERENCED_ROI, b"IS", (index + 1).to_string());
                (before, after, length)
            })
            .collect();
        let item = |(before, after, length): &(Dataset, Dataset, u64)| {
            let contours = if *length > 0 { SYNTAX.sequence(*length) } else { 0 };
            SYNTAX.length(before) + contours + SYNTAX.length(after)
        };
        let total = regions.iter().map(|region| SYNTAX.item(&Dataset::new()) + item(region)).sum();
        writer.begin_sequence(tags::ROI_CONTOURS, total)?;
        for (index, region) in regions.iter().enumerate() {
            writer.begin_item(item(region))?;
            writer.elements(&region.0)?;
            if region.2 > 0 {
                writer.begin_sequence(tags::CONTOURS, region.2)?;
            }
            for spooled in self.spooled.iter().filter(|s| usize::from(s.segment) == index) {
                self.spool.seek(SeekFrom::Start(spooled.start)).map_err(ObjectError::Spool)?;
                writer.copy(&mut self.spool, spooled.length)?;
            }
            writer.elements(&region.1)?;
        }
        Ok(())
    }
}

/// The images that the contours lie on (C.8.8.5).
fn frame_of_reference(context: &Context, uid: &str) -> Dataset {
    let mut series = Dataset::new();
    series.put_text(tags::SERIES_UID, b"UI", context.source_series());
    series.put_items(tags::CONTOUR_IMAGES, instances(context.source.slices.iter()));
    let study_uid = context.source.first.text(tags::STUDY_UID).unwrap_or_default();
    let mut study = reference(STUDY, study_uid);
    study.put_items(tags::RT_REFERENCED_SERIES, vec![series]);
    let mut item = Dataset::new();
    item.put_text(tags::FRAME_OF_REFERENCE, b"UI", uid);
    item.put_items(tags::RT_REFERENCED_STUDY, vec![study]);
    item
}

/// Where a slice lies in the patient.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) position: [f64; 3],
    /// Millimetres from a pixel to the next of its row, and to the next of its column.
    pub(super) steps: [[f64; 3]; 2],
    /// Digits after the point that coordinates need.
    digits: usize,
}

impl Place {
    pub(super) fn of(slice: &Slice) -> Option<Self> {
        let position: [f64; 3] = parsed(&slice.position)?.try_into().ok()?;
        let orientation: [f64; 6] = parsed(&slice.orientation)?.try_into().ok()?;
        let [between_rows, between_columns]: [f64; 2] = parsed(&slice.spacing)?.try_into().ok()?;
        let [row, column] = directions(orientation);
        let steps = [times(row, between_columns), times(column, between_rows)];
        let least = between_rows.min(between_columns);
        let all = [&position[..], &orientation, &[between_rows, between_columns]].concat();
        let possible = least > 0.0 && all.iter().all(|number| number.abs() <= FARTHEST);
        let digits = (-(least * PRECISION).log10()).ceil().clamp(0.0, 8.0) as usize;
        possible.then_some(Self { position, steps, digits })
    }

    /// A place of the plane in the patient, as text.
    fn text(&self, [column, row]: Point) -> String {
        let coordinate = |k: usize| {
            let [along_row, along_column] = self.steps;
            let number = self.position[k] + column * along_row[k] + row * along_column[k];
            let fixed = format!("{number:.*}", self.digits);
            if fixed.len() > 16 {
                return decimal(number);
            }
            let short = if self.digits > 0 {
                fixed.trim_end_matches('0').trim_end_matches('.')
            } else {
                &fixed
            };
            if short == "-0" { "0".to_owned() } else { short.to_owned() }
        };
        [0, 1, 2].map(coordinate).join("\\")
    }
}

fn contour_item(contour: &[Point], slice: &Slice, place: &Place, number: u32) -> Dataset {
    let mut item = Dataset::new();
    item.put_items(tags::CONTOUR_IMAGES, vec![slice_reference(slice)]);
    item.put_text(tags::CONTOUR_TYPE, b"CS", "CLOSED_PLANAR");
    item.put_text(tags::CONTOUR_POINTS, b"IS", contour.len().to_string());
    item.put_text(tags::CONTOUR_NUMBER, b"IS", number.to_string());
    let points: Vec<String> = contour.iter().map(|point| place.text(*point)).collect();
    item.put_text(tags::CONTOUR_DATA, b"DS", points.join("\\"));
    item
}
