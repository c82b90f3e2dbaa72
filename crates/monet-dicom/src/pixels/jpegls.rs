//! JPEG-LS (ITU-T T.87) of one component, by the crate `pure_jpegls`, behind a look at its header.

use std::borrow::Cow;

use super::error::PixelError;
use super::format::PixelFormat;
use super::store;

const CODEC: &str = "JPEG-LS";

fn damaged(what: impl Into<String>) -> PixelError {
    PixelError::Codec { codec: CODEC, what: what.into() }
}

pub(super) fn decode(
    format: &PixelFormat,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), PixelError> {
    check(format, data)?;
    let (rows, columns) = (format.rows.into(), format.columns.into());
    let (samples, ..) = jpegls::decode(&without_fill(data), columns, rows)
        .map_err(|error| damaged(error.to_string()))?;
    if samples.len() != format.frame_pixels() {
        return Err(damaged("too few samples"));
    }
    store(samples.into_iter().map(u32::from), format, out);
    Ok(())
}

/// The stream without the fill bytes that may stand before its last marker (T.81, section B.1.1.2),
/// which the decoder does not know.
fn without_fill(data: &[u8]) -> Cow<'_, [u8]> {
    let end = data.windows(2).rposition(|pair| pair == [0xff, 0xd9]).unwrap_or(0);
    let fill = data[..end].iter().rev().take_while(|&&byte| byte == 0xff).count();
    match fill {
        0 => Cow::Borrowed(data),
        _ => Cow::Owned([&data[..end - fill], &data[end..]].concat()),
    }
}

/// Compares the frame header with the file's, before memory is taken for samples. The decoder
/// trusts numbers of the segment of presets that its arithmetic cannot hold.
fn check(format: &PixelFormat, data: &[u8]) -> Result<(), PixelError> {
    let mut rest = data.strip_prefix(&[0xff, 0xd8]).ok_or_else(|| damaged("no start"))?;
    let mut framed = false;
    loop {
        let (&[fill, marker, high, low], _) =
            rest.split_first_chunk::<4>().ok_or_else(|| damaged("cut off"))?;
        if fill != 0xff {
            return Err(damaged("no marker where one must be"));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(4..2 + length).ok_or_else(|| damaged("a segment is cut off"))?;
        rest = &rest[2 + length..];
        match marker {
            0xf7 if framed => return Err(damaged("two frame headers")),
            0xf7 => {
                frame(format, body)?;
                framed = true;
            }
            0xf8 => presets(body)?,
            0xda if !framed => return Err(damaged("a scan before its frame")),
            0xda => {
                // One component, its table, NEAR, interleave, point transform.
                return match body {
                    [1, _, _, _, 0, 0] => Ok(()),
                    [1, _, _, _, 0, _] => Err(PixelError::Unsupported("shifted JPEG-LS")),
                    _ => Err(PixelError::Unsupported("JPEG-LS of colour")),
                };
            }
            _ => {}
        }
    }
}

fn frame(format: &PixelFormat, body: &[u8]) -> Result<(), PixelError> {
    let &[precision, r0, r1, c0, c1, components, _, _, _, ..] = body else {
        return Err(damaged("its frame header is too short"));
    };
    let pairs = [
        ("rows", u16::from_be_bytes([r0, r1]), format.rows),
        ("columns", u16::from_be_bytes([c0, c1]), format.columns),
        ("components", components.into(), format.samples),
    ];
    for (what, found, expected) in pairs {
        if found != expected {
            let (found, expected) = (found.into(), expected.into());
            return Err(PixelError::Mismatch { codec: CODEC, what, found, expected });
        }
    }
    if components != 1 {
        return Err(PixelError::Unsupported("JPEG-LS of colour"));
    }
    if !(2..=16).contains(&precision) || u16::from(precision) > format.bits_allocated {
        let (found, expected) = (precision.into(), format.bits_allocated.into());
        return Err(PixelError::Mismatch { codec: CODEC, what: "bits", found, expected });
    }
    Ok(())
}

/// Preset parameters (T.87, section C.2.4.1): RESET is 3 to 255, or to MAXVAL if that is larger.
fn presets(body: &[u8]) -> Result<(), PixelError> {
    let Some(&[1, m0, m1, .., r0, r1]) = body.first_chunk::<11>() else {
        return Err(PixelError::Unsupported("JPEG-LS with mapping tables"));
    };
    let (most, reset) = (u16::from_be_bytes([m0, m1]), u16::from_be_bytes([r0, r1]));
    if reset != 0 && !(3..=most.max(255)).contains(&reset) {
        return Err(damaged("its presets are out of range"));
    }
    Ok(())
}
