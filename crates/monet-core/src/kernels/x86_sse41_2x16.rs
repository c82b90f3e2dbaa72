//! SSE4.1: tiles of 2 pixels × 16 outputs, with exact 16-bit products (`pmaddwd`).
//!
//! ```text
//! for each tile of 2 pixels:
//!     panel = activations under all taps as 16-bit words        [pixel][chunk][channel]
//!     for each block of 16 outputs:
//!         sums = bias                                           2 pixels × 4 registers
//!         for each pair of channels:
//!             w = the pair's weights for 16 outputs             4 registers
//!             for each pixel: sums += pmaddwd(the pixel's pair in all lanes, w)
//!         the epilogue turns sums into counts and stores them
//! ```
//!
//! Factors are 16-bit words for the reason that the AVX2 kernel gives.

use core::arch::x86_64::*;

use super::super::requant::{Curve, Requantize};
use super::{BLOCK, CheckedRow, Destination, GROUP, Row};

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("sse4.1", "ssse3")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the features.
    unsafe { spin_registers(rounds) };
    (rounds * 8 * 8) as u64
}

#[target_feature(enable = "sse4.1,ssse3")]
fn spin_registers(rounds: usize) {
    let inputs = core::hint::black_box([_mm_set1_epi8(3); 8]);
    let (mut weights, one) = core::hint::black_box((_mm_set1_epi8(5), _mm_set1_epi8(1)));
    let mut sums = inputs;
    for _ in 0..rounds {
        for (sum, &input) in sums.iter_mut().zip(&inputs) {
            *sum = _mm_add_epi32(*sum, _mm_madd_epi16(input, weights));
        }
        weights = _mm_add_epi8(weights, one);
    }
    core::hint::black_box(sums);
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.words;
    assert!(available());
    // SAFETY: `available` has found the features; arena, weights and row are a `CheckedRow`'s.
    unsafe { tiles(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// # Safety
/// - The CPU has SSE4.1 and SSSE3.
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`].
#[target_feature(enable = "sse4.1,ssse3")]
unsafe fn tiles(arena: *mut u8, weights: *const i16, row: &Row) {
    let mut x = 0;
    // SAFETY: the caller's conditions are those of `tile`; each tile ends at or before `row.width`.
    unsafe {
        while x + 2 <= row.width {
            tile::<2>(arena, weights, row, x);
            x += 2;
        }
        if x < row.width {
            tile::<1>(arena, weights, row, x);
        }
    }
}

/// All blocks of `P` pixels from pixel `x` on.
///
/// # Safety
/// - As [`tiles`].
/// - `x + P <= row.width`, and `P` is at most `Packing::Words.pixels()`.
#[target_feature(enable = "sse4.1,ssse3")]
#[inline]
unsafe fn tile<const P: usize>(arena: *mut u8, weights: *const i16, row: &Row, x: usize) {
    let pairs = row.depth() * GROUP / 2;
    // SAFETY: `CheckedRow` has shown that the scratch memory holds the words of
    // `Packing::Words.pixels()` pixels, `2 * pairs` each, that weights and bias cover every block
    // below `row.blocks()`, and that the places of pixels below `row.width` lie in the arena.
    unsafe {
        let panel = arena.add(row.scratch.start);
        widen::<P>(arena, panel, row, x);
        for block in 0..row.blocks() {
            let bias = row.bias.as_ptr().add(block * BLOCK);
            let bias = [0, 4, 8, 12].map(|i| _mm_loadu_si128(bias.add(i).cast()));
            let mut sums = [bias; P];
            let weights = weights.add(block * pairs * BLOCK * 2);
            for pair in 0..pairs {
                let w = weights.add(pair * BLOCK * 2);
                let w = [0, 8, 16, 24].map(|i| _mm_loadu_si128(w.add(i).cast()));
                for (p, sums) in sums.iter_mut().enumerate() {
                    let pair = _mm_set1_epi32(
                        panel.add((p * pairs + pair) * 4).cast::<i32>().read_unaligned(),
                    );
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm_add_epi32(*sum, _mm_madd_epi16(pair, w));
                    }
                }
            }
            for (p, sums) in sums.iter().enumerate() {
                store(arena, row, block, x + p, sums);
            }
        }
    }
}

/// Gathers the activations of `P` pixels as 16-bit words: pixel by pixel.
///
/// # Safety
/// - As [`tile`].
/// - `P * row.depth() * GROUP` words may be written at `panel`.
#[target_feature(enable = "sse4.1,ssse3")]
#[inline]
unsafe fn widen<const P: usize>(arena: *const u8, mut panel: *mut u8, row: &Row, x: usize) {
    // SAFETY: `CheckedRow` has shown that each tap of pixels `x..x + P` lies in the arena. Each
    // pixel adds `row.depth() * GROUP` words to the panel.
    unsafe {
        for p in 0..P {
            for feed in row.feeds() {
                let source = arena.add(feed.start + (x + p) * feed.step);
                for &tap in feed.taps.offsets() {
                    let source = source.offset(tap as isize);
                    if feed.groups == 4 {
                        let bytes = _mm_loadu_si128(source.cast());
                        _mm_storeu_si128(panel.cast(), _mm_cvtepu8_epi16(bytes));
                        _mm_storeu_si128(
                            panel.add(16).cast(),
                            _mm_unpackhi_epi8(bytes, _mm_setzero_si128()),
                        );
                        panel = panel.add(32);
                    } else {
                        let bytes = _mm_cvtsi32_si128(source.cast::<i32>().read_unaligned());
                        _mm_storel_epi64(panel.cast(), _mm_cvtepu8_epi16(bytes));
                        panel = panel.add(8);
                    }
                }
            }
        }
    }
}

/// Requantizes and stores one pixel of a block.
///
/// # Safety
/// - The CPU has SSE4.1 and SSSE3.
/// - `arena` and `row` are those of one [`CheckedRow`].
/// - `block < row.blocks()` and `x < row.width`.
#[target_feature(enable = "sse4.1,ssse3")]
#[inline]
unsafe fn store(arena: *mut u8, row: &Row, block: usize, x: usize, sums: &[__m128i; 4]) {
    // SAFETY: `CheckedRow` has shown that the scales cover all blocks, and that all blocks of each
    // pixel below `row.width`, in the output and in the residual where one is added, lie in the
    // arena.
    unsafe {
        let scales = row.destination.stage().scales.as_ptr().add(block * BLOCK);
        let mut reals = [_mm_setzero_ps(); 4];
        for (i, real) in reals.iter_mut().enumerate() {
            *real = _mm_mul_ps(_mm_cvtepi32_ps(sums[i]), _mm_loadu_ps(scales.add(4 * i)));
        }
        match row.destination {
            Destination::Quantized { stage, start, step, residual } => {
                let other = match stage.rules.sum {
                    Some(_) => _mm_loadu_si128(
                        arena.add(residual[0] + x * residual[1] + block * BLOCK).cast(),
                    ),
                    None => _mm_setzero_si128(),
                };
                let out = arena.add(start + x * step + block * BLOCK);
                _mm_storeu_si128(out.cast(), counts(stage, reals, other));
            }
            Destination::Float { start, .. } => {
                let out: *mut f32 = arena.add(start + (x * row.blocks() + block) * 64).cast();
                for (i, real) in reals.into_iter().enumerate() {
                    _mm_storeu_ps(out.add(4 * i), real);
                }
            }
        }
    }
}

/// The counts of one pixel.
#[target_feature(enable = "sse4.1,ssse3")]
#[inline]
fn counts(stage: &Requantize, reals: [__m128; 4], other: __m128i) -> __m128i {
    let zero = _mm_setzero_si128();
    let fixed = reals.map(|real| _mm_cvtps_epi32(real));
    let mut low = curve(&stage.rules.curve, _mm_packs_epi32(fixed[0], fixed[1]));
    let mut high = curve(&stage.rules.curve, _mm_packs_epi32(fixed[2], fixed[3]));
    let (mut round, mut zero_point) = (stage.rules.round, stage.rules.zero_point);
    if let Some(sum) = &stage.rules.sum {
        let add = |r: __m128i, other: __m128i| {
            let value = _mm_mulhrs_epi16(r, _mm_set1_epi16(stage.rules.round));
            let value = _mm_max_epi16(value, _mm_set1_epi16(-stage.rules.zero_point));
            let value = _mm_min_epi16(value, _mm_set1_epi16(255 - stage.rules.zero_point));
            let second = _mm_mulhrs_epi16(
                _mm_xor_si128(other, _mm_set1_epi16(i16::MIN)),
                _mm_set1_epi16(sum.second),
            );
            let first = _mm_mulhrs_epi16(_mm_slli_epi16::<7>(value), _mm_set1_epi16(sum.first));
            _mm_adds_epi16(first, _mm_adds_epi16(second, _mm_set1_epi16(sum.offset)))
        };
        low = add(low, _mm_unpacklo_epi8(zero, other));
        high = add(high, _mm_unpackhi_epi8(zero, other));
        (round, zero_point) = (sum.round, sum.zero_point);
    }
    let finish = |r: __m128i| {
        _mm_add_epi16(_mm_mulhrs_epi16(r, _mm_set1_epi16(round)), _mm_set1_epi16(zero_point))
    };
    _mm_packus_epi16(finish(low), finish(high))
}

/// The activation, lane by lane as [`Requantize::apply`] defines it.
#[target_feature(enable = "sse4.1,ssse3")]
#[inline]
fn curve(curve: &Curve, t: __m128i) -> __m128i {
    let zero = _mm_setzero_si128();
    match curve {
        Curve::Linear => t,
        Curve::Relu => _mm_max_epi16(t, zero),
        Curve::Elu(elu) => {
            let n = _mm_min_epi16(t, zero);
            let mut e = _mm_set1_epi16(elu.cubic[0]);
            for c in [elu.cubic[1], elu.cubic[2], i16::MAX] {
                e = _mm_add_epi16(_mm_mulhrs_epi16(e, n), _mm_set1_epi16(c));
            }
            for _ in 0..elu.squarings {
                e = _mm_mulhrs_epi16(e, e);
            }
            let fall = _mm_mulhrs_epi16(
                _mm_sub_epi16(_mm_set1_epi16(elu.one), e),
                _mm_set1_epi16(elu.depth),
            );
            _mm_sub_epi16(_mm_max_epi16(t, zero), fall)
        }
    }
}
