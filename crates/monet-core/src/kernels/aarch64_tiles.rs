//! What the kernels of 64-bit ARM share: how tiles of 4 or 6 pixels × 16 outputs cover a row, and
//! the loops over taps.
//!
//! ```text
//! pixels   0  1  2  3  4  5  6  7  8  9
//! tiles   [first tile ]
//!                     [second tile]
//!                           [third tile ]     begins early, so as to end with the row
//! ```
//!
//! The last tile computes some pixels a second time. A row of fewer than 4 pixels goes pixel by
//! pixel instead, each in a tile whose 4 pixels are the same one.
//!
//! Where a kernel has tiles of 6 pixels, they come first, and as many of 4 last as leave none over:
//! a row of 128 has 20 of 6 and 2 of 4.

use core::arch::aarch64::*;

use super::aarch64_epilogue::{Epilogue, Sums};
use super::{BLOCK, Feed, GROUP, Row};

/// Pixels of a small tile, and of a large one.
const SMALL: usize = 4;
const LARGE: usize = 6;

/// Adds the products of one input to the sums of a tile's pixels. Its arguments are:
///
/// - where the sums go, one pixel's after the other,
/// - what they are before: one pixel's, and how many bytes on the next one's begin; 0 for the
///   biases of a block,
/// - the input's place under the first pixel,
/// - bytes from there to the next pixel's place, 0 for the same pixel every time,
/// - the input, of a [`CheckedRow`](super::CheckedRow): each tap of the pixels lies in the arena,
/// - the weights of all its taps for one block of outputs.
///
/// Returns the weights that follow.
pub(super) type Accumulate =
    unsafe fn(*mut Sums, (*const Sums, usize), *const u8, usize, &Feed, *const i8) -> *const i8;

