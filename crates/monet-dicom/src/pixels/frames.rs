//! Frames of an image, one at a time.

use std::io::Read;

use super::decode;
use super::error::PixelError;
use super::format::{Photometric, PixelFormat};
use super::table::{Table, item};
use crate::dataset::Vr;
use crate::read::{Header, PixelData, PixelPlace, Source};
use crate::syntax::Syntax;
use crate::tags::PIXEL_DATA;

/// Where compressed frames are decoded.
pub trait Decode {
    /// Does what [`decode`] does.
    ///
    /// # Errors
    /// [`PixelError`]
    fn decode(
        &mut self,
        syntax: &Syntax,
        format: &PixelFormat,
        compressed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), PixelError>;
}

/// Decodes in the caller's own process: a decoder that panics takes the process along.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcess;

impl Decode for InProcess {
    fn decode(
        &mut self,
        syntax: &Syntax,
        format: &PixelFormat,
        compressed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), PixelError> {
        decode(syntax, format, compressed, out)
    }
}

/// Holds what a header says of the pixels against what this crate reads, and native pixels against
/// the bytes that are there: so many in all, where that is known.
///
/// # Errors
/// [`PixelError`], as [`FrameReader`] would tell it.
pub fn check(header: &Header, length: Option<u64>) -> Result<(), PixelError> {
    let (format, pixels) = described(header)?;
    let PixelPlace::Native { offset, length: declared } = pixels.place else { return Ok(()) };
    let there = length.map_or(u64::MAX, |length| length.saturating_sub(offset));
    let left = u64::from(declared).min(there);
    // At most 2^20 frames of 2^31 bits: no overflow.
    let bits = format.frame_samples() * u64::from(format.bits_allocated);
    if (bits * u64::from(format.frames)).div_ceil(8) <= left {
        return Ok(());
    }
    let whole = left * 8 / bits;
    let (start, end) = (whole * bits / 8, ((whole + 1) * bits).div_ceil(8));
    Err(PixelError::Truncated { frame: whole as u32, needed: end - start, left: left - start })
}

/// The format and the place of pixels that this crate reads.
fn described(header: &Header) -> Result<(PixelFormat, PixelData), PixelError> {
    let pixels = header.pixels.ok_or(PixelError::None)?;
    if pixels.tag != PIXEL_DATA {
        return Err(PixelError::Floats);
    }
    let format = PixelFormat::new(&header.data)?;
    let syntax = header.syntax.clone();
    if !super::is_supported(&syntax) {
        return Err(PixelError::Syntax { syntax });
    }
    let native = matches!(pixels.place, PixelPlace::Native { .. });
    if native != syntax.is_native() {
        return Err(PixelError::Unsupported(match native {
            true => "a frame of compressed syntax that lies in no item",
            false => "items of pixels in a native syntax",
        }));
    }
    if native && format.photometric == Photometric::YbrFull422 {
        return Err(PixelError::Unsupported("native YBR_FULL_422"));
    }
    Ok((format, pixels))
}

/// Reads frames of one image, in any order; forward is cheapest.
pub struct FrameReader {
    source: Box<dyn Source>,
    format: PixelFormat,
    syntax: Syntax,
    pixels: PixelData,
    big_endian: bool,
    // Made at the first compressed frame.
    table: Option<Table>,
    bytes: Vec<u8>,
}

impl FrameReader {
    /// Of the image that a header describes, from the source that came with the header.
    ///
    /// # Errors
    /// [`PixelError`]: no pixels, or pixels that this crate does not read.
    pub fn new(header: &Header, source: Box<dyn Source>) -> Result<Self, PixelError> {
        let (format, pixels) = described(header)?;
        let syntax = header.syntax.clone();
        let big_endian = header.big_endian;
        Ok(Self { source, format, syntax, pixels, big_endian, table: None, bytes: Vec::new() })
    }

    /// How samples are laid out.
    #[must_use]
    pub fn format(&self) -> &PixelFormat {
        &self.format
    }

    /// How frames are compressed.
    #[must_use]
    pub fn syntax(&self) -> &Syntax {
        &self.syntax
    }

