//! Proves an image: everything that a run of it will read or write lies where it may.
//!
//! Numbers are bounded one by one first; sums and products of them are then taken in 64 bits,
//! where they cannot overflow. Order of proof:
//!
//! 1. tensors lie in the arena,
//! 2. stages have rules within the range of 16-bit arithmetic,
//! 3. steps name tensors, tables, stages and phases that exist and have the right sizes,
//! 4. phases read inside their inputs, write inside their output, and have as many weights,
//!    biases and scales as their kernel will read.

use super::super::grid::Grid;
use super::super::kernels::{BLOCK, GROUP, winograd};
use super::super::requant::MIN_SQUARINGS;
use super::record::{NONE, Phase, Stage, Step, Tensor, kind, result};
use super::{ImageError, View};

/// Largest side, channel count and window.
pub(crate) const LIMIT: usize = 1 << 14;
/// Largest arena, in bytes; offsets of taps are 32-bit.
pub(crate) const ARENA_LIMIT: usize = 1 << 30;

type Proof = Result<(), &'static str>;

/// Proves a whole image.
pub(super) fn check(view: &View) -> Result<(), ImageError> {
    header(view).map_err(|reason| ImageError::Invalid { what: "header", index: 0, reason })?;
    let arena = view.header.arena as usize;
    each("tensor", view.tensors, |t| tensor(t, arena))?;
    each("stage", view.stages, stage)?;
    each("scale", view.scales, |s| ensure(s.is_finite(), "the scale is not finite"))?;
    each("step", view.steps, |s| step(view, s))?;
    each("step", view.steps, |s| order(view, s))?;
    ensure(view.recipe.len() <= 1, "there are several").map_err(|reason| ImageError::Invalid {
        what: "recipe",
        index: 0,
        reason,
    })?;
    each("recipe", view.recipe, |recipe| recipe.check(view.header.input))
}

fn each<T>(
    what: &'static str,
    records: &[T],
    proof: impl Fn(&T) -> Proof,
) -> Result<(), ImageError> {
    for (index, record) in records.iter().enumerate() {
        proof(record).map_err(|reason| ImageError::Invalid { what, index, reason })?;
    }
    Ok(())
}

fn ensure(holds: bool, reason: &'static str) -> Proof {
    if holds { Ok(()) } else { Err(reason) }
}

/// A product or sum of numbers that are bounded: 2^14 each but for steps and offsets of 2^30.
fn wide(n: usize) -> u64 {
    n as u64
}

fn header(view: &View) -> Proof {
    let header = view.header;
    let sides = header.input.iter().chain(&header.output);
    ensure(sides.clone().all(|&n| (1..=LIMIT as u32).contains(&n)), "a side is out of range")?;
    ensure(header.arena as usize <= ARENA_LIMIT, "the arena is too large")?;
    let [threshold, logit] = header.threshold;
    let classes = header.output[0];
    ensure(
        match header.meaning {
            0 => classes == 1 && threshold > 0.0 && threshold < 1.0 && logit.is_finite(),
            1 => classes <= 256,
            2 => true,
            _ => false,
        },
        "the output is not one of the known kinds",
    )?;
    let input = view.tensors.first().ok_or("there is no input tensor")?;
    ensure(
        [input.channels, input.size[0], input.size[1]] == header.input,
        "the input tensor has another size",
    )?;
    let first = view.steps.first().ok_or("there are no steps")?;
    ensure(first.kind == kind::QUANTIZE && first.output == 0, "the first step is not the input's")
}

fn tensor(tensor: &Tensor, arena: usize) -> Proof {
    let few = |n: u32| n as usize <= LIMIT;
    ensure(tensor.scale.is_finite() && tensor.scale > 0.0, "the scale is not a positive number")?;
    ensure(tensor.zero_point <= 255, "the zero point is above 255")?;
    if tensor.size == [0, 0] {
        return Ok(());
    }
    ensure(tensor.size.iter().all(|&n| n > 0 && few(n)), "a side is out of range")?;
    ensure(tensor.channels > 0 && few(tensor.channels), "the channels are out of range")?;
    let step = tensor.step as usize;
    let whole = step.is_multiple_of(BLOCK) && few(tensor.step);
    ensure(
        tensor.channels as usize <= step && (step == GROUP || whole),
        "a pixel has not the bytes that its channels need",
    )?;
    ensure(tensor.halo.iter().all(|&n| n as usize <= 1 << 20), "the border is too large")?;
    let [top, left, bottom, right] = tensor.halo.map(u64::from);
    let [height, width] = tensor.size.map(u64::from);
    // At most 2^21 rows and columns and 2^14 bytes a pixel: 2^56.
    let len = (top + height + bottom) * (left + width + right) * u64::from(tensor.step);
    ensure(u64::from(tensor.offset) + len <= wide(arena), "it ends outside the arena")
}

