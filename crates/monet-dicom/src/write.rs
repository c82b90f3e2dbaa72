//! Writing a DICOM file (PS3.10, section 7.1), in one pass and in bounded memory.
//!
//! A [`Writer`] takes elements in the order of their tags. What is too large for memory comes as
//! a sequence whose items are made twice, once to be measured and once to be written, or is copied
//! from a reader of known length. Sequences and items have defined lengths.

use std::io::{self, Read, Write};

use crate::dataset::{Dataset, Element, Tag, Value, Vr};
use crate::tags;
use crate::valid::{self, Characters};

/// Explicit VR little endian.
pub const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
/// Implicit VR little endian, which every receiver takes.
pub const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The destination or the source of pixels fails.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A value is longer than its length field can say.
    #[error("element {tag} would have {length} bytes, and DICOM allows {most}")]
    TooLong {
        /// The element.
        tag: Tag,
        /// Its length.
        length: u64,
        /// What is allowed.
        most: u64,
    },
}

/// How elements are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// With value representations. Short values have 65,534 bytes at most.
    Explicit,
    /// Without: values of any representation may have four gigabytes.
    Implicit,
}

/// The longest that a length of 32 bits can say: even, and not "undefined".
const MOST: u64 = u32::MAX as u64 - 1;
/// The longest that a length of 16 bits can say.
const MOST_SHORT: u64 = u16::MAX as u64 - 1;
/// Bytes of an item's tag and length.
const ITEM: u64 = 8;

impl Syntax {
    /// The transfer syntax's UID.
    #[must_use]
    pub fn uid(self) -> &'static str {
        match self {
            Self::Explicit => EXPLICIT_LITTLE,
            Self::Implicit => IMPLICIT_LITTLE,
        }
    }

    /// Bytes of an element's tag, representation and length.
    fn header(self, vr: Vr) -> u64 {
        if self == Self::Explicit && vr.is_long() { 12 } else { 8 }
    }

    /// The bytes that the elements of a data set, or of some of it, take when written.
    pub fn length<'a>(self, elements: impl IntoIterator<Item = &'a Element>) -> u64 {
        elements.into_iter().map(|element| self.element(element)).sum()
    }

    fn element(self, element: &Element) -> u64 {
        let value = match &element.value {
            Value::Bytes(bytes) => even(bytes.len() as u64),
            Value::Items(items) => items.iter().map(|item| ITEM + self.length(item)).sum(),
        };
        self.header(element.vr) + value
    }

    /// The bytes that a sequence of so many bytes of items takes when written.
    #[must_use]
    pub fn sequence(self, items: u64) -> u64 {
        self.header(Vr::SQ) + items
    }

    /// The bytes that an item takes when written.
    #[must_use]
    pub fn item(self, item: &Dataset) -> u64 {
        ITEM + self.length(item)
    }
}

fn even(length: u64) -> u64 {
    length + length % 2
}

/// UID of what wrote a file or speaks on an association (PS3.7, section D.3.3.2):
/// `uid::derived(&[b"monet-dicom"])`.
pub const IMPLEMENTATION: &str = "2.25.10279191901474143334397096702812913615";
/// Name and version of what wrote a file, 16 characters at most.
pub const IMPLEMENTATION_NAME: &str = concat!("MONET_", env!("CARGO_PKG_VERSION"));

/// What a file says of itself in front of its data set (PS3.10, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta<'a> {
    /// SOP Class UID.
    pub class: &'a str,
    /// SOP Instance UID.
    pub instance: &'a str,
    /// Transfer Syntax UID of the data set that follows.
    pub syntax: &'a str,
    /// Application entity that the instance was received from.
    pub source: Option<&'a str>,
}

impl Meta<'_> {
    /// Writes preamble and file meta information. The data set follows, as its transfer syntax has
    /// it.
    ///
    /// # Errors
    ///
    /// What the destination says.
    pub fn write<W: Write>(&self, mut out: W) -> Result<(), WriteError> {
        let mut meta = Dataset::new();
        meta.put_bytes(Tag(0x0002, 0x0001), b"OB", [0, 1]);
        meta.put_text(Tag(0x0002, 0x0002), b"UI", self.class);
        meta.put_text(Tag(0x0002, 0x0003), b"UI", self.instance);
        meta.put_text(tags::TRANSFER_SYNTAX, b"UI", self.syntax);
        meta.put_text(Tag(0x0002, 0x0012), b"UI", IMPLEMENTATION);
        meta.put_text(Tag(0x0002, 0x0013), b"SH", IMPLEMENTATION_NAME);
        if let Some(source) = self.source {
            meta.put_text(Tag(0x0002, 0x0016), b"AE", source);
        }
        let length = Syntax::Explicit.length(&meta) as u32;
        meta.put_u32(Tag(0x0002, 0x0000), &[length]);
        out.write_all(&[0; 128])?;
        out.write_all(b"DICM")?;
        Writer::data_set(out, Syntax::Explicit).elements(&meta)
    }
}

