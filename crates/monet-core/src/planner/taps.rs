//! Which output pixels share which taps, and whether these are spread so that Winograd's tiles can
//! take them.

use super::super::graph::{Convolution, Node};
use super::super::grid::Grid;
use super::super::kernels::winograd::{self, FEEDS, POINTS};
use super::super::kernels::{BLOCK, Kernel};
use super::shapes::{convolution, makes_reals};
use alloc::{vec, vec::Vec};

/// The output pixels of a phase and the taps that they share, in pixels.
pub(super) struct OutputPhase {
    pub(super) origin: [usize; 2],
    pub(super) out_step: [usize; 2],
    pub(super) in_step: [usize; 2],
    pub(super) size: [usize; 2],
    /// Input pixel relative to output pixel 0, and the tap's index in the window, per axis.
    pub(super) taps: [Vec<(isize, usize)>; 2],
}

impl OutputPhase {
    /// First and last input row (axis 0) or column that is read; none where nothing is.
    pub(super) fn extent(&self, axis: usize) -> Option<[isize; 2]> {
        let low = self.taps[axis].iter().map(|t| t.0).min()?;
        let high = self.taps[axis].iter().map(|t| t.0).max()?;
        Some([low, high + ((self.size[axis] - 1) * self.in_step[axis]) as isize])
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
            // Output o reads input i through tap k where o = i * stride - pad + k * dilation.
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

/// The taps of an axis as tap_grids, one for each remainder of the input step: equally many taps,
/// equally far apart.
#[derive(Debug, PartialEq)]
pub(super) struct TapGrid {
    /// Teeth of each.
    pub(super) taps: usize,
    /// Input steps from one tooth to the next.
    pub(super) dilation: usize,
    /// First tooth, and the taps's indices in the window.
    pub(super) groups: Vec<(isize, Vec<usize>)>,
}

impl TapGrid {
    /// None where taps are not spread like that.
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

/// The taps of a phase for tiles: where a kernel computes them, a phase has two or three of them
/// down and across, chunks of channels are whole, sums stay exact, and what tiles compute beyond
/// the edges leaves a gain.
pub(super) fn tap_grids(
    node: &Node,
    outputs: &OutputPhase,
    grids: &[Grid],
    kernel: Kernel,
) -> Option<[TapGrid; 2]> {
    let (conv, _) = convolution(&node.operation).filter(|_| !makes_reals(&node.operation))?;
    let inputs = node.operation.inputs();
    let chunks = inputs.iter().all(|s| grids[s.0].step.is_multiple_of(BLOCK));
    let exact = conv.magnitudes().all(winograd::fits);
    if !kernel.has_tiles() || !chunks || !exact {
        return None;
    }
    let [down, across] = [
        TapGrid::new(&outputs.taps[0], outputs.in_step[0])?,
        TapGrid::new(&outputs.taps[1], outputs.in_step[1])?,
    ];
    let taps = down.taps;
    let few = matches!(taps, 2 | 3) && across.taps == taps;
    if !few || inputs.len() * down.groups.len() * across.groups.len() > FEEDS {
        return None;
    }
    let [high, wide] = winograd::tile(taps);
    let tiles = winograd::tiles(outputs.size[0], high, down.dilation)
        * winograd::tiles(outputs.size[1], wide, across.dilation);
    // Taking inputs and products there and back costs as much as some of the products saved.
    let gains = tiles * POINTS * 3 <= outputs.size[0] * outputs.size[1] * taps * taps * 2;
    gains.then_some([down, across])
}
