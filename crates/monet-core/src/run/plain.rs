//! The steps that are no convolutions: plain loops over tensors in the arena.
//!
//! A byte of the arena is a count less the kernel's [`offset`](super::super::Kernel::offset), 0 or
//! 128: `^ offset` takes it off and adds it again.
//!
//! Each gives `None` where a place lies outside the arena: see [`RunError::Damaged`]. None is
//! inlined: joined into one function they would take more room on a board.
//!
//! [`RunError::Damaged`]: super::RunError::Damaged

use core::ops::Range;

use super::super::grid::Grid;
use super::super::kernels::{BLOCK, padded};
use super::super::requant::{Product, Sum, quantize, sigmoid};
use super::super::types::Pool;
use super::input::Input;
use super::logits::real;

/// Fills row `y` of the input tensor with the counts of the input's real values.
pub(super) fn quantize_input(
    arena: &mut [u8],
    grid: &Grid,
    y: usize,
    input: &impl Input,
    offset: u8,
) -> Option<()> {
    let row = arena.get_mut(grid.at(y, 0)..)?;
    for c in 0..grid.channels() {
        for (x, value) in (0..grid.width()).zip(input.row(c, y)) {
            *row.get_mut(x * grid.step() + c)? = quantize(value, grid.quant()) ^ offset;
        }
    }
    Some(())
}

/// Fills the gaps on both sides of some rows with the zero point.
#[inline(never)]
pub(super) fn gaps(arena: &mut [u8], grid: &Grid, rows: Range<usize>, offset: u8) -> Option<()> {
    let (gap, width) = (grid.gap(), grid.row_len());
    if gap > 0 {
        for y in rows {
            let start = grid.at(y, 0);
            for gap in [start - gap..start, start + width..start + width + gap] {
                arena.get_mut(gap)?.fill(grid.zero_point as u8 ^ offset);
            }
        }
    }
    Some(())
}

/// Row `y` of the sum of two tensors.
#[inline(never)]
pub(super) fn add(
    arena: &mut [u8],
    inputs: [&Grid; 2],
    output: &Grid,
    y: usize,
    sum: &Sum,
    offset: u8,
) -> Option<()> {
    let zero_point = inputs[0].zero_point as i16;
    let (first, second, to) = (inputs[0].at(y, 0), inputs[1].at(y, 0), output.at(y, 0));
    for x in 0..output.width() {
        let (a, b) = (first + x * inputs[0].step(), second + x * inputs[1].step());
        let o = to + x * output.step();
        for c in 0..output.channels() {
            let [a, b] = [*arena.get(a + c)? ^ offset, *arena.get(b + c)? ^ offset];
            *arena.get_mut(o + c)? = sum.apply(i16::from(a) - zero_point, b) ^ offset;
        }
    }
    Some(())
}

/// Row `y` of the product of all channels of the first tensor with the only channel of the second,
/// pixel by pixel.
#[inline(never)]
pub(super) fn scale(
    arena: &mut [u8],
    inputs: [&Grid; 2],
    output: &Grid,
    y: usize,
    product: &Product,
    offset: u8,
) -> Option<()> {
    let (from, masks, to) = (inputs[0].at(y, 0), inputs[1].at(y, 0), output.at(y, 0));
    for x in 0..output.width() {
        let (i, o) = (from + x * inputs[0].step(), to + x * output.step());
        let mask = *arena.get(masks + x * inputs[1].step())? ^ offset;
        // Through a block of its own: the compiler then knows that source and result do not
        // overlap. A tensor of fewer channels has blocks of a group.
        for c in (0..output.channels()).step_by(BLOCK) {
            let len = (output.channels() - c).min(BLOCK);
            let mut counts = [0; BLOCK];
            for (count, from) in counts.iter_mut().zip(arena.get(i + c..)?.get(..len)?) {
                *count = *from;
            }
            counts = counts.map(|count| product.apply(count ^ offset, mask) ^ offset);
            for (to, count) in arena.get_mut(o + c..)?.get_mut(..len)?.iter_mut().zip(counts) {
                *to = count;
            }
        }
    }
    Some(())
}

/// Fills row `y` of a tensor with the counts of the sigmoids of the real values in `row`. Each
/// pixel of these is padded to whole blocks.
#[inline(never)]
pub(super) fn squash(
    arena: &mut [u8],
    row: &Range<usize>,
    output: &Grid,
    y: usize,
    offset: u8,
) -> Option<()> {
    let pixel = padded(output.channels()) * 4;
    for x in 0..output.width() {
        let (from, to) = (row.start + x * pixel, output.at(y, x));
        for c in 0..output.channels() {
            let value = sigmoid(real(arena.get(from..)?, c)?);
            *arena.get_mut(to + c)? = quantize(value, output.quant()) ^ offset;
        }
    }
    Some(())
}

/// The table's count for each count in row `y` of a tensor.
#[inline(never)]
pub(super) fn lookup(
    arena: &mut [u8],
    input: &Grid,
    output: &Grid,
    y: usize,
    table: &[u8; 256],
    offset: u8,
) -> Option<()> {
    let (i, o) = (input.at(y, 0), output.at(y, 0));
    for x in 0..output.width() {
        let (i, o) = (i + x * input.step(), o + x * output.step());
        for c in 0..output.channels() {
            let count = *arena.get(i + c)? ^ offset;
            *arena.get_mut(o + c)? = table[usize::from(count)] ^ offset;
        }
    }
    Some(())
}

