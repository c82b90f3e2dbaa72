//! One row of a convolution, and the check that lets a kernel compute it.
//!
//! The unchecked accesses of the SIMD kernels stand on [`CheckedRow`] alone:
//!
//! 1. The plan fills in a [`Row`]: places in the arena, taps, weights.
//! 2. [`Row::check`] compares all of these with the arena's length, once a row.
//! 3. Kernels take the [`CheckedRow`] that it returns.

use core::ops::Range;

use super::super::image::Taps;
use super::super::image::record::view;
use super::super::requant::Requantize;
use super::{BLOCK, GROUP, Packing, TILED_PLANS};

/// Weights in a kernel's order: those of its packing, and none of the other width.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weights<'a> {
    /// Of all packings but [`Packing::Words`].
    pub(crate) bytes: &'a [i8],
    /// Of [`Packing::Words`].
    pub(crate) words: &'a [i16],
}

impl<'a> Weights<'a> {
    /// Sees bytes as weights; `None` where they do not hold whole and aligned ones.
    pub(crate) fn new(packing: Packing, bytes: &'a [u8]) -> Option<Self> {
        match packing {
            Packing::Words if TILED_PLANS => Some(Self { words: view(bytes)?, ..Self::default() }),
            _ => Some(Self { bytes: view(bytes)?, ..Self::default() }),
        }
    }

    /// How many.
    fn len(&self) -> usize {
        self.bytes.len() + self.words.len()
    }
}

/// One input of a row. The channels under a tap of an output pixel begin at
/// `start + pixel * step + tap`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    /// Arena offset of the input pixel under output pixel 0.
    pub(crate) start: usize,
    /// Bytes from the input pixel under one output pixel to that under the next.
    pub(crate) step: usize,
    /// Offset of each chunk of channels under each tap: `[tap][chunk]`. A chunk is 16 channels, or
    /// 4 where the tensor has 4.
    pub(crate) taps: Taps<'a>,
    /// Groups of 4 channels in a chunk: 4 or 1.
    pub(crate) groups: usize,
    /// Chunks of a pixel.
    pub(crate) chunks: usize,
}

impl Feed<'_> {
    /// Checks that all that a kernel reads for so many pixels and one lies in an arena of `len`.
    fn check(&self, last: usize, len: usize) -> Option<()> {
        if self.taps.offsets().is_empty() {
            return Some(());
        }
        ensure(matches!(self.groups, 1 | 4) && self.chunks > 0 && self.step > 0)?;
        let [low, high] = self.taps.reach();
        self.start.checked_add_signed(low as isize)?;
        let end = end(self.start, last, self.step, self.groups * GROUP);
        ensure(end.saturating_add_signed(high as isize) <= len)
    }

    /// Distance between neighbouring taps of a window three taps wide, in output pixels. `None`
    /// unless each row of the window has three taps, evenly spaced, from left to right.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn apart(&self) -> Option<usize> {
        let taps = self.taps.offsets();
        let (&first, &second) = (taps.first()?, taps.get(self.chunks)?);
        let bytes = usize::try_from(second - first).ok().filter(|b| b.is_multiple_of(self.step))?;
        let even = |window_row: &[i32]| {
            window_row.iter().zip(&window_row[self.chunks..]).all(|(a, b)| b - a == second - first)
        };
        let rows = taps.chunks_exact(3 * self.chunks);
        let whole = rows.remainder().is_empty();
        (whole && rows.clone().all(even)).then_some(bytes / self.step)
    }
}

/// Where sums go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// Counts, each less the kernel's [`offset`](super::Kernel::offset), 16 bytes per block, at
    /// `start + pixel * step`.
    Quantized {
        /// Fixed-point rules.
        stage: &'a Requantize<'a>,
        /// Arena offset of output pixel 0.
        start: usize,
        /// Bytes from one output pixel to the next.
        step: usize,
        /// Offset and step of the residual's pixels; 0 where the stage adds none.
        residual: [usize; 2],
    },
    /// `sum * scale` as f32 in native byte order, 64 bytes per block, pixels side by side.
    Float {
        /// The stage, of which only the scales are used.
        stage: &'a Requantize<'a>,
        /// Arena offset of output pixel 0.
        start: usize,
    },
}

impl<'a> Destination<'a> {
    /// The fixed-point rules.
    #[inline]
    pub(crate) fn stage(&self) -> &'a Requantize<'a> {
        match self {
            Self::Quantized { stage, .. } | Self::Float { stage, .. } => stage,
        }
    }

