//! HTJ2K (T.814), by the crate `dicom-toolkit-jpeg2000`.
//!
//! The crate gives samples as unsigned numbers, to which it added half of the range, whether the
//! code stream says that they are signed or not.

use dicom_toolkit_jpeg2000::{DecodeSettings, Image};

use super::stream::Size;
use super::{Samples, damaged};
use crate::pixels::PixelError;

pub(super) fn decode(size: &Size, stream: &[u8]) -> Result<Samples, PixelError> {
    let settings = DecodeSettings { strict: false, ..DecodeSettings::default() };
    let wrong = |error: dicom_toolkit_jpeg2000::DecodeError| damaged(error.to_string());
    let image = Image::new(stream, &settings).map_err(wrong)?;
    let raw = image.decode_native().map_err(wrong)?;
    let bytes = usize::from(raw.bytes_per_sample);
    if !matches!(bytes, 1 | 2) {
        return Err(damaged("samples of no size"));
    }
    let half = if size.signed { 1 << (size.bits - 1) } else { 0 };
    let sample = |bytes: &[u8]| {
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | i32::from(byte));
        value - half
    };
    Ok(raw.data.chunks_exact(bytes).map(sample).collect())
}
