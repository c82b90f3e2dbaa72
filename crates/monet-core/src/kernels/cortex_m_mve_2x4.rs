//! Cortex-M with vectors (M55, M85): 2 pixels × 4 outputs, 16 products an instruction.
//!
//! `vmladava.s8` adds 16 products of signed bytes to one 32-bit register, which must be even. The
//! eight even registers are the sums of two pixels and four outputs. Counts lie in the arena less
//! 128; the bias compensates.
//!
//! ```text
//! panel     for each 16 channels:  p0: c0 … c15   p1: c0 … c15
//! weights   for each 16 channels:  o0: c0 … c15   o1: …   o2: …   o3: …
//! vmladava  8 an entry of the panel: 2 pixels × 4 outputs × 16 channels
//! ```
//!
//! Where a pixel has 4 channels, four taps share 16 places. Requantization takes 16 sums at a time:
//! `vld4` takes every fourth, so that saturating them by halves leaves even and odd channels apart,
//! and storing them by halves joins them again. `vqrdmulh.s16` is the rounding product itself.
//!
//! All of it is assembly in naked functions: the compiler has no intrinsics for these vectors.

use core::arch::naked_asm;

use super::cortex_m::{Core, Numbers};
use super::{BLOCK, CheckedRow, Destination, GROUP, Kernel, Packing, Row};

/// What counts lack in the arena.
const OFFSET: u8 = Kernel::CortexMMve.offset();

/// Pixels that are computed together.
const PIXELS: usize = Packing::Fours.pixels();

const _: () = assert!(PIXELS == 2, "the assembly computes two");

/// The sums of a block of outputs, pixel by pixel.
type Sums = [[i32; BLOCK]; PIXELS];

/// Whether this core has the instructions.
pub(super) fn available() -> bool {
    Core::detect().mve
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let numbers = Numbers::new(row.destination.stage(), OFFSET);
    let weights = row.weights.bytes;
    let channels = row.channels();
    let arena = arena.as_mut_ptr();
    // SAFETY: the scratch memory, with the panel, lies in the arena.
    let panel = unsafe { arena.add(row.scratch.start) };
    for first in (0..row.width).step_by(PIXELS) {
        let pixels = PIXELS.min(row.width - first);
        // SAFETY: see `panel`; the pixels are those of the row.
        unsafe { gather(arena, row, first, panel) };
        for block in 0..row.blocks() {
            let channel = block * BLOCK;
            let mut sums: Sums = [[0; BLOCK]; PIXELS];
            // SAFETY: the panel holds all channels, and the block its weights, biases and scales.
            // The output pixels, and the residual's, exist.
            unsafe {
                let bias = row.bias.as_ptr().add(channel);
                let weights = weights.as_ptr().add(block * BLOCK * channels);
                multiply(&raw mut sums, panel, weights, bias, channels / BLOCK);
                finish(arena, row, &numbers, first, channel, &sums[..pixels]);
            }
        }
    }
}

/// Fills the panel with the activations of two pixels from `first` on. Where the row ends
/// before, its last pixel stands in.
///
/// # Safety
/// The row is checked, `panel` has room for its channels, and `first` is one of its pixels.
unsafe fn gather(arena: *mut u8, row: &Row, first: usize, mut panel: *mut u8) {
    for feed in row.feeds() {
        let taps = feed.taps.offsets();
        if taps.is_empty() {
            continue;
        }
        let place = |i: usize| feed.start + (first + i).min(row.width - 1) * feed.step;
        // SAFETY: each tap of each pixel lies in the arena, a whole chunk. What fills up the last
        // 16 places of few channels is any bytes: their weights are 0.
        unsafe {
            let (one, other) = (arena.add(place(0)), arena.add(place(1)));
            if feed.groups * GROUP == BLOCK {
                wide(panel, one, other, taps.as_ptr(), taps.len());
            } else {
                narrow(panel, one, other, taps.as_ptr(), taps.len());
            }
            let len = PIXELS * row.packing.channels(taps.len(), feed.groups);
            panel = panel.add(len);
        }
    }
}

