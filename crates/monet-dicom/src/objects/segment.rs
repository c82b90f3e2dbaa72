//! What a segmentation says of itself and of its segments (C.8.20.2, C.8.20.4).

use super::codes::{ARTIFICIAL_INTELLIGENCE, BACKGROUND, SPATIAL, TISSUE};
use super::colour::cielab;
use super::context::{Context, Kind, Segment};
use super::header::{Header, description};
use super::text::Encoder;
use crate::dataset::Dataset;
use crate::tags;

/// Adds the attributes of a segmentation and the descriptions of its segments.
pub(super) fn describe_segments(context: &Context, kind: Kind, header: &mut Header) {
    let text = &header.text;
    let set = &mut header.set;
    set.put_text(tags::CONTENT_LABEL, b"CS", "SEGMENTATION");
    text.put_long(set, tags::CONTENT_DESCRIPTION, &description(context, kind));
    set.put_bytes(tags::CONTENT_CREATOR, b"PN", []);
    set.put_text(tags::SEGMENTS_OVERLAP, b"CS", "NO");
    let numbered = context.segments.iter().enumerate();
    let items = match kind {
        Kind::Labelmap => {
            set.put_text(tags::SEGMENTATION_TYPE, b"CS", "LABELMAP");
            let segments = context.segments.iter();
            let segment = |s: &Segment| segment(context, text, s, s.value.into());
            std::iter::once(background(text)).chain(segments.map(segment)).collect()
        }
        _ => {
            set.put_text(tags::SEGMENTATION_TYPE, b"CS", "BINARY");
            numbered.map(|(i, s)| segment(context, text, s, i as u16 + 1)).collect()
        }
    };
    set.put_items(tags::SEGMENTS, items);
}

fn segment(context: &Context, text: &Encoder, segment: &Segment, number: u16) -> Dataset {
    let mut item = Dataset::new();
    item.put_u16(tags::SEGMENT_NUMBER, &[number]);
    text.put_long(&mut item, tags::SEGMENT_LABEL, &segment.name(number.into()));
    item.put_text(tags::SEGMENT_ALGORITHM_TYPE, b"CS", "AUTOMATIC");
    text.put_long(&mut item, tags::SEGMENT_ALGORITHM_NAME, &context.algorithm.name);
    item.put_u16(tags::DISPLAY_CIELAB, &cielab(segment.colour));
    let category = segment.codes().map_or(&TISSUE, |[category, _]| category);
    text.put_codes(&mut item, tags::PROPERTY_CATEGORY, [category]);
    item.put_items(tags::PROPERTY_TYPE, vec![segment_kind(text, segment)]);
    if let Some(region) = segment.region.as_ref().filter(|code| code.is_valid()) {
        text.put_codes(&mut item, tags::ANATOMIC_REGION, [region]);
    }
    item.put_items(tags::ALGORITHM_IDENTIFICATION, vec![algorithm(context, text)]);
    item
}

/// What the pixels are that have the value 0.
fn background(text: &Encoder) -> Dataset {
    let mut item = Dataset::new();
    item.put_u16(tags::SEGMENT_NUMBER, &[0]);
    text.put_long(&mut item, tags::SEGMENT_LABEL, "Background");
    item.put_text(tags::SEGMENT_ALGORITHM_TYPE, b"CS", "MANUAL");
    text.put_codes(&mut item, tags::PROPERTY_CATEGORY, [&SPATIAL]);
    text.put_codes(&mut item, tags::PROPERTY_TYPE, [&BACKGROUND]);
    item
}

/// What a segment is, as the item of a code sequence, with which part or side of it.
pub(super) fn segment_kind(text: &Encoder, segment: &Segment) -> Dataset {
    let kind = segment.codes().map_or(&TISSUE, |[_, kind]| kind);
    let mut item = text.code(kind);
    let modifiers = segment.modifiers.iter().filter(|code| code.is_valid());
    if modifiers.clone().next().is_some() {
        text.put_codes(&mut item, tags::PROPERTY_MODIFIER, modifiers);
    }
    item
}

/// The algorithm (10.16).
fn algorithm(context: &Context, text: &Encoder) -> Dataset {
    let algorithm = &context.algorithm;
    let mut item = Dataset::new();
    text.put_codes(&mut item, tags::ALGORITHM_FAMILY, [&ARTIFICIAL_INTELLIGENCE]);
    text.put_long(&mut item, tags::ALGORITHM_NAME, &algorithm.name);
    text.put_long(&mut item, tags::ALGORITHM_VERSION, &algorithm.version);
    let parameters = format!("sha256={}", algorithm.sha256);
    item.put_bytes(tags::ALGORITHM_PARAMETERS, b"LT", text.encode(&parameters, 10_240));
    text.put_long(&mut item, tags::ALGORITHM_SOURCE, &algorithm.manufacturer);
    item
}
