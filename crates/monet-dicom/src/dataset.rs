//! Data elements in memory.
//!
//! Numbers are little-endian here, whatever their file has; text is the file's bytes, of which
//! the data set's Specific Character Set (0008,0005) says what they mean. Text that this crate
//! itself reads (identifiers, codes, numbers) is ASCII by its value representation.

use std::fmt;

/// A data element's tag: group and element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u16, pub u16);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04x},{:04x})", self.0, self.1)
    }
}

impl Tag {
    /// Whether the element belongs to a manufacturer and not to the standard.
    #[must_use]
    pub fn is_private(self) -> bool {
        self.0 % 2 == 1
    }
}

/// A value representation, such as `Vr(*b"US")`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vr(pub [u8; 2]);

impl Vr {
    /// Sequence of items.
    pub const SQ: Self = Self(*b"SQ");
    /// Bytes whose meaning is not known.
    pub const UN: Self = Self(*b"UN");

    /// Whether explicit lengths have 32 bits beside it (PS3.5, section 7.1.2).
    pub(crate) fn is_long(self) -> bool {
        const LONG: [&[u8; 2]; 13] = [
            b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT",
            b"UV",
        ];
        LONG.contains(&&self.0)
    }
}

impl fmt::Display for Vr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))
    }
}

impl fmt::Debug for Vr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What an element holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The value field; numbers little-endian.
    Bytes(Vec<u8>),
    /// The items of a sequence.
    Items(Vec<Dataset>),
}

/// A data element.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// What it is.
    pub tag: Tag,
    /// How its bytes are to be read.
    pub vr: Vr,
    /// What it holds.
    pub value: Value,
}

/// Data elements in the order of their tags, each tag once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    elements: Vec<Element>,
}

impl Dataset {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The elements, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Element> {
        self.elements.iter()
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    fn find(&self, tag: Tag) -> Result<usize, usize> {
        // Elements nearly always come in order.
        match self.elements.last() {
            Some(last) if last.tag < tag => Err(self.elements.len()),
            None => Err(0),
            _ => self.elements.binary_search_by_key(&tag, |element| element.tag),
        }
    }

    /// Adds an element; one of the same tag gives way.
    pub fn put(&mut self, element: Element) {
        match self.find(element.tag) {
            Ok(at) => self.elements[at] = element,
            Err(at) => self.elements.insert(at, element),
        }
    }

    /// Takes an element out.
    pub fn remove(&mut self, tag: Tag) -> Option<Element> {
        self.find(tag).ok().map(|at| self.elements.remove(at))
    }

    /// An element.
    #[must_use]
    pub fn get(&self, tag: Tag) -> Option<&Element> {
        self.find(tag).ok().map(|at| &self.elements[at])
    }

