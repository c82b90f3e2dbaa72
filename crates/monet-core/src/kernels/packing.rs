//! The orders in which kernels want their weights.

#[cfg(feature = "alloc")]
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
}

impl Packing {
    /// Bytes of one weight.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Bytes | Self::Pairs | Self::Eights => 1,
            Self::Words => 2,
        }
    }

    /// Input channels whose weights for one output stand side by side.
    #[cfg(feature = "alloc")]
    fn together(self) -> usize {
        match self {
            Self::Bytes => GROUP,
            Self::Words | Self::Pairs => 2,
            Self::Eights => 2 * GROUP,
        }
    }
}

/// Writes weights into `out` in a kernel's order; returns whether one of them is -128 and packed as
/// a byte.
///
/// - `groups`: the number of channel groups of each chunk, in the order in which a kernel meets
///   them.
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
    let together = packing.together();
    let width = packing.bytes() as usize;
    let (mut places, mut lowest) = (out.chunks_exact_mut(width), false);
    for block in 0..blocks {
        for (chunk, &groups) in groups.iter().enumerate() {
            let together = together.min(groups * GROUP);
            for first in (0..groups * GROUP).step_by(together) {
                for output in block * BLOCK..(block + 1) * BLOCK {
                    for channel in first..first + together {
                        let weight = weight(output, chunk, channel);
                        lowest |= weight == i8::MIN;
                        if let Some(place) = places.next() {
                            place.copy_from_slice(&i16::from(weight).to_le_bytes()[..width]);
                        }
                    }
                }
            }
        }
    }
    lowest && width == 1
}
