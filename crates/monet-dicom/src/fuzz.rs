//! What a fuzzer runs: each function takes bytes and does with them what the command would. None
//! may panic, take memory without bound or go on for ever; errors are what most bytes end in.
//!
//! `cargo fuzz run dicom` and `cargo fuzz run dicom_frame` run them under libFuzzer,
//! `tests/fuzz.rs`
//! on stable Rust with a mutator of its own.

use std::io::Cursor;

use crate::dataset::Tag;
use crate::pixels::{FrameReader, InProcess, Photometric, PixelFormat, decode};
use crate::read::{Keep, Source, is_dicom, read, referenced, zip};
use crate::syntax::Syntax;
use crate::tags::{IMAGE_POSITION, PER_FRAME, PLANE_POSITION, ROWS, SHARED};

/// Largest frame that is decoded.
const MOST: usize = 1 << 20;

/// Syntaxes of [`frame`], by its first byte.
pub const SYNTAXES: &[Syntax] = &[
    Syntax::Rle,
    Syntax::DeflatedFrame,
    Syntax::JpegBaseline,
    Syntax::JpegLossless,
    Syntax::JpegLs,
    Syntax::Jpeg2000,
    Syntax::Htj2k,
];

/// A file's header, in all ways that headers are read.
pub fn header(bytes: &[u8]) {
    let source = || -> Box<dyn Source> { Box::new(Cursor::new(bytes.to_vec())) };
    let geometry: &[Tag] = &[ROWS, SHARED, PER_FRAME];
    let within: &[Tag] = &[PLANE_POSITION, IMAGE_POSITION];
    let keeps = [
        Keep::all(),
        Keep::all().private().values_up_to(u32::MAX),
        Keep::all().only(geometry).within(&geometry[1..], within),
    ];
    let known = is_dicom(bytes);
    for keep in keeps {
        assert!(read(source(), &keep).is_err() || known);
    }
    let _ = referenced(source());
    if zip::is_zip(bytes)
        && let Ok(entries) = zip::entries(&mut Cursor::new(bytes))
    {
        for entry in entries.iter().take(4) {
            if let Ok(source) = zip::unpack(Cursor::new(bytes.to_vec()), entry) {
                let _ = read(source, &Keep::all());
            }
            if let Ok(mut source) = zip::unpack(Cursor::new(bytes.to_vec()), entry) {
                let _ = zip::check(&mut source, entry);
            }
        }
    }
}

/// A file's first and last frame.
pub fn image(bytes: &[u8]) {
    let Ok(instance) = read(Box::new(Cursor::new(bytes.to_vec())), &Keep::all()) else { return };
    let Ok(mut reader) = FrameReader::new(&instance.header, instance.source) else { return };
    let format = *reader.format();
    if format.frame_bytes() > MOST {
        return;
    }
    let (mut samples, mut values) = (Vec::new(), Vec::new());
    for frame in [0, format.frames - 1] {
        if reader.read(frame, &mut InProcess, &mut samples).is_ok() {
            let _ = format.values(&samples, &mut values);
            format.clean(&mut samples);
        }
    }
}

/// The front of what [`frame`] takes.
pub const FRONT: usize = 8;

/// Syntax and format of a compressed frame, as the first [`FRONT`] bytes say.
#[must_use]
pub fn front(bytes: &[u8; FRONT]) -> (Syntax, PixelFormat) {
    let [syntax, r0, r1, c0, c1, samples, bits, stored] = bytes.map(u16::from);
    let bits_allocated = [8, 16, 32, 1][usize::from(bits % 4)];
    let bits_stored = stored % bits_allocated + 1;
    let format = PixelFormat {
        rows: r0 | (r1 & 3) << 8,
        columns: c0 | (c1 & 3) << 8,
        samples: if samples & 1 == 0 { 1 } else { 3 },
        bits_allocated,
        bits_stored,
        high_bit: bits_stored - 1,
        signed: samples & 2 != 0,
        planar: samples & 4 != 0,
        photometric: Photometric::Monochrome2,
        frames: 1,
    };
    (SYNTAXES[usize::from(syntax) % SYNTAXES.len()].clone(), format)
}

/// A compressed frame behind its description.
pub fn frame(bytes: &[u8]) {
    let Some((described, compressed)) = bytes.split_first_chunk::<FRONT>() else { return };
    let (syntax, format) = front(described);
    let mut out = Vec::new();
    if decode(&syntax, &format, compressed, &mut out).is_ok() {
        assert_eq!(out.len(), format.frame_bytes());
        let _ = format.values(&out, &mut Vec::new());
    }
}
