//! DICOM images made on the fly.

use std::fs::File;
use std::path::Path;

use monet_dicom::write::{Syntax, Writer};
use monet_dicom::{Dataset, Tag, tags};

/// Storage class of a CT image.
pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

/// Storage class of an MR image.
pub const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

/// An element whose value is text: tag, VR, value.
pub type Text = (Tag, [u8; 2], String);

/// What is stored in an image of one plane of 16 bits.
#[derive(Clone, Copy)]
pub enum Samples<'a> {
    /// Whole numbers with a sign.
    Signed(&'a [i16]),
    /// Whole numbers without one.
    Unsigned(&'a [u16]),
}

/// An image of `rows` rows with these samples and these elements.
///
/// # Panics
///
/// Panics where the samples fill no whole rows.
pub fn image(rows: usize, samples: Samples, texts: &[Text]) -> Dataset {
    let (signed, values): (u16, Vec<[u8; 2]>) = match samples {
        Samples::Signed(values) => (1, values.iter().map(|n| n.to_le_bytes()).collect()),
        Samples::Unsigned(values) => (0, values.iter().map(|n| n.to_le_bytes()).collect()),
    };
    assert!(values.len().is_multiple_of(rows), "{} samples in {rows} rows", values.len());
    let side = |n: usize| u16::try_from(n).expect("a side is below 65536");
    let mut set = Dataset::new();
    for (tag, number) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, side(rows)),
        (tags::COLUMNS, side(values.len() / rows)),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, signed),
    ] {
        set.put_u16(tag, &[number]);
    }
    set.put_text(tags::PHOTOMETRIC, b"CS", "MONOCHROME2");
    for (tag, vr, value) in texts {
        set.put_text(*tag, vr, value);
    }
    set.put_bytes(tags::PIXEL_DATA, b"OW", values.concat());
    set
}

/// Writes a data set as a file in Explicit VR Little Endian, with the class and the UID that the
/// data set names.
///
/// # Panics
///
/// Panics where the data set names none, or the file cannot be written.
pub fn write(set: &Dataset, path: &Path) {
    let [class, instance] = [tags::SOP_CLASS, tags::SOP_INSTANCE].map(|tag| set.text(tag));
    let (class, instance) = class.zip(instance).expect("an image has a class and a UID");
    let file = File::create(path).expect("the folder is there");
    let mut writer = Writer::file(file, Syntax::Explicit, class, instance).expect("written");
    writer.elements(set).expect("written");
    writer.finish().expect("written");
}
