//! A file's header: preamble, file meta information, and the data set up to its pixels
//! (PS3.10, chapter 7).

use std::io;
use std::path::Path;

use super::cursor::{Cursor, io_error};
use super::element::{Coding, Front, Skipped};
use super::error::ReadError;
use super::keep::Keep;
use super::parse::Parser;
use super::source::{FileSource, Inflated, Source, Window, fill};
use super::vrs;
use crate::dataset::{Dataset, Tag, Vr};
use crate::syntax::Syntax;
use crate::tags::{PIXEL_DATA, TRANSFER_SYNTAX};

/// What a file says before its pixels.
#[derive(Debug, Clone)]
pub struct Header {
    /// File meta information; empty if the file has none.
    pub meta: Dataset,
    /// The syntax that the file names, or the one that its first element shows.
    pub syntax: Syntax,
    /// Whether the data set really is big-endian.
    pub big_endian: bool,
    /// The elements that were kept.
    pub data: Dataset,
    /// Where the pixels lie.
    pub pixels: Option<PixelData>,
    /// What was wanted and passed over: it is too long.
    pub skipped: Vec<Skipped>,
}

/// Where an image's pixels lie in [`Instance::source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelData {
    /// Pixel Data, Float Pixel Data or Double Float Pixel Data.
    pub tag: Tag,
    /// The element's value representation: OB or OW.
    pub vr: Vr,
    /// Place and form.
    pub place: PixelPlace,
    /// Where the Extended Offset Table lies, and its length (PS3.3, section C.7.6.3.1.8).
    pub extended_offsets: Option<(u64, u32)>,
}

/// Place and form of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelPlace {
    /// Frame behind frame.
    Native {
        /// Where the first frame begins.
        offset: u64,
        /// How long the element says that all frames are; the file may end before.
        length: u32,
    },
    /// In items (PS3.5, section A.4).
    Encapsulated {
        /// Where the first item begins, which is the Basic Offset Table.
        offset: u64,
    },
}

/// A header, and the source that its offsets count in: the file, or what its deflated data set
/// inflates to.
pub struct Instance {
    /// What the file says before its pixels.
    pub header: Header,
    /// Where the pixels are read from.
    pub source: Box<dyn Source>,
}

/// How much of a file [`is_dicom`] has to see.
pub const START: usize = 132;
const MAGIC: &[u8] = b"DICM";

/// Whether a file that begins like this is worth [`open`]ing: it says `DICM`, or its first element
/// is one that a data set begins with.
#[must_use]
pub fn is_dicom(start: &[u8]) -> bool {
    begin(start).is_some()
}

/// Where the first element lies.
fn begin(start: &[u8]) -> Option<u64> {
    if start.get(128..132) == Some(MAGIC) {
        return Some(132);
    }
    let at = if start.starts_with(MAGIC) { 4 } else { 0 };
    let first: [u8; 8] = *start.get(at..)?.first_chunk()?;
    let [_, _, _, _, a, b, c, d] = first;
    let known = vrs::is_known(Vr([a, b]));
    let little = u16::from_le_bytes([first[0], first[1]]);
    let element = u16::from_le_bytes([first[2], first[3]]);
    let plausible = match little {
        2 => known,
        8 => known || (element < 0x20 && u32::from_le_bytes([a, b, c, d]) < 1 << 10),
        // Group 8, big-endian.
        0x0800 => known,
        _ => false,
    };
    plausible.then_some(at as u64)
}

/// Reads a file's header.
///
/// # Errors
/// [`ReadError`]
pub fn open(path: &Path, keep: &Keep<'_>) -> Result<Instance, ReadError> {
    let source = FileSource::open(path).map_err(|source| ReadError::Io { offset: 0, source })?;
    read(Box::new(source), keep)
}

/// Reads a header from a source's start.
///
/// # Errors
/// [`ReadError`]
pub fn read(mut source: Box<dyn Source>, keep: &Keep<'_>) -> Result<Instance, ReadError> {
    let (meta, data) = meta(&mut source)?;
    let said = meta.text(TRANSFER_SYNTAX).map(Syntax::from_uid);
    if said == Some(Syntax::Deflated) {
        let length = source.length().map_or(u64::MAX, |length| length.saturating_sub(data));
        let window = Window::new(source, data, length).map_err(|source| io_error(source, data))?;
        return body(Box::new(Inflated::new(window, None)), 0, meta, said, keep);
    }
    body(source, data, meta, said, keep)
}

