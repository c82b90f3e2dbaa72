//! What the 256-bit kernels share: the epilogue, which turns sums into counts.
//!
//! The epilogue works on 16 outputs of two pixels at a time, lane by lane as
//! [`Requantize::apply`] defines:
//!
//! ```text
//! sums of two pixels, i32 ── scale, pack ──> 2 × 16 fixed-point counts, i16
//!                         ── activation, residual ──> 2 × 16 counts, i16
//!                         ── round, pack ──> 32 counts, u8
//! ```

use core::arch::x86_64::*;

use super::super::requant::{Curve, Requantize};
use super::{BLOCK, Destination};

/// A stage with its constants spread over all lanes of a register.
pub(super) struct Epilogue<'a> {
    stage: &'a Requantize<'a>,
    /// Factors that remove the fraction bits: the layer's, then the residual sum's.
    rounds: [__m256i; 2],
    /// Zero points: the layer's, then the residual sum's.
    zero_points: [__m256i; 2],
    /// Lowest and highest value of the layer's count minus its zero point.
    bounds: [__m256i; 2],
    /// Of ELU, as `one` and `depth`, see [`Elu`](super::super::requant::Elu).
    cubic: [__m256i; 3],
    one: __m256i,
    depth: __m256i,
    /// Of the residual sum, as `offset`, see [`Sum`](super::super::requant::Sum).
    factors: [__m256i; 2],
    offset: __m256i,
}

impl<'a> Epilogue<'a> {
    /// The epilogue of a destination's stage.
    #[target_feature(enable = "avx2")]
    pub(super) fn new(destination: &Destination<'a>) -> Self {
        let stage = destination.stage();
        let all = |value: i16| _mm256_set1_epi16(value);
        let (cubic, one, depth) = match &stage.rules.curve {
            Curve::Elu(elu) => (elu.cubic, elu.one, elu.depth),
            _ => ([0; 3], 0, 0),
        };
        let [round, zero_point, first, second, offset] = stage
            .rules
            .sum
            .map_or([0; 5], |s| [s.round, s.zero_point, s.first, s.second, s.offset]);
        Self {
            stage,
            rounds: [all(stage.rules.round), all(round)],
            zero_points: [all(stage.rules.zero_point), all(zero_point)],
            bounds: [all(-stage.rules.zero_point), all(255 - stage.rules.zero_point)],
            cubic: [all(cubic[0]), all(cubic[1]), all(cubic[2])],
            one: all(one),
            depth: all(depth),
            factors: [all(first), all(second)],
            offset: all(offset),
        }
    }

