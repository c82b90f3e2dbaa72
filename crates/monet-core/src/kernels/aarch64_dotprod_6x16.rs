//! AArch64 with dot products: tiles of 6 pixels × 16 outputs, `sdot` on groups of 4 channels.
//!
//! ```text
//! for each block of 16 outputs, each tile of 6 pixels:
//!     sums = bias                                     6 pixels × 4 registers, v8 to v31
//!     for each tap:
//!         x = each pixel's 16 channels                v0 to v5
//!         for each group of 4 channels:
//!             w = its weights for 16 outputs          v6 and v7, twice
//!             for each pixel: sums += sdot(w, the pixel's group)
//!     the epilogue turns sums into counts and stores them
//! ```
//!
//! Tiles of 4 pixels end a row, and fill those with chunks of 4 channels: a net's input. They leave
//! registers for the weights of one group ahead.
//!
//! `sdot` takes signed factors only: counts lie in the arena less 128, and the bias compensates
//! ([`Kernel::offset`](super::Kernel::offset)). The products are written in assembly, since the
//! intrinsics are not stable and compilers spill the sums.

use core::arch::aarch64::*;
use core::arch::asm;

use super::aarch64_epilogue::Sums;
use super::aarch64_tiles::{accumulate, accumulate_6, cover};
use super::{CheckedRow, Feed, Kernel};

const OFFSET: u8 = Kernel::NeonDotprod.offset();

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
    unsafe {
        cover::<OFFSET>(arena.as_mut_ptr(), weights.as_ptr(), row, accumulate_any, Some(six_16))
    }
}

/// An [`Accumulate`](super::aarch64_tiles::Accumulate).
///
/// # Safety
/// - The CPU has dot products.
/// - The conditions of [`Accumulate`](super::aarch64_tiles::Accumulate) hold.
unsafe fn accumulate_any(
    sums: *mut Sums,
    from: (*const Sums, usize),
    source: *const u8,
    step: usize,
    feed: &Feed,
    weights: *const i8,
) -> *const i8 {
    // SAFETY: the caller's conditions are those of both functions; each is called for the number of
    // groups that it is made for.
    unsafe {
        match feed.groups {
            4 => accumulate_16(sums, from, source, step, feed, weights),
            _ => accumulate_4(sums, from, source, step, feed, weights),
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

/// Adds one group of channels, the `$lane`th, to the sums of all 6 pixels. Its weights for 8
/// outputs at a time go through v6 and v7; `$first` and `$second` are what
/// follows in the address.
macro_rules! six {
    ($lane:literal, $first:literal, $second:literal) => {
        concat!(
            "ldp q6, q7, [{weights}",
            $first,
            "\n",
            six!($lane, "v6", "v8", "v12", "v16", "v20", "v24", "v28"),
            six!($lane, "v7", "v9", "v13", "v17", "v21", "v25", "v29"),
            "ldp q6, q7, [{weights}",
            $second,
            "\n",
            six!($lane, "v6", "v10", "v14", "v18", "v22", "v26", "v30"),
            six!($lane, "v7", "v11", "v15", "v19", "v23", "v27", "v31"),
        )
    };
    (
        $lane:literal, $w:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal, $s4:literal,
        $s5:literal
    ) => {
        concat!(
            "sdot ",
            $s0,
            ".4s, ",
            $w,
            ".16b, v0.4b[",
            $lane,
            "]\n",
            "sdot ",
            $s1,
            ".4s, ",
            $w,
            ".16b, v1.4b[",
            $lane,
            "]\n",
            "sdot ",
            $s2,
            ".4s, ",
            $w,
            ".16b, v2.4b[",
            $lane,
            "]\n",
            "sdot ",
            $s3,
            ".4s, ",
            $w,
            ".16b, v3.4b[",
            $lane,
            "]\n",
            "sdot ",
            $s4,
            ".4s, ",
            $w,
            ".16b, v4.4b[",
            $lane,
            "]\n",
            "sdot ",
            $s5,
            ".4s, ",
            $w,
            ".16b, v5.4b[",
            $lane,
            "]\n",
        )
    };
}

accumulate_6!(
    six_16,
    "dotprod",
    "",
    224,
    concat!(
        "ldr q0, [{x0}, {tap}]\nldr q1, [{x1}, {tap}]\nldr q2, [{x2}, {tap}]\n",
        "ldr q3, [{x3}, {tap}]\nldr q4, [{x4}, {tap}]\nldr q5, [{x5}, {tap}]\n",
        six!("0", ", #-224]", ", #-192]"),
        six!("1", ", #-160]", ", #-128]"),
        six!("2", ", #-96]", ", #-64]"),
        six!("3", ", #-32]", "], #256"),
    ),
    ""
);
