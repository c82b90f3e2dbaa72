//! Long work of Rust's, for which a thread of Python's waits: the interpreter is free meanwhile,
//! and its signals are seen.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use crate::errors;

/// How often signals are asked for.
const SIGNALS: Duration = Duration::from_millis(50);

/// Runs `work` on a thread of its own. This thread asks for signals, wherever the work stands, and
/// calls `progress` with what the work tells of itself; the work goes on when the call is over.
/// What either raises sets the flag that the work looks at.
///
/// # Errors
/// What was raised first; no thread can be started.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    work: impl Send + FnOnce(&Arc<AtomicBool>, &mut dyn FnMut(usize, usize)) -> T,
) -> PyResult<T> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = &interrupted;
    // Without room in them, so that the two threads meet at each call.
    let (tell, told) = mpsc::sync_channel(0);
    let (go_on, may_go_on) = mpsc::sync_channel(0);
    let run = move || {
        let mut step = |done: usize, slices: usize| {
            if progress.is_some() && tell.send((done, slices)).is_ok() {
                let _ = may_go_on.recv();
            }
        };
        work(flag, &mut step)
    };
    let listen = move || {
        let mut raised = None;
        loop {
            let step = told.recv_timeout(SIGNALS);
            if step == Err(RecvTimeoutError::Disconnected) {
                return raised;
            }
            if raised.is_none() {
                raised = Python::attach(|py| heed(py, progress, step.ok())).err();
                flag.fetch_or(raised.is_some(), Ordering::Relaxed);
            }
            if step.is_ok() {
                let _ = go_on.send(());
            }
        }
    };
    let (raised, ended) = py.detach(move || {
        thread::scope(|scope| {
            let working = thread::Builder::new().name("monet".to_owned()).spawn_scoped(scope, run);
            let working = working.map_err(|error| errors::other(&error))?;
            let raised = listen();
            Ok::<_, PyErr>((raised, working.join().unwrap_or_else(|panic| resume_unwind(panic))))
        })
    })?;
    raised.map_or(Ok(ended), Err)
}

/// Handles signals, and calls `progress` with a step.
fn heed(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    step: Option<(usize, usize)>,
) -> PyResult<()> {
    py.check_signals()?;
    if let (Some(call), Some(step)) = (progress, step) {
        call.call1(py, step)?;
    }
    Ok(())
}
