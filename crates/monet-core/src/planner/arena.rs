//! Finds an offset in the arena for each block of memory, so that blocks needed in the same pass do
//! not overlap.
//!
//! 1. Larger blocks choose first; among equally large ones, those that are needed earlier.
//! 2. Each block looks at the blocks that already have an offset and share a pass with it. Each of
//!    these forbids a range of offsets.
//! 3. The block takes the lowest multiple of 64 that no range forbids.
//! 4. The arena's length is the end of the block that ends last.
//!
//! ```text
//! arena    0                                                             end
//! pass 1   [ input of pass 1     ][ output of pass 1           ]
//! pass 2   [ output of pass 2 ]   [ which pass 2 reads         ][ scratch ]
//! ```
//!
//! An [`Overlay`] is the exception: the block of a result may overlap that of an input which its
//! pass is the last to read, see the module [`overlay`](super::overlay).
//!
//! The problem is NP-complete. Largest first is not optimal, but close to it for the few large
//! tensors of a net; where memory is scarce, [`place`] tries further orders. This module knows
//! sizes and lifetimes only, neither tensors nor passes.

use alloc::{vec, vec::Vec};
use core::cmp::Reverse;
use core::ops::Range;

use super::overlay::Overlay;

/// Every block starts at a multiple of this number of bytes, a cache line.
const ALIGN: u64 = 64;

/// A block of memory that is needed in some passes.
#[derive(Debug, Clone)]
pub(super) struct Lifetime {
    /// Bytes. A 32-bit machine needs 64 bits for them too: the blocks of a net that asks for too
    /// much would overflow 32 bits together.
    pub(super) len: u64,
    /// From the first pass that needs it to the last; empty where none does.
    pub(super) during: Range<usize>,
}

impl Lifetime {
    /// Whether there is a pass that needs both.
    fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (&self.during, &other.during);
        a.start < b.end && b.start < a.end
    }
}

/// Gives each block an offset; returns the offsets and the length of the arena. Blocks that share a
/// pass do not overlap, unless `overlays` has them as input and output. The output then begins at
/// least its lag before the input.
///
/// `tries` says how many orders of choosing are tried after the first ones.
pub(super) fn place(blocks: &[Lifetime], overlays: &[Overlay], tries: usize) -> (Vec<u64>, u64) {
    // Most steps need nothing for themselves: pairs with their empty blocks would be many.
    let kept: Vec<usize> = (0..blocks.len()).filter(|&i| blocks[i].len > 0).collect();
    let number = |block: usize| kept.binary_search(&block).ok();
    let overlays: Vec<Overlay> = overlays
        .iter()
        .filter_map(|overlay| {
            let (input, output) = (number(overlay.input)?, number(overlay.output)?);
            Some(Overlay { input, output, ..*overlay })
        })
        .collect();
    let sized: Vec<Lifetime> = kept.iter().map(|&i| blocks[i].clone()).collect();
    let (found, len) = place_sized(&sized, &overlays, tries);
    let mut offsets = vec![0; blocks.len()];
    for (i, offset) in kept.into_iter().zip(found) {
        offsets[i] = offset;
    }
    (offsets, len)
}

/// As [`place`], of blocks none of which is empty.
fn place_sized(blocks: &[Lifetime], overlays: &[Overlay], tries: usize) -> (Vec<u64>, u64) {
    let places = Places::new(blocks, overlays);
    let [mut order, late, full] = places.orders();
    let mut best = places.choose(&order);
    if tries > 0 {
        for other in [late, full] {
            let found = places.choose(&other);
            if found.1 < best.1 {
                (order, best) = (other, found);
            }
        }
    }
    // From there on some block chooses earlier or later, and what is no worse is kept. The numbers
    // are Knuth's, of a linear congruential generator: the same plan each time.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..if order.len() > 1 { tries } else { 0 } {
        let (from, to) = (random(order.len()), random(order.len()));
        let mut other = order.clone();
        let block = other.remove(from);
        other.insert(to, block);
        let found = places.choose(&other);
        if found.1 <= best.1 {
            (order, best) = (other, found);
        }
    }
    (best.0, best.1.next_multiple_of(ALIGN))
}

