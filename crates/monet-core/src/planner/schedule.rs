//! Which steps take turns: whole planes, or the passes that need the least memory.
//!
//! ```text
//! memory of a pass = tensors from before it or for after it, whole
//!                  + tensors that it alone uses, their slots
//!                  + the longest scratch memory, row and border of its steps
//!                  − what results share with inputs that they overlay
//! ```
//!
//! Steps stay in their order, so that a schedule is a division of the steps into passes. The
//! division that costs least is found from the last step back: the best one of all steps from i on
//! is a pass i .. j, and then the best one from j on. Some divisions that promise much are laid
//! out, and the shortest arena wins.

use alloc::{format, string::String, vec, vec::Vec};
use core::iter::successors;

use super::super::grid::Grid;
use super::super::image::ARENA_LIMIT;
use super::super::image::record::Pass;
use super::draft::Draft;
use super::layout::{Layout, OWN};
use super::pass::{Turns, Uses};

/// Orders in which blocks of memory are placed to find the shortest arena.
const TRIES: usize = 1000;
/// Memory to which passes may keep, in percent of the least that is possible.
const LIMITS: [u64; 8] = [100, 101, 102, 104, 106, 109, 112, 116];

/// In which order the rows of all steps are computed. The results are the same to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// Step by step: each computes its whole plane.
    #[default]
    Planes,
    /// Steps take turns of a few rows where that makes the arena smaller. A tensor between them is
    /// then a ring of the rows that are still to be read.
    Lines,
    /// As [`Schedule::Lines`]; and one tensor that waits long for its last reader is not kept, but
    /// computed a second time, where that makes the arena smaller and the net's multiplications at
    /// most a fifth more.
    Twice,
}

/// Divides the steps into passes and gives everything its place. Returns the bytes of the arena,
/// and of the lists of taps at its end, or why there is no such arena.
pub(super) fn schedule(draft: &mut Draft, order: Schedule) -> Result<[usize; 2], String> {
    let uses = Uses::new(draft);
    let alone = |step| Turns::new(draft, &uses, step..step + 1);
    let planes: Option<Vec<Turns>> = (0..draft.steps.len()).map(alone).collect();
    let tries = if order == Schedule::Planes { 0 } else { TRIES };
    let mut candidates = vec![planes.ok_or("a tensor has too many rows")?];
    if order != Schedule::Planes {
        candidates.extend(divisions(draft, &uses));
    }
    let layouts = candidates.iter().map(|passes| Layout::new(draft, &uses, passes, tries));
    let best = layouts.zip(&candidates).min_by_key(|(layout, _)| layout.len);
    let Some((layout, passes)) = best else { return Err("there are no steps".into()) };
    let lists = draft.lists();
    let arena = layout.len.saturating_add(lists);
    if let Some(len) = layout.longest().filter(|&len| len > ARENA_LIMIT as u64) {
        return Err(format!(
            "a tensor would take {len} bytes, the limit is {ARENA_LIMIT}; use smaller slices"
        ));
    }
    if arena > ARENA_LIMIT as u64 {
        return Err(format!(
            "the arena would take {arena} bytes, the limit is {ARENA_LIMIT}; use smaller slices"
        ));
    }
    for pass in passes {
        let steps = [pass.steps.start, pass.steps.len()].map(|n| n as u32);
        draft.passes.push(Pass { steps, waves: pass.waves as u32 });
        for (step, speed) in draft.steps[pass.steps.clone()].iter_mut().zip(&pass.speed) {
            (step.pace, step.delay) = *speed;
            step.parts = pass.parts;
        }
    }
    layout.apply(draft);
    Ok([arena as usize, lists as usize])
}

/// Divisions with little memory, each once: for some limits above the least possible one, the
/// division with the least drift whose passes all keep to the limit.
///
/// Drift: a result that lies over an input begins before it. The results of many such passes, one
/// over the other, reach farther and farther down, and others cannot lie there.
fn divisions(draft: &Draft, uses: &Uses) -> Vec<Vec<Turns>> {
    let count = draft.steps.len();
    let pass = |first: usize, end: usize| {
        let turns = Turns::new(draft, uses, first..end)?;
        let (memory, drift) = memory(draft, uses, &turns);
        Some(Candidate { memory, drift, turns })
    };
    let from = |first: usize| (first + 1..=count).map(|end| pass(first, end)).collect();
    let passes: Vec<Vec<Option<Candidate>>> = (0..count).map(from).collect();
    // The cost of steps from i on, of passes that cost so much each; and where the first one ends.
    let best = |cost: &dyn Fn(&Candidate) -> Option<u64>, add: fn(u64, u64) -> u64| {
        let mut best = vec![Some((0, count)); count + 1];
        for first in (0..count).rev() {
            let ends = passes[first]
                .iter()
                .zip(first + 1..)
                .filter_map(|(pass, end)| Some((add(cost(pass.as_ref()?)?, best[end]?.0), end)));
            best[first] = ends.min();
        }
        best
    };
    let least = best(&|pass| Some(pass.memory), u64::max)[0].map_or(0, |least| least.0);
    // The steps at which passes begin, and the end.
    let division = |percent: u64| -> Vec<usize> {
        let limit = least * percent / 100;
        let ends = best(&|pass| (pass.memory <= limit).then_some(pass.drift), |a, b| a + b);
        let next = |&first: &usize| ends[first].filter(|_| first < count).map(|(_, end)| end);
        successors(Some(0), next).collect()
    };
    let mut divisions = LIMITS.map(division).to_vec();
    // A little more memory often allows nothing better. What a limit allows, higher ones allow too,
    // so that equal divisions are neighbours.
    divisions.dedup();
    let turns = |cut: &[usize]| Some(passes[cut[0]][cut[1] - cut[0] - 1].as_ref()?.turns.clone());
    divisions.iter().map(|cuts| cuts.windows(2).filter_map(turns).collect()).collect()
}

/// A pass that steps may form.
struct Candidate {
    /// Bytes that it needs.
    memory: u64,
    /// Bytes that its result begins before the input that it overlays.
    drift: u64,
    turns: Turns,
}

/// Bytes that a pass needs, but for what is lost between blocks; and by how many its result begins
/// before the input that it overlays with most gain.
fn memory(draft: &Draft, uses: &Uses, pass: &Turns) -> (u64, u64) {
    let steps = &pass.steps;
    let len = |tensor: usize| draft.grids[tensor].len() as u64;
    let mut bytes = 0;
    for (tensor, grid) in draft.grids.iter().enumerate() {
        let (Some(writer), Some(last)) = (uses.writer[tensor], uses.last(tensor)) else { continue };
        if writer >= steps.end || last < steps.start {
            continue;
        }
        let ring = pass.slots.iter().find(|slots| slots.0 == tensor);
        let slots = ring.map_or(grid.slots, |&(_, slots)| slots as u16);
        bytes += Grid { slots, ..*grid }.len() as u64;
    }
    let own = &draft.steps[steps.clone()];
    bytes += OWN.iter().map(|len| own.iter().map(len).max().unwrap_or(0) as u64).sum::<u64>();
    let ring = |tensor: usize| pass.slots.iter().any(|slots| slots.0 == tensor);
    let saved = pass.overlays.iter().filter(|overlay| !ring(overlay.output)).map(|overlay| {
        let (input, output, lag) = (len(overlay.input), len(overlay.output), overlay.lag as u64);
        ((input + output).saturating_sub(output.max(lag + input)), lag)
    });
    let (saved, drift) = saved.max().unwrap_or((0, 0));
    (bytes - saved, drift)
}
