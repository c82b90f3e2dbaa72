//! Runs a plan over one slice: no allocation, no operating system, all memory from the caller.
//!
//! Steps go row by row; convolutions are handed to the kernel, the few remaining kinds are plain
//! loops here.

use core::ops::Range;

use super::graph::{Output, Pool};
use super::kernels::winograd::{FEEDS, Strip, StripFeed, tile};
use super::kernels::{BLOCK, Feed, GROUP, Row, Target};
use super::plan::{ConvResult, ConvStep, Grid, Phase, Plan, Rows, Step, Tiles, Way};
use super::requant::{Product, Sum, exp, quantize, sigmoid};

/// Buffers that do not fit the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// One of them is too short or too long.
    #[error("{what} has {found} elements, the plan needs {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The plan's.
        expected: usize,
    },
}

/// Where results go.
enum Sink<'a> {
    Labels(&'a mut [u8]),
    Probabilities(&'a mut [f32]),
}

impl Plan {
    /// Labels of one slice.
    ///
    /// `input` is planar (channel, row, column), in as many parts of whole planes as the caller has
    /// it in; `labels` height × width of [`Plan::output_size`], `arena` at least
    /// [`Plan::arena_len`] bytes of any content.
    pub fn run(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        labels: &mut [u8],
    ) -> Result<(), RunError> {
        self.run_observed(arena, input, labels, |_| ())
    }

    /// As [`Plan::run`]; calls `done` with the index of each step after it.
    pub fn run_observed(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        labels: &mut [u8],
        done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        let [height, width] = self.output_size;
        expect("labels", labels.len(), height * width)?;
        self.execute(arena, input, Sink::Labels(labels), done)
    }

    /// Probabilities of one slice, planar (class, row, column); for [`Output::Identity`] the
    /// logits.
    pub fn run_probabilities(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        probabilities: &mut [f32],
    ) -> Result<(), RunError> {
        let [height, width] = self.output_size;
        expect("probabilities", probabilities.len(), self.classes * height * width)?;
        self.execute(arena, input, Sink::Probabilities(probabilities), |_| ())
    }

    fn execute(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        mut sink: Sink,
        mut done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        let plane = self.size[0] * self.size[1];
        let whole: usize = input.iter().map(|part| part.len() / plane * plane).sum();
        expect("input", input.iter().map(|part| part.len()).sum(), self.input_len())?;
        expect("input in whole planes", whole, self.input_len())?;
        if arena.len() < self.arena_len() {
            return Err(RunError::Length {
                what: "arena",
                found: arena.len(),
                expected: self.arena_len(),
            });
        }
        let grids = &self.grids[..];
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Quantize => {
                    quantize_input(arena, &grids[0], input);
                    border(arena, &grids[0]);
                }
                Step::Convolve(conv) => self.convolve(arena, conv, &mut sink),
                Step::Add { inputs, output, sum } => {
                    add(arena, inputs.map(|t| &grids[t]), &grids[*output], sum);
                    border(arena, &grids[*output]);
                }
                Step::Scale { inputs, output, product } => {
                    scale(arena, inputs.map(|t| &grids[t]), &grids[*output], product);
                    border(arena, &grids[*output]);
                }
                Step::Lookup { input, output, table } => {
                    lookup(arena, &grids[*input], &grids[*output], table);
                    border(arena, &grids[*output]);
                }
                Step::MaxPool { input, output, pool } => {
                    max_pool(arena, &grids[*input], &grids[*output], pool);
                    border(arena, &grids[*output]);
                }
                Step::Dequantize { input, scratch } => {
                    for y in 0..self.output_size[0] {
                        dequantize(arena, &grids[*input], y, scratch);
                        self.decide(&arena[scratch.clone()], y, &mut sink);
                    }
                }
            }
            done(i);
        }
        Ok(())
    }

    fn convolve(&self, arena: &mut [u8], step: &ConvStep, sink: &mut Sink) {
        let rows = step.phases.iter().map(|phase| phase.size[0]).max().unwrap_or(0);
        // Phase by phase within a few rows, as a result may overlay what is above them, and finds
        // its input in the cache.
        for top in (0..rows).step_by(step.span) {
            for phase in &step.phases {
                self.rows(arena, step, phase, top..(top + step.span).min(phase.size[0]), sink);
            }
        }
        if let ConvResult::Counts { output, .. } | ConvResult::Sigmoids { output, .. } =
            &step.result
        {
            border(arena, &self.grids[*output]);
        }
    }

    /// Some rows of a phase, whole tiles of it.
    fn rows(
        &self,
        arena: &mut [u8],
        step: &ConvStep,
        phase: &Phase,
        range: Range<usize>,
        sink: &mut Sink,
    ) {
        match &phase.way {
            Way::Rows(rows) => {
                for y in range {
                    self.row(arena, step, phase, rows, y);
                    match &step.result {
                        ConvResult::Logits { row, .. } => self.decide(&arena[row.clone()], y, sink),
                        ConvResult::Sigmoids { row, output, .. } => {
                            squash(arena, row, &self.grids[*output], y);
                        }
                        ConvResult::Counts { .. } => {}
                    }
                }
            }
            Way::Tiles(tiles) => {
                let down = tiles.dilation[0];
                for span in range.clone().step_by(phase.granularity()) {
                    for y in span..(span + down).min(range.end) {
                        self.strip(arena, step, phase, tiles, y);
                    }
                }
            }
        }
    }

    /// Row `y` of a phase.
    fn row(&self, arena: &mut [u8], step: &ConvStep, phase: &Phase, rows: &Rows, y: usize) {
        let feed = |i: usize| {
            let grid = &self.grids[step.inputs[i]];
            Feed {
                start: grid.at(y * phase.in_step[0], 0),
                step: phase.in_step[1] * grid.step,
                taps: &rows.taps[i],
                reach: rows.reach[i],
                groups: grid.step.min(BLOCK) / GROUP,
                chunks: grid.step.div_ceil(BLOCK),
            }
        };
        let row = Row {
            width: phase.size[1],
            feeds: [feed(0), feed(step.inputs.len() - 1)],
            inputs: step.inputs.len(),
            weights: &rows.weights,
            bias: &phase.bias,
            target: self.target(step, phase, y),
            scratch: &step.scratch,
        };
        self.kernel.convolve(arena, &row);
    }

    /// The rows of the tiles whose first row is `y`.
    fn strip(&self, arena: &mut [u8], step: &ConvStep, phase: &Phase, tiles: &Tiles, y: usize) {
        let [down, across] = tiles.dilation;
        let mut feeds = [StripFeed { rows: [0; 4], step: 0, channels: 0, columns: 0 }; FEEDS];
        for (feed, input) in feeds.iter_mut().zip(&tiles.feeds) {
            let grid = &self.grids[step.inputs[input.input]];
            let [top, left] = input.first;
            // Rows of outputs that are not there may reach beyond the border.
            let row = |i: usize| (top + (y + i * down) * phase.in_step[0]).min(grid.rows() - 1);
            let columns = grid.row() / grid.step - left;
            *feed = StripFeed {
                rows: [0, 1, 2, 3].map(|i| grid.offset + row(i) * grid.row() + left * grid.step),
                step: phase.in_step[1] * grid.step,
                channels: grid.step,
                columns: columns.div_ceil(phase.in_step[1]),
            };
        }
        let high = tile(tiles.taps)[0];
        let rows = (phase.size[0] - y).div_ceil(down).min(high);
        let targets = [0, 1, 2].map(|i| self.target(step, phase, y + i.min(rows - 1) * down));
        let strip = Strip {
            width: phase.size[1],
            taps: tiles.taps,
            dilation: across,
            feeds: &feeds[..tiles.feeds.len()],
            weights: &tiles.weights,
            bias: &phase.bias,
            targets: &targets[..rows],
            scratch: &step.scratch,
        };
        self.kernel.convolve_strip(arena, &strip);
    }

    /// Where the sums of row `y` of a phase go.
    fn target<'a>(&self, step: &'a ConvStep, phase: &Phase, y: usize) -> Target<'a> {
        let place = |t: usize| {
            let grid = &self.grids[t];
            let [y, x] = [phase.origin[0] + y * phase.out_step[0], phase.origin[1]];
            [grid.at(y, x), phase.out_step[1] * grid.step]
        };
        match &step.result {
            ConvResult::Counts { output, stage, residual } => {
                let [start, step] = place(*output);
                Target::Counts { stage, start, step, residual: residual.map_or([0, 0], place) }
            }
            ConvResult::Logits { stage, row } | ConvResult::Sigmoids { stage, row, .. } => {
                Target::Reals { stage, start: row.start }
            }
        }
    }

    /// Labels or probabilities of row `y` from its logits, which stand as native f32, padded to
    /// whole blocks per pixel.
    fn decide(&self, logits: &[u8], y: usize, sink: &mut Sink) {
        let width = self.output_size[1];
        let pixels = logits.chunks_exact(self.classes.next_multiple_of(BLOCK) * 4);
        match sink {
            Sink::Labels(labels) => {
                let labels = &mut labels[y * width..(y + 1) * width];
                for (label, pixel) in labels.iter_mut().zip(pixels) {
                    *label = match self.output {
                        Output::Sigmoid { .. } => u8::from(real(pixel, 0) > self.threshold),
                        Output::Softmax | Output::Identity => largest(pixel, self.classes),
                    };
                }
            }
            Sink::Probabilities(out) => {
                let plane = out.len() / self.classes;
                for (x, pixel) in pixels.enumerate() {
                    self.probabilities(pixel, |class, p| out[class * plane + y * width + x] = p);
                }
            }
        }
    }

    fn probabilities(&self, pixel: &[u8], mut put: impl FnMut(usize, f32)) {
        match self.output {
            Output::Sigmoid { .. } => put(0, sigmoid(real(pixel, 0))),
            Output::Softmax => {
                let top = real(pixel, usize::from(largest(pixel, self.classes)));
                let total: f32 = (0..self.classes).map(|class| exp(real(pixel, class) - top)).sum();
                (0..self.classes)
                    .for_each(|class| put(class, exp(real(pixel, class) - top) / total));
            }
            Output::Identity => (0..self.classes).for_each(|class| put(class, real(pixel, class))),
        }
    }
}

