//! Signals that ask a running command to stop, and the end of a command that cannot: a read that
//! blocks takes no notice of a flag.
//!
//! The first signal sets a flag, which the pipeline looks at between slices. Work that has not
//! ended [`GRACE`] later is left where it stands: its temporary files are removed, and the command
//! ends without it. A second signal ends the process at once, in the same way.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// The exit code of an interrupted command, as a shell has it for SIGINT, whichever the signal was.
pub(super) const EXIT_CODE: u8 = 130;

/// How long work may go on after a signal: with what comes after it, less than a second.
const GRACE: Duration = Duration::from_millis(500);

/// How long an output that is being named when work is abandoned may take to say so.
const LAST_WORD: Duration = Duration::from_millis(100);

/// As much as a main thread has on most systems: the work was written for it.
const STACK_BYTES: usize = 8 << 20;

/// What is said where the system gives no thread.
const NO_THREAD: &str = "no thread can be started: raise the limits on processes and memory \
    (ulimit -u and -v, a container's limit on pids)";

enum Event<T> {
    Signal,
    Done(thread::Result<T>),
}

/// Runs `work`, which looks at the flag that a signal sets, on a thread of its own, and gives its
/// result: `None` where a signal came and `work` had to be abandoned. Once a process.
///
/// # Errors
/// No thread can be started, or signals cannot be listened for.
///
/// # Panics
/// When `work` panics.
pub(super) fn watch<T: Send + 'static>(
    work: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
) -> Result<Option<T>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (sender, events) = mpsc::channel();
    let (flag, signals) = (interrupted.clone(), sender.clone());
    let on_signal = move || {
        if flag.swap(true, Ordering::Relaxed) {
            monet::abandon_outputs();
            std::process::exit(EXIT_CODE.into());
        }
        // Nobody listens any more when the work is done.
        let _ = signals.send(Event::Signal);
    };
    handle(on_signal).map_err(|error| match error {
        ctrlc::Error::System(error) => anyhow::Error::new(error).context(NO_THREAD),
        other => anyhow::Error::new(other).context("cannot listen for interrupts"),
    })?;
    let run = move || {
        let done = catch_unwind(AssertUnwindSafe(|| work(&interrupted)));
        let _ = sender.send(Event::Done(done));
    };
    let started = thread::Builder::new().name("volumes".into()).stack_size(STACK_BYTES).spawn(run);
    started.context(NO_THREAD)?;
    Ok(wait(&events).map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))))
}

/// What the work gave, if it ends in time.
fn wait<T>(events: &mpsc::Receiver<Event<T>>) -> Option<thread::Result<T>> {
    if let Ok(Event::Done(done)) = events.recv() {
        return Some(done);
    }
    if let Ok(Event::Done(done)) = events.recv_timeout(GRACE) {
        return Some(done);
    }
    monet::abandon_outputs();
    match events.recv_timeout(LAST_WORD) {
        Ok(Event::Done(done)) => Some(done),
        _ => None,
    }
}

/// Calls `on_signal` at each SIGINT, SIGTERM and SIGHUP. A signal that is ignored when the program
/// starts stays ignored: SIGHUP under nohup(1), SIGINT behind a shell's `&`.
#[cfg(target_os = "linux")]
fn handle(on_signal: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    let ignored =
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].map(|signal| (signal, is_ignored(signal)));
    ctrlc::set_handler(on_signal)?;
    for (signal, _) in ignored.into_iter().filter(|(_, ignored)| *ignored) {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: it is made of integers and a function's address as an integer, for all of which zeros
    // are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes the present one to `action`.
    let told = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    told == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// On other systems, all of them.
#[cfg(not(target_os = "linux"))]
fn handle(on_signal: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(on_signal)
}