    /// Checks that all that a kernel writes for so many pixels and one, and the residual that it
    /// reads, lies in an arena of `len`.
    pub(super) fn check(&self, last: usize, channels: usize, len: usize) -> Option<()> {
        let inside = |start, step, bytes| ensure(end(start, last, step, bytes) <= len);
        match *self {
            Self::Quantized { stage, start, step, residual: [other, other_step] } => {
                inside(start, step, channels)?;
                if stage.rules.sum.is_some() {
                    inside(other, other_step, channels)?;
                }
            }
            Self::Float { start, .. } => inside(start, channels * 4, channels * 4)?,
        }
        ensure(self.stage().scales.len() == channels)
    }
}

/// One row of output pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Output pixels.
    pub(crate) width: usize,
    /// Inputs.
    pub(crate) feeds: [Feed<'a>; 2],
    /// How many of `feeds` are used: 1 or 2.
    pub(crate) inputs: usize,
    /// Weights, all chunks of the first input before those of the second.
    pub(crate) weights: Weights<'a>,
    /// Their order.
    pub(crate) packing: Packing,
    /// Whether one of the weights is -128.
    #[cfg_attr(
        not(any(
            target_arch = "aarch64",
            all(target_arch = "arm", target_os = "linux", feature = "std")
        )),
        expect(dead_code, reason = "only the NEON kernels read it")
    )]
    pub(crate) lowest: bool,
    /// Bias per output channel, padded to whole blocks.
    pub(crate) bias: &'a [i32],
    /// Where the sums go.
    pub(crate) destination: Destination<'a>,
    /// Arena memory for gathered activations.
    pub(crate) scratch: &'a Range<usize>,
}

impl<'a> Row<'a> {
    /// The inputs.
    #[inline]
    pub(crate) fn feeds(&self) -> &[Feed<'a>] {
        &self.feeds[..self.inputs.min(self.feeds.len())]
    }

    /// Blocks of output channels.
    #[inline]
    pub(crate) fn blocks(&self) -> usize {
        self.bias.len() / BLOCK
    }

    /// Groups of 4 input channels over all chunks.
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.feeds().iter().map(|f| f.taps.offsets().len() * f.groups).sum()
    }

    /// Input channels over all chunks, those of filling included.
    #[inline]
    pub(crate) fn channels(&self) -> usize {
        let channels = |f: &Feed| self.packing.channels(f.taps.offsets().len(), f.groups);
        self.feeds().iter().map(channels).sum()
    }

    /// Checks the row against an arena: every place that a kernel reads or writes for it must lie
    /// there, see [`CheckedRow`]. `None` where a place does not: validation of the image has
    /// excluded it, so that the image was changed since.
    #[inline]
    pub(crate) fn check(self, arena: &'a mut [u8]) -> Option<CheckedRow<'a>> {
        let (len, last) = (arena.len(), self.width.checked_sub(1)?);
        for feed in self.feeds() {
            feed.check(last, len)?;
        }
        let channels = self.bias.len();
        ensure(channels.is_multiple_of(BLOCK) && self.scratch.end <= len)?;
        self.destination.check(last, channels, len)?;
        let inputs = self.channels();
        ensure(self.scratch.len() as u64 >= self.packing.panel(inputs as u64))?;
        ensure(inputs.saturating_mul(channels) == self.weights.len())?;
        Some(CheckedRow { arena, row: self })
    }
}

/// A row whose every read and write lies in its arena. Kernels take no other, and only
/// [`Row::check`] makes one. For such a row:
///
/// - Each tap of each pixel of each input, a whole chunk of channels, lies in the arena. A chunk
///   has 1 or 4 groups of channels.
/// - Each output pixel, all its blocks, lies in the arena. So does each pixel of the residual,
///   where the stage adds one.
/// - Weights cover all taps and all blocks of output channels; biases and scales cover all blocks.
/// - The scratch memory lies in the arena. It holds as much as [`Packing::panel`] says.
pub(crate) struct CheckedRow<'a> {
    arena: &'a mut [u8],
    row: Row<'a>,
}

impl<'a> CheckedRow<'a> {
    /// The arena, and the row that was checked against it.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut [u8], &Row<'a>) {
        (self.arena, &self.row)
    }
}

/// Where the last of some places ends: they begin at `start`, `step` apart, and have `len` bytes.
/// Beyond all numbers it is the largest of them, which no arena has.
#[inline(never)]
pub(super) fn end(start: usize, last: usize, step: usize, len: usize) -> usize {
    last.saturating_mul(step).saturating_add(start).saturating_add(len)
}

/// A condition as something to go on from or not.
pub(super) fn ensure(holds: bool) -> Option<()> {
    holds.then_some(())
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn a_place_beyond_all_numbers_is_in_no_arena() {
        assert_eq!(end(8, 3, 16, 4), 60);
        // Modulo the largest number these would be small.
        assert_eq!(end(8, usize::MAX / 16 + 1, 16, 4), usize::MAX);
        assert_eq!(end(usize::MAX, 0, 16, 1), usize::MAX);
    }
}
