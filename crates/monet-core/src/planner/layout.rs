//! Where each tensor, and each step's own memory, lies in the arena.
//!
//! 1. Each tensor is a block of memory, needed from the step that writes it to the last that reads
//!    it. The input is needed from step 0 on; node i is step i + 1.
//! 2. Each step may need two blocks for itself: scratch memory, and a row of real values.
//! 3. `overlays` finds the results that may lie over an input of their step.
//! 4. `arena` gives each block an offset.

use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

use super::super::graph::{Node, QuantGraph, TensorId};
use super::super::grid::Grid;
use super::super::kernels::{BLOCK, GROUP, Kernel, winograd};
use super::arena::{Lifetime, place};
use super::fuse::Fused;
use super::overlay::{Descent, Overlay};
use super::shapes::{Shapes, convolution, makes_reals};
use super::taps::{OutputPhase, output_phases, tap_grids};
use super::{ARENA_LIMIT, GROUP_ROWS, PlanError};

/// Bytes of scratch memory that a kernel wants for a node.
pub(super) fn scratch_len(node: &Node, grids: &[Grid], shapes: &Shapes, kernel: Kernel) -> usize {
    let Some((conv, transposed)) = convolution(&node.operation) else { return 0 };
    let packing = kernel.packing();
    let steps = || node.operation.inputs().iter().map(|s| grids[s.0].step);
    let window = conv.kernel[0] * conv.kernel[1];
    // No phase meets more taps than the window has.
    let channels = steps().map(|step| {
        let chunks = window.saturating_mul(step.div_ceil(BLOCK));
        packing.channels(chunks, step.min(BLOCK) / GROUP) as u64
    });
    let rows = usize::try_from(packing.panel(channels.sum())).unwrap_or(usize::MAX);
    let step: usize = steps().sum();
    let size = shapes.made(node);
    let phase = |outputs: &OutputPhase| match tap_grids(node, outputs, grids, kernel) {
        Some([down, across]) => {
            winograd::scratch_len(step / BLOCK * down.groups.len() * across.groups.len())
        }
        None => rows,
    };
    output_phases(conv, transposed, size).iter().map(phase).max().unwrap_or(0)
}

/// Where the steps' own memory lies.
pub(super) struct Layout {
    /// For each node: its scratch memory, and its row of real values.
    pub(super) ranges: Vec<[Range<usize>; 2]>,
    /// Bytes of the arena.
    pub(super) arena_len: usize,
}

/// Places all tensors, and the scratch memory and row of real values of each step.
pub(super) fn lay_out(
    grids: &mut [Grid],
    graph: &QuantGraph,
    fused: &[Fused],
    shapes: &Shapes,
    kernel: Kernel,
) -> Result<Layout, PlanError> {
    let mut blocks: Vec<Lifetime> =
        grids.iter().map(|g| Lifetime { len: g.len() as u64, from: usize::MAX, to: 0 }).collect();
    blocks[0].from = 0;
    for (i, f) in fused.iter().enumerate() {
        for TensorId(t) in f.inputs() {
            blocks[t].to = i + 1;
        }
        if let Some(TensorId(t)) = f.output() {
            blocks[t].from = i + 1;
            blocks[t].to = i + 1;
        }
    }
    // Nobody writes a summand whose addition was fused: it lives in registers only.
    for block in blocks.iter_mut().filter(|b| b.from == usize::MAX) {
        *block = Lifetime { len: 0, from: 0, to: 0 };
    }
    for (grid, _) in grids.iter_mut().zip(&blocks).filter(|(_, block)| block.len == 0) {
        grid.size = [0, 0];
    }
    for (i, f) in fused.iter().enumerate() {
        let [channels, _, width] = shapes.outputs[i];
        let scratch = scratch_len(f.node, grids, shapes, kernel);
        let row = if makes_reals(&f.node.operation) {
            width * channels.next_multiple_of(BLOCK) * 4
        } else {
            0
        };
        for len in [scratch, row] {
            blocks.push(Lifetime { len: len as u64, from: i + 1, to: i + 1 });
        }
    }
    let too_much = |what: String| {
        let [height, width] = shapes.tensors[0];
        let found = format!("{what}, the limit is {ARENA_LIMIT}; use smaller slices");
        PlanError::Size { height, width, found }
    };
    if let Some(block) = blocks.iter().find(|b| b.len > ARENA_LIMIT as u64) {
        return Err(too_much(format!("a tensor would take {} bytes", block.len)));
    }
    let (offsets, arena_len) = place(&blocks, &overlays(grids, fused, shapes, &blocks));
    if arena_len > ARENA_LIMIT as u64 {
        return Err(too_much(format!("the arena would take {arena_len} bytes")));
    }
    // Within the limit, which every machine can address.
    let offsets: Vec<usize> = offsets.into_iter().map(|offset| offset as usize).collect();
    let arena_len = arena_len as usize;
    for (grid, &offset) in grids.iter_mut().zip(&offsets) {
        grid.offset = offset;
    }
    let own = graph.tensors.len();
    let range = |i: usize| offsets[i]..offsets[i] + blocks[i].len as usize;
    let ranges = (0..fused.len()).map(|i| [range(own + 2 * i), range(own + 2 * i + 1)]).collect();
    Ok(Layout { ranges, arena_len })
}

/// The results of convolutions that may overlay an input, or a residual, that the convolution is
/// the last to read.
pub(super) fn overlays(
    grids: &[Grid],
    fused: &[Fused],
    shapes: &Shapes,
    blocks: &[Lifetime],
) -> Vec<Overlay> {
    let mut overlays = Vec::new();
    for (step, f) in (1..).zip(fused) {
        let Some((conv, transposed)) = convolution(&f.node.operation) else { continue };
        let Some(TensorId(output)) = f.output() else { continue };
        let out_step = if transposed { conv.stride[0] } else { 1 };
        let summand = f.residual.map(|(other, _)| (other, out_step));
        let in_step = if transposed { 1 } else { conv.stride[0] };
        let inputs = f.node.operation.inputs().iter().map(|&source| (source, in_step));
        for (TensorId(input), in_step) in inputs.chain(summand) {
            if blocks[input].to != step || input == output {
                continue;
            }
            let descent = Descent {
                group: GROUP_ROWS * conv.dilation[0],
                rows: shapes.made(f.node)[0],
                out_step,
                in_step,
                above: grids[output].halo[0],
                row: [grids[output].row(), grids[input].row()],
            };
            overlays.push(Overlay { input, output, lag: descent.lag() });
        }
    }
    overlays
}
