//! Data elements from bytes (PS3.5, chapter 7).
//!
//! ```text
//! element   tag  [VR  length16 | VR 0 length32]   or, implicit:  tag length32   value
//! sequence  item*  [sequence delimitation, if its length is undefined]
//! item      (FFFE,E000) length32  element*  [item delimitation, if its length is undefined]
//! ```
//!
//! Reading stops at the top level's pixel data. An element's value is in memory only if it is
//! kept; sequences that are not kept are walked only where their length is undefined.

use super::cursor::Cursor;
use super::element::{Coding, Front, Skipped};
use super::error::ReadError;
use super::keep::{
    Keep, MAX_DEPTH, MAX_ELEMENTS, MAX_KEPT, MAX_KEPT_OVER_FILE, MAX_SKIPPED, Wanted,
};
use super::vrs;
use crate::dataset::{Dataset, Element, Tag, Value, Vr};
use crate::tags::{EXTENDED_OFFSETS, PIXEL_DATA, PIXEL_REPRESENTATION};

const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;
/// What an element or an item takes in memory beside its value, at most: a vector that grows
/// holds room for twice as many.
const OVERHEAD: u64 = 2 * size_of::<Element>() as u64 + 16;

/// Where a data set ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Behind its last byte.
    At(u64),
    /// At a delimiter.
    Delimiter,
    /// At pixel data, or with the file.
    File,
}

/// What surrounds a data set.
#[derive(Debug, Clone, Copy)]
struct Around<'k> {
    coding: Coding,
    wanted: Wanted<'k>,
    depth: usize,
    /// Nothing reaches over this byte.
    bound: Option<u64>,
    /// Whether pixels are signed: decides what "US or SS" is.
    signed: bool,
}

/// Reads elements and counts what they take.
pub(super) struct Parser<'s, 'k> {
    pub(super) cursor: Cursor<'s>,
    keep: &'k Keep<'k>,
    elements: u64,
    kept: u64,
    limit: u64,
    /// What was wanted and passed over.
    pub(super) skipped: Vec<Skipped>,
    /// Where the Extended Offset Table lies, and its length.
    pub(super) extended_offsets: Option<(u64, u32)>,
}

impl<'s, 'k> Parser<'s, 'k> {
    pub(super) fn new(cursor: Cursor<'s>, keep: &'k Keep<'k>) -> Self {
        let file = cursor.length().unwrap_or(0);
        let limit = MAX_KEPT.min(MAX_KEPT_OVER_FILE.saturating_add(file));
        let skipped = Vec::new();
        Self { cursor, keep, elements: 0, kept: 0, limit, skipped, extended_offsets: None }
    }

    /// The top level, up to pixel data: what is kept, and the front of the pixel data.
    pub(super) fn top(&mut self, coding: Coding) -> Result<(Dataset, Option<Front>), ReadError> {
        let wanted = self.keep.top();
        let around = Around { coding, wanted, depth: 0, bound: None, signed: false };
        self.set(around, End::File)
    }

    /// The elements of group 2, which are always explicit.
    pub(super) fn meta(&mut self) -> Result<Dataset, ReadError> {
        let around = Around {
            coding: Coding::EXPLICIT,
            wanted: Wanted::All,
            depth: 0,
            bound: None,
            signed: false,
        };
        let mut elements = Vec::new();
        let mut end = None;
        while end.is_none_or(|end| self.cursor.at() < end) {
            let offset = self.cursor.at();
            let Some(front) = self.front(around)? else { break };
            if front.tag.0 != 2 {
                self.cursor.go(offset)?;
                break;
            }
            self.element(around, front, &mut elements)?;
            let Some(Element { tag: Tag(2, 0), value: Value::Bytes(bytes), .. }) = elements.last()
            else {
                continue;
            };
            // The group's length is the only thing that divides it from a deflated data set.
            if let Ok(length) = <[u8; 4]>::try_from(bytes.as_slice()) {
                let length = u64::from(u32::from_le_bytes(length));
                let left = self.cursor.left().is_some_and(|left| length <= left);
                end = left.then_some(self.cursor.at() + length);
            }
        }
        // A group length that is too short leaves elements of the group behind it.
        if end.is_some() {
            self.rest_of_meta(around, &mut elements)?;
        }
        Ok(elements.into_iter().collect())
    }

    fn rest_of_meta(
        &mut self,
        around: Around<'k>,
        elements: &mut Vec<Element>,
    ) -> Result<(), ReadError> {
        loop {
            let offset = self.cursor.at();
            let (bytes, count) = self.cursor.some::<6>()?;
            self.cursor.go(offset)?;
            let more =
                count == 6 && bytes[..2] == [2, 0] && vrs::is_known(Vr([bytes[4], bytes[5]]));
            if !more {
                return Ok(());
            }
            let Some(front) = self.front(around)? else { return Ok(()) };
            self.element(around, front, elements)?;
        }
    }

