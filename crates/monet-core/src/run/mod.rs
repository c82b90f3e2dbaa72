//! Runs a plan over one slice. It needs neither allocation nor operating system: all memory is the
//! caller's, and the plan is an [`Image`] that is read where it lies.
//!
//! ```text
//! for each step of the plan:
//!     convolution      for each few rows, each phase:
//!                          hand each row, or row of tiles, to the kernel
//!                          of logits: decide the row's labels or probabilities
//!     any other kind   a plain loop over the tensor, in this file
//!     fill the border of the step's output with its zero point
//! ```

use core::ops::Range;

use super::grid::Grid;
use super::image::record::{NONE, Phase, Step, kind, result, view};
use super::image::{Image, Taps, View};
use super::kernels::winograd::{FEEDS, Strip, StripFeed, tile};
use super::kernels::{BLOCK, Destination, Feed, GROUP, Kernel, KernelError, Packing, Row, Weights};
use super::requant::{Product, Requantize, Sum, exp, quantize, sigmoid};
use super::size::Size;
use super::types::{Output, Pool};

/// A buffer that does not fit the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A buffer is too short or too long.
    #[error("{what} has {found} elements, the plan needs {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that the plan needs.
        expected: usize,
    },
}

/// Where results go.
enum Sink<'a> {
    Labels(&'a mut [u8]),
    Probabilities(&'a mut [f32]),
}

/// An image that this CPU can run.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    image: Image<'a>,
    kernel: Kernel,
}

impl<'a> TryFrom<Image<'a>> for Plan<'a> {
    type Error = KernelError;

    /// # Errors
    /// [`KernelError::Unavailable`]
    fn try_from(image: Image<'a>) -> Result<Self, KernelError> {
        let kernel = image.kernel();
        match kernel.is_available() {
            true => Ok(Self { image, kernel }),
            false => Err(KernelError::Unavailable(kernel)),
        }
    }
}

impl<'a> core::ops::Deref for Plan<'a> {
    type Target = Image<'a>;

    fn deref(&self) -> &Image<'a> {
        &self.image
    }
}

impl Plan<'_> {
    /// Computes the labels of one slice.
    ///
    /// - `arena`: at least [`Image::arena_len`] bytes, content irrelevant.
    /// - `input`: planes `[channel][row][column]`, given as one or more parts that each hold whole
    ///   planes (one part per neighbouring slice, say).
    /// - `labels`: height × width of [`Image::output_size`].
    ///
    /// # Errors
    /// [`RunError`]
    pub fn run(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        labels: &mut [u8],
    ) -> Result<(), RunError> {
        self.run_observed(arena, input, labels, |_| ())
    }

    /// As [`Plan::run`], and calls `done` with the index of each step when the step is done.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn run_observed(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        labels: &mut [u8],
        done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        expect("labels", labels.len(), self.output_size().area())?;
        Run::new(self).execute(arena, input, Sink::Labels(labels), done)
    }

    /// Computes the probabilities of one slice, as planes `[class][row][column]`. For
    /// [`Output::Identity`] these are the logits.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn run_probabilities(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        probabilities: &mut [f32],
    ) -> Result<(), RunError> {
        let expected = self.classes() * self.output_size().area();
        expect("probabilities", probabilities.len(), expected)?;
        Run::new(self).execute(arena, input, Sink::Probabilities(probabilities), |_| ())
    }
}

/// A start and a length as a range.
fn range([start, len]: [u32; 2]) -> Range<usize> {
    start as usize..start as usize + len as usize
}

/// A pair of 32-bit numbers as `usize`.
fn pair(numbers: [u32; 2]) -> [usize; 2] {
    numbers.map(|n| n as usize)
}

/// What running a plan needs to know of it.
struct Run<'a> {
    view: View<'a>,
    kernel: Kernel,
    output: Output,
    size: Size,
    classes: usize,
}

