//! Cortex-M with DSP instructions (M4, M7, M33): 3 pixels × 2 outputs, two products an instruction.
//!
//! `smlad` adds two products of 16-bit numbers to a 32-bit sum. Counts become words once for each
//! three pixels and stay in a panel; weights become words in registers, each time anew:
//!
//! ```text
//! panel     for each group of channels c0 to c3:  p0: c0 c2, c1 c3   p1: …   p2: …
//! weights   for each group:  o0: c0 c1 c2 c3   o1: …       sxtb16 ──> c0 c2, c1 c3
//! smlad     12 an entry of the panel: 3 pixels × 2 outputs × 4 channels
//! ```
//!
//! Rules are applied in two passes over the 16 sums of a pixel: [`curve`], then [`store`].
//! The rounding product `(a × b + 0x4000) >> 15` is `smlabb` and a shift. With factors shifted
//! beforehand, `2a` and `b << 16`, it is `smmlar` alone, which also adds.
//!
//! All of it is assembly in naked functions. The intrinsics are not stable, and the compiler would
//! not keep the 14 registers that the innermost loop fills.

use core::arch::naked_asm;

use super::cortex_m::{Core, Numbers};
use super::{BLOCK, CheckedRow, Destination, GROUP, Packing, Row};

/// Pixels that are computed together.
const PIXELS: usize = Packing::Twos.pixels();
/// Bytes of a group of channels in the panel.
const ENTRY: usize = PIXELS * 8;

const _: () = assert!(PIXELS == 3, "the assembly computes three");

/// The sums of a block of outputs, pixel by pixel.
type Sums = [[i32; BLOCK]; PIXELS];

/// Whether this core has the instructions.
pub(super) fn available() -> bool {
    let core = Core::detect();
    core.dsp && core.fpu
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let numbers = Numbers::new(row.destination.stage(), 0);
    let weights = row.weights.bytes;
    let depth = row.depth();
    let block_len = depth * GROUP * BLOCK;
    let arena = arena.as_mut_ptr();
    // SAFETY: the scratch memory lies in the arena and holds a panel behind a multiple of 4.
    let panel = unsafe {
        let start = arena.add(row.scratch.start);
        start.add(start.addr().next_multiple_of(4) - start.addr())
    };
    for first in (0..row.width).step_by(PIXELS) {
        let pixels = PIXELS.min(row.width - first);
        // SAFETY: see `panel`; the pixels are those of the row.
        unsafe { gather(arena, row, first, panel.cast()) };
        for block in 0..row.blocks() {
            let channel = block * BLOCK;
            let mut sums: Sums = [[0; BLOCK]; PIXELS];
            // SAFETY: the panel holds `depth` entries, the block its weights, biases and scales.
            unsafe {
                let bias = row.bias.as_ptr().add(channel);
                let weights = weights.as_ptr().add(block * block_len);
                multiply(&raw mut sums, panel.cast(), weights, bias, depth);
            }
            for (i, sums) in sums.iter_mut().enumerate().take(pixels) {
                // SAFETY: the output pixel, the residual's and the scales of the block exist.
                unsafe { finish(arena, row, &numbers, first + i, channel, sums) };
            }
        }
    }
}

/// Fills the panel with the activations of three pixels from `first` on. Where the row ends before,
/// its last pixel stands in.
///
/// # Safety
/// The row is checked, `panel` has room for its depth, and `first` is one of its pixels.
unsafe fn gather(arena: *mut u8, row: &Row, first: usize, mut panel: *mut u32) {
    for feed in row.feeds() {
        let taps = feed.taps.offsets();
        if taps.is_empty() {
            continue;
        }
        let place = |i: usize| feed.start + (first + i).min(row.width - 1) * feed.step;
        let arena = arena.cast_const();
        // SAFETY: each tap of each pixel lies in the arena, a whole chunk.
        unsafe {
            let pixels = [arena.add(place(0)), arena.add(place(1)), arena.add(place(2))];
            widen(panel, &raw const pixels, taps.as_ptr(), taps.len(), feed.groups);
            panel = panel.byte_add(taps.len() * feed.groups * ENTRY);
        }
    }
}

