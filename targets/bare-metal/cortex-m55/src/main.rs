//! Segments the embedded sample on a Cortex-M55, the mps3-an547 machine.

#![no_std]
#![no_main]

use board::Memory;
use board::sample::Program;
use monet_core::{Aligned, arena_len};

#[cfg(not(feature = "scalar"))]
const IMAGE: &[u8] =
    include_bytes!(concat!(env!("BOARD_FILES"), "/hippocampus.cortex-m-mve.image"));
#[cfg(feature = "scalar")]
const IMAGE: &[u8] = include_bytes!(concat!(env!("BOARD_FILES"), "/hippocampus.scalar.image"));
const SAMPLE: &[u8] = include_bytes!(concat!(env!("BOARD_FILES"), "/sample.bin"));

#[unsafe(link_section = ".slow")]
static FLASH: Aligned<{ IMAGE.len() }> = Aligned::from_slice(IMAGE);
#[unsafe(link_section = ".slow")]
static SLICES: Aligned<{ SAMPLE.len() }> = Aligned::from_slice(SAMPLE);
static ARENA: Memory<Aligned<{ arena_len(IMAGE) }>> = Memory::new(Aligned::ZERO);
static LABELS: Memory<[u8; 48 * 48]> = Memory::new([0; 48 * 48]);

board::program!(main);

fn main() -> bool {
    let (Some(arena), Some(labels)) = (ARENA.take(), LABELS.take()) else { return false };
    let most = if cfg!(feature = "few") { 4 } else { usize::MAX };
    let (image, sample, arena) = (&FLASH.0, &SLICES.0, &mut arena.0);
    let program = Program { image, sample, arena, labels, most, instructions };
    if cfg!(feature = "steps") { program.steps() } else { program.run() }
}

/// Instructions so far: the board's counter, at 50 ns a tick of the emulator's clock.
fn instructions() -> u64 {
    let counter = core::ptr::with_exposed_provenance::<u32>(0x5930_2018);
    // SAFETY: a register of the board (FPGAIO, COUNTER); reading it changes nothing.
    u64::from(unsafe { counter.read_volatile() }) * 50
}
