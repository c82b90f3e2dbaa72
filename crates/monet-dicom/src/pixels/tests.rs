//! Frames of files that tests write: each way of finding a frame, each way of storing it.

use std::io::{Cursor, Read};

use proptest::prelude::*;

use super::format::tests::format;
use super::*;
use crate::dataset::{Dataset, Vr};
use crate::read::{Header, PixelData, PixelPlace, Source};
use crate::tags::{
    BITS_ALLOCATED, BITS_STORED, COLUMNS, FRAMES, HIGH_BIT, PIXEL_DATA, PIXEL_REPRESENTATION, ROWS,
    SAMPLES_PER_PIXEL,
};

/// A header of an image of `rows` x 3 pixels.
fn header(rows: u16, bits: u16, frames: u32, syntax: Syntax, place: PixelPlace) -> Header {
    let mut data = Dataset::new();
    for (tag, number) in [
        (ROWS, rows),
        (COLUMNS, 3),
        (SAMPLES_PER_PIXEL, 1),
        (BITS_ALLOCATED, bits),
        (BITS_STORED, bits),
        (HIGH_BIT, bits - 1),
        (PIXEL_REPRESENTATION, 0),
    ] {
        data.put_u16(tag, &[number]);
    }
    data.put_text(FRAMES, b"IS", frames.to_string());
    let vr = Vr(*b"OW");
    Header {
        meta: Dataset::new(),
        big_endian: syntax.is_big_endian(),
        syntax,
        data,
        pixels: Some(PixelData { tag: PIXEL_DATA, vr, place, extended_offsets: None }),
        skipped: Vec::new(),
    }
}

fn native(length: usize) -> PixelPlace {
    PixelPlace::Native { offset: 5, length: length as u32 }
}

fn reader(header: &Header, pixels: &[u8]) -> Result<FrameReader, PixelError> {
    FrameReader::new(header, Box::new(Cursor::new([b"front", pixels].concat())))
}

fn frame(reader: &mut FrameReader, frame: u32) -> Result<Vec<u8>, PixelError> {
    let mut samples = Vec::new();
    reader.read(frame, &mut Echo, &mut samples).map(|()| samples)
}

/// Gives the compressed bytes, cut to a frame's length.
struct Echo;

impl Decode for Echo {
    fn decode(
        &mut self,
        _: &Syntax,
        format: &PixelFormat,
        compressed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), PixelError> {
        out.extend(&compressed[..format.frame_bytes()]);
        Ok(())
    }
}

#[test]
fn native_frames_are_read_in_any_order() {
    let pixels: Vec<u8> = (0..24).collect();
    let header = header(2, 16, 2, Syntax::ExplicitLittle, native(24));
    let mut reader = reader(&header, &pixels).unwrap();
    assert_eq!(frame(&mut reader, 1).unwrap(), pixels[12..]);
    assert_eq!(frame(&mut reader, 0).unwrap(), pixels[..12]);
    assert!(matches!(frame(&mut reader, 2), Err(PixelError::Frame { frame: 2, frames: 2 })));
}

#[test]
fn frames_of_one_bit_follow_one_another_without_padding() {
    // Frames of 9 pixels: the second begins at the second bit of the second byte.
    let bits = 0b10_1110_0011_0100_1101_u32;
    let header = header(3, 1, 2, Syntax::ExplicitLittle, native(4));
    let mut reader = reader(&header, &bits.to_le_bytes()).unwrap();
    for k in 0..2 {
        let expected: Vec<u8> = (0..9).map(|n| (bits >> (9 * k + n) & 1) as u8).collect();
        assert_eq!(frame(&mut reader, k).unwrap(), expected);
    }
}

#[test]
fn big_endian_words_are_turned_round() {
    let pixels: Vec<u8> = (0..18).collect();
    let header_16 = header(3, 16, 1, Syntax::ExplicitBig, native(18));
    let turned = frame(&mut reader(&header_16, &pixels).unwrap(), 0).unwrap();
    assert_eq!(turned[..6], [1, 0, 3, 2, 5, 4]);
    // Frames of 9 bytes in words of 16 bits: the second begins within a word.
    let mut header_8 = header(3, 8, 2, Syntax::ExplicitBig, native(18));
    let mut words = reader(&header_8, &pixels).unwrap();
    assert_eq!(frame(&mut words, 0).unwrap(), [1, 0, 3, 2, 5, 4, 7, 6, 9]);
    assert_eq!(frame(&mut words, 1).unwrap(), [8, 11, 10, 13, 12, 15, 14, 17, 16]);
    header_8.pixels.as_mut().unwrap().vr = Vr(*b"OB");
    let mut bytes = reader(&header_8, &pixels).unwrap();
    assert_eq!(frame(&mut bytes, 1).unwrap(), pixels[9..]);
}

