//! Memory of object writers does not grow with the number of slices. A test program of its own,
//! since the operating system tells the memory of a whole process.

#![cfg(target_os = "linux")]

use std::io::{self, Write};

use monet_dicom::objects::{
    Algorithm, Context, LabelmapWriter, RtstructWriter, SegWriter, Segment, Slice, Source,
};
use monet_dicom::{Dataset, tags};

const ROWS: u16 = 80;
const COLUMNS: u16 = 72;
/// What a thousand slices may need more than a hundred: their descriptions.
const MORE: u64 = 2 << 20;

fn context(slices: usize) -> Context {
    let mut first = Dataset::new();
    first.put_text(tags::STUDY_UID, b"UI", "1.2.3");
    first.put_text(tags::SERIES_UID, b"UI", "1.2.3.4");
    first.put_text(tags::FRAME_OF_REFERENCE, b"UI", "1.2.3.5");
    let slice = |i| Slice {
        class_uid: "1.2.840.10008.5.1.4.1.1.2".into(),
        instance_uid: format!("1.3.6.1.4.1.14519.5.2.1.1706.4009.3032977030123456.{i}"),
        frame: None,
        position: format!("-123.500000\\-210.250000\\{i}").into_bytes(),
        orientation: b"1.000000\\0.000000\\0.000000\\0.000000\\1.000000\\0.000000".to_vec(),
        spacing: b"0.7031250\\0.7031250".to_vec(),
        thickness: b"1.0".to_vec(),
    };
    let segment = |value| Segment {
        value,
        label: format!("organ {value}"),
        colour: [255, 0, 0],
        category: None,
        kind: None,
        modifiers: Vec::new(),
        region: None,
    };
    let text = || "x".to_owned();
    Context {
        source: Source {
            first,
            slices: (0..slices).map(slice).collect(),
            rows: ROWS,
            columns: COLUMNS,
            slice_spacing: Some(1.0),
        },
        segments: (1..=2).map(segment).collect(),
        algorithm: Algorithm {
            name: text(),
            version: text(),
            sha256: text(),
            manufacturer: text(),
            model: text(),
            software: text(),
            serial: text(),
        },
        identity: Vec::new(),
        content: Vec::new(),
        moment: None,
        series_number: None,
    }
}

/// A plane that changes from slice to slice.
fn plane(slice: usize) -> Vec<u8> {
    let pixel = |at: usize| {
        let [row, column] = [at / usize::from(COLUMNS), at % usize::from(COLUMNS)];
        ((row + slice) / 16 + column / 19) as u8 % 3
    };
    (0..usize::from(ROWS) * usize::from(COLUMNS)).map(pixel).collect()
}

/// Most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
}

fn write_all(slices: usize) {
    let context = context(slices);
    let spool = || tempfile::tempfile().unwrap();
    let mut seg = SegWriter::new(&context, spool()).unwrap();
    let mut contours = RtstructWriter::new(&context, spool()).unwrap();
    let mut map = LabelmapWriter::new(&context, io::sink()).unwrap();
    for slice in 0..slices {
        let plane = plane(slice);
        seg.push(&plane).unwrap();
        contours.push(&plane).unwrap();
        map.push(&plane).unwrap();
    }
    let mut written = Counter(0);
    seg.finish(&mut written).unwrap();
    contours.finish(&mut written).unwrap();
    map.finish().unwrap();
    // Bits of both labels, and many contours.
    assert!(written.0 > slices as u64 * 4_000, "{} bytes", written.0);
}

struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_thousand_slices_take_the_memory_of_a_hundred() {
    write_all(100);
    let few = peak();
    write_all(1000);
    let many = peak();
    eprintln!("peak: {few} bytes for 100 slices, {} more for 1000", many - few);
    assert!(many - few < MORE, "{} bytes more", many - few);
}
