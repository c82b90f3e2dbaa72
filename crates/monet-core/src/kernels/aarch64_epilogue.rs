//! What the AArch64 kernels share: the epilogue, which turns sums into counts.
//!
//! The epilogue works on 16 outputs of a pixel at a time, lane by lane as [`Requantize::apply`]
//! defines:
//!
//! What it stores is a count less `OFFSET`, the kernel's [`offset`](super::Kernel::offset).
//!
//! ```text
//! 16 sums, i32 ── scale, narrow ──> 2 × 8 fixed-point counts, i16
//!              ── activation, residual ──> 2 × 8 counts, i16
//!              ── round, narrow ──> 16 counts, u8, or i8 with an offset of 128
//! ```

use core::arch::aarch64::*;

use super::super::requant::{Curve, Requantize};
use super::{BLOCK, Destination};

/// In place of a number of squarings: the activation may be any.
const ANY: u32 = 0;

/// The 16 sums of a pixel.
pub(super) type Sums = [int32x4_t; 4];

/// A stage with its constants spread over all lanes of a register.
pub(super) struct Epilogue<'a, const OFFSET: u8> {
    stage: &'a Requantize<'a>,
    /// Factors that remove the fraction bits: the layer's, then the residual sum's.
    rounds: [int16x8_t; 2],
    /// Zero points, less `OFFSET`: the layer's, then the residual sum's.
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
    /// The code that the stage takes.
    pixels: unsafe fn(&Self, *const f32, [*mut u8; 2], [usize; 2], &[Sums]),
}

impl<'a, const OFFSET: u8> Epilogue<'a, OFFSET> {
    /// The epilogue of a destination's stage.
    #[target_feature(enable = "neon")]
    pub(super) fn new(destination: &Destination<'a>) -> Self {
        let stage = destination.stage();
        let all = |value: i16| vdupq_n_s16(value);
        let (cubic, one, depth) = match &stage.rules.curve {
            Curve::Elu(elu) => (elu.cubic, elu.one, elu.depth),
            _ => ([0; 3], 0, 0),
        };
        let [round, zero_point, first, second, offset] = stage
            .rules
            .sum
            .map_or([0; 5], |s| [s.round, s.zero_point, s.first, s.second, s.offset]);
        // Layers have ELU with few squarings, nearly all of them.
        let squarings = match &stage.rules.curve {
            Curve::Elu(elu) => elu.squarings,
            _ => ANY,
        };
        Self {
            stage,
            pixels: match (squarings, stage.rules.sum.is_some()) {
                (3, false) => Self::pixels::<3, false>,
                (3, true) => Self::pixels::<3, true>,
                (4, false) => Self::pixels::<4, false>,
                (4, true) => Self::pixels::<4, true>,
                (5, false) => Self::pixels::<5, false>,
                (5, true) => Self::pixels::<5, true>,
                (_, false) => Self::pixels::<ANY, false>,
                (_, true) => Self::pixels::<ANY, true>,
            },
            rounds: [all(stage.rules.round), all(round)],
            zero_points: [stage.rules.zero_point, zero_point]
                .map(|zero| all(zero - i16::from(OFFSET))),
            bounds: [all(-stage.rules.zero_point), all(255 - stage.rules.zero_point)],
            cubic: [all(cubic[0]), all(cubic[1]), all(cubic[2])],
            one: all(one),
            depth: all(depth),
            factors: [all(first), all(second)],
            offset: all(offset),
        }
    }

    /// Requantizes and stores some pixels of a block from pixel `x` on, one after the other.
    ///
    /// # Safety
    /// - The CPU has NEON.
    /// - `self` was made for the stage of `destination`.
    /// - A [`CheckedRow`](super::CheckedRow) or [`CheckedStrip`](super::winograd::CheckedStrip) has
    ///   shown that the pixels from `x` on, as many as `sums`, of `destination`, and of the
    ///   residual where the stage adds one, lie in the arena, each with `blocks` blocks, and that
    ///   the scales cover these.
    /// - `block < blocks`.
    #[target_feature(enable = "neon")]
    #[inline]
    pub(super) unsafe fn store(
        &self,
        arena: *mut u8,
        destination: &Destination,
        blocks: usize,
        block: usize,
        x: usize,
        sums: &[Sums],
    ) {
        // SAFETY: the caller has it checked that `blocks` blocks of the pixels lie in the arena and
        // that their scales exist; block `block` is one of them. The residual is read only where
        // the stage adds one, and then lies in the arena likewise.
        unsafe {
            let scales = self.stage.scales.as_ptr().add(block * BLOCK);
            match *destination {
                Destination::Quantized {
                    start, step, residual: [residual, residual_step], ..
                } => {
                    let out = arena.add(start + x * step + block * BLOCK);
                    let other = arena.add(residual + x * residual_step + block * BLOCK);
                    (self.pixels)(self, scales, [out, other], [step, residual_step], sums);
                }
                Destination::Float { start, .. } => {
                    for (p, sums) in sums.iter().enumerate() {
                        let out: *mut f32 =
                            arena.add(start + ((x + p) * blocks + block) * 64).cast();
                        for (i, &sum) in sums.iter().enumerate() {
                            let scale = vld1q_f32(scales.add(4 * i));
                            vst1q_f32(out.add(4 * i), vmulq_f32(vcvtq_f32_s32(sum), scale));
                        }
                    }
                }
            }
        }
    }

