//! Sequential DCT scans of one component (T.81, annexes A.3 and F.2).

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use super::bits::Bits;
use super::damaged;
use super::huffman::Huffman;
use super::markers::{Frame, Scan, Tables};
use crate::pixels::PixelError;

/// Where the coefficients of a block lie, in the order that they are coded.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Decodes a scan into `samples`; returns the bytes it took.
pub(super) fn decode(
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    data: &[u8],
    samples: &mut [u16],
) -> Result<usize, PixelError> {
    let missing = || damaged("a table is missing");
    let &(dc, ac) = scan.tables.first().ok_or_else(missing)?;
    let dc = tables.dc[dc].as_ref().ok_or_else(missing)?;
    let ac = tables.ac[ac].as_ref().ok_or_else(missing)?;
    let component = frame.components.first().ok_or_else(missing)?;
    let quantization = tables.quantization[component.quantization].as_ref().ok_or_else(missing)?;
    let basis = basis();
    let (rows, columns) = (usize::from(frame.rows), usize::from(frame.columns));
    let interval = usize::from(tables.restart);
    let most = (1_u16 << frame.precision) - 1;
    let middle = f32::from(most / 2 + 1);
    let mut bits = Bits::new(data);
    let mut level = 0;
    for (n, (y, x)) in blocks(rows, columns).enumerate() {
        if n > 0 && interval > 0 && n.is_multiple_of(interval) {
            bits.restart()?;
            level = 0;
        }
        let coefficients = block(&mut bits, dc, ac, quantization, &mut level)?;
        let block = inverse(&coefficients, &basis);
        for (row, values) in samples.chunks_exact_mut(columns).skip(y).zip(block.as_chunks::<8>().0)
        {
            for (sample, value) in row[x..].iter_mut().zip(values) {
                // A float that does not fit becomes the nearest number that does.
                *sample = ((value + middle).round() as u16).min(most);
            }
        }
    }
    Ok(bits.used())
}

/// The first row and column of each block.
fn blocks(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(8).flat_map(move |y| (0..columns).step_by(8).map(move |x| (y, x)))
}

/// A block's coefficients, not quantized. `level` is the last block's first coefficient.
fn block(
    bits: &mut Bits<'_>,
    dc: &Huffman,
    ac: &Huffman,
    quantization: &[u16; 64],
    level: &mut i32,
) -> Result<[f32; 64], PixelError> {
    let mut block = [0.0; 64];
    let length = dc.decode(bits)?;
    if length > 15 {
        return Err(damaged("a difference is too long"));
    }
    *level = level.wrapping_add(bits.number(length.into())?);
    block[0] = *level as f32 * f32::from(quantization[0]);
    let mut at = 1;
    while at < 64 {
        let symbol = ac.decode(bits)?;
        let (run, length) = (usize::from(symbol >> 4), symbol & 15);
        match (run, length) {
            (15, 0) => at += 16,
            (_, 0) => break,
            _ => {
                at += run;
                let value = bits.number(length.into())?;
                let place = ZIGZAG.get(at).ok_or_else(|| damaged("a block is too long"))?;
                block[usize::from(*place)] = value as f32 * f32::from(quantization[at]);
                at += 1;
            }
        }
    }
    Ok(block)
}

/// Each row has the values of one frequency at eight places.
fn basis() -> [[f32; 8]; 8] {
    std::array::from_fn(|u| {
        let scale = if u == 0 { FRAC_1_SQRT_2 } else { 1.0 } / 2.0;
        std::array::from_fn(|x| scale * ((2 * x + 1) as f32 * u as f32 * PI / 16.0).cos())
    })
}

/// The inverse cosine transform: along rows, then along columns.
fn inverse(block: &[f32; 64], basis: &[[f32; 8]; 8]) -> [f32; 64] {
    let mut half = [0.0; 64];
    let mut out = [0.0; 64];
    for (row, half) in block.as_chunks::<8>().0.iter().zip(half.as_chunks_mut::<8>().0) {
        add(row.iter().zip(basis), half);
    }
    for (y, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        for (v, row) in half.as_chunks::<8>().0.iter().enumerate() {
            (0..8).for_each(|x| out[x] += row[x] * basis[v][y]);
        }
    }
    out
}

fn add<'a>(terms: impl Iterator<Item = (&'a f32, &'a [f32; 8])>, out: &mut [f32; 8]) {
    for (weight, wave) in terms.filter(|(weight, _)| **weight != 0.0) {
        (0..8).for_each(|x| out[x] += weight * wave[x]);
    }
}
