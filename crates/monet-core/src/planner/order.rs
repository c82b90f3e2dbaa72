//! The order in which a kernel reads the weights of a phase, and packing them so.

use alloc::vec::Vec;

use super::super::graph::Convolution;
use super::super::kernels::{BLOCK, GROUP, Packing, pack, winograd};

/// The order in which a kernel reads the weights of a phase.
pub(super) enum Order {
    /// Row by row: chunk after chunk.
    Rows(Vec<Chunk>),
    /// Tile by tile: for each stored channel of the tiles' feeds, what it is.
    Tiles { taps: usize, channels: Vec<TileChannel> },
}

/// Up to 16 channels of an input under one tap. Channels are numbered over all inputs of the
/// convolution.
pub(super) struct Chunk {
    /// Number of the first channel.
    pub(super) first: usize,
    /// Number of the input's last channel plus one; what lies beyond is padding.
    pub(super) end: usize,
    /// The tap's index in the window.
    pub(super) tap: usize,
    /// Groups of 4 channels, padding included.
    pub(super) groups: usize,
}

/// A stored channel of a tile's feeds.
#[derive(Clone, Copy)]
pub(super) struct TileChannel {
    /// The channel's number over all inputs of the convolution; `None` for padding.
    pub(super) input: Option<usize>,
    /// For each place of a window of 3×3: the index in the convolution's own window; `None` for
    /// places outside a window of 2×2.
    pub(super) taps: [Option<usize>; 9],
}

impl Order {
    /// Weights of an output channel.
    fn places(&self) -> usize {
        match self {
            Self::Rows(chunks) => chunks.iter().map(|chunk| chunk.groups * GROUP).sum(),
            Self::Tiles { channels, .. } => winograd::POINTS * channels.len(),
        }
    }

    /// Bytes of the weights of so many blocks of 16 output channels.
    pub(super) fn len(&self, packing: Packing, blocks: usize) -> u64 {
        let width = match self {
            Self::Rows(_) => packing.bytes(),
            Self::Tiles { .. } => 2,
        };
        self.places() as u64 * width * (blocks * BLOCK) as u64
    }

    /// Bytes of scratch memory that the kernel needs beside them.
    pub(super) fn scratch(&self, packing: Packing) -> u64 {
        match self {
            Self::Rows(_) => packing.panel(self.places() as u64),
            Self::Tiles { channels, .. } => winograd::scratch_len(channels.len() / BLOCK) as u64,
        }
    }

    /// Packs the weights of a convolution into the [`Order::len`] bytes of `out`; returns whether
    /// rows have a weight of -128.
    pub(super) fn pack(
        &self,
        conv: &Convolution,
        packing: Packing,
        blocks: usize,
        out: &mut [u8],
    ) -> bool {
        let window = conv.kernel[0] * conv.kernel[1];
        let cin = conv.weights.len() / conv.cout / window;
        match self {
            Self::Rows(chunks) => {
                let groups: Vec<usize> = chunks.iter().map(|chunk| chunk.groups).collect();
                let weight = |output: usize, chunk: usize, channel: usize| {
                    let Chunk { first, end, tap, .. } = chunks[chunk];
                    let input = first + channel;
                    if output < conv.cout && input < end {
                        conv.weights[(output * cin + input) * window + tap]
                    } else {
                        0
                    }
                };
                pack(packing, blocks, &groups, weight, out)
            }
            Self::Tiles { taps, channels } => {
                // Most windows are taken whole, which is faster than tap by tap.
                let whole = channels.iter().all(|c| c.taps == core::array::from_fn(Some));
                let weights = |output: usize, channel: usize| {
                    let TileChannel { input, taps } = &channels[channel];
                    let Some(input) = input.filter(|_| output < conv.cout) else { return [0; 9] };
                    let own = &conv.weights[(output * cin + input) * window..][..window];
                    match own.first_chunk() {
                        Some(own) if whole => *own,
                        _ => taps.map(|tap| tap.map_or(0, |at| own[at])),
                    }
                };
                winograd::transform(packing.tiles_in_pairs(), *taps, channels.len(), weights, out);
                false
            }
        }
    }
}