fn stage(stage: &Stage) -> Proof {
    let word = |n: i32| i16::try_from(n).is_ok();
    ensure(stage.curve <= 2 && stage.has_sum <= 1, "it is not of a known kind")?;
    ensure(stage.elu.iter().chain(&stage.sum).all(|&n| word(n)), "a number has more than 16 bits")?;
    let squarings = stage.elu[3] as u32;
    let enough = stage.curve < 2 || (MIN_SQUARINGS..=20).contains(&squarings);
    ensure(enough, "the squarings are out of range")?;
    let [_, _, _, round, zero_point] = stage.sum;
    rounding(stage.round, stage.zero_point)?;
    if stage.has_sum == 1 { rounding(round, zero_point) } else { Ok(()) }
}

/// What removes fraction bits, and a zero point: their sum then fits in 16 bits.
fn rounding(round: i32, zero_point: i32) -> Proof {
    ensure((1..=1 << 14).contains(&round), "the rounding factor is out of range")?;
    ensure((0..=255).contains(&zero_point), "the zero point is out of range")
}

/// A stored tensor by its number.
fn grid(view: &View, index: u32) -> Result<Grid, &'static str> {
    let tensor = view.tensors.get(index as usize).ok_or("it names a tensor that does not exist")?;
    ensure(tensor.size != [0, 0], "it names a tensor that is not stored")?;
    Ok(tensor.grid())
}

/// A part of a section or of the arena.
fn within([start, len]: [u32; 2], whole: usize, reason: &'static str) -> Proof {
    ensure(u64::from(start) + u64::from(len) <= wide(whole), reason)
}

fn step(view: &View, step: &Step) -> Proof {
    let arena = view.header.arena as usize;
    within(step.name, view.names.len(), "its name lies outside the names")?;
    let [start, len] = step.name.map(|n| n as usize);
    let name = core::str::from_utf8(&view.names[start..start + len]);
    ensure(name.is_ok(), "its name is no UTF-8")?;
    within(step.scratch, arena, "its scratch memory lies outside the arena")?;
    within(step.row, arena, "its row lies outside the arena")?;
    if step.kind != kind::CONVOLVE {
        ensure(step.phases == [0, 0], "it has phases and is no convolution")?;
    }
    let input = |i: usize| grid(view, step.inputs[i]);
    let output = || grid(view, step.output);
    match step.kind {
        kind::QUANTIZE => ensure(step.output == 0, "the input is not the first tensor"),
        kind::CONVOLVE => convolution(view, step),
        kind::ADD => {
            let sum = step.words;
            ensure(sum.iter().all(|&n| i16::try_from(n).is_ok()), "a number has over 16 bits")?;
            rounding(sum[3], sum[4])?;
            let (a, b, sum) = (input(0)?, input(1)?, output()?);
            let same = a.size == sum.size && b.size == sum.size;
            let channels = a.channels == sum.channels && b.channels == sum.channels;
            ensure(same && channels, "the tensors are of different sizes")
        }
        kind::SCALE => {
            let product = step.product();
            let points = product.zero_points.iter().all(|n| (0..=255).contains(n));
            let finite = product.factor.is_finite() && product.zero_point.is_finite();
            ensure(points && finite, "its numbers are out of range")?;
            let (a, b, out) = (input(0)?, input(1)?, output()?);
            let same = a.size == out.size && b.size == out.size && a.channels == out.channels;
            ensure(same, "the tensors are of different sizes")
        }
        kind::LOOKUP => {
            let table = view.tables.len() > step.words[0] as u32 as usize;
            ensure(table, "it names a table that does not exist")?;
            let (a, out) = (input(0)?, output()?);
            let same = a.size == out.size && a.channels == out.channels;
            ensure(same, "the tensors are of different sizes")
        }
        kind::MAX_POOL => {
            let pool = step.pool();
            let few = |n: &usize| *n <= 4096;
            let windows = pool.kernel.iter().chain(&pool.stride).all(|n| *n > 0 && few(n));
            ensure(windows && pool.pads.iter().all(few), "its windows are out of range")?;
            let (a, out) = (input(0)?, output()?);
            ensure(a.channels == out.channels, "the tensors have different channels")
        }
        kind::DEQUANTIZE => {
            let a = input(0)?;
            ensure(shape(&a) == logits(view), "its tensor is not of the logits' size")?;
            let row = a.size[1] * a.channels.next_multiple_of(BLOCK) * 4;
            ensure(step.row[1] as usize == row, "its row has another length")
        }
        _ => Err("it is of no known kind"),
    }
}

