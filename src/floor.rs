//! 32-bit ARM: on a CPU below this build's floor, ARMv7 with NEON, the program ends with one
//! message and exit code 1.
//!
//! Even the C library's start and Rust's `main` are made of instructions that an ARMv6 lacks, and
//! the standard library's arithmetic uses the 32 registers that come with NEON. So the check is the
//! ELF entry point (`build.rs` names it), in instructions of ARMv4, and goes on to the C library's.
//! It asks what the kernel tells every program at its start (getauxval(3), AT_HWCAP). 64-bit ARM
//! and x86-64 have no CPU below their floors.

macro_rules! message {
    () => {
        "monet: error: this CPU is no ARMv7 with NEON, which this build is made for: run it on a \
         newer board"
    };
}

core::arch::global_asm!(
    ".pushsection .text.monet_entry,\"ax\",%progbits",
    ".arm",
    ".globl monet_entry",
    ".type monet_entry, %function",
    "monet_entry:",
    // On the stack: count of arguments, arguments, 0, environment, 0, pairs of kind and value, 0.
    // r0 is the C library's.
    "ldr r1, [sp]",
    "add r1, sp, r1, lsl #2",
    "add r1, r1, #8",
    "1: ldr r2, [r1], #4",
    "cmp r2, #0",
    "bne 1b",
    "2: ldr r2, [r1], #4",
    "ldr r3, [r1], #4",
    "cmp r2, #0",
    "beq _start",
    "cmp r2, #{capabilities}",
    "bne 2b",
    "tst r3, #{neon}",
    "bne _start",
    "mov r0, #2",
    "adr r1, 3f",
    "mov r2, #{length}",
    "mov r7, #{write}",
    "svc #0",
    "mov r0, #1",
    "mov r7, #{exit}",
    "svc #0",
    concat!("3: .ascii \"", message!(), "\\n\""),
    ".balign 4",
    ".size monet_entry, . - monet_entry",
    ".popsection",
    capabilities = const 16,
    neon = const 1 << 12,
    length = const message!().len() + 1,
    write = const 4,
    exit = const 1,
);
