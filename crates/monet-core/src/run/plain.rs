//! The steps that are no convolutions: plain loops over tensors in the arena.

use core::ops::Range;

use super::super::grid::Grid;
use super::super::kernels::BLOCK;
use super::super::requant::{Product, Sum, quantize, sigmoid};
use super::super::types::Pool;
use super::input::Input;
use super::logits::real;

/// Fills row `y` of the input tensor with the counts of the input's real values.
pub(super) fn quantize_input(arena: &mut [u8], grid: &Grid, y: usize, input: &impl Input) {
    let start = grid.at(y, 0);
    let row = &mut arena[start..start + grid.size[1] * grid.step];
    for c in 0..grid.channels {
        for (pixel, value) in row.chunks_exact_mut(grid.step).zip(input.row(c, y)) {
            pixel[c] = quantize(value, grid.quant);
        }
    }
}

/// Fills the gaps on both sides of some rows with the zero point.
pub(super) fn gaps(arena: &mut [u8], grid: &Grid, rows: Range<usize>) {
    let (gap, width) = (grid.gap * grid.step, grid.size[1] * grid.step);
    if gap > 0 {
        for y in rows {
            let start = grid.at(y, 0);
            arena[start - gap..start].fill(grid.quant.zero_point);
            arena[start + width..start + width + gap].fill(grid.quant.zero_point);
        }
    }
}

/// Row `y` of the sum of two tensors.
pub(super) fn add(arena: &mut [u8], inputs: [&Grid; 2], output: &Grid, y: usize, sum: &Sum) {
    let zero_point = i16::from(inputs[0].quant.zero_point);
    let [a, b, o] = [inputs[0], inputs[1], output].map(|grid| (grid.at(y, 0), grid.step));
    for x in 0..output.size[1] {
        let [a, b, o] = [a, b, o].map(|(start, step)| start + x * step);
        for c in 0..output.channels {
            arena[o + c] = sum.apply(i16::from(arena[a + c]) - zero_point, arena[b + c]);
        }
    }
}

/// Row `y` of the product of all channels of the first tensor with the only channel of the second,
/// pixel by pixel.
pub(super) fn scale(
    arena: &mut [u8],
    inputs: [&Grid; 2],
    output: &Grid,
    y: usize,
    product: &Product,
) {
    let [i, mask, o] = [inputs[0], inputs[1], output].map(|grid| (grid.at(y, 0), grid.step));
    for x in 0..output.size[1] {
        let [i, mask, o] = [i, mask, o].map(|(start, step)| start + x * step);
        let mask = arena[mask];
        // Through a block of its own: the compiler then knows that source and result do not
        // overlap.
        for c in (0..output.channels).step_by(BLOCK) {
            let len = (output.channels - c).min(BLOCK);
            let mut counts = [0; BLOCK];
            counts[..len].copy_from_slice(&arena[i + c..][..len]);
            counts = counts.map(|count| product.apply(count, mask));
            arena[o + c..][..len].copy_from_slice(&counts[..len]);
        }
    }
}

/// Fills row `y` of a tensor with the counts of the sigmoids of the real values in `row`. Each
/// pixel of these is padded to whole blocks.
pub(super) fn squash(arena: &mut [u8], row: &Range<usize>, output: &Grid, y: usize) {
    let pixel = output.channels.next_multiple_of(BLOCK) * 4;
    for x in 0..output.size[1] {
        let (from, to) = (row.start + x * pixel, output.at(y, x));
        for c in 0..output.channels {
            arena[to + c] = quantize(sigmoid(real(&arena[from..], c)), output.quant);
        }
    }
}

/// The table's count for each count in row `y` of a tensor.
pub(super) fn lookup(arena: &mut [u8], input: &Grid, output: &Grid, y: usize, table: &[u8; 256]) {
    let (i, o) = (input.at(y, 0), output.at(y, 0));
    for x in 0..output.size[1] {
        let (i, o) = (i + x * input.step, o + x * output.step);
        for c in 0..output.channels {
            arena[o + c] = table[usize::from(arena[i + c])];
        }
    }
}

/// Row `y` of the largest counts of each window of a tensor.
pub(super) fn max_pool(arena: &mut [u8], input: &Grid, output: &Grid, y: usize, pool: &Pool) {
    // The rows or columns of a window, without those in the border.
    let clip = |o: usize, axis: usize| {
        let start = o * pool.stride[axis];
        start.saturating_sub(pool.pads[axis])
            ..(start + pool.kernel[axis]).saturating_sub(pool.pads[axis]).min(input.size[axis])
    };
    for x in 0..output.size[1] {
        let o = output.at(y, x);
        arena[o..o + output.channels].fill(0);
        for iy in clip(y, 0) {
            for ix in clip(x, 1) {
                let i = input.at(iy, ix);
                for c in 0..output.channels {
                    arena[o + c] = arena[o + c].max(arena[i + c]);
                }
            }
        }
    }
}

/// Writes the real values of row `y` of a tensor to `scratch` as logits, each pixel padded to whole
/// blocks.
pub(super) fn dequantize(arena: &mut [u8], input: &Grid, y: usize, scratch: &Range<usize>) {
    let quant = input.quant;
    let pixel = input.channels.next_multiple_of(BLOCK) * 4;
    for x in 0..input.size[1] {
        for c in 0..input.channels {
            let count = arena[input.at(y, x) + c];
            let value = (f32::from(count) - f32::from(quant.zero_point)) * quant.scale;
            let at = scratch.start + x * pixel + c * 4;
            arena[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
    }
}
