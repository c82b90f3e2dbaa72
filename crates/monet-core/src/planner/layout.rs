//! Where each tensor, and the passes' own memory, lies in the arena.
//!
//! 1. Each tensor is a block of memory, needed from the pass that fills it to the last that reads
//!    it. A tensor that one pass alone uses has as many slots as the pass needs.
//! 2. Each pass may need three blocks for itself, which its steps share: scratch memory, a row of
//!    real values, and a border of zero points.
//! 3. `arena` gives each block an offset. Results may lie over inputs, see `overlay`.

use alloc::{vec, vec::Vec};

use super::super::grid::Grid;
use super::super::image::record::Step;
use super::arena::{Lifetime, place};
use super::draft::Draft;
use super::overlay::Overlay;
use super::pass::{Turns, Uses};

/// What a step needs for itself while it computes some rows: the bytes of each kind.
pub(super) const OWN: [fn(&Step) -> u32; 3] =
    [|step| step.scratch[1], |step| step.row[1], |step| step.border[1]];

/// Where everything lies.
pub(super) struct Layout {
    /// Bytes of the arena, without lists of taps.
    pub(super) len: u64,
    /// For each tensor: its slots.
    slots: Vec<usize>,
    /// Offset and bytes of each block: of the tensors, then of each kind of [`OWN`] for each pass.
    blocks: Vec<[u64; 2]>,
    /// For each step: its pass.
    passes: Vec<usize>,
}

impl Layout {
    /// Places everything for a division of the steps into passes, see [`place`] for the tries.
    pub(super) fn new(draft: &Draft, uses: &Uses, passes: &[Turns], tries: usize) -> Self {
        let of_step: Vec<usize> =
            passes.iter().enumerate().flat_map(|(i, pass)| vec![i; pass.steps.len()]).collect();
        let mut slots: Vec<usize> = draft.grids.iter().map(|grid| grid.height()).collect();
        for &(tensor, rows) in passes.iter().flat_map(|pass| &pass.slots) {
            slots[tensor] = slots[tensor].min(rows);
        }
        let mut blocks = Vec::new();
        for (tensor, grid) in draft.grids.iter().enumerate() {
            // Nobody fills a summand whose addition was fused: it lives in registers only.
            let ends = uses.writer[tensor].zip(uses.last(tensor));
            let during = ends.map_or(0..0, |(first, last)| of_step[first]..of_step[last] + 1);
            let len = Grid { slots: slots[tensor] as u16, ..*grid }.len() as u64;
            let len = if during.is_empty() { 0 } else { len };
            blocks.push(Lifetime { len, during });
        }
        for own in OWN {
            blocks.extend(passes.iter().enumerate().map(|(i, pass)| {
                let len = draft.steps[pass.steps.clone()].iter().map(own).max().unwrap_or(0);
                Lifetime { len: len.into(), during: i..i + 1 }
            }));
        }
        let plane = |tensor: usize| slots[tensor] == draft.grids[tensor].height();
        let overlays = passes.iter().flat_map(|pass| &pass.overlays);
        let overlays: Vec<Overlay> = overlays
            .filter(|overlay| plane(overlay.input) && plane(overlay.output))
            .copied()
            .collect();
        let (offsets, len) = place(&blocks, &overlays, tries);
        let blocks = offsets.iter().zip(&blocks).map(|(&at, block)| [at, block.len]).collect();
        Self { len, slots, blocks, passes: of_step }
    }

    /// Bytes of the longest block.
    pub(super) fn longest(&self) -> Option<u64> {
        self.blocks.iter().map(|block| block[1]).max()
    }

    /// Writes the places into a draft. All of them must lie within 32 bits.
    pub(super) fn apply(&self, draft: &mut Draft) {
        let tensors = draft.grids.len();
        let passes = (self.blocks.len() - tensors) / OWN.len();
        for (i, grid) in draft.grids.iter_mut().enumerate() {
            let [at, len] = self.blocks[i];
            if len == 0 {
                grid.size = [0, 0];
            }
            (grid.slots, grid.offset) = (self.slots[i] as u16, at as u32);
        }
        for (step, &pass) in draft.steps.iter_mut().zip(&self.passes) {
            let own = [&mut step.scratch, &mut step.row, &mut step.border];
            for (i, own) in own.into_iter().enumerate() {
                if own[1] > 0 {
                    own[0] = self.blocks[tensors + i * passes + pass][0] as u32;
                }
            }
        }
    }
}