/// Writes a data set, element by element.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    syntax: Syntax,
}

impl<W: Write> Writer<W> {
    /// Begins a file: preamble and file meta information.
    ///
    /// # Errors
    ///
    /// What the destination says.
    pub fn file(
        mut out: W,
        syntax: Syntax,
        class: &str,
        instance: &str,
    ) -> Result<Self, WriteError> {
        Meta { class, instance, syntax: syntax.uid(), source: None }.write(&mut out)?;
        Ok(Self::data_set(out, syntax))
    }

    /// Writes a data set alone, or a part of one.
    pub fn data_set(out: W, syntax: Syntax) -> Self {
        Self { out, syntax }
    }

    /// Writes elements, which come in the order of their tags.
    ///
    /// # Errors
    ///
    /// A value that is too long, or what the destination says.
    pub fn elements<'a>(
        &mut self,
        elements: impl IntoIterator<Item = &'a Element>,
    ) -> Result<(), WriteError> {
        elements.into_iter().try_for_each(|element| self.element(element))
    }

    fn element(&mut self, element: &Element) -> Result<(), WriteError> {
        match &element.value {
            Value::Bytes(bytes) => {
                let (tag, vr) = (element.tag, element.vr);
                debug_assert!(
                    valid::value(vr, bytes, Characters::Unknown),
                    "{tag} is no {vr}: {}",
                    bytes.escape_ascii()
                );
                let padded = even(bytes.len() as u64);
                self.header(tag, vr, padded)?;
                self.out.write_all(bytes)?;
                self.pad(vr, padded - bytes.len() as u64)
            }
            Value::Items(items) => self.sequence(element.tag, items.iter()),
        }
    }

    /// Writes a sequence, item by item. The items are made twice, so that a long sequence needs
    /// the memory of one item.
    ///
    /// # Errors
    ///
    /// As of [`Writer::elements`].
    pub fn sequence<D: std::borrow::Borrow<Dataset>>(
        &mut self,
        tag: Tag,
        items: impl Iterator<Item = D> + Clone,
    ) -> Result<(), WriteError> {
        let length = items.clone().map(|item| self.syntax.item(item.borrow())).sum();
        self.begin_sequence(tag, length)?;
        for item in items {
            let item = item.borrow();
            self.begin_item(self.syntax.length(item))?;
            self.elements(item)?;
        }
        Ok(())
    }

    /// Begins a sequence whose items have so many bytes; the items follow.
    ///
    /// # Errors
    ///
    /// A length that cannot be said, or what the destination says.
    pub fn begin_sequence(&mut self, tag: Tag, length: u64) -> Result<(), WriteError> {
        self.header(tag, Vr::SQ, length)
    }

    /// Begins an item whose elements have so many bytes; the elements follow.
    ///
    /// # Errors
    ///
    /// A length that cannot be said, or what the destination says.
    pub fn begin_item(&mut self, length: u64) -> Result<(), WriteError> {
        let tag = Tag(0xfffe, 0xe000);
        self.out.write_all(&bytes_of(tag))?;
        self.out.write_all(&fitting(tag, length, MOST)?.to_le_bytes())?;
        Ok(())
    }

    /// Copies what is encoded already, exactly so many bytes.
    ///
    /// # Errors
    ///
    /// Where the source ends early, or what the source or the destination says.
    pub fn copy(&mut self, from: impl Read, length: u64) -> Result<(), WriteError> {
        let copied = io::copy(&mut from.take(length), &mut self.out)?;
        if copied < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// Writes the header of a value of known length, OB or OW, that the caller writes to
    /// [`Writer::get_mut`] and ends with [`Writer::pad`].
    ///
    /// # Errors
    ///
    /// A length that cannot be said, or what the destination says.
    pub fn begin_value(&mut self, tag: Tag, vr: Vr, length: u64) -> Result<(), WriteError> {
        self.header(tag, vr, even(length))
    }

    /// Ends a value of known length: an odd one gets a byte of padding.
    ///
    /// # Errors
    ///
    /// What the destination says.
    pub fn pad(&mut self, vr: Vr, length: u64) -> Result<(), WriteError> {
        if length % 2 == 1 {
            let text = !matches!(&vr.0, b"UI" | b"OB" | b"UN");
            self.out.write_all(if text { b" " } else { b"\0" })?;
        }
        Ok(())
    }

    /// Where the file goes.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// What the destination says.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, tag: Tag, vr: Vr, length: u64) -> Result<(), WriteError> {
        self.out.write_all(&bytes_of(tag))?;
        if self.syntax == Syntax::Explicit {
            self.out.write_all(&vr.0)?;
            if !vr.is_long() {
                let short = fitting(tag, length, MOST_SHORT)? as u16;
                return Ok(self.out.write_all(&short.to_le_bytes())?);
            }
            self.out.write_all(&[0; 2])?;
        }
        Ok(self.out.write_all(&fitting(tag, length, MOST)?.to_le_bytes())?)
    }
}