/// What running a convolution needs to know of it.
struct Layer<'a> {
    step: &'a Step,
    stage: Requantize<'a>,
    inputs: [Grid; 2],
    /// How many of `inputs` are used: 1 or 2.
    count: usize,
    /// The tensor that is filled; `None` for logits.
    output: Option<Grid>,
    residual: Option<Grid>,
    /// The step's scratch memory in the arena.
    scratch: Range<usize>,
    /// The step's row of real values in the arena.
    row: Range<usize>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            view: plan.view(),
            kernel: plan.kernel,
            output: plan.output(),
            size: plan.output_size(),
            classes: plan.classes(),
        }
    }

    fn grid(&self, tensor: u32) -> Grid {
        self.view.tensors[tensor as usize].grid()
    }

    fn execute(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        mut sink: Sink,
        mut done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        let [channels, height, width] = self.view.header.input.map(|n| n as usize);
        let (plane, expected) = (height * width, channels * height * width);
        let whole: usize = input.iter().map(|part| part.len() / plane * plane).sum();
        expect("input", input.iter().map(|part| part.len()).sum(), expected)?;
        expect("input in whole planes", whole, expected)?;
        let arena_len = self.view.header.arena as usize;
        let found = arena.len();
        let Some(arena) = arena.get_mut(..arena_len) else {
            return Err(RunError::Length { what: "arena", found, expected: arena_len });
        };
        for (i, step) in self.view.steps.iter().enumerate() {
            self.step(arena, input, step, &mut sink);
            done(i);
        }
        Ok(())
    }

    fn step(&self, arena: &mut [u8], input: &[&[f32]], step: &Step, sink: &mut Sink) {
        let inputs = |i: usize| self.grid(step.inputs[i]);
        if step.kind == kind::CONVOLVE {
            return self.convolve(arena, step, sink);
        }
        if step.kind == kind::DEQUANTIZE {
            let (grid, row) = (inputs(0), range(step.row));
            for y in 0..self.size.height {
                dequantize(arena, &grid, y, &row);
                self.decide(&arena[row.clone()], y, sink);
            }
            return;
        }
        let output = self.grid(step.output);
        match step.kind {
            kind::QUANTIZE => quantize_input(arena, &output, input),
            kind::ADD => add(arena, [&inputs(0), &inputs(1)], &output, &step.sum()),
            kind::SCALE => scale(arena, [&inputs(0), &inputs(1)], &output, &step.product()),
            kind::LOOKUP => {
                let table = &self.view.tables[step.words[0] as u32 as usize];
                lookup(arena, &inputs(0), &output, table);
            }
            kind::MAX_POOL => max_pool(arena, &inputs(0), &output, &step.pool()),
            _ => unreachable!("a valid image has only known kinds of steps"),
        }
        border(arena, &output);
    }

    fn convolve(&self, arena: &mut [u8], step: &Step, sink: &mut Sink) {
        let phases = self.view.phases_of(step);
        let first = self.grid(step.inputs[0]);
        let some = |tensor: u32| (tensor != NONE).then(|| self.grid(tensor));
        let second = some(step.inputs[1]);
        let layer = Layer {
            step,
            stage: self.view.stage_of(step, phases[0].blocks as usize),
            inputs: [first, second.unwrap_or(first)],
            count: 1 + usize::from(second.is_some()),
            output: some(step.output),
            residual: some(step.residual),
            scratch: range(step.scratch),
            row: range(step.row),
        };
        let rows = phases.iter().map(|phase| phase.size[0] as usize).max().unwrap_or(0);
        let span = step.span as usize;
        // All phases of a few rows come before the next rows. The planner counts on this where the
        // result overlays an input, and all phases but the first find their input in the cache.
        for top in (0..rows).step_by(span) {
            for phase in phases {
                let rows = top..(top + span).min(phase.size[0] as usize);
                self.rows(arena, &layer, phase, rows, sink);
            }
        }
        if let Some(output) = &layer.output {
            border(arena, output);
        }
    }

    /// Computes some rows of a phase. Where the phase has tiles, the rows are whole tiles.
    fn rows(
        &self,
        arena: &mut [u8],
        layer: &Layer,
        phase: &Phase,
        range: Range<usize>,
        sink: &mut Sink,
    ) {
        if phase.tile_taps > 0 {
            let down = phase.dilation[0] as usize;
            for span in range.clone().step_by(phase.granularity()) {
                for y in span..(span + down).min(range.end) {
                    self.strip(arena, layer, phase, y);
                }
            }
            return;
        }
        for y in range {
            self.row(arena, layer, phase, y);
            match (layer.step.result, &layer.output) {
                (result::LOGITS, _) => self.decide(&arena[layer.row.clone()], y, sink),
                (result::SIGMOIDS, Some(output)) => squash(arena, &layer.row, output, y),
                _ => {}
            }
        }
    }

    /// Computes row `y` of a phase.
    fn row(&self, arena: &mut [u8], layer: &Layer, phase: &Phase, y: usize) {
        let [down, across] = pair(phase.in_step);
        let feed = |i: usize| {
            let grid = &layer.inputs[i];
            let taps = if i < layer.count { self.view.taps_of(phase, i) } else { Taps::NONE };
            // Without taps nothing is read, and the place under a pixel may lie outside the tensor.
            let none = taps.offsets().is_empty();
            Feed {
                start: if none { 0 } else { grid.at(y * down, 0) },
                step: if none { 0 } else { across * grid.step },
                taps,
                groups: grid.step.min(BLOCK) / GROUP,
                chunks: grid.step.div_ceil(BLOCK),
            }
        };
        let bytes = self.view.weights_of(phase);
        let weights = match self.kernel.packing() {
            Packing::Words => view(bytes).map(Weights::Words),
            Packing::Bytes | Packing::Pairs | Packing::Eights => view(bytes).map(Weights::Bytes),
        };
        let row = Row {
            width: phase.size[1] as usize,
            feeds: [feed(0), feed(1)],
            inputs: layer.count,
            weights: weights.expect("a valid image aligns its weights and holds all of them"),
            lowest: phase.lowest != 0,
            bias: self.view.bias_of(phase),
            destination: layer.destination(phase, y),
            scratch: &layer.scratch,
        };
        self.kernel.convolve(row.check(arena));
    }

    /// Computes the row of tiles whose first output row is `y`.
    fn strip(&self, arena: &mut [u8], layer: &Layer, phase: &Phase, y: usize) {
        let ([down, across], in_step) = (pair(phase.dilation), pair(phase.in_step));
        let taps = phase.tile_taps as usize;
        let inputs = self.view.feeds_of(phase);
        let mut feeds = [StripFeed { rows: [0; 4], step: 0, channels: 0, columns: 0 }; FEEDS];
        for (feed, input) in feeds.iter_mut().zip(inputs) {
            let grid = &layer.inputs[input.input as usize];
            let [top, left] = pair(input.first);
            // A tile at the lower edge also computes rows past the tensor. Their input rows are
            // clamped to the last one stored; those results are discarded.
            let row = |i: usize| (top + (y + i * down) * in_step[0]).min(grid.rows() - 1);
            let columns = grid.row() / grid.step - left;
            *feed = StripFeed {
                rows: [0, 1, 2, 3].map(|i| grid.offset + row(i) * grid.row() + left * grid.step),
                step: in_step[1] * grid.step,
                channels: grid.step,
                columns: columns.div_ceil(in_step[1]),
            };
        }
        let high = tile(taps)[0];
        let rows = (phase.size[0] as usize - y).div_ceil(down).min(high);
        let targets = [0, 1, 2].map(|i| layer.destination(phase, y + i.min(rows - 1) * down));
        let strip = Strip {
            width: phase.size[1] as usize,
            taps,
            dilation: across,
            feeds: &feeds[..inputs.len()],
            weights: view(self.view.weights_of(phase))
                .expect("a valid image aligns its weights and holds all of them"),
            bias: self.view.bias_of(phase),
            targets: &targets[..rows],
            scratch: &layer.scratch,
        };
        self.kernel.convolve_strip(strip.check(arena));
    }

    /// Turns the logits of row `y` into labels or probabilities. Logits are f32 in native byte
    /// order, each pixel padded to whole blocks.
    fn decide(&self, logits: &[u8], y: usize, sink: &mut Sink) {
        let width = self.size.width;
        let pixels = logits.chunks_exact(self.classes.next_multiple_of(BLOCK) * 4);
        match sink {
            Sink::Labels(labels) => {
                let labels = &mut labels[y * width..(y + 1) * width];
                for (label, pixel) in labels.iter_mut().zip(pixels) {
                    *label = match self.output {
                        Output::Sigmoid { .. } => {
                            u8::from(real(pixel, 0) > self.view.header.threshold[1])
                        }
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

    /// Calls `put` with each class and its probability at one pixel.
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

impl Layer<'_> {
    /// Where the sums of row `y` of a phase go.
    fn destination(&self, phase: &Phase, y: usize) -> Destination<'_> {
        let ([top, left], [down, across]) = (pair(phase.origin), pair(phase.out_step));
        let place = |grid: &Grid| [grid.at(top + y * down, left), across * grid.step];
        match (self.step.result, &self.output) {
            (result::COUNTS, Some(output)) => {
                let [start, step] = place(output);
                let residual = self.residual.as_ref().map_or([0, 0], place);
                Destination::Quantized { stage: &self.stage, start, step, residual }
            }
            _ => Destination::Float { stage: &self.stage, start: self.row.start },
        }
    }
}

/// Whether a buffer has the length that the plan needs.
fn expect(what: &'static str, found: usize, expected: usize) -> Result<(), RunError> {
    if found == expected { Ok(()) } else { Err(RunError::Length { what, found, expected }) }
}

/// The i-th f32, in native byte order.
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

/// Fills the input tensor with the counts of the input's real values.
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

/// The sum of two tensors.
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

/// The product of all channels of the first tensor with the only channel of the second, pixel by
/// pixel.
fn scale(arena: &mut [u8], inputs: [&Grid; 2], output: &Grid, product: &Product) {
    for y in 0..output.size[0] {
        for x in 0..output.size[1] {
            let [i, mask, o] = [inputs[0].at(y, x), inputs[1].at(y, x), output.at(y, x)];
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
}

/// Fills row `y` of a tensor with the counts of the sigmoids of the real values in `row`. Each
/// pixel of these is padded to whole blocks.
fn squash(arena: &mut [u8], row: &Range<usize>, output: &Grid, y: usize) {
    let pixel = output.channels.next_multiple_of(BLOCK) * 4;
    for x in 0..output.size[1] {
        let (from, to) = (row.start + x * pixel, output.at(y, x));
        for c in 0..output.channels {
            arena[to + c] = quantize(sigmoid(real(&arena[from..], c)), output.quant);
        }
    }
}

/// The table's count for each count of a tensor.
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

/// The largest count of each window of a tensor.
fn max_pool(arena: &mut [u8], input: &Grid, output: &Grid, pool: &Pool) {
    // The rows or columns of a window, without those in the border.
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

/// Writes the real values of row `y` of a tensor to `scratch` as logits, each pixel padded to whole
/// blocks.
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