fn expect(what: &'static str, found: usize, expected: usize) -> Result<(), RunError> {
    if found == expected { Ok(()) } else { Err(RunError::Length { what, found, expected }) }
}

/// The i-th native f32.
fn real(bytes: &[u8], i: usize) -> f32 {
    f32::from_ne_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
}

/// Index of the largest logit, the first among equals.
fn largest(pixel: &[u8], classes: usize) -> u8 {
    let mut best = 0;
    for class in 1..classes {
        if real(pixel, class) > real(pixel, best) {
            best = class;
        }
    }
    best as u8
}

fn quantize_input(arena: &mut [u8], grid: &Grid, input: &[&[f32]]) {
    let [height, width] = grid.size;
    for (c, plane) in input.iter().flat_map(|part| part.chunks_exact(height * width)).enumerate() {
        for (y, values) in plane.chunks_exact(width).enumerate() {
            let start = grid.at(y, 0);
            let row = &mut arena[start..start + width * grid.step];
            for (pixel, &value) in row.chunks_exact_mut(grid.step).zip(values) {
                pixel[c] = quantize(value, grid.quant);
            }
        }
    }
}

/// Fills the border with the zero point.
fn border(arena: &mut [u8], grid: &Grid) {
    let zero = grid.quant.zero_point;
    let (row, [top, left, bottom, right]) = (grid.row(), grid.halo);
    let memory = &mut arena[grid.offset..grid.offset + grid.len()];
    memory[..top * row].fill(zero);
    let end = memory.len();
    memory[end - bottom * row..].fill(zero);
    if left + right > 0 {
        for line in memory[top * row..end - bottom * row].chunks_exact_mut(row) {
            line[..left * grid.step].fill(zero);
            line[row - right * grid.step..].fill(zero);
        }
    }
}

