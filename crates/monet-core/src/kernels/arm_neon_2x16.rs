//! 32-bit ARM with NEON: tiles of 2 pixels × 16 outputs, with exact 16-bit products of bytes.
//!
//! Channels are multiplied in pairs, with weights packed as `[pair][16 outputs][2 channels]`. For
//! one pixel, one group of channels c0 to c3 and four outputs o0 to o3:
//!
//! ```text
//! vmull    o0c0  o0c1  o1c0  o1c1  o2c0  o2c1  o3c0  o3c1     products, 16 bits each
//! vmlal  + o0c2  o0c3  o1c2  o1c3  o2c2  o2c3  o3c2  o3c3     still 16 bits each
//! vpadal      o0          o1          o2          o3          neighbours added to 32-bit sums
//! ```
//!
//! `vmull` on signed bytes needs signed factors: counts lie in the arena less 128, and the bias
//! compensates ([`Kernel::offset`](super::Kernel::offset)). Factors then are -128 to 127, and two
//! products fit in 16 bits together, unless both are -128 × -128. A layer with a weight of -128
//! therefore goes without `vmlal`: it adds each product to the sums by itself (`each`, not `both`).
//!
//! All NEON code is assembly: the intrinsics are not stable, and the triple's other code must run
//! on CPUs without NEON.

use core::arch::asm;
use core::ffi::c_ulong;

use super::arm_neon_epilogue::{Constants, store};
use super::{BLOCK, CheckedRow, Feed, GROUP, Row};

// Each `asm!` names d0 to d31 one by one as clobbered. On a triple without NEON the compiler knows
// no q registers: it would silently drop their names, and not save what callers keep in them.

/// The 16 sums of each pixel of a tile.
type Sums = [[i32; BLOCK]; 2];

/// 16 products, added to four sums: the instructions that `spin` repeats.
macro_rules! spin_pairs {
    ($sum:literal) => {
        concat!("vmull.s8 q0, d4, d5\nvmlal.s8 q0, d4, d6\nvpadal.s16 ", $sum, ", q0")
    };
}

/// Adds two pairs of channels, in d12 and d13, to four sums in `$sum`. `$a` and `$b` hold the
/// weights of the first and the second pair, `$t` takes the products.
macro_rules! both {
    ($t:literal, $a:literal, $b:literal, $sum:literal) => {
        concat!(
            "vmull.s8 ",
            $t,
            ", d12, ",
            $a,
            "\nvmlal.s8 ",
            $t,
            ", d13, ",
            $b,
            "\nvpadal.s16 ",
            $sum,
            ", ",
            $t
        )
    };
}

/// As `both`, but adds each product to the sums by itself.
macro_rules! each {
    ($t:literal, $a:literal, $b:literal, $sum:literal) => {
        concat!(
            "vmull.s8 ",
            $t,
            ", d12, ",
            $a,
            "\nvpadal.s16 ",
            $sum,
            ", ",
            $t,
            "\nvmull.s8 ",
            $t,
            ", d13, ",
            $b,
            "\nvpadal.s16 ",
            $sum,
            ", ",
            $t
        )
    };
}

/// Adds one group of channels to the 16 sums of a pixel, `$s0` to `$s3`. `$a` and `$b` are the
/// lanes that hold the group's pairs; d4 to d11 hold the weights.
macro_rules! pixel {
    ($way:ident, $a:literal, $b:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
        concat!(
            "vdup.16 d12, ",
            $a,
            "\nvdup.16 d13, ",
            $b,
            "\n",
            $way!("q1", "d4", "d8", $s0),
            "\n",
            $way!("q7", "d5", "d9", $s1),
            "\n",
            $way!("q1", "d6", "d10", $s2),
            "\n",
            $way!("q7", "d7", "d11", $s3)
        )
    };
}

