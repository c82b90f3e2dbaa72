//! Takes raw slices over the serial port of a Cortex-M7, the mps2-an500 machine, and returns
//! labels: what `monet board` talks to. It never ends.

#![no_std]
#![no_main]

use board::sample::{prove, refuse};
use board::semihosting::Line;
use board::{Memory, Uart};
use monet_core::{Aligned, arena_len};
use monet_link::{Board, Reader};

const IMAGE: &[u8] =
    include_bytes!(concat!(env!("BOARD_FILES"), "/hippocampus.cortex-m-dsp.image"));
/// Pixels of the net's slices, and of the largest slice that is taken.
const NET: usize = 48 * 48;
const SLICE: usize = 128 * 128;

static FLASH: Aligned<{ IMAGE.len() }> = Aligned::from_slice(IMAGE);
static ARENA: Memory<Aligned<{ arena_len(IMAGE) }>> = Memory::new(Aligned::ZERO);
static SLICES: Memory<[i16; 3 * SLICE]> = Memory::new([0; 3 * SLICE]);
static LABELS: Memory<([u8; NET], [u8; SLICE])> = Memory::new(([0; NET], [0; SLICE]));

board::program!(main);

fn main() -> bool {
    let (Some(arena), Some(slices), Some((net, labels))) =
        (ARENA.take(), SLICES.take(), LABELS.take())
    else {
        return false;
    };
    let plan = match prove(&FLASH.0) {
        Ok(plan) => plan,
        Err(why) => return refuse(why),
    };
    let memory = monet_link::Memory { arena: &mut arena.0, slices, net, labels };
    let Ok(mut link) = Board::new(plan, memory) else { return refuse("memory is too short") };
    // UART 0 of the board (Arm AN500, memory map and interrupts).
    let Some(mut uart) = Uart::take(0x4000_4000, 0) else { return false };
    Line::new("ready").end();
    let mut reader = Reader::new();
    loop {
        let byte = uart.read();
        if let Some(frame) = reader.push(byte) {
            link.answer(frame, &mut |bytes| uart.write(bytes));
        }
    }
}
