//! Semihosting: what a program asks of the debugger or emulator that it runs under.
//!
//! See "Semihosting for AArch32 and AArch64" of Arm's ABI: an operation's number, a block of words,
//! and one instruction at which the debugger looks at both.

use core::arch::asm;

const OPEN: usize = 0x01;
const WRITE0: usize = 0x04;
const READ: usize = 0x06;
const EXIT_EXTENDED: usize = 0x20;
/// Application Exit.
const EXITED: usize = 0x20026;
/// Bytes of a line with the zero behind: a word with a number, or a step as JSON. What is longer is
/// cut.
const LINE: usize = 192;

/// One operation.
///
/// # Safety
/// `argument` is what the operation asks for.
unsafe fn call(operation: usize, argument: *const u8) -> usize {
    if cfg!(not(feature = "semihosting")) {
        return usize::MAX;
    }
    let mut result = operation;
    // SAFETY: the debugger reads and writes what the argument names, and nothing else.
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("bkpt 0xab", inout("r0") result, in("r1") argument, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("hlt 0xf000", inout("x0") result, in("x1") argument, options(nostack));
    }
    result
}

/// Ends the program, with success or without.
pub fn exit(passed: bool) -> ! {
    let block = [EXITED, usize::from(!passed)];
    // SAFETY: two words, the reason and the code.
    unsafe { call(EXIT_EXTENDED, block.as_ptr().cast()) };
    loop {
        core::hint::spin_loop();
    }
}

/// A line of text that is put together before it is written.
pub struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    /// One that begins with some words.
    pub fn new(words: &str) -> Self {
        Self { bytes: [0; LINE], len: 0 }.text(words)
    }

    /// Adds words.
    pub fn text(mut self, words: &str) -> Self {
        for byte in words.bytes() {
            self.push(byte);
        }
        self
    }

    /// Adds a number, in decimal.
    pub fn number(mut self, mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut count = 0;
        for digit in &mut digits {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            count += 1;
            if number == 0 {
                break;
            }
        }
        for digit in digits.iter().take(count).rev() {
            self.push(*digit);
        }
        self
    }

    /// Adds a number, in 16 hexadecimal digits.
    pub fn hex(mut self, number: u64) -> Self {
        for i in (0..16).rev() {
            let digit = (number >> (4 * i)) as u8 & 15;
            self.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
        self
    }

    /// Writes the line.
    pub fn end(mut self) {
        self.push(b'\n');
        // SAFETY: text that ends in 0, as the last byte always does.
        unsafe { call(WRITE0, self.bytes.as_ptr()) };
    }

    /// Adds a byte where there is room for it and two more.
    fn push(&mut self, byte: u8) {
        if self.len + 2 < LINE
            && let Some(place) = self.bytes.get_mut(self.len)
        {
            *place = byte;
            self.len += 1;
        }
    }
}

/// A file of the host.
pub struct File(usize);

impl File {
    /// Opens a file for reading; its name, in the debugger's folder, ends in 0.
    pub fn open(name: &core::ffi::CStr) -> Option<Self> {
        const BINARY: usize = 1;
        let block = [name.as_ptr().addr(), BINARY, name.count_bytes()];
        // SAFETY: the name, the mode and the name's length.
        let handle = unsafe { call(OPEN, block.as_ptr().cast()) };
        (handle != usize::MAX).then_some(Self(handle))
    }

    /// Fills a buffer; `false` where the file ends before.
    pub fn read(&mut self, into: &mut [u8]) -> bool {
        let block = [self.0, into.as_mut_ptr().expose_provenance(), into.len()];
        // SAFETY: the file, and a buffer of that length.
        let left = unsafe { call(READ, block.as_ptr().cast()) };
        left == 0
    }
}
