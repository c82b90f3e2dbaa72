//! Own text, such as labels, in the character set that the source's text has.
//!
//! An object has one Specific Character Set (0008,0005). Patient's names are taken over as bytes,
//! so the source's set stays, and own text must fit into it. Only where the source has plain ASCII
//! the set is free to become UTF-8.

use super::codes::Code;
use super::context::Context;
use crate::dataset::{Dataset, Tag, Value};
use crate::tags;

const UNICODE: &str = "ISO_IR 192";
const LATIN_1: &str = "ISO_IR 100";
/// Sets of one byte a character (C.12.1.1.2), by their numbers in the registry of ISO.
const REGISTERED: [&str; 12] =
    ["13", "100", "101", "109", "110", "126", "127", "138", "144", "148", "166", "203"];

/// Encodes own text.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    /// Specific Character Set (0008,0005) of the object; empty for ASCII.
    set: String,
    repertoire: Repertoire,
    /// Whether all own text of the context can be written.
    pub(super) complete: bool,
    /// Whether the source has text beyond ASCII that is UTF-8, and does not say so.
    pub(super) guessed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repertoire {
    Ascii,
    Latin1,
    Unicode,
}

impl Encoder {
    /// For a context, and the text that was taken over from its source.
    pub(super) fn new(context: &Context, taken: &[&Dataset]) -> Self {
        let own = own_text(context);
        let all = |rule: fn(&[u8]) -> bool| taken.iter().all(|set| all_text(set, rule));
        let source = context.source.first.bytes(tags::CHARACTER_SET).unwrap_or_default();
        let declared = declared(source);
        // A set of text that needs none is free to be chosen. Text that needs one and has none was
        // taken over only where it is UTF-8, since an object with such text and no set is refused,
        // and a wrong set would show a wrong name.
        let guessed = declared.is_none() && !all(is_plain);
        let set = match declared {
            Some(set) => set,
            None if guessed || !own.iter().all(|text| text.is_ascii()) => UNICODE.to_owned(),
            None => String::new(),
        };
        let repertoire = match set.as_str() {
            UNICODE => Repertoire::Unicode,
            LATIN_1 => Repertoire::Latin1,
            _ => Repertoire::Ascii,
        };
        let complete = own.iter().flat_map(|text| text.chars()).all(|c| repertoire.has(c));
        Self { set, repertoire, complete, guessed }
    }

    /// Adds the character set.
    pub(super) fn put_set(&self, to: &mut Dataset) {
        if !self.set.is_empty() {
            to.put_text(tags::CHARACTER_SET, b"CS", &self.set);
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

/// A Specific Character Set as the standard spells it; none of one that says nothing beyond ASCII
/// or is not known.
pub(super) fn declared(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches([' ', '\0']);
    if text.contains('\\') || text.contains("2022") {
        let known = |term: &str| {
            let term = term.trim();
            ["", "GB18030", "GBK"].contains(&term)
                || ["ISO 2022 IR ", "ISO_IR "].iter().any(|start| term.starts_with(start))
        };
        return text.split('\\').all(known).then(|| text.to_owned());
    }
    // Scanners write "ISO-IR 100" and the like.
    let spelled = text.to_ascii_uppercase().replace(['-', '_'], " ");
    match spelled.strip_prefix("ISO IR ") {
        Some("192") => Some(UNICODE.to_owned()),
        Some(number) => REGISTERED.contains(&number).then(|| format!("ISO_IR {number}")),
        None => ["GB18030", "GBK"].contains(&text).then(|| text.to_owned()),
    }
}

/// Whether all text of a data set keeps to a rule.
fn all_text(set: &Dataset, rule: fn(&[u8]) -> bool) -> bool {
    let is_text = |vr: &[u8; 2]| matches!(vr, b"LO" | b"SH" | b"PN" | b"ST");
    set.iter().all(|element| match &element.value {
        Value::Bytes(bytes) => !is_text(&element.vr.0) || rule(bytes),
        Value::Items(items) => items.iter().all(|item| all_text(item, rule)),
    })
}

/// Whether text needs no character set.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii() && *byte != 0x1b)
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
