//! Proves that passes compute all rows of all steps, and each row before a step reads it.
//!
//! Each pass is followed wave by wave, step by step, on the numbers of rows alone. What a step
//! reads must have been written, and must not have been overwritten in a ring of fewer slots.
//! Tensors that lie over one another are not looked for.

use super::check::{Proof, ensure, stored};
use super::reason::Reason;
use super::record::{NONE, Pass, Step};
use super::turns::{Source, clip};
use super::{ImageError, View};

/// Most waves of a pass.
pub(crate) const WAVES: u32 = 1 << 15;

/// Proves the passes of an image whose steps are proved one by one.
pub(super) fn check(view: &View) -> Result<(), ImageError> {
    let mut next = 0;
    for (index, pass) in view.passes.iter().enumerate() {
        let steps = range(view, pass, next);
        let steps = steps.map_err(|reason| ImageError::Invalid { what: "pass", index, reason })?;
        for (index, step) in (next..).zip(steps) {
            let filled = inputs(view, pass, (index, step));
            filled.map_err(|reason| ImageError::Invalid { what: "step", index, reason })?;
        }
        next += steps.len();
    }
    if next != view.steps.len() {
        let reason = Reason::PassesAreNotAllSteps;
        return Err(ImageError::Invalid { what: "pass", index: view.passes.len(), reason });
    }
    Ok(())
}

/// The steps of a pass: one or more behind those of the passes before it, which end with all rows
/// done.
fn range<'a>(view: &View<'a>, pass: &Pass, next: usize) -> Result<&'a [Step], Reason> {
    let (first, count) = (pass.steps[0] as usize, pass.steps[1]);
    ensure(first == next && count > 0, Reason::DoesNotFollowThePassBeforeIt)?;
    let steps = view.steps_of(pass).ok_or(Reason::StepsDoNotExist)?;
    ensure((1..=WAVES).contains(&pass.waves), Reason::HasTooManyWavesOrNone)?;
    let waves = pass.waves as usize;
    let done = |step: &Step| step.done(waves) == usize::from(step.rows);
    ensure(steps.iter().all(done), Reason::LeavesRowsUndone)?;
    Ok(steps)
}

/// Follows all that a step of a pass reads.
fn inputs(view: &View, pass: &Pass, reader: (usize, &Step)) -> Proof {
    let (_, step) = reader;
    for (tensor, source) in step.sources() {
        reads(view, pass, reader, tensor, source)?;
    }
    let own = |other: &&Step| other.output != NONE && other.output == step.output;
    ensure(view.steps.iter().filter(own).count() <= 1, Reason::AnotherStepFillsItsOutputToo)
}

/// Follows what a step of a pass reads of one tensor, wave by wave.
fn reads(
    view: &View,
    pass: &Pass,
    (index, step): (usize, &Step),
    tensor: u32,
    source: Source,
) -> Proof {
    let grid = stored(view, tensor)?;
    let writer = view.steps.iter().enumerate().find(|(_, other)| other.output == tensor);
    let (first, writer) = writer.ok_or(Reason::NobodyFillsItsInput)?;
    ensure(first < index, Reason::ReadsWhatALaterStepFills)?;
    let together = first >= pass.steps[0] as usize;
    let height = grid.height();
    let phases = |step| view.phases_of(step).unwrap_or_default();
    let (phases, writes) = (phases(step), phases(writer));
    for wave in 0..pass.waves as usize {
        let Some(rows) = step.reads(phases, source, &step.turn(wave)) else { continue };
        let rows = clip(&rows, height);
        let written = match together {
            true => writer.made(writes, writer.done(wave + 1), height),
            false => height,
        };
        ensure(rows.end <= written, Reason::ReadsRowsThatAreNotFilledYet)?;
        let kept = rows.is_empty() || rows.start + usize::from(grid.slots) >= written;
        ensure(kept, Reason::ReadsRowsThatOthersHaveReplaced)?;
    }
    Ok(())
}
