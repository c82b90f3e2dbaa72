//! AArch64 without dot products: tiles of 4 pixels × 16 outputs, exact through 16-bit products of bytes (`smull`, `smlal`, `sadalp`).
//!
//! Counts are multiplied less 128, which the bias makes good ([`Kernel::offset`](super::Kernel::offset)). Two products of
//! bytes fit in 16 bits unless both are -128 × -128; where a weight is -128 each product is added to its sum by itself.

use core::arch::aarch64::*;

use super::aarch64_epilogue::{Epilogue, Sums};
use super::{BLOCK, Feed, GROUP, Packed, Row};

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: the feature is present.
    unsafe { spin_registers(rounds) };
    (rounds * 12 * 16) as u64
}

#[target_feature(enable = "neon")]
fn spin_registers(rounds: usize) {
    let (mut sums, one) = core::hint::black_box(([vdupq_n_s32(3); 12], vdup_n_s8(1)));
    let (mut weights, inputs) = core::hint::black_box((vdup_n_s8(5), [vdup_n_s8(7); 12]));
    for _ in 0..rounds {
        for (sum, &input) in sums.iter_mut().zip(&inputs) {
            *sum = vpadalq_s16(*sum, vmlal_s8(vmull_s8(input, weights), input, weights));
        }
        weights = vadd_s8(weights, one);
    }
    core::hint::black_box(sums);
}

/// Fills one row.
pub(super) fn convolve(arena: &mut [u8], row: &Row) {
    row.check(arena.len());
    let Packed::Bytes(weights) = row.weights else { return };
    assert!(available());
    let arena = arena.as_mut_ptr();
    // SAFETY: the feature is present; `check` has shown that inputs, residual and output lie in the arena, and that
    // weights, bias and scales cover all blocks.
    unsafe {
        if weights.contains(&i8::MIN) {
            tiles::<false>(arena, weights.as_ptr(), row);
        } else {
            tiles::<true>(arena, weights.as_ptr(), row);
        }
    }
}

/// # Safety
/// As [`convolve`]; with `TWO` no weight is -128.
#[target_feature(enable = "neon")]
unsafe fn tiles<const TWO: bool>(arena: *mut u8, weights: *const i8, row: &Row) {
    let (block_len, epilogue) = (row.depth() * GROUP * BLOCK, Epilogue::new(&row.target));
    for block in 0..row.blocks() {
        let mut x = 0;
        // SAFETY: blocks below `row.blocks()` have their weights, tiles end at or before `row.width`.
        unsafe {
            let weights = weights.add(block * block_len);
            while x + 4 <= row.width {
                tile::<4, TWO>(arena, weights, row, &epilogue, block, x);
                x += 4;
            }
            while x < row.width {
                tile::<1, TWO>(arena, weights, row, &epilogue, block, x);
                x += 1;
            }
        }
    }
}

/// `P` pixels of a block from pixel `x` on.
///
/// # Safety
/// As [`tiles`], with `x + P <= row.width`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn tile<const P: usize, const TWO: bool>(
    arena: *mut u8,
    mut weights: *const i8,
    row: &Row,
    epilogue: &Epilogue,
    block: usize,
    x: usize,
) {
    // SAFETY: all places lie within the bounds that `check` has shown.
    unsafe {
        let bias = row.bias.as_ptr().add(block * BLOCK);
        let bias = [vld1q_s32(bias), vld1q_s32(bias.add(4)), vld1q_s32(bias.add(8)), vld1q_s32(bias.add(12))];
        let mut sums = [bias; P];
        for feed in row.feeds() {
            let source = arena.add(feed.start + x * feed.step);
            weights = match feed.groups {
                4 => accumulate::<P, 4, TWO>(&mut sums, source, feed, weights),
                _ => accumulate::<P, 1, TWO>(&mut sums, source, feed, weights),
            };
        }
        epilogue.store(arena, &row.target, row.blocks(), block, x, &sums);
    }
}

/// Adds the products of one input whose chunks have `G` groups; returns the weights that remain.
///
/// # Safety
/// As [`tiles`]; `source` is the input of the tile's first pixel.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn accumulate<const P: usize, const G: usize, const TWO: bool>(
    sums: &mut [Sums; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
) -> *const i8 {
    // SAFETY: each tap of each pixel lies in the arena, and there are `taps.len() * G` groups of weights per block.
    unsafe {
        for &tap in feed.taps {
            let mut source = source.offset(tap as isize);
            let mut inputs = [vdupq_n_s16(0); P];
            for input in &mut inputs {
                *input = vreinterpretq_s16_u8(veorq_u8(load::<G>(source), vdupq_n_u8(0x80)));
                source = source.add(feed.step);
            }
            group::<P, 0, 1, TWO>(sums, &inputs, weights);
            if G == 4 {
                group::<P, 2, 3, TWO>(sums, &inputs, weights.add(BLOCK * GROUP));
                group::<P, 4, 5, TWO>(sums, &inputs, weights.add(2 * BLOCK * GROUP));
                group::<P, 6, 7, TWO>(sums, &inputs, weights.add(3 * BLOCK * GROUP));
            }
            weights = weights.add(G * BLOCK * GROUP);
        }
    }
    weights
}

/// The bytes of `G` groups of a pixel, whatever follows them being of no use.
///
/// # Safety
/// They stand at `source`.
#[target_feature(enable = "neon")]
#[inline]
pub(super) unsafe fn load<const G: usize>(source: *const u8) -> uint8x16_t {
    // SAFETY: the caller vouches for the bytes.
    unsafe {
        if G == 4 {
            vld1q_u8(source)
        } else {
            vreinterpretq_u8_u32(vdupq_n_u32(source.cast::<u32>().read_unaligned()))
        }
    }
}

/// Adds the products of one group, whose pairs of channels are lanes `A` and `B` of `inputs`.
///
/// # Safety
/// The group's weights stand at `weights`; with `TWO` none is -128.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn group<const P: usize, const A: i32, const B: i32, const TWO: bool>(
    sums: &mut [Sums; P],
    inputs: &[int16x8_t; P],
    weights: *const i8,
) {
    // SAFETY: the caller vouches for the weights.
    let w = |i: usize| unsafe { vld1q_s8(weights.add(16 * i)) };
    let (first, second) = ([w(0), w(1)], [w(2), w(3)]);
    for (sums, &input) in sums.iter_mut().zip(inputs) {
        let a = vreinterpretq_s8_s16(vdupq_laneq_s16::<A>(input));
        let b = vreinterpretq_s8_s16(vdupq_laneq_s16::<B>(input));
        for i in 0..2 {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(first[i]));
            let high = vmull_high_s8(a, first[i]);
            if TWO {
                let low = vmlal_s8(low, vget_low_s8(b), vget_low_s8(second[i]));
                let high = vmlal_high_s8(high, b, second[i]);
                sums[2 * i] = vpadalq_s16(sums[2 * i], low);
                sums[2 * i + 1] = vpadalq_s16(sums[2 * i + 1], high);
            } else {
                let more = [vmull_s8(vget_low_s8(b), vget_low_s8(second[i])), vmull_high_s8(b, second[i])];
                sums[2 * i] = vpadalq_s16(vpadalq_s16(sums[2 * i], low), more[0]);
                sums[2 * i + 1] = vpadalq_s16(vpadalq_s16(sums[2 * i + 1], high), more[1]);
            }
        }
    }
}