    /// Requantizes and stores pixels of a block.
    ///
    /// - `SQUARINGS`: those of ELU; [`ANY`] for any activation.
    /// - `SUM`: whether the stage adds a residual.
    /// - The places and steps are those of the results, then those of the residual.
    ///
    /// # Safety
    /// - The CPU has NEON.
    /// - `SQUARINGS` and `SUM` are what `self` has.
    /// - 16 factors may be read at `scales`.
    /// - For each of `sums`, 16 bytes may be written at the first place, and 16 may be read at the
    ///   second where the stage adds a residual.
    #[target_feature(enable = "neon")]
    #[inline(never)]
    unsafe fn pixels<const SQUARINGS: u32, const SUM: bool>(
        &self,
        scales: *const f32,
        places: [*mut u8; 2],
        steps: [usize; 2],
        sums: &[Sums],
    ) {
        let [mut out, mut other] = places;
        // SAFETY: the caller has the factors.
        let scale = |i: usize| unsafe { vld1q_f32(scales.add(4 * i)) };
        let scales = [scale(0), scale(1), scale(2), scale(3)];
        let (round, zero_point) =
            (self.rounds[usize::from(SUM)], self.zero_points[usize::from(SUM)]);
        for sums in sums {
            let mut low =
                self.curve::<SQUARINGS>(fixed([scales[0], scales[1]], [sums[0], sums[1]]));
            let mut high =
                self.curve::<SQUARINGS>(fixed([scales[2], scales[3]], [sums[2], sums[3]]));
            if SUM {
                // SAFETY: the stage adds a residual, so the caller has 16 bytes there.
                let residual = unsafe { vld1q_u8(other) };
                // Counts less 128, as the rules of the sum take them.
                let residual =
                    if OFFSET == 0 { veorq_u8(residual, vdupq_n_u8(0x80)) } else { residual };
                let zero = vdupq_n_u8(0);
                low = self.add(low, vzip1q_u8(zero, residual));
                high = self.add(high, vzip2q_u8(zero, residual));
                other = other.wrapping_add(steps[1]);
            }
            let low = vaddq_s16(vqrdmulhq_s16(low, round), zero_point);
            let high = vaddq_s16(vqrdmulhq_s16(high, round), zero_point);
            let counts = if OFFSET == 0 {
                vqmovun_high_s16(vqmovun_s16(low), high)
            } else {
                vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(low), high))
            };
            // SAFETY: the caller has room for 16 bytes for each pixel.
            unsafe { vst1q_u8(out, counts) };
            out = out.wrapping_add(steps[0]);
        }
    }

    /// The activation, lane by lane as [`Requantize::apply`] defines it; `SQUARINGS` as of
    /// [`Self::pixels`].
    #[target_feature(enable = "neon")]
    #[inline]
    fn curve<const SQUARINGS: u32>(&self, t: int16x8_t) -> int16x8_t {
        match &self.stage.rules.curve {
            _ if SQUARINGS != ANY => self.elu(t, SQUARINGS),
            Curve::Linear => t,
            Curve::Relu => vmaxq_s16(t, vdupq_n_s16(0)),
            Curve::Elu(elu) => self.elu(t, elu.squarings),
        }
    }

    /// ELU as [`Elu::apply`](super::super::requant::Elu::apply) defines it.
    #[target_feature(enable = "neon")]
    #[inline]
    fn elu(&self, t: int16x8_t, squarings: u32) -> int16x8_t {
        let zero = vdupq_n_s16(0);
        let n = vminq_s16(t, zero);
        let e = vaddq_s16(vqrdmulhq_s16(self.cubic[0], n), self.cubic[1]);
        let e = vaddq_s16(vqrdmulhq_s16(e, n), self.cubic[2]);
        let mut e = vaddq_s16(vqrdmulhq_s16(e, n), vdupq_n_s16(i16::MAX));
        for _ in 0..squarings {
            e = vqrdmulhq_s16(e, e);
        }
        let fall = vqrdmulhq_s16(vsubq_s16(self.one, e), self.depth);
        vsubq_s16(vmaxq_s16(t, zero), fall)
    }

    /// Adds the residual as [`Sum::apply`](super::super::requant::Sum::apply) does. Each lane of
    /// `other` holds a residual count, less 128, in its upper byte.
    #[target_feature(enable = "neon")]
    #[inline]
    fn add(&self, r: int16x8_t, other: uint8x16_t) -> int16x8_t {
        let value = vqrdmulhq_s16(r, self.rounds[0]);
        let value = vminq_s16(vmaxq_s16(value, self.bounds[0]), self.bounds[1]);
        let second = vqrdmulhq_s16(vreinterpretq_s16_u8(other), self.factors[1]);
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
