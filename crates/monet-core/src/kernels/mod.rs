//! One row of a convolution, on whatever the CPU offers: the seam between the plan and the
//! instruction sets.
//!
//! A kernel fills one output row from tensors that lie in the arena. All kernels must equal
//! [`Kernel::Scalar`] to the bit. [`list`] names them all; a kernel is one file here, named
//! arch_feature_tile, and one entry there. Which row, which taps and which memory is the plan's
//! affair.

/// Whether the CPU has an instruction set: asked at run time with `std`, told by the compiler
/// without.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! detected {
    ($feature:tt) => {{
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        let has = std::arch::is_x86_feature_detected!($feature);
        #[cfg(all(feature = "std", target_arch = "aarch64"))]
        let has = std::arch::is_aarch64_feature_detected!($feature);
        #[cfg(not(feature = "std"))]
        let has = cfg!(target_feature = $feature);
        has
    }};
}

#[cfg(target_arch = "aarch64")]
mod aarch64_dotprod_4x16;
#[cfg(target_arch = "aarch64")]
mod aarch64_epilogue;
#[cfg(target_arch = "aarch64")]
mod aarch64_i8mm_6x16;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon_4x16;
#[cfg(target_arch = "aarch64")]
mod aarch64_tiles_4x16;
#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
mod arm_neon_2x16;
#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
mod arm_neon_epilogue;
mod list;
mod packing;
mod row;
mod scalar;
pub(crate) mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86_avx2_6x16;
#[cfg(target_arch = "x86_64")]
mod x86_avx2_winograd;
#[cfg(target_arch = "x86_64")]
mod x86_avx512_epilogue;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni_16x16;
#[cfg(target_arch = "x86_64")]
mod x86_avxvnni_6x16;
#[cfg(target_arch = "x86_64")]
mod x86_sse41_2x16;
#[cfg(target_arch = "x86_64")]
mod x86_ymm;

pub use list::{Kernel, KernelError};
pub(crate) use packing::Packing;
#[cfg(feature = "alloc")]
pub(crate) use packing::pack;
pub(crate) use row::{CheckedRow, Destination, Feed, Row, Weights};

/// Output channels that a block of weights covers; tensors of more than [`GROUP`] channels are
/// padded to a multiple of it.
pub(crate) const BLOCK: usize = 16;
/// Input channels that one instruction takes together.
pub(crate) const GROUP: usize = 4;
/// Pixels that a kernel may gather at a time in its scratch memory.
pub(crate) const PANEL_PIXELS: usize = 6;
