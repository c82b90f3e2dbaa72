//! A beginning for Alif Ensemble E7 and E8, the high-performance Cortex-M55.
//! It is built, and was never run on one.

#![no_std]
#![no_main]

use board::Memory;
use monet_core::{Aligned, arena_len};
use templates::{Buffers, run};

const IMAGE: &[u8] =
    include_bytes!(concat!(env!("BOARD_FILES"), "/hippocampus.cortex-m-mve.image"));

#[unsafe(link_section = ".plan")]
static PLAN: Aligned<{ IMAGE.len() }> = Aligned::from_slice(IMAGE);
#[unsafe(link_section = ".arena")]
static ARENA: Memory<Aligned<{ arena_len(IMAGE) }>> = Memory::new(Aligned::ZERO);
static BUFFERS: Memory<Buffers> = Memory::new(Buffers::ZERO);

board::program!(main);

fn main() -> bool {
    // Here: clocks, caches, external memory, and the device that slices come from.
    let Some(arena) = ARENA.take() else { return false };
    // Put in place of both: the next slice, normalised and fitted, and what becomes of the labels.
    let fill = |_slice: &mut [f32]| core::hint::black_box(false);
    let done = |_labels: &[u8]| ();
    run(&PLAN.0, &mut arena.0, &BUFFERS, fill, done);
    true
}
