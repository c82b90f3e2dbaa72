//! Runs a plan over one slice. It needs neither allocation nor operating system: all memory is the
//! caller's, and the plan is an [`Image`] that is read where it lies.
//!
//! ```text
//! for each step of the plan:
//!     convolution      for each few rows, each phase:
//!                          hand each row, or row of tiles, to the kernel
//!                          of logits: decide the row's labels or probabilities
//!     any other kind   a plain loop over the tensor
//!     fill the border of the step's output with its zero point
//! ```

mod convolve;
mod input;
mod logits;
mod plain;

use core::ops::Range;

use super::grid::Grid;
use super::image::record::{Step, kind};
use super::image::{Image, View};
use super::kernels::KernelError;
pub use input::Input;
use input::Planes;
use logits::{Head, Sink};
use plain::{add, border, dequantize, lookup, max_pool, quantize_input, scale};

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

/// An image that this CPU can run.
#[derive(Debug, Clone)]
pub struct Plan<'a>(Image<'a>);

impl<'a> TryFrom<Image<'a>> for Plan<'a> {
    type Error = KernelError;

    /// # Errors
    /// [`KernelError::Unavailable`]
    fn try_from(image: Image<'a>) -> Result<Self, KernelError> {
        let kernel = image.kernel();
        match kernel.is_available() {
            true => Ok(Self(image)),
            false => Err(KernelError::Unavailable(kernel)),
        }
    }
}

impl<'a> core::ops::Deref for Plan<'a> {
    type Target = Image<'a>;

    fn deref(&self) -> &Image<'a> {
        &self.0
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
        let planes = Planes::new(input, self.channels(), self.size())?;
        self.label(arena, &planes, labels, done)
    }

    /// As [`Plan::run`], of an input that gives rows when it is asked for them, such as
    /// [`RawSlices`](super::prepare::RawSlices).
    ///
    /// # Errors
    /// [`RunError`]
    pub fn run_input(
        &self,
        arena: &mut [u8],
        input: &impl Input,
        labels: &mut [u8],
    ) -> Result<(), RunError> {
        self.label(arena, input, labels, |_| ())
    }

    fn label(
        &self,
        arena: &mut [u8],
        input: &impl Input,
        labels: &mut [u8],
        done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        let view = self.view();
        expect("labels", labels.len(), view.output_size().area())?;
        Run::new(view).execute(arena, input, Sink::Labels(labels), done)
    }

    /// Computes the probabilities of one slice, as planes `[class][row][column]`. For
    /// [`Output::Identity`](crate::Output::Identity) these are the logits.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn run_probabilities(
        &self,
        arena: &mut [u8],
        input: &[&[f32]],
        probabilities: &mut [f32],
    ) -> Result<(), RunError> {
        let view = self.view();
        let expected = view.classes() * view.output_size().area();
        expect("probabilities", probabilities.len(), expected)?;
        let planes = Planes::new(input, self.channels(), self.size())?;
        Run::new(view).execute(arena, &planes, Sink::Probabilities(probabilities), |_| ())
    }
}

/// A start and a length as a range.
fn range([start, len]: [u32; 2]) -> Range<usize> {
    start as usize..start as usize + len as usize
}

/// Fills the input tensor.
type Fill<'a> = &'a dyn Fn(&mut [u8], &Grid);

/// What running a plan needs to know of it.
struct Run<'a> {
    view: View<'a>,
    head: Head,
}

impl<'a> Run<'a> {
    fn new(view: View<'a>) -> Self {
        Self { head: Head::new(&view), view }
    }

    fn grid(&self, tensor: u32) -> Grid {
        self.view.tensors[tensor as usize].grid()
    }

    fn execute(
        &self,
        arena: &mut [u8],
        input: &impl Input,
        mut sink: Sink,
        mut done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        let [channels, height, width] = self.view.header.input.map(|n| n as usize);
        let [planes, rows, columns] = input.shape();
        expect("input planes", planes, channels)?;
        expect("input rows", rows, height)?;
        expect("input columns", columns, width)?;
        // One copy of all that follows, whatever the input.
        let quantize = |arena: &mut [u8], grid: &Grid| quantize_input(arena, grid, input);
        let arena_len = self.view.header.arena as usize;
        let found = arena.len();
        let Some(arena) = arena.get_mut(..arena_len) else {
            return Err(RunError::Length { what: "arena", found, expected: arena_len });
        };
        for (i, step) in self.view.steps.iter().enumerate() {
            self.step(arena, &quantize, step, &mut sink);
            done(i);
        }
        Ok(())
    }

    fn step(&self, arena: &mut [u8], input: Fill, step: &Step, sink: &mut Sink) {
        let inputs = |i: usize| self.grid(step.inputs[i]);
        if step.kind == kind::CONVOLVE {
            return self.convolve(arena, step, sink);
        }
        if step.kind == kind::DEQUANTIZE {
            let (grid, row) = (inputs(0), range(step.row));
            for y in 0..grid.size[0] {
                dequantize(arena, &grid, y, &row);
                self.head.decide(&arena[row.clone()], y, sink);
            }
            return;
        }
        let output = self.grid(step.output);
        match step.kind {
            kind::QUANTIZE => input(arena, &output),
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
}

/// Whether a buffer has the length that the plan needs.
fn expect(what: &'static str, found: usize, expected: usize) -> Result<(), RunError> {
    if found == expected { Ok(()) } else { Err(RunError::Length { what, found, expected }) }
}
