//! The orders in which kernels want their weights.

#[cfg(feature = "alloc")]
use super::{BLOCK, GROUP};

/// How a kernel wants weights.
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
    /// Bytes of a weight.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Bytes | Self::Pairs | Self::Eights => 1,
            Self::Words => 2,
        }
    }

    /// Input channels that stand side by side.
    #[cfg(feature = "alloc")]
    fn together(self) -> usize {
        match self {
            Self::Bytes => GROUP,
            Self::Words | Self::Pairs => 2,
            Self::Eights => 2 * GROUP,
        }
    }
}

#[cfg(feature = "alloc")]
/// Sets weights in a kernel's order into `out`, which has a place for each; returns whether a byte
/// is -128.
///
/// `groups` gives the number of channel groups of each chunk, in the order in which a kernel meets
/// them; `weight(output, chunk, channel)` gives a chunk's weights, 0 outside the net's channels.
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
