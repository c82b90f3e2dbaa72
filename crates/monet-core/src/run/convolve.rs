//! Runs a convolution: hands its rows, or rows of tiles, to the kernel, phase by phase.
//!
//! `None` tells that a place lies outside the arena, or that a record is missing.

use core::ops::Range;

use super::super::grid::{Grid, pair};
use super::super::image::Taps;
use super::super::image::record::{Phase, Step, result, view};
use super::super::kernels::winograd::{FEEDS, MOST, SIDE, Strip, StripFeed, tile};
use super::super::kernels::{BLOCK, Destination, Feed, GROUP, Row, Weights};
use super::super::requant::Requantize;
use super::plain::{gaps, squash};
use super::{Run, Work, range};

/// What running a convolution needs to know of it.
struct Layer<'a> {
    step: &'a Step,
    stage: Requantize<'a>,
    inputs: [&'a Grid; 2],
    /// How many of `inputs` are used: 1 or 2.
    count: usize,
    /// Where the line of zero points begins, if the step reads rows of the border.
    border: Option<usize>,
    /// The tensor that is filled; `None` for logits.
    output: Option<&'a Grid>,
    residual: Option<&'a Grid>,
    /// The step's scratch memory in the arena.
    scratch: Range<usize>,
    /// The step's row of real values in the arena.
    row: Range<usize>,
}

impl Layer<'_> {
    /// Where the sums of row `y` of a phase go.
    fn destination(&self, phase: &Phase, y: usize) -> Destination<'_> {
        let ([top, left], [down, across]) = (pair(phase.origin), pair(phase.out_step));
        let place = |grid: &Grid| [grid.at(top + y * down, left), across * grid.step()];
        match (self.step.result, self.output) {
            (result::COUNTS, Some(output)) => {
                let [start, step] = place(output);
                let residual = self.residual.map_or([0, 0], place);
                Destination::Quantized { stage: &self.stage, start, step, residual }
            }
            _ => Destination::Float { stage: &self.stage, start: self.row.start },
        }
    }
}

