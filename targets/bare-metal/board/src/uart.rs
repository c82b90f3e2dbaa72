//! The serial port of Arm's boards: the APB UART of the Cortex-M System Design Kit.
//!
//! See its Technical Reference Manual, "APB UART": DATA, STATE, CTRL, INTCLEAR and BAUDDIV, one
//! word each. The core sleeps until a byte arrives: the port's interrupt wakes it, and is never
//! taken.

use core::sync::atomic::{AtomicBool, Ordering};

const STATE: usize = 1;
const CTRL: usize = 2;
const INTCLEAR: usize = 3;
const BAUDDIV: usize = 4;
/// Bits of STATE: the transmitter's and the receiver's buffer of one byte is full.
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;
/// Bits of CTRL: transmitter and receiver are on, and the receiver's interrupt.
const ON: u32 = 0b1011;
/// Bit of INTCLEAR: the receiver's interrupt.
const RECEIVED: u32 = 2;
/// Words of the interrupt controller for interrupts 0 to 31: to enable, to forget.
const ISER: usize = 0xe000_e100;
const ICPR: usize = 0xe000_e280;
/// The board's clock of 25 MHz for 115,200 bits a second.
const DIVISOR: u32 = 25_000_000 / 115_200;

/// A port.
#[derive(Debug)]
pub struct Uart {
    registers: *mut u32,
    /// The bit of the receiver's interrupt.
    interrupt: u32,
}

impl Uart {
    /// Turns on the port whose registers are at this address, and whose receiver has this
    /// interrupt, of the first 32; once a program.
    pub fn take(address: usize, interrupt: u32) -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.load(Ordering::Relaxed) {
            return None;
        }
        TAKEN.store(true, Ordering::Relaxed);
        let registers = core::ptr::with_exposed_provenance_mut(address);
        let mut uart = Self { registers, interrupt: 1 << (interrupt & 31) };
        mask_interrupts();
        uart.set(BAUDDIV, DIVISOR);
        uart.set(CTRL, ON);
        controller(ISER, uart.interrupt);
        Some(uart)
    }

    /// The next byte that arrives.
    pub fn read(&mut self) -> u8 {
        // A byte that arrives before the core sleeps has left its interrupt, which wakes it at
        // once.
        while self.get(STATE) & RX_FULL == 0 {
            sleep();
        }
        let byte = self.get(0) as u8;
        self.set(INTCLEAR, RECEIVED);
        controller(ICPR, self.interrupt);
        byte
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            while self.get(STATE) & TX_FULL != 0 {}
            self.set(0, u32::from(*byte));
        }
    }

    fn get(&self, register: usize) -> u32 {
        // SAFETY: one of the five words of the port, which `take` gave to this value alone.
        unsafe { self.registers.add(register).read_volatile() }
    }

    fn set(&mut self, register: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.registers.add(register).write_volatile(value) }
    }
}

/// Keeps interrupts from being taken; they still wake the core.
fn mask_interrupts() {
    // SAFETY: the programs here handle no interrupt.
    unsafe {
        core::arch::asm!("cpsid i", options(nomem, nostack));
    }
}

/// Waits for an interrupt.
fn sleep() {
    // SAFETY: the instruction changes nothing.
    unsafe {
        core::arch::asm!("wfi", options(nomem, nostack));
    }
}

/// Writes a word of a Cortex-M's interrupt controller.
fn controller(address: usize, value: u32) {
    let word = core::ptr::with_exposed_provenance_mut::<u32>(address);
    // SAFETY: see the Armv7-M Architecture Reference Manual, NVIC: a word of bits that act alone.
    unsafe { word.write_volatile(value) }
}