/// What placing needs to know of blocks.
struct Places<'a> {
    blocks: &'a [Lifetime],
    /// For each pair of blocks: bytes that the first must begin before the second if it lies
    /// before it; `None` where they share no pass.
    before: Vec<Option<u64>>,
}

impl<'a> Places<'a> {
    fn new(blocks: &'a [Lifetime], overlays: &[Overlay]) -> Self {
        let mut before = Vec::with_capacity(blocks.len() * blocks.len());
        for a in blocks {
            before.extend(blocks.iter().map(|b| a.overlaps(b).then_some(a.len)));
        }
        for Overlay { input, output, lag } in overlays {
            if let Some(before) = &mut before[output * blocks.len() + input] {
                *before = (*lag as u64).min(*before);
            }
        }
        Self { blocks, before }
    }

    /// Orders of choosing to begin with:
    ///
    /// - the largest first,
    /// - those that are needed last first, as a result that overlays its input lies before it,
    /// - those first that the fullest pass needs, which decides on the arena's length.
    fn orders(&self) -> [Vec<usize>; 3] {
        let blocks = self.blocks;
        let mut sized: Vec<usize> = (0..blocks.len()).collect();
        sized.sort_by_key(|&i| (Reverse(blocks[i].len), blocks[i].during.start));
        let (mut late, mut full) = (sized.clone(), sized.clone());
        late.sort_by_key(|&i| Reverse(blocks[i].during.start));
        let passes = blocks.iter().map(|block| block.during.end).max().unwrap_or(0);
        let in_pass = |pass| blocks.iter().filter(move |block| block.during.contains(&pass));
        let sums: Vec<u64> =
            (0..passes).map(|pass| in_pass(pass).map(|block| block.len).sum()).collect();
        full.sort_by_key(|&i| Reverse(sums[blocks[i].during.clone()].iter().max()));
        [sized, late, full]
    }

    /// The offsets of all blocks if they choose in this order, and the end of the last.
    fn choose(&self, order: &[usize]) -> (Vec<u64>, u64) {
        let mut offsets = vec![0; self.blocks.len()];
        let (mut total, mut taken) = (0, Vec::new());
        for (count, &i) in order.iter().enumerate() {
            taken.clear();
            taken.extend(order[..count].iter().filter_map(|&j| self.forbidden(i, j, offsets[j])));
            taken.sort_unstable_by_key(|range: &Range<u64>| range.start);
            let mut offset = 0;
            for range in &taken {
                if offset >= range.start {
                    offset = offset.max(range.end.next_multiple_of(ALIGN));
                }
            }
            offsets[i] = offset;
            total = total.max(offset + self.blocks[i].len);
        }
        (offsets, total)
    }

    /// The offsets at which block i must not begin because of block j, which begins at `start`.
    ///
    /// - Block i may lie before block j: it must begin all of its length before `start`, or only
    ///   its lag if it is the output that overlays input j.
    /// - Block i may lie after block j: it must begin all of j's length after `start`, or only j's
    ///   lag if j is the output that overlays input i.
    fn forbidden(&self, i: usize, j: usize, start: u64) -> Option<Range<u64>> {
        let before = |a: usize, b: usize| self.before[a * self.blocks.len() + b];
        Some((start + 1).saturating_sub(before(i, j)?)..start + before(j, i)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_alive_together_never_overlap_and_dead_ones_are_reused() {
        let life = |len: u64, from: usize, to: usize| Lifetime { len, during: from..to + 1 };
        let blocks = [life(100, 0, 1), life(100, 1, 2), life(100, 2, 3), life(30, 0, 3)];
        let (offsets, total) = place(&blocks, &[], 0);
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
        let life = |len: u64, from: usize, to: usize| Lifetime { len, during: from..to + 1 };
        let blocks =
            [life(1000, 0, 2), life(900, 1, 2), life(1100, 2, 3), life(500, 0, 1), life(300, 3, 4)];
        let overlays = [0, 1].map(|input| Overlay { input, output: 2, lag: 100 });
        let (offsets, total) = place(&blocks, &overlays, 0);
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