    /// An element's value field; none of a sequence.
    #[must_use]
    pub fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        match &self.get(tag)?.value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Items(_) => None,
        }
    }

    /// The items of a sequence; none of anything else.
    #[must_use]
    pub fn items(&self, tag: Tag) -> &[Self] {
        match self.get(tag).map(|element| &element.value) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// The first item of a sequence.
    #[must_use]
    pub fn item(&self, tag: Tag) -> Option<&Self> {
        self.items(tag).first()
    }

    /// The values of an ASCII element, without padding; an empty element has none. A value that is
    /// no ASCII counts as empty.
    pub fn texts(&self, tag: Tag) -> impl Iterator<Item = &str> {
        let bytes = self.bytes(tag).map(trimmed).filter(|bytes| !bytes.is_empty());
        bytes.into_iter().flat_map(|bytes| bytes.split(|&b| b == b'\\')).map(|value| {
            let value = trimmed(value);
            std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).unwrap_or_default()
        })
    }

    /// The first value of an ASCII element, if it is not empty.
    #[must_use]
    pub fn text(&self, tag: Tag) -> Option<&str> {
        self.texts(tag).next().filter(|text| !text.is_empty())
    }

    /// The numbers of an element, text (DS, IS) or binary; `None` where the element is missing or
    /// one of its values is no finite number.
    #[must_use]
    pub fn numbers(&self, tag: Tag) -> Option<Vec<f64>> {
        let element = self.get(tag)?;
        let Value::Bytes(bytes) = &element.value else { return None };
        fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
            let (whole, rest) = bytes.as_chunks::<N>();
            rest.is_empty().then(|| whole.iter().map(|chunk| number(*chunk)).collect())
        }
        let numbers = match &element.vr.0 {
            b"US" => each(bytes, |b| u16::from_le_bytes(b).into()),
            b"SS" => each(bytes, |b| i16::from_le_bytes(b).into()),
            b"UL" => each(bytes, |b| u32::from_le_bytes(b).into()),
            b"SL" => each(bytes, |b| i32::from_le_bytes(b).into()),
            b"FL" => each(bytes, |b| f32::from_le_bytes(b).into()),
            b"FD" => each(bytes, f64::from_le_bytes),
            _ => self.texts(tag).map(|text| text.parse().ok()).collect(),
        }?;
        (!numbers.is_empty() && numbers.iter().all(|n| n.is_finite())).then_some(numbers)
    }

    /// The first of an element's numbers.
    #[must_use]
    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag)?.first().copied()
    }

    /// So many numbers, neither fewer nor more.
    #[must_use]
    pub fn array<const N: usize>(&self, tag: Tag) -> Option<[f64; N]> {
        self.numbers(tag)?.try_into().ok()
    }

    /// The first of an element's numbers, if it is whole and in the range of the type.
    #[must_use]
    pub fn integer<T: TryFrom<i64>>(&self, tag: Tag) -> Option<T> {
        let number = self.number(tag)?;
        // Every whole number of 32 bits is exact in 64-bit floats.
        let whole = number.fract() == 0.0 && number.abs() <= f64::from(u32::MAX);
        whole.then_some(number as i64)?.try_into().ok()
    }

    /// Adds an element of bytes.
    pub fn put_bytes(&mut self, tag: Tag, vr: &[u8; 2], bytes: impl Into<Vec<u8>>) {
        self.put(Element { tag, vr: Vr(*vr), value: Value::Bytes(bytes.into()) });
    }

    /// Adds an element of text, whose values are divided by `\`.
    pub fn put_text(&mut self, tag: Tag, vr: &[u8; 2], text: impl AsRef<str>) {
        self.put_bytes(tag, vr, text.as_ref().as_bytes());
    }

    /// Adds an element of unsigned 16-bit numbers.
    pub fn put_u16(&mut self, tag: Tag, numbers: &[u16]) {
        self.put_bytes(
            tag,
            b"US",
            numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>(),
        );
    }

    /// Adds an element of unsigned 32-bit numbers.
    pub fn put_u32(&mut self, tag: Tag, numbers: &[u32]) {
        self.put_bytes(
            tag,
            b"UL",
            numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>(),
        );
    }

    /// Adds a sequence.
    pub fn put_items(&mut self, tag: Tag, items: Vec<Self>) {
        self.put(Element { tag, vr: Vr::SQ, value: Value::Items(items) });
    }
}

impl FromIterator<Element> for Dataset {
    /// Of elements in any order; of those of one tag the last stays.
    fn from_iter<I: IntoIterator<Item = Element>>(elements: I) -> Self {
        let mut elements: Vec<Element> = elements.into_iter().collect();
        if !elements.is_sorted_by(|a, b| a.tag < b.tag) {
            elements.reverse();
            elements.sort_by_key(|element| element.tag);
            elements.dedup_by_key(|element| element.tag);
        }
        elements.shrink_to_fit();
        Self { elements }
    }
}

impl<'a> IntoIterator for &'a Dataset {
    type Item = &'a Element;
    type IntoIter = std::slice::Iter<'a, Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Without the spaces and zero bytes that pad values to an even length.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = bytes.iter().position(|byte| !padding(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !padding(byte)).map_or(start, |at| at + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::{IMAGE_POSITION, INSTANCE_NUMBER, ROWS, SERIES_UID};

    #[test]
    fn elements_are_sorted_and_unique() {
        let mut set = Dataset::new();
        for n in [3, 1, 2, 1] {
            set.put_u16(Tag(0x28, n), &[n]);
        }
        assert_eq!(set.iter().map(|e| e.tag.1).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(set.remove(Tag(0x28, 2)).unwrap().tag.1, 2);
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn values_are_read_as_their_representation_says() {
        let mut set = Dataset::new();
        set.put_u16(ROWS, &[512]);
        set.put_text(IMAGE_POSITION, b"DS", "-1.5\\ 2e1 \\3 ");
        set.put_text(SERIES_UID, b"UI", "1.2.3\0");
        set.put_text(INSTANCE_NUMBER, b"IS", "1.5");
        assert_eq!(set.integer::<u16>(ROWS), Some(512));
        assert_eq!(set.integer::<u8>(ROWS), None);
        assert_eq!(set.array(IMAGE_POSITION), Some([-1.5, 20.0, 3.0]));
        assert_eq!(set.array::<2>(IMAGE_POSITION), None);
        assert_eq!(set.text(SERIES_UID), Some("1.2.3"));
        assert_eq!(set.integer::<i32>(INSTANCE_NUMBER), None);
    }

    #[test]
    fn what_is_no_number_is_none() {
        let mut set = Dataset::new();
        for text in ["", " ", "nan", "inf", "1\\x", "1,5"] {
            set.put_text(IMAGE_POSITION, b"DS", text);
            assert_eq!(set.numbers(IMAGE_POSITION), None, "{text:?}");
        }
        set.put_bytes(ROWS, b"US", [1]);
        assert_eq!(set.numbers(ROWS), None);
    }
}
