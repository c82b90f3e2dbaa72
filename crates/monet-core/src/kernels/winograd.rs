//! Convolutions of 3×3 or 2×2 taps with a fraction of their products: Winograd's minimal filtering
//! in whole numbers (Winograd 1980; Lavin and Gray, arXiv:1509.09308).
//!
//! A tile of output pixels is computed in three steps:
//!
//! 1. Inputs and weights are transformed to *points*, the numbers at which Winograd's method
//!    evaluates polynomials.
//! 2. Inputs and weights are multiplied point by point, and added up over channels.
//! 3. The products are transformed back to the sums of the tile's pixels.
//!
//! ```text
//! taps    tile      inputs   products by the definition   products here
//! 3×3     4×4       6×6      144                          6×6 = 36
//! 2×2     5×5       6×6      100                          6×6 = 36
//! ```
//!
//! The points are 0, 1, -1, 2, -2 and ∞ for both kinds of window, down the columns and then across
//! the rows. Only weights and the way back depend on the kind. In the table:
//!
//! - d0, d1, … are inputs and g0, g1, … weights, from the top down or from left to right.
//! - g(t) is g0 + g1·t + g2·t², without the last term for two taps.
//! - m0, m1, … are products, in the order of the points.
//!
//! ```text
//! point   inputs d to points         weights g to points     products m to pixels
//!   0     4·d0 − 5·d2 + d4           6·g0                    first   m0 + 4·(m1 + m2) + (m3 + m4)
//!   1     d4 + d3 − 4·d2 − 4·d1      −g(1)                   second  2·(m1 − m2) + (m3 − m4)
//!  −1     d4 − d3 − 4·d2 + 4·d1      −g(−1)                  third   (m1 + m2) + (m3 + m4)
//!   2     d4 + 2·d3 − d2 − 2·d1      g(2)                    fourth  (m1 − m2) + 2·(m3 − m4)
//!  −2     d4 − 2·d3 − d2 + 2·d1      g(−2)                   fifth   (m1 + m2) + 4·(m3 + m4)
//!   ∞     d5 − 5·d3 + 4·d1           6 × the last of g       the tile's last: plus m5
//! ```
//!
//! Down and across together yield the sums exactly, times 9 and a power of 2 that depends on the
//! pixel, so that the result is that of the definition to the bit:
//!
//! - A pixel that is first in one direction gets 8 times 3 there, a second one 4 times 3, and
//!   others 2 times 3: [`shift`].
//! - Counts of 0 to 255 become at most ±17,340, and weights of ±128 at most ±6,272. Both fit in the
//!   16-bit factors of `pmaddwd` and `smlal`.
//! - All later numbers may wrap around in 32 bits. The inverse of 9 modulo 2^32, [`NINTH`], turns
//!   them into the sums times the power of 2, which must not wrap: [`fits`].
//!
//! Other geometries are led back to this one:
//!
//! - Dilated taps: undilated ones over every d-th row and column.
//! - Taps at a stride: several inputs of their own, one for each remainder of the stride.
//! - A tile that reaches beyond the tensor: its pixels there are computed from any bytes at hand,
//!   and dropped.

use core::ops::Range;

use super::row::{end, ensure};
use super::{BLOCK, Destination};

/// Rows and columns of a tile's inputs, and of its points.
pub(crate) const SIDE: usize = 6;
/// Points at which a tile's inputs and weights are multiplied.
pub(crate) const POINTS: usize = SIDE * SIDE;
/// Most output rows, or columns, of a tile.
pub(crate) const MOST: usize = SIDE - 1;
/// Tiles that a kernel takes together.
pub(super) const TILES: usize = 6;
/// Most inputs of a strip: two tensors, each at the four remainders of a stride of 2.
pub(crate) const FEEDS: usize = 8;
/// The inverse of 9 modulo 2^32.
pub(super) const NINTH: i32 = 0x38e3_8e39;
const _: () = assert!(NINTH.wrapping_mul(9) == 1);

/// Output rows of a tile for `taps` × `taps` taps, and its columns.
pub(crate) const fn tile(taps: usize) -> usize {
    SIDE + 1 - taps
}

/// The power of 2 by which the way back yields too much in one direction, for the pixel of that
/// place.
#[cfg(any(feature = "alloc", target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) const fn shift(place: usize) -> u32 {
    match place {
        0 => 3,
        1 => 2,
        _ => 1,
    }
}

