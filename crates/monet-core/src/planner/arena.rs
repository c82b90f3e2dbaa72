//! Where each tensor lives in the arena: planned once from the steps at which it is written and
//! last read.
//!
//! Knows sizes and lifetimes only, neither tensors nor steps.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::overlay::Overlay;

/// Every block starts at a multiple of this, a cache line.
const ALIGN: u64 = 64;

/// A block of memory that is needed from one step to another, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    /// Bytes; in 64 bits, as on a 32-bit machine the blocks of a net that asks for too much
    /// together may overflow.
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

/// Gives each block an offset such that blocks alive at the same step never overlap, but for
/// overlays, whose output begins by its lag before the input; returns the offsets and the bytes
/// needed.
///
/// Larger blocks choose first, each the lowest place that is free: close to optimal for the few
/// large tensors of a net.
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

/// Where block i must not begin because of block j, which begins at `start`.
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
        // Step 2 reads 0 and 1 for the last time and writes 2; 3 is of before, 4 of after.
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
