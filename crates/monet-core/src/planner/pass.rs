//! A pass: consecutive steps that take turns, and the memory that they need for it.
//!
//! 1. *Pace*: the last step goes on by a row or a part of one each wave, every other one by as many
//!    as its readers then use up. Strides and transposed convolutions make this more or fewer. The
//!    fastest step goes on by one row.
//! 2. *Delay*: from the last step to the first, each begins so many waves before its readers that
//!    the rows which these need below their own are there.
//! 3. The pass is followed wave by wave, few rows by few rows. What is seen on the way:
//!    - how many rows of a tensor are needed at the same time, if no other pass uses it: its slots,
//!    - how far a result is behind an input that nobody reads later: the lag of an [`Overlay`].
//!
//! ```text
//! three steps of 3×3 taps     rows that are needed while the third makes row 5
//! first  -> a                 a: 4 .. 6, of which 6 is made in this wave
//! second -> b                 b: 4 .. 6 likewise, so a: 5 .. 7 before
//! third
//! ```

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::super::grid::Grid;
use super::super::image::record::{NONE, Step, kind};
use super::super::image::turns::{Source, clip, out_step};
use super::super::image::{LIMIT, WAVES};
use super::draft::Draft;
use super::overlay::Overlay;

/// Most parts of a row.
const MOST: u32 = 64;

/// Who fills and who reads each tensor.
pub(super) struct Uses {
    /// For each tensor: the step that fills it.
    pub(super) writer: Vec<Option<usize>>,
    /// For each tensor: the steps that read it, in order.
    pub(super) readers: Vec<Vec<(usize, Source)>>,
}

impl Uses {
    /// Of all tensors of a draft.
    pub(super) fn new(draft: &Draft) -> Self {
        let mut writer = vec![None; draft.grids.len()];
        let mut readers = vec![Vec::new(); draft.grids.len()];
        for (i, step) in draft.steps.iter().enumerate() {
            for (tensor, source) in step.sources() {
                readers[tensor as usize].push((i, source));
            }
            if step.output != NONE {
                writer[step.output as usize] = Some(i);
            }
        }
        Self { writer, readers }
    }

    /// The last step that needs a tensor: its last reader, or its writer.
    pub(super) fn last(&self, tensor: usize) -> Option<usize> {
        self.readers[tensor].last().map(|reader| reader.0).or(self.writer[tensor])
    }
}

/// Steps that take turns.
#[derive(Clone)]
pub(super) struct Turns {
    /// Which.
    pub(super) steps: Range<usize>,
    /// How often each has its turn.
    pub(super) waves: usize,
    /// For each step: its pace and its delay.
    pub(super) speed: Vec<(u16, u32)>,
    /// In how many parts of a row these are counted.
    pub(super) parts: u16,
    /// Tensors that only this pass uses, and the rows of them that are needed at the same time.
    pub(super) slots: Vec<(usize, usize)>,
    /// Results that may lie over an input.
    pub(super) overlays: Vec<Overlay>,
}

impl Turns {
    /// One or more steps of a draft as a pass; `None` where they cannot take turns.
    pub(super) fn new(draft: &Draft, uses: &Uses, steps: Range<usize>) -> Option<Self> {
        let last = &draft.steps[steps.end - 1];
        // The last of several steps begins later than any pass can last that makes sense; then all
        // begin earlier by the waves in which nothing happens.
        let (paces, parts, late) = if steps.len() == 1 {
            (vec![last.rows.into()], 1, 0)
        } else {
            let paces = (1..=MOST).find_map(|pace| paces(draft, uses, &steps, pace))?;
            let parts = paces.iter().copied().max().filter(|&parts| parts as usize <= LIMIT)?;
            (paces, parts, WAVES as usize)
        };
        let paces: Vec<u16> = paces.iter().map(|&pace| pace as u16).collect();
        let waves = (u32::from(last.rows) * parts).div_ceil(paces[steps.len() - 1].into()) as usize;
        let mut own = draft.steps[steps.clone()].to_vec();
        for i in (0..own.len()).rev() {
            (own[i].pace, own[i].parts) = (paces[i], parts as u16);
            own[i].delay = delay(draft, uses, &steps, &own, i, late + waves)?;
        }
        let idle = own.iter().map(|step| (step.delay / u32::from(step.pace)) as usize).min()?;
        for step in &mut own {
            step.delay -= idle as u32 * u32::from(step.pace);
        }
        let waves = late + waves - idle;
        if waves > WAVES as usize {
            return None;
        }
        let speed = own.iter().map(|step| (step.pace, step.delay)).collect();
        let (slots, overlays) = Follower::new(draft, uses, &steps, &own).follow(waves);
        Some(Self { steps, waves, speed, parts: parts as u16, slots, overlays })
    }
}

/// The readers of a tensor within a pass, as indices there.
fn readers<'a>(
    uses: &'a Uses,
    steps: &'a Range<usize>,
    tensor: u32,
) -> impl Iterator<Item = (usize, Source)> + 'a {
    let all: &[_] = if tensor == NONE { &[] } else { &uses.readers[tensor as usize] };
    let own = all.iter().filter(|reader| steps.contains(&reader.0));
    own.map(|&(step, source)| (step - steps.start, source))
}

