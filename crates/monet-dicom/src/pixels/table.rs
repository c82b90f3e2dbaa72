//! Where each frame of compressed pixels begins (PS3.5, section A.4).
//!
//! 1. One frame: at the first fragment.
//! 2. The Extended or the Basic Offset Table says it, if it has an entry for each frame.
//! 3. As many fragments as frames: each frame is one.
//! 4. Otherwise a frame ends with the fragment in which its code stream ends.

use super::error::PixelError;
use crate::read::Source;
use crate::syntax::Syntax;

/// Most fragments of an image without offset table.
pub const MAX_FRAGMENTS: usize = 1 << 20;
/// The end of a JPEG, JPEG-LS or JPEG 2000 code stream.
const CODE_STREAM_END: [u8; 2] = [0xff, 0xd9];
/// How far before a fragment's end its code stream may end: padding follows.
const TAIL: usize = 10;

const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];
const SEQUENCE_END: [u8; 4] = [0xfe, 0xff, 0xdd, 0xe0];

/// An item's length; `None` at the end of all items.
pub(super) fn item(source: &mut dyn Source, offset: u64) -> Result<Option<u32>, PixelError> {
    let mut front = [0; 8];
    let mut filled = 0;
    while filled < 8 {
        match source.read(&mut front[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let [a, b, c, d, length @ ..] = front;
    match [a, b, c, d] {
        // Writers forget the delimiter.
        _ if filled < 8 => Ok(None),
        SEQUENCE_END => Ok(None),
        ITEM if length != [0xff; 4] => Ok(Some(u32::from_le_bytes(length))),
        _ => Err(PixelError::Encapsulation { offset, what: "no item begins there" }),
    }
}

/// Where frames begin: offsets of their first items.
#[derive(Debug)]
pub(super) struct Table {
    starts: Vec<u64>,
}

impl Table {
    /// Of the items at `offset`.
    pub(super) fn new(
        source: &mut dyn Source,
        syntax: &Syntax,
        frames: u32,
        offset: u64,
        extended: Option<(u64, u32)>,
    ) -> Result<Self, PixelError> {
        source.seek_to(offset)?;
        let basic = item(source, offset)?;
        let basic = basic.ok_or(PixelError::Encapsulation { offset, what: "no items" })?;
        let base = offset + 8 + u64::from(basic);
        if frames == 1 {
            return Ok(Self { starts: vec![base] });
        }
        let tables = [extended.map(|(at, length)| (at, length, 8)), Some((offset + 8, basic, 4))];
        for (at, length, size) in tables.into_iter().flatten() {
            if u64::from(length) == u64::from(frames) * size
                && let Some(starts) = entries(source, at, frames, size, base)?
            {
                return Ok(Self { starts });
            }
        }
        Ok(Self { starts: walk(source, syntax, frames, base)? })
    }

    /// Where a frame begins, and where the next does.
    pub(super) fn frame(&self, frame: usize) -> Option<(u64, Option<u64>)> {
        Some((*self.starts.get(frame)?, self.starts.get(frame + 1).copied()))
    }
}

/// An offset table's entries; `None` where they are no increasing places in the file.
fn entries(
    source: &mut dyn Source,
    at: u64,
    frames: u32,
    size: u64,
    base: u64,
) -> Result<Option<Vec<u64>>, PixelError> {
    let end = source.length().unwrap_or(u64::MAX);
    if at.checked_add(u64::from(frames) * size).is_none_or(|table| table > end) {
        return Ok(None);
    }
    source.seek_to(at)?;
    let mut starts = Vec::new();
    for _ in 0..frames {
        let mut entry = [0; 8];
        source.read_exact(if size == 8 { &mut entry } else { &mut entry[..4] })?;
        let start = base.checked_add(u64::from_le_bytes(entry)).filter(|&start| start < end);
        let Some(start) = start.filter(|start| starts.last().is_none_or(|last| last < start))
        else {
            return Ok(None);
        };
        starts.push(start);
    }
    Ok(Some(starts))
}

/// Passes along all fragments.
fn walk(
    source: &mut dyn Source,
    syntax: &Syntax,
    frames: u32,
    base: u64,
) -> Result<Vec<u64>, PixelError> {
    let wrong = |what| PixelError::Encapsulation { offset: base, what };
    let (mut all, mut ends) = (Vec::new(), Vec::new());
    let mut at = base;
    source.seek_to(at)?;
    while let Some(length) = item(source, at)? {
        let next = at + 8 + u64::from(length);
        if source.length().is_some_and(|end| end < next) {
            break;
        }
        if all.len() == MAX_FRAGMENTS {
            return Err(wrong("too many fragments without an offset table"));
        }
        all.push(at);
        let tail = usize::try_from(length).unwrap_or(TAIL).min(TAIL);
        source.seek_to(next - tail as u64)?;
        let mut bytes = [0; TAIL];
        source.read_exact(&mut bytes[..tail])?;
        if bytes[..tail].windows(2).any(|pair| pair == CODE_STREAM_END) {
            ends.push(next);
        }
        at = next;
    }
    let frames = usize::try_from(frames).unwrap_or(usize::MAX);
    if all.len() == frames {
        return Ok(all);
    }
    if all.len() < frames {
        return Err(wrong("fewer fragments than frames: the file is cut off"));
    }
    if *syntax != Syntax::Rle && ends.len() == frames {
        let starts = std::iter::once(base).chain(ends).take(frames);
        return Ok(starts.collect());
    }
    Err(wrong("which fragments a frame has cannot be told without an offset table"))
}