/// Loads the weights of one group of channels and adds it to the sums of both pixels, whose
/// channels are in d0 and d1.
macro_rules! group {
    ($way:ident, $a0:literal, $b0:literal, $a1:literal, $b1:literal) => {
        concat!(
            "vld1.8 {{d4-d7}}, [{weights}]!\nvld1.8 {{d8-d11}}, [{weights}]!\n",
            pixel!($way, $a0, $b0, "q8", "q9", "q10", "q11"),
            "\n",
            pixel!($way, $a1, $b1, "q12", "q13", "q14", "q15")
        )
    };
}

/// Loads two groups of channels of both pixels, from `first` and `second`, and adds them to the
/// sums.
macro_rules! half {
    ($way:ident) => {
        concat!(
            "vld1.8 {{d0}}, [{first}]!\nvld1.8 {{d1}}, [{second}]!\n",
            group!($way, "d0[0]", "d0[1]", "d1[0]", "d1[1]"),
            "\n",
            group!($way, "d0[2]", "d0[3]", "d1[2]", "d1[3]")
        )
    };
}

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    const HARDWARE: c_ulong = 16;
    const NEON: c_ulong = 1 << 12;
    unsafe extern "C" {
        safe fn getauxval(kind: c_ulong) -> c_ulong;
    }
    cfg!(target_feature = "neon") || getauxval(HARDWARE) & NEON != 0
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the feature; the code touches registers only, and all that
    // change are named.
    unsafe {
        asm!(
            ".fpu neon",
            "2:",
            spin_pairs!("q8"), spin_pairs!("q9"), spin_pairs!("q10"), spin_pairs!("q11"),
            spin_pairs!("q12"), spin_pairs!("q13"), spin_pairs!("q14"), spin_pairs!("q15"),
            "subs {rounds}, {rounds}, #1",
            "bne 2b",
            rounds = inout(reg) rounds.max(1) => _,
            out("d0") _,
            out("d1") _,
            out("d2") _,
            out("d3") _,
            out("d4") _,
            out("d5") _,
            out("d6") _,
            out("d7") _,
            out("d8") _,
            out("d9") _,
            out("d10") _,
            out("d11") _,
            out("d12") _,
            out("d13") _,
            out("d14") _,
            out("d15") _,
            out("d16") _,
            out("d17") _,
            out("d18") _,
            out("d19") _,
            out("d20") _,
            out("d21") _,
            out("d22") _,
            out("d23") _,
            out("d24") _,
            out("d25") _,
            out("d26") _,
            out("d27") _,
            out("d28") _,
            out("d29") _,
            out("d30") _,
            out("d31") _,
            options(nomem, nostack),
        );
    }
    (rounds * 8 * 16) as u64
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes;
    assert!(available());
    let constants = Constants::new(row.destination.stage());
    let block_len = row.depth() * GROUP * BLOCK;
    let lowest = row.lowest;
    for block in 0..row.blocks() {
        for x in (0..row.width).step_by(2) {
            let pixels = (row.width - x).min(2);
            // SAFETY: `available` has found the feature; arena, weights and row are a
            // `CheckedRow`'s, which has shown that there are `block_len` weights for each block
            // below `row.blocks()`. Pixels `x..x + pixels` are below `row.width`.
            unsafe {
                let weights = weights.as_ptr().add(block * block_len);
                let sums = tile(arena.as_ptr(), weights, row, block, [x, x + pixels - 1], lowest);
                for (p, sums) in sums[..pixels].iter().enumerate() {
                    store(arena.as_mut_ptr(), row, &constants, block, x + p, sums);
                }
            }
        }
    }
}

