//! What the NEON and the dot-product kernel share: how tiles of 4 pixels × 16 outputs cover a row.

use core::arch::aarch64::*;

use super::aarch64_epilogue::{Epilogue, Sums};
use super::{BLOCK, Feed, GROUP, Row};

/// Pixels of a tile.
const PIXELS: usize = 4;
/// The sums of a tile.
pub(super) type Tile = [Sums; PIXELS];

/// Adds the products of one input at 4 pixels, the first at a place and the others each a step
/// further; returns the weights that remain.
pub(super) type Accumulate = unsafe fn(&mut Tile, *const u8, usize, &Feed, *const i8) -> *const i8;

/// Fills a row.
///
/// # Safety
/// The row has been checked against the arena, `weights` are the row's, and the CPU has what
/// `accumulate` needs.
#[target_feature(enable = "neon")]
pub(super) unsafe fn cover(arena: *mut u8, weights: *const i8, row: &Row, accumulate: Accumulate) {
    let (block_len, epilogue) = (row.depth() * GROUP * BLOCK, Epilogue::new(&row.destination));
    for block in 0..row.blocks() {
        let mut x = 0;
        while x < row.width {
            // The last tile lies at the row's end, over pixels that are done; a row shorter than a
            // tile goes pixel by pixel.
            let step = if row.width < PIXELS { 0 } else { 1 };
            x = if step == 0 { x } else { x.min(row.width - PIXELS) };
            // SAFETY: blocks below `row.blocks()` have their weights; the tile ends at or before
            // `row.width`.
            unsafe {
                let bias = row.bias.as_ptr().add(block * BLOCK);
                let bias = |i: usize| vld1q_s32(bias.add(4 * i));
                let mut sums = [[bias(0), bias(1), bias(2), bias(3)]; PIXELS];
                let mut weights = weights.add(block * block_len);
                for feed in row.feeds() {
                    let source = arena.add(feed.start + x * feed.step);
                    weights = accumulate(&mut sums, source, step * feed.step, feed, weights);
                }
                if step == 0 {
                    epilogue.store(arena, &row.destination, row.blocks(), block, x, &[sums[0]]);
                    x += 1;
                } else {
                    epilogue.store(arena, &row.destination, row.blocks(), block, x, &sums);
                    x += PIXELS;
                }
            }
        }
    }
}

/// Defines an [`Accumulate`] in assembly: loops over taps, sums in v16 to v31, pixel by pixel, and
/// the 4 pixels' counts less 128 in v0 to v3. The code of one tap may use v4 to v15 and advances
/// `weights`.
macro_rules! accumulate {
    ($name:ident, $feature:literal, $width:literal, $($tap:expr),+ $(,)?) => {
        /// # Safety
        /// The CPU has the feature; every tap of the pixels may be read, and the weights are the
        /// taps'.
        #[target_feature(enable = $feature)]
        unsafe fn $name(
            sums: &mut Tile,
            source: *const u8,
            step: usize,
            feed: &Feed,
            mut weights: *const i8,
        ) -> *const i8 {
            if feed.taps.offsets().is_empty() {
                return weights;
            }
            // SAFETY: reads what the caller vouches for, writes the sums; all registers are named.
            unsafe {
                core::arch::asm!(
                    "ldp q16, q17, [{sums}]", "ldp q18, q19, [{sums}, #32]",
                    "ldp q20, q21, [{sums}, #64]", "ldp q22, q23, [{sums}, #96]",
                    "ldp q24, q25, [{sums}, #128]", "ldp q26, q27, [{sums}, #160]",
                    "ldp q28, q29, [{sums}, #192]", "ldp q30, q31, [{sums}, #224]",
                    "2:",
                    "ldrsw {at}, [{taps}], #4",
                    "movi v15.16b, #0x80",
                    "add {at}, {source}, {at}",
                    concat!("ldr ", $width, "0, [{at}]"),
                    concat!("ldr ", $width, "1, [{at}, {step}]"),
                    "add {at}, {at}, {step}, lsl #1",
                    concat!("ldr ", $width, "2, [{at}]"),
                    concat!("ldr ", $width, "3, [{at}, {step}]"),
                    "ldp q4, q5, [{weights}]",
                    "ldp q6, q7, [{weights}, #32]",
                    "eor v0.16b, v0.16b, v15.16b",
                    "eor v1.16b, v1.16b, v15.16b",
                    "eor v2.16b, v2.16b, v15.16b",
                    "eor v3.16b, v3.16b, v15.16b",
                    $($tap,)+
                    "subs {count}, {count}, #1",
                    "b.ne 2b",
                    "stp q16, q17, [{sums}]", "stp q18, q19, [{sums}, #32]",
                    "stp q20, q21, [{sums}, #64]", "stp q22, q23, [{sums}, #96]",
                    "stp q24, q25, [{sums}, #128]", "stp q26, q27, [{sums}, #160]",
                    "stp q28, q29, [{sums}, #192]", "stp q30, q31, [{sums}, #224]",
                    sums = in(reg) sums.as_mut_ptr(),
                    source = in(reg) source,
                    step = in(reg) step,
                    taps = inout(reg) feed.taps.offsets().as_ptr() => _,
                    count = inout(reg) feed.taps.offsets().len() => _,
                    weights = inout(reg) weights,
                    at = out(reg) _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                    out("v12") _, out("v13") _, out("v14") _,
                    out("v15") _, out("v16") _, out("v17") _, out("v18") _,
                    out("v19") _, out("v20") _, out("v21") _,
                    out("v22") _, out("v23") _, out("v24") _, out("v25") _,
                    out("v26") _, out("v27") _, out("v28") _,
                    out("v29") _, out("v30") _, out("v31") _,
                    options(nostack),
                );
            }
            weights
        }
    };
}
pub(super) use accumulate;
