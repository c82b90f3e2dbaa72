//! What the 256-bit kernels share: the epilogue, on 16 outputs of two pixels at a time.

use core::arch::x86_64::*;

use super::super::requant::{Curve, Stage};
use super::{BLOCK, Target};

/// Requantizes and stores `P` pixels of a block from pixel `x` on.
///
/// # Safety
/// The CPU has AVX2; the target has been checked against the arena, its row has `x + P` pixels or more, and
/// `block < blocks`, which is how many blocks of outputs it has.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn store<const P: usize>(
    arena: *mut u8,
    target: &Target,
    blocks: usize,
    block: usize,
    x: usize,
    sums: &[[__m256i; 2]; P],
) {
    let (Target::Counts { stage, .. } | Target::Reals { stage, .. }) = target;
    // SAFETY: the caller vouches for every place of the row.
    unsafe {
        let scales = stage.scales.as_ptr().add(block * BLOCK);
        let scales = [_mm256_loadu_ps(scales), _mm256_loadu_ps(scales.add(8))];
        match *target {
            Target::Counts { stage, start, step, residual } => {
                for p in (0..P).step_by(2) {
                    let out = arena.add(start + (x + p) * step + block * BLOCK);
                    let other = arena.add(residual[0] + (x + p) * residual[1] + block * BLOCK);
                    let pair = p + 1 < P;
                    let second = if pair { &sums[p + 1] } else { &sums[p] };
                    let steps = if pair { [step, residual[1]] } else { [0, 0] };
                    let bytes = counts(stage, &scales, [&sums[p], second], other, steps[1]);
                    _mm_storeu_si128(out.cast(), _mm256_castsi256_si128(bytes));
                    _mm_storeu_si128(out.add(steps[0]).cast(), _mm256_extracti128_si256::<1>(bytes));
                }
            }
            Target::Reals { start, .. } => {
                for (p, pixel) in sums.iter().enumerate() {
                    let out: *mut f32 = arena.add(start + ((x + p) * blocks + block) * 64).cast();
                    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(pixel[0]), scales[0]));
                    _mm256_storeu_ps(out.add(8), _mm256_mul_ps(_mm256_cvtepi32_ps(pixel[1]), scales[1]));
                }
            }
        }
    }
}

/// The counts of two pixels, 16 bytes each.
///
/// # Safety
/// As [`store`]; where the stage adds a residual, its bytes stand at `other` and `other + step`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn counts(
    stage: &Stage,
    scales: &[__m256; 2],
    pixels: [&[__m256i; 2]; 2],
    other: *const u8,
    step: usize,
) -> __m256i {
    // Packing works within 128-bit halves: these orders of 32-bit groups undo it, and prepare the residual for it.
    let after = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let before = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    let [mut low, mut high] = pixels.map(|sums| {
        let fixed = |i: usize| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[i]), scales[i]));
        curve(&stage.curve, _mm256_packs_epi32(fixed(0), fixed(1)))
    });
    let (mut round, mut zero_point) = (stage.round, stage.zero_point);
    if let Some(sum) = &stage.sum {
        // SAFETY: the caller vouches for the residual's bytes.
        let parts = unsafe { [_mm_loadu_si128(other.cast()), _mm_loadu_si128(other.add(step).cast())] };
        let other = _mm256_permutevar8x32_epi32(_mm256_set_m128i(parts[1], parts[0]), before);
        let zero = _mm256_setzero_si256();
        let add = |r: __m256i, other: __m256i| {
            let value = _mm256_mulhrs_epi16(r, _mm256_set1_epi16(stage.round));
            let value = _mm256_max_epi16(value, _mm256_set1_epi16(-stage.zero_point));
            let value = _mm256_min_epi16(value, _mm256_set1_epi16(255 - stage.zero_point));
            let second = _mm256_xor_si256(other, _mm256_set1_epi16(i16::MIN));
            let second = _mm256_mulhrs_epi16(second, _mm256_set1_epi16(sum.second));
            let first = _mm256_mulhrs_epi16(_mm256_slli_epi16::<7>(value), _mm256_set1_epi16(sum.first));
            _mm256_adds_epi16(first, _mm256_adds_epi16(second, _mm256_set1_epi16(sum.offset)))
        };
        low = add(low, _mm256_unpacklo_epi8(zero, other));
        high = add(high, _mm256_unpackhi_epi8(zero, other));
        (round, zero_point) = (sum.round, sum.zero_point);
    }
    let finish = |r: __m256i| {
        _mm256_add_epi16(_mm256_mulhrs_epi16(r, _mm256_set1_epi16(round)), _mm256_set1_epi16(zero_point))
    };
    _mm256_permutevar8x32_epi32(_mm256_packus_epi16(finish(low), finish(high)), after)
}

/// The activation, the twin of the scalar one of `requant`.
#[target_feature(enable = "avx2")]
#[inline]
fn curve(curve: &Curve, t: __m256i) -> __m256i {
    let zero = _mm256_setzero_si256();
    match curve {
        Curve::Linear => t,
        Curve::Relu => _mm256_max_epi16(t, zero),
        Curve::Elu(elu) => {
            let n = _mm256_min_epi16(t, zero);
            let mut e = _mm256_set1_epi16(elu.cubic[0]);
            for c in [elu.cubic[1], elu.cubic[2], i16::MAX] {
                e = _mm256_add_epi16(_mm256_mulhrs_epi16(e, n), _mm256_set1_epi16(c));
            }
            for _ in 0..elu.squarings {
                e = _mm256_mulhrs_epi16(e, e);
            }
            let fall = _mm256_sub_epi16(_mm256_set1_epi16(elu.one), e);
            let fall = _mm256_mulhrs_epi16(fall, _mm256_set1_epi16(elu.depth));
            _mm256_sub_epi16(_mm256_max_epi16(t, zero), fall)
        }
    }
}
