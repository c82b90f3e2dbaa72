//! What functions return, and which version of the interface this is.

use core::ffi::{CStr, c_char};

use monet_core::{ImageError, RunError};

/// Version of the functions and structures of this header. Whatever opens something compares it
/// with the library's own.
pub const MONET_ABI: u32 = 1;

/// How a function ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The header is of another version than the library.
    AbiMismatch = 1,
    /// A pointer is NULL, or a net was set to 0 and never opened.
    Null = 2,
    /// The image, a plane or the probabilities are not aligned.
    Unaligned = 3,
    /// The bytes do not begin as an image does.
    NoImage = 4,
    /// The image has a version that the library does not know.
    ImageVersion = 5,
    /// The image is cut short, or something follows.
    ImageLength = 6,
    /// The image says what cannot be, or was changed since it was opened.
    ImageDamaged = 7,
    /// The library knows no such kernel.
    KernelUnknown = 8,
    /// This CPU cannot run the kernel, or the library was built without it.
    KernelLacking = 9,
    /// A buffer is shorter or longer than is needed.
    Buffer = 10,
    /// A model or session was freed before, or never made.
    Handle = 11,
    /// The session is at work on another volume.
    Busy = 12,
    /// A value has no meaning.
    Argument = 13,
    /// The package cannot be read or run.
    Model = 14,
    /// The volume cannot be read or understood.
    Volume = 15,
    /// The package was not made for the volume.
    NotAccepted = 16,
    /// An output exists or cannot be written.
    Output = 17,
    /// The progress function asked for an end.
    Cancelled = 18,
    /// A fault in the library: please report it.
    Internal = 19,
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
        match result {
            Ok(()) => Self::Ok,
            Err(RunError::Length { .. }) => Self::Buffer,
            Err(_) => Self::ImageDamaged,
        }
    }
}

/// Texts of the statuses, by their numbers.
const TEXTS: [&CStr; Status::Internal as usize + 1] = [
    c"done",
    c"the header is of another version than the library: compile the program again",
    c"a pointer is NULL",
    c"the image does not lie at a multiple of 64, or a plane or the probabilities at one of 4",
    c"this is no plan: it does not begin with MONETPLN",
    c"the plan has another version: make it again with the monet that the library is of",
    c"the plan is cut short or too long: copy it again",
    c"the plan says what cannot be: it is damaged, copy it again",
    c"the library knows no such kernel",
    c"this CPU or library lacks the kernel: choose another, or compile the plan for another",
    c"a buffer is shorter or longer than is needed",
    c"a model or session was freed before, or never made",
    c"the session is at work on another volume: make one session a thread",
    c"a value has no meaning",
    c"the package cannot be read or run",
    c"the volume cannot be read or understood",
    c"the package was not made for the volume",
    c"an output exists or cannot be written",
    c"cancelled: nothing was written",
    c"a fault in the library: please report it",
];

/// What a status means, in English. The text stays. Any number may be given; one that is no status
/// is "an unknown status".
#[unsafe(no_mangle)]
pub extern "C" fn monet_status_text(status: i32) -> *const c_char {
    let text = usize::try_from(status).ok().and_then(|i| TEXTS.get(i));
    text.map_or(c"an unknown status", |text| *text).as_ptr()
}

/// MONET_ABI of the library.
#[unsafe(no_mangle)]
pub extern "C" fn monet_abi() -> u32 {
    MONET_ABI
}

/// The library's version, such as "0.1.0". The text stays.
#[unsafe(no_mangle)]
pub extern "C" fn monet_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
