//! AVX2 without VNNI: tiles of 6 pixels × 16 outputs, with exact 16-bit products (`vpmaddwd`).
//!
//! ```text
//! for each tile of 6 pixels:
//!     panel = activations under all taps as 16-bit words        [chunk][pixel][channel]
//!     for each block of 16 outputs:
//!         sums = bias                                           6 pixels × 2 registers
//!         for each pair of channels in the panel:
//!             w = the pair's weights for 16 outputs             2 registers
//!             for each pixel: sums += vpmaddwd(the pixel's pair in all lanes, w)
//!         the epilogue turns sums into counts and stores them
//! ```
//!
//! The 8-bit instruction `vpmaddubsw` would saturate on full-range counts and weights. Both factors
//! are therefore 16-bit words: the planner widens weights when it packs them, and this kernel
//! widens activations once per tile, in the panel that all blocks of outputs share.

use core::arch::x86_64::*;

use super::x86_ymm::Epilogue;
use super::{BLOCK, CheckedRow, GROUP, Row};

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("avx2")
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

#[target_feature(enable = "avx2")]
fn spin_registers(rounds: usize) {
    let inputs = core::hint::black_box([_mm256_set1_epi8(3); 12]);
    let (mut weights, one) = core::hint::black_box((_mm256_set1_epi8(5), _mm256_set1_epi8(1)));
    let mut sums = inputs;
    for _ in 0..rounds {
        for (sum, &input) in sums.iter_mut().zip(&inputs) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(input, weights));
        }
        weights = _mm256_add_epi8(weights, one);
    }
    core::hint::black_box(sums);
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.words;
    assert!(available());
    // SAFETY: `available` has found the feature; arena, weights and row are a `CheckedRow`'s.
    unsafe { tiles(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// # Safety
/// - The CPU has AVX2.
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`].
#[target_feature(enable = "avx2")]
unsafe fn tiles(arena: *mut u8, weights: *const i16, row: &Row) {
    let (mut x, epilogue) = (0, Epilogue::new(&row.destination));
    // SAFETY: the caller's conditions are those of `tile`; each tile ends at or before `row.width`.
    unsafe {
        while x + 6 <= row.width {
            tile::<6>(arena, weights, row, &epilogue, x);
            x += 6;
        }
        while x + 2 <= row.width {
            tile::<2>(arena, weights, row, &epilogue, x);
            x += 2;
        }
        if x < row.width {
            tile::<1>(arena, weights, row, &epilogue, x);
        }
    }
}

/// All blocks of `P` pixels from pixel `x` on.
///
/// # Safety
/// - As [`tiles`].
/// - `x + P <= row.width`, and `P` is at most `Packing::Words.pixels()`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn tile<const P: usize>(
    arena: *mut u8,
    weights: *const i16,
    row: &Row,
    epilogue: &Epilogue,
    x: usize,
) {
    let pairs = row.depth() * GROUP / 2;
    // SAFETY: `CheckedRow` has shown that the scratch memory holds the words of
    // `Packing::Words.pixels()` pixels, `2 * pairs` each, that weights and bias cover every block
    // below `row.blocks()`, and that the places of pixels below `row.width` lie in the arena.
    unsafe {
        let panel = arena.add(row.scratch.start);
        widen::<P>(arena, panel, row, x);
        for block in 0..row.blocks() {
            let bias = row.bias.as_ptr().add(block * BLOCK);
            let bias = [_mm256_loadu_si256(bias.cast()), _mm256_loadu_si256(bias.add(8).cast())];
            let mut sums = [bias; P];
            let mut weights = weights.add(block * pairs * BLOCK * 2);
            let mut source = panel;
            for feed in row.feeds() {
                let chunks = feed.taps.offsets().len();
                match feed.groups {
                    4 => (source, weights) = accumulate::<P, 8>(&mut sums, source, chunks, weights),
                    _ => (source, weights) = accumulate::<P, 2>(&mut sums, source, chunks, weights),
                }
            }
            epilogue.store(arena, &row.destination, row.blocks(), block, x, &sums);
        }
    }
}

/// Gathers the activations of `P` pixels as 16-bit words: chunk by chunk, in it pixel by pixel.
///
/// # Safety
/// - As [`tile`].
/// - `P * row.depth() * GROUP` words may be written at `panel`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn widen<const P: usize>(arena: *const u8, mut panel: *mut u8, row: &Row, x: usize) {
    // SAFETY: `CheckedRow` has shown that each tap of pixels `x..x + P` lies in the arena. Each
    // chunk adds `P * groups * GROUP` words to the panel, all chunks together what it has room for.
    unsafe {
        for feed in row.feeds() {
            let source = arena.add(feed.start + x * feed.step);
            for &tap in feed.taps.offsets() {
                let source = source.offset(tap as isize);
                for p in 0..P {
                    let source = source.add(p * feed.step);
                    if feed.groups == 4 {
                        let words = _mm256_cvtepu8_epi16(_mm_loadu_si128(source.cast()));
                        _mm256_storeu_si256(panel.cast(), words);
                        panel = panel.add(32);
                    } else {
                        let words = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(
                            source.cast::<i32>().read_unaligned(),
                        ));
                        _mm_storel_epi64(panel.cast(), words);
                        panel = panel.add(8);
                    }
                }
            }
        }
    }
}

/// Adds the products of `chunks` chunks of `G` pairs; returns the panel and the weights that
/// remain.
///
/// # Safety
/// - The CPU has AVX2.
/// - `panel` holds `chunks * P * G` pairs of words.
/// - `weights` holds `chunks * G` pairs of words for each of 16 outputs.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn accumulate<const P: usize, const G: usize>(
    sums: &mut [[__m256i; 2]; P],
    mut panel: *const u8,
    chunks: usize,
    mut weights: *const i16,
) -> (*mut u8, *const i16) {
    // SAFETY: each chunk reads `P * G` pairs of the panel and `G * BLOCK` of the weights, and there
    // are `chunks` chunks of both.
    unsafe {
        for _ in 0..chunks {
            for g in 0..G {
                let w = weights.add(g * BLOCK * 2);
                let w = [_mm256_loadu_si256(w.cast()), _mm256_loadu_si256(w.add(BLOCK).cast())];
                for (p, sums) in sums.iter_mut().enumerate() {
                    let pair = _mm256_set1_epi32(
                        panel.add((p * G + g) * 4).cast::<i32>().read_unaligned(),
                    );
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(pair, w[0]));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(pair, w[1]));
                }
            }
            panel = panel.add(P * G * 4);
            weights = weights.add(G * BLOCK * 2);
        }
    }
    (panel.cast_mut(), weights)
}