/// The sums of a block at two pixels, which may be the same. `lowest` says whether a weight is
/// -128.
///
/// # Safety
/// - The CPU has NEON.
/// - `arena` and `row` are those of one [`CheckedRow`]; `weights` are the row's for block `block`.
/// - Both pixels are below `row.width`.
unsafe fn tile(
    arena: *const u8,
    mut weights: *const i8,
    row: &Row,
    block: usize,
    pixels: [usize; 2],
    lowest: bool,
) -> Sums {
    let mut sums = [[0; BLOCK]; 2];
    for sums in &mut sums {
        sums.copy_from_slice(&row.bias[block * BLOCK..(block + 1) * BLOCK]);
    }
    for feed in row.feeds() {
        // SAFETY: `CheckedRow` has shown that each tap of pixels below `row.width` lies in the
        // arena. The weights of the first input precede those of the second.
        unsafe {
            let sources = pixels.map(|x| arena.add(feed.start + x * feed.step));
            weights = match (feed.groups, lowest) {
                (4, false) => accumulate_16(&mut sums, sources, feed, weights),
                (4, true) => accumulate_16_lowest(&mut sums, sources, feed, weights),
                _ => accumulate_4(&mut sums, sources, feed, weights),
            };
        }
    }
    sums
}

/// Defines a function that adds the products of one input to the sums of two pixels and returns the
/// weights that follow. `$chunk` is the code for one tap, whose channels are at `first` and
/// `second`.
macro_rules! accumulate {
    ($name:ident, $($chunk:expr),+) => {
        /// # Safety
        /// - The CPU has NEON.
        /// - Each tap of `feed` may be read from both `sources`, with as many channels as this is
        ///   made for.
        /// - `weights` holds the weights of all these taps for one block of outputs.
        unsafe fn $name(
                sums: &mut Sums,
                sources: [*const u8; 2],
                feed: &Feed,
                weights: *const i8,
            ) -> *const i8 {
            let mut weights = weights;
            if feed.taps.offsets().is_empty() {
                return weights;
            }
            // SAFETY: the code reads each tap of both pixels, the offsets and the taps' weights,
            // all of which the caller has, and writes the sums. All registers that change are
            // named.
            unsafe {
                asm!(
                    ".fpu neon",
                    "vldmia {sums}, {{d16-d31}}",
                    "2:",
                    "ldr {second}, [{taps}], #4",
                    "add {first}, {source0}, {second}",
                    "add {second}, {source1}, {second}",
                    $($chunk,)+
                    "subs {count}, {count}, #1",
                    "bne 2b",
                    "vstmia {sums}, {{d16-d31}}",
                    sums = in(reg) sums.as_mut_ptr(),
                    source0 = in(reg) sources[0],
                    source1 = in(reg) sources[1],
                    taps = inout(reg) feed.taps.offsets().as_ptr() => _,
                    count = inout(reg) feed.taps.offsets().len() => _,
                    weights = inout(reg) weights,
                    first = out(reg) _,
                    second = out(reg) _,
                    out("d0") _,
                    out("d1") _,
                    out("d2") _,
                    out("d3") _,
                    out("d4") _,
                    out("d5") _,
                    out("d6") _,
                    out("d7") _,
                    out("d8") _,
                    out("d9") _,
                    out("d10") _,
                    out("d11") _,
                    out("d12") _,
                    out("d13") _,
                    out("d14") _,
                    out("d15") _,
                    out("d16") _,
                    out("d17") _,
                    out("d18") _,
                    out("d19") _,
                    out("d20") _,
                    out("d21") _,
                    out("d22") _,
                    out("d23") _,
                    out("d24") _,
                    out("d25") _,
                    out("d26") _,
                    out("d27") _,
                    out("d28") _,
                    out("d29") _,
                    out("d30") _,
                    out("d31") _,
                    options(nostack),
                );
            }
            weights
        }
    };
}

accumulate!(accumulate_16, half!(both), half!(both));
accumulate!(accumulate_16_lowest, half!(each), half!(each));
accumulate!(
    accumulate_4,
    "vld1.32 {{d0[0]}}, [{first}]",
    "vld1.32 {{d1[0]}}, [{second}]",
    group!(each, "d0[0]", "d0[1]", "d1[0]", "d1[1]")
);
