//! What the reader says of an element before its value is read.

use crate::dataset::{Tag, Vr};

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coding {
    /// With value representations.
    pub(super) explicit: bool,
    /// Numbers are big-endian.
    pub(super) big: bool,
}

impl Coding {
    /// Of file meta information, and of what is in sequences of unknown representation.
    pub(super) const EXPLICIT: Self = Self { explicit: true, big: false };
    /// Of the default transfer syntax.
    pub(super) const IMPLICIT: Self = Self { explicit: false, big: false };

    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// The front of an element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    pub(super) tag: Tag,
    /// `None` if the file does not say.
    pub(super) vr: Option<Vr>,
    pub(super) length: u32,
    /// Where the element begins.
    pub(super) offset: u64,
}

/// An element that was passed over though it was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Which element.
    pub tag: Tag,
    /// Where its value begins.
    pub offset: u64,
    /// How long its value is.
    pub length: u32,
}
