//! One row of a convolution, on whatever the CPU offers: the seam between the plan and the
//! instruction sets.
//!
//! A kernel fills one output row from tensors that lie in the arena. All kernels share the packing
//! written here and must equal [`Kernel::Scalar`] to the bit; each stands in a file of its own
//! named arch_feature_tile. Which row, which taps and which memory is the plan's affair.

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
mod scalar;
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "the kernels here have no tiles")
)]
pub(super) mod winograd;
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

use alloc::{string::String, vec::Vec};
use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use super::requant::Stage;
use winograd::Strip;

/// Output channels that a block of weights covers; tensors of more than [`GROUP`] channels are
/// padded to a multiple of it.
pub(super) const BLOCK: usize = 16;
/// Input channels that one instruction takes together.
pub(super) const GROUP: usize = 4;
/// Pixels that a kernel may gather at a time in its scratch memory.
pub(super) const PANEL_PIXELS: usize = 6;

/// The code that computes convolutions; every one gives the same counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// Portable, the oracle of all others.
    Scalar,
    /// x86-64 with SSE4.1 and SSSE3.
    Sse41,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX2 and AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW and VNNI.
    Avx512Vnni,
    /// 64-bit ARM (any), or 32-bit ARM with NEON.
    Neon,
    /// 64-bit ARM with dot products.
    NeonDotprod,
    /// 64-bit ARM with 8-bit matrix products.
    NeonI8mm,
}

/// A kernel that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel has this name.
    #[error("no kernel is called \"{0}\"; known are {known}", known = names(&Kernel::ALL))]
    Unknown(String),
    /// This CPU lacks the instructions.
    #[error("this CPU cannot run the kernel \"{0}\"; it can run {available}", available = names(&Kernel::available()))]
    Unavailable(Kernel),
}

impl Kernel {
    /// All kernels, slowest first within an architecture.
    pub const ALL: [Self; 8] = [
        Self::Scalar,
        Self::Sse41,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDotprod,
        Self::NeonI8mm,
    ];

    /// The name by which users choose it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Sse41 => "sse4.1",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Whether this CPU has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Sse41 => x86_sse41_2x16::available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_avx2_6x16::available(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => x86_avxvnni_6x16::available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => x86_avx512vnni_16x16::available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => aarch64_neon_4x16::available(),
            #[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
            Self::Neon => arm_neon_2x16::available(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => aarch64_dotprod_4x16::available(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => aarch64_i8mm_6x16::available(),
            _ => false,
        }
    }

    /// The kernels that this CPU can run, slowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|k| k.is_available()).collect()
    }

    /// The fastest kernel that this CPU can run.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|k| k.is_available()).unwrap_or(Self::Scalar)
    }

    /// The named kernel, if this CPU can run it; without a name the best one.
    pub fn choose(name: Option<&str>) -> Result<Self, KernelError> {
        let Some(name) = name else { return Ok(Self::best()) };
        let kernel: Self = name.parse()?;
        if kernel.is_available() { Ok(kernel) } else { Err(KernelError::Unavailable(kernel)) }
    }

    /// Runs its multiplying instruction on registers alone and returns how many multiplications
    /// that was: timed by the caller, it gives the peak that this core could reach. 0 where the CPU
    /// lacks the instruction.
    pub fn spin(self, rounds: usize) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sse41 => x86_sse41_2x16::spin(rounds),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_avx2_6x16::spin(rounds),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => x86_avxvnni_6x16::spin(rounds),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => x86_avx512vnni_16x16::spin(rounds),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => aarch64_neon_4x16::spin(rounds),
            #[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
            Self::Neon => arm_neon_2x16::spin(rounds),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => aarch64_dotprod_4x16::spin(rounds),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => aarch64_i8mm_6x16::spin(rounds),
            Self::Scalar => scalar::spin(rounds),
            _ => 0,
        }
    }

    /// How it wants its weights; kernels of [`Packing::Words`] also want a panel of scratch memory.
    pub(super) fn packing(self) -> Packing {
        match self {
            Self::Sse41 | Self::Avx2 => Packing::Words,
            Self::Scalar | Self::AvxVnni | Self::Avx512Vnni | Self::NeonDotprod => Packing::Bytes,
            Self::Neon => Packing::Pairs,
            Self::NeonI8mm => Packing::Eights,
        }
    }

    /// What it takes from each count before it multiplies, for the bias to make good: 128 where
    /// both factors must be signed.
    pub(super) fn offset(self) -> i32 {
        match self {
            Self::Neon | Self::NeonDotprod => 128,
            _ => 0,
        }
    }

    /// Whether it has the faster way for few taps, see [`winograd`].
    pub(super) fn has_tiles(self) -> bool {
        matches!(self, Self::Avx2)
    }

    /// Fills the output rows of a row of tiles; the memory named by `strip` lies inside `arena`,
    /// which is checked. For kernels that have tiles.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_variables, reason = "the kernels here have no tiles")
    )]
    pub(super) fn convolve_strip(self, arena: &mut [u8], strip: &Strip) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_avx2_winograd::convolve(arena, strip),
            _ => unreachable!("only kernels that have tiles are planned with them"),
        }
    }

    /// Fills one row of the output; the memory named by `row` lies inside `arena`, which is
    /// checked.
    #[inline]
    pub(super) fn convolve(self, arena: &mut [u8], row: &Row) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sse41 => x86_sse41_2x16::convolve(arena, row),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_avx2_6x16::convolve(arena, row),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => x86_avxvnni_6x16::convolve(arena, row),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => x86_avx512vnni_16x16::convolve(arena, row),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => aarch64_neon_4x16::convolve(arena, row),
            #[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
            Self::Neon => arm_neon_2x16::convolve(arena, row),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => aarch64_dotprod_4x16::convolve(arena, row),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => aarch64_i8mm_6x16::convolve(arena, row),
            _ => scalar::convolve(arena, row),
        }
    }
}

