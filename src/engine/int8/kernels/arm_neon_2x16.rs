//! 32-bit ARM with NEON: tiles of 2 pixels × 16 outputs, exact through 16-bit products of bytes (`vmull`, `vmlal`, `vpadal`).
//!
//! The twin of the 64-bit one, in assembly, since the intrinsics are not stable and the triple's other code must run without NEON.
//! Counts are multiplied less 128, which the bias makes good ([`Kernel::offset`](super::Kernel::offset)). Two products of
//! bytes fit in 16 bits unless both are -128 × -128; where a weight is -128 each product is added to its sum by itself.

use core::arch::asm;
use core::ffi::c_ulong;

use super::super::requant::{Curve, Stage};
use super::{BLOCK, Feed, GROUP, Packed, Row, Target};

// Clobbers name d0 to d31 one by one: where the triple has no NEON the compiler knows no q registers, silently drops their names,
// and would not save what its callers keep in them.

/// The 16 sums of each pixel of a tile.
type Sums = [[i32; BLOCK]; 2];

/// 16 products and their sum, on registers.
macro_rules! spin_pairs {
    ($sum:literal) => {
        concat!("vmull.s8 q0, d4, d5\nvmlal.s8 q0, d4, d6\nvpadal.s16 ", $sum, ", q0")
    };
}
/// Four outputs of two pairs of channels: temporaries, weights of both pairs, sums.
macro_rules! both {
    ($t:literal, $a:literal, $b:literal, $sum:literal) => {
        concat!(
            "vmull.s8 ",
            $t,
            ", d12, ",
            $a,
            "\nvmlal.s8 ",
            $t,
            ", d13, ",
            $b,
            "\nvpadal.s16 ",
            $sum,
            ", ",
            $t
        )
    };
}

/// The same with each product added by itself.
macro_rules! each {
    ($t:literal, $a:literal, $b:literal, $sum:literal) => {
        concat!(
            "vmull.s8 ",
            $t,
            ", d12, ",
            $a,
            "\nvpadal.s16 ",
            $sum,
            ", ",
            $t,
            "\nvmull.s8 ",
            $t,
            ", d13, ",
            $b,
            "\nvpadal.s16 ",
            $sum,
            ", ",
            $t
        )
    };
}

/// All outputs of one group of channels of a pixel: its pairs' lanes and its sums.
macro_rules! pixel {
    ($way:ident, $a:literal, $b:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
        concat!(
            "vdup.16 d12, ",
            $a,
            "\nvdup.16 d13, ",
            $b,
            "\n",
            $way!("q1", "d4", "d8", $s0),
            "\n",
            $way!("q7", "d5", "d9", $s1),
            "\n",
            $way!("q1", "d6", "d10", $s2),
            "\n",
            $way!("q7", "d7", "d11", $s3)
        )
    };
}

/// One group of channels of both pixels, which are d0 and d1.
macro_rules! group {
    ($way:ident, $a0:literal, $b0:literal, $a1:literal, $b1:literal) => {
        concat!(
            "vld1.8 {{d4-d7}}, [{weights}]!\nvld1.8 {{d8-d11}}, [{weights}]!\n",
            pixel!($way, $a0, $b0, "q8", "q9", "q10", "q11"),
            "\n",
            pixel!($way, $a1, $b1, "q12", "q13", "q14", "q15")
        )
    };
}

/// Takes 128 from the counts in d0 and d1.
macro_rules! signed {
    () => {
        "vmov.i8 q1, #0x80\nveor q0, q0, q1"
    };
}

