//! Why a function failed, as text in the caller's buffer; and texts that the caller gives.

use std::error::Error;
use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use monet::core::KernelError;
use monet::pipeline::PipelineError;
use monet::text;

use crate::panics;
use crate::status::Status;

/// A function's failure.
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// A pointer that must not be NULL: `name` is the header's, `expected` what it should point to.
    pub(crate) fn null(name: &str, expected: &str) -> Self {
        Self::new(Status::Null, format!("{name} is NULL, expected {expected}"))
    }

    /// An error with its causes.
    pub(crate) fn of(status: Status, error: &dyn Error) -> Self {
        Self::new(status, text::lines(&text::causes(error)))
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let status = match error {
            PipelineError::Volume(_) | PipelineError::Fit { .. } => Status::Volume,
            PipelineError::NotAccepted { .. } => Status::NotAccepted,
            PipelineError::Output(_) | PipelineError::Path(_) => Status::Output,
            PipelineError::Load(_) | PipelineError::Engine { .. } => Status::Model,
            PipelineError::Interrupted => Status::Cancelled,
            _ => Status::Internal,
        };
        Self::of(status, &error)
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        let status = match error {
            KernelError::Unknown(_) => Status::KernelUnknown,
            _ => Status::KernelLacking,
        };
        Self::of(status, &error)
    }
}

/// Runs a function's work. Why it failed, or what its panic said, goes into the caller's buffer; an
/// empty text where it did not.
///
/// # Safety
/// `detail` is NULL or has room for `detail_len` bytes.
pub(crate) unsafe fn told(
    detail: *mut c_char,
    detail_len: usize,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Status {
    let ended = panics::caught(work).unwrap_or_else(|said| {
        let text = format!("a fault in the library, please report it: {said}");
        Err(Failure::new(Status::Internal, text))
    });
    let (status, text) = match ended {
        Ok(()) => (Status::Ok, String::new()),
        Err(Failure { status, text }) => (status, text),
    };
    // SAFETY: the caller's buffer has so much room.
    unsafe { put(&text, detail, detail_len) };
    status
}

/// Writes as much of a text as there is room for, and a zero byte. A character of several bytes is
/// written whole or not at all.
///
/// # Safety
/// `buffer` is NULL or has room for `len` bytes.
pub(crate) unsafe fn put(text: &str, buffer: *mut c_char, len: usize) {
    if buffer.is_null() || len == 0 {
        return;
    }
    let text = text.split('\0').next().unwrap_or_default();
    let end = text.floor_char_boundary(len - 1);
    // SAFETY: end + 1 <= len bytes have room, and the caller's buffer is not Rust's text.
    unsafe {
        buffer.copy_from_nonoverlapping(text.as_ptr().cast(), end);
        buffer.add(end).write(0);
    }
}

/// A path of the caller, any bytes; none if NULL.
///
/// # Safety
/// `path` is NULL or ends in a zero byte.
pub(crate) unsafe fn path(path: *const c_char) -> Option<PathBuf> {
    // SAFETY: not NULL, and it ends in a zero byte.
    let bytes = (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_bytes());
    bytes.map(|bytes| OsStr::from_bytes(bytes).into())
}

/// A text of the caller; none if NULL.
///
/// # Safety
/// `word` is NULL, or ends in a zero byte and stays as long as the result is used.
pub(crate) unsafe fn word<'a>(word: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if word.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and it ends in a zero byte.
    let text = unsafe { CStr::from_ptr(word) }.to_str();
    text.map(Some).map_err(|_| Failure::new(Status::Argument, format!("{name} is no UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_status_with_what_it_said() {
        let mut detail = [1; 64];
        // SAFETY: the buffer has so many bytes.
        let status = unsafe { told(detail.as_mut_ptr(), detail.len(), || panic!("words")) };
        assert_eq!(status, Status::Internal);
        // SAFETY: the text ends in a zero byte.
        let text = unsafe { CStr::from_ptr(detail.as_ptr()) }.to_str().unwrap();
        assert_eq!(text, "a fault in the library, please report it: words");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (len, expected) in [(1, ""), (2, "a"), (3, "a"), (4, "aü"), (5, "aüb"), (9, "aüb")] {
            let mut buffer = [1; 10];
            // SAFETY: the buffer has more bytes.
            unsafe { put("aüb", buffer.as_mut_ptr(), len) };
            // SAFETY: the text ends in a zero byte.
            assert_eq!(unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_str(), Ok(expected));
            assert_eq!(buffer[len], 1, "beyond the buffer");
        }
    }
}