fn names(kernels: &[Kernel]) -> String {
    kernels.iter().map(|k| k.name()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kernel {
    type Err = KernelError;

    fn from_str(s: &str) -> Result<Self, KernelError> {
        Self::ALL.into_iter().find(|k| k.name() == s).ok_or_else(|| KernelError::Unknown(s.into()))
    }
}

/// How a kernel wants weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// i8, `[block][chunk][group][16 outputs][4 inputs]`.
    Bytes,
    /// i16, `[block][chunk][pair][16 outputs][2 inputs]`.
    Words,
    /// i8, `[block][chunk][pair][16 outputs][2 inputs]`.
    Pairs,
    /// i8, `[block][chunk][half][16 outputs][8 inputs]`; chunks of 4 channels as
    /// [`Packing::Bytes`].
    Eights,
}

/// Weights in a kernel's order.
#[derive(Debug, Clone)]
pub(super) enum Packed {
    /// In one of the orders of bytes.
    Bytes(Vec<i8>),
    /// See [`Packing::Words`].
    Words(Vec<i16>),
}

/// One input of a row: its memory is read at `start + pixel * step + tap + channel`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed<'a> {
    /// Arena offset of the pixel under output pixel 0 of this row.
    pub(super) start: usize,
    /// Bytes from one output pixel's input to the next's.
    pub(super) step: usize,
    /// Offset of each chunk of channels (16, or 4 where the tensor has 4): tap by tap, chunk by
    /// chunk.
    pub(super) taps: &'a [i32],
    /// Smallest and largest of `taps`.
    pub(super) reach: [i32; 2],
    /// Groups of 4 channels in a chunk: 4 or 1.
    pub(super) groups: usize,
    /// Chunks of a pixel.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "one kernel's way over taps needs it")
    )]
    pub(super) chunks: usize,
}

impl Feed<'_> {
    /// How many output pixels the taps of each row of the window lie apart, where these are three,
    /// from left to right and equally far.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn apart(&self) -> Option<usize> {
        let (&first, &second) = (self.taps.first()?, self.taps.get(self.chunks)?);
        let bytes = usize::try_from(second - first).ok().filter(|b| b.is_multiple_of(self.step))?;
        let even = |window_row: &[i32]| {
            window_row.iter().zip(&window_row[self.chunks..]).all(|(a, b)| b - a == second - first)
        };
        let rows = self.taps.chunks_exact(3 * self.chunks);
        let whole = rows.remainder().is_empty();
        (whole && rows.clone().all(even)).then_some(bytes / self.step)
    }
}