/// Two groups of both pixels, from `first` and `second` on.
macro_rules! half {
    ($way:ident) => {
        concat!(
            "vld1.8 {{d0}}, [{first}]!\nvld1.8 {{d1}}, [{second}]!\n",
            signed!(),
            "\n",
            group!($way, "d0[0]", "d0[1]", "d1[0]", "d1[1]"),
            "\n",
            group!($way, "d0[2]", "d0[3]", "d1[2]", "d1[3]")
        )
    };
}

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    const HARDWARE: c_ulong = 16;
    const NEON: c_ulong = 1 << 12;
    unsafe extern "C" {
        safe fn getauxval(kind: c_ulong) -> c_ulong;
    }
    cfg!(target_feature = "neon") || getauxval(HARDWARE) & NEON != 0
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: the feature is present; registers alone are touched, all of them named.
    unsafe {
        asm!(
            ".fpu neon",
            "2:",
            spin_pairs!("q8"), spin_pairs!("q9"), spin_pairs!("q10"), spin_pairs!("q11"),
            spin_pairs!("q12"), spin_pairs!("q13"), spin_pairs!("q14"), spin_pairs!("q15"),
            "subs {rounds}, {rounds}, #1",
            "bne 2b",
            rounds = inout(reg) rounds.max(1) => _,
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
            options(nomem, nostack),
        );
    }
    (rounds * 8 * 16) as u64
}

/// Fills one row.
pub(super) fn convolve(arena: &mut [u8], row: &Row) {
    row.check(arena.len());
    let Packed::Bytes(weights) = row.weights else { return };
    assert!(available());
    let constants = Constants::new(row.stage());
    let block_len = row.depth() * GROUP * BLOCK;
    let lowest = weights.contains(&i8::MIN);
    for block in 0..row.blocks() {
        for x in (0..row.width).step_by(2) {
            let pixels = (row.width - x).min(2);
            // SAFETY: the feature is present; `check` has shown that inputs, residual and output lie in the arena, and that
            // weights, bias and scales cover all blocks.
            unsafe {
                let weights = weights.as_ptr().add(block * block_len);
                let sums = tile(arena.as_ptr(), weights, row, block, [x, x + pixels - 1], lowest);
                for (p, sums) in sums[..pixels].iter().enumerate() {
                    store(arena.as_mut_ptr(), row, &constants, block, x + p, sums);
                }
            }
        }
    }
}

/// Sums of a block at two pixels, which may be the same.
///
/// # Safety
/// As [`convolve`]; `weights` are the block's, and whether one is -128 is `lowest`.
unsafe fn tile(
    arena: *const u8,
    mut weights: *const i8,
    row: &Row,
    block: usize,
    pixels: [usize; 2],
    lowest: bool,
) -> Sums {
    let mut sums = [[0; BLOCK]; 2];
    for sums in &mut sums {
        sums.copy_from_slice(&row.bias[block * BLOCK..(block + 1) * BLOCK]);
    }
    for feed in row.feeds() {
        // SAFETY: the caller vouches for all of it.
        unsafe {
            let sources = pixels.map(|x| arena.add(feed.start + x * feed.step));
            weights = match (feed.groups, lowest) {
                (4, false) => accumulate_16(&mut sums, sources, feed, weights),
                (4, true) => accumulate_16_lowest(&mut sums, sources, feed, weights),
                _ => accumulate_4(&mut sums, sources, feed, weights),
            };
        }
    }
    sums
}

