//! AArch64 with dot products: tiles of 6 pixels × 16 outputs, `sdot` by groups of 4 channels.
//!
//! Counts are multiplied less 128, which the bias makes good ([`Kernel::offset`](super::Kernel::offset)).

use core::arch::aarch64::*;
use core::arch::asm;

use super::aarch64_epilogue::{Epilogue, Sums};
use super::aarch64_neon_4x16::load;
use super::{BLOCK, Feed, GROUP, Packed, Row};

/// Bytes of weights for one group of 4 input channels.
const VECTOR: usize = BLOCK * GROUP;

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
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

#[target_feature(enable = "dotprod")]
fn spin_registers(rounds: usize) {
    let (mut sums, input) = core::hint::black_box(([vdupq_n_s32(3); 12], vdupq_n_s8(7)));
    let (mut weights, one) = core::hint::black_box((vdupq_n_s8(5), vdupq_n_s8(1)));
    for _ in 0..rounds {
        for sum in &mut sums {
            dot::<0>(sum, weights, input);
        }
        weights = vaddq_s8(weights, one);
    }
    core::hint::black_box(sums);
}

/// `sum += weights · inputs[4 * L..4 * L + 4]` in each of 4 lanes. Not yet a stable intrinsic.
#[target_feature(enable = "dotprod")]
#[inline]
fn dot<const L: i32>(sum: &mut int32x4_t, weights: int8x16_t, inputs: int8x16_t) {
    // SAFETY: touches the named registers alone; the feature is that of this function.
    unsafe {
        asm!("sdot {sum:v}.4s, {weights:v}.16b, {inputs:v}.4b[{lane}]", sum = inout(vreg) *sum,
            weights = in(vreg) weights, inputs = in(vreg) inputs, lane = const L,
            options(pure, nomem, nostack, preserves_flags));
    }
}

/// Fills one row.
pub(super) fn convolve(arena: &mut [u8], row: &Row) {
    row.check(arena.len());
    let Packed::Bytes(weights) = row.weights else { return };
    assert!(available());
    // SAFETY: the feature is present; `check` has shown that inputs, residual and output lie in the arena, and that
    // weights, bias and scales cover all blocks.
    unsafe { tiles(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// # Safety
/// As [`convolve`].
#[target_feature(enable = "dotprod")]
unsafe fn tiles(arena: *mut u8, weights: *const i8, row: &Row) {
    let (block_len, epilogue) = (row.depth() * VECTOR, Epilogue::new(&row.target));
    for block in 0..row.blocks() {
        let mut x = 0;
        // SAFETY: blocks below `row.blocks()` have their weights, tiles end at or before `row.width`.
        unsafe {
            let weights = weights.add(block * block_len);
            while x + 6 <= row.width {
                tile::<6>(arena, weights, row, &epilogue, block, x);
                x += 6;
            }
            while x + 2 <= row.width {
                tile::<2>(arena, weights, row, &epilogue, block, x);
                x += 2;
            }
            if x < row.width {
                tile::<1>(arena, weights, row, &epilogue, block, x);
            }
        }
    }
}

/// `P` pixels of a block from pixel `x` on.
///
/// # Safety
/// As [`convolve`], with `x + P <= row.width`.
#[target_feature(enable = "dotprod")]
#[inline]
unsafe fn tile<const P: usize>(
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
                4 => accumulate::<P, 4>(&mut sums, source, feed, weights),
                _ => accumulate::<P, 1>(&mut sums, source, feed, weights),
            };
        }
        epilogue.store(arena, &row.target, row.blocks(), block, x, &sums);
    }
}

/// Adds the products of one input whose chunks have `G` groups; returns the weights that remain.
///
/// # Safety
/// As [`convolve`]; `source` is the input of the tile's first pixel.
#[target_feature(enable = "dotprod")]
#[inline]
unsafe fn accumulate<const P: usize, const G: usize>(
    sums: &mut [Sums; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
) -> *const i8 {
    // SAFETY: each tap of each pixel lies in the arena, and there are `taps.len() * G` vectors of weights per block.
    unsafe {
        for &tap in feed.taps {
            let mut source = source.offset(tap as isize);
            let mut inputs = [vdupq_n_s8(0); P];
            for input in &mut inputs {
                *input = vreinterpretq_s8_u8(veorq_u8(load::<G>(source), vdupq_n_u8(0x80)));
                source = source.add(feed.step);
            }
            group::<P, 0>(sums, &inputs, weights);
            if G == 4 {
                group::<P, 1>(sums, &inputs, weights.add(VECTOR));
                group::<P, 2>(sums, &inputs, weights.add(2 * VECTOR));
                group::<P, 3>(sums, &inputs, weights.add(3 * VECTOR));
            }
            weights = weights.add(G * VECTOR);
        }
    }
    weights
}

/// Adds the products of group `L` of `inputs`.
///
/// # Safety
/// The group's weights stand at `weights`.
#[target_feature(enable = "dotprod")]
#[inline]
unsafe fn group<const P: usize, const L: i32>(
    sums: &mut [Sums; P],
    inputs: &[int8x16_t; P],
    weights: *const i8,
) {
    for i in 0..4 {
        // SAFETY: the caller vouches for the weights.
        let w = unsafe { vld1q_s8(weights.add(16 * i)) };
        for (sums, &input) in sums.iter_mut().zip(inputs) {
            dot::<L>(&mut sums[i], w, input);
        }
    }
}
