//! Finds an offset in the arena for each block of memory, so that blocks needed at the same step do
//! not overlap.
//!
//! 1. Larger blocks choose first; among equally large ones, those that are needed earlier.
//! 2. Each block looks at the blocks that already have an offset and share a step with it. Each of
//!    these forbids a range of offsets.
//! 3. The block takes the lowest multiple of 64 that no range forbids.
//! 4. The arena's length is the end of the block that ends last.
//!
//! ```text
//! arena    0                                                             end
//! step 1   [ input of step 1     ][ output of step 1           ]
//! step 2   [ output of step 2 ]   [ which step 2 reads         ][ scratch ]
//! ```
//!
//! An [`Overlay`] is the exception: the block of a result may overlap that of an input which its
//! step is the last to read, see the module [`overlay`](super::overlay).
//!
//! The problem is NP-complete. Largest first is not optimal, but close to it for the few large
//! tensors of a net. This module knows sizes and lifetimes only, neither tensors nor steps.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::overlay::Overlay;

/// Every block starts at a multiple of this number of bytes, a cache line.
const ALIGN: u64 = 64;

/// A block of memory that is needed from one step to another, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    /// Bytes. A 32-bit machine needs 64 bits for them too: the blocks of a net that asks for too
    /// much would overflow 32 bits together.
    pub(super) len: u64,
    /// First step that needs it.
    pub(super) from: usize,
    /// Last step that needs it.
    pub(super) to: usize,
}

impl Lifetime {
    /// Whether there is a step that needs both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// Gives each block an offset; returns the offsets and the length of the arena. Blocks that share a
/// step do not overlap, unless `overlays` has them as input and output. The output then begins at
/// least its lag before the input.
pub(super) fn place(blocks: &[Lifetime], overlays: &[Overlay]) -> (Vec<u64>, u64) {
    let mut order: Vec<usize> = (0..blocks.len()).filter(|&i| blocks[i].len > 0).collect();
    order.sort_by_key(|&i| (core::cmp::Reverse(blocks[i].len), blocks[i].from));
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(blocks.len());
    let mut total = 0;
    for i in order {
        let rivals = placed.iter().filter(|&&j| blocks[i].overlaps(&blocks[j]));
        let mut taken: Vec<Range<u64>> =
            rivals.map(|&j| forbidden(blocks, overlays, i, j, offsets[j])).collect();
        taken.sort_by_key(|range| range.start);
        let mut offset = 0;
        for range in taken {
            if offset >= range.start {
                offset = offset.max(range.end.next_multiple_of(ALIGN));
            }
        }
        offsets[i] = offset;
        total = total.max(offset + blocks[i].len);
        placed.push(i);
    }
    (offsets, total.next_multiple_of(ALIGN))
}

/// The offsets at which block i must not begin because of block j, which begins at `start`.
///
/// - Block i may lie before block j: it must begin all of its length before `start`, or only its
///   lag if it is the output that overlays input j.
/// - Block i may lie after block j: it must begin all of j's length after `start`, or only j's lag
///   if j is the output that overlays input i.
fn forbidden(
    blocks: &[Lifetime],
    overlays: &[Overlay],
    i: usize,
    j: usize,
    start: u64,
) -> Range<u64> {
    let lag = |input, output| {
        overlays
            .iter()
            .filter(move |o| (o.input, o.output) == (input, output))
            .map(|o| o.lag as u64)
    };
    let before = lag(j, i).max().unwrap_or(blocks[i].len).min(blocks[i].len);
    let after = lag(i, j).max().unwrap_or(blocks[j].len).min(blocks[j].len);
    (start + 1).saturating_sub(before)..start + after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_alive_together_never_overlap_and_dead_ones_are_reused() {
        let blocks = [
            Lifetime { len: 100, from: 0, to: 1 },
            Lifetime { len: 100, from: 1, to: 2 },
            Lifetime { len: 100, from: 2, to: 3 },
            Lifetime { len: 30, from: 0, to: 3 },
        ];
        let (offsets, total) = place(&blocks, &[]);
        for i in 0..blocks.len() {
            for j in 0..i {
                let apart = offsets[i] + blocks[i].len <= offsets[j]
                    || offsets[j] + blocks[j].len <= offsets[i];
                assert!(apart || !blocks[i].overlaps(&blocks[j]), "{i} and {j}: {offsets:?}");
            }
        }
        assert_eq!(offsets[0], offsets[2]);
        assert!(total <= 320);
    }

    #[test]
    fn a_result_overlays_the_input_that_dies_with_it_by_its_lag() {
        // Step 2 reads blocks 0 and 1 for the last time and writes block 2. Block 3 is needed only
        // before, block 4 only after.
        let life = |len: u64, from, to| Lifetime { len, from, to };
        let blocks =
            [life(1000, 0, 2), life(900, 1, 2), life(1100, 2, 3), life(500, 0, 1), life(300, 3, 4)];
        let overlays = [0, 1].map(|input| Overlay { input, output: 2, lag: 100 });
        let (offsets, total) = place(&blocks, &overlays);
        for i in 0..blocks.len() {
            for j in (0..blocks.len()).filter(|&j| j != i && blocks[i].overlaps(&blocks[j])) {
                let apart = offsets[i] + blocks[i].len <= offsets[j]
                    || offsets[j] + blocks[j].len <= offsets[i];
                let overlaid = j == 2 && i < 2 && offsets[2] + 100 <= offsets[i];
                let overlays = i == 2 && j < 2 && offsets[2] + 100 <= offsets[j];
                assert!(apart || overlaid || overlays, "{i} and {j}: {offsets:?}");
            }
        }
        assert!(total < 1000 + 900 + 1100, "{offsets:?}");
    }
}