/// Defines a function that adds the products of one input; returns the weights that remain.
macro_rules! accumulate {
    ($name:ident, $($chunk:expr),+) => {
        /// # Safety
        /// The CPU has NEON; every tap of both sources may be read, and the weights are the taps'.
        unsafe fn $name(sums: &mut Sums, sources: [*const u8; 2], feed: &Feed, weights: *const i8) -> *const i8 {
            let mut weights = weights;
            if feed.taps.is_empty() {
                return weights;
            }
            // SAFETY: reads what the caller vouches for, writes the sums; all registers are named.
            unsafe {
                asm!(
                    ".fpu neon",
                    "vldmia {sums}, {{d16-d31}}",
                    "2:",
                    "ldr {second}, [{taps}], #4",
                    "add {first}, {source0}, {second}",
                    "add {second}, {source1}, {second}",
                    $($chunk,)+
                    "subs {count}, {count}, #1",
                    "bne 2b",
                    "vstmia {sums}, {{d16-d31}}",
                    sums = in(reg) sums.as_mut_ptr(),
                    source0 = in(reg) sources[0],
                    source1 = in(reg) sources[1],
                    taps = inout(reg) feed.taps.as_ptr() => _,
                    count = inout(reg) feed.taps.len() => _,
                    weights = inout(reg) weights,
                    first = out(reg) _,
                    second = out(reg) _,
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
            weights
        }
    };
}

accumulate!(accumulate_16, half!(both), half!(both));
accumulate!(accumulate_16_lowest, half!(each), half!(each));
accumulate!(
    accumulate_4,
    "vld1.32 {{d0[0]}}, [{first}]",
    "vld1.32 {{d1[0]}}, [{second}]",
    signed!(),
    group!(each, "d0[0]", "d0[1]", "d1[0]", "d1[1]")
);

/// The numbers of a stage in the order in which [`requantize`] loads them.
#[repr(C)]
struct Constants {
    /// Of ELU: cubic, value at 0, depth.
    elu: [i16; 5],
    /// Of the layer's count where there is a residual: fraction bits, lowest, highest.
    own: [i16; 3],
    /// Of the residual: both factors, offset.
    sum: [i16; 3],
    /// Of the result: fraction bits, zero point.
    last: [i16; 2],
    unused: [i16; 3],
    /// Bounds of what is rounded, and what is added to it so that no fraction bits are left.
    reals: [f32; 3],
    /// 0 for a linear stage, 1 for one with ReLU, 2 with ELU.
    curve: u32,
    /// Of ELU.
    squarings: u32,
}

impl Constants {
    fn new(stage: &Stage) -> Self {
        let (curve, squarings, elu) = match &stage.curve {
            Curve::Linear => (0, 0, [0; 5]),
            Curve::Relu => (1, 0, [0; 5]),
            Curve::Elu(e) => (2, e.squarings, [e.cubic[0], e.cubic[1], e.cubic[2], e.one, e.depth]),
        };
        Self {
            elu,
            own: [stage.round, -stage.zero_point, 255 - stage.zero_point],
            sum: stage.sum.map_or([0; 3], |s| [s.first, s.second, s.offset]),
            last: stage.sum.map_or([stage.round, stage.zero_point], |s| [s.round, s.zero_point]),
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
/// As [`convolve`], with a block and a pixel of the row.
unsafe fn store(
    arena: *mut u8,
    row: &Row,
    constants: &Constants,
    block: usize,
    x: usize,
    sums: &[i32; BLOCK],
) {
    // SAFETY: the caller vouches for every place of the row.
    unsafe {
        let scales = row.stage().scales.as_ptr().add(block * BLOCK);
        match row.target {
            Target::Counts { stage, start, step, residual: [residual, pace] } => {
                let other = match stage.sum {
                    Some(_) => arena.add(residual + x * pace + block * BLOCK),
                    None => core::ptr::null(),
                };
                requantize(constants, sums, scales, other, arena.add(start + x * step + block * BLOCK));
            }
            Target::Reals { start, .. } => {
                let out: *mut f32 = arena.add(start + (x * row.blocks() + block) * 64).cast();
                for (i, &sum) in sums.iter().enumerate() {
                    out.add(i).write_unaligned(sum as f32 * *scales.add(i));
                }
            }
        }
    }
}

/// Four sums to fixed point: scaled, bounded, rounded to nearest even by adding what leaves no bits for a fraction.
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

/// `v = round(v * factor)` for the 16 counts in q8 and q9, or those of a name.
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

/// An operation of q14 on both registers, after a constant was spread over it.
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

/// The counts of one pixel, the twin of the scalar rules of `requant`.
///
/// # Safety
/// The CPU has NEON; there are 16 scales and, unless it is null, 16 bytes of a residual; 16 bytes may be written at `out`.
unsafe fn requantize(
    constants: &Constants,
    sums: &[i32; BLOCK],
    scales: *const f32,
    residual: *const u8,
    out: *mut u8,
) {
    // SAFETY: reads and writes what the caller vouches for; all registers are named.
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
            "vmov.i16 q14, #0x8000",
            "veor q12, q12, q14",
            "veor q13, q13, q14",
            scale!("q12", "q13", "d2[1]"),
            spread!("vqadd.s16", "q12", "q13", "d2[2]"),
            "vqadd.s16 q8, q8, q12",
            "vqadd.s16 q9, q9, q13",
            "5:",
            scale!("q8", "q9", "d2[3]"),
            spread!("vadd.i16", "q8", "q9", "d3[0]"),
            "vqmovun.s16 d16, q8",
            "vqmovun.s16 d17, q9",
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