fn shape(grid: &Grid) -> [usize; 3] {
    [grid.channels, grid.size[0], grid.size[1]]
}

fn logits(view: &View) -> [usize; 3] {
    view.header.output.map(|n| n as usize)
}

/// The last step, and no other, gives the logits.
fn order(view: &View, step: &Step) -> Proof {
    let head = step.kind == kind::DEQUANTIZE
        || step.kind == kind::CONVOLVE && step.result == result::LOGITS;
    let last = view.steps.last().is_some_and(|last| core::ptr::eq(last, step));
    ensure(head == last, "the last step alone gives the logits")
}

fn convolution(view: &View, step: &Step) -> Proof {
    let first = grid(view, step.inputs[0])?;
    let second = if step.inputs[1] == NONE { None } else { Some(grid(view, step.inputs[1])?) };
    within(step.phases, view.phases.len(), "its phases do not exist")?;
    let phases = view.phases_of(step);
    let blocks = phases.first().ok_or("it has no phases")?.blocks as usize;
    ensure(blocks > 0 && blocks * BLOCK <= 2 * LIMIT, "its channels are out of range")?;
    ensure(phases.iter().all(|p| p.blocks as usize == blocks), "its phases differ in channels")?;
    ensure((1..=1 << 20).contains(&step.span), "its rows are done in no groups")?;
    let stage = view.stages.get(step.stage as usize).ok_or("its stage does not exist")?;
    let scales = [stage.scales, (blocks * BLOCK) as u32];
    within(scales, view.scales.len(), "its scales do not exist")?;
    let adds = step.result == result::COUNTS && step.residual != NONE;
    ensure((stage.has_sum == 1) == adds, "its stage adds what the step does not")?;
    let inputs = [Some(first), second];
    for p in phases {
        phase(view, step, p, &inputs)?;
        destination(view, step, p)?;
    }
    Ok(())
}

/// The numbers of a phase, and all that it reads.
fn phase(view: &View, step: &Step, phase: &Phase, inputs: &[Option<Grid>; 2]) -> Proof {
    let few = |numbers: [u32; 2]| numbers.iter().all(|&n| (1..=LIMIT as u32).contains(&n));
    ensure(few(phase.size) && few(phase.out_step) && few(phase.in_step), "a phase is too large")?;
    ensure(phase.origin.iter().all(|&n| n as usize <= LIMIT), "a phase begins too far out")?;
    let channels = phase.blocks as usize * BLOCK;
    within([phase.bias, channels as u32], view.bias.len(), "a phase has biases that do not exist")?;
    within(phase.weights, view.weights.len(), "a phase has weights that do not exist")?;
    ensure(phase.weights[0].is_multiple_of(super::ALIGN as u32), "weights are not aligned")?;
    let inputs = inputs.iter().flatten();
    let (weights, bytes, scratch) = match phase.tile_taps {
        0 => {
            let packing = view.kernel.packing();
            let mut depth = 0;
            for (i, grid) in inputs.enumerate() {
                rows(view, phase, i, grid)?;
                let groups = grid.step.min(BLOCK) / GROUP;
                depth += wide(packing.channels(phase.taps[i][1] as usize, groups));
            }
            (depth * wide(channels), packing.bytes(), packing.panel(depth))
        }
        2 | 3 => {
            let inputs = inputs.count();
            let chunks = tiles(view, step, phase, inputs)?;
            let points = wide(winograd::POINTS * chunks * BLOCK) * wide(channels);
            ensure(view.kernel.has_tiles(), "the kernel has no tiles")?;
            ensure(step.result == result::COUNTS, "tiles make counts alone")?;
            (points, 2, wide(winograd::scratch_len(chunks)))
        }
        _ => return Err("a phase is computed in no known way"),
    };
    ensure(weights * bytes == u64::from(phase.weights[1]), "a phase has another count of weights")?;
    ensure(scratch <= u64::from(step.scratch[1]), "its scratch memory is too short")?;
    let lowest = bytes == 1 && view.weights_of(phase).contains(&(i8::MIN as u8));
    ensure(phase.lowest == u32::from(lowest), "a phase is wrong about its lowest weight")
}

