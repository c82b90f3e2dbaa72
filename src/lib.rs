//! Segments medical volumes on devices without GPU, slice by slice, in bounded memory.

mod atomic;
pub mod measure;
pub mod package;
pub mod volume;
pub mod engine;
#[cfg(feature = "tract")]
pub mod pipeline;
