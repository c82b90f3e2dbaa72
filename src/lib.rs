//! Segments medical volumes on devices without GPU, slice by slice, in bounded memory.

mod atomic;
#[cfg(feature = "tract")]
pub mod engine;
pub mod measure;
pub mod package;
#[cfg(feature = "tract")]
pub mod pipeline;
pub mod volume;