#[test]
fn pixels_that_end_early_are_an_error() {
    for (declared, there) in [(24, 20), (20, 24)] {
        let header = header(2, 16, 2, Syntax::ExplicitLittle, native(declared));
        let mut reader = reader(&header, &vec![7; there]).unwrap();
        assert!(frame(&mut reader, 0).is_ok());
        let error = frame(&mut reader, 1).unwrap_err();
        assert!(matches!(error, PixelError::Truncated { frame: 1, needed: 12, left: 8 }));
    }
}

/// A source that does not know its length, as of deflated data.
struct Stream(Cursor<Vec<u8>>);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Source for Stream {
    fn seek_to(&mut self, offset: u64) -> std::io::Result<()> {
        self.0.set_position(offset);
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        None
    }
}

#[test]
fn memory_does_not_grow_with_what_is_declared() {
    let format = PixelFormat { rows: 8192, columns: 8192, ..format([16, 16, 15], false) };
    let mut header = header(1, 16, 1, Syntax::Deflated, native(1 << 27));
    header.data.put_u16(ROWS, &[format.rows]);
    header.data.put_u16(COLUMNS, &[format.columns]);
    let mut reader =
        FrameReader::new(&header, Box::new(Stream(Cursor::new(vec![0; 1000])))).unwrap();
    let mut samples = Vec::new();
    let error = reader.read(0, &mut InProcess, &mut samples).unwrap_err();
    assert!(matches!(error, PixelError::Truncated { left: 995, .. }), "{error}");
    assert!(samples.capacity() < 1 << 16);
}

fn item(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_le_bytes();
    [&[0xfe, 0xff, 0x00, 0xe0], &length[..], bytes].concat()
}

const END: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
const ENCAPSULATED: PixelPlace = PixelPlace::Encapsulated { offset: 5 };

/// Code streams of three frames; the second is in two fragments.
fn fragments() -> [Vec<u8>; 4] {
    [vec![1, 1, 1, 1, 0xff, 0xd9], vec![2; 6], vec![2, 2, 0xff, 0xd9], vec![3, 3, 0xff, 0xd9, 0, 0]]
}

#[test]
fn frames_are_found_by_table_and_without() {
    let [a, b, c, d] = fragments();
    let items = [item(&a), item(&b), item(&c), item(&d)].concat();
    let starts = [0_u32, 14, 40];
    let table: Vec<u8> = starts.iter().flat_map(|n| n.to_le_bytes()).collect();
    let wrong: Vec<u8> = [0_u32, 1 << 20, 40].iter().flat_map(|n| n.to_le_bytes()).collect();
    let header = header(2, 8, 3, Syntax::JpegBaseline, ENCAPSULATED);
    // A basic table; none; one that leads out of the file; a delimiter that is missing.
    for (basic, end) in [(table, &END[..]), (vec![], &END), (wrong, &END), (vec![], &[])] {
        let pixels = [&item(&basic), &items, end].concat();
        let mut reader = reader(&header, &pixels).unwrap();
        assert_eq!(frame(&mut reader, 1).unwrap(), [2; 6]);
        assert_eq!(frame(&mut reader, 2).unwrap(), [3, 3, 0xff, 0xd9, 0, 0]);
        assert_eq!(frame(&mut reader, 0).unwrap(), [1, 1, 1, 1, 0xff, 0xd9]);
    }
}

