//! JPEG 2000 and HTJ2K (ITU-T T.800, T.814), by the crate `dicom-toolkit-jpeg2000`, behind a look
//! at the code stream's header.
//!
//! The crate gives samples as unsigned numbers and cuts off negative ones. A signed code stream is
//! therefore decoded as an unsigned one: with the sign's flag cleared, the decoder adds half of
//! the range, which is taken off again.

use dicom_toolkit_jpeg2000::{DecodeSettings, Image};

use super::error::PixelError;
use super::format::PixelFormat;
use super::store;

const CODEC: &str = "JPEG 2000";
/// Start of code stream, and the SIZ segment that must follow.
const START: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];
/// Most tiles of a frame.
const MAX_TILES: u64 = 1 << 14;

fn damaged(what: impl Into<String>) -> PixelError {
    PixelError::Codec { codec: CODEC, what: what.into() }
}

pub(super) fn decode(
    format: &PixelFormat,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), PixelError> {
    let mut stream = code_stream(data)?.to_vec();
    let signs = size(format, &mut stream)?;
    coding(&stream)?;
    let settings = DecodeSettings { strict: false, ..DecodeSettings::default() };
    let wrong = |error: dicom_toolkit_jpeg2000::DecodeError| damaged(error.to_string());
    let image = Image::new(&stream, &settings).map_err(wrong)?;
    let raw = image.decode_native().map_err(wrong)?;
    let samples = format.frame_pixels() * usize::from(format.samples);
    let size = usize::from(raw.bytes_per_sample);
    if !matches!(size, 1 | 2) || raw.data.len() != samples * size {
        return Err(damaged("too few samples"));
    }
    let half = if signs { 1_u32 << (raw.bit_depth.clamp(1, 16) - 1) } else { 0 };
    let sample = |bytes: &[u8]| {
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        value.wrapping_sub(half)
    };
    store(raw.data.chunks_exact(size).map(sample), format, out);
    Ok(())
}

/// The code stream, which some writers put into a file of boxes (T.800, annex I).
fn code_stream(data: &[u8]) -> Result<&[u8], PixelError> {
    if data.starts_with(&START) {
        return Ok(data);
    }
    let mut rest = data;
    while let Some((front, _)) = rest.split_first_chunk::<8>() {
        let [l0, l1, l2, l3, kind @ ..] = *front;
        let length = match u32::from_be_bytes([l0, l1, l2, l3]) {
            // To the end.
            0 => rest.len(),
            length => usize::try_from(length).unwrap_or(usize::MAX),
        };
        let body = rest.get(8..length).ok_or_else(|| damaged("a box is cut off"))?;
        if kind == *b"jp2c" && body.starts_with(&START) {
            return Ok(body);
        }
        rest = &rest[length..];
    }
    Err(damaged("no code stream"))
}

/// Compares the SIZ segment (T.800, section A.5.1) with the file's header, and clears the flags
/// of signs; says whether they were set.
fn size(format: &PixelFormat, stream: &mut [u8]) -> Result<bool, PixelError> {
    let short = || damaged("its size segment is too short");
    let length = stream.get(4..6).ok_or_else(short)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let segment = stream.get_mut(6..4 + length).ok_or_else(short)?;
    let (front, components) = segment.split_first_chunk_mut::<36>().ok_or_else(short)?;
    let numbers: &[[u8; 4]] = front[2..34].as_chunks().0;
    let number = |n: usize| numbers.get(n).map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let [x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0] = std::array::from_fn(number);
    let count = u16::from_be_bytes([front[34], front[35]]);
    let mismatch = |what, found: u64, expected: u64| {
        Err(PixelError::Mismatch { codec: CODEC, what, found, expected })
    };
    let (columns, rows) = (x1.saturating_sub(x0), y1.saturating_sub(y0));
    if rows != u32::from(format.rows) {
        return mismatch("rows", rows.into(), format.rows.into());
    }
    if columns != u32::from(format.columns) {
        return mismatch("columns", columns.into(), format.columns.into());
    }
    if count != format.samples {
        return mismatch("components", count.into(), format.samples.into());
    }
    if tile_x == 0 || tile_y == 0 || tile_x0 > x0 || tile_y0 > y0 {
        return Err(damaged("tiles of no size"));
    }
    let tiles = |end: u32, start: u32, tile: u32| u64::from((end - start).div_ceil(tile));
    if tiles(x1, tile_x0, tile_x) * tiles(y1, tile_y0, tile_y) > MAX_TILES {
        return Err(damaged("too many tiles"));
    }
    let (components, _) = components.as_chunks_mut::<3>();
    if components.len() < usize::from(count) {
        return Err(short());
    }
    let first = components.first().map_or(0, |component| component[0]);
    for [depth, x, y] in components.iter_mut() {
        let bits = u16::from(*depth & 0x7f) + 1;
        if bits > format.bits_allocated.min(16) {
            return mismatch("bits", bits.into(), format.bits_allocated.min(16).into());
        }
        if *depth != first || [*x, *y] != [1, 1] {
            return Err(PixelError::Unsupported("JPEG 2000 with components of several kinds"));
        }
        *depth &= 0x7f;
    }
    Ok(first & 0x80 != 0)
}

/// Looks at the coding styles in the main header (T.800, section A.6.1): code blocks larger than
/// the standard's, or precincts of a few pixels, cost memory without end.
fn coding(stream: &[u8]) -> Result<(), PixelError> {
    let mut rest = stream.get(2..).unwrap_or_default();
    while let Some((&[fill, marker, high, low], _)) = rest.split_first_chunk::<4>() {
        if fill != 0xff || marker == 0x90 {
            break;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(4..2 + length).ok_or_else(|| damaged("a segment is cut off"))?;
        if marker == 0x52 {
            style(body)?;
        }
        rest = &rest[2 + length..];
    }
    Ok(())
}

fn style(body: &[u8]) -> Result<(), PixelError> {
    let &[style, _, l0, l1, _, levels, width, height, _, _, ref precincts @ ..] = body else {
        return Err(damaged("its coding style is too short"));
    };
    let layers = u16::from_be_bytes([l0, l1]);
    let blocks = width <= 8 && height <= 8 && width + height <= 8;
    // Precincts are at least 2^4 wide and high but at the lowest levels.
    let small = |&size: &u8| size & 15 < 4 || size >> 4 < 4;
    let small = style & 1 != 0 && precincts.iter().skip(4).any(small);
    if !blocks || levels > 32 || layers == 0 || small {
        return Err(damaged("a coding style that no encoder uses"));
    }
    Ok(())
}
