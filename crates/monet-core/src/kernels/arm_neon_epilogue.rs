//! The epilogue on 32-bit ARM with NEON: turns the 16 sums of a pixel's block into counts.
//!
//! It computes lane by lane what [`Requantize::apply`] defines, in assembly for the reasons that
//! the kernel gives:
//!
//! ```text
//! 16 sums, i32 ── scale, narrow ──> 16 fixed-point counts, i16     q8 and q9
//!              ── activation, residual ──> 16 counts, i16
//!              ── round, narrow ──> 16 counts less 128, i8
//! ```

use core::arch::asm;

use super::super::requant::{Curve, Requantize};
use super::{BLOCK, Destination, Kernel, Row};

/// What counts lack in the arena.
const OFFSET: i16 = Kernel::Neon.offset() as i16;

// `asm!` names d0 to d31 one by one as clobbered, for the reason that the kernel gives.

/// The constants of a stage, in the order in which [`requantize`] loads them.
#[repr(C)]
pub(super) struct Constants {
    /// For ELU: the cubic's three coefficients, its value at 0, the depth.
    elu: [i16; 5],
    /// For the layer's own count, before a residual is added to it: the factor that removes the
    /// fraction bits, the lowest and the highest value.
    own: [i16; 3],
    /// For the residual sum: both factors, the offset.
    sum: [i16; 3],
    /// For the result: the factor that removes the fraction bits, the zero point less 128.
    last: [i16; 2],
    /// Fills four vectors.
    unused: [i16; 3],
    /// For rounding scaled sums: their upper bound, their lower bound, and the number whose
    /// addition leaves no bits for a fraction.
    reals: [f32; 3],
    /// The activation: 0 linear, 1 ReLU, 2 ELU.
    curve: u32,
    /// For ELU: how often the cubic's value is squared.
    squarings: u32,
}

impl Constants {
    pub(super) fn new(stage: &Requantize) -> Self {
        let (curve, squarings, elu) = match &stage.rules.curve {
            Curve::Linear => (0, 0, [0; 5]),
            Curve::Relu => (1, 0, [0; 5]),
            Curve::Elu(e) => (2, e.squarings, [e.cubic[0], e.cubic[1], e.cubic[2], e.one, e.depth]),
        };
        Self {
            elu,
            own: [stage.rules.round, -stage.rules.zero_point, 255 - stage.rules.zero_point],
            sum: stage.rules.sum.map_or([0; 3], |s| [s.first, s.second, s.offset]),
            last: stage
                .rules
                .sum
                .map_or([stage.rules.round, stage.rules.zero_point - OFFSET], |s| {
                    [s.round, s.zero_point - OFFSET]
                }),
            unused: [0; 3],
            reals: [40_000.0, -40_000.0, 12_582_912.0],
            curve,
            squarings,
        }
    }
}

/// Requantizes and stores the sums of one pixel.
///
/// # Safety
/// - The CPU has NEON.
/// - `arena` and `row` are those of one [`CheckedRow`](super::CheckedRow), and `constants` were
///   made for the row's stage.
/// - `block < row.blocks()` and `x < row.width`.
pub(super) unsafe fn store(
    arena: *mut u8,
    row: &Row,
    constants: &Constants,
    block: usize,
    x: usize,
    sums: &[i32; BLOCK],
) {
    // SAFETY: `CheckedRow` has shown that the scales cover all blocks, and that all blocks of each
    // pixel below `row.width`, in the output and in the residual where one is added, lie in the
    // arena.
    unsafe {
        let scales = row.destination.stage().scales.as_ptr().add(block * BLOCK);
        match row.destination {
            Destination::Quantized { stage, start, step, residual: [residual, residual_step] } => {
                let other = match stage.rules.sum {
                    Some(_) => arena.add(residual + x * residual_step + block * BLOCK),
                    None => core::ptr::null(),
                };
                requantize(
                    constants,
                    sums,
                    scales,
                    other,
                    arena.add(start + x * step + block * BLOCK),
                );
            }
            Destination::Float { start, .. } => {
                let out: *mut f32 = arena.add(start + (x * row.blocks() + block) * 64).cast();
                for (i, &sum) in sums.iter().enumerate() {
                    out.add(i).write_unaligned(sum as f32 * *scales.add(i));
                }
            }
        }
    }
}

/// Turns four sums into fixed-point counts: scales them by `$scale`, clamps them to q2 and q3, and
/// rounds them to nearest even. Adding q4, 1.5 × 2^23, leaves no bits for a fraction, and
/// subtracting its bits as an integer leaves the rounded number.
macro_rules! fixed {
    ($sum:literal, $scale:literal) => {
        concat!(
            "vcvt.f32.s32 ",
            $sum,
            ", ",
            $sum,
            "\nvmul.f32 ",
            $sum,
            ", ",
            $sum,
            ", ",
            $scale,
            "\nvmin.f32 ",
            $sum,
            ", ",
            $sum,
            ", q2\nvmax.f32 ",
            $sum,
            ", ",
            $sum,
            ", q3",
            "\nvadd.f32 ",
            $sum,
            ", ",
            $sum,
            ", q4\nvsub.i32 ",
            $sum,
            ", ",
            $sum,
            ", q4"
        )
    };
}