    /// A data set, and what ended it if that is pixel data.
    fn set(
        &mut self,
        mut around: Around<'k>,
        end: End,
    ) -> Result<(Dataset, Option<Front>), ReadError> {
        let mut elements = Vec::new();
        loop {
            if let End::At(end) = end
                && self.cursor.at() >= end
            {
                break;
            }
            let Some(front) = self.front(around)? else {
                if around.depth == 0 {
                    break;
                }
                let offset = self.cursor.at();
                return Err(ReadError::Truncated { tag: ITEM_END, offset, needed: 8, left: 0 });
            };
            match front.tag {
                ITEM_END if matches!(end, End::Delimiter) => break,
                tag @ (ITEM | ITEM_END | SEQUENCE_END) => {
                    return Err(ReadError::Stray { tag, offset: front.offset });
                }
                // Zeros behind the last element.
                Tag(0, 0) if around.depth == 0 && front.length == 0 => break,
                // Data Set Trailing Padding.
                Tag(0xfffc, 0xfffc) if around.depth == 0 => break,
                tag if around.depth == 0 && is_pixel_data(tag) => {
                    return Ok((elements.into_iter().collect(), Some(front)));
                }
                _ => {}
            }
            self.element(around, front, &mut elements)?;
            around.signed = signed(&elements).unwrap_or(around.signed);
        }
        Ok((elements.into_iter().collect(), None))
    }

    /// The front of the next element; `None` where the file ends, padding included.
    fn front(&mut self, around: Around<'_>) -> Result<Option<Front>, ReadError> {
        let offset = self.cursor.at();
        let ([g0, g1, e0, e1, a, b, c, d], count) = self.cursor.some::<8>()?;
        if count < 8 {
            return Ok(None);
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(ReadError::Elements { offset });
        }
        let coding = around.coding;
        let tag = Tag(coding.u16([g0, g1]), coding.u16([e0, e1]));
        // Some writers leave the representation out of single elements.
        let lettered = a.is_ascii_uppercase() && b.is_ascii_uppercase();
        let (vr, length) = if tag.0 == 0xfffe || !coding.explicit || !lettered {
            (None, coding.u32([a, b, c, d]))
        } else if Vr([a, b]).is_long() {
            (Some(Vr([a, b])), coding.u32(self.cursor.exactly(tag)?))
        } else {
            (Some(Vr([a, b])), u32::from(coding.u16([c, d])))
        };
        if around.bound.is_some_and(|bound| self.cursor.at() > bound) {
            return Err(ReadError::Overrun { tag, offset });
        }
        Ok(Some(Front { tag, vr, length, offset }))
    }

    /// The value behind a front; it joins `elements` if it is kept.
    fn element(
        &mut self,
        around: Around<'k>,
        front: Front,
        elements: &mut Vec<Element>,
    ) -> Result<(), ReadError> {
        let Front { tag, length, offset, .. } = front;
        let wanted = self.keep.wants(around.wanted, tag);
        let vr = vrs::resolve(front.vr, tag, around.signed, around.coding.big);
        if length == UNDEFINED {
            return self.undefined(around, front, vr, elements);
        }
        self.bounded(around, front)?;
        if vr == Vr::SQ && wanted {
            let end = self.cursor.at() + u64::from(length);
            let inner = if front.vr == Some(Vr::UN) { Coding::IMPLICIT } else { around.coding };
            let items = self.sequence(around, front, inner, Some(end))?;
            return self.push(elements, Element { tag, vr, value: Value::Items(items) }, offset);
        }
        if tag == EXTENDED_OFFSETS && around.depth == 0 {
            self.extended_offsets = Some((self.cursor.at(), length));
        }
        if !wanted || length > self.keep.longest() {
            if wanted && tag != EXTENDED_OFFSETS {
                self.note(front);
            }
            return self.cursor.skip(tag, u64::from(length));
        }
        self.charge(u64::from(length), offset)?;
        let mut bytes = self.cursor.value(tag, length)?;
        if around.coding.big {
            vrs::to_little_endian(vr, &mut bytes);
        }
        self.push(elements, Element { tag, vr, value: Value::Bytes(bytes) }, offset)
    }

    /// A value of undefined length: a sequence, or compressed pixels in pieces.
    fn undefined(
        &mut self,
        around: Around<'k>,
        front: Front,
        vr: Vr,
        elements: &mut Vec<Element>,
    ) -> Result<(), ReadError> {
        let Front { tag, offset, .. } = front;
        let inner = match front.vr {
            Some(Vr::SQ) => around.coding,
            // PS3.5, section 6.2.2, note 2.
            Some(Vr::UN) => Coding::IMPLICIT,
            None => around.coding,
            Some(Vr(vr)) if matches!(&vr, b"OB" | b"OW" | b"OD" | b"OF" | b"OL" | b"OV") => {
                if self.keep.wants(around.wanted, tag) {
                    self.note(front);
                }
                return self.fragments(around, front);
            }
            Some(vr) => return Err(ReadError::NoLength { tag, vr, offset }),
        };
        if front.vr.is_none() && vr != Vr::SQ && vr != Vr::UN && !tag.is_private() {
            return if is_pixel_data(tag) {
                self.fragments(around, front)
            } else {
                Err(ReadError::NoLength { tag, vr, offset })
            };
        }
        let items = self.sequence(around, front, inner, None)?;
        if self.keep.wants(around.wanted, tag) {
            let value = Value::Items(items);
            self.push(elements, Element { tag, vr: Vr::SQ, value }, offset)?;
        }
        Ok(())
    }