/// Writes the counts under some taps of three pixels as words: for each group and pixel, channels
/// 0 and 2, then 1 and 3.
#[unsafe(naked)]
unsafe extern "C" fn widen(
    panel: *mut u32,
    pixels: *const [*const u8; PIXELS],
    taps: *const i32,
    count: usize,
    groups: usize,
) {
    naked_asm!(
        ".cpu cortex-m4",
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]", // groups
        "ldm r1, {{r4-r6}}",
        "2: ldr r7, [r2], #4",
        "add r8, r4, r7",
        "add r9, r5, r7",
        "add r10, r6, r7",
        "mov r7, r12",
        "3: ldr r1, [r8], #4",
        "ldr r11, [r9], #4",
        "uxtb16 lr, r1",
        "uxtb16 r1, r1, ror #8",
        "strd lr, r1, [r0], #8",
        "ldr lr, [r10], #4",
        "uxtb16 r1, r11",
        "uxtb16 r11, r11, ror #8",
        "strd r1, r11, [r0], #8",
        "uxtb16 r1, lr",
        "uxtb16 lr, lr, ror #8",
        "strd r1, lr, [r0], #8",
        "subs r7, #1",
        "bne 3b",
        "subs r3, #1",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}

/// Adds a group of channels to the sums of three pixels and two outputs. r1 points into the panel,
/// r2 to the weights; the sums are r0 and r3, r4 and r5, r6 and r7.
macro_rules! group {
    () => {
        "ldrd r8, r9, [r2], #8
        ldrd r12, lr, [r1], #8
        sxtb16 r10, r8
        sxtb16 r11, r9
        sxtb16 r8, r8, ror #8
        smlad r0, r12, r10, r0
        sxtb16 r9, r9, ror #8
        smlad r3, r12, r11, r3
        smlad r0, lr, r8, r0
        smlad r3, lr, r9, r3
        ldrd r12, lr, [r1], #8
        smlad r4, r12, r10, r4
        smlad r5, r12, r11, r5
        smlad r4, lr, r8, r4
        smlad r5, lr, r9, r5
        ldrd r12, lr, [r1], #8
        smlad r6, r12, r10, r6
        smlad r7, r12, r11, r7
        smlad r6, lr, r8, r6
        smlad r7, lr, r9, r7"
    };
}

/// The sums of a block of outputs at three pixels, biases included. `depth` is the number of
/// groups, which may be 0.
///
/// On the stack: sums, panel, bias, end of fours of groups, end of the panel, end of biases.
#[unsafe(naked)]
unsafe extern "C" fn multiply(
    sums: *mut Sums,
    panel: *const u32,
    weights: *const i8,
    bias: *const i32,
    depth: usize,
) {
    naked_asm!(
        ".cpu cortex-m4",
        "push {{r4-r11, lr}}",
        "ldr r4, [sp, #36]",
        "sub sp, #24",
        "strd r0, r1, [sp]",
        "bic r5, r4, #3",
        "movs r6, #{entry}",
        "mla r5, r5, r6, r1",
        "str r5, [sp, #12]",
        "mla r5, r4, r6, r1",
        "str r5, [sp, #16]",
        "add r5, r3, #64",
        "str r5, [sp, #20]",
        "mov r8, r3",
        // Two outputs.
        "1: ldr r1, [sp, #4]",
        "ldrd r0, r3, [r8], #8",
        "str r8, [sp, #8]",
        "ldr r12, [sp, #12]",
        "mov r4, r0",
        "mov r5, r3",
        "mov r6, r0",
        "mov r7, r3",
        "cmp r1, r12",
        "beq 3f",
        // Four groups.
        "2:",
        group!(),
        group!(),
        group!(),
        group!(),
        "ldr r12, [sp, #12]",
        "cmp r1, r12",
        "bne 2b",
        "3: ldr r12, [sp, #16]",
        "cmp r1, r12",
        "beq 5f",
        // The groups that are left.
        "4:",
        group!(),
        "ldr r12, [sp, #16]",
        "cmp r1, r12",
        "bne 4b",
        "5: ldr r12, [sp]",
        "ldr r8, [sp, #8]",
        "ldr r9, [sp, #20]",
        "strd r4, r5, [r12, #64]",
        "strd r6, r7, [r12, #128]",
        "strd r0, r3, [r12], #8",
        "str r12, [sp]",
        "cmp r8, r9",
        "bne 1b",
        "add sp, #24",
        "pop {{r4-r11, pc}}",
        entry = const ENTRY,
    )
}

