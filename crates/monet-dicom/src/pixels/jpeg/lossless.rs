//! Lossless scans (T.81, annex H): each sample is a prediction from its neighbours and a
//! difference.
//!
//! ```text
//! c b     1: a   2: b   3: c   4: a + b - c   5: a + (b - c) / 2   6: b + (a - c) / 2
//! a x     7: (a + b) / 2
//!         first row: a; first column: b; first sample: half of the range
//! ```

use super::bits::Bits;
use super::damaged;
use super::markers::{Frame, Scan, Tables};
use crate::pixels::PixelError;

/// Decodes a scan into `samples`, those of a pixel side by side; returns the bytes it took.
pub(super) fn decode(
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    data: &[u8],
    samples: &mut [u16],
) -> Result<usize, PixelError> {
    if !(1..=7).contains(&scan.predictor) || scan.shift >= frame.precision {
        return Err(damaged("its predictor or point transform is none"));
    }
    let columns = usize::from(frame.columns);
    let interval = usize::from(tables.restart);
    // Section H.1.1.
    if interval % columns != 0 {
        return Err(damaged("its restarts are not at the ends of rows"));
    }
    let huffman = |&(dc, _): &(usize, usize)| tables.dc[dc].as_ref();
    let huffman: Option<Vec<_>> = scan.tables.iter().map(huffman).collect();
    let huffman = huffman.ok_or_else(|| damaged("a Huffman table is missing"))?;
    let mut bits = Bits::new(data);
    let count = frame.components.len();
    let width = columns * count;
    let start = 1_i32 << (frame.precision - scan.shift - 1);
    for row in 0..usize::from(frame.rows) {
        let first = row == 0 || (interval > 0 && (row * columns).is_multiple_of(interval));
        if first && row > 0 {
            bits.restart()?;
        }
        let (above, rest) = samples.split_at_mut(row * width);
        let above = above.get((row.max(1) - 1) * width..).unwrap_or_default();
        let current = &mut rest[..width];
        for at in 0..columns {
            for (&component, table) in scan.components.iter().zip(&huffman) {
                let x = at * count + component;
                let a = at.checked_sub(1).map(|_| i32::from(current[x - count]));
                let prediction = match (a, first) {
                    (None, true) => start,
                    (Some(a), true) => a,
                    (None, false) => above[x].into(),
                    (Some(a), false) => {
                        predict(scan.predictor, a, above[x].into(), above[x - count].into())
                    }
                };
                let difference = match table.decode(&mut bits)? {
                    16 => 1 << 15,
                    length @ 0..16 => bits.number(length.into())?,
                    _ => return Err(damaged("a difference is too long")),
                };
                // Differences are modulo 2^16.
                current[x] = (prediction + difference) as u16;
            }
        }
    }
    if scan.shift > 0 {
        for pixel in samples.chunks_exact_mut(count) {
            scan.components.iter().for_each(|&component| pixel[component] <<= scan.shift);
        }
    }
    Ok(bits.used())
}

fn predict(predictor: u8, a: i32, b: i32, c: i32) -> i32 {
    match predictor {
        1 => a,
        2 => b,
        3 => c,
        4 => a + b - c,
        5 => a + ((b - c) >> 1),
        6 => b + ((a - c) >> 1),
        _ => (a + b) >> 1,
    }
}