/// The taps of one input, and what is read through them.
fn rows(view: &View, phase: &Phase, input: usize, grid: &Grid) -> Proof {
    let [first, count, low, high] = phase.taps[input];
    ensure(first >= 0 && count >= 0, "an input has fewer than no taps")?;
    within([first as u32, count as u32], view.taps.len(), "a phase has taps that do not exist")?;
    let chunks = grid.step.div_ceil(BLOCK);
    ensure((count as usize).is_multiple_of(chunks), "an input has taps of part of its channels")?;
    let taps = &view.taps[first as usize..][..count as usize];
    if taps.is_empty() {
        // A transposed convolution whose stride is wider than its window: nothing is read.
        return ensure([low, high] == [0, 0], "no taps reach somewhere");
    }
    let least = taps.iter().copied().min();
    let most = taps.iter().copied().max();
    ensure(least == Some(low) && most == Some(high), "taps reach farther than is said")?;
    // Pixels of the input may lie in its border, so that the rows and columns are taken as signed.
    let [height, width] = phase.size.map(i64::from);
    let [down, across] = phase.in_step.map(i64::from);
    let (row, step) = (grid.row() as i64, grid.step as i64);
    let start = grid.at(0, 0) as i64;
    let last = start + (height - 1) * down * row + (width - 1) * across * step;
    let chunk = grid.step.min(BLOCK) as i64;
    let inside = start + i64::from(low) >= grid.offset as i64
        && last + i64::from(high) + chunk <= (grid.offset + grid.len()) as i64;
    ensure(inside, "a phase reads outside its input")
}

/// The feeds of a phase's tiles; chunks of 16 channels.
fn tiles(view: &View, step: &Step, phase: &Phase, inputs: usize) -> Result<usize, &'static str> {
    within(phase.feeds, view.feeds.len(), "a phase has feeds that do not exist")?;
    let feeds = view.feeds_of(phase);
    ensure((1..=winograd::FEEDS).contains(&feeds.len()), "a phase has too many feeds, or none")?;
    let dilation = phase.dilation.iter().all(|&n| (1..=LIMIT as u32).contains(&n));
    ensure(dilation, "a phase has taps too far apart")?;
    let mut chunks = 0;
    for feed in feeds {
        ensure((feed.input as usize) < inputs, "a feed has no input")?;
        let grid = grid(view, step.inputs[feed.input as usize])?;
        ensure(grid.step.is_multiple_of(BLOCK), "a feed has part of a block of channels")?;
        let columns = grid.halo[1] + grid.size[1] + grid.halo[3];
        let [top, left] = feed.first.map(|n| n as usize);
        ensure(left < columns && top <= 1 << 21, "a feed begins outside its input")?;
        chunks += grid.step / BLOCK;
    }
    Ok(chunks)
}

/// Where the sums of a phase go.
fn destination(view: &View, step: &Step, phase: &Phase) -> Proof {
    let channels = phase.blocks as usize * BLOCK;
    let [height, width] = phase.size.map(|n| n as usize);
    if step.result == result::COUNTS {
        covers(&grid(view, step.output)?, phase, channels)?;
        return match step.residual {
            NONE => Ok(()),
            other => covers(&grid(view, other)?, phase, channels),
        };
    }
    let whole = phase.origin == [0, 0] && phase.out_step == [1, 1] && step.phases[1] == 1;
    ensure(whole && step.residual == NONE, "real values are made in more than one phase")?;
    ensure(step.row[1] as usize == width * channels * 4, "its row has another length")?;
    let made = match step.result {
        result::LOGITS => logits(view),
        result::SIGMOIDS => shape(&grid(view, step.output)?),
        _ => return Err("its sums become nothing known"),
    };
    let blocks = made[0].next_multiple_of(BLOCK) == channels;
    ensure(blocks && made[1..] == [height, width], "it makes another size than its output has")
}

/// Whether all pixels that a phase fills lie in a tensor, whole blocks of them.
fn covers(grid: &Grid, phase: &Phase, channels: usize) -> Proof {
    ensure(channels <= grid.step, "a phase has more channels than its output")?;
    let inside = |axis: usize| {
        let [origin, step, size] =
            [phase.origin, phase.out_step, phase.size].map(|n| n[axis] as usize);
        origin + (size - 1) * step < grid.size[axis]
    };
    ensure(inside(0) && inside(1), "a phase writes outside its output")
}
