//! Which output pixels share which taps, and whether Winograd tiles can compute these.
//!
//! **Output phases.** All output pixels of a convolution read through the same taps. Those of a
//! transposed convolution do not: output o reads input i through tap k where
//! `o = i * stride - pad + k * dilation`. Pixels with the same remainder modulo the stride share
//! their taps, and are a phase. One axis of a transposed convolution with 3 taps, stride 2 and
//! pad 1:
//!
//! ```text
//! output      0     1      2     3      4     5      6
//! phase       0     1      0     1      0     1      0
//! taps        1     0, 2   1     0, 2   1     0, 2   1
//! inputs      0     1, 0   1     2, 1   2     3, 2   3
//! ```
//!
//! **Groups of taps.** Winograd tiles need taps that are evenly spread over inputs which are one
//! step apart. At a stride of 2 a step is two pixels, and neighbouring taps are half a step apart.
//! Taps are therefore grouped by their offset modulo the stride, and each group gets an input of
//! its own. One axis of a window of 4 taps at a stride of 2:
//!
//! ```text
//! offsets of all taps     -1   0   1   2
//! group of remainder 0         0       2       2 taps, 1 step apart
//! group of remainder 1    -1       1           2 taps, 1 step apart
//! ```
//!
//! Tiles can compute these, as both groups have as many taps, equally far apart ([`TapGrid`]).

use super::super::graph::{Convolution, Node};
use super::super::grid::Grid;
use super::super::kernels::winograd::{self, FEEDS, POINTS};
use super::super::kernels::{BLOCK, Kernel};
use super::shapes::{convolution, makes_reals};
use alloc::{vec, vec::Vec};

/// The output pixels of a phase and the taps that they share.
pub(super) struct OutputPhase {
    /// The phase's first output pixel (y, x).
    pub(super) origin: [usize; 2],
    /// Rows and columns from one output pixel of the phase to the next.
    pub(super) out_step: [usize; 2],
    /// Rows and columns from the input pixel under one output pixel to that under the next.
    pub(super) in_step: [usize; 2],
    /// Rows and columns of output pixels.
    pub(super) size: [usize; 2],
    /// For each tap of each axis: the offset of its input pixel for the phase's first output pixel,
    /// and the tap's index in the window.
    pub(super) taps: [Vec<(isize, usize)>; 2],
}

impl OutputPhase {
    /// First and last input column that is read; `None` without taps.
    pub(super) fn columns(&self) -> Option<[isize; 2]> {
        let low = self.taps[1].iter().map(|t| t.0).min()?;
        let high = self.taps[1].iter().map(|t| t.0).max()?;
        Some([low, high + ((self.size[1] - 1) * self.in_step[1]) as isize])
    }
}

/// The phases of a convolution whose output has `size`.
pub(super) fn output_phases(
    conv: &Convolution,
    transposed: bool,
    size: [usize; 2],
) -> Vec<OutputPhase> {
    let pad = |axis: usize| conv.pads[axis] as isize;
    if !transposed {
        let taps = [0, 1].map(|axis| {
            (0..conv.kernel[axis])
                .map(|k| ((k * conv.dilation[axis]) as isize - pad(axis), k))
                .collect()
        });
        return vec![OutputPhase {
            origin: [0, 0],
            out_step: [1, 1],
            in_step: conv.stride,
            size,
            taps,
        }];
    }
    let mut phases = Vec::new();
    for y in 0..conv.stride[0].min(size[0]) {
        for x in 0..conv.stride[1].min(size[1]) {
            let origin = [y, x];
            // From o = i * stride - pad + k * dilation: only taps that give a whole i.
            let taps = [0, 1].map(|axis| {
                (0..conv.kernel[axis])
                    .map(|k| {
                        (origin[axis] as isize + pad(axis) - (k * conv.dilation[axis]) as isize, k)
                    })
                    .filter(|(i, _)| i.rem_euclid(conv.stride[axis] as isize) == 0)
                    .map(|(i, k)| (i.div_euclid(conv.stride[axis] as isize), k))
                    .collect()
            });
            let count = [0, 1].map(|axis| (size[axis] - origin[axis]).div_ceil(conv.stride[axis]));
            phases.push(OutputPhase {
                origin,
                out_step: conv.stride,
                in_step: [1, 1],
                size: count,
                taps,
            });
        }
    }
    phases
}