/// Copies 16 activations under each of some taps of two pixels.
#[unsafe(naked)]
unsafe extern "C" fn wide(
    panel: *mut u8,
    one: *const u8,
    other: *const u8,
    taps: *const i32,
    count: usize,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "ldr r12, [sp, #8]",
        "subs r2, r1", // from the one to the other
        "dls lr, r12",
        "2: ldr r12, [r3], #4",
        "add r12, r1",
        "vldrb.u8 q0, [r12]",
        "add r12, r2",
        "vldrb.u8 q1, [r12]",
        "vstrb.8 q0, [r0], #16",
        "vstrb.8 q1, [r0], #16",
        "le lr, 2b",
        "pop {{r4, pc}}",
    )
}

/// Copies 4 activations under each of some taps of two pixels; four taps make an entry.
#[unsafe(naked)]
unsafe extern "C" fn narrow(
    panel: *mut u8,
    one: *const u8,
    other: *const u8,
    taps: *const i32,
    count: usize,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r6, lr}}",
        "ldr r4, [sp, #16]",
        "movs r6, #0",
        "2: ldr r12, [r3], #4",
        "ldr r5, [r1, r12]",
        "ldr r12, [r2, r12]",
        "str r12, [r0, #16]",
        "str r5, [r0], #4",
        "adds r6, #1",
        "tst r6, #3",
        "it eq",
        "addeq r0, #16",
        "cmp r6, r4",
        "bne 2b",
        "pop {{r4-r6, pc}}",
    )
}

/// Adds an entry of the panel at r1, and its weights at r3, to the sums.
macro_rules! entry {
    () => {
        "vldrb.u8 q0, [r1], #16
        vldrb.u8 q2, [r3], #16
        vmladava.s8 r0, q0, q2
        vldrb.u8 q1, [r1], #16
        vmladava.s8 r8, q1, q2
        vldrb.u8 q3, [r3], #16
        vmladava.s8 r2, q0, q3
        vmladava.s8 r10, q1, q3
        vldrb.u8 q2, [r3], #16
        vmladava.s8 r4, q0, q2
        vmladava.s8 r12, q1, q2
        vldrb.u8 q3, [r3], #16
        vmladava.s8 r6, q0, q3
        vmladava.s8 lr, q1, q3"
    };
}

/// The sums of a block of outputs at two pixels, biases included. `entries` are those of the panel,
/// which may be none.
#[unsafe(naked)]
unsafe extern "C" fn multiply(
    sums: *mut Sums,
    panel: *const u8,
    weights: *const i8,
    bias: *const i32,
    entries: usize,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "ldr r5, [sp, #36]",
        // Two entries a round; where their number is odd, the first round begins in the middle.
        "adds r4, r5, #1",
        "lsrs r4, r4, #1",
        "and r5, r5, #1",
        "push {{r3-r5, lr}}",
        "mov r11, r0",
        "mov r7, r1",
        "mov r9, r3",
        "mov r3, r2",
        // Four outputs.
        "1: mov r1, r7",
        "ldm r9!, {{r0, r2, r4, r6}}",
        "ldr r12, [sp, #8]",
        "ldr r5, [sp, #4]",
        "mov r8, r0",
        "mov r10, r2",
        "mov lr, r6",
        "cbz r5, 4f",
        "cmp r12, #0",
        "mov r12, r4",
        "bne 3f",
        "2:",
        entry!(),
        "3:",
        entry!(),
        "subs r5, #1",
        "bne 2b",
        "b 5f",
        "4: mov r12, r4",
        "5: stm r11, {{r0, r2, r4, r6}}",
        "add r5, r11, #64",
        "stm r5, {{r8, r10, r12, lr}}",
        "adds r11, #16",
        "ldr r5, [sp]",
        "sub r4, r9, r5",
        "cmp r4, #64",
        "bne 1b",
        "add sp, #16",
        "pop {{r4-r11, pc}}",
    )
}

/// Where the results of some pixels of a block go.
#[repr(C)]
struct Places {
    /// Bytes from one output pixel, and from one of the residual's, to the next.
    steps: [usize; 2],
    /// The first pixel of the residual.
    other: *const u8,
    pixels: usize,
}

