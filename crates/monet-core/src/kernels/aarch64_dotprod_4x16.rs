//! AArch64 with dot products: tiles of 4 pixels × 16 outputs, `sdot` on groups of 4 channels.
//!
//! ```text
//! for each block of 16 outputs, each tile of 4 pixels:
//!     sums = bias                                     4 pixels × 4 registers, v16 to v31
//!     for each tap:
//!         x = each pixel's 16 channels, minus 128     v0 to v3
//!         for each group of 4 channels:
//!             w = its weights for 16 outputs          v4 to v7 and v8 to v11 in turn
//!             for each pixel: sums += sdot(w, the pixel's group)
//!     the epilogue turns sums into counts and stores them
//! ```
//!
//! `sdot` takes signed factors only: the kernel subtracts 128 from every count, and the bias
//! compensates ([`Kernel::offset`](super::Kernel::offset)). The products are written in assembly,
//! since the intrinsics are not stable and compilers spill the sums.

use core::arch::aarch64::*;
use core::arch::asm;

use super::aarch64_tiles_4x16::{Tile, accumulate, cover};
use super::{CheckedRow, Feed};

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("dotprod")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the feature.
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

/// `sum += weights · inputs[4 * L..4 * L + 4]` in each of 4 lanes.
#[target_feature(enable = "dotprod")]
#[inline]
fn dot<const L: i32>(sum: &mut int32x4_t, weights: int8x16_t, inputs: int8x16_t) {
    // SAFETY: the instruction touches only the registers that are named; this function enables its
    // feature.
    unsafe {
        asm!("sdot {sum:v}.4s, {weights:v}.16b, {inputs:v}.4b[{lane}]", sum = inout(vreg) *sum,
            weights = in(vreg) weights, inputs = in(vreg) inputs, lane = const L,
            options(pure, nomem, nostack, preserves_flags));
    }
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes;
    assert!(available());
    // SAFETY: `available` has found the feature; arena, weights and row are a `CheckedRow`'s.
    unsafe { cover(arena.as_mut_ptr(), weights.as_ptr(), row, accumulate_any) }
}

/// An [`Accumulate`](super::aarch64_tiles_4x16::Accumulate).
///
/// # Safety
/// - The CPU has dot products.
/// - The conditions of [`Accumulate`](super::aarch64_tiles_4x16::Accumulate) hold.
unsafe fn accumulate_any(
    sums: &mut Tile,
    source: *const u8,
    step: usize,
    feed: &Feed,
    weights: *const i8,
) -> *const i8 {
    // SAFETY: the caller's conditions are those of both functions; each is called for the number of
    // groups that it is made for.
    unsafe {
        match feed.groups {
            4 => accumulate_16(sums, source, step, feed, weights),
            _ => accumulate_4(sums, source, step, feed, weights),
        }
    }
}

/// Adds one group of channels to the 16 sums of one pixel. `$x` holds the pixel's counts, `$lane`
/// is the group's place there, `$s0` to `$s3` are the pixel's sums and `$w0` to `$w3` the weights.
macro_rules! pixel {
    (
        $lane:literal, $x:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal,
        $w0:literal, $w1:literal, $w2:literal, $w3:literal
    ) => {
        concat!(
            "sdot ", $s0, ".4s, ", $w0, ".16b, ", $x, ".4b[", $lane, "]\n", "sdot ", $s1, ".4s, ",
            $w1, ".16b, ", $x, ".4b[", $lane, "]\n", "sdot ", $s2, ".4s, ", $w2, ".16b, ", $x,
            ".4b[", $lane, "]\n", "sdot ", $s3, ".4s, ", $w3, ".16b, ", $x, ".4b[", $lane, "]\n",
        )
    };
}

/// Adds one group of channels to the sums of all 4 pixels.
macro_rules! group {
    ($lane:literal, $w0:literal, $w1:literal, $w2:literal, $w3:literal) => {
        concat!(
            pixel!($lane, "v0", "v16", "v17", "v18", "v19", $w0, $w1, $w2, $w3),
            pixel!($lane, "v1", "v20", "v21", "v22", "v23", $w0, $w1, $w2, $w3),
            pixel!($lane, "v2", "v24", "v25", "v26", "v27", $w0, $w1, $w2, $w3),
            pixel!($lane, "v3", "v28", "v29", "v30", "v31", $w0, $w1, $w2, $w3),
        )
    };
}

// Weights are loaded one group ahead.
accumulate!(
    accumulate_16,
    "dotprod",
    "q",
    "ldp q8, q9, [{weights}, #64]",
    "ldp q10, q11, [{weights}, #96]",
    group!("0", "v4", "v5", "v6", "v7"),
    "ldp q4, q5, [{weights}, #128]",
    "ldp q6, q7, [{weights}, #160]",
    group!("1", "v8", "v9", "v10", "v11"),
    "ldp q8, q9, [{weights}, #192]",
    "ldp q10, q11, [{weights}, #224]",
    "add {weights}, {weights}, #256",
    group!("2", "v4", "v5", "v6", "v7"),
    group!("3", "v8", "v9", "v10", "v11"),
);
accumulate!(
    accumulate_4,
    "dotprod",
    "s",
    "add {weights}, {weights}, #64",
    group!("0", "v4", "v5", "v6", "v7"),
);
