//! What calls return.

use core::ffi::{CStr, c_char};

use monet_core::{ImageError, RunError};

/// `monet_status` of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header documents them")]
pub enum Status {
    Ok = 0,
    AbiMismatch = 1,
    Null = 2,
    Unaligned = 3,
    NoImage = 4,
    ImageVersion = 5,
    ImageLength = 6,
    ImageDamaged = 7,
    KernelUnknown = 8,
    KernelLacking = 9,
    Buffer = 10,
}

impl From<ImageError> for Status {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unaligned => Self::Unaligned,
            ImageError::Magic => Self::NoImage,
            ImageError::Version(_) => Self::ImageVersion,
            ImageError::Length { .. } => Self::ImageLength,
            ImageError::Kernel(_) => Self::KernelUnknown,
            _ => Self::ImageDamaged,
        }
    }
}

impl From<Result<(), RunError>> for Status {
    fn from(result: Result<(), RunError>) -> Self {
        if result.is_ok() { Self::Ok } else { Self::Buffer }
    }
}

/// Texts of the statuses, by their numbers.
const TEXTS: [&CStr; 11] = [
    c"no error",
    c"the header is of another version than the library: compile the program again",
    c"a pointer is NULL",
    c"the image does not lie at a multiple of 64, or a plane or the probabilities at one of 4",
    c"this is no plan: it does not begin with MONETPLN",
    c"the plan has another version: make it again with the monet that the library is of",
    c"the plan is cut short or too long: copy it again",
    c"the plan says what cannot be: it is damaged, copy it again",
    c"the plan is for a kernel that the library does not know",
    c"this CPU cannot run the plan's kernel: compile the plan for another one",
    c"a buffer is shorter or longer than the net needs: see monet_net_shape",
];

/// See the header. Takes any number, as C programs can pass one.
#[unsafe(no_mangle)]
pub extern "C" fn monet_status_text(status: i32) -> *const c_char {
    let text = usize::try_from(status).ok().and_then(|i| TEXTS.get(i));
    text.map_or(c"an unknown status", |text| *text).as_ptr()
}
