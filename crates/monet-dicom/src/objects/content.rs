//! Content items of structured reports (C.17.3).

use super::codes::Code;
use super::text::Encoder;
use crate::dataset::Dataset;
use crate::tags;

/// What an item is to the one that holds it (C.17.3.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Contains,
    Modifier,
    Context,
}

impl Relation {
    fn name(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::Modifier => "HAS CONCEPT MOD",
            Self::Context => "HAS OBS CONTEXT",
        }
    }
}

fn item(encoder: &Encoder, relation: Option<Relation>, kind: &str, name: &Code) -> Dataset {
    let mut item = Dataset::new();
    // The root is in no relation.
    if let Some(relation) = relation {
        item.put_text(tags::RELATIONSHIP, b"CS", relation.name());
    }
    item.put_text(tags::VALUE_TYPE, b"CS", kind);
    encoder.put_codes(&mut item, tags::CONCEPT_NAME, [name]);
    item
}

/// Items under a heading, after a template.
pub(super) fn container(
    encoder: &Encoder,
    relation: Option<Relation>,
    name: &Code,
    template: Option<&str>,
    content: Vec<Dataset>,
) -> Dataset {
    let mut item = item(encoder, relation, "CONTAINER", name);
    item.put_text(tags::CONTINUITY, b"CS", "SEPARATE");
    if let Some(template) = template {
        let mut identification = Dataset::new();
        identification.put_text(tags::MAPPING_RESOURCE, b"CS", "DCMR");
        identification.put_text(tags::TEMPLATE, b"CS", template);
        item.put_items(tags::CONTENT_TEMPLATE, vec![identification]);
    }
    if !content.is_empty() {
        item.put_items(tags::CONTENT, content);
    }
    item
}

/// A code.
pub(super) fn code(encoder: &Encoder, relation: Relation, name: &Code, value: &Code) -> Dataset {
    let mut item = item(encoder, Some(relation), "CODE", name);
    encoder.put_codes(&mut item, tags::CONCEPT_CODE, [value]);
    item
}

/// Text.
pub(super) fn text(encoder: &Encoder, relation: Relation, name: &Code, value: &str) -> Dataset {
    let mut item = item(encoder, Some(relation), "TEXT", name);
    item.put_bytes(tags::TEXT_VALUE, b"UT", encoder.encode(value, 1024));
    item
}

/// A UID.
pub(super) fn uid(encoder: &Encoder, relation: Relation, name: &Code, value: &str) -> Dataset {
    let mut item = item(encoder, Some(relation), "UIDREF", name);
    item.put_text(tags::UID_VALUE, b"UI", value);
    item
}

/// An image, or a segment of one.
pub(super) fn image(
    encoder: &Encoder,
    relation: Relation,
    name: &Code,
    reference: Dataset,
) -> Dataset {
    let mut item = item(encoder, Some(relation), "IMAGE", name);
    item.put_items(tags::REFERENCED_SOP, vec![reference]);
    item
}

/// A number with its units, and what more there is to say of it.
pub(super) fn number(
    encoder: &Encoder,
    name: &Code,
    value: &str,
    units: &Code,
    content: Vec<Dataset>,
) -> Dataset {
    let mut item = item(encoder, Some(Relation::Contains), "NUM", name);
    let mut measured = Dataset::new();
    encoder.put_codes(&mut measured, tags::UNITS, [units]);
    measured.put_text(tags::NUMERIC_VALUE, b"DS", value);
    item.put_items(tags::MEASURED_VALUE, vec![measured]);
    if !content.is_empty() {
        item.put_items(tags::CONTENT, content);
    }
    item
}
