//! `monet` for programs in C and C++. Users read `include/monet.h`, which cbindgen makes of the
//! public items here and of their documentation (`tests/header.rs`).
//!
//! | module | has | needs |
//! |---|---|---|
//! | `status` | what functions return | nothing |
//! | `net` | plans, run on one slice with the caller's memory | nothing |
//! | `model` | packages, which threads share | feature `volumes` |
//! | `session` | engines of a package, one session a thread | `volumes` |
//! | `volume` | volumes in memory and in files, through a session | `volumes` |
//! | `handles` | the numbers behind the pointers to models and sessions | `volumes` |
//! | `failure` | why a function failed, as text; texts of the caller | `volumes` |
//! | `panics` | panics as text | `volumes` |
//!
//! What every function keeps:
//!
//! - No panic leaves it. On a board, where Rust cannot unwind, the program's `monet_panic` is
//!   called.
//! - It prints nothing, handles no signal and never ends the process.

#![cfg_attr(not(feature = "volumes"), no_std)]

#[cfg(feature = "volumes")]
mod failure;
#[cfg(feature = "volumes")]
mod handles;
#[cfg(feature = "volumes")]
pub mod model;
pub mod net;
#[cfg(feature = "volumes")]
mod panics;
#[cfg(feature = "volumes")]
pub mod session;
pub mod status;
#[cfg(feature = "volumes")]
pub mod volume;

/// Runs a function's work such that no panic leaves it.
#[cfg(feature = "volumes")]
fn contained(work: impl FnOnce() -> status::Status) -> status::Status {
    panics::caught(work).unwrap_or(status::Status::Internal)
}

/// Runs a function's work: a panic ends in the program's `monet_panic`.
#[cfg(not(feature = "volumes"))]
fn contained(work: impl FnOnce() -> status::Status) -> status::Status {
    work()
}

/// Where Rust's own checks fail: the program decides how it ends.
#[cfg(not(feature = "volumes"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        safe fn monet_panic() -> !;
    }
    monet_panic()
}