#[test]
fn an_extended_table_finds_frames() {
    let [a, b, c, _] = fragments();
    let table: Vec<u8> = [0_u64, 14, 28].iter().flat_map(|n| n.to_le_bytes()).collect();
    let items = [item(&[]), item(&a), item(&b), item(&[&c[..], &[9, 9]].concat())].concat();
    let mut header = header(2, 8, 3, Syntax::JpegBaseline, ENCAPSULATED);
    let pixels = [items, END.to_vec(), table].concat();
    let at = 5 + pixels.len() as u64 - 24;
    header.pixels.as_mut().unwrap().extended_offsets = Some((at, 24));
    let mut reader = reader(&header, &pixels).unwrap();
    assert_eq!(frame(&mut reader, 2).unwrap(), [2, 2, 0xff, 0xd9, 9, 9]);
    assert_eq!(frame(&mut reader, 1).unwrap(), [2; 6]);
}

#[test]
fn one_frame_takes_all_fragments() {
    let [a, b, ..] = fragments();
    let pixels = [item(&[]), item(&a[..2]), item(&b), END.to_vec()].concat();
    let header = header(2, 8, 1, Syntax::JpegBaseline, ENCAPSULATED);
    assert_eq!(frame(&mut reader(&header, &pixels).unwrap(), 0).unwrap(), [1, 1, 2, 2, 2, 2]);
}

#[test]
fn fragments_that_cannot_be_frames_are_errors() {
    let [a, b, c, d] = fragments();
    let two = [item(&[]), item(&a), item(&d), END.to_vec()].concat();
    // Four fragments of three frames, of which no fragment ends a code stream.
    let four = [item(&[]), item(&b), item(&b), item(&b), item(&c[..2]), END.to_vec()].concat();
    let long = [item(&[]), vec![0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0x7f]].concat();
    let none = b"no items".to_vec();
    for pixels in [two, four, long, none] {
        let header = header(2, 8, 3, Syntax::JpegBaseline, ENCAPSULATED);
        let error = frame(&mut reader(&header, &pixels).unwrap(), 0).unwrap_err();
        assert!(matches!(error, PixelError::Encapsulation { .. }), "{error}");
    }
}

#[test]
fn what_is_not_decoded_is_named() {
    let refused = |syntax: &str| {
        let header = header(2, 8, 1, Syntax::from_uid(syntax), ENCAPSULATED);
        reader(&header, &[]).unwrap_err().to_string()
    };
    let error = refused("1.2.840.10008.1.2.4.110");
    assert!(error.contains("JPEG XL"), "{error}");
    let header_of = |syntax: &str| header(2, 8, 1, Syntax::from_uid(syntax), ENCAPSULATED);
    let error = super::check(&header_of("1.2.840.10008.1.2.4.110"), None).unwrap_err();
    assert!(error.advice().unwrap().contains("gdcmconv --raw"));
    assert_eq!(error.to_string().matches("convert").count(), 0, "{error}");
    assert!(refused("1.2.840.10008.1.2.4.102").contains("MPEG-4"));
    let header = header(2, 8, 1, Syntax::Rle, native(6));
    assert!(matches!(reader(&header, &[]), Err(PixelError::Unsupported(_))));
}

#[test]
fn planes_of_samples_come_side_by_side() {
    let mut header = header(1, 8, 2, Syntax::ExplicitLittle, native(18));
    header.data.put_u16(SAMPLES_PER_PIXEL, &[3]);
    header.data.put_u16(crate::tags::PLANAR_CONFIGURATION, &[1]);
    let pixels: Vec<u8> = (0..18).collect();
    let mut reader = reader(&header, &pixels).unwrap();
    assert_eq!(frame(&mut reader, 0).unwrap(), [0, 3, 6, 1, 4, 7, 2, 5, 8]);
}

proptest! {
    /// What a header shows of native pixels is what reading its frames shows.
    #[test]
    fn a_check_finds_what_reading_finds(
        frames in 1_u32..5, bits in prop::sample::select(vec![1_u16, 8, 16, 32]),
        rows in 1_u16..4, declared in 0_usize..160, there in 0_usize..160,
    ) {
        let header = header(rows, bits, frames, Syntax::ExplicitLittle, native(declared));
        let pixels = vec![0; there];
        let mut reader = reader(&header, &pixels).unwrap();
        let read = (0..frames).try_for_each(|k| frame(&mut reader, k).map(drop));
        let length = Some(5 + there as u64);
        // Up to how much is there: the frame, and how much it needs.
        let told = |error: PixelError| error.to_string().split(',').next().map(str::to_owned);
        let (found, checked) = (read.err(), super::check(&header, length).err());
        prop_assert_eq!(found.map(told), checked.map(told));
    }
}
