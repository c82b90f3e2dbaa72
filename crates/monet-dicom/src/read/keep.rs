//! What of a data set is kept in memory, and how much of it at most.

use crate::dataset::Tag;

/// Longest value that is kept where [`Keep`] says nothing else.
pub const MAX_VALUE: u32 = 64 << 10;
/// Deepest sequence in sequences.
pub const MAX_DEPTH: usize = 64;
/// Most elements that are walked, kept or not.
pub const MAX_ELEMENTS: u64 = 1 << 23;
/// Most memory that a kept data set takes.
pub const MAX_KEPT: u64 = 64 << 20;
/// Most memory that a kept data set takes over its file's size.
pub const MAX_KEPT_OVER_FILE: u64 = 12 << 20;
/// Most bytes that come out of a deflated data set or zip entry.
pub const MAX_INFLATED: u64 = 4 << 30;
/// Most notes on elements that were passed over.
pub const MAX_SKIPPED: usize = 256;

/// Which elements are kept. Private elements are passed over unless [`Keep::private`] asks for
/// them, and so is a value that is longer than [`MAX_VALUE`] or [`Keep::values_up_to`] says.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    top: Option<&'a [Tag]>,
    within: Option<(&'a [Tag], &'a [Tag])>,
    private: bool,
    longest: u32,
}

impl Default for Keep<'_> {
    fn default() -> Self {
        Self::all()
    }
}

impl<'a> Keep<'a> {
    /// All elements of the standard.
    #[must_use]
    pub const fn all() -> Self {
        Self { top: None, within: None, private: false, longest: MAX_VALUE }
    }

    /// Of the top level only these elements.
    #[must_use]
    pub const fn only(self, tags: &'a [Tag]) -> Self {
        Self { top: Some(tags), ..self }
    }

    /// Within the sequences, at any depth, only the elements: a sequence in these sequences has to
    /// be named among the elements. Other sequences are kept whole.
    #[must_use]
    pub const fn within(self, sequences: &'a [Tag], elements: &'a [Tag]) -> Self {
        Self { within: Some((sequences, elements)), ..self }
    }

    /// Private elements, too.
    #[must_use]
    pub const fn private(self) -> Self {
        Self { private: true, ..self }
    }

    /// Values up to this length.
    #[must_use]
    pub const fn values_up_to(self, bytes: u32) -> Self {
        Self { longest: bytes, ..self }
    }

    /// Longest value that is kept.
    pub(super) const fn longest(&self) -> u32 {
        self.longest
    }

    /// What is kept of the top level.
    pub(super) fn top(&self) -> Wanted<'a> {
        self.top.map_or(Wanted::All, Wanted::Only)
    }

    /// Whether an element is kept among others.
    pub(super) fn wants(&self, wanted: Wanted<'_>, tag: Tag) -> bool {
        (self.private || !tag.is_private()) && wanted.has(tag)
    }

    /// What is kept of a sequence's items.
    pub(super) fn inside(&self, wanted: Wanted<'a>, sequence: Tag, depth: usize) -> Wanted<'a> {
        match self.within {
            _ if !self.wants(wanted, sequence) => Wanted::Nothing,
            Some((sequences, elements)) if sequences.contains(&sequence) => Wanted::Only(elements),
            _ if depth == 0 => Wanted::All,
            _ => wanted,
        }
    }
}

/// What is kept of one data set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    All,
    Only(&'a [Tag]),
    Nothing,
}

impl Wanted<'_> {
    fn has(self, tag: Tag) -> bool {
        match self {
            Self::All => true,
            Self::Only(tags) => tags.contains(&tag),
            Self::Nothing => false,
        }
    }
}