/// The paces of all steps of a pass, if that of the last one is given; `None` where one is not a
/// whole number, or where two readers of a tensor use up different numbers of rows.
fn paces(draft: &Draft, uses: &Uses, steps: &Range<usize>, last: u32) -> Option<Vec<u32>> {
    let mut paces = vec![0; steps.len()];
    paces[steps.len() - 1] = last;
    for i in (0..steps.len() - 1).rev() {
        let step = &draft.steps[steps.start + i];
        let mut used = readers(uses, steps, step.output).map(|(reader, source)| {
            let step = &draft.steps[steps.start + reader];
            let rate = match (source, draft.phases_of(step).first()) {
                (Source::Input, Some(phase)) => phase.in_step[0].into(),
                (Source::Residual, Some(phase)) => phase.out_step[0].into(),
                (_, None) if step.kind == kind::MAX_POOL => step.pool().stride[0] as u32,
                (_, None) => 1,
            };
            paces[reader] * rate
        });
        let rows = used.next()?;
        let made = out_step(draft.phases_of(step)) as u32;
        if used.any(|other| other != rows) || !rows.is_multiple_of(made) || rows == 0 {
            return None;
        }
        drop(used);
        paces[i] = rows / made;
    }
    Some(paces)
}

/// The largest delay of step `i` of a pass of so many waves; those of the later steps are known.
/// `None` where it would have to begin before the pass.
fn delay(
    draft: &Draft,
    uses: &Uses,
    steps: &Range<usize>,
    own: &[Step],
    i: usize,
    waves: usize,
) -> Option<u32> {
    let step = &own[i];
    // By how much it may be late so that so many rows are done after so many waves.
    let late = |rows: usize, waves: usize| {
        (waves * usize::from(step.pace)).checked_sub(rows * usize::from(step.parts))
    };
    // All rows are done in the end.
    let mut delay = late(step.rows.into(), waves)?;
    for (reader, source) in readers(uses, steps, step.output) {
        let height = draft.grids[step.output as usize].height();
        let (reader, phases) = (&own[reader], draft.phases_of(&own[reader]));
        for wave in (reader.delay / u32::from(reader.pace)) as usize..waves {
            if let Some(rows) = reader.reads(phases, source, &reader.turn(wave)) {
                let rows = step.for_made(draft.phases_of(step), clip(&rows, height).end);
                delay = delay.min(late(rows, wave + 1)?);
            }
        }
    }
    u32::try_from(delay).ok()
}

/// Goes through a pass.
struct Follower<'a> {
    draft: &'a Draft<'a>,
    uses: &'a Uses,
    steps: &'a Range<usize>,
    own: &'a [Step],
    /// For each step: rows that are done.
    done: Vec<usize>,
    /// Tensors that nobody reads after this pass, but that an earlier one has filled.
    dying: Vec<usize>,
}

impl<'a> Follower<'a> {
    fn new(draft: &'a Draft<'a>, uses: &'a Uses, steps: &'a Range<usize>, own: &'a [Step]) -> Self {
        let dies = |&tensor: &usize| {
            let read = uses.readers[tensor].last().is_some_and(|last| steps.contains(&last.0));
            read && uses.writer[tensor].is_some_and(|writer| writer < steps.start)
        };
        let dying = (0..draft.grids.len()).filter(dies).collect();
        Self { draft, uses, steps, own, done: vec![0; own.len()], dying }
    }

    /// The first row of a tensor that steps of the pass have still to read; `None` if there is
    /// none.
    fn lowest(&self, tensor: usize) -> Option<usize> {
        let height = self.draft.grids[tensor].height();
        let lowest = |(reader, source): (usize, Source)| {
            let (step, next) = (&self.own[reader], self.done[reader]);
            let left = next..step.rows.into();
            let rows = step.reads(self.draft.phases_of(step), source, &left)?;
            Some(clip(&rows, height).start)
        };
        readers(self.uses, self.steps, tensor as u32).filter_map(lowest).min()
    }

    /// Follows all waves; returns the slots and the overlays.
    fn follow(mut self, waves: usize) -> (Vec<(usize, usize)>, Vec<Overlay>) {
        let mut slots: Vec<(usize, usize)> = Vec::new();
        let mut overlays: Vec<Overlay> = Vec::new();
        for wave in 0..waves {
            for (i, step) in self.own.iter().enumerate() {
                let turn = step.turn(wave);
                for first in turn.clone().step_by(step.span.into()) {
                    let end = (first + usize::from(step.span)).min(turn.end);
                    if step.output != NONE {
                        self.see(step, end, &mut slots, &mut overlays);
                    }
                    self.done[i] = end;
                }
            }
        }
        let own = |&(tensor, _): &(usize, usize)| {
            self.uses.last(tensor).is_some_and(|last| last < self.steps.end)
        };
        slots.retain(own);
        (slots, overlays)
    }

    /// Sees what must be in memory when a step has done its rows up to `end`.
    fn see(
        &self,
        step: &Step,
        end: usize,
        slots: &mut Vec<(usize, usize)>,
        overlays: &mut Vec<Overlay>,
    ) {
        let output = step.output as usize;
        let grid: &Grid = &self.draft.grids[output];
        let made = step.made(self.draft.phases_of(step), end, grid.height());
        // A tensor that nobody reads has a slot all the same.
        let kept = (made - self.lowest(output).unwrap_or(made).min(made)).max(1);
        match slots.iter_mut().find(|slots| slots.0 == output) {
            Some(slots) => slots.1 = slots.1.max(kept),
            None => slots.push((output, kept)),
        }
        let written = grid.gap() + made * grid.pitch();
        for &input in &self.dying {
            let Some(lowest) = self.lowest(input) else { continue };
            let lag = written.saturating_sub(lowest * self.draft.grids[input].pitch());
            let same = |overlay: &&mut Overlay| (overlay.input, overlay.output) == (input, output);
            match overlays.iter_mut().find(same) {
                Some(overlay) => overlay.lag = overlay.lag.max(lag),
                None => overlays.push(Overlay { input, output, lag }),
            }
        }
    }
}
