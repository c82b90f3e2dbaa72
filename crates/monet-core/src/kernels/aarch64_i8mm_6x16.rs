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
//!     products = bias                                   3 pairs of pixels × 8 pairs of outputs
//!     for each tap, each half of its 16 channels:
//!         for each pair of outputs:
//!             w = the half's weights for both           1 register
//!             for each pair of pixels: products += usmmla(the pair's half, w)
//!     sums = each pixel's rows of the products
//!     the epilogue turns sums into counts and stores them
//! ```
//!
//! The loop is written in assembly: it needs all 32 registers, and compilers spill the products.
//! Tiles of 4 pixels end a row. A net's input may have chunks of only 4 channels: these go through
//! dot products (`sudot`), straight into the sums.

use core::arch::aarch64::*;
use core::arch::asm;

use super::aarch64_epilogue::Sums;
use super::aarch64_tiles::{accumulate_6, copy, cover};
use super::{BLOCK, CheckedRow, Feed, GROUP, Kernel};

/// Bytes of weights for one group of 4 input channels.
const VECTOR: usize = BLOCK * GROUP;

const OFFSET: u8 = Kernel::NeonI8mm.offset();

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

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes;
    assert!(available());
    // SAFETY: `available` has found the feature; arena, weights and row are a `CheckedRow`'s.
    unsafe {
        cover::<OFFSET>(arena.as_mut_ptr(), weights.as_ptr(), row, accumulate_any, Some(six_16))
    }
}

/// An [`Accumulate`](super::aarch64_tiles::Accumulate) of 4 pixels.
///
/// # Safety
/// - The CPU has 8-bit matrix products.
/// - The conditions of [`Accumulate`](super::aarch64_tiles::Accumulate) hold.
#[target_feature(enable = "neon,i8mm")]
unsafe fn accumulate_any(
    sums: *mut Sums,
    from: (*const Sums, usize),
    source: *const u8,
    step: usize,
    feed: &Feed,
    weights: *const i8,
) -> *const i8 {
    // SAFETY: the caller has the sums of 4 pixels; its other conditions are those of both
    // functions. Each is called for the number of groups that it is made for.
    unsafe {
        copy(sums, from, 4);
        let sums = &mut *sums.cast::<[Sums; 4]>();
        match feed.groups {
            4 => accumulate_16(sums, source, step, feed, weights),
            _ => accumulate_4(sums, source, step, feed, weights),
        }
    }
}

