//! A beginning for STM32H7S3 and H7S7, whose code begins in 64 kB of internal flash memory.
//! It is built, and was never run on one.

#![no_std]
#![no_main]

use board::Memory;
use monet_core::{Aligned, arena_len};
use templates::{Buffers, Scanner, run};

const IMAGE: &[u8] =
    include_bytes!(concat!(env!("BOARD_FILES"), "/hippocampus.cortex-m-dsp.image"));

#[unsafe(link_section = ".plan")]
static PLAN: Aligned<{ IMAGE.len() }> = Aligned::from_slice(IMAGE);
#[unsafe(link_section = ".arena")]
static ARENA: Memory<Aligned<{ arena_len(IMAGE) }>> = Memory::new(Aligned::ZERO);
static BUFFERS: Memory<Buffers> = Memory::new(Buffers::ZERO);

board::program!(main);

fn main() -> bool {
    // Here: clocks, caches, external memory.
    let Some(arena) = ARENA.take() else { return false };
    run(&PLAN.0, &mut arena.0, &BUFFERS, &mut Device);
    true
}

/// Put in place of this the device that slices come from.
struct Device;

impl Scanner for Device {
    fn volume(&mut self) -> Option<usize> {
        core::hint::black_box(None)
    }

    fn read(&mut self, _slice: usize, _voxels: &mut [i16]) {}

    fn take(&mut self, _slice: usize, _labels: &[u8]) {}
}