/// Fills a row. `large`, where a kernel has it, accumulates tiles of 6 pixels whose inputs all have
/// chunks of 16 channels, `small` those of 4. `OFFSET` is the kernel's
/// [`offset`](super::Kernel::offset).
///
/// # Safety
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`](super::CheckedRow).
/// - The CPU has NEON and what else `small` and `large` need.
#[target_feature(enable = "neon")]
pub(super) unsafe fn cover<const OFFSET: u8>(
    arena: *mut u8,
    weights: *const i8,
    row: &Row,
    small: Accumulate,
    large: Option<Accumulate>,
) {
    let block_len = row.depth() * GROUP * BLOCK;
    let epilogue = Epilogue::<OFFSET>::new(&row.destination);
    let large = large.filter(|_| row.feeds().iter().all(|feed| feed.groups == BLOCK / GROUP));
    let mut sums = [[vdupq_n_s32(0); 4]; LARGE];
    let to = sums.as_mut_ptr();
    for block in 0..row.blocks() {
        let mut x = 0;
        while x < row.width {
            // In a row that is shorter than a tile, all pixels of the tile are pixel `x`.
            let step = if row.width < SMALL { 0 } else { 1 };
            let left = row.width - x;
            let (pixels, accumulate) = match large {
                Some(large) if left >= LARGE && left != 2 * SMALL => (LARGE, large),
                _ => (SMALL, small),
            };
            x = if step == 0 { x } else { x.min(row.width - pixels) };
            // SAFETY: `CheckedRow` has shown that there are biases and `block_len` weights for each
            // block below `row.blocks()`, and that the places of pixels below `row.width` lie in
            // the arena. The tile's pixels, and those that are stored, are below `row.width`. There
            // are sums for `LARGE` pixels.
            unsafe {
                let mut from = (row.bias.as_ptr().add(block * BLOCK).cast(), 0);
                let mut weights = weights.add(block * block_len);
                for feed in row.feeds() {
                    let source = arena.add(feed.start + x * feed.step);
                    weights = accumulate(to, from, source, step * feed.step, feed, weights);
                    from = (to.cast_const(), size_of::<Sums>());
                }
                let sums = &*to.cast::<[Sums; LARGE]>();
                let pixels = if step == 0 { 1 } else { pixels };
                epilogue.store(arena, &row.destination, row.blocks(), block, x, &sums[..pixels]);
                x += pixels;
            }
        }
    }
}

/// Copies the sums of some pixels, as an [`Accumulate`] does that has no taps.
///
/// # Safety
/// Sums of so many pixels may be written at the first place and read at the second.
pub(super) unsafe fn copy(sums: *mut Sums, (from, apart): (*const Sums, usize), pixels: usize) {
    for p in 0..pixels {
        // SAFETY: the caller has the sums at both places.
        unsafe { sums.add(p).write(from.byte_add(p * apart).read_unaligned()) };
    }
}

/// Defines an [`Accumulate`] of 4 pixels in assembly, as a loop over taps.
///
/// - `$width` is the size of a chunk: `q` for 16 channels, `s` for 4.
/// - `$tap` is the code for one tap. It finds the 4 pixels' bytes in v0 to v3, the sums
///   in v16 to v31, four registers a pixel, and the first 64 bytes of weights in v4 to v7. It may
///   use v4 to v15, and advances `weights` by the tap's.
macro_rules! accumulate {
    ($name:ident, $feature:literal, $width:literal, $($tap:expr),+ $(,)?) => {
        /// # Safety
        /// - The CPU has the feature.
        /// - The conditions of [`Accumulate`] hold, for chunks of the size that this is made for.
        #[target_feature(enable = $feature)]
        unsafe fn $name(
            sums: *mut Sums,
            (from, apart): (*const Sums, usize),
            source: *const u8,
            step: usize,
            feed: &Feed,
            mut weights: *const i8,
        ) -> *const i8 {
            if feed.taps.offsets().is_empty() {
                // SAFETY: the caller has 4 pixels' sums at both places.
                unsafe { super::aarch64_tiles::copy(sums, (from, apart), 4) };
                return weights;
            }
            // SAFETY: the code reads each tap of the 4 pixels, the offsets, the taps' weights and
            // the sums before, all of which the caller has, and writes the 4 pixels' sums. Loads of
            // weights ahead stay within the tap's. All registers that change are named.
            unsafe {
                core::arch::asm!(
                    "ldp q16, q17, [{from}]", "ldp q18, q19, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q20, q21, [{from}]", "ldp q22, q23, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q24, q25, [{from}]", "ldp q26, q27, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q28, q29, [{from}]", "ldp q30, q31, [{from}, #32]",
                    "2:",
                    "ldrsw {at}, [{taps}], #4",
                    "add {at}, {source}, {at}",
                    concat!("ldr ", $width, "0, [{at}]"),
                    concat!("ldr ", $width, "1, [{at}, {step}]"),
                    "add {at}, {at}, {step}, lsl #1",
                    concat!("ldr ", $width, "2, [{at}]"),
                    concat!("ldr ", $width, "3, [{at}, {step}]"),
                    "ldp q4, q5, [{weights}]",
                    "ldp q6, q7, [{weights}, #32]",
                    $($tap,)+
                    "subs {count}, {count}, #1",
                    "b.ne 2b",
                    "stp q16, q17, [{sums}]", "stp q18, q19, [{sums}, #32]",
                    "stp q20, q21, [{sums}, #64]", "stp q22, q23, [{sums}, #96]",
                    "stp q24, q25, [{sums}, #128]", "stp q26, q27, [{sums}, #160]",
                    "stp q28, q29, [{sums}, #192]", "stp q30, q31, [{sums}, #224]",
                    sums = in(reg) sums,
                    from = inout(reg) from => _,
                    apart = in(reg) apart,
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

/// Defines an [`Accumulate`] of 6 pixels and chunks of 16 channels in assembly, as a loop over
/// taps. The sums stand in v8 to v31, four registers a pixel.
///
/// - `$begin` and `$end` are what is done to the sums before the loop, and undone after it.
/// - `$tap` is the code for one tap. It loads the six pixels, which stand at `x0` to `x5`, all plus
///   `tap`, and may use v0 to v7. It finds `weights` `$ahead` bytes behind the tap's first, so that
///   its last load can count them on.
macro_rules! accumulate_6 {
    ($name:ident, $feature:literal, $begin:expr, $ahead:literal, $tap:expr, $end:expr) => {
        /// # Safety
        /// - The CPU has the feature.
        /// - The conditions of [`Accumulate`](super::aarch64_tiles::Accumulate) hold, for 6 pixels
        ///   and chunks of 16 channels.
        #[target_feature(enable = $feature)]
        unsafe fn $name(
            sums: *mut Sums,
            (from, apart): (*const Sums, usize),
            source: *const u8,
            step: usize,
            feed: &Feed,
            weights: *const i8,
        ) -> *const i8 {
            if feed.taps.offsets().is_empty() {
                // SAFETY: the caller has 6 pixels' sums at both places.
                unsafe { super::aarch64_tiles::copy(sums, (from, apart), 6) };
                return weights;
            }
            let mut weights = weights.wrapping_add($ahead);
            // SAFETY: the code reads each tap of the 6 pixels, the offsets, the taps' weights and
            // the sums before, all of which the caller has, and writes the 6 pixels' sums. All
            // registers that change are named.
            unsafe {
                core::arch::asm!(
                    "ldp q8, q9, [{from}]", "ldp q10, q11, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q12, q13, [{from}]", "ldp q14, q15, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q16, q17, [{from}]", "ldp q18, q19, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q20, q21, [{from}]", "ldp q22, q23, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q24, q25, [{from}]", "ldp q26, q27, [{from}, #32]",
                    "add {from}, {from}, {apart}",
                    "ldp q28, q29, [{from}]", "ldp q30, q31, [{from}, #32]",
                    $begin,
                    "2:",
                    "ldrsw {tap}, [{taps}], #4",
                    $tap,
                    "subs {count}, {count}, #1",
                    "b.ne 2b",
                    $end,
                    "stp q8, q9, [{sums}]", "stp q10, q11, [{sums}, #32]",
                    "stp q12, q13, [{sums}, #64]", "stp q14, q15, [{sums}, #96]",
                    "stp q16, q17, [{sums}, #128]", "stp q18, q19, [{sums}, #160]",
                    "stp q20, q21, [{sums}, #192]", "stp q22, q23, [{sums}, #224]",
                    "stp q24, q25, [{sums}, #256]", "stp q26, q27, [{sums}, #288]",
                    "stp q28, q29, [{sums}, #320]", "stp q30, q31, [{sums}, #352]",
                    sums = in(reg) sums,
                    from = inout(reg) from => _,
                    apart = in(reg) apart,
                    x0 = in(reg) source,
                    x1 = in(reg) source.wrapping_add(step),
                    x2 = in(reg) source.wrapping_add(2 * step),
                    x3 = in(reg) source.wrapping_add(3 * step),
                    x4 = in(reg) source.wrapping_add(4 * step),
                    x5 = in(reg) source.wrapping_add(5 * step),
                    taps = inout(reg) feed.taps.offsets().as_ptr() => _,
                    count = inout(reg) feed.taps.offsets().len() => _,
                    weights = inout(reg) weights,
                    tap = out(reg) _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                    out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _,
                    out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
                    out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _,
                    out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _,
                    out("v31") _,
                    options(nostack),
                );
            }
            weights.wrapping_sub($ahead)
        }
    };
}
pub(super) use accumulate_6;
