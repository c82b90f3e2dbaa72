//! 3×3 convolutions by a third of the products: Winograd's minimal filtering F(2×4, 3×3) in whole numbers.
//!
//! Two rows of four output pixels come from 24 products per pair of channels where the definition takes 72 (Winograd 1980; Lavin
//! and Gray, arXiv:1509.09308): inputs and weights are taken to points of polynomials, multiplied there, and the products
//! taken back. In whole numbers the way back yields 48 times the sums, exactly, so that the result is that of the
//! definition to the bit:
//!
//! | | rows, F(2, 3) | columns, F(4, 3) |
//! |---|---|---|
//! | inputs | d0−d2, d1+d2, d2−d1, d1−d3 | 4d0−5d2+d4, −4d1−4d2+d3+d4, 4d1−4d2−d3+d4, −2d1−d2+2d3+d4, 2d1−d2−2d3+d4, 4d1−5d3+d5 |
//! | weights | g0, g0+g1+g2, g0−g1+g2, g2 | g0, −g0−g1−g2, −g0+g1−g2, g0+2g1+4g2, g0−2g1+4g2, g2 |
//! | sums | 2m0+m1+m2, m1−m2−2m3 | 6m0+4(m1+m2)+(m3+m4), 4(m1−m2)+2(m3−m4), 4(m1+m2)+4(m3+m4), 4(m1−m2)+8(m3−m4)+24m5 |
//!
//! Counts of 0 to 255 become at most ±2550, weights of ±127 at most ±2667: both fit in 16 bits, for `pmaddwd` and its like.
//! Everything later may wrap around in 32 bits, as long as 48 times a sum does not: [`fits`]. A dilated convolution is an
//! undilated one over every d-th row and column. Pixels of a tile that lie outside the tensor are computed from whatever
//! is there and dropped.

use core::ops::Range;

use super::{BLOCK, Target};

/// Output rows and columns of a tile.
pub(crate) const TILE: [usize; 2] = [2, 4];
/// Points at which a tile's inputs and weights are multiplied.
pub(crate) const POINTS: usize = 24;
/// Tiles that a kernel takes together.
pub(super) const TILES: usize = 6;
/// What the way back multiplies the sums by.
const FACTOR: i64 = 48;

/// One input of a strip.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StripFeed {
    /// Arena offsets of the four input rows, at the column of output pixel 0's first tap.
    pub(crate) rows: [usize; 4],
    /// Bytes from one pixel to the next: its channels, a multiple of 16.
    pub(crate) step: usize,
    /// Columns that may be read from there on.
    pub(crate) columns: usize,
}

/// Two rows of output pixels, or one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strip<'a> {
    /// Output pixels of a row.
    pub(crate) width: usize,
    /// Columns from one tap to the next.
    pub(crate) dilation: usize,
    /// Inputs.
    pub(crate) feeds: [StripFeed; 2],
    /// How many of them there are.
    pub(crate) inputs: usize,
    /// Transformed weights, see [`transform`].
    pub(crate) weights: &'a [i16],
    /// Bias per output channel, padded to whole blocks.
    pub(crate) bias: &'a [i32],
    /// What becomes of the sums of each row: counts.
    pub(crate) targets: [Target<'a>; 2],
    /// How many rows there are.
    pub(crate) rows: usize,
    /// Free memory, [`scratch_len`] bytes.
    pub(crate) scratch: &'a Range<usize>,
}