    /// Requantizes and stores `P` pixels of a block from pixel `x` on.
    ///
    /// # Safety
    /// - The CPU has AVX2.
    /// - `self` was made for the stage of `destination`.
    /// - A [`CheckedRow`](super::CheckedRow) or [`CheckedStrip`](super::winograd::CheckedStrip) has
    ///   shown that the pixels `x..x + P` of `destination`, and of the residual where the stage
    ///   adds one, lie in the arena, each with `blocks` blocks, and that the scales cover these.
    /// - `block < blocks`.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) unsafe fn store<const P: usize>(
        &self,
        arena: *mut u8,
        destination: &Destination,
        blocks: usize,
        block: usize,
        x: usize,
        sums: &[[__m256i; 2]; P],
    ) {
        // SAFETY: the caller has it checked that `blocks` blocks of pixels `x..x + P` lie in the
        // arena and that their scales exist; block `block` is one of them. `other` is read only
        // where the stage adds a residual, and then lies in the arena likewise.
        unsafe {
            let scales = self.stage.scales.as_ptr().add(block * BLOCK);
            let scales = [_mm256_loadu_ps(scales), _mm256_loadu_ps(scales.add(8))];
            match *destination {
                Destination::Quantized {
                    start, step, residual: [residual, residual_step], ..
                } => {
                    let out = arena.add(start + x * step + block * BLOCK);
                    let other: *const u8 = arena.add(residual + x * residual_step + block * BLOCK);
                    let (mut places, steps) = ((out, other), [step, residual_step]);
                    let mut rest = &sums[..];
                    while let Some((four, after)) = rest.split_first_chunk::<4>() {
                        places = self.pixels(&scales, four, places, steps);
                        rest = after;
                    }
                    if let Some((two, after)) = rest.split_first_chunk::<2>() {
                        places = self.pixels(&scales, two, places, steps);
                        rest = after;
                    }
                    if let Some(one) = rest.first_chunk::<1>() {
                        self.pixels(&scales, one, places, steps);
                    }
                }
                Destination::Float { start, .. } => {
                    for (p, pixel) in sums.iter().enumerate() {
                        let out: *mut f32 =
                            arena.add(start + ((x + p) * blocks + block) * 64).cast();
                        _mm256_storeu_ps(
                            out,
                            _mm256_mul_ps(_mm256_cvtepi32_ps(pixel[0]), scales[0]),
                        );
                        _mm256_storeu_ps(
                            out.add(8),
                            _mm256_mul_ps(_mm256_cvtepi32_ps(pixel[1]), scales[1]),
                        );
                    }
                }
            }
        }
    }

    /// Requantizes and stores `P` pixels, 1, 2 or 4, and returns the places of the next ones. Four
    /// go side by side: their chains of operations are long, and a core looks only so far ahead for
    /// others to do meanwhile.
    ///
    /// The places and steps are those of the results, then those of the residual.
    ///
    /// # Safety
    /// - The CPU has AVX2.
    /// - For each pixel, 16 bytes may be written at the first place, and 16 may be read at the
    ///   second where the stage adds a residual.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn pixels<const P: usize>(
        &self,
        scales: &[__m256; 2],
        sums: &[[__m256i; 2]; P],
        (out, other): (*mut u8, *const u8),
        [step, other_step]: [usize; 2],
    ) -> (*mut u8, *const u8) {
        // The packing instructions work within 128-bit halves and so interleave groups of 4 counts.
        // `after` puts the packed counts back in order; `before` interleaves the residual alike.
        let after = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let before = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
        let mut words = [_mm256_setzero_si256(); P];
        for (words, sums) in words.iter_mut().zip(sums) {
            *words = fixed(scales, sums);
        }
        self.curve(&mut words);
        let last = usize::from(self.stage.rules.sum.is_some());
        let (round, zero_point) = (self.rounds[last], self.zero_points[last]);
        for p in (0..P).step_by(2) {
            // A single pixel stands for the one that is not there, too.
            let next = (p + 1).min(P - 1);
            let (mut low, mut high) = (words[p], words[next]);
            if self.stage.rules.sum.is_some() {
                // SAFETY: the stage adds a residual, so the caller has 16 bytes at both places.
                let load = |p: usize| unsafe { _mm_loadu_si128(other.add(p * other_step).cast()) };
                let other = _mm256_set_m128i(load(next), load(p));
                let other = _mm256_permutevar8x32_epi32(other, before);
                let zero = _mm256_setzero_si256();
                low = self.add(low, _mm256_unpacklo_epi8(zero, other));
                high = self.add(high, _mm256_unpackhi_epi8(zero, other));
            }
            let low = _mm256_add_epi16(_mm256_mulhrs_epi16(low, round), zero_point);
            let high = _mm256_add_epi16(_mm256_mulhrs_epi16(high, round), zero_point);
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), after);
            // SAFETY: the caller has room for 16 bytes for each pixel.
            unsafe {
                _mm_storeu_si128(out.add(p * step).cast(), _mm256_castsi256_si128(bytes));
                if p + 1 < P {
                    let second = _mm256_extracti128_si256::<1>(bytes);
                    _mm_storeu_si128(out.add((p + 1) * step).cast(), second);
                }
            }
        }
        (out.wrapping_add(P * step), other.wrapping_add(P * other_step))
    }

    /// The activation, lane by lane as [`Requantize::apply`] defines it.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn curve<const V: usize>(&self, words: &mut [__m256i; V]) {
        let zero = _mm256_setzero_si256();
        match &self.stage.rules.curve {
            Curve::Linear => {}
            Curve::Relu => {
                for t in words {
                    *t = _mm256_max_epi16(*t, zero);
                }
            }
            Curve::Elu(elu) => {
                let mut exp = *words;
                for e in &mut exp {
                    let n = _mm256_min_epi16(*e, zero);
                    *e = _mm256_add_epi16(_mm256_mulhrs_epi16(self.cubic[0], n), self.cubic[1]);
                    *e = _mm256_add_epi16(_mm256_mulhrs_epi16(*e, n), self.cubic[2]);
                    let constant = _mm256_set1_epi16(i16::MAX);
                    *e = _mm256_add_epi16(_mm256_mulhrs_epi16(*e, n), constant);
                }
                for _ in 0..elu.squarings {
                    for e in &mut exp {
                        *e = _mm256_mulhrs_epi16(*e, *e);
                    }
                }
                for (t, e) in words.iter_mut().zip(exp) {
                    let fall = _mm256_mulhrs_epi16(_mm256_sub_epi16(self.one, e), self.depth);
                    *t = _mm256_sub_epi16(_mm256_max_epi16(*t, zero), fall);
                }
            }
        }
    }

    /// Adds the residual as [`Sum::apply`](super::super::requant::Sum::apply) does. Each lane of
    /// `other` holds a residual count in its upper byte.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn add(&self, r: __m256i, other: __m256i) -> __m256i {
        let value = _mm256_mulhrs_epi16(r, self.rounds[0]);
        let value = _mm256_min_epi16(_mm256_max_epi16(value, self.bounds[0]), self.bounds[1]);
        let second = _mm256_xor_si256(other, _mm256_set1_epi16(i16::MIN));
        let second = _mm256_mulhrs_epi16(second, self.factors[1]);
        let first = _mm256_mulhrs_epi16(_mm256_slli_epi16::<7>(value), self.factors[0]);
        _mm256_adds_epi16(first, _mm256_adds_epi16(second, self.offset))
    }
}

/// 16 sums as fixed-point counts, in the order in which the packing instruction leaves them.
#[target_feature(enable = "avx2")]
#[inline]
fn fixed(scales: &[__m256; 2], sums: &[__m256i; 2]) -> __m256i {
    let first = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), scales[0]));
    let second = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), scales[1]));
    _mm256_packs_epi32(first, second)
}
