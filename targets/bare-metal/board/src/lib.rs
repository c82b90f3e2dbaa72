//! What the programs without an operating system share.
//!
//! - `start`: from reset to `main`, for Cortex-M and for a 64-bit core; how deep the stack went.
//! - `semihosting`: words to the debugger, files from it, and the end of the program.
//! - `sample`: runs a plan over the embedded slices, and says what came out.
//! - `steps`: runs one slice with a marker after each step, for `tools/predict`.
//! - `uart`: the serial port of Arm's boards.
//! - `cases`: runs the conformance cases of a file, and says which failed.
//!
//! A program names its `main` by [`program!`] and its counter of instructions by a function.

#![no_std]

pub mod cases;
pub mod sample;
pub mod semihosting;
mod start;
mod steps;
#[cfg(target_arch = "arm")]
mod uart;

pub use start::{Memory, stack_used};
#[cfg(target_arch = "arm")]
pub use uart::Uart;

/// FNV-1a, 64 bits, of bytes that follow those of `hash`;
/// see <http://isthe.com/chongo/tech/comp/fnv>.
pub fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The hash of nothing.
pub const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// Names the function that runs after reset; the program ends with what it returns.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn board_main() -> ! {
            let passed: bool = $main();
            $crate::semihosting::exit(passed)
        }
    };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    semihosting::Line::new("panicked").end();
    semihosting::exit(false)
}
