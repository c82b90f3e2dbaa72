//! Own text, such as labels, in the character set that the source's text has.
//!
//! An object has one Specific Character Set (0008,0005). Patient's names are taken over as bytes,
//! so the source's set stays, and own text must fit into it. Only where the source has plain ASCII
//! the set is free to become UTF-8.

use super::codes::Code;
use super::context::Context;
use crate::dataset::{Dataset, Tag};
use crate::tags;

/// Encodes own text.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    /// Specific Character Set (0008,0005) of the object; empty for ASCII.
    set: Vec<u8>,
    repertoire: Repertoire,
    /// Whether all own text of the context can be written.
    pub(super) complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repertoire {
    Ascii,
    Latin1,
    Unicode,
}

impl Encoder {
    /// For a context whose taken over text is plain ASCII or not.
    pub(super) fn new(context: &Context, taken_is_ascii: bool) -> Self {
        let own = own_text(context);
        let own_is_ascii = own.iter().all(|text| text.is_ascii());
        let source = context.source.first.bytes(tags::CHARACTER_SET).unwrap_or_default();
        let name = String::from_utf8_lossy(source);
        let name = name.trim_matches([' ', '\0']);
        let (set, repertoire) = match name {
            "" | "ISO_IR 6" if taken_is_ascii && !own_is_ascii => {
                (b"ISO_IR 192".to_vec(), Repertoire::Unicode)
            }
            "ISO_IR 192" => (source.to_vec(), Repertoire::Unicode),
            "ISO_IR 100" => (source.to_vec(), Repertoire::Latin1),
            // "ISO_IR 6" is the default, which an empty value means.
            "ISO_IR 6" => (Vec::new(), Repertoire::Ascii),
            _ => (source.to_vec(), Repertoire::Ascii),
        };
        let complete = own.iter().flat_map(|text| text.chars()).all(|c| repertoire.has(c));
        Self { set, repertoire, complete }
    }

    /// Adds the character set.
    pub(super) fn put_set(&self, to: &mut Dataset) {
        if !self.set.is_empty() {
            to.put_bytes(tags::CHARACTER_SET, b"CS", self.set.clone());
        }
    }

    /// Text of at most so many characters, without what divides values and without controls.
    pub(super) fn encode(&self, text: &str, most: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len());
        for c in text.trim().chars().take(most) {
            match c {
                '\\' => bytes.push(b'/'),
                c if c.is_control() => bytes.push(b' '),
                c if !self.repertoire.has(c) => bytes.push(b'?'),
                c if self.repertoire == Repertoire::Latin1 => bytes.push(c as u8),
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    }

    /// Adds short text (SH).
    pub(super) fn put_short(&self, to: &mut Dataset, tag: Tag, text: &str) {
        to.put_bytes(tag, b"SH", self.encode(text, 16));
    }

    /// Adds long text (LO).
    pub(super) fn put_long(&self, to: &mut Dataset, tag: Tag, text: &str) {
        to.put_bytes(tag, b"LO", self.encode(text, 64));
    }

    /// Adds a sequence of codes.
    pub(super) fn put_codes<'a>(
        &self,
        to: &mut Dataset,
        tag: Tag,
        codes: impl IntoIterator<Item = &'a Code>,
    ) {
        to.put_items(tag, codes.into_iter().map(|code| self.code(code)).collect());
    }

    /// A code as the item of a sequence.
    pub(super) fn code(&self, code: &Code) -> Dataset {
        let mut item = Dataset::new();
        self.put_short(&mut item, tags::CODE_VALUE, &code.value);
        self.put_short(&mut item, tags::CODE_SCHEME, &code.scheme);
        self.put_long(&mut item, tags::CODE_MEANING, &code.meaning);
        item
    }
}

impl Repertoire {
    fn has(self, c: char) -> bool {
        match self {
            Self::Ascii => c.is_ascii(),
            Self::Latin1 => u32::from(c) < 0x100,
            Self::Unicode => true,
        }
    }
}

/// All text of a context that is not the source's.
fn own_text(context: &Context) -> Vec<&str> {
    let algorithm = &context.algorithm;
    let mut own = vec![
        algorithm.name.as_str(),
        &algorithm.version,
        &algorithm.manufacturer,
        &algorithm.model,
        &algorithm.software,
        &algorithm.serial,
    ];
    for segment in &context.segments {
        own.push(&segment.label);
        let codes = [&segment.category, &segment.kind, &segment.region];
        let codes = codes.into_iter().flatten().chain(&segment.modifiers);
        own.extend(codes.map(|code| &*code.meaning));
    }
    own
}
