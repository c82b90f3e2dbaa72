//! What the AArch64 kernels share: the epilogue, which turns sums into counts.
//!
//! The epilogue works on 16 outputs of a pixel at a time, lane by lane as [`Requantize::apply`]
//! defines:
//!
//! ```text
//! 16 sums, i32 ── scale, narrow ──> 2 × 8 fixed-point counts, i16
//!              ── activation, residual ──> 2 × 8 counts, i16
//!              ── round, narrow ──> 16 counts, u8
//! ```

use core::arch::aarch64::*;

use super::super::requant::{Curve, Requantize};
use super::{BLOCK, Destination};

/// The 16 sums of a pixel.
pub(super) type Sums = [int32x4_t; 4];

/// A stage with its constants spread over all lanes of a register.
pub(super) struct Epilogue<'a> {
    stage: &'a Requantize<'a>,
    /// Factors that remove the fraction bits: the layer's, then the residual sum's.
    rounds: [int16x8_t; 2],
    /// Zero points: the layer's, then the residual sum's.
    zero_points: [int16x8_t; 2],
    /// Lowest and highest value of the layer's count minus its zero point.
    bounds: [int16x8_t; 2],
    /// Of ELU, as `one` and `depth`, see [`Elu`](super::super::requant::Elu).
    cubic: [int16x8_t; 3],
    one: int16x8_t,
    depth: int16x8_t,
    /// Of the residual sum, as `offset`, see [`Sum`](super::super::requant::Sum).
    factors: [int16x8_t; 2],
    offset: int16x8_t,
}

impl<'a> Epilogue<'a> {
    /// The epilogue of a destination's stage.
    #[target_feature(enable = "neon")]
    pub(super) fn new(destination: &Destination<'a>) -> Self {
        let (Destination::Quantized { stage, .. } | Destination::Float { stage, .. }) =
            *destination;
        let all = |value: i16| vdupq_n_s16(value);
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
    /// - The CPU has NEON.
    /// - `self` was made for the stage of `destination`.
    /// - A [`CheckedRow`](super::CheckedRow) has shown that the pixels `x..x + P` of `destination`,
    ///   and of the residual where the stage adds one, lie in the arena, each with `blocks` blocks,
    ///   and that the scales cover these.
    /// - `block < blocks`.
    #[target_feature(enable = "neon")]
    #[inline]
    pub(super) unsafe fn store<const P: usize>(
        &self,
        arena: *mut u8,
        destination: &Destination,
        blocks: usize,
        block: usize,
        x: usize,
        sums: &[Sums; P],
    ) {
        // SAFETY: the caller has it checked that `blocks` blocks of pixels `x..x + P` lie in the
        // arena and that their scales exist; block `block` is one of them. `other` is read only
        // where the stage adds a residual, and then lies in the arena likewise.
        unsafe {
            let scales = self.stage.scales.as_ptr().add(block * BLOCK);
            let scale = |i: usize| vld1q_f32(scales.add(4 * i));
            let scales = [scale(0), scale(1), scale(2), scale(3)];
            match *destination {
                Destination::Quantized {
                    start, step, residual: [residual, residual_step], ..
                } => {
                    let mut out = arena.add(start + x * step + block * BLOCK);
                    let mut other: *const u8 =
                        arena.add(residual + x * residual_step + block * BLOCK);
                    for sums in sums {
                        vst1q_u8(out, self.counts(&scales, sums, other));
                        out = out.add(step);
                        other = other.add(residual_step);
                    }
                }
                Destination::Float { start, .. } => {
                    for (p, sums) in sums.iter().enumerate() {
                        let out: *mut f32 =
                            arena.add(start + ((x + p) * blocks + block) * 64).cast();
                        for i in 0..4 {
                            vst1q_f32(out.add(4 * i), vmulq_f32(vcvtq_f32_s32(sums[i]), scales[i]));
                        }
                    }
                }
            }
        }
    }

    /// The counts of a pixel.
    ///
    /// # Safety
    /// - The CPU has NEON.
    /// - Where the stage adds a residual, 16 bytes may be read at `other`.
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn counts(
        &self,
        scales: &[float32x4_t; 4],
        sums: &Sums,
        other: *const u8,
    ) -> uint8x16_t {
        let mut low = self.curve(fixed([scales[0], scales[1]], [sums[0], sums[1]]));
        let mut high = self.curve(fixed([scales[2], scales[3]], [sums[2], sums[3]]));
        let last = usize::from(self.stage.rules.sum.is_some());
        if self.stage.rules.sum.is_some() {
            // SAFETY: the stage adds a residual, so the caller has 16 bytes there.
            let other = unsafe { vld1q_u8(other) };
            let zero = vdupq_n_u8(0);
            low = self.add(low, vzip1q_u8(zero, other));
            high = self.add(high, vzip2q_u8(zero, other));
        }
        let (round, zero_point) = (self.rounds[last], self.zero_points[last]);
        let low = vaddq_s16(vqrdmulhq_s16(low, round), zero_point);
        let high = vaddq_s16(vqrdmulhq_s16(high, round), zero_point);
        vqmovun_high_s16(vqmovun_s16(low), high)
    }

    /// The activation, lane by lane as [`Requantize::apply`] defines it.
    #[target_feature(enable = "neon")]
    #[inline]
    fn curve(&self, t: int16x8_t) -> int16x8_t {
        let zero = vdupq_n_s16(0);
        match &self.stage.rules.curve {
            Curve::Linear => t,
            Curve::Relu => vmaxq_s16(t, zero),
            Curve::Elu(elu) => {
                let n = vminq_s16(t, zero);
                let e = vaddq_s16(vqrdmulhq_s16(self.cubic[0], n), self.cubic[1]);
                let e = vaddq_s16(vqrdmulhq_s16(e, n), self.cubic[2]);
                let mut e = vaddq_s16(vqrdmulhq_s16(e, n), vdupq_n_s16(i16::MAX));
                for _ in 0..elu.squarings {
                    e = vqrdmulhq_s16(e, e);
                }
                let fall = vqrdmulhq_s16(vsubq_s16(self.one, e), self.depth);
                vsubq_s16(vmaxq_s16(t, zero), fall)
            }
        }
    }

    /// Adds the residual as [`Sum::apply`](super::super::requant::Sum::apply) does. Each lane of
    /// `other` holds a residual count in its upper byte.
    #[target_feature(enable = "neon")]
    #[inline]
    fn add(&self, r: int16x8_t, other: uint8x16_t) -> int16x8_t {
        let value = vqrdmulhq_s16(r, self.rounds[0]);
        let value = vminq_s16(vmaxq_s16(value, self.bounds[0]), self.bounds[1]);
        let second = veorq_s16(vreinterpretq_s16_u8(other), vdupq_n_s16(i16::MIN));
        let second = vqrdmulhq_s16(second, self.factors[1]);
        let first = vqrdmulhq_s16(vshlq_n_s16::<7>(value), self.factors[0]);
        vqaddq_s16(first, vqaddq_s16(second, self.offset))
    }
}

/// 8 sums as fixed-point counts.
#[target_feature(enable = "neon")]
#[inline]
fn fixed(scales: [float32x4_t; 2], sums: [int32x4_t; 2]) -> int16x8_t {
    let first = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[0]), scales[0]));
    let second = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[1]), scales[1]));
    vqmovn_high_s32(vqmovn_s32(first), second)
}
