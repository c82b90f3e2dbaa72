//! Secondary captures (A.8.1): a picture for systems that show nothing else.

use std::io::Write;

use super::context::{Context, Kind};
use super::error::{ObjectError, Warning};
use super::header::{header, instances};
use crate::dataset::Vr;
use crate::tags;
use crate::write::{Syntax, WriteError, Writer};

/// Writes a picture: rows of pixels of red, green and blue.
///
/// # Errors
///
/// A picture of another size, what makes an object impossible, or what the destination says: see
/// [`ObjectError`].
pub fn write<W: Write>(
    context: &Context,
    rows: u16,
    columns: u16,
    rgb: &[u8],
    out: W,
) -> Result<(W, Vec<Warning>), ObjectError> {
    let pixels = usize::from(rows) * usize::from(columns);
    if rgb.len() != 3 * pixels || pixels == 0 {
        return Err(ObjectError::PictureSize { rows, columns, found: rgb.len() });
    }
    let mut header = header(context, Kind::Capture)?;
    header.derived_image(context, "DERIVED\\SECONDARY");
    let set = &mut header.set;
    // Made by a program, not digitized.
    set.put_text(tags::CONVERSION_TYPE, b"CS", "SYN");
    set.put_text(tags::PATIENT_ORIENTATION, b"CS", "");
    // Of a paired body part the side would have to be known; a picture may show both.
    set.remove(tags::BODY_PART);
    set.put_text(tags::LATERALITY, b"CS", "");
    set.put_text(tags::BURNED_IN, b"CS", "NO");
    set.put_items(tags::SOURCE_IMAGES, instances(context.source.slices.iter()));
    set.put_u16(tags::SAMPLES_PER_PIXEL, &[3]);
    set.put_text(tags::PHOTOMETRIC, b"CS", "RGB");
    set.put_u16(tags::PLANAR_CONFIGURATION, &[0]);
    set.put_u16(tags::ROWS, &[rows]);
    set.put_u16(tags::COLUMNS, &[columns]);
    set.put_u16(tags::BITS_ALLOCATED, &[8]);
    set.put_u16(tags::BITS_STORED, &[8]);
    set.put_u16(tags::HIGH_BIT, &[7]);
    set.put_u16(tags::PIXEL_REPRESENTATION, &[0]);
    let (class, instance) = (Kind::Capture.class_uid(), context.instance_of(Kind::Capture, rgb));
    set.put_text(tags::SOP_INSTANCE, b"UI", &instance);
    let mut writer = Writer::file(out, Syntax::Explicit, class, &instance)?;
    writer.elements(&*set)?;
    let vr = Vr(*b"OB");
    writer.begin_value(tags::PIXEL_DATA, vr, rgb.len() as u64)?;
    writer.get_mut().write_all(rgb).map_err(WriteError::from)?;
    writer.pad(vr, rgb.len() as u64)?;
    Ok((writer.finish()?, header.warnings))
}
