//! The int8 engine, [`monet_core`], and how it reads ONNX and stands inside tract.

#[cfg(feature = "tract")]
mod import;
#[cfg(feature = "tract")]
mod op;

#[cfg(feature = "tract")]
pub use import::{Import, Region, Unfused, import};
pub use monet_core::*;
#[cfg(feature = "tract")]
pub use op::{QuantizedRegion, rewrite};