/// One input of a strip. Its columns are those that its taps meet: every second of the tensor's at
/// a stride of 2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StripFeed {
    /// Arena offsets of a tile's input rows, at the column of output pixel 0's first tap.
    pub(crate) rows: [usize; SIDE],
    /// Bytes from one column to the next.
    pub(crate) step: usize,
    /// Channels, a multiple of 16.
    pub(crate) channels: usize,
    /// Columns that may be read, the first included.
    pub(crate) columns: usize,
}

/// A row of tiles, which fills up to five output rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strip<'a> {
    /// Output pixels of a row.
    pub(crate) width: usize,
    /// Taps down and across: 2 or 3.
    pub(crate) taps: usize,
    /// Columns from one tap to the next.
    pub(crate) dilation: usize,
    /// Inputs.
    pub(crate) feeds: &'a [StripFeed],
    /// Transformed weights, see [`transform`].
    pub(crate) weights: &'a [i16],
    /// Bias per output channel, padded to whole blocks.
    pub(crate) bias: &'a [i32],
    /// Where the counts of each output row go.
    pub(crate) targets: &'a [Destination<'a>],
    /// Arena memory for points and products, [`scratch_len`] bytes.
    pub(crate) scratch: &'a Range<usize>,
}

#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(dead_code, reason = "the kernels here have no tiles")
)]
impl Strip<'_> {
    /// Chunks of 16 input channels.
    #[inline]
    pub(super) fn chunks(&self) -> usize {
        self.feeds.iter().map(|f| f.channels / BLOCK).sum()
    }

    /// Blocks of output channels.
    #[inline]
    pub(super) fn blocks(&self) -> usize {
        self.bias.len() / BLOCK
    }

    /// Number of tiles.
    #[inline]
    pub(super) fn tiles(&self) -> usize {
        tiles(self.width, tile(self.taps), self.dilation)
    }

    /// First output column of a tile. Its others follow at the distance of the dilation, so that
    /// neighbouring columns belong to different tiles where taps are dilated:
    ///
    /// ```text
    /// column, dilation 2     0  1  2  3  4  5  6  7  8  9
    /// tile of 4 columns      0  1  0  1  0  1  0  1  2  3
    /// ```
    #[inline]
    pub(super) fn column(&self, index: usize) -> usize {
        index / self.dilation * tile(self.taps) * self.dilation + index % self.dilation
    }
}

/// A strip whose every read and write lies in its arena. Only [`Strip::check`] makes one.
///
/// - There is a chunk of channels.
/// - All channels of each feed's columns, in each of its rows, lie within the arena.
/// - The places of all output pixels and of the residual's are whole blocks within the arena.
/// - The weights, biases and scales cover all points, all chunks and all blocks.
/// - The scratch memory lies in the arena and holds [`TILES`] tiles.
pub(crate) struct CheckedStrip<'a> {
    arena: &'a mut [u8],
    strip: Strip<'a>,
}

impl<'a> CheckedStrip<'a> {
    /// The arena, and the strip that was checked against it.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the kernels here have no tiles")
    )]
    pub(super) fn parts(&mut self) -> (&mut [u8], &Strip<'a>) {
        (self.arena, &self.strip)
    }
}

impl<'a> Strip<'a> {
    /// Checks the strip against an arena: every place that a kernel reads or writes for it must lie
    /// there, see [`CheckedStrip`]. `None` where a place does not: validation of the image has
    /// excluded it, so that the image was changed since.
    pub(crate) fn check(self, memory: &'a mut [u8]) -> Option<CheckedStrip<'a>> {
        let arena = memory.len();
        for feed in self.feeds {
            ensure(feed.channels.is_multiple_of(BLOCK))?;
            let last = feed.columns.checked_sub(1)?;
            let inside = |&row: &usize| end(row, last, feed.step, feed.channels) <= arena;
            ensure(feed.rows.iter().all(inside))?;
        }
        let channels = self.bias.len();
        ensure(channels.is_multiple_of(BLOCK) && self.dilation > 0)?;
        ensure(matches!(self.taps, 2 | 3) && self.chunks() > 0)?;
        ensure((1..=tile(self.taps)).contains(&self.targets.len()))?;
        let weights = (POINTS * self.chunks() * BLOCK).saturating_mul(channels);
        ensure(self.weights.len() == weights)?;
        ensure(self.scratch.end <= arena && self.scratch.len() >= scratch_len(self.chunks()))?;
        let last = self.width.checked_sub(1)?;
        for destination in self.targets {
            ensure(matches!(destination, Destination::Quantized { .. }))?;
            destination.check(last, channels, arena)?;
        }
        Some(CheckedStrip { arena: memory, strip: self })
    }
}

/// Multiplies the inputs of some tiles with a block's weights at every point. Its arguments are:
///
/// - the inputs, 16 words for each point, each chunk, each tile,
/// - the weights, 16 inputs × 16 outputs for each point and each chunk,
/// - the number of chunks, at least 1,
/// - where the products go: 16 for each point and each tile.
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(dead_code, reason = "the kernels here have no tiles")
)]
pub(super) type Multiply = unsafe fn(*const i16, *const i16, usize, *mut i32);