/// Reads a file's meta information alone, and says at which byte its data set begins; the meta
/// information is empty if the file has none.
///
/// # Errors
/// [`ReadError`]
pub fn meta(source: &mut dyn Source) -> Result<(Dataset, u64), ReadError> {
    let mut start = [0; START];
    source.seek_to(0).map_err(|source| io_error(source, 0))?;
    let count = fill(source, &mut start).map_err(|source| io_error(source, 0))?;
    let blank = start.iter().all(|byte| *byte == 0);
    let begin = begin(&start[..count]).ok_or(ReadError::NotDicom { blank })?;
    let all = Keep::all();
    let mut parser = Parser::new(Cursor::new(source, begin)?, &all);
    let meta = parser.meta()?;
    Ok((meta, parser.cursor.at()))
}

/// Reads a data set that stands alone, without file meta information: a message's, say. Deflated
/// ones are not inflated. Reading stops at pixel data.
///
/// # Errors
/// [`ReadError`]
pub fn data_set(
    source: &mut dyn Source,
    syntax: &Syntax,
    keep: &Keep<'_>,
) -> Result<Dataset, ReadError> {
    let mut parser = Parser::new(Cursor::new(source, 0)?, keep);
    parser.top(coding(Some(syntax))).map(|(set, _)| set)
}

/// The data set, which begins at byte `at`.
fn body(
    mut source: Box<dyn Source>,
    at: u64,
    meta: Dataset,
    said: Option<Syntax>,
    keep: &Keep<'_>,
) -> Result<Instance, ReadError> {
    let mut cursor = Cursor::new(&mut source, at)?;
    let (first, count) = cursor.some::<8>()?;
    let shown = (count == 8).then(|| shown(first)).flatten();
    let coding = shown.unwrap_or_else(|| coding(said.as_ref()));
    let mut parser = Parser::new(Cursor::new(&mut source, at)?, keep);
    let (data, front) = parser.top(coding)?;
    let value = parser.cursor.at();
    let extended_offsets = parser.extended_offsets;
    let skipped = std::mem::take(&mut parser.skipped);
    let pixels = front.map(|front| pixel_data(front, value, extended_offsets));
    let syntax = said.unwrap_or(match coding {
        Coding { explicit: false, .. } => Syntax::ImplicitLittle,
        Coding { big: true, .. } => Syntax::ExplicitBig,
        Coding { .. } => Syntax::ExplicitLittle,
    });
    let header = Header { meta, syntax, big_endian: coding.big, data, pixels, skipped };
    Ok(Instance { header, source })
}

fn coding(said: Option<&Syntax>) -> Coding {
    said.map_or(Coding::IMPLICIT, |syntax| Coding {
        explicit: syntax.is_explicit(),
        big: syntax.is_big_endian(),
    })
}

/// How the first element is written, whatever the file says: files exist that say one syntax and
/// use another. `None` where the element's form does not tell.
fn shown(first: [u8; 8]) -> Option<Coding> {
    let [a, b, _, _, c, d, e, f] = first;
    let vr = Vr([c, d]);
    let (little, big) = (u16::from_le_bytes([a, b]), u16::from_be_bytes([a, b]));
    // The first group of a data set is 8, or in small ones another. Group 0052 turned round is
    // 5200, which is the standard's, too.
    match (vrs::is_known(vr), little < 0x100, big == 8) {
        (true, true, _) => Some(Coding::EXPLICIT),
        (true, false, true) => Some(Coding { explicit: true, big: true }),
        // No representation, and a length that a first element can have.
        (false, true, _) if u32::from_le_bytes([c, d, e, f]) < 1 << 14 => Some(Coding::IMPLICIT),
        _ => None,
    }
}

fn pixel_data(front: Front, value: u64, extended_offsets: Option<(u64, u32)>) -> PixelData {
    let default = if front.tag == PIXEL_DATA { *b"OW" } else { *b"OF" };
    let place = match front.length {
        u32::MAX => PixelPlace::Encapsulated { offset: value },
        length => PixelPlace::Native { offset: value, length },
    };
    PixelData { tag: front.tag, vr: front.vr.unwrap_or(Vr(default)), place, extended_offsets }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("header", &self.header).finish_non_exhaustive()
    }
}

/// What the system says of a file that cannot be opened, as the reader's error.
impl From<io::Error> for ReadError {
    fn from(source: io::Error) -> Self {
        io_error(source, 0)
    }
}