/// Turns the sums of some pixels from `first` on, those of the block from `channel` on, into what
/// the row's destination holds.
///
/// # Safety
/// The row is checked, and has the pixels and the channel.
unsafe fn finish(
    arena: *mut u8,
    row: &Row,
    numbers: &Numbers,
    first: usize,
    channel: usize,
    sums: &[[i32; BLOCK]],
) {
    let pixels = sums.len();
    // SAFETY: of a checked row the scales cover all blocks, and each pixel of the output and of the
    // residual lies in the arena.
    unsafe {
        let scales = row.destination.stage().scales.as_ptr().add(channel);
        match row.destination {
            Destination::Quantized { start, step, residual: [other, other_step], .. } => {
                let out = arena.add(start + first * step + channel);
                let other = arena.cast_const().wrapping_add(other + first * other_step + channel);
                let places = Places { steps: [step, other_step], other, pixels };
                store(sums.as_ptr(), scales, out, numbers, &raw const places);
            }
            Destination::Float { start, .. } => {
                let step = row.bias.len() * 4;
                let out = arena.add(start + first * step + channel * 4);
                reals(sums.as_ptr(), scales, out, step, pixels);
            }
        }
    }
}

/// Applies a layer's rules to 16 sums of each of some pixels, and stores the counts.
#[unsafe(naked)]
unsafe extern "C" fn store(
    sums: *const [i32; BLOCK],
    scales: *const f32,
    out: *mut u8,
    numbers: *const Numbers,
    places: *const Places,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "ldr lr, [sp, #100]",
        "sub sp, #16",
        "ldm lr, {{r4-r7}}",
        "stm sp, {{r4-r7}}",
        // Fixed-point counts: even channels to q4, odd ones to q5.
        "1: vld40.32 {{q0, q1, q2, q3}}, [r0]",
        "vld41.32 {{q0, q1, q2, q3}}, [r0]",
        "vld42.32 {{q0, q1, q2, q3}}, [r0]",
        "vld43.32 {{q0, q1, q2, q3}}, [r0]!",
        "vld40.32 {{q4, q5, q6, q7}}, [r1]",
        "vld41.32 {{q4, q5, q6, q7}}, [r1]",
        "vld42.32 {{q4, q5, q6, q7}}, [r1]",
        "vld43.32 {{q4, q5, q6, q7}}, [r1]",
        "vcvt.f32.s32 q0, q0",
        "vcvt.f32.s32 q1, q1",
        "vcvt.f32.s32 q2, q2",
        "vcvt.f32.s32 q3, q3",
        "vmul.f32 q0, q0, q4",
        "vmul.f32 q1, q1, q5",
        "vmul.f32 q2, q2, q6",
        "vmul.f32 q3, q3, q7",
        "vcvtn.s32.f32 q0, q0",
        "vcvtn.s32.f32 q1, q1",
        "vcvtn.s32.f32 q2, q2",
        "vcvtn.s32.f32 q3, q3",
        "vqmovnb.s32 q4, q0",
        "vqmovnb.s32 q5, q1",
        "vqmovnt.s32 q4, q2",
        "vqmovnt.s32 q5, q3",
        // Curve, cubic, one, depth, squarings beyond three, round, zero point, adds.
        "ldm r3, {{r4-r12, lr}}",
        "cmp r4, #1",
        "blo 4f",
        "vmov.i32 q3, #0",
        "bne 2f",
        "vmax.s16 q4, q4, q3",
        "vmax.s16 q5, q5, q3",
        "b 4f",
        "2: vmin.s16 q1, q4, q3",
        "vmin.s16 q6, q5, q3",
        "vmax.s16 q4, q4, q3",
        "vmax.s16 q5, q5, q3",
        "vqrdmulh.s16 q2, q1, r5",
        "vqrdmulh.s16 q7, q6, r5",
        "vadd.i16 q2, q2, r6",
        "vadd.i16 q7, q7, r6",
        "vqrdmulh.s16 q2, q2, q1",
        "vqrdmulh.s16 q7, q7, q6",
        "vadd.i16 q2, q2, r7",
        "vadd.i16 q7, q7, r7",
        "movw r4, #32767",
        "vqrdmulh.s16 q2, q2, q1",
        "vqrdmulh.s16 q7, q7, q6",
        "vadd.i16 q2, q2, r4",
        "vadd.i16 q7, q7, r4",
        "vqrdmulh.s16 q2, q2, q2",
        "vqrdmulh.s16 q7, q7, q7",
        "vqrdmulh.s16 q2, q2, q2",
        "vqrdmulh.s16 q7, q7, q7",
        "vqrdmulh.s16 q2, q2, q2",
        "vqrdmulh.s16 q7, q7, q7",
        "cmp r10, #0",
        "beq 6f",
        "3: vqrdmulh.s16 q2, q2, q2",
        "vqrdmulh.s16 q7, q7, q7",
        "subs r10, #1",
        "bne 3b",
        "6: vdup.16 q1, r8",
        "vsub.i16 q2, q1, q2",
        "vsub.i16 q7, q1, q7",
        "vqrdmulh.s16 q2, q2, r9",
        "vqrdmulh.s16 q7, q7, r9",
        "vsub.i16 q4, q4, q2",
        "vsub.i16 q5, q5, q7",
        "4: vqrdmulh.s16 q4, q4, r11",
        "vqrdmulh.s16 q5, q5, r11",
        "cmp lr, #0",
        "beq 5f",
        // The residual: first, second, offset, round, zero point.
        "rsb r10, r12, #127",
        "sub r9, r10, #255",
        "vdup.16 q1, r9",
        "vdup.16 q2, r10",
        "add r9, r3, #40",
        "ldm r9, {{r4-r7, r12}}",
        "ldrd r10, r9, [sp, #4]",
        "vmax.s16 q4, q4, q1",
        "vmax.s16 q5, q5, q1",
        "vmin.s16 q4, q4, q2",
        "vmin.s16 q5, q5, q2",
        "vldrb.u8 q0, [r9]",
        "add r9, r10",
        "str r9, [sp, #8]",
        "vshl.i16 q4, q4, #7",
        "vshl.i16 q5, q5, #7",
        "vqrdmulh.s16 q4, q4, r4",
        "vqrdmulh.s16 q5, q5, r4",
        "vshllb.s8 q1, q0, #8",
        "vshllt.s8 q2, q0, #8",
        "vqrdmulh.s16 q1, q1, r5",
        "vqrdmulh.s16 q2, q2, r5",
        "vqadd.s16 q1, q1, r6",
        "vqadd.s16 q2, q2, r6",
        "vqadd.s16 q4, q4, q1",
        "vqadd.s16 q5, q5, q2",
        "vqrdmulh.s16 q4, q4, r7",
        "vqrdmulh.s16 q5, q5, r7",
        "5: vadd.i16 q4, q4, r12",
        "vadd.i16 q5, q5, r12",
        "vqmovnb.s16 q0, q4",
        "vqmovnt.s16 q0, q5",
        "ldr r4, [sp]",
        "ldr r5, [sp, #12]",
        "vstrb.8 q0, [r2]",
        "add r2, r4",
        "subs r5, #1",
        "str r5, [sp, #12]",
        "bne 1b",
        "add sp, #16",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
    )
}