fn fitting(tag: Tag, length: u64, most: u64) -> Result<u32, WriteError> {
    if length > most {
        return Err(WriteError::TooLong { tag, length, most });
    }
    Ok(length as u32)
}

fn bytes_of(Tag(group, element): Tag) -> [u8; 4] {
    let ([a, b], [c, d]) = (group.to_le_bytes(), element.to_le_bytes());
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::{PIXEL_DATA, ROWS, SERIES_UID};

    fn written(syntax: Syntax, set: &Dataset) -> Vec<u8> {
        let mut writer = Writer::data_set(Vec::new(), syntax);
        writer.elements(set).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() as u64, syntax.length(set));
        bytes
    }

    #[test]
    fn elements_are_encoded_as_the_standard_says() {
        let mut set = Dataset::new();
        set.put_u16(ROWS, &[0x102]);
        set.put_text(SERIES_UID, b"UI", "1.2");
        let explicit = b"\x20\0\x0e\0UI\x04\x001.2\0\x28\0\x10\0US\x02\0\x02\x01";
        assert_eq!(written(Syntax::Explicit, &set), explicit);
        let implicit = b"\x20\0\x0e\0\x04\0\0\x001.2\0\x28\0\x10\0\x02\0\0\0\x02\x01";
        assert_eq!(written(Syntax::Implicit, &set), implicit);
        let mut outer = Dataset::new();
        outer.put_items(Tag(0x0008, 0x1115), vec![set, Dataset::new()]);
        let explicit = [
            b"\x08\0\x15\x11SQ\0\0\x26\0\0\0\xfe\xff\0\xe0\x16\0\0\0".as_slice(),
            explicit,
            b"\xfe\xff\0\xe0\0\0\0\0",
        ];
        assert_eq!(written(Syntax::Explicit, &outer), explicit.concat());
    }

    #[test]
    fn a_file_begins_with_its_meta_information() {
        let writer = Writer::file(Vec::new(), Syntax::Explicit, "1.2", "1.2.3").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(&bytes[128..140], b"DICM\x02\0\0\0UL\x04\0");
        let length = u32::from_le_bytes(*bytes[140..].first_chunk().unwrap());
        assert_eq!(bytes.len(), 144 + length as usize);
        assert!(crate::uid::is_valid(IMPLEMENTATION) && IMPLEMENTATION_NAME.len() <= 16);
    }

    #[test]
    fn a_data_set_follows_the_meta_information_that_names_it() {
        let mut bytes = Vec::new();
        let (class, instance) = ("1.2.840.10008.5.1.4.1.1.2", "1.2.3");
        let meta = Meta { class, instance, syntax: IMPLICIT_LITTLE, source: Some("CT1") };
        meta.write(&mut bytes).unwrap();
        let start = bytes.len() as u64;
        let mut set = Dataset::new();
        set.put_u16(ROWS, &[7]);
        bytes.extend(written(Syntax::Implicit, &set));
        let mut source = std::io::Cursor::new(bytes);
        let (read, offset) = crate::read::meta(&mut source).unwrap();
        assert_eq!(offset, start);
        let text = |element| read.text(Tag(2, element));
        assert_eq!([text(2), text(3)], [Some(class), Some(instance)]);
        assert_eq!([text(0x10), text(0x16)], [Some(IMPLICIT_LITTLE), Some("CT1")]);
        let keep = crate::read::Keep::all();
        let syntax = crate::syntax::Syntax::ImplicitLittle;
        let rest = source.into_inner().split_off(offset as usize);
        let back = crate::read::data_set(&mut std::io::Cursor::new(rest), &syntax, &keep);
        assert_eq!(back.unwrap(), set);
    }

    #[test]
    fn values_are_streamed_and_padded() {
        let mut writer = Writer::data_set(Vec::new(), Syntax::Explicit);
        let vr = Vr(*b"OB");
        writer.begin_value(PIXEL_DATA, vr, 3).unwrap();
        writer.copy(&b"abcd"[..], 3).unwrap();
        writer.pad(vr, 3).unwrap();
        assert_eq!(writer.finish().unwrap(), b"\xe0\x7f\x10\0OB\0\0\x04\0\0\0abc\0");
        let mut writer = Writer::data_set(Vec::new(), Syntax::Explicit);
        assert!(matches!(writer.copy(&b"ab"[..], 3), Err(WriteError::Io(_))));
    }

    #[test]
    fn what_no_length_can_say_is_an_error() {
        let mut writer = Writer::data_set(Vec::new(), Syntax::Explicit);
        let too_long = writer.begin_value(PIXEL_DATA, Vr(*b"OB"), 1 << 32);
        assert!(matches!(too_long, Err(WriteError::TooLong { .. })));
        let mut set = Dataset::new();
        set.put_text(Tag(0x3006, 0x0050), b"DS", "1\\".repeat(40_000));
        assert!(matches!(writer.elements(&set), Err(WriteError::TooLong { .. })));
        assert_eq!(written(Syntax::Implicit, &set).len(), 80_008);
    }
}
