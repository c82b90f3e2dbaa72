//! Engines that are ready for volumes, and what they found in the last one.

use std::ffi::c_char;
use std::ptr;
use std::sync::{Mutex, MutexGuard, TryLockError};

use monet::core::Kernel;
use monet::measure;
use monet::pipeline::{self, Report};

use crate::failure::{self, Failure};
use crate::handles::Handles;
use crate::model::{MODELS, Model};
use crate::panics;
use crate::status::Status;

/// Engines of a package. A session works on one volume at a time: make one a thread. The pointer is
/// a number that is never used again, so that the library tells one that was freed.
pub struct Session(Mutex<State>);

/// What a session works with, and what its last volume gave.
pub(crate) struct State {
    pub(crate) ready: pipeline::Model,
    /// The last volume's report, as JSON; empty before the first.
    report: String,
    /// The last volume's labels.
    labels: Vec<Label>,
}

/// All that are not freed.
pub(crate) static SESSIONS: Handles<Session> = Handles::new("session");

/// A label of the last volume.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its value in volumes.
    pub value: u8,
    /// Its voxels.
    pub voxels: u64,
    /// Its volume in millilitres.
    pub ml: f64,
    /// Its centroid in millimetres to the right, anterior and superior; NaN where it has no voxels.
    pub centroid_mm: [f64; 3],
}

impl Session {
    /// The session's state, unless a call is at work with it.
    pub(crate) fn state(&self) -> Result<MutexGuard<'_, State>, Failure> {
        match self.0.try_lock() {
            Ok(state) => Ok(state),
            // A panic left it: engines are made anew after it, figures are those of before.
            Err(TryLockError::Poisoned(state)) => Ok(state.into_inner()),
            Err(TryLockError::WouldBlock) => {
                let text = "the session is at work on another volume: make one session a thread";
                Err(Failure::new(Status::Busy, text))
            }
        }
    }
}

impl State {
    /// Keeps what a volume gave, for the functions that tell it.
    pub(crate) fn keep(&mut self, report: &Report) {
        self.report = measure::json(report);
        let labels = report.labels.iter().map(|label| Label {
            value: label.value,
            voxels: label.voxels,
            ml: label.ml,
            centroid_mm: label.centroid_mm.unwrap_or([f64::NAN; 3]),
        });
        self.labels = labels.collect();
    }
}

/// Makes engines of a package.
///
/// - `threads`: slices that are segmented at the same time, 1 to 256.
/// - `kernel`: a name, as the command's --kernel takes; NULL for the fastest that the CPU has.
/// - `session`: gets the session, or NULL. Free it with monet_session_free.
/// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
///
/// # Safety
/// `kernel` is NULL or ends in a zero byte, `session` is NULL or may be written, `detail` is NULL
/// or has room for `detail_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_session_new(
    model: *const Model,
    threads: u32,
    kernel: *const c_char,
    session: *mut *mut Session,
    detail: *mut c_char,
    detail_len: usize,
) -> Status {
    let work = || {
        if session.is_null() {
            return Err(Failure::null("session", "where the session goes"));
        }
        // SAFETY: not NULL, so that it may be written.
        unsafe { session.write(ptr::null_mut()) };
        let model = MODELS.get(model)?;
        if !(1..=256).contains(&threads) {
            let text = format!("{threads} threads: expected 1 to 256");
            return Err(Failure::new(Status::Argument, text));
        }
        // SAFETY: NULL, or it ends in a zero byte and stays until the function returns.
        let kernel = Kernel::choose(unsafe { failure::word(kernel, "kernel") }?)?;
        let ready = pipeline::Model::new(model.package.clone(), threads as usize, kernel);
        let state = State { ready, report: String::new(), labels: Vec::new() };
        // SAFETY: not NULL, so that it may be written.
        unsafe { session.write(SESSIONS.add(Session(Mutex::new(state)))) };
        Ok(())
    };
    // SAFETY: the caller's buffer has so much room.
    unsafe { failure::told(detail, detail_len, work) }
}

/// Frees a session; NULL is nothing.
///
/// Returns MONET_STATUS_HANDLE for one that was freed before.
#[unsafe(no_mangle)]
pub extern "C" fn monet_session_free(session: *mut Session) -> Status {
    crate::contained(|| SESSIONS.free(session))
}

/// How many labels the last volume's figures have; 0 before the first, of a session that is NULL or
/// freed, and while it is at work.
#[unsafe(no_mangle)]
pub extern "C" fn monet_session_labels(session: *const Session) -> usize {
    let count = || Ok::<_, Failure>(SESSIONS.get(session)?.state()?.labels.len());
    panics::caught(count).ok().and_then(Result::ok).unwrap_or_default()
}

/// A label of the last volume, counted from 0; MONET_STATUS_ARGUMENT where there is none.
///
/// # Safety
/// `label` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_session_label(
    session: *const Session,
    index: usize,
    label: *mut Label,
) -> Status {
    let work = || {
        let session = SESSIONS.get(session)?;
        let state = session.state()?;
        let found = state.labels.get(index);
        let found = found.ok_or_else(|| Failure::new(Status::Argument, "no such label"))?;
        if label.is_null() {
            return Err(Failure::null("label", "where the label goes"));
        }
        // SAFETY: not NULL, so that it may be written.
        unsafe { label.write(*found) };
        Ok(())
    };
    // SAFETY: there is no buffer.
    unsafe { failure::told(ptr::null_mut(), 0, work) }
}

/// The last volume's report as JSON, as the command's --stats has it: returns its bytes with the
/// zero, and writes as many as there is room for. 0 where monet_session_labels is 0.
///
/// # Safety
/// `buffer` is NULL or has room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_session_report(
    session: *const Session,
    buffer: *mut c_char,
    len: usize,
) -> usize {
    let work = || {
        let session = SESSIONS.get(session)?;
        let state = session.state()?;
        if state.report.is_empty() {
            return Ok(0);
        }
        // SAFETY: NULL, or room for `len` bytes.
        unsafe { failure::put(&state.report, buffer, len) };
        Ok::<_, Failure>(state.report.len() + 1)
    };
    panics::caught(work).ok().and_then(Result::ok).unwrap_or_default()
}
