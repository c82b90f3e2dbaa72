//! Which rows a step computes in each wave of its pass, and which rows of its inputs it reads for
//! them.
//!
//! A pass is one step, or several that take turns. In each wave every step of the pass, in order,
//! computes as many rows as its readers in the pass need in the same wave. How far a step has come
//! after some waves follows from a few numbers of its record, so that a run keeps no account:
//!
//! ```text
//! done(waves) = (waves × pace − delay) / parts
//!               in whole spans of rows; not less than none, not more than all
//!
//! pass of two steps, 5 rows each: the second reads the row below its own
//!               wave       0     1     2     3     4     5
//! first,  pace 1, delay 0  0     1     2     3     4     —
//! second, pace 1, delay 1  —     0     1     2     3     4
//! ```
//!
//! The parts are 1 there. A step of half the rows has pace 1 of 2 parts.
//!
//! Everything here holds for planner, proof and run alike.

use core::ops::Range;

use super::record::{NONE, Phase, Step, kind};

impl Step {
    /// The tensors that it reads, by what each is to it.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (u32, Source)> {
        let [first, second] = self.inputs;
        let (inputs, residual) = match self.kind {
            kind::QUANTIZE => ([NONE; 2], NONE),
            kind::ADD | kind::SCALE => ([first, second], NONE),
            kind::CONVOLVE => ([first, second], self.residual),
            _ => ([first, NONE], NONE),
        };
        let [first, second] = inputs;
        let all = [(first, Source::Input), (second, Source::Input), (residual, Source::Residual)];
        all.into_iter().filter(|&(tensor, _)| tensor != NONE)
    }

    /// Rows that are done after so many waves, in the unit of [`Step::rows`].
    pub(crate) fn done(&self, waves: usize) -> usize {
        let ahead = (waves * usize::from(self.pace)).saturating_sub(self.delay as usize);
        let rows = self.rows.into();
        // A valid image has no 0 here: see `image::check`.
        let ahead = ahead.checked_div(self.parts.into()).map_or(rows, |ahead| ahead.min(rows));
        ahead.checked_next_multiple_of(self.span.into()).map_or(rows, |ahead| ahead.min(rows))
    }

    /// Rows that it computes in a wave.
    pub(crate) fn turn(&self, wave: usize) -> Range<usize> {
        self.done(wave)..self.done(wave + 1)
    }

    /// Rows of the output that exist once so many of its rows are done, if it has `height`.
    pub(crate) fn made(&self, phases: &[Phase], rows: usize, height: usize) -> usize {
        (rows * out_step(phases)).min(height)
    }

    /// Rows that must be done for so many rows of the output.
    #[cfg(feature = "alloc")]
    pub(crate) fn for_made(&self, phases: &[Phase], rows: usize) -> usize {
        rows.div_ceil(out_step(phases))
    }

    /// The first row and the row after the last that it reads of an input for some of its rows.
    /// Rows of the border count: they may be negative, or beyond the input. `None` where it reads
    /// nothing.
    pub(crate) fn reads(
        &self,
        phases: &[Phase],
        source: Source,
        rows: &Range<usize>,
    ) -> Option<Range<isize>> {
        if rows.is_empty() {
            return None;
        }
        let [first, last] = [rows.start as isize, rows.end as isize - 1];
        match (self.kind, source) {
            (kind::CONVOLVE, Source::Residual) => {
                let step = out_step(phases) as isize;
                Some(first * step..(last + 1) * step)
            }
            (kind::CONVOLVE, Source::Input) => {
                let ranges = phases.iter().filter_map(|phase| {
                    let last = last.min(phase.size[0] as isize - 1);
                    let step = phase.in_step[0] as isize;
                    let (low, high) = (phase.down[2] as isize, phase.down[3] as isize);
                    let any = phase.reads() && first <= last;
                    any.then(|| first * step + low..last * step + high + 1)
                });
                ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            }
            (kind::MAX_POOL, _) => {
                let pool = self.pool();
                let (size, step) = (pool.kernel[0] as isize, pool.stride[0] as isize);
                let pad = pool.pads[0] as isize;
                Some((first * step - pad)..(last * step - pad + size))
            }
            _ => Some(first..last + 1),
        }
    }

    /// Whether some of its rows read rows of the border of inputs with `height` rows.
    pub(crate) fn borders(&self, phases: &[Phase], height: usize, rows: &Range<usize>) -> bool {
        self.reads(phases, Source::Input, rows)
            .is_some_and(|read| read.start < 0 || read.end > height as isize)
    }
}

/// What a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// One of its inputs: all have the same size.
    Input,
    /// The tensor that a convolution adds.
    Residual,
}

impl Phase {
    /// Whether it reads anything. A transposed convolution whose stride is wider than its window
    /// has phases that do not.
    pub(crate) fn reads(&self) -> bool {
        self.tile_taps > 0 || self.down[1] > 0 && self.across.iter().any(|taps| taps[1] > 0)
    }
}

/// Rows of output from one row of a phase to the next.
pub(crate) fn out_step(phases: &[Phase]) -> usize {
    phases.first().map_or(1, |phase| phase.out_step[0].into())
}

/// The part of a range that lies in a tensor with so many rows.
pub(crate) fn clip(range: &Range<isize>, height: usize) -> Range<usize> {
    let inside = |n: isize| usize::try_from(n).unwrap_or(0).min(height);
    inside(range.start)..inside(range.end)
}
