//! The portable kernel: plain loops, the definition that every SIMD kernel is tested against.
//!
//! ```text
//! for each pixel of the row, each block of 16 outputs:
//!     sums = bias
//!     for each input, each of its taps, each group of 4 channels:
//!         for each output: sums += the group · its weights
//!     requantize and store the sums
//! ```

use super::{BLOCK, CheckedRow, Destination, Feed, GROUP, Row};

/// Whether this CPU has the instructions, which it always has.
pub(super) fn available() -> bool {
    true
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes;
    let block_len = row.depth() * GROUP * BLOCK;
    for pixel in 0..row.width {
        for block in 0..row.blocks() {
            let channel = block * BLOCK;
            let mut sums = [0; BLOCK];
            sums.copy_from_slice(&row.bias[channel..channel + BLOCK]);
            let mut weights = &weights[block * block_len..][..block_len];
            for feed in row.feeds() {
                weights = accumulate(&mut sums, arena, feed, pixel, weights);
            }
            store(arena, row, pixel, channel, &sums);
        }
    }
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    let (weights, group) = core::hint::black_box(([3i8; BLOCK * GROUP], [5u8; GROUP]));
    let mut sums = [0i32; BLOCK];
    for _ in 0..rounds {
        for (sum, w) in core::hint::black_box(&mut sums).iter_mut().zip(weights.chunks_exact(GROUP))
        {
            let products = group.iter().zip(w).map(|(&a, &w)| i32::from(a) * i32::from(w));
            *sum = sum.wrapping_add(products.sum::<i32>());
        }
    }
    core::hint::black_box(sums);
    (rounds * BLOCK * GROUP) as u64
}

/// Adds the products of one input; returns the weights that follow its own.
fn accumulate<'a>(
    sums: &mut [i32; BLOCK],
    arena: &[u8],
    feed: &Feed,
    pixel: usize,
    mut weights: &'a [i8],
) -> &'a [i8] {
    for &tap in feed.taps.offsets() {
        let at = (feed.start + pixel * feed.step).wrapping_add_signed(tap as isize);
        for group in arena[at..at + feed.groups * GROUP].chunks_exact(GROUP) {
            let (now, later) = weights.split_at(BLOCK * GROUP);
            for (sum, w) in sums.iter_mut().zip(now.chunks_exact(GROUP)) {
                let products = group.iter().zip(w).map(|(&a, &w)| i32::from(a) * i32::from(w));
                *sum = sum.wrapping_add(products.sum::<i32>());
            }
            weights = later;
        }
    }
    weights
}

/// Requantizes one pixel's sums, those of the block from `channel` on, and stores them.
fn store(arena: &mut [u8], row: &Row, pixel: usize, channel: usize, sums: &[i32; BLOCK]) {
    match row.destination {
        Destination::Quantized { stage, start, step, residual } => {
            for (i, &sum) in sums.iter().enumerate() {
                let other = if stage.rules.sum.is_some() {
                    arena[residual[0] + pixel * residual[1] + channel + i]
                } else {
                    0
                };
                arena[start + pixel * step + channel + i] = stage.apply(channel + i, sum, other);
            }
        }
        Destination::Float { stage, start } => {
            for (i, &sum) in sums.iter().enumerate() {
                let at = start + (pixel * row.bias.len() + channel + i) * 4;
                arena[at..at + 4]
                    .copy_from_slice(&(sum as f32 * stage.scales[channel + i]).to_ne_bytes());
            }
        }
    }
}