/// The taps of one axis, grouped by offset modulo the input step. Every group has the same number
/// of taps at the same spacing.
#[derive(Debug, PartialEq)]
pub(super) struct TapGrid {
    /// Taps of a group.
    pub(super) taps: usize,
    /// Input steps from one tap of a group to the next.
    pub(super) dilation: usize,
    /// For each group: the offset of its first tap, and the index of each of its taps in the
    /// window.
    pub(super) groups: Vec<(isize, Vec<usize>)>,
}

impl TapGrid {
    /// Groups the taps of an axis; `None` where they do not fall into such groups.
    pub(super) fn new(taps: &[(isize, usize)], step: usize) -> Option<Self> {
        let mut taps = taps.to_vec();
        taps.sort_unstable();
        let step = step as isize;
        let mut found: Option<Self> = None;
        for remainder in 0..step {
            let taps: Vec<_> = taps.iter().filter(|t| t.0.rem_euclid(step) == remainder).collect();
            let (Some(first), Some(second)) = (taps.first(), taps.get(1)) else { continue };
            let apart = second.0 - first.0;
            if taps.windows(2).any(|pair| pair[1].0 - pair[0].0 != apart) {
                return None;
            }
            let (count, dilation) = (taps.len(), (apart / step) as usize);
            let all = found.get_or_insert(Self { taps: count, dilation, groups: Vec::new() });
            if (count, dilation) != (all.taps, all.dilation) {
                return None;
            }
            all.groups.push((first.0, taps.iter().map(|t| t.1).collect()));
        }
        found.filter(|all| all.groups.len() * all.taps == taps.len())
    }
}

/// The taps of a phase down and across, grouped for tiles; `None` where rows are to be computed
/// without tiles. Tiles are used if:
///
/// - the kernel has them, for so many input channels, and the results are counts,
/// - the tensors have whole chunks of 16 channels,
/// - sums stay exact in 32 bits,
/// - the groups have as many taps as the kernel's tiles, and make no more inputs than a strip can
///   have,
/// - tiles save products although they also compute pixels beyond the edges.
pub(super) fn tap_grids(
    node: &Node,
    outputs: &OutputPhase,
    grids: &[Grid],
    kernel: Kernel,
) -> Option<[TapGrid; 2]> {
    let (conv, _) = convolution(&node.operation).filter(|_| !makes_reals(&node.operation))?;
    let inputs = node.operation.inputs();
    let chunks = inputs.iter().all(|s| grids[s.0].step().is_multiple_of(BLOCK));
    let channels = inputs.iter().map(|s| grids[s.0].step()).sum::<usize>();
    let price = kernel.tile_price(channels)?;
    if !chunks {
        return None;
    }
    let [down, across] = [
        TapGrid::new(&outputs.taps[0], outputs.in_step[0])?,
        TapGrid::new(&outputs.taps[1], outputs.in_step[1])?,
    ];
    let taps = down.taps;
    let few = kernel.has_tiles_of(taps) && across.taps == taps;
    if !few || inputs.len() * down.groups.len() * across.groups.len() > FEEDS {
        return None;
    }
    let side = winograd::tile(taps);
    let tiles = winograd::tiles(outputs.size[0], side, down.dilation)
        * winograd::tiles(outputs.size[1], side, across.dilation);
    // The transforms cost time too: tiles must save a third of the products' time.
    let products = tiles * POINTS * price;
    let gains = products * 3 <= outputs.size[0] * outputs.size[1] * taps * taps * 2;
    // Summing all weights takes longest, and comes last.
    (gains && conv.reaches().all(winograd::fits)).then_some([down, across])
}
