//! Runs the conformance cases of the kernel on a Cortex-M7, the mps2-an500 machine.

#![no_std]
#![no_main]

use board::Memory;
use board::cases::{self, Workspace};
use monet_core::Aligned;

static IMAGE: Memory<Aligned<450_048>> = Memory::new(Aligned::ZERO);
static ARENA: Memory<Aligned<450_048>> = Memory::new(Aligned::ZERO);
static VALUES: Memory<[f32; 120_000]> = Memory::new([0.0; 120_000]);

board::program!(main);

fn main() -> bool {
    let (Some(image), Some(arena), Some(values)) = (IMAGE.take(), ARENA.take(), VALUES.take())
    else {
        return false;
    };
    let workspace = Workspace { image: &mut image.0, arena: &mut arena.0, values };
    cases::run(c"cases.bin", workspace)
}
