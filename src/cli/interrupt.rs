//! Signals that ask a running command to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that becomes true at SIGINT, SIGTERM, or SIGHUP, at the last only where whoever started the program has not had it ignored,
/// as nohup(1) does: then work goes on without its terminal.
pub(super) fn flag() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    let ignored = hangup_is_ignored();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    if ignored {
        ignore_hangup();
    }
    Ok(interrupted)
}

#[cfg(target_os = "linux")]
fn hangup_is_ignored() -> bool {
    // SAFETY: it is made of integers and a function's address as an integer, for all of which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes the present one to `action`.
    let told = unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action) };
    told == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(target_os = "linux")]
fn ignore_hangup() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Not looked at on other systems.
#[cfg(not(target_os = "linux"))]
fn hangup_is_ignored() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn ignore_hangup() {}
