//! Instances in files, as tests send them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use monet_dicom::read::{FileSource, Source, meta};
use monet_dicom::write::{Syntax, Writer};
use monet_dicom::{Dataset, Tag, tags};
use monet_dimse::{Association, Error, Instance, Status, Stream};

use super::server::CT;

/// A CT slice of noise in a file.
pub(crate) fn slice(folder: &Path, n: usize) -> PathBuf {
    let path = folder.join(format!("slice{n}.dcm"));
    let instance = format!("1.2.3.4.{}", n + 1);
    let file = File::create(&path).unwrap();
    let mut writer = Writer::file(file, Syntax::Explicit, CT, &instance).unwrap();
    let mut set = Dataset::new();
    set.put_text(tags::SOP_CLASS, b"UI", CT);
    set.put_text(tags::SOP_INSTANCE, b"UI", &instance);
    set.put_text(tags::STUDY_UID, b"UI", "1.2.3");
    set.put_text(tags::SERIES_UID, b"UI", "1.2.3.4");
    set.put_text(tags::PATIENT_ID, b"LO", "1");
    set.put_u16(tags::SAMPLES_PER_PIXEL, &[1]);
    set.put_text(tags::PHOTOMETRIC, b"CS", "MONOCHROME2");
    // Sizes that differ, so that ends of PDUs fall on all places.
    let (rows, columns) = (100 + n as u16, 151);
    for (tag, value) in [
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        set.put_u16(tag, &[value]);
    }
    let pixels = 2 * usize::from(rows) * usize::from(columns);
    let noise = (0..pixels).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
    set.put_bytes(Tag(0x7fe0, 0x0010), b"OW", noise.collect::<Vec<_>>());
    writer.elements(&set).unwrap();
    writer.finish().unwrap();
    path
}

/// Where a file's data set begins, and the file.
pub(crate) fn opened(path: &Path) -> (FileSource, Dataset, u64) {
    let mut source = FileSource::open(path).unwrap();
    let (said, offset) = meta(&mut source).unwrap();
    (source, said, offset)
}

pub(crate) fn data_set(path: &Path) -> Vec<u8> {
    let (_, _, offset) = opened(path);
    fs::read(path).unwrap().split_off(offset as usize)
}

/// Sends a file as `monet` would.
pub(crate) fn send<S: Stream>(
    association: &mut Association<S>,
    path: &Path,
) -> Result<Status, Error> {
    let (mut file, said, offset) = opened(path);
    let length = file.length().unwrap() - offset;
    file.seek_to(offset).unwrap();
    let uid = |tag| said.text(tag).unwrap();
    let instance = Instance {
        class: uid(Tag(2, 2)),
        instance: uid(Tag(2, 3)),
        syntax: uid(tags::TRANSFER_SYNTAX),
    };
    association.store(&instance, file.by_ref(), length).map(|response| response.status)
}