impl Strip<'_> {
    /// The inputs.
    #[inline]
    pub(super) fn feeds(&self) -> &[StripFeed] {
        &self.feeds[..self.inputs]
    }

    /// Chunks of 16 input channels.
    #[inline]
    pub(super) fn chunks(&self) -> usize {
        self.feeds().iter().map(|f| f.step / BLOCK).sum()
    }

    /// Blocks of output channels.
    #[inline]
    pub(super) fn blocks(&self) -> usize {
        self.bias.len() / BLOCK
    }

    /// Tiles, and the first column of one: neighbouring columns belong to different tiles where taps are dilated.
    #[inline]
    pub(super) fn tiles(&self) -> usize {
        tiles(self.width, TILE[1], self.dilation)
    }

    /// First column of a tile; the others follow at the distance of the dilation.
    #[inline]
    pub(super) fn column(&self, tile: usize) -> usize {
        tile / self.dilation * TILE[1] * self.dilation + tile % self.dilation
    }

    /// Panics unless all memory that a kernel may touch for this strip lies where it should.
    pub(super) fn check(&self, arena: usize) {
        for feed in self.feeds() {
            assert!(feed.columns > 0 && feed.step > 0 && feed.step.is_multiple_of(BLOCK));
            assert!(feed.rows.iter().all(|row| row + feed.columns * feed.step <= arena));
        }
        let channels = self.bias.len();
        assert!(channels.is_multiple_of(BLOCK) && self.width > 0 && self.dilation > 0);
        assert!(self.weights.len() == POINTS * self.chunks() * BLOCK * channels);
        assert!(self.scratch.end <= arena && self.scratch.len() >= scratch_len(self.chunks()));
        for target in &self.targets[..self.rows] {
            let Target::Counts { stage, start, step, residual } = target else {
                panic!("a strip makes counts")
            };
            let last = self.width - 1;
            assert!(start + last * step + channels <= arena && stage.scales.len() == channels);
            assert!(stage.sum.is_none() || residual[0] + last * residual[1] + channels <= arena);
        }
    }
}

/// Tiles of `per` pixels that cover `len` pixels at a dilation.
pub(crate) fn tiles(len: usize, per: usize, dilation: usize) -> usize {
    let span = per * dilation;
    len / span * dilation + (len % span).min(dilation)
}

/// Bytes of scratch memory for an input of so many chunks of 16 channels: transformed inputs as i16, products as i32.
pub(crate) fn scratch_len(chunks: usize) -> usize {
    POINTS * TILES * BLOCK * (2 * chunks + 4)
}

/// Whether the sums of an output channel with these weights stay exact.
pub(crate) fn fits(weights: &[i8]) -> bool {
    let total: i64 = weights.iter().map(|&w| i64::from(w).abs()).sum();
    FACTOR * 255 * total <= i64::from(i32::MAX)
}

/// Weights at the points, in the order `[block][point][pair of inputs][16 outputs][2 inputs]`.
///
/// `weight(output, input, tap)` gives the weight of one of the nine taps, row by row, for input channels as they stand in
/// the tensors; 0 outside the net's channels.
pub(crate) fn transform(
    blocks: usize,
    inputs: usize,
    weight: impl Fn(usize, usize, usize) -> i8,
) -> Vec<i16> {
    let rows = |g: [i16; 3]| [g[0], g[0] + g[1] + g[2], g[0] - g[1] + g[2], g[2]];
    let columns = |[a, b, c]: [i16; 3]| [a, -a - b - c, -a + b - c, a + 2 * b + 4 * c, a - 2 * b + 4 * c, c];
    let mut out = vec![0; blocks * POINTS * inputs * BLOCK];
    for output in 0..blocks * BLOCK {
        for input in 0..inputs {
            let tap = |y: usize, x: usize| i16::from(weight(output, input, 3 * y + x));
            let lines = [0, 1, 2].map(|y| columns([tap(y, 0), tap(y, 1), tap(y, 2)]));
            for x in 0..6 {
                for (y, value) in rows(lines.map(|line| line[x])).into_iter().enumerate() {
                    let pair = ((output / BLOCK * POINTS + 6 * y + x) * inputs + input) / 2;
                    out[(pair * BLOCK + output % BLOCK) * 2 + input % 2] = value;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_pixel_once() {
        for (len, per, dilation) in (1..40).flat_map(|l| [(l, 4, 1), (l, 4, 3), (l, 2, 4), (l, 4, 4)]) {
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
        assert!(fits(&[127; 9 * 96]) && fits(&[-128; 9 * 150]));
        assert!(!fits(&[127; 9 * 160]));
    }
}