/// Turns the sums of a pixel, those of the block from `channel` on, into what the row's destination
/// holds.
///
/// # Safety
/// The row is checked, and has the pixel and the channel.
unsafe fn finish(
    arena: *mut u8,
    row: &Row,
    numbers: &Numbers,
    pixel: usize,
    channel: usize,
    sums: &mut [i32; BLOCK],
) {
    // SAFETY: of a checked row the scales cover all blocks, and each pixel of the output and of the
    // residual lies in the arena.
    unsafe {
        let scales = row.destination.stage().scales.as_ptr().add(channel);
        match row.destination {
            Destination::Quantized { start, step, residual: [other, other_step], .. } => {
                let out = arena.add(start + pixel * step + channel);
                let other = arena.cast_const().wrapping_add(other + pixel * other_step + channel);
                curve(sums, scales, numbers);
                store(sums, out, numbers, other);
            }
            Destination::Float { start, .. } => {
                let out = arena.add(start + (pixel * row.bias.len() + channel) * 4);
                reals(sums, scales, out);
            }
        }
    }
}

/// Makes four fixed-point counts of four sums at r0 and their scales at r1: s0 to s3, not yet
/// saturated.
macro_rules! four {
    () => {
        "vldm r0, {{s0-s3}}
        vldm r1!, {{s4-s7}}
        vcvt.f32.s32 s0, s0
        vcvt.f32.s32 s1, s1
        vcvt.f32.s32 s2, s2
        vcvt.f32.s32 s3, s3
        vmul.f32 s0, s0, s4
        vmul.f32 s1, s1, s5
        vmul.f32 s2, s2, s6
        vmul.f32 s3, s3, s7
        vcvtr.s32.f32 s0, s0
        vcvtr.s32.f32 s1, s1
        vcvtr.s32.f32 s2, s2
        vcvtr.s32.f32 s3, s3"
    };
}

/// ELU of the fixed-point count in a register, which goes to r0. Positive counts stay as they are.
/// Constants: r3 twice the cubic's first coefficient, r4 and r5 the others, r6 32767, r7 `one`, r8
/// `depth`, r9 0x4000, lr squarings beyond three.
macro_rules! elu {
    ($from:literal) => {
        concat!(
            "vmov r10, ",
            $from,
            "
        ssat r10, #16, r10
        cmp r10, #0
        bgt 7f
        lsl r11, r10, #16
        smmlar r12, r3, r11, r4
        lsl r12, r12, #1
        smmlar r12, r12, r11, r5
        lsl r12, r12, #1
        smmlar r12, r12, r11, r6
        smlabb r12, r12, r12, r9
        asr r12, r12, #15
        smlabb r12, r12, r12, r9
        asr r12, r12, #15
        smlabb r12, r12, r12, r9
        asr r12, r12, #15
        movs r11, lr
        beq 6f
        5: smlabb r12, r12, r12, r9
        asr r12, r12, #15
        subs r11, #1
        bne 5b
        6: sub r12, r7, r12
        smlabb r12, r12, r8, r9
        asr r12, r12, #15
        rsb r10, r12, #0
        7: str r10, [r0], #4"
        )
    };
}

/// Makes fixed-point counts of 16 sums, and applies the activation to them, in place.
#[unsafe(naked)]
unsafe extern "C" fn curve(sums: *mut [i32; BLOCK], scales: *const f32, numbers: *const Numbers) {
    naked_asm!(
        ".cpu cortex-m4",
        ".fpu fpv4-sp-d16",
        "push {{r4-r11, lr}}",
        "ldm r2!, {{r3-r8, lr}}",
        "add r2, r0, #64",
        "cmp r3, #1",
        "bhi 3f",
        "beq 2f",
        // Linear.
        "1:",
        four!(),
        "vmov r4, r5, s0, s1",
        "vmov r6, r7, s2, s3",
        "ssat r4, #16, r4",
        "ssat r5, #16, r5",
        "ssat r6, #16, r6",
        "ssat r7, #16, r7",
        "stm r0!, {{r4-r7}}",
        "cmp r0, r2",
        "bne 1b",
        "pop {{r4-r11, pc}}",
        // ReLU: negative numbers saturate to 0.
        "2:",
        four!(),
        "vmov r4, r5, s0, s1",
        "vmov r6, r7, s2, s3",
        "usat r4, #15, r4",
        "usat r5, #15, r5",
        "usat r6, #15, r6",
        "usat r7, #15, r7",
        "stm r0!, {{r4-r7}}",
        "cmp r0, r2",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        // ELU.
        "3: lsl r3, r4, #1",
        "mov r4, r5",
        "mov r5, r6",
        "movw r6, #32767",
        "mov r9, #0x4000",
        "4:",
        four!(),
        elu!("s0"),
        elu!("s1"),
        elu!("s2"),
        elu!("s3"),
        "cmp r0, r2",
        "bne 4b",
        "pop {{r4-r11, pc}}",
    )
}