/// Defines `inputs` for a kind of vector: inputs to points in one direction, as the table at the
/// head of this file has it. `$add`, `$sub` and `$four` add, subtract, and multiply by 4.
#[cfg(target_arch = "x86_64")]
macro_rules! inputs {
    ($features:literal, $vector:ty, $add:ident, $sub:ident, $four:expr) => {
        /// Transforms inputs to points in one direction.
        #[target_feature(enable = $features)]
        #[inline]
        fn inputs(d: &[$vector; SIDE]) -> [$vector; SIDE] {
            let (add, sub, four) = (|a, b| $add(a, b), |a, b| $sub(a, b), $four);
            let (even, odd) = (sub(d[4], d[2]), sub(d[3], d[1]));
            let (far, near) = (sub(d[4], four(d[2])), sub(d[3], four(d[1])));
            let twice = add(odd, odd);
            [
                add(four(sub(d[0], d[2])), even),
                add(far, near),
                sub(far, near),
                add(even, twice),
                sub(even, twice),
                sub(sub(d[5], d[3]), four(odd)),
            ]
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use inputs;

/// Defines `pixels` for a kind of vector: products to multiples of the sums in one direction, as
/// the table at the head of this file has it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! pixels {
    ($features:literal, $vector:ty, $add:ident, $sub:ident, $four:expr) => {
        /// The way back in one direction: of four pixels for three taps, of five for two.
        #[target_feature(enable = $features)]
        #[inline]
        fn pixels<const TAPS: usize>(m: &[$vector; SIDE]) -> [$vector; SIDE - 1] {
            let (add, sub, four) = (|a, b| $add(a, b), |a, b| $sub(a, b), $four);
            let (near, nears) = (sub(m[1], m[2]), add(m[1], m[2]));
            let (far, fars) = (sub(m[3], m[4]), add(m[3], m[4]));
            let first = add(add(m[0], four(nears)), fars);
            let (second, third) = (add(add(near, near), far), add(nears, fars));
            let fourth = add(near, add(far, far));
            if TAPS == 3 {
                // There is no fifth pixel.
                [first, second, third, add(fourth, m[5]), m[5]]
            } else {
                [first, second, third, fourth, add(add(nears, four(fars)), m[5])]
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use pixels;

/// Number of tiles of `per` pixels, `dilation` apart, that cover `len` pixels.
pub(crate) fn tiles(len: usize, per: usize, dilation: usize) -> usize {
    let span = per * dilation;
    len / span * dilation + (len % span).min(dilation)
}

/// The destination of a tile: every `dilation`-th pixel from a column on.
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(dead_code, reason = "the kernels here have no tiles")
)]
pub(super) fn spread<'a>(
    destination: &Destination<'a>,
    column: usize,
    dilation: usize,
) -> Destination<'a> {
    match *destination {
        Destination::Quantized { stage, start, step, residual: [other, residual_step] } => {
            Destination::Quantized {
                stage,
                start: start + column * step,
                step: step * dilation,
                residual: [other + column * residual_step, residual_step * dilation],
            }
        }
        float @ Destination::Float { .. } => float,
    }
}

/// Bytes of scratch memory for inputs of `chunks` chunks of 16 channels: the points of [`TILES`]
/// tiles as i16, and the products of one block as i32.
pub(crate) fn scratch_len(chunks: usize) -> usize {
    POINTS * TILES * BLOCK * (2 * chunks + 4)
}

/// Whether the sums of an output channel stay exact; `reach` is the largest magnitude that they
/// have with inputs of 0 to 1.
#[cfg(feature = "alloc")]
pub(crate) fn fits(reach: u64) -> bool {
    reach <= i32::MAX as u64 / (255 << (2 * shift(0)))
}

/// Transforms weights to the points and writes them into `out`, as little-endian words in the order
/// `[block][point][pair of inputs][16 outputs][2 inputs]`, or `[block][point][input][16 outputs]`.
///
/// - `pairs`: whether the two inputs of a pair stand side by side, as in the first order.
/// - `inputs`: the number of input channels in all feeds, padding included; even.
/// - `window(output, input)`: the weights of `taps` × `taps` taps in rows of three; 0 for channels
///   that are padding.
///
/// Four windows are transformed at a time, in one integer each: a + b·2^16 + c·2^32 + d·2^48. The
/// transform adds and multiplies by constants alone, so that it works on all four as on one.
/// Programs that are built for size have no vectors for that.
#[cfg(feature = "alloc")]
pub(crate) fn transform(
    pairs: bool,
    taps: usize,
    inputs: usize,
    window: impl Fn(usize, usize) -> [i8; 9],
    out: &mut [u8],
) {
    let (lines, _) = out.as_chunks_mut::<{ 4 * BLOCK }>();
    for (block, lines) in lines.chunks_exact_mut(POINTS * inputs / 2).enumerate() {
        for pair in 0..inputs / 2 {
            let mut lanes = [[0; POINTS]; BLOCK / 2];
            for (four, points) in lanes.iter_mut().enumerate() {
                let mut g = [[0u64; 3]; 3];
                for lane in 0..4 {
                    let place = 4 * four + lane;
                    let [output, input] =
                        if pairs { [place / 2, place % 2] } else { [place % BLOCK, place / BLOCK] };
                    let window = window(block * BLOCK + output, 2 * pair + input);
                    for (sum, weight) in g.as_flattened_mut().iter_mut().zip(window) {
                        *sum = sum.wrapping_add((i64::from(weight) as u64) << (16 * lane));
                    }
                }
                let rows = g.map(|row| to_points(row, taps));
                for x in 0..SIDE {
                    let column = to_points([rows[0][x], rows[1][x], rows[2][x]], taps);
                    for (y, value) in column.into_iter().enumerate() {
                        points[SIDE * y + x] = value;
                    }
                }
            }
            for point in 0..POINTS {
                let (words, _) = lines[point * inputs / 2 + pair].as_chunks_mut::<8>();
                for (word, points) in words.iter_mut().zip(&lanes) {
                    *word = apart(points[point]).to_le_bytes();
                }
            }
        }
    }
}

/// Transforms weights to points in one direction.
#[cfg(feature = "alloc")]
#[inline(always)]
fn to_points(g: [u64; 3], taps: usize) -> [u64; SIDE] {
    let [g0, g1, g2] = g;
    let at =
        |point: u64| g2.wrapping_mul(point).wrapping_add(g1).wrapping_mul(point).wrapping_add(g0);
    let minus = |number: u64| number.wrapping_neg();
    [
        g0.wrapping_mul(6),
        minus(at(1)),
        minus(at(minus(1))),
        at(2),
        at(minus(2)),
        g[taps - 1].wrapping_mul(6),
    ]
}

/// Four words of 16 bits of the sum a + b·2^16 + c·2^32 + d·2^48 of signed numbers. A negative
/// number has borrowed from the one above it; with 2^15 more none is negative.
#[cfg(feature = "alloc")]
#[inline(always)]
fn apart(sum: u64) -> u64 {
    const SIGNS: u64 = 0x8000_8000_8000_8000;
    sum.wrapping_add(SIGNS) ^ SIGNS
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn tiles_cover_every_pixel_once() {
        for (len, per, dilation) in
            (1..40).flat_map(|l| [(l, 4, 1), (l, 4, 3), (l, 5, 1), (l, 5, 4), (l, 4, 4)])
        {
            let mut seen = vec![0; len + per * dilation];
            for tile in 0..tiles(len, per, dilation) {
                let first = tile / dilation * per * dilation + tile % dilation;
                assert!(first < len);
                (0..per).for_each(|i| seen[first + i * dilation] += 1);
            }
            assert!(seen[..len].iter().all(|&n| n == 1), "{len} {per} {dilation}: {seen:?}");
        }
    }

    #[test]
    fn weights_that_might_overflow_are_not_taken() {
        assert!(fits(131_586) && !fits(131_587) && !fits(u64::MAX));
    }
}
