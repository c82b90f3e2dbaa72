//! AVX-VNNI: tiles of 6 pixels × 16 outputs, sums in 12 ymm registers.
//!
//! ```text
//! for each block of 16 outputs, each tile of 6 pixels:
//!     sums = bias                                               6 pixels × 2 registers
//!     for each tap, each group of 4 channels:
//!         w = the group's weights for 16 outputs                2 registers
//!         for each pixel: sums += vpdpbusd(the pixel's group in all lanes, w)
//!     the epilogue turns sums into counts and stores them
//! ```

use core::arch::x86_64::*;

use super::x86_ymm::Epilogue;
use super::{BLOCK, CheckedRow, Feed, GROUP, Row};

/// Bytes of weights for one group of 4 input channels.
const VECTOR: usize = BLOCK * GROUP;

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("avx2", "avxvnni")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the features.
    unsafe { spin_registers(rounds) };
    (rounds * 12 * 32) as u64
}

#[target_feature(enable = "avx2,avxvnni")]
fn spin_registers(rounds: usize) {
    let inputs = core::hint::black_box([_mm256_set1_epi8(3); 12]);
    let (mut weights, one) = core::hint::black_box((_mm256_set1_epi8(5), _mm256_set1_epi8(1)));
    let mut sums = inputs;
    for _ in 0..rounds {
        for (sum, &input) in sums.iter_mut().zip(&inputs) {
            *sum = _mm256_dpbusd_avx_epi32(*sum, input, weights);
        }
        weights = _mm256_add_epi8(weights, one);
    }
    core::hint::black_box(sums);
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes;
    assert!(available());
    // SAFETY: `available` has found the features; arena, weights and row are a `CheckedRow`'s.
    unsafe { tiles(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// # Safety
/// - The CPU has AVX2 and AVX-VNNI.
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`].
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tiles(arena: *mut u8, weights: *const i8, row: &Row) {
    let (block_len, epilogue) = (row.depth() * VECTOR, Epilogue::new(&row.destination));
    for block in 0..row.blocks() {
        let mut x = 0;
        // SAFETY: `CheckedRow` has shown that there are `block_len` weights for each block below
        // `row.blocks()`; each tile ends at or before `row.width`.
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
/// - As [`tiles`], but `weights` are those of block `block`.
/// - `block < row.blocks()` and `x + P <= row.width`.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn tile<const P: usize>(
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
        let bias = [_mm256_loadu_si256(bias.cast()), _mm256_loadu_si256(bias.add(8).cast())];
        let mut sums = [bias; P];
        for feed in row.feeds() {
            let source = arena.add(feed.start + x * feed.step);
            weights = match feed.groups {
                4 => accumulate::<P, 4>(&mut sums, source, feed, weights),
                _ => accumulate::<P, 1>(&mut sums, source, feed, weights),
            };
        }
        epilogue.store(arena, &row.destination, row.blocks(), block, x, &sums);
    }
}

/// Adds the products of one input whose chunks have `G` groups; returns the weights that remain.
///
/// # Safety
/// - The CPU has AVX2 and AVX-VNNI.
/// - `feed` is an input of a [`CheckedRow`]; `source` is its place under the first of `P` pixels of
///   the row.
/// - `weights` holds `feed.taps.offsets().len() * G` vectors of [`VECTOR`] bytes.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn accumulate<const P: usize, const G: usize>(
    sums: &mut [[__m256i; 2]; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
) -> *const i8 {
    // SAFETY: `CheckedRow` has shown that each tap of the `P` pixels lies in the arena. Each tap
    // reads `G` vectors of weights.
    unsafe {
        for &tap in feed.taps.offsets() {
            let source = source.offset(tap as isize);
            for g in 0..G {
                let w = weights.add(g * VECTOR);
                let w = [_mm256_loadu_si256(w.cast()), _mm256_loadu_si256(w.add(32).cast())];
                for (p, sums) in sums.iter_mut().enumerate() {
                    let group =
                        source.add(p * feed.step + g * GROUP).cast::<i32>().read_unaligned();
                    let group = _mm256_set1_epi32(group);
                    sums[0] = _mm256_dpbusd_avx_epi32(sums[0], group, w[0]);
                    sums[1] = _mm256_dpbusd_avx_epi32(sums[1], group, w[1]);
                }
            }
            weights = weights.add(G * VECTOR);
        }
    }
    weights
}
