//! Runs a plan over one slice. It needs neither allocation nor operating system: all memory is the
//! caller's, and the plan is an [`Image`] that is read where it lies.
//!
//! ```text
//! for each pass of the plan:
//!     for each wave, each step of the pass:
//!         the rows whose turn it is, see `image::turns`:
//!             convolution      fill the border above or below its inputs if these rows read it
//!                              for each few rows, each phase:
//!                                  hand each row, or row of tiles, to the kernel
//!                                  of logits: decide the row's labels or probabilities
//!             any other kind   a plain loop over the rows
//!             fill the gaps between the rows with the zero point
//! ```

mod convolve;
mod input;
mod logits;
mod plain;

use core::ops::Range;

use super::grid::Grid;
use super::image::record::{Pass, Step, kind, numbers};
use super::image::{Image, View};
use super::kernels::KernelError;
pub use input::Input;
use input::Planes;
use logits::{Head, Labels, Probabilities, Sink};
use plain::{add, dequantize, gaps, lookup, max_pool, quantize_input, scale};

/// Why a plan did not run.
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
    /// The plan reaches outside its memory, or names what is not there. Its image was valid when it
    /// was made: its bytes have changed since.
    #[error("the plan's image was changed after it was validated: load it again")]
    Damaged,
}

/// An image that this CPU can run.
#[derive(Debug, Clone)]
pub struct Plan<'a>(Image<'a>);

impl<'a> TryFrom<Image<'a>> for Plan<'a> {
    type Error = KernelError;

    /// # Errors
    /// [`KernelError::Unavailable`], [`KernelError::LeftOut`]
    fn try_from(image: Image<'a>) -> Result<Self, KernelError> {
        image.kernel().require().map(|()| Self(image))
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

    /// As [`Plan::run`], and calls `done` with the index of each step when the step is done. A step
    /// that takes turns with others calls once a turn.
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
        let view = self.valid()?;
        let planes = Planes::new(input, view.header.input)?;
        Self::label(view, arena, &planes, labels, done)
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
        Self::label(self.valid()?, arena, input, labels, |_| ())
    }

    /// The image's sections, which it had when the plan was made.
    fn valid(&self) -> Result<View<'_>, RunError> {
        View::new(self.bytes()).map_err(|_| RunError::Damaged)
    }

    fn label(
        view: View,
        arena: &mut [u8],
        input: &impl Input,
        labels: &mut [u8],
        done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        expect("labels", labels.len(), view.output_size().area())?;
        Run::new(view).execute(arena, input, &mut Labels(labels), done)
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
        let view = self.valid()?;
        let expected = view.classes() * view.output_size().area();
        expect("probabilities", probabilities.len(), expected)?;
        let planes = Planes::new(input, view.header.input)?;
        Run::new(view).execute(arena, &planes, &mut Probabilities(probabilities), |_| ())
    }
}

/// A start and a length as a range.
fn range([start, len]: [u32; 2]) -> Range<usize> {
    start as usize..start as usize + len as usize
}

/// Fills a row of the input tensor.
type Fill<'a> = &'a dyn Fn(&mut [u8], &Grid, usize) -> Option<()>;

/// What running a plan needs to know of it.
struct Run<'a> {
    view: View<'a>,
    head: Head,
}

impl<'a> Run<'a> {
    fn new(view: View<'a>) -> Self {
        Self { head: Head::new(&view), view }
    }

    /// What counts lack in the arena. It is no field, which the compiler would not know to be 0
    /// where it always is.
    #[inline(always)]
    fn offset(&self) -> u8 {
        self.view.kernel.own_offset()
    }

    fn execute(
        &self,
        arena: &mut [u8],
        input: &impl Input,
        sink: &mut dyn Sink,
        mut done: impl FnMut(usize),
    ) -> Result<(), RunError> {
        let [channels, height, width] = self.view.header.input;
        let [planes, rows, columns] = input.shape();
        expect("input planes", planes, channels as usize)?;
        expect("input rows", rows, height as usize)?;
        expect("input columns", columns, width as usize)?;
        // One copy of all that follows, whatever the input.
        let quantize = |arena: &mut [u8], grid: &Grid, y: usize| {
            quantize_input(arena, grid, y, input, self.offset())
        };
        let arena_len = self.view.header.arena as usize;
        let found = arena.len();
        let Some(arena) = arena.get_mut(..arena_len) else {
            return Err(RunError::Length { what: "arena", found, expected: arena_len });
        };
        let lists = self.view.header.lists as usize;
        let (memory, lists) =
            arena.split_at_mut_checked(arena_len - lists).ok_or(RunError::Damaged)?;
        let mut work = Work { memory, lists: numbers(lists), input: &quantize, sink };
        let mut passes = self.view.passes.iter();
        passes.try_for_each(|pass| self.pass(&mut work, pass, &mut done)).ok_or(RunError::Damaged)
    }

    /// Lets the steps of a pass take their turns. `None`, as of all that follows, where the plan
    /// reaches outside its memory.
    fn pass(&self, work: &mut Work, pass: &Pass, done: &mut impl FnMut(usize)) -> Option<()> {
        let steps = self.view.steps_of(pass)?;
        for wave in 0..pass.waves as usize {
            for (i, step) in (pass.steps[0] as usize..).zip(steps) {
                let rows = step.turn(wave);
                if !rows.is_empty() {
                    self.step(work, step, rows)?;
                    done(i);
                }
            }
        }
        Some(())
    }

    /// Computes some rows of a step.
    fn step(&self, work: &mut Work, step: &Step, rows: Range<usize>) -> Option<()> {
        if step.kind == kind::CONVOLVE {
            return self.convolve(work, step, rows);
        }
        let (arena, offset) = (&mut *work.memory, self.offset());
        if step.kind == kind::DEQUANTIZE {
            let (grid, row) = (self.view.grid(step.inputs[0])?, range(step.row));
            for y in rows {
                dequantize(arena, grid, y, &row, offset)?;
                work.sink.take(&self.head, arena.get(row.clone())?, y)?;
            }
            return Some(());
        }
        let first = self.view.grid(step.inputs[0]);
        let second = self.view.grid(step.inputs[1]);
        let output = self.view.grid(step.output)?;
        for y in rows.clone() {
            match step.kind {
                kind::QUANTIZE => (work.input)(arena, output, y),
                kind::ADD => add(arena, [first?, second?], output, y, &step.sum(), offset),
                kind::SCALE => scale(arena, [first?, second?], output, y, &step.product(), offset),
                kind::LOOKUP => {
                    let table = self.view.tables.get(usize::from(step.words[0]))?;
                    lookup(arena, first?, output, y, table, offset)
                }
                kind::MAX_POOL => max_pool(arena, first?, output, y, &step.pool(), offset),
                _ => None,
            }?;
        }
        gaps(arena, output, rows, offset)
    }
}

/// What a run works on.
struct Work<'a> {
    /// The arena without its lists.
    memory: &'a mut [u8],
    /// Where the taps of a row are listed.
    lists: &'a mut [i32],
    input: Fill<'a>,
    sink: &'a mut dyn Sink,
}

/// Whether a buffer has the length that the plan needs.
fn expect(what: &'static str, found: usize, expected: usize) -> Result<(), RunError> {
    if found == expected { Ok(()) } else { Err(RunError::Length { what, found, expected }) }
}
