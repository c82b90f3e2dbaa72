//! What the writer writes, the reader reads; and no byte that is cut off or changed makes it panic.

use std::io::Cursor;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Header, Keep, ReadError, read};
use crate::dataset::{Dataset, Element, Tag, Value, Vr};
use crate::tags::{
    IMAGE_POSITION, IMAGE_TYPE, PER_FRAME, PLANE_POSITION, REFERENCED_SERIES, ROWS, SERIES_UID,
};
use crate::write::{Syntax, Writer};

/// A data set of known elements, with sequences down to a depth.
fn set(depth: u32) -> BoxedStrategy<Dataset> {
    let value = |tag, vr: &'static [u8; 2], value: BoxedStrategy<Vec<u8>>| {
        let element = move |bytes| Element { tag, vr: Vr(*vr), value: Value::Bytes(bytes) };
        proptest::option::of(value.prop_map(element))
    };
    let number = any::<u16>().prop_map(|n| n.to_le_bytes().to_vec()).boxed();
    // Even lengths: an odd one comes back padded.
    let text = |pattern: &'static str| {
        let even = |mut text: String| {
            text.truncate(text.len() / 2 * 2);
            text.into_bytes()
        };
        pattern.prop_map(even).boxed()
    };
    let position = (-999_i32..999, -9_i32..9).prop_map(|(x, y)| format!("{x}\\{y}\\0"));
    let position = position.prop_map(|text| format!("{text:<14}").into_bytes()).boxed();
    let sequence = |tag| match depth {
        0 => Just(None).boxed(),
        _ => {
            let items = vec(set(depth - 1), 0..3);
            let element = move |items| Element { tag, vr: Vr::SQ, value: Value::Items(items) };
            proptest::option::of(items.prop_map(element)).boxed()
        }
    };
    (
        value(ROWS, b"US", number),
        value(SERIES_UID, b"UI", text("1\\.2\\.[1-9]{2,20}")),
        value(IMAGE_TYPE, b"CS", text("[A-Z]{0,16}")),
        value(IMAGE_POSITION, b"DS", position),
        sequence(REFERENCED_SERIES),
        sequence(PER_FRAME),
        sequence(PLANE_POSITION),
    )
        .prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].into_iter().flatten().collect())
        .boxed()
}

fn written(set: &Dataset, syntax: Syntax) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::file(&mut bytes, syntax, "1.2", "1.2.3").unwrap().elements(set).unwrap();
    bytes
}

fn header(bytes: &[u8], keep: &Keep<'_>) -> Result<Header, ReadError> {
    read(Box::new(Cursor::new(bytes.to_vec())), keep).map(|instance| instance.header)
}

proptest! {
    #[test]
    fn what_is_written_comes_back(set in set(3), implicit: bool) {
        let syntax = if implicit { Syntax::Implicit } else { Syntax::Explicit };
        let header = header(&written(&set, syntax), &Keep::all()).unwrap();
        prop_assert_eq!(header.data, set);
        prop_assert_eq!(header.syntax.uid(), syntax.uid());
        prop_assert!(header.pixels.is_none() && header.skipped.is_empty());
    }

    #[test]
    fn what_is_kept_is_a_part(set in set(3)) {
        let bytes = written(&set, Syntax::Explicit);
        let tags: &[Tag] = &[ROWS, PER_FRAME];
        let keep = Keep::all().only(tags).within(&[PER_FRAME], &[IMAGE_POSITION]);
        let part = header(&bytes, &keep).unwrap().data;
        let expected = set.iter().filter(|element| tags.contains(&element.tag)).cloned();
        let expected: Dataset = expected
            .map(|mut element| {
                if let Value::Items(items) = &mut element.value {
                    for item in items {
                        let position = item.remove(IMAGE_POSITION);
                        *item = position.into_iter().collect();
                    }
                }
                element
            })
            .collect();
        prop_assert_eq!(part, expected);
    }

    #[test]
    fn a_part_or_a_changed_byte_is_read_or_refused(
        set in set(3), cut: prop::sample::Index, at: prop::sample::Index, byte: u8, implicit: bool,
    ) {
        let syntax = if implicit { Syntax::Implicit } else { Syntax::Explicit };
        let mut bytes = written(&set, syntax);
        let length = cut.index(bytes.len());
        let _ = header(&bytes[..length], &Keep::all());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = header(&bytes, &Keep::all().private());
    }
}
