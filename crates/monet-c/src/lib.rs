//! `monet` for programs in C. `include/monet.h` is the interface and its documentation; this crate
//! is the code behind it, function by function.
//!
//! - `net`: plans, with and without an operating system.
//! - `status`: the results of calls.

#![cfg_attr(not(feature = "std"), no_std)]

pub mod net;
pub mod status;

/// Where Rust's own checks fail: the program decides how it ends.
#[cfg(not(feature = "std"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        safe fn monet_panic() -> !;
    }
    monet_panic()
}
