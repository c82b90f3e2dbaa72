//! AArch64 with 8-bit matrix products: tiles of 6 pixels × 16 outputs.
//!
//! `usmmla` multiplies 2 pixels × 8 channels with 8 channels × 2 outputs and adds the 2 × 2 results
//! to one register:
//!
//! ```text
//!                                        outputs o, o + 1
//!  pixel p      c0 c1 … c7                 ┌ w0 w0 ┐          ┌ sum(p, o)     sum(p, o + 1)     ┐
//!  pixel p + 1  c0 c1 … c7        ×        │  …  … │     +=   └ sum(p + 1, o) sum(p + 1, o + 1) ┘
//!                                          └ w7 w7 ┘
//! for each block of 16 outputs, each tile of 6 pixels:
//!     products = 0                                      3 pairs of pixels × 8 pairs of outputs
//!     for each tap, each half of its 16 channels:
//!         for each pair of outputs:
//!             w = the half's weights for both           1 register
//!             for each pair of pixels: products += usmmla(the pair's half, w)
//!     sums = bias + each pixel's rows of the products
//!     the epilogue turns sums into counts and stores them
//! ```
//!
//! A net's input may have chunks of only 4 channels. These go through dot products (`sudot`),
//! straight into the sums.

use core::arch::aarch64::*;
use core::arch::asm;

use super::aarch64_epilogue::{Epilogue, Sums};
use super::{BLOCK, CheckedRow, Feed, GROUP, Row};

/// Bytes of weights for one group of 4 input channels.
const VECTOR: usize = BLOCK * GROUP;

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("i8mm")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the feature.
    unsafe { spin_registers(rounds) };
    (rounds * 12 * 32) as u64
}

#[target_feature(enable = "neon,i8mm")]
fn spin_registers(rounds: usize) {
    let (mut sums, inputs) = core::hint::black_box(([vdupq_n_s32(3); 12], vdupq_n_u8(7)));
    let (mut weights, one) = core::hint::black_box((vdupq_n_s8(5), vdupq_n_s8(1)));
    for _ in 0..rounds {
        for sum in &mut sums {
            matrix(sum, inputs, weights);
        }
        weights = vaddq_s8(weights, one);
    }
    core::hint::black_box(sums);
}

/// `sum[2 * p + o] += inputs[8 * p..][..8] · weights[8 * o..][..8]` for p and o of 0 and 1. In
/// assembly, since the intrinsic is not yet stable.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn matrix(sum: &mut int32x4_t, inputs: uint8x16_t, weights: int8x16_t) {
    // SAFETY: the instruction touches only the registers that are named; this function enables its
    // feature.
    unsafe {
        asm!("usmmla {sum:v}.4s, {inputs:v}.16b, {weights:v}.16b", sum = inout(vreg) *sum,
            inputs = in(vreg) inputs, weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags));
    }
}

/// `sum += weights · inputs[..4]` in each of 4 lanes. In assembly, since the intrinsic is not yet
/// stable.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn dot(sum: &mut int32x4_t, weights: int8x16_t, inputs: uint8x16_t) {
    // SAFETY: the instruction touches only the registers that are named; this function enables its
    // feature.
    unsafe {
        asm!("sudot {sum:v}.4s, {weights:v}.16b, {inputs:v}.4b[0]", sum = inout(vreg) *sum,
            weights = in(vreg) weights, inputs = in(vreg) inputs,
            options(pure, nomem, nostack, preserves_flags));
    }
}