/// Row `y` of the largest counts of each window of a tensor.
#[inline(never)]
pub(super) fn max_pool(
    arena: &mut [u8],
    input: &Grid,
    output: &Grid,
    y: usize,
    pool: &Pool,
    offset: u8,
) -> Option<()> {
    // The rows or columns of a window, without those in the border.
    let clip = |o: usize, axis: usize| {
        let start = o * pool.stride[axis];
        start.saturating_sub(pool.pads[axis])
            ..(start + pool.kernel[axis]).saturating_sub(pool.pads[axis]).min(input.size()[axis])
    };
    for x in 0..output.width() {
        let o = output.at(y, x);
        arena.get_mut(o..o + output.channels())?.fill(offset);
        for iy in clip(y, 0) {
            for ix in clip(x, 1) {
                let i = input.at(iy, ix);
                for c in 0..output.channels() {
                    let count = *arena.get(i + c)?;
                    let most = arena.get_mut(o + c)?;
                    *most = (count ^ offset).max(*most ^ offset) ^ offset;
                }
            }
        }
    }
    Some(())
}

/// Writes the real values of row `y` of a tensor to `scratch` as logits, each pixel padded to whole
/// blocks.
#[inline(never)]
pub(super) fn dequantize(
    arena: &mut [u8],
    input: &Grid,
    y: usize,
    scratch: &Range<usize>,
    offset: u8,
) -> Option<()> {
    let quant = input.quant();
    let pixel = padded(input.channels()) * 4;
    for x in 0..input.width() {
        for c in 0..input.channels() {
            let count = *arena.get(input.at(y, x) + c)? ^ offset;
            let value = (f32::from(count) - f32::from(quant.zero_point)) * quant.scale;
            let at = scratch.start + x * pixel + c * 4;
            *arena.get_mut(at..)?.first_chunk_mut()? = value.to_ne_bytes();
        }
    }
    Some(())
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use std::vec;

    use super::super::super::types::Quant;
    use super::super::input::Planes;
    use super::*;

    /// Two rows of three pixels of four channels, with a gap of one pixel.
    fn grid(offset: u32) -> Grid {
        let (scale, zero_point) = (0.5, 7);
        Grid { size: [2, 3], channels: 3, step: 4, slots: 2, zero_point, gap: 1, offset, scale }
    }

    /// A step on an arena, with an offset.
    type Step<'a> = &'a dyn Fn(&mut [u8], u8) -> Option<()>;

    #[test]
    fn counts_that_lack_an_offset_become_the_same_counts() {
        let (a, b, out) = (grid(0), grid(100), Grid { zero_point: 200, ..grid(200) });
        let quant = |scale, zero_point| Quant { scale, zero_point };
        let sum = Sum::new(quant(0.5, 7), quant(0.5, 7), quant(1.0, 200)).unwrap();
        let product = Product::new(quant(0.5, 7), quant(0.5, 7), quant(30.0, 200)).unwrap();
        let pool = Pool { kernel: [2, 2], stride: [1, 1], pads: [1, 1, 1, 1] };
        let mut table = [0; 256];
        for (i, entry) in table.iter_mut().enumerate() {
            *entry = (i * 77 + 5) as u8;
        }
        let counts: vec::Vec<u8> = (0..400).map(|i| (i * 89 + 31) as u8).collect();
        let planes = [[0.5, -60.0, 300.0, 1e9, -1e9, 2.0].as_slice(); 3];
        let planes = Planes::new(&planes, [3, 2, 3]).unwrap();
        // What steps make of bytes less the offset; offset added back.
        let made = |step: Step, offset: u8| {
            let mut arena: vec::Vec<u8> = counts.iter().map(|count| count ^ offset).collect();
            step(&mut arena, offset).unwrap();
            arena.iter().map(|byte| byte ^ offset).collect::<vec::Vec<u8>>()
        };
        let steps: [Step; 6] = [
            &|arena, offset| quantize_input(arena, &out, 1, &planes, offset),
            &|arena, offset| gaps(arena, &out, 0..2, offset),
            &|arena, offset| add(arena, [&a, &b], &out, 1, &sum, offset),
            &|arena, offset| scale(arena, [&a, &b], &out, 1, &product, offset),
            &|arena, offset| lookup(arena, &a, &out, 1, &table, offset),
            &|arena, offset| max_pool(arena, &a, &out, 1, &pool, offset),
        ];
        for (i, step) in steps.into_iter().enumerate() {
            assert_eq!(made(step, 0), made(step, 128), "step {i}");
            assert_ne!(made(step, 0), counts, "step {i}");
        }
        // Real values have no offset: what is written is the same.
        let reals = |offset: u8| {
            let mut arena: vec::Vec<u8> = counts.iter().map(|count| count ^ offset).collect();
            dequantize(&mut arena, &a, 1, &(200..392), offset).unwrap();
            (0..3).flat_map(|x| arena[200 + 64 * x..][..12].to_vec()).collect::<vec::Vec<u8>>()
        };
        assert_eq!(reals(0), reals(128));
    }

    #[test]
    fn a_row_outside_the_arena_is_none_and_no_panic() {
        let (a, b) = (grid(0), grid(192));
        let whole = b.offset as usize + b.len();
        for (len, fits) in [(whole, true), (whole - a.step(), false), (a.len(), false), (3, false)]
        {
            let mut arena = vec![1; len];
            let done = gaps(&mut arena, &b, 0..2, 0)
                .and_then(|()| lookup(&mut arena, &a, &b, 1, &[9; 256], 0))
                .and_then(|()| dequantize(&mut arena, &a, 0, &(0..192), 0));
            assert_eq!(done.is_some(), fits, "{len}");
        }
        let mut arena = vec![1; whole];
        lookup(&mut arena, &a, &b, 1, &[9; 256], 0).unwrap();
        let row = &arena[b.at(1, 0)..b.at(1, 2) + b.step()];
        assert_eq!(row, [[9, 9, 9, 1]; 3].as_flattened());
    }
}