/// The rounding product of 16 counts, in `$v0` and `$v1`, with `$factor`.
macro_rules! scale {
    ($v0:literal, $v1:literal, $factor:literal) => {
        concat!(
            "vqrdmulh.s16 ",
            $v0,
            ", ",
            $v0,
            ", ",
            $factor,
            "\nvqrdmulh.s16 ",
            $v1,
            ", ",
            $v1,
            ", ",
            $factor
        )
    };
}

/// Spreads `$constant` over q14, then applies `$op` to `$v0` and q14, and to `$v1` and q14.
macro_rules! spread {
    ($op:literal, $v0:literal, $v1:literal, $constant:literal) => {
        concat!(
            "vdup.16 q14, ",
            $constant,
            "\n",
            $op,
            " ",
            $v0,
            ", ",
            $v0,
            ", q14\n",
            $op,
            " ",
            $v1,
            ", ",
            $v1,
            ", q14"
        )
    };
}

/// Turns the sums of one pixel's block into counts, as [`Requantize::apply`] defines.
///
/// # Safety
/// - The CPU has NEON.
/// - 16 numbers may be read at `scales`.
/// - `residual` is null where the stage adds none; else 16 bytes may be read there.
/// - 16 bytes may be written at `out`.
unsafe fn requantize(
    constants: &Constants,
    sums: &[i32; BLOCK],
    scales: *const f32,
    residual: *const u8,
    out: *mut u8,
) {
    // SAFETY: the code reads the constants, 16 sums, 16 scales and, unless `residual` is null, 16
    // bytes there; it writes 16 bytes at `out`. The caller has all of these. All registers that
    // change are named.
    unsafe {
        asm!(
            ".fpu neon",
            "vldmia {constants}!, {{d0-d3}}",
            "vld1.32 {{d4[], d5[]}}, [{constants}]!",
            "vld1.32 {{d6[], d7[]}}, [{constants}]!",
            "vld1.32 {{d8[], d9[]}}, [{constants}]!",
            "vldmia {sums}, {{d16-d23}}",
            "vldmia {scales}, {{d24-d31}}",
            fixed!("q8", "q12"),
            fixed!("q9", "q13"),
            fixed!("q10", "q14"),
            fixed!("q11", "q15"),
            "vqmovn.s32 d16, q8",
            "vqmovn.s32 d17, q9",
            "vqmovn.s32 d18, q10",
            "vqmovn.s32 d19, q11",
            // The activation.
            "ldr {curve}, [{constants}]",
            "ldr {squarings}, [{constants}, #4]",
            "vmov.i16 q15, #0",
            "cmp {curve}, #1",
            "blt 4f",
            "beq 3f",
            "vmin.s16 q10, q8, q15",
            "vmin.s16 q11, q9, q15",
            "vqrdmulh.s16 q12, q10, d0[0]",
            "vqrdmulh.s16 q13, q11, d0[0]",
            spread!("vadd.i16", "q12", "q13", "d0[1]"),
            "vqrdmulh.s16 q12, q12, q10",
            "vqrdmulh.s16 q13, q13, q11",
            spread!("vadd.i16", "q12", "q13", "d0[2]"),
            "vqrdmulh.s16 q12, q12, q10",
            "vqrdmulh.s16 q13, q13, q11",
            "vmvn.i16 q14, #0x8000",
            "vadd.i16 q12, q12, q14",
            "vadd.i16 q13, q13, q14",
            "2:",
            "vqrdmulh.s16 q12, q12, q12",
            "vqrdmulh.s16 q13, q13, q13",
            "subs {squarings}, {squarings}, #1",
            "bne 2b",
            "vdup.16 q14, d0[3]",
            "vsub.i16 q12, q14, q12",
            "vsub.i16 q13, q14, q13",
            scale!("q12", "q13", "d1[0]"),
            "vmax.s16 q8, q8, q15",
            "vmax.s16 q9, q9, q15",
            "vsub.i16 q8, q8, q12",
            "vsub.i16 q9, q9, q13",
            "b 4f",
            "3:",
            "vmax.s16 q8, q8, q15",
            "vmax.s16 q9, q9, q15",
            "4:",
            // The residual.
            "cmp {residual}, #0",
            "beq 5f",
            scale!("q8", "q9", "d1[1]"),
            spread!("vmax.s16", "q8", "q9", "d1[2]"),
            spread!("vmin.s16", "q8", "q9", "d1[3]"),
            "vshl.i16 q8, q8, #7",
            "vshl.i16 q9, q9, #7",
            scale!("q8", "q9", "d2[0]"),
            "vld1.8 {{d20, d21}}, [{residual}]",
            "vshll.i8 q12, d20, #8",
            "vshll.i8 q13, d21, #8",
            scale!("q12", "q13", "d2[1]"),
            spread!("vqadd.s16", "q12", "q13", "d2[2]"),
            "vqadd.s16 q8, q8, q12",
            "vqadd.s16 q9, q9, q13",
            "5:",
            scale!("q8", "q9", "d2[3]"),
            spread!("vadd.i16", "q8", "q9", "d3[0]"),
            "vqmovn.s16 d16, q8",
            "vqmovn.s16 d17, q9",
            "vst1.8 {{d16, d17}}, [{out}]",
            constants = inout(reg) constants => _,
            sums = in(reg) sums,
            scales = in(reg) scales,
            residual = in(reg) residual,
            out = in(reg) out,
            curve = out(reg) _,
            squarings = out(reg) _,
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
}