    /// The items of a sequence, which ends at a byte or at a delimiter.
    fn sequence(
        &mut self,
        around: Around<'k>,
        front: Front,
        coding: Coding,
        end: Option<u64>,
    ) -> Result<Vec<Dataset>, ReadError> {
        let depth = around.depth + 1;
        if depth > MAX_DEPTH {
            return Err(ReadError::Depth { tag: front.tag, offset: front.offset });
        }
        let bound = end.or(around.bound);
        let wanted = self.keep.inside(around.wanted, front.tag, around.depth);
        let inner = Around { coding, wanted, depth, bound, signed: around.signed };
        let mut items = Vec::new();
        while end.is_none_or(|end| self.cursor.at() < end) {
            let Some(item) = self.item(inner, front.tag)? else { break };
            let end = match item.length {
                UNDEFINED => End::Delimiter,
                length => End::At(self.cursor.at() + u64::from(length)),
            };
            let bound = if let End::At(end) = end { Some(end) } else { bound };
            let (set, _) = self.set(Around { bound, ..inner }, end)?;
            if !matches!(wanted, Wanted::Nothing) {
                self.charge(OVERHEAD, item.offset)?;
                items.push(set);
            }
        }
        items.shrink_to_fit();
        Ok(items)
    }

    /// The front of the next item; `None` at the sequence's delimiter.
    fn item(&mut self, around: Around<'k>, sequence: Tag) -> Result<Option<Front>, ReadError> {
        let offset = self.cursor.at();
        let Some(front) = self.front(around)? else {
            return Err(ReadError::Truncated { tag: sequence, offset, needed: 8, left: 0 });
        };
        match front.tag {
            ITEM => {
                if front.length != UNDEFINED {
                    self.bounded(around, front)?;
                }
                Ok(Some(front))
            }
            SEQUENCE_END => Ok(None),
            tag => Err(ReadError::NoItem { tag, offset }),
        }
    }

    /// Passes over compressed pixels, which are items of bytes.
    fn fragments(&mut self, around: Around<'k>, front: Front) -> Result<(), ReadError> {
        while let Some(item) = self.item(around, front.tag)? {
            if item.length == UNDEFINED {
                let Front { tag, offset, .. } = item;
                return Err(ReadError::NoLength { tag, vr: Vr(*b"OB"), offset });
            }
            self.cursor.skip(item.tag, u64::from(item.length))?;
        }
        Ok(())
    }

    /// Refuses a value that reaches over what holds it, or over the file's end.
    fn bounded(&self, around: Around<'_>, front: Front) -> Result<(), ReadError> {
        let length = u64::from(front.length);
        self.cursor.expect(front.tag, length)?;
        match around.bound {
            Some(bound) if bound.saturating_sub(self.cursor.at()) < length => {
                Err(ReadError::Overrun { tag: front.tag, offset: front.offset })
            }
            _ => Ok(()),
        }
    }

    fn push(
        &mut self,
        elements: &mut Vec<Element>,
        element: Element,
        offset: u64,
    ) -> Result<(), ReadError> {
        self.charge(OVERHEAD, offset)?;
        elements.push(element);
        Ok(())
    }

    /// Counts memory that is about to be taken.
    fn charge(&mut self, bytes: u64, offset: u64) -> Result<(), ReadError> {
        self.kept = self.kept.saturating_add(bytes);
        if self.kept > self.limit {
            return Err(ReadError::Memory { offset, limit: self.limit });
        }
        Ok(())
    }

    fn note(&mut self, front: Front) {
        if self.skipped.len() < MAX_SKIPPED {
            let Front { tag, length, .. } = front;
            self.skipped.push(Skipped { tag, offset: self.cursor.at(), length });
        }
    }
}

/// Pixel Data, and its kin of floating point numbers.
fn is_pixel_data(tag: Tag) -> bool {
    matches!(tag, PIXEL_DATA | Tag(0x7fe0, 0x0008 | 0x0009))
}

/// What the last element says of the pixels' sign, if it says anything.
fn signed(elements: &[Element]) -> Option<bool> {
    match elements.last()? {
        Element { tag: PIXEL_REPRESENTATION, value: Value::Bytes(bytes), .. } => {
            bytes.first().map(|&byte| byte == 1)
        }
        _ => None,
    }
}
