//! AArch64 without dot products: tiles of 4 pixels × 16 outputs, with exact 16-bit products of
//! bytes.
//!
//! Channels are multiplied in pairs, with weights packed as `[pair][16 outputs][2 channels]`. For
//! one pixel, one group of channels c0 to c3 and four outputs o0 to o3:
//!
//! ```text
//! smull    o0c0  o0c1  o1c0  o1c1  o2c0  o2c1  o3c0  o3c1     products, 16 bits each
//! smlal  + o0c2  o0c3  o1c2  o1c3  o2c2  o2c3  o3c2  o3c3     still 16 bits each
//! sadalp      o0          o1          o2          o3          neighbours added to 32-bit sums
//! ```
//!
//! `smull` takes signed factors only: counts lie in the arena less 128, and the bias compensates
//! ([`Kernel::offset`](super::Kernel::offset)). Factors then are -128 to 127, and two products fit
//! in 16 bits together, unless both are -128 × -128. A layer with a weight of -128 therefore goes
//! without `smlal`: it adds each product to the sums by itself (`each`, not `both`).
//!
//! The products are written in assembly. Cores that need this kernel execute instructions in the
//! order in which they stand, and compilers spill the sums.

use core::arch::aarch64::*;

use super::aarch64_epilogue::Sums;
use super::aarch64_tiles::{accumulate, cover};
use super::{CheckedRow, Feed, Kernel};

const OFFSET: u8 = Kernel::Neon.offset();

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("neon")
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
    let weights = row.weights.bytes;
    assert!(available());
    let accumulate = if row.lowest { accumulate_each } else { accumulate_both };
    // SAFETY: `available` has found the feature; arena, weights and row are a `CheckedRow`'s.
    unsafe { cover::<OFFSET>(arena.as_mut_ptr(), weights.as_ptr(), row, accumulate, None) }
}

/// An [`Accumulate`](super::aarch64_tiles::Accumulate) for weights of -127 to 127.
///
/// # Safety
/// - The CPU has NEON.
/// - The conditions of [`Accumulate`](super::aarch64_tiles::Accumulate) hold.
unsafe fn accumulate_both(
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
            4 => both_16(sums, from, source, step, feed, weights),
            _ => both_4(sums, from, source, step, feed, weights),
        }
    }
}

/// An [`Accumulate`](super::aarch64_tiles::Accumulate) for all weights.
///
/// # Safety
/// - The CPU has NEON.
/// - The conditions of [`Accumulate`](super::aarch64_tiles::Accumulate) hold.
unsafe fn accumulate_each(
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
            4 => each_16(sums, from, source, step, feed, weights),
            _ => each_4(sums, from, source, step, feed, weights),
        }
    }
}

/// Multiplies one pair of channels, which all lanes of `$x` hold, with its weights for 16 outputs
/// in `$w0` and `$w1`. The products go to v10 to v13: `$op` is `smull`, which replaces what these
/// hold, or `smlal`, which adds to it.
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

/// Adds the products in v10 to v13, two neighbours together, to the 16 sums in `$s0` to `$s3`.
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

/// Copies pairs `$a` and `$b` of the channels in `$x` to all lanes of `$d0` and of `$d1`.
macro_rules! spread {
    ($d0:literal, $d1:literal, $x:literal, $a:literal, $b:literal) => {
        concat!("dup ", $d0, ".8h, ", $x, ".h[", $a, "]\ndup ", $d1, ".8h, ", $x, ".h[", $b, "]\n")
    };
}

/// Adds one group of channels to the sums of one pixel, with `smull` for the first pair and `smlal`
/// for the second.
///
/// - `$d0` and `$d1` hold the first and second pair in all their lanes.
/// - `$then0` is code that may follow once the first pair's weights, v4 and v5, are no longer
///   needed; `$then1` likewise for the second pair's, v6 and v7.
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

/// As `both`, but adds each product to the sums by itself.
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

/// Adds one group of channels, pairs `$a` and `$b`, to the sums of all 4 pixels.
///
/// - While one pixel is multiplied, the pairs of the next are spread. Those of the first pixel must
///   be in v8 and v9 already.
/// - `$then0` and `$then1` are the last pixel's, see `both`.
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

/// Prepares the next group: loads its first pair's weights from `$offset`, and spreads its pairs
/// `$a` and `$b` of the first pixel.
macro_rules! ahead {
    ($offset:literal, $a:literal, $b:literal) => {
        concat!("ldp q4, q5, [{weights}, #", $offset, "]\n", spread!("v8", "v9", "v0", $a, $b))
    };
}

/// The four groups of a chunk of 16 channels.
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

/// The only group of a chunk of 4 channels.
macro_rules! single {
    ($way:ident) => {
        concat!(spread!("v8", "v9", "v0", "0", "1"), group!($way, "0", "1", "", ""))
    };
}

accumulate!(both_16, "neon", "q", groups!(both), "add {weights}, {weights}, #256");
accumulate!(both_4, "neon", "s", single!(both), "add {weights}, {weights}, #64");
accumulate!(each_16, "neon", "q", groups!(each), "add {weights}, {weights}, #256");
accumulate!(each_4, "neon", "s", single!(each), "add {weights}, {weights}, #64");
