//! AArch64 without dot products: tiles of 4 pixels × 16 outputs, exact through 16-bit products of
//! bytes (`smull`, `smlal`, `sadalp`).
//!
//! Counts are multiplied less 128, which the bias makes good
//! ([`Kernel::offset`](super::Kernel::offset)). Two products of bytes fit in 16 bits unless both
//! are -128 × -128; where a weight is -128 each product is added to its sum by itself. In assembly,
//! since cores that need this kernel run instructions in their order, and compilers spill the sums.

use core::arch::aarch64::*;

use super::aarch64_tiles_4x16::{Tile, accumulate, cover};
use super::{Feed, Row};

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("neon")
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
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes();
    assert!(available());
    let accumulate = if row.lowest { accumulate_each } else { accumulate_both };
    // SAFETY: the feature is present; `check` has shown that inputs, residual and output lie in the
    // arena, and that weights, bias and scales cover all blocks.
    unsafe { cover(arena.as_mut_ptr(), weights.as_ptr(), row, accumulate) }
}

/// # Safety
/// As [`Accumulate`](super::aarch64_tiles_4x16::Accumulate); no weight is -128.
unsafe fn accumulate_both(
    sums: &mut Tile,
    source: *const u8,
    step: usize,
    feed: &Feed,
    weights: *const i8,
) -> *const i8 {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        match feed.groups {
            4 => both_16(sums, source, step, feed, weights),
            _ => both_4(sums, source, step, feed, weights),
        }
    }
}

/// # Safety
/// As [`Accumulate`](super::aarch64_tiles_4x16::Accumulate).
unsafe fn accumulate_each(
    sums: &mut Tile,
    source: *const u8,
    step: usize,
    feed: &Feed,
    weights: *const i8,
) -> *const i8 {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        match feed.groups {
            4 => each_16(sums, source, step, feed, weights),
            _ => each_4(sums, source, step, feed, weights),
        }
    }
}

/// Products of a pair of channels, which is in all lanes of `x`, with its weights for 16 outputs.
macro_rules! products {
    ($op:literal, $x:literal, $w0:literal, $w1:literal) => {
        concat!(
            $op,
            " v10.8h, ",
            $x,
            ".8b, ",
            $w0,
            ".8b\n",
            $op,
            "2 v11.8h, ",
            $x,
            ".16b, ",
            $w0,
            ".16b\n",
            $op,
            " v12.8h, ",
            $x,
            ".8b, ",
            $w1,
            ".8b\n",
            $op,
            "2 v13.8h, ",
            $x,
            ".16b, ",
            $w1,
            ".16b\n",
        )
    };
}

/// Adds the products to their sums.
macro_rules! add {
    ($s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
        concat!(
            "sadalp ",
            $s0,
            ".4s, v10.8h\nsadalp ",
            $s1,
            ".4s, v11.8h\n",
            "sadalp ",
            $s2,
            ".4s, v12.8h\nsadalp ",
            $s3,
            ".4s, v13.8h\n",
        )
    };
}

/// Spreads two pairs of channels over two registers.
macro_rules! spread {
    ($d0:literal, $d1:literal, $x:literal, $a:literal, $b:literal) => {
        concat!("dup ", $d0, ".8h, ", $x, ".h[", $a, "]\ndup ", $d1, ".8h, ", $x, ".h[", $b, "]\n")
    };
}

/// One group of channels of one pixel, pairs of products added together; the pairs are spread over
/// `$d0` and `$d1`. `$then0` and `$then1` follow the last use of the weights of the first and
/// second pair.
macro_rules! both {
    (
        $d0:literal, $d1:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal,
        $then0:expr, $then1:expr
    ) => {
        concat!(
            products!("smull", $d0, "v4", "v5"),
            $then0,
            products!("smlal", $d1, "v6", "v7"),
            $then1,
            add!($s0, $s1, $s2, $s3),
        )
    };
}

/// The same, each product added by itself.
macro_rules! each {
    (
        $d0:literal, $d1:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal,
        $then0:expr, $then1:expr
    ) => {
        concat!(
            products!("smull", $d0, "v4", "v5"),
            $then0,
            add!($s0, $s1, $s2, $s3),
            products!("smull", $d1, "v6", "v7"),
            $then1,
            add!($s0, $s1, $s2, $s3),
        )
    };
}

/// One group of channels of all pixels, whose pairs are lanes `$a` and `$b`. Each pixel's pairs are
/// spread one pixel ahead, the first one's already; `$then0` and `$then1` stand in the last pixel.
macro_rules! group {
    ($way:ident, $a:literal, $b:literal, $then0:expr, $then1:expr) => {
        concat!(
            $way!("v8", "v9", "v16", "v17", "v18", "v19", spread!("v14", "v15", "v1", $a, $b), ""),
            $way!("v14", "v15", "v20", "v21", "v22", "v23", spread!("v8", "v9", "v2", $a, $b), ""),
            $way!("v8", "v9", "v24", "v25", "v26", "v27", spread!("v14", "v15", "v3", $a, $b), ""),
            $way!("v14", "v15", "v28", "v29", "v30", "v31", $then0, $then1),
        )
    };
}

/// The weights of the next group's first pair, at an offset, and that group's first pixel.
macro_rules! ahead {
    ($offset:literal, $a:literal, $b:literal) => {
        concat!("ldp q4, q5, [{weights}, #", $offset, "]\n", spread!("v8", "v9", "v0", $a, $b))
    };
}

/// All groups of 16 channels.
macro_rules! groups {
    ($way:ident) => {
        concat!(
            spread!("v8", "v9", "v0", "0", "1"),
            group!($way, "0", "1", ahead!("64", "2", "3"), "ldp q6, q7, [{weights}, #96]\n"),
            group!($way, "2", "3", ahead!("128", "4", "5"), "ldp q6, q7, [{weights}, #160]\n"),
            group!($way, "4", "5", ahead!("192", "6", "7"), "ldp q6, q7, [{weights}, #224]\n"),
            group!($way, "6", "7", "", ""),
        )
    };
}

/// The only group of 4 channels.
macro_rules! single {
    ($way:ident) => {
        concat!(spread!("v8", "v9", "v0", "0", "1"), group!($way, "0", "1", "", ""))
    };
}

accumulate!(both_16, "neon", "q", groups!(both), "add {weights}, {weights}, #256");
accumulate!(both_4, "neon", "s", single!(both), "add {weights}, {weights}, #64");
accumulate!(each_16, "neon", "q", groups!(each), "add {weights}, {weights}, #256");
accumulate!(each_4, "neon", "s", single!(each), "add {weights}, {weights}, #64");
