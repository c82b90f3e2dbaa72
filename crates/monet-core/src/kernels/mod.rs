//! Kernels: the code that computes one output row of a convolution, for each instruction set.
//!
//! - A kernel fills one row of a tensor in the arena from one or two other tensors there. The plan
//!   says which row, which taps and which memory.
//! - All kernels equal [`Kernel::Scalar`] to the bit.
//! - A kernel is one file here, named `arch_feature_tile`, and one entry in [`list`].
//!
//! ```text
//! run/convolve.rs ── Row ──> row.rs checks its bounds ── CheckedRow ──> a kernel's `convolve`
//!           its memory, taps, weights
//! ```

/// Whether the CPU has all of these instruction sets: with `std` the program asks the CPU, without
/// it the target that the compiler builds for decides.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! detected {
    ($($feature:tt),+) => {{
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        let has = $(std::arch::is_x86_feature_detected!($feature))&&+;
        #[cfg(all(feature = "std", target_arch = "aarch64"))]
        let has = $(std::arch::is_aarch64_feature_detected!($feature))&&+;
        #[cfg(not(feature = "std"))]
        let has = cfg!(all($(target_feature = $feature),+));
        has
    }};
}

#[cfg(target_arch = "aarch64")]
mod aarch64_dotprod_6x16;
#[cfg(target_arch = "aarch64")]
mod aarch64_epilogue;
#[cfg(target_arch = "aarch64")]
mod aarch64_i8mm_6x16;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon_4x16;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon_winograd;
#[cfg(target_arch = "aarch64")]
mod aarch64_tiles;
#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
mod arm_neon_2x16;
#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
mod arm_neon_epilogue;
#[cfg(any(
    all(cortex_m, feature = "cortex-m-dsp"),
    all(cortex_m_vectors, feature = "cortex-m-mve")
))]
mod cortex_m;
#[cfg(all(cortex_m, feature = "cortex-m-dsp"))]
mod cortex_m_dsp_3x2;
#[cfg(all(cortex_m_vectors, feature = "cortex-m-mve"))]
mod cortex_m_mve_2x4;
mod list;
mod packing;
// What no kernel needs shows on hosts: they have most.
#[cfg_attr(
    not(feature = "std"),
    allow(dead_code, reason = "a program for a board has one kernel, or none")
)]
mod row;
#[cfg(feature = "scalar")]
mod scalar;
pub(crate) mod winograd;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86_amx_16x16;
#[cfg(target_arch = "x86_64")]
mod x86_avx2_6x16;
#[cfg(target_arch = "x86_64")]
mod x86_avx2_winograd;
#[cfg(target_arch = "x86_64")]
mod x86_avx512_epilogue;
#[cfg(target_arch = "x86_64")]
mod x86_avx512_pending;
#[cfg(target_arch = "x86_64")]
mod x86_avx512_winograd;
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

/// Whether the program may run or prove plans with tiles or with weights of 16 bits, which x86-64
/// and 64-bit ARM have. One that makes no plans, on another architecture, saves the code for them.
pub(crate) const TILED_PLANS: bool =
    cfg!(any(feature = "alloc", target_arch = "x86_64", target_arch = "aarch64"));

/// Output channels of a block, which kernels compute together. Tensors of more than [`GROUP`]
/// channels are padded to a multiple of it.
pub(crate) const BLOCK: usize = 16;

/// Channels with those of filling, in whole blocks.
pub(crate) const fn padded(channels: usize) -> usize {
    channels.div_ceil(BLOCK) * BLOCK
}

/// Input channels of a group, whose products a dot-product instruction adds to one sum.
pub(crate) const GROUP: usize = 4;
