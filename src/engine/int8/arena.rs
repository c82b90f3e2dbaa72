//! Where each tensor lives in the arena: planned once from the steps at which it is written and last read.
//!
//! Knows sizes and lifetimes only, neither tensors nor steps.

/// Every block starts at a multiple of this, a cache line.
const ALIGN: usize = 64;

/// A block of memory that is needed from one step to another, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    /// Bytes.
    pub(super) len: usize,
    /// First step that needs it.
    pub(super) from: usize,
    /// Last step that needs it.
    pub(super) to: usize,
}

/// Gives each block an offset such that blocks alive at the same step never overlap; returns the offsets and the bytes needed.
///
/// Larger blocks choose first, each the lowest gap that fits: close to optimal for the few large tensors of a net.
pub(super) fn place(blocks: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (core::cmp::Reverse(blocks[i].len), blocks[i].from));
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(blocks.len());
    let mut total = 0;
    for i in order {
        let mut rivals: Vec<usize> =
            placed.iter().copied().filter(|&j| overlap(&blocks[i], &blocks[j])).collect();
        rivals.sort_by_key(|&j| offsets[j]);
        let mut offset = 0;
        for j in rivals {
            if offset + blocks[i].len <= offsets[j] {
                break;
            }
            offset = offset.max((offsets[j] + blocks[j].len).next_multiple_of(ALIGN));
        }
        offsets[i] = offset;
        total = total.max(offset + blocks[i].len);
        placed.push(i);
    }
    (offsets, total.next_multiple_of(ALIGN))
}

fn overlap(a: &Lifetime, b: &Lifetime) -> bool {
    a.from <= b.to && b.from <= a.to
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
        let (offsets, total) = place(&blocks);
        for i in 0..blocks.len() {
            for j in 0..i {
                let apart =
                    offsets[i] + blocks[i].len <= offsets[j] || offsets[j] + blocks[j].len <= offsets[i];
                assert!(apart || !overlap(&blocks[i], &blocks[j]), "{i} and {j}: {offsets:?}");
            }
        }
        assert_eq!(offsets[0], offsets[2]);
        assert!(total <= 320);
    }
}