fn add(arena: &mut [u8], inputs: [&Grid; 2], output: &Grid, sum: &Sum) {
    let zero_point = i16::from(inputs[0].quant.zero_point);
    for y in 0..output.size[0] {
        for x in 0..output.size[1] {
            let [a, b, o] = [inputs[0].at(y, x), inputs[1].at(y, x), output.at(y, x)];
            for c in 0..output.channels {
                arena[o + c] = sum.apply(i16::from(arena[a + c]) - zero_point, arena[b + c]);
            }
        }
    }
}

/// Pixels of the first, all channels times the only channel of the second.
fn scale(arena: &mut [u8], inputs: [&Grid; 2], output: &Grid, product: &Product) {
    for y in 0..output.size[0] {
        for x in 0..output.size[1] {
            let [i, mask, o] = [inputs[0].at(y, x), inputs[1].at(y, x), output.at(y, x)];
            let mask = arena[mask];
            // Through a block of its own, so that the compiler sees that source and result do not
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
}

/// Row `y` of a tensor from the real values in `row`, which are padded to whole blocks per pixel.
fn squash(arena: &mut [u8], row: &Range<usize>, output: &Grid, y: usize) {
    let pixel = output.channels.next_multiple_of(BLOCK) * 4;
    for x in 0..output.size[1] {
        let (from, to) = (row.start + x * pixel, output.at(y, x));
        for c in 0..output.channels {
            arena[to + c] = quantize(sigmoid(real(&arena[from..], c)), output.quant);
        }
    }
}

fn lookup(arena: &mut [u8], input: &Grid, output: &Grid, table: &[u8; 256]) {
    for y in 0..output.size[0] {
        for x in 0..output.size[1] {
            let (i, o) = (input.at(y, x), output.at(y, x));
            for c in 0..output.channels {
                arena[o + c] = table[usize::from(arena[i + c])];
            }
        }
    }
}

fn max_pool(arena: &mut [u8], input: &Grid, output: &Grid, pool: &Pool) {
    let clip = |o: usize, axis: usize| {
        let start = o * pool.stride[axis];
        start.saturating_sub(pool.pads[axis])
            ..(start + pool.kernel[axis]).saturating_sub(pool.pads[axis]).min(input.size[axis])
    };
    for y in 0..output.size[0] {
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
}

/// Row `y` as logits, padded to whole blocks per pixel.
fn dequantize(arena: &mut [u8], input: &Grid, y: usize, scratch: &Range<usize>) {
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
