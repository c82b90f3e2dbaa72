//! JPEG with Huffman coding (ITU-T T.81): baseline and extended sequential frames of one component
//! with 8 or 12 bits, lossless frames of 2 to 16 bits.
//!
//! ```text
//! markers ─▶ tables, frame header ─▶ scan: bits ─ Huffman ─▶ lossless: differences ─▶ samples
//!                                                          └ dct: coefficients ─▶ blocks ┘
//! ```
//!
//! Progressive, hierarchical and arithmetic coding are retired from DICOM; colour with DCT is no
//! volume. Both are refused by name.

mod bits;
mod dct;
mod huffman;
mod lossless;
mod markers;

use super::error::PixelError;
use super::format::PixelFormat;
use super::store;
use markers::{Process, Reader, Segment, Tables};

const CODEC: &str = "JPEG";

fn damaged(what: &str) -> PixelError {
    PixelError::Codec { codec: CODEC, what: what.into() }
}

fn mismatch(what: &'static str, found: impl Into<u64>, expected: impl Into<u64>) -> PixelError {
    PixelError::Mismatch { codec: CODEC, what, found: found.into(), expected: expected.into() }
}

pub(super) fn decode(
    format: &PixelFormat,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), PixelError> {
    let mut reader = Reader::new(data)?;
    let mut tables = Tables::default();
    let mut frame = None;
    let mut samples: Vec<u16> = Vec::new();
    let mut seen = [false; 3];
    loop {
        match reader.next(&mut tables)? {
            Segment::Frame(found) => {
                if frame.is_some() {
                    return Err(PixelError::Unsupported("JPEG of several frames in one"));
                }
                found.check(format)?;
                let least = found.least_bits();
                if least > data.len() as u64 * 8 {
                    return Err(damaged("too short"));
                }
                samples = vec![0; format.frame_pixels() * usize::from(format.samples)];
                frame = Some(found);
            }
            Segment::Scan(scan) => {
                let frame = frame.as_ref().ok_or_else(|| damaged("a scan before its frame"))?;
                for &component in &scan.components {
                    if std::mem::replace(&mut seen[component], true) {
                        return Err(damaged("a component in two scans"));
                    }
                }
                let coded = reader.rest();
                let used = match frame.process {
                    Process::Lossless => {
                        lossless::decode(frame, &scan, &tables, coded, &mut samples)?
                    }
                    Process::Sequential => dct::decode(frame, &scan, &tables, coded, &mut samples)?,
                };
                reader.skip(used);
                if seen.iter().take(usize::from(format.samples)).all(|&seen| seen) {
                    break;
                }
            }
            Segment::End => return Err(damaged("it ends before its pixels")),
        }
    }
    store(samples.into_iter().map(u32::from), format, out);
    Ok(())
}