    /// A frame, counted from 0, as little-endian samples; `decoder` decodes what is compressed.
    /// [`PixelFormat::clean`] or [`PixelFormat::values`] make values of them.
    ///
    /// # Errors
    /// [`PixelError`]
    pub fn read(
        &mut self,
        frame: u32,
        decoder: &mut dyn Decode,
        out: &mut Vec<u8>,
    ) -> Result<(), PixelError> {
        let frames = self.format.frames;
        if frame >= frames {
            return Err(PixelError::Frame { frame, frames });
        }
        let (offset, length) = match self.pixels.place {
            PixelPlace::Native { offset, length } => (offset, length),
            PixelPlace::Encapsulated { offset } => {
                let mut bytes = std::mem::take(&mut self.bytes);
                let result = self
                    .compressed(frame, offset, &mut bytes)
                    .and_then(|()| decoder.decode(&self.syntax, &self.format, &bytes, out));
                self.bytes = bytes;
                result?;
                let (found, expected) = (out.len(), self.format.frame_bytes());
                return match found == expected {
                    true => Ok(()),
                    false => Err(PixelError::Length { found, expected }),
                };
            }
        };
        self.native(frame, offset, length, out)
    }

    /// A frame that lies as it is.
    fn native(
        &mut self,
        frame: u32,
        offset: u64,
        length: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), PixelError> {
        let format = self.format;
        let bits = format.frame_samples() * u64::from(format.bits_allocated);
        // At most 2^20 frames of 2^31 bits: no overflow.
        let first_bit = u64::from(frame) * bits;
        // A big-endian file turns words of 16 bits round, whatever lies in them.
        let unit = match (self.big_endian, format.sample_bytes(), self.pixels.vr == Vr(*b"OW")) {
            (false, ..) | (true, 1, false) => 1,
            (true, 1, true) => 2,
            (true, size, _) => size,
        };
        let start = first_bit / 8 / unit as u64 * unit as u64;
        let end = (first_bit + bits).div_ceil(8);
        if end > u64::from(length) {
            let left = u64::from(length).saturating_sub(start);
            return Err(PixelError::Truncated { frame, needed: end - start, left });
        }
        let end = end.next_multiple_of(unit as u64);
        self.bytes(frame, offset + start, end - start, out)?;
        if unit > 1 {
            out.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
        }
        if format.bits_allocated == 1 {
            let packed = std::mem::take(out);
            let shift = (first_bit - start * 8) as usize;
            let bits = shift..shift + format.frame_bytes();
            out.extend(bits.map(|bit| packed[bit / 8] >> (bit % 8) & 1));
        } else {
            let skip = (first_bit / 8 - start) as usize;
            out.drain(..skip);
            out.truncate(format.frame_bytes());
        }
        format.interleave(out);
        Ok(())
    }

    /// Bytes of the source. Memory grows with what is there.
    fn bytes(
        &mut self,
        frame: u32,
        at: u64,
        needed: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), PixelError> {
        out.clear();
        if let Some(length) = self.source.length() {
            let left = length.saturating_sub(at);
            if left < needed {
                return Err(PixelError::Truncated { frame, needed, left });
            }
            out.reserve_exact(usize::try_from(needed).unwrap_or(0));
        }
        self.source.seek_to(at)?;
        (&mut self.source).take(needed).read_to_end(out)?;
        let left = out.len() as u64;
        if left < needed {
            return Err(PixelError::Truncated { frame, needed, left });
        }
        Ok(())
    }

    /// A frame's fragments, one behind the other.
    fn compressed(&mut self, frame: u32, offset: u64, out: &mut Vec<u8>) -> Result<(), PixelError> {
        let (syntax, frames) = (&self.syntax, self.format.frames);
        let table = match &mut self.table {
            Some(table) => table,
            empty => empty.insert(Table::new(
                &mut self.source,
                syntax,
                frames,
                offset,
                self.pixels.extended_offsets,
            )?),
        };
        let place = table.frame(usize::try_from(frame).unwrap_or(usize::MAX));
        let (mut at, next) = place.ok_or(PixelError::Frame { frame, frames })?;
        // No compression makes a frame much larger.
        let most = 2 * self.format.frame_bytes() as u64 + (1 << 20);
        out.clear();
        self.source.seek_to(at)?;
        while next.is_none_or(|next| at < next) {
            let Some(length) = item(&mut self.source, at)? else { break };
            let (have, needed) = (out.len() as u64, u64::from(length));
            if have + needed > most {
                let what = "a compressed frame is longer than any can be";
                return Err(PixelError::Encapsulation { offset: at, what });
            }
            at += 8;
            if let Some(end) = self.source.length()
                && end.saturating_sub(at) < needed
            {
                return Err(PixelError::Truncated { frame, needed, left: end.saturating_sub(at) });
            }
            (&mut self.source).take(needed).read_to_end(out)?;
            if (out.len() as u64) < have + needed {
                let left = out.len() as u64 - have;
                return Err(PixelError::Truncated { frame, needed, left });
            }
            at += needed;
        }
        Ok(())
    }
}

impl std::fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReader")
            .field("format", &self.format)
            .field("syntax", &self.syntax)
            .field("pixels", &self.pixels)
            .finish_non_exhaustive()
    }
}