/// Loads two vectors of weights and goes on to the next. In assembly, since compilers do not see
/// one load in two that have assembly between them.
///
/// # Safety
/// 32 bytes may be read at `weights`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn load(weights: &mut *const i8) -> [int8x16_t; 2] {
    let (first, second);
    // SAFETY: the caller has the bytes.
    unsafe {
        asm!("ldp {first:q}, {second:q}, [{at}], #32", at = inout(reg) *weights,
            first = out(vreg) first, second = out(vreg) second,
            options(pure, readonly, nostack, preserves_flags));
    }
    [first, second]
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes;
    assert!(available());
    // SAFETY: `available` has found the feature; arena, weights and row are a `CheckedRow`'s.
    unsafe { tiles(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// # Safety
/// - The CPU has 8-bit matrix products.
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn tiles(arena: *mut u8, weights: *const i8, row: &Row) {
    let (block_len, epilogue) = (row.depth() * VECTOR, Epilogue::new(&row.destination));
    for block in 0..row.blocks() {
        let mut x = 0;
        // SAFETY: `CheckedRow` has shown that there are `block_len` weights for each block below
        // `row.blocks()`; each tile ends at or before `row.width`.
        unsafe {
            let weights = weights.add(block * block_len);
            while x + 6 <= row.width {
                tile::<3, 6>(arena, weights, row, &epilogue, block, x);
                x += 6;
            }
            while x + 2 <= row.width {
                tile::<1, 2>(arena, weights, row, &epilogue, block, x);
                x += 2;
            }
            if x < row.width {
                tile::<1, 1>(arena, weights, row, &epilogue, block, x);
            }
        }
    }
}

/// `P` pixels of a block, in `Q` pairs, from pixel `x` on.
///
/// # Safety
/// - As [`tiles`], but `weights` are those of block `block`.
/// - `block < row.blocks()` and `x + P <= row.width`.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn tile<const Q: usize, const P: usize>(
    arena: *mut u8,
    mut weights: *const i8,
    row: &Row,
    epilogue: &Epilogue,
    block: usize,
    x: usize,
) {
    // SAFETY: `CheckedRow` has shown that the biases cover all blocks and that the inputs and
    // outputs of pixels below `row.width` lie in the arena. The weights of the first input precede
    // those of the second.
    unsafe {
        let bias = row.bias.as_ptr().add(block * BLOCK);
        let bias = [
            vld1q_s32(bias),
            vld1q_s32(bias.add(4)),
            vld1q_s32(bias.add(8)),
            vld1q_s32(bias.add(12)),
        ];
        let mut sums = [bias; P];
        for feed in row.feeds() {
            let source = arena.add(feed.start + x * feed.step);
            weights = match feed.groups {
                4 => accumulate::<Q, P>(&mut sums, source, feed, weights),
                _ => accumulate_single(&mut sums, source, feed, weights),
            };
        }
        epilogue.store(arena, &row.destination, row.blocks(), block, x, &sums);
    }
}

/// Adds the products of one input whose chunks have 16 channels; returns the weights that remain.
///
/// # Safety
/// - The CPU has 8-bit matrix products.
/// - `feed` is an input of a [`CheckedRow`] with chunks of 16 channels; `source` is its place under
///   the first of `P` pixels of the row.
/// - `weights` holds 16 vectors of 16 bytes for each tap.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn accumulate<const Q: usize, const P: usize>(
    sums: &mut [Sums; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
) -> *const i8 {
    let mut products = [[vdupq_n_s32(0); 8]; Q];
    // SAFETY: `CheckedRow` has shown that each tap of the `P` pixels, 16 channels, lies in the
    // arena. Each tap reads 2 × 8 vectors of weights.
    unsafe {
        for &tap in feed.taps.offsets() {
            let source = source.offset(tap as isize);
            let mut halves = [[vdupq_n_u64(0); Q]; 2];
            for q in 0..Q {
                // Without a second pixel the first stands in for it.
                let pixel =
                    |p: usize| vreinterpretq_u64_u8(vld1q_u8(source.add(p.min(P - 1) * feed.step)));
                let [first, second] = [pixel(2 * q), pixel(2 * q + 1)];
                halves[0][q] = vzip1q_u64(first, second);
                halves[1][q] = vzip2q_u64(first, second);
            }
            for inputs in halves {
                for i in (0..8).step_by(2) {
                    let [first, second] = load(&mut weights);
                    for (products, &input) in products.iter_mut().zip(&inputs) {
                        matrix(&mut products[i], vreinterpretq_u8_u64(input), first);
                        matrix(&mut products[i + 1], vreinterpretq_u8_u64(input), second);
                    }
                }
            }
        }
    }
    for (p, sums) in sums.iter_mut().enumerate() {
        let products = &products[p / 2];
        for (i, sum) in sums.iter_mut().enumerate() {
            let [a, b] = [
                vreinterpretq_s64_s32(products[2 * i]),
                vreinterpretq_s64_s32(products[2 * i + 1]),
            ];
            let own = if p % 2 == 0 { vzip1q_s64(a, b) } else { vzip2q_s64(a, b) };
            *sum = vaddq_s32(*sum, vreinterpretq_s32_s64(own));
        }
    }
    weights
}

/// Adds the products of one input whose chunks have 4 channels; returns the weights that remain.
///
/// # Safety
/// - The CPU has 8-bit matrix products.
/// - `feed` is an input of a [`CheckedRow`] with chunks of 4 channels; `source` is its place under
///   the first of `P` pixels of the row.
/// - `weights` holds 4 vectors of 16 bytes for each tap.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn accumulate_single<const P: usize>(
    sums: &mut [Sums; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
) -> *const i8 {
    // SAFETY: `CheckedRow` has shown that each tap of the `P` pixels, 4 channels, lies in the
    // arena. Each tap reads 4 vectors of weights.
    unsafe {
        for &tap in feed.taps.offsets() {
            let source = source.offset(tap as isize);
            for i in 0..4 {
                let w = vld1q_s8(weights.add(16 * i));
                for (p, sums) in sums.iter_mut().enumerate() {
                    let group = source.add(p * feed.step).cast::<u32>().read_unaligned();
                    dot(&mut sums[i], w, vreinterpretq_u8_u32(vdupq_n_u32(group)));
                }
            }
            weights = weights.add(VECTOR);
        }
    }
    weights
}