/// Adds the products of one input whose chunks have 16 channels; returns the weights that remain.
///
/// # Safety
/// - The CPU has 8-bit matrix products.
/// - Each tap of the 4 pixels, 16 channels, may be read; the first pixel's place is `source`, the
///   others are `step` bytes apart.
/// - `weights` holds 16 vectors of 16 bytes for each tap.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn accumulate_16(
    sums: &mut [Sums; 4],
    source: *const u8,
    step: usize,
    feed: &Feed,
    mut weights: *const i8,
) -> *const i8 {
    let mut products = [[vdupq_n_s32(0); 8]; 2];
    // SAFETY: the caller has the taps of the 4 pixels. Each tap reads 2 × 8 vectors of weights.
    unsafe {
        for &tap in feed.taps.offsets() {
            let source = source.offset(tap as isize);
            let pixel = |p: usize| vreinterpretq_u64_u8(vld1q_u8(source.add(p * step)));
            let [a, b, c, d] = [pixel(0), pixel(1), pixel(2), pixel(3)];
            let halves =
                [[vzip1q_u64(a, b), vzip1q_u64(c, d)], [vzip2q_u64(a, b), vzip2q_u64(c, d)]];
            for inputs in halves {
                for i in 0..8 {
                    let w = vld1q_s8(weights.add(16 * i));
                    for (products, &input) in products.iter_mut().zip(&inputs) {
                        matrix(&mut products[i], vreinterpretq_u8_u64(input), w);
                    }
                }
                weights = weights.add(8 * BLOCK);
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
/// - Each tap of the 4 pixels, 4 channels, may be read; the first pixel's place is `source`, the
///   others are `step` bytes apart.
/// - `weights` holds 4 vectors of 16 bytes for each tap.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn accumulate_4(
    sums: &mut [Sums; 4],
    source: *const u8,
    step: usize,
    feed: &Feed,
    mut weights: *const i8,
) -> *const i8 {
    // SAFETY: the caller has the taps of the 4 pixels. Each tap reads 4 vectors of weights.
    unsafe {
        for &tap in feed.taps.offsets() {
            let source = source.offset(tap as isize);
            for i in 0..4 {
                let w = vld1q_s8(weights.add(16 * i));
                for (p, sums) in sums.iter_mut().enumerate() {
                    let group = source.add(p * step).cast::<u32>().read_unaligned();
                    dot(&mut sums[i], w, vreinterpretq_u8_u32(vdupq_n_u32(group)));
                }
            }
            weights = weights.add(VECTOR);
        }
    }
    weights
}

/// Makes products of the sums of two pixels and four outputs: `$a` and `$b` hold the sums of one
/// pixel each, whose halves are the rows of 2 × 2 products. The products of the first two outputs
/// go to `$even`, those of the others to `$b`; `$a` is free then, and is the next `$even`.
macro_rules! begin {
    ($even:literal, $a:literal, $b:literal) => {
        concat!(
            "zip1 ", $even, ".2d, ", $a, ".2d, ", $b, ".2d\n", "zip2 ", $b, ".2d, ", $a, ".2d, ",
            $b, ".2d\n",
        )
    };
}

/// Undoes what `begin` did.
macro_rules! end {
    ($even:literal, $a:literal, $b:literal) => {
        concat!(
            "zip1 ", $a, ".2d, ", $even, ".2d, ", $b, ".2d\n", "zip2 ", $b, ".2d, ", $even,
            ".2d, ", $b, ".2d\n",
        )
    };
}

/// Loads the weights of four outputs for half a chunk, and multiplies three pairs of pixels with
/// them. What follows in their address is `$at`. `$x0` to `$x2` hold the pairs' halves, the lists
/// the products of both pairs of outputs.
macro_rules! products {
    (
        $at:literal, [$a0:literal, $a1:literal, $a2:literal],
        [$b0:literal, $b1:literal, $b2:literal], $x0:literal, $x1:literal, $x2:literal
    ) => {
        concat!(
            "ldp q0, q1, [{weights}",
            $at,
            "\n",
            "usmmla ",
            $a0,
            ".4s, ",
            $x0,
            ".16b, v0.16b\n",
            "usmmla ",
            $a1,
            ".4s, ",
            $x1,
            ".16b, v0.16b\n",
            "usmmla ",
            $a2,
            ".4s, ",
            $x2,
            ".16b, v0.16b\n",
            "usmmla ",
            $b0,
            ".4s, ",
            $x0,
            ".16b, v1.16b\n",
            "usmmla ",
            $b1,
            ".4s, ",
            $x1,
            ".16b, v1.16b\n",
            "usmmla ",
            $b2,
            ".4s, ",
            $x2,
            ".16b, v1.16b\n",
        )
    };
}

// Of the registers of sums, v27 is free within the loop, and v7 is not.
accumulate_6!(
    six_16,
    "i8mm",
    concat!(
        begin!("v7", "v8", "v12"),
        begin!("v8", "v9", "v13"),
        begin!("v9", "v10", "v14"),
        begin!("v10", "v11", "v15"),
        begin!("v11", "v16", "v20"),
        begin!("v16", "v17", "v21"),
        begin!("v17", "v18", "v22"),
        begin!("v18", "v19", "v23"),
        begin!("v19", "v24", "v28"),
        begin!("v24", "v25", "v29"),
        begin!("v25", "v26", "v30"),
        begin!("v26", "v27", "v31"),
    ),
    224,
    concat!(
        "ldr q0, [{x0}, {tap}]\nldr q1, [{x1}, {tap}]\n",
        "zip1 v2.2d, v0.2d, v1.2d\nzip2 v5.2d, v0.2d, v1.2d\n",
        "ldr q0, [{x2}, {tap}]\nldr q1, [{x3}, {tap}]\n",
        "zip1 v3.2d, v0.2d, v1.2d\nzip2 v6.2d, v0.2d, v1.2d\n",
        "ldr q0, [{x4}, {tap}]\nldr q1, [{x5}, {tap}]\n",
        "zip1 v4.2d, v0.2d, v1.2d\nzip2 v27.2d, v0.2d, v1.2d\n",
        products!(", #-224]", ["v7", "v11", "v19"], ["v12", "v20", "v28"], "v2", "v3", "v4"),
        products!(", #-192]", ["v8", "v16", "v24"], ["v13", "v21", "v29"], "v2", "v3", "v4"),
        products!(", #-160]", ["v9", "v17", "v25"], ["v14", "v22", "v30"], "v2", "v3", "v4"),
        products!(", #-128]", ["v10", "v18", "v26"], ["v15", "v23", "v31"], "v2", "v3", "v4"),
        products!(", #-96]", ["v7", "v11", "v19"], ["v12", "v20", "v28"], "v5", "v6", "v27"),
        products!(", #-64]", ["v8", "v16", "v24"], ["v13", "v21", "v29"], "v5", "v6", "v27"),
        products!(", #-32]", ["v9", "v17", "v25"], ["v14", "v22", "v30"], "v5", "v6", "v27"),
        products!("], #256", ["v10", "v18", "v26"], ["v15", "v23", "v31"], "v5", "v6", "v27"),
    ),
    concat!(
        end!("v26", "v27", "v31"),
        end!("v25", "v26", "v30"),
        end!("v24", "v25", "v29"),
        end!("v19", "v24", "v28"),
        end!("v18", "v19", "v23"),
        end!("v17", "v18", "v22"),
        end!("v16", "v17", "v21"),
        end!("v11", "v16", "v20"),
        end!("v10", "v11", "v15"),
        end!("v9", "v10", "v14"),
        end!("v8", "v9", "v13"),
        end!("v7", "v8", "v12"),
    )
);
