//! From an image's description and its frames to samples.
//!
//! ```text
//! Header ─ PixelFormat ─┐
//! Source ─ frame k ─────┴─ native: swap, unpack ──────────────┬─▶ samples, little-endian
//!                          compressed: Decode ─ decode() ─────┘   ─ PixelFormat::clean ─▶ values
//! ```
//!
//! [`decode`] has no state but its arguments, so that it can run in another process. What a
//! compressed frame says of its size is compared with the file's header before memory is taken.

mod error;
mod format;
mod frames;
mod jpeg;
mod jpeg2000;
#[cfg(feature = "jpegls")]
mod jpegls;
mod rle;
mod table;
#[cfg(test)]
mod tests;

pub use error::PixelError;
pub use format::{MAX_FRAME_BYTES, MAX_FRAMES, Photometric, PixelFormat};
pub use frames::{Decode, FrameReader, InProcess, check};
pub use table::MAX_FRAGMENTS;

use std::io::Read;

use crate::syntax::Syntax;

const JPEG_LS: bool = cfg!(feature = "jpegls");
const HTJ2K: bool = cfg!(feature = "htj2k");

/// Whether [`decode`] knows a syntax in this build.
#[must_use]
pub fn is_supported(syntax: &Syntax) -> bool {
    match syntax {
        Syntax::Other(_) => false,
        Syntax::JpegLs | Syntax::JpegLsNear => JPEG_LS,
        Syntax::Htj2kLossless | Syntax::Htj2kLosslessRpcl | Syntax::Htj2k => HTJ2K,
        _ => true,
    }
}

/// Whether a syntax is decoded by another maker's crate, which may panic or take memory without
/// bound at damaged frames: such frames belong into a process of their own.
#[must_use]
pub fn is_foreign(syntax: &Syntax) -> bool {
    matches!(
        syntax,
        Syntax::JpegLs
            | Syntax::JpegLsNear
            | Syntax::Htj2kLossless
            | Syntax::Htj2kLosslessRpcl
            | Syntax::Htj2k
    )
}

/// Decodes a frame into little-endian samples, those of a pixel side by side, each as long as
/// [`PixelFormat::sample_bytes`] says.
///
/// # Errors
/// [`PixelError`]; `out` is then without meaning.
pub fn decode(
    syntax: &Syntax,
    format: &PixelFormat,
    compressed: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), PixelError> {
    format.check()?;
    out.clear();
    match syntax {
        Syntax::Rle => rle::decode(format, compressed, out)?,
        Syntax::DeflatedFrame => inflate(format, compressed, out)?,
        Syntax::JpegBaseline
        | Syntax::JpegExtended
        | Syntax::JpegLossless
        | Syntax::JpegLosslessFirst => jpeg::decode(format, compressed, out)?,
        #[cfg(feature = "jpegls")]
        Syntax::JpegLs | Syntax::JpegLsNear => jpegls::decode(format, compressed, out)?,
        Syntax::Jpeg2000Lossless | Syntax::Jpeg2000 => {
            jpeg2000::decode(format, compressed, false, out)?;
        }
        Syntax::Htj2kLossless | Syntax::Htj2kLosslessRpcl | Syntax::Htj2k => {
            jpeg2000::decode(format, compressed, true, out)?;
        }
        other => return Err(PixelError::Syntax { syntax: other.clone() }),
    }
    if out.len() != format.frame_bytes() {
        return Err(PixelError::Length { found: out.len(), expected: format.frame_bytes() });
    }
    Ok(())
}

/// A frame that is deflated as a whole (PS3.5, section A.4.13).
fn inflate(format: &PixelFormat, compressed: &[u8], out: &mut Vec<u8>) -> Result<(), PixelError> {
    if format.bits_allocated == 1 {
        return Err(PixelError::Unsupported("deflated frames of one bit a pixel"));
    }
    let most = format.frame_bytes() as u64;
    flate2::bufread::DeflateDecoder::new(compressed)
        .take(most)
        .read_to_end(out)
        .map_err(|_| PixelError::Codec { codec: "deflate", what: "damaged".into() })?;
    format.interleave(out);
    Ok(())
}

/// Writes samples as [`decode`] gives them: the low bits of each.
fn store(samples: impl Iterator<Item = u32>, format: &PixelFormat, out: &mut Vec<u8>) {
    out.reserve_exact(format.frame_bytes());
    match format.sample_bytes() {
        1 => out.extend(samples.map(|sample| sample as u8)),
        2 => out.extend(samples.flat_map(|sample| (sample as u16).to_le_bytes())),
        _ => out.extend(samples.flat_map(u32::to_le_bytes)),
    }
}