impl Run<'_> {
    /// Computes some rows of all phases of a convolution.
    #[inline(never)]
    pub(super) fn convolve(&self, work: &mut Work, step: &Step, rows: Range<usize>) -> Option<()> {
        let phases = self.view.phases_of(step)?;
        let first = self.view.grid(step.inputs[0])?;
        let second = self.view.grid(step.inputs[1]);
        let mut layer = Layer {
            step,
            stage: self.view.stage_of(step, phases.first()?.blocks as usize)?,
            inputs: [first, second.unwrap_or(first)],
            count: 1 + usize::from(second.is_some()),
            border: None,
            output: self.view.grid(step.output),
            residual: self.view.grid(step.residual),
            scratch: range(step.scratch),
            row: range(step.row),
        };
        if step.borders(phases, first.height(), &rows) {
            let border = range(step.border);
            layer.border = Some(border.start);
            work.memory.get_mut(border)?.fill(first.zero_point as u8 ^ self.offset());
        }
        let span = step.span.max(1).into();
        // All phases of a few rows come before the next rows. The planner counts on this where the
        // result overlays an input, and all phases but the first find their input in the cache.
        for top in rows.clone().step_by(span) {
            for phase in phases {
                let rows = top..(top + span).min(rows.end).min(phase.size[0].into());
                self.rows(work, &layer, phase, rows)?;
            }
        }
        let Some(output) = layer.output else { return Some(()) };
        let made = |rows: usize| step.made(phases, rows, output.height());
        gaps(work.memory, output, made(rows.start)..made(rows.end), self.offset())
    }

    /// Computes some rows of a phase. Where the phase has tiles, the rows are whole tiles.
    fn rows(
        &self,
        work: &mut Work,
        layer: &Layer,
        phase: &Phase,
        range: Range<usize>,
    ) -> Option<()> {
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && phase.tile_taps > 0 {
            let down = usize::from(phase.dilation[0]);
            for span in range.clone().step_by(phase.granularity()) {
                for y in span..(span + down).min(range.end) {
                    self.strip(work.memory, layer, phase, y)?;
                }
            }
            return Some(());
        }
        for y in range {
            self.row(work.memory, work.lists, layer, phase, y)?;
            match (layer.step.result, layer.output) {
                (result::LOGITS, _) => {
                    let logits = work.memory.get(layer.row.clone())?;
                    work.sink.take(&self.head, logits, y)?;
                }
                (result::SIGMOIDS, Some(output)) => {
                    squash(work.memory, &layer.row, output, y, self.offset())?
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Computes row `y` of a phase.
    #[inline(never)]
    fn row(
        &self,
        arena: &mut [u8],
        lists: &mut [i32],
        layer: &Layer,
        phase: &Phase,
        y: usize,
    ) -> Option<()> {
        let top = y as isize * phase.in_step[0] as isize;
        let mut lists = lists;
        let mut feeds = [Feed { start: 0, step: 0, taps: Taps::NONE, groups: 0, chunks: 0 }; 2];
        let inputs = layer.inputs.iter().zip(phase.across).take(layer.count);
        for (feed, (grid, across)) in feeds.iter_mut().zip(inputs) {
            (feed.groups, feed.chunks) =
                (grid.step().min(BLOCK) / GROUP, grid.step().div_ceil(BLOCK));
            // A row may lie anywhere in a ring, or be the one of zero points: taps are listed anew.
            let [first, count, ..] = phase.down;
            let down = self.view.taps_of([first as u32, count as u32])?.iter();
            let start = grid.at(0, 0);
            let row = |dy: i32| grid.row(top + dy as isize, layer.border);
            let rows = down.map(|&dy| row(dy) as i32 - start as i32);
            (feed.taps, lists) = Taps::list(rows, self.view.taps_of(across)?, lists)?;
            // Without taps nothing is read.
            if !feed.taps.offsets().is_empty() {
                (feed.start, feed.step) = (start, usize::from(phase.in_step[1]) * grid.step());
            }
        }
        let packing = self.view.kernel.packing();
        let row = Row {
            width: phase.size[1].into(),
            feeds,
            inputs: layer.count,
            weights: Weights::new(packing, self.view.weights_of(phase)?)?,
            packing,
            lowest: phase.lowest != 0,
            bias: self.view.bias_of(phase)?,
            destination: layer.destination(phase, y),
            scratch: &layer.scratch,
        };
        self.view.kernel.convolve(row.check(arena)?)
    }

    /// Computes the row of tiles whose first output row is `y`.
    fn strip(&self, arena: &mut [u8], layer: &Layer, phase: &Phase, y: usize) -> Option<()> {
        let ([down, across], in_step) = (pair(phase.dilation), pair(phase.in_step));
        let taps = phase.tile_taps.into();
        let inputs = self.view.feeds_of(phase)?;
        let mut feeds = [StripFeed { rows: [0; SIDE], step: 0, channels: 0, columns: 0 }; FEEDS];
        for (feed, input) in feeds.iter_mut().zip(inputs) {
            let grid = layer.inputs.get(input.input as usize)?;
            let [top, left] = input.first;
            let left = left as usize;
            // A tile at the lower edge also computes rows past the tensor. Their input rows may be
            // any; those results are discarded.
            let row = |i: usize| {
                let y = top as isize + ((y + i * down) * in_step[0]) as isize;
                grid.row(y, layer.border) - grid.gap() + left * grid.step()
            };
            let columns = grid.line() / grid.step() - left;
            *feed = StripFeed {
                rows: core::array::from_fn(row),
                step: in_step[1] * grid.step(),
                channels: grid.step(),
                columns: columns.div_ceil(in_step[1]),
            };
        }
        let high = tile(taps);
        let rows = (usize::from(phase.size[0]) - y).div_ceil(down).min(high);
        let target = |i: usize| layer.destination(phase, y + i.min(rows - 1) * down);
        let targets: [_; MOST] = core::array::from_fn(target);
        let strip = Strip {
            width: phase.size[1].into(),
            taps,
            dilation: across,
            feeds: feeds.get(..inputs.len())?,
            weights: view(self.view.weights_of(phase)?)?,
            bias: self.view.bias_of(phase)?,
            targets: targets.get(..rows)?,
            scratch: &layer.scratch,
        };
        self.view.kernel.convolve_strip(strip.check(arena)?)
    }
}