/// Removes the fraction bits of 16 fixed-point counts, adds the residual at `other` where there is
/// one, and stores the counts at `out`.
#[unsafe(naked)]
unsafe extern "C" fn store(
    sums: *const [i32; BLOCK],
    out: *mut u8,
    numbers: *const Numbers,
    other: *const u8,
) {
    naked_asm!(
        ".cpu cortex-m4",
        "push {{r4-r11, lr}}",
        "mov r12, #0x4000",
        "add r2, #28",
        "ldm r2!, {{r4-r6}}", // round, zero point, whether a residual is added
        "add lr, r1, #16",
        "cbnz r6, 3f",
        "2: ldm r0!, {{r6-r9}}",
        "smlabb r6, r6, r4, r12",
        "smlabb r7, r7, r4, r12",
        "smlabb r8, r8, r4, r12",
        "smlabb r9, r9, r4, r12",
        "add r6, r5, r6, asr #15",
        "add r7, r5, r7, asr #15",
        "add r8, r5, r8, asr #15",
        "add r9, r5, r9, asr #15",
        "usat r6, #8, r6",
        "usat r7, #8, r7",
        "usat r8, #8, r8",
        "usat r9, #8, r9",
        "orr r6, r6, r7, lsl #8",
        "orr r8, r8, r9, lsl #8",
        "orr r6, r6, r8, lsl #16",
        "str r6, [r1], #4",
        "cmp r1, lr",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        // With a residual: first, second, offset, round, zero point. The first summand is
        // (count << 7) × first, rounded at 15 bits, which is count × first, rounded at 8; likewise
        // the second at 7.
        "3: push {{lr}}",
        "ldm r2, {{r6-r10}}",
        "4: ldr r11, [r0], #4",
        "ldrb lr, [r3], #1",
        "smlabb r11, r11, r4, r12",
        "sub lr, #128",
        "add r11, r5, r11, asr #15",
        "mov r2, #64",
        "usat r11, #8, r11",
        "smlabb lr, lr, r7, r2",
        "sub r11, r11, r5",
        "add lr, r8, lr, asr #7",
        "mov r2, #128",
        "ssat lr, #16, lr",
        "smlabb r11, r11, r6, r2",
        "ldr r2, [sp]",
        "add r11, lr, r11, asr #8",
        "ssat r11, #16, r11",
        "smlabb r11, r11, r9, r12",
        "add r11, r10, r11, asr #15",
        "usat r11, #8, r11",
        "strb r11, [r1], #1",
        "cmp r1, r2",
        "bne 4b",
        "add sp, #4",
        "pop {{r4-r11, pc}}",
    )
}

/// Stores 16 sums, scaled, as f32 at any address.
#[unsafe(naked)]
unsafe extern "C" fn reals(sums: *const [i32; BLOCK], scales: *const f32, out: *mut u8) {
    naked_asm!(
        ".cpu cortex-m4",
        ".fpu fpv4-sp-d16",
        "add r3, r2, #64",
        "2: vldm r0!, {{s0}}",
        "vldm r1!, {{s1}}",
        "vcvt.f32.s32 s0, s0",
        "vmul.f32 s0, s0, s1",
        "vmov r12, s0",
        "str r12, [r2], #4",
        "cmp r2, r3",
        "bne 2b",
        "bx lr",
    )
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the instructions, which change registers alone.
    unsafe { repeat(rounds) };
    (rounds * 8 * 2) as u64
}

/// Runs eight multiplications a round.
#[unsafe(naked)]
unsafe extern "C" fn repeat(rounds: usize) {
    naked_asm!(
        ".cpu cortex-m4",
        "push {{r4-r7, lr}}",
        "cbz r0, 3f",
        "2: smlad r1, r12, lr, r1",
        "smlad r2, r12, lr, r2",
        "smlad r3, r12, lr, r3",
        "smlad r4, r12, lr, r4",
        "smlad r5, r12, lr, r5",
        "smlad r6, r12, lr, r6",
        "smlad r7, r12, lr, r7",
        "smlad r1, r12, lr, r1",
        "subs r0, #1",
        "bne 2b",
        "3: pop {{r4-r7, pc}}",
    )
}
