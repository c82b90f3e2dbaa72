//! Headers from files that tests write byte by byte: each syntax, each limit.
use std::io::Cursor;

use super::*;
use crate::dataset::Tag;
use crate::syntax::Syntax;
use crate::tags::{COLUMNS, IMAGE_POSITION, PER_FRAME, PLANE_POSITION, ROWS, SERIES_UID};

/// An explicit element of short length.
fn short(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    bytes.extend(vr);
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend(value);
    bytes
}

/// An explicit element of long length, which need not be the value's.
fn long(tag: Tag, vr: &[u8; 2], length: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    bytes.extend(vr);
    bytes.extend([0, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(value);
    bytes
}

/// An element without representation: implicit ones, items, delimiters.
fn bare(tag: Tag, length: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    bytes.extend(length.to_le_bytes());
    bytes.extend(value);
    bytes
}

const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;

/// A file of a syntax whose data set is `set`.
fn file(syntax: &Syntax, set: &[u8]) -> Vec<u8> {
    let mut uid = syntax.uid().as_bytes().to_vec();
    uid.resize(uid.len().next_multiple_of(2), 0);
    let syntax = short(Tag(2, 0x10), b"UI", &uid);
    let length = short(Tag(2, 0), b"UL", &(syntax.len() as u32).to_le_bytes());
    [&[0; 128], b"DICM".as_slice(), &length, &syntax, set].concat()
}

fn header(bytes: &[u8]) -> Result<Header, ReadError> {
    header_of(bytes, &Keep::all())
}

fn header_of(bytes: &[u8], keep: &Keep<'_>) -> Result<Header, ReadError> {
    read(Box::new(Cursor::new(bytes.to_vec())), keep).map(|instance| instance.header)
}

fn explicit(set: &[u8]) -> Result<Header, ReadError> {
    header(&file(&Syntax::ExplicitLittle, set))
}

fn size() -> Vec<u8> {
    [short(ROWS, b"US", &[2, 0]), short(COLUMNS, b"US", &[3, 0])].concat()
}

fn pixels() -> Vec<u8> {
    long(Tag(0x7fe0, 0x10), b"OW", 12, &[7; 12])
}

#[test]
fn each_coding_gives_the_same_elements() {
    let uid = |bytes: &mut Vec<u8>| bytes.extend(short(SERIES_UID, b"UI", b"1.2.3\0"));
    let mut little = Vec::new();
    uid(&mut little);
    little.extend(size());
    let mut implicit = bare(SERIES_UID, 6, b"1.2.3\0");
    implicit.extend([bare(ROWS, 2, &[2, 0]), bare(COLUMNS, 2, &[3, 0])].concat());
    let big = [
        &[0, 0x20, 0, 0x0e, b'U', b'I', 0, 6][..],
        b"1.2.3\0",
        &[0, 0x28, 0, 0x10, b'U', b'S', 0, 2, 0, 2, 0, 0x28, 0, 0x11, b'U', b'S', 0, 2, 0, 3],
    ]
    .concat();
    let deflated = {
        use std::io::Write;
        let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        writer.write_all(&little).unwrap();
        writer.finish().unwrap()
    };
    for (said, set) in [
        (Syntax::ExplicitLittle, &little),
        (Syntax::ImplicitLittle, &implicit),
        (Syntax::ExplicitBig, &big),
        (Syntax::Deflated, &deflated),
        // Files that say one thing and do another.
        (Syntax::ExplicitLittle, &implicit),
        (Syntax::ImplicitLittle, &little),
    ] {
        let header = header(&file(&said, set)).unwrap();
        assert_eq!(header.data.integer(ROWS), Some(2_u16), "{said}");
        assert_eq!(header.data.integer(COLUMNS), Some(3_u16), "{said}");
        assert_eq!(header.data.text(SERIES_UID), Some("1.2.3"), "{said}");
        assert_eq!((header.data.len(), header.syntax), (3, said));
    }
}

#[test]
fn preamble_and_meta_may_be_missing() {
    let mut set = short(Tag(8, 5), b"CS", b"ISO_IR 100");
    set.extend(size());
    let whole = file(&Syntax::ExplicitLittle, &set);
    for bytes in [&whole[..], &whole[128..], &whole[132..], &set] {
        assert!(is_dicom(bytes));
        let header = header(bytes).unwrap();
        assert_eq!(header.syntax, Syntax::ExplicitLittle);
        assert_eq!(header.data.len(), 3);
    }
    for text in
        [&b"Hello, world, this is text."[..], b"", b"DICM", &[0; 200], b"\x1f\x8b\x08\0\0\0\0\0\0"]
    {
        assert!(!is_dicom(text), "{text:?}");
        assert!(matches!(header(text), Err(ReadError::NotDicom { .. })), "{text:?}");
    }
}

#[test]
fn reading_stops_at_pixels_and_says_where_they_lie() {
    let set = [size(), pixels()].concat();
    let bytes = file(&Syntax::ExplicitLittle, &set);
    let place = PixelPlace::Native { offset: bytes.len() as u64 - 12, length: 12 };
    assert_eq!(header(&bytes).unwrap().pixels.unwrap().place, place);
    // A file that ends in its pixels still has a header.
    assert_eq!(header(&bytes[..bytes.len() - 5]).unwrap().pixels.unwrap().place, place);
    let set = [size(), long(Tag(0x7fe0, 0x10), b"OB", UNDEFINED, &[])].concat();
    let bytes = file(&Syntax::Rle, &set);
    let place = PixelPlace::Encapsulated { offset: bytes.len() as u64 };
    assert_eq!(header(&bytes).unwrap().pixels.unwrap().place, place);
}

/// A sequence of one item that holds `inner`, with or without lengths.
fn sequence(tag: Tag, inner: &[u8], lengths: bool) -> Vec<u8> {
    if lengths {
        let item = bare(ITEM, inner.len() as u32, inner);
        return long(tag, b"SQ", item.len() as u32, &item);
    }
    let items = [bare(ITEM, UNDEFINED, inner), bare(ITEM_END, 0, &[]), bare(SEQUENCE_END, 0, &[])];
    long(tag, b"SQ", UNDEFINED, &items.concat())
}

#[test]
fn sequences_are_kept_as_asked() {
    let position = short(IMAGE_POSITION, b"DS", b"1\\2\\3 ");
    let comment = short(Tag(0x20, 0x4000), b"LT", b"no");
    for lengths in [true, false] {
        let inner =
            sequence(PLANE_POSITION, &[position.clone(), comment.clone()].concat(), lengths);
        let set =
            [size(), sequence(PER_FRAME, &[comment.clone(), inner].concat(), lengths)].concat();
        let bytes = file(&Syntax::ExplicitLittle, &set);
        let all = header(&bytes).unwrap().data;
        let item = all.item(PER_FRAME).unwrap();
        assert_eq!((item.len(), item.item(PLANE_POSITION).unwrap().len()), (2, 2));
        let keep = Keep::all().within(&[PER_FRAME], &[PLANE_POSITION, IMAGE_POSITION]);
        let some = header_of(&bytes, &keep).unwrap().data;
        let item = some.item(PER_FRAME).unwrap();
        assert_eq!((item.len(), item.item(PLANE_POSITION).unwrap().len()), (1, 1));
        let none = header_of(&bytes, &Keep::all().only(&[ROWS])).unwrap().data;
        assert_eq!(none.len(), 1);
    }
}

#[test]
fn private_and_long_elements_are_passed_over() {
    let set = [
        short(Tag(9, 0x10), b"LO", b"MAKER "),
        long(Tag(9, 0x1001), b"OB", 4, b"abcd"),
        long(Tag(0x20, 0x4000), b"UT", MAX_VALUE + 2, &vec![b'x'; MAX_VALUE as usize + 2]),
        size(),
    ]
    .concat();
    let bytes = file(&Syntax::ExplicitLittle, &set);
    let header = header(&bytes).unwrap();
    assert_eq!(header.data.len(), 2);
    assert_eq!(header.skipped.iter().map(|s| s.tag).collect::<Vec<_>>(), [Tag(0x20, 0x4000)]);
    let keep = Keep::all().private().values_up_to(MAX_VALUE + 2);
    assert_eq!(header_of(&bytes, &keep).unwrap().data.len(), 5);
}

#[test]
fn unknown_representation_of_undefined_length_is_implicit_inside() {
    let items = [
        bare(ITEM, UNDEFINED, &bare(ROWS, 2, &[9, 0])),
        bare(ITEM_END, 0, &[]),
        bare(SEQUENCE_END, 0, &[]),
    ];
    let set = [long(PER_FRAME, b"UN", UNDEFINED, &items.concat()), size()].concat();
    let data = explicit(&set).unwrap().data;
    assert_eq!(data.item(PER_FRAME).unwrap().integer(ROWS), Some(9_u16));
}

#[test]
fn odd_lengths_and_padding_are_read() {
    let set = [short(SERIES_UID, b"UI", b"1.2.3"), size(), vec![0; 30]].concat();
    assert_eq!(explicit(&set).unwrap().data.len(), 3);
    let set = [size(), long(Tag(0xfffc, 0xfffc), b"OB", 4, &[0; 4])].concat();
    assert_eq!(explicit(&set).unwrap().data.len(), 2);
    assert_eq!(explicit(&[size(), vec![0; 5]].concat()).unwrap().data.len(), 2);
}

#[test]
fn declared_lengths_are_compared_with_the_file() {
    for length in [5, 1 << 20, u32::MAX - 1] {
        let set = [size(), long(Tag(0x20, 0x4000), b"UT", length, b"four")].concat();
        let error = explicit(&set).unwrap_err();
        assert!(matches!(error, ReadError::Truncated { left: 4, .. }), "{error}");
    }
    let inner = short(IMAGE_POSITION, b"DS", b"1\\2\\3 ");
    let mut item = bare(ITEM, inner.len() as u32 - 2, &inner);
    let error = explicit(&long(PER_FRAME, b"SQ", item.len() as u32, &item)).unwrap_err();
    assert!(matches!(error, ReadError::Overrun { tag: IMAGE_POSITION, .. }), "{error}");
    item = bare(ITEM, inner.len() as u32 + 2, &inner);
    let set = [long(PER_FRAME, b"SQ", item.len() as u32, &item), size()].concat();
    let error = explicit(&set).unwrap_err();
    assert!(matches!(error, ReadError::Overrun { tag: ITEM, .. }), "{error}");
}

#[test]
fn sequences_end_at_a_limit_of_depth() {
    let nested = |levels: usize, lengths| {
        (0..levels).fold(Vec::new(), |inner, _| sequence(PER_FRAME, &inner, lengths))
    };
    for lengths in [true, false] {
        assert!(explicit(&nested(MAX_DEPTH, lengths)).is_ok());
        let bytes = file(&Syntax::ExplicitLittle, &nested(MAX_DEPTH + 1, lengths));
        assert!(matches!(header(&bytes), Err(ReadError::Depth { .. })));
        // What is not kept is walked only where its length is undefined.
        let passed_over = header_of(&bytes, &Keep::all().only(&[]));
        assert_eq!(passed_over.is_ok(), lengths);
    }
}

#[test]
fn delimiters_astray_are_errors() {
    for tag in [ITEM, ITEM_END, SEQUENCE_END] {
        let error = explicit(&[size(), bare(tag, 0, &[])].concat()).unwrap_err();
        assert!(matches!(error, ReadError::Stray { .. }), "{error}");
    }
    let set = long(
        PER_FRAME,
        b"SQ",
        UNDEFINED,
        &[bare(ITEM, UNDEFINED, &[]), bare(ITEM, 0, &[])].concat(),
    );
    assert!(matches!(explicit(&set), Err(ReadError::Stray { tag: ITEM, .. })));
    let set = long(PER_FRAME, b"SQ", UNDEFINED, &size());
    assert!(matches!(explicit(&set), Err(ReadError::NoItem { tag: ROWS, .. })));
    let set = long(PER_FRAME, b"SQ", UNDEFINED, &[]);
    assert!(matches!(explicit(&set), Err(ReadError::Truncated { .. })));
    let set = long(Tag(0x20, 0x4000), b"UT", UNDEFINED, &[]);
    assert!(matches!(explicit(&set), Err(ReadError::NoLength { .. })));
}

#[test]
fn kept_elements_have_a_limit_of_memory() {
    let empty = short(Tag(0x20, 0x4000), b"LT", &[]);
    let set = empty.repeat(1 << 18);
    let error = explicit(&set).unwrap_err();
    assert!(matches!(error, ReadError::Memory { .. }), "{error}");
    let keep = Keep::all().only(&[ROWS]);
    assert!(header_of(&file(&Syntax::ExplicitLittle, &set), &keep).unwrap().data.is_empty());
}

#[test]
fn a_directory_lists_the_files_in_use() {
    let record = |in_use: u8, kind: &[u8], file: &[u8]| {
        let parts = [
            short(Tag(4, 0x1400), b"UL", &[1, 0, 0, 0]),
            short(Tag(4, 0x1410), b"US", &[in_use; 2]),
            short(Tag(4, 0x1430), b"CS", kind),
            short(Tag(4, 0x1500), b"CS", file),
        ];
        bare(ITEM, parts.concat().len() as u32, &parts.concat())
    };
    let directory = |records: &[Vec<u8>]| {
        let records = records.concat();
        let set = long(Tag(4, 0x1220), b"SQ", records.len() as u32, &records);
        referenced(Box::new(Cursor::new(file(&Syntax::ExplicitLittle, &set))))
    };
    let files = directory(&[
        record(0xff, b"PATIENT ", b""),
        record(0xff, b"IMAGE ", b"DIR\\I1"),
        [&record(0, b"IMAGE ", b"DIR\\I2")[..]].concat(),
    ]);
    let names = |all: References| -> Vec<_> {
        all.files.into_iter().map(|id| (id.kind, id.path)).collect()
    };
    assert_eq!(names(files.unwrap()), [("IMAGE".to_owned(), "DIR/I1".into())]);
    // One that leads astray does not take the others along.
    let outside = directory(&[
        record(0xff, b"IMAGE ", b"..\\I1 "),
        record(0xff, b"IMAGE ", b"DIR\\I1"),
        record(0xff, b"IMAGE ", b"/etc/x"),
    ]);
    let outside = outside.unwrap();
    assert!(matches!(outside.refused[..], [ReadError::Directory(_), ReadError::Directory(_)]));
    assert_eq!(names(outside).len(), 1);
    let none = referenced(Box::new(Cursor::new(file(&Syntax::ExplicitLittle, &size()))));
    assert!(matches!(none, Err(ReadError::Directory(_))));
}