/// What becomes of the sums.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// u8 counts, 16 bytes per block, at `start + pixel * step`.
    Counts {
        /// Fixed-point rules.
        stage: &'a Stage,
        /// Arena offset of output pixel 0.
        start: usize,
        /// Bytes from one output pixel to the next.
        step: usize,
        /// Offset and step of the residual's pixels; 0 where the stage adds none.
        residual: [usize; 2],
    },
    /// `sum * scale` as f32 in native byte order, 64 bytes per block, pixels side by side.
    Reals {
        /// Its scales alone are used.
        stage: &'a Stage,
        /// Arena offset of output pixel 0.
        start: usize,
    },
}

/// One row of output pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// Output pixels.
    pub(super) width: usize,
    /// Inputs.
    pub(super) feeds: [Feed<'a>; 2],
    /// How many of them there are.
    pub(super) inputs: usize,
    /// Weights, all chunks of the first input before those of the second.
    pub(super) weights: &'a Packed,
    /// Bias per output channel, padded to whole blocks.
    pub(super) bias: &'a [i32],
    /// What becomes of the sums.
    pub(super) target: Target<'a>,
    /// Free memory for gathered activations.
    pub(super) scratch: &'a Range<usize>,
}

impl<'a> Row<'a> {
    /// The inputs.
    #[inline]
    pub(super) fn feeds(&self) -> &[Feed<'a>] {
        &self.feeds[..self.inputs]
    }

    /// The fixed-point rules.
    #[inline]
    pub(super) fn stage(&self) -> &'a Stage {
        match self.target {
            Target::Counts { stage, .. } | Target::Reals { stage, .. } => stage,
        }
    }

    /// Blocks of output channels.
    #[inline]
    pub(super) fn blocks(&self) -> usize {
        self.bias.len() / BLOCK
    }

    /// Groups of 4 input channels over all chunks.
    #[inline]
    pub(super) fn depth(&self) -> usize {
        self.feeds().iter().map(|f| f.taps.len() * f.groups).sum()
    }

    /// Whether the scratch memory holds a panel of this many pixels in 16-bit words.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn has_panel(&self, pixels: usize) -> bool {
        self.scratch.len() >= pixels * self.depth() * GROUP * 2
    }

    /// Panics unless all memory that a kernel may touch for this row lies where it should: the
    /// bounds that the unchecked accesses of SIMD kernels stand on.
    #[inline]
    pub(super) fn check(&self, arena: usize) {
        let last = self.width - 1;
        for feed in self.feeds() {
            let low = feed.start as isize + feed.reach[0] as isize;
            let high = feed.start as isize + (last * feed.step) as isize + feed.reach[1] as isize;
            assert!(low >= 0 && high as usize + feed.groups * GROUP <= arena);
        }
        let channels = self.bias.len();
        assert!(channels.is_multiple_of(BLOCK) && self.scratch.end <= arena);
        match self.target {
            Target::Counts { stage, start, step, residual } => {
                assert!(start + last * step + channels <= arena);
                assert!(
                    stage.sum.is_none() || residual[0] + last * residual[1] + channels <= arena
                );
            }
            Target::Reals { start, .. } => assert!(start + self.width * channels * 4 <= arena),
        }
        assert!(self.stage().scales.len() == channels);
        let weights = self.depth() * GROUP * channels;
        match self.weights {
            Packed::Bytes(w) => assert!(w.len() == weights),
            Packed::Words(w) => assert!(w.len() == weights),
        }
    }
}

/// Sets weights in a kernel's order.
///
/// `groups` gives the number of channel groups of each chunk, in the order in which a kernel meets
/// them; `weight(output, chunk, channel)` gives a chunk's weights, 0 outside the net's channels.
pub(super) fn pack(
    packing: Packing,
    blocks: usize,
    groups: &[usize],
    weight: impl Fn(usize, usize, usize) -> i8,
) -> Packed {
    let together = match packing {
        Packing::Bytes => GROUP,
        Packing::Words | Packing::Pairs => 2,
        Packing::Eights => 2 * GROUP,
    };
    let mut bytes = Vec::new();
    for block in 0..blocks {
        for (chunk, &groups) in groups.iter().enumerate() {
            let together = together.min(groups * GROUP);
            for first in (0..groups * GROUP).step_by(together) {
                for output in block * BLOCK..(block + 1) * BLOCK {
                    bytes.extend(
                        (first..first + together).map(|channel| weight(output, chunk, channel)),
                    );
                }
            }
        }
    }
    match packing {
        Packing::Bytes | Packing::Pairs | Packing::Eights => Packed::Bytes(bytes),
        Packing::Words => Packed::Words(bytes.into_iter().map(i16::from).collect()),
    }
}
