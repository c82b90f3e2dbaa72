//! Segments the embedded sample on a Cortex-A53, the virt machine.

#![no_std]
#![no_main]

use board::Memory;
use board::sample::Program;
use monet_core::{Aligned, arena_len};

#[cfg(not(feature = "scalar"))]
const IMAGE: &[u8] = include_bytes!(concat!(env!("BOARD_FILES"), "/hippocampus.neon.image"));
#[cfg(feature = "scalar")]
const IMAGE: &[u8] = include_bytes!(concat!(env!("BOARD_FILES"), "/hippocampus.scalar.image"));
const SAMPLE: &[u8] = include_bytes!(concat!(env!("BOARD_FILES"), "/sample.bin"));

static FLASH: Aligned<{ IMAGE.len() }> = Aligned::from_slice(IMAGE);
static SLICES: Aligned<{ SAMPLE.len() }> = Aligned::from_slice(SAMPLE);
static ARENA: Memory<Aligned<{ arena_len(IMAGE) }>> = Memory::new(Aligned::ZERO);
static LABELS: Memory<[u8; 48 * 48]> = Memory::new([0; 48 * 48]);

board::program!(main);

fn main() -> bool {
    let (Some(arena), Some(labels)) = (ARENA.take(), LABELS.take()) else { return false };
    let most = if cfg!(feature = "few") { 4 } else { usize::MAX };
    let (image, sample, arena) = (&FLASH.0, &SLICES.0, &mut arena.0);
    Program { image, sample, arena, labels, most, instructions }.run()
}

/// Instructions so far: the generic timer, at 16 ns a tick of the emulator's clock.
fn instructions() -> u64 {
    let ticks: u64;
    // SAFETY: the counter is readable everywhere.
    unsafe { core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack)) };
    ticks * 16
}
