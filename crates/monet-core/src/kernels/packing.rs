//! The orders in which kernels want their weights.

use super::{BLOCK, GROUP};

/// An order of weights. A chunk is 16 channels of one tap, or 4 where the tensor has no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// i8, `[block][chunk][group][16 outputs][4 inputs]`.
    Bytes,
    /// i16, `[block][chunk][pair][16 outputs][2 inputs]`.
    Words,
    /// i8, `[block][chunk][pair][16 outputs][2 inputs]`.
    Pairs,
    /// i8, `[block][chunk][half][16 outputs][8 inputs]`; chunks of 4 channels as
    /// [`Packing::Bytes`].
    Eights,
    /// i8, `[block][two outputs][chunk][group][2 outputs][4 inputs]`.
    Twos,
    /// i8, `[block][four outputs][chunk][4 outputs][16 inputs]`. Four chunks of 4 channels are one
    /// here, the last of them filled up with weights of 0.
    Fours,
}

impl Packing {
    /// Bytes of one weight.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Words => 2,
            _ => 1,
        }
    }

    /// Input channels whose weights for one output stand side by side.
    #[cfg(feature = "alloc")]
    fn together(self) -> usize {
        match self {
            Self::Bytes | Self::Twos => GROUP,
            Self::Words | Self::Pairs => 2,
            Self::Eights => 2 * GROUP,
            Self::Fours => BLOCK,
        }
    }

    /// Outputs whose weights stand side by side.
    #[cfg(feature = "alloc")]
    fn outputs(self) -> usize {
        match self {
            Self::Twos => 2,
            Self::Fours => 4,
            _ => BLOCK,
        }
    }

    /// Whether the weights of tiles, where a kernel of this order has them, stand in pairs of
    /// inputs; otherwise input by input.
    #[cfg(feature = "alloc")]
    pub(crate) fn tiles_in_pairs(self) -> bool {
        !matches!(self, Self::Pairs)
    }

    /// Chunks of so many groups that are one in this order.
    pub(crate) fn joined(self, groups: usize) -> usize {
        match self {
            Self::Fours if groups == 1 => BLOCK / GROUP,
            _ => 1,
        }
    }

    /// Input channels of so many chunks of an input, those of filling included.
    pub(crate) fn channels(self, chunks: usize, groups: usize) -> usize {
        let whole = chunks.checked_next_multiple_of(self.joined(groups)).unwrap_or(chunks);
        whole * groups * GROUP
    }

    /// Most pixels whose activations a kernel gathers at a time in a panel; 0 where it has none.
    pub(super) const fn pixels(self) -> usize {
        match self {
            Self::Words => 6,
            Self::Twos => 3,
            Self::Fours => 2,
            Self::Bytes | Self::Pairs | Self::Eights => 0,
        }
    }

    /// Bytes of scratch memory for a kernel's panel, which holds the activations of so many
    /// channels for some pixels: as words, or as bytes for [`Packing::Fours`]. That of
    /// [`Packing::Twos`] begins at the first multiple of 4 there.
    pub(crate) fn panel(self, channels: u64) -> u64 {
        let values = channels * self.pixels() as u64;
        match self {
            Self::Words => values * 2,
            Self::Twos => values * 2 + 3,
            Self::Fours => values,
            Self::Bytes | Self::Pairs | Self::Eights => 0,
        }
    }
}

/// Writes weights into `out` in a kernel's order; returns whether one of them is -128 and packed as
/// a byte.
///
/// - `groups`: the number of channel groups of each chunk, in the order in which a kernel meets
///   them. Chunks that are one in this order stand side by side, none missing.
/// - `weight(output, chunk, channel)`: the weight; 0 for outputs and channels that are padding.
/// - `out`: room for all weights.
#[cfg(feature = "alloc")]
pub(crate) fn pack(
    packing: Packing,
    blocks: usize,
    groups: &[usize],
    weight: impl Fn(usize, usize, usize) -> i8,
    out: &mut [u8],
) -> bool {
    let width = packing.bytes() as usize;
    let mut rest = &mut *out;
    for outputs in (0..blocks * BLOCK).step_by(packing.outputs()) {
        let mut chunk = 0;
        while let Some(&groups) = groups.get(chunk) {
            let (own, joined) = (groups * GROUP, packing.joined(groups));
            let together = packing.together().min(own * joined);
            for first in (0..own * joined).step_by(together) {
                for output in outputs..outputs + packing.outputs() {
                    let Some(place) = rest.split_off_mut(..together * width) else { break };
                    let channel = |i| weight(output, chunk, first + i);
                    match (joined, together) {
                        (1, 2) => put::<2>(place, channel),
                        (1, GROUP) => put::<GROUP>(place, channel),
                        (1, 8) => put::<8>(place, channel),
                        (1, _) => put::<BLOCK>(place, channel),
                        _ => put::<BLOCK>(place, |i| weight(output, chunk + i / GROUP, i % GROUP)),
                    }
                }
            }
            chunk += joined;
        }
    }
    width == 1 && out.contains(&(i8::MIN as u8))
}

/// Writes `N` weights into their place, as bytes or as words. As their number is known beforehand,
/// the compiler finds out once for all of them what they share: output, chunk and tap.
#[cfg(feature = "alloc")]
#[inline(always)]
fn put<const N: usize>(place: &mut [u8], weight: impl Fn(usize) -> i8) {
    let weights: [i8; N] = core::array::from_fn(weight);
    if place.len() == N {
        place.copy_from_slice(&weights.map(|weight| weight as u8));
    } else {
        for (word, weight) in place.as_chunks_mut().0.iter_mut().zip(weights) {
            *word = i16::from(weight).to_le_bytes();
        }
    }
}