/// Stores 16 sums of each of some pixels, scaled, as f32 at any address.
#[unsafe(naked)]
unsafe extern "C" fn reals(
    sums: *const [i32; BLOCK],
    scales: *const f32,
    out: *mut u8,
    step: usize,
    pixels: usize,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "ldr r12, [sp]",
        "push {{r4-r6, lr}}",
        "movs r5, #4",
        "1: mov r4, r2",
        "dls lr, r5",
        "2: vldrw.u32 q0, [r0], #16",
        "vldrw.u32 q1, [r1], #16",
        "vcvt.f32.s32 q0, q0",
        "vmul.f32 q0, q0, q1",
        "vstrb.8 q0, [r4], #16",
        "le lr, 2b",
        "subs r1, #64",
        "add r2, r3",
        "subs r12, #1",
        "bne 1b",
        "pop {{r4-r6, pc}}",
    )
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the instructions, which change registers alone.
    unsafe { repeat(rounds) };
    (rounds * 4 * 16) as u64
}

/// Runs four multiplications a round.
#[unsafe(naked)]
unsafe extern "C" fn repeat(rounds: usize) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "cbz r0, 3f",
        "dls lr, r0",
        "2: vmladava.s8 r0, q0, q1",
        "vmladava.s8 r2, q0, q2",
        "vmladava.s8 r4, q0, q3",
        "vmladava.s8 r12, q1, q2",
        "le lr, 2b",
        "3: pop {{r4, pc}}",
    )
}
