//! One row of a convolution, and the proof that a kernel may compute it.

use core::ops::Range;

use super::super::image::Taps;
use super::super::requant::Requantize;
use super::{BLOCK, GROUP, PANEL_PIXELS};

/// Weights in a kernel's order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weights<'a> {
    /// In one of the orders of bytes.
    Bytes(&'a [i8]),
    /// See [`Packing::Words`](super::Packing::Words).
    Words(&'a [i16]),
}

impl<'a> Weights<'a> {
    /// The bytes, for kernels whose packing they are.
    #[inline]
    pub(crate) fn bytes(self) -> &'a [i8] {
        let Self::Bytes(weights) = self else { unreachable!("the plan is for another kernel") };
        weights
    }

    /// The words, for kernels whose packing they are.
    #[inline]
    pub(crate) fn words(self) -> &'a [i16] {
        let Self::Words(weights) = self else { unreachable!("the plan is for another kernel") };
        weights
    }
}

/// One input of a row: its memory is read at `start + pixel * step + tap + channel`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    /// Arena offset of the pixel under output pixel 0 of this row.
    pub(crate) start: usize,
    /// Bytes from one output pixel's input to the next's.
    pub(crate) step: usize,
    /// Offset of each chunk of channels (16, or 4 where the tensor has 4): tap by tap, chunk by
    /// chunk.
    pub(crate) taps: Taps<'a>,
    /// Groups of 4 channels in a chunk: 4 or 1.
    pub(crate) groups: usize,
    /// Chunks of a pixel.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "one kernel's way over taps needs it")
    )]
    pub(crate) chunks: usize,
}

impl Feed<'_> {
    /// Distance between neighbouring taps of a window three taps wide, in output pixels; none
    /// unless each row of the window has three, evenly spaced, from left to right.
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

/// What becomes of the sums.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// u8 counts, 16 bytes per block, at `start + pixel * step`.
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
        /// Its scales alone are used.
        stage: &'a Requantize<'a>,
        /// Arena offset of output pixel 0.
        start: usize,
    },
}

/// One row of output pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Output pixels.
    pub(crate) width: usize,
    /// Inputs.
    pub(crate) feeds: [Feed<'a>; 2],
    /// How many of them there are.
    pub(crate) inputs: usize,
    /// Weights, all chunks of the first input before those of the second.
    pub(crate) weights: Weights<'a>,
    /// Whether one of the weights is -128.
    #[cfg_attr(
        not(any(target_arch = "aarch64", target_arch = "arm")),
        expect(dead_code, reason = "kernels of 8-bit factors alone need it")
    )]
    pub(crate) lowest: bool,
    /// Bias per output channel, padded to whole blocks.
    pub(crate) bias: &'a [i32],
    /// What becomes of the sums.
    pub(crate) destination: Destination<'a>,
    /// Free memory for gathered activations.
    pub(crate) scratch: &'a Range<usize>,
}

impl<'a> Row<'a> {
    /// The inputs.
    #[inline]
    pub(crate) fn feeds(&self) -> &[Feed<'a>] {
        &self.feeds[..self.inputs]
    }

    /// The fixed-point rules.
    #[inline]
    pub(crate) fn stage(&self) -> &'a Requantize<'a> {
        match self.destination {
            Destination::Quantized { stage, .. } | Destination::Float { stage, .. } => stage,
        }
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

    /// Whether the scratch memory holds a panel of [`PANEL_PIXELS`] pixels in 16-bit words.
    #[inline]
    fn has_panel(&self) -> bool {
        self.scratch.len() >= PANEL_PIXELS * self.depth() * GROUP * 2
    }

    /// The row over an arena, if all memory that a kernel may touch for it lies where it should:
    /// the bounds that the unchecked accesses of SIMD kernels stand on.
    ///
    /// # Panics
    /// Where it does not, which the proof of the image has excluded.
    #[inline]
    pub(crate) fn check(self, arena: &'a mut [u8]) -> CheckedRow<'a> {
        let (len, last) = (arena.len(), self.width - 1);
        for feed in self.feeds().iter().filter(|feed| !feed.taps.offsets().is_empty()) {
            let reach = feed.taps.reach();
            let low = feed.start as isize + reach[0] as isize;
            let high = feed.start as isize + (last * feed.step) as isize + reach[1] as isize;
            assert!(low >= 0 && high as usize + feed.groups * GROUP <= len);
        }
        let channels = self.bias.len();
        assert!(channels.is_multiple_of(BLOCK) && self.scratch.end <= len);
        match self.destination {
            Destination::Quantized { stage, start, step, residual } => {
                assert!(start + last * step + channels <= len);
                let adds = stage.rules.sum.is_some();
                assert!(!adds || residual[0] + last * residual[1] + channels <= len);
            }
            Destination::Float { start, .. } => assert!(start + self.width * channels * 4 <= len),
        }
        assert!(self.stage().scales.len() == channels);
        let weights = self.depth() * GROUP * channels;
        match self.weights {
            Weights::Bytes(w) => assert!(w.len() == weights),
            Weights::Words(w) => assert!(w.len() == weights && self.has_panel()),
        }
        CheckedRow { arena, row: self }
    }
}

/// A row whose every read and write lies in its arena: what kernels take. Only [`Row::check`]
/// makes one.
///
/// - Each feed's taps, at each pixel, are whole groups of channels within the arena.
/// - The places of all output pixels and of the residual's are whole blocks within the arena.
/// - The weights, biases and scales cover all taps and all blocks of output channels.
/// - The scratch memory lies in the arena and, for weights in words, holds [`PANEL_PIXELS`] pixels.
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
