//! A place in a source, which knows what is left behind it.

use std::io::{self, Read};

use super::error::ReadError;
use super::source::{Source, TooMuch, fill};
use crate::dataset::Tag;

/// Values are read in steps of this length where the source's length is not known.
const STEP: u64 = 64 << 10;

/// Reads a source from some place on.
pub(super) struct Cursor<'s> {
    source: &'s mut dyn Source,
    at: u64,
    length: Option<u64>,
}

impl<'s> Cursor<'s> {
    /// At byte `at`.
    pub(super) fn new(source: &'s mut dyn Source, at: u64) -> Result<Self, ReadError> {
        let length = source.length();
        let mut cursor = Self { source, at, length };
        cursor.go(at)?;
        Ok(cursor)
    }

    /// Where the next byte lies.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// How many bytes follow, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.length.map(|length| length.saturating_sub(self.at))
    }

    /// How many bytes there are in all, if that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Goes to a byte.
    pub(super) fn go(&mut self, to: u64) -> Result<(), ReadError> {
        self.source.seek_to(to).map_err(|source| io_error(source, to))?;
        self.at = to;
        Ok(())
    }

    /// As many of the next bytes as there are.
    pub(super) fn some<const N: usize>(&mut self) -> Result<([u8; N], usize), ReadError> {
        let mut bytes = [0; N];
        let count = fill(self.source, &mut bytes).map_err(|source| io_error(source, self.at))?;
        self.at += count as u64;
        Ok((bytes, count))
    }

    /// The next bytes, which belong to an element.
    pub(super) fn exactly<const N: usize>(&mut self, tag: Tag) -> Result<[u8; N], ReadError> {
        let offset = self.at;
        let (bytes, count) = self.some()?;
        if count < N {
            return Err(ReadError::Truncated { tag, offset, needed: N as u64, left: count as u64 });
        }
        Ok(bytes)
    }

    /// Refuses an element that is longer than the rest of the file.
    pub(super) fn expect(&self, tag: Tag, length: u64) -> Result<(), ReadError> {
        match self.left() {
            Some(left) if left < length => {
                Err(ReadError::Truncated { tag, offset: self.at, needed: length, left })
            }
            _ => Ok(()),
        }
    }

    /// Passes over an element's value.
    pub(super) fn skip(&mut self, tag: Tag, length: u64) -> Result<(), ReadError> {
        self.expect(tag, length)?;
        let offset = self.at;
        match self.go(offset.saturating_add(length)) {
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ReadError::Truncated { tag, offset, needed: length, left: 0 })
            }
            other => other,
        }
    }

    /// An element's value. Memory grows with what is read, not with what is declared.
    pub(super) fn value(&mut self, tag: Tag, length: u32) -> Result<Vec<u8>, ReadError> {
        let needed = u64::from(length);
        self.expect(tag, needed)?;
        let known = if self.length.is_some() { needed } else { needed.min(STEP) };
        let mut bytes = Vec::with_capacity(usize::try_from(known).unwrap_or(0));
        let offset = self.at;
        (&mut *self.source)
            .take(needed)
            .read_to_end(&mut bytes)
            .map_err(|source| io_error(source, offset))?;
        self.at += bytes.len() as u64;
        if (bytes.len() as u64) < needed {
            let left = bytes.len() as u64;
            return Err(ReadError::Truncated { tag, offset, needed, left });
        }
        Ok(bytes)
    }
}

/// What a system's error at a place means.
pub(super) fn io_error(source: io::Error, offset: u64) -> ReadError {
    if source.get_ref().is_some_and(|inner| inner.is::<TooMuch>()) {
        ReadError::Inflated
    } else {
        ReadError::Io { offset, source }
    }
}
