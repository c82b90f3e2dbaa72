//! Label map segmentations (A.51, C.8.20.2, Supplement 243): a frame a slice, one byte a pixel.
//!
//! How many frames there are is known before the first comes, so planes go to the file at once.

use std::io::Write;

use super::context::{Context, Kind};
use super::error::{ObjectError, Warning};
use super::groups::{Frame, Groups};
use super::header::header;
use super::segment::describe_segments;
use crate::dataset::Vr;
use crate::tags;
use crate::write::{Syntax, WriteError, Writer};

const PIXELS: Vr = Vr(*b"OB");

/// Writes a label map segmentation of planes that come one by one.
#[derive(Debug)]
pub struct LabelmapWriter<'a, W> {
    context: &'a Context,
    writer: Writer<W>,
    warnings: Vec<Warning>,
    planes: usize,
}

impl<'a, W: Write> LabelmapWriter<'a, W> {
    /// Begins a segmentation: writes all but the pixels.
    ///
    /// # Errors
    ///
    /// What makes an object impossible, or what the destination says: see [`ObjectError`].
    pub fn new(context: &'a Context, out: W) -> Result<Self, ObjectError> {
        let kind = Kind::Labelmap;
        let mut header = header(context, kind)?;
        let slices = &context.source.slices;
        let groups = Groups::new(context, &mut header, false);
        header.derived_image(context, "DERIVED\\PRIMARY");
        header.pixels(context, 8);
        // Which value is the background.
        header.set.put_u16(tags::PADDING_VALUE, &[0]);
        describe_segments(context, kind, &mut header);
        groups.describe(kind, &mut header.set);
        header.references(context, slices.iter());
        header.set.put_text(tags::FRAMES, b"IS", slices.len().to_string());
        let instance = context.instance_uid(kind);
        let mut writer = Writer::file(out, Syntax::Explicit, kind.class_uid(), &instance)?;
        writer.elements(&header.set)?;
        let frame = |slice| Frame { slice, rank: slice as u32 + 1, segment: None };
        let frames = (0..slices.len()).map(|slice| groups.frame(frame(slice)));
        writer.sequence(tags::PER_FRAME, frames)?;
        let length = slices.len() as u64 * context.plane_len() as u64;
        writer.begin_value(tags::PIXEL_DATA, PIXELS, length)?;
        Ok(Self { context, writer, warnings: header.warnings, planes: 0 })
    }

    /// Takes the next slice's labels, row by row.
    ///
    /// # Errors
    ///
    /// A plane of another size, one too many, a value of no segment, or what the destination says.
    pub fn push(&mut self, plane: &[u8]) -> Result<(), ObjectError> {
        self.context.present(plane, self.planes)?;
        self.writer.get_mut().write_all(plane).map_err(WriteError::from)?;
        self.planes += 1;
        Ok(())
    }

    /// Ends the file, once all planes have come.
    ///
    /// # Errors
    ///
    /// Planes that are missing, or what the destination says.
    pub fn finish(mut self) -> Result<(W, Vec<Warning>), ObjectError> {
        self.context.check_count(self.planes)?;
        let length = self.planes as u64 * self.context.plane_len() as u64;
        self.writer.pad(PIXELS, length)?;
        Ok((self.writer.finish()?, self.warnings))
    }
}
