//! RLE Lossless (PS3.5, annex G).
//!
//! ```text
//! header   number of segments, 15 offsets (u32 each)
//! segment  one byte of each sample, the highest first; sample planes one behind the other
//! coded    n < 128: n + 1 bytes as they are; n > 128: the next byte 257 - n times; 128: nothing
//! ```

use super::error::PixelError;
use super::format::PixelFormat;

fn damaged(what: &str) -> PixelError {
    PixelError::Codec { codec: "RLE", what: what.into() }
}

pub(super) fn decode(
    format: &PixelFormat,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), PixelError> {
    if format.bits_allocated == 1 {
        return Err(PixelError::Unsupported("RLE of one bit a pixel"));
    }
    let header = data.first_chunk::<64>().ok_or_else(|| damaged("no header"))?;
    let word = |n: usize| {
        let bytes = header.as_chunks::<4>().0[n];
        usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
    };
    let (size, pixels) = (format.sample_bytes(), format.frame_pixels());
    let segments = size * usize::from(format.samples);
    if word(0) != segments {
        return Err(PixelError::Mismatch {
            codec: "RLE",
            what: "segments",
            found: word(0) as u64,
            expected: segments as u64,
        });
    }
    // A coded byte gives 128 at most, so little data never makes much memory.
    if pixels.saturating_mul(segments) > data.len().saturating_mul(128) {
        return Err(damaged("too short"));
    }
    out.resize(pixels * segments, 0);
    for segment in 0..segments {
        // `check` allows 3 samples of 4 bytes, so the header has these offsets.
        let start = word(1 + segment);
        let end = if segment + 1 < segments { word(2 + segment) } else { data.len() };
        let coded = data.get(start..end).filter(|_| start >= 64);
        let coded = coded.ok_or_else(|| damaged("segments out of order"))?;
        let (sample, byte) = (segment / size, size - 1 - segment % size);
        let bytes = out.iter_mut().skip(sample * size + byte).step_by(segments);
        unpack(coded, bytes)?;
    }
    Ok(())
}

fn unpack<'o>(
    mut coded: &[u8],
    mut out: impl ExactSizeIterator<Item = &'o mut u8>,
) -> Result<(), PixelError> {
    let short = || damaged("a segment is too short");
    while out.len() > 0 {
        let (&n, rest) = coded.split_first().ok_or_else(short)?;
        coded = rest;
        let count = match n {
            0..128 => usize::from(n) + 1,
            128 => continue,
            _ => 257 - usize::from(n),
        };
        if n < 128 {
            // Runs may reach over the frame's end: the rest is padding.
            let bytes = coded.get(..count.min(out.len())).ok_or_else(short)?;
            bytes.iter().zip(out.by_ref()).for_each(|(byte, out)| *out = *byte);
            coded = coded.get(count..).unwrap_or_default();
        } else {
            let (&byte, rest) = coded.split_first().ok_or_else(short)?;
            out.by_ref().take(count).for_each(|out| *out = byte);
            coded = rest;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::tests::format;
    use super::*;

    /// Segments of literal runs and repeats, as an encoder may choose them.
    fn encode(planes: &[Vec<u8>]) -> Vec<u8> {
        let (mut header, mut body) = (vec![0_u32; 16], Vec::new());
        header[0] = planes.len() as u32;
        for (n, plane) in planes.iter().enumerate() {
            header[n + 1] = 64 + body.len() as u32;
            for run in plane.chunk_by(|a, b| a == b) {
                for part in run.chunks(128) {
                    match part.len() {
                        1 => body.extend([0, part[0]]),
                        count => body.extend([(257 - count) as u8, part[0]]),
                    }
                }
            }
            body.resize(body.len().next_multiple_of(2), 128);
        }
        [header.iter().flat_map(|n| n.to_le_bytes()).collect(), body].concat()
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(values in prop::collection::vec(0_u16..400, 6)) {
            let high = values.iter().map(|v| (v >> 8) as u8).collect();
            let low = values.iter().map(|v| *v as u8).collect();
            let mut out = Vec::new();
            decode(&format([16, 16, 15], false), &encode(&[high, low]), &mut out).unwrap();
            let back: Vec<u16> = out.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn any_bytes_end(mut data in prop::collection::vec(any::<u8>(), 0..200), segments: bool) {
            if segments && data.len() > 64 {
                data[..16].copy_from_slice(&[2, 0, 0, 0, 64, 0, 0, 0, 66, 0, 0, 0, 0, 0, 0, 0]);
            }
            let _ = decode(&format([16, 16, 15], false), &data, &mut Vec::new());
        }
    }

    #[test]
    fn segments_are_those_of_the_header() {
        let data = encode(&[vec![1; 6]]);
        let error = decode(&format([16, 16, 15], false), &data, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, PixelError::Mismatch { found: 1, expected: 2, .. }), "{error}");
        let error = decode(&format([8, 8, 7], false), &data[..65], &mut Vec::new()).unwrap_err();
        assert!(matches!(error, PixelError::Codec { .. }), "{error}");
    }
}
