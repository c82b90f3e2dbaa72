//! Proves an image: everything that a run of it will read or write lies where it may.
//!
//! Numbers are bounded one by one first; sums and products of them are then taken in 64 bits,
//! where they cannot overflow. Order of proof:
//!
//! 1. tensors lie in the arena,
//! 2. stages have rules within the range of 16-bit arithmetic,
//! 3. steps name tensors, tables, stages and phases that exist and have the right sizes,
//! 4. phases read inside their inputs, write all of their output, and have as many weights, biases
//!    and scales as their kernel will read,
//! 5. passes compute all rows of all steps, and each row before it is read: the module `order`.

use super::super::grid::{Grid, pair};
use super::super::kernels::{BLOCK, GROUP, TILED_PLANS, padded, winograd};
use super::super::requant::MIN_SQUARINGS;
use super::order;
use super::reason::Reason;
use super::record::{NONE, Phase, Stage, Step, ends, kind, result};
use super::{ImageError, View};

/// Largest side, channel count and window.
pub(crate) const LIMIT: usize = 1 << 14;
/// Largest arena, in bytes; offsets of taps are 32-bit.
pub(crate) const ARENA_LIMIT: usize = 1 << 30;

/// Most steps.
const STEPS: usize = 1 << 12;

pub(super) type Proof = Result<(), Reason>;

/// Proves a whole image.
pub(super) fn check(view: &View) -> Result<(), ImageError> {
    header(view).map_err(|reason| ImageError::Invalid { what: "header", index: 0, reason })?;
    each("tensor", view.tensors, |t| tensor(t, memory(view)))?;
    each("stage", view.stages, stage)?;
    each("scale", view.scales, |s| ensure(s.is_finite(), Reason::ScaleIsNotFinite))?;
    each("step", view.steps, |s| step(view, s))?;
    each("step", view.steps, |s| head(view, s))?;
    ensure(view.recipe.len() <= 1, Reason::Several).map_err(|reason| ImageError::Invalid {
        what: "recipe",
        index: 0,
        reason,
    })?;
    each("recipe", view.recipe, |recipe| recipe.check(view.header.input))?;
    order::check(view)
}

/// Bytes of the arena without the lists of taps at its end.
fn memory(view: &View) -> usize {
    (view.header.arena - view.header.lists) as usize
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

pub(super) fn ensure(holds: bool, reason: Reason) -> Proof {
    if holds { Ok(()) } else { Err(reason) }
}

/// A product or sum of numbers that are bounded: 2^14 each but for steps and offsets of 2^30.
fn wide(n: usize) -> u64 {
    n as u64
}

fn header(view: &View) -> Proof {
    let header = view.header;
    let within = |n: &u32| (1..=LIMIT as u32).contains(n);
    let all = header.input.iter().chain(&header.output).all(within);
    ensure(all, Reason::SideIsOutOfRange)?;
    ensure(header.arena as usize <= ARENA_LIMIT, Reason::ArenaIsTooLarge)?;
    ensure(header.lists <= header.arena, Reason::ListsOfTapsAreLongerThanTheArena)?;
    ensure(view.steps.len() <= STEPS, Reason::TooManySteps)?;
    let [threshold, logit] = header.threshold;
    let classes = header.output[0];
    ensure(
        match header.meaning {
            0 => classes == 1 && threshold > 0.0 && threshold < 1.0 && logit.is_finite(),
            1 => classes <= 256,
            2 => true,
            _ => false,
        },
        Reason::OutputIsNotOneOfTheKnownKinds,
    )?;
    let input = view.tensors.first().ok_or(Reason::NoInputTensor)?;
    ensure(shape(input) == sides(header.input), Reason::InputTensorHasAnotherSize)?;
    let first = view.steps.first().ok_or(Reason::NoSteps)?;
    ensure(first.kind == kind::QUANTIZE && first.output == 0, Reason::FirstStepIsNotTheInput)
}

fn few(n: u16) -> bool {
    usize::from(n) <= LIMIT
}

fn tensor(tensor: &Grid, memory: usize) -> Proof {
    ensure(tensor.scale.is_finite() && tensor.scale > 0.0, Reason::ScaleIsNotAPositiveNumber)?;
    ensure(tensor.zero_point <= 255, Reason::ZeroPointIsAbove255)?;
    if tensor.size == [0, 0] {
        return Ok(());
    }
    ensure(tensor.size.iter().all(|&n| n > 0 && few(n)), Reason::SideIsOutOfRange)?;
    ensure(tensor.channels > 0 && few(tensor.channels), Reason::ChannelsAreOutOfRange)?;
    let step = tensor.step();
    let whole = step.is_multiple_of(BLOCK) && few(tensor.step);
    ensure(
        tensor.channels() <= step && (step == GROUP || whole),
        Reason::PixelHasNotTheBytesThatItsChannelsNeed,
    )?;
    ensure(tensor.gap as usize <= 1 << 20, Reason::BorderIsTooLarge)?;
    ensure((1..=tensor.size[0]).contains(&tensor.slots), Reason::HasMoreSlotsThanRowsOrNone)?;
    let gap = u64::from(tensor.gap);
    let pitch = u64::from(tensor.size[1]) + gap;
    // At most 2^21 columns, 2^14 rows and 2^14 bytes a pixel: 2^49.
    let len = (gap + u64::from(tensor.slots) * pitch) * u64::from(tensor.step);
    ensure(u64::from(tensor.offset) + len <= wide(memory), Reason::EndsOutsideTheArena)
}

fn stage(stage: &Stage) -> Proof {
    ensure(stage.curve <= 2 && stage.has_sum <= 1, Reason::IsOfNoKnownKind)?;
    let squarings = stage.elu[3] as u32;
    let enough = stage.curve < 2 || (MIN_SQUARINGS..=20).contains(&squarings);
    ensure(enough, Reason::SquaringsAreOutOfRange)?;
    let [_, _, _, round, zero_point] = stage.sum;
    rounding(stage.round, stage.zero_point)?;
    if stage.has_sum == 1 { rounding(round, zero_point) } else { Ok(()) }
}

/// What removes fraction bits, and a zero point: their sum then fits in 16 bits.
fn rounding(round: i16, zero_point: i16) -> Proof {
    ensure((1..=1 << 14).contains(&round), Reason::RoundingFactorIsOutOfRange)?;
    ensure((0..=255).contains(&zero_point), Reason::ZeroPointIsOutOfRange)
}

/// A stored tensor by its number.
pub(super) fn stored<'a>(view: &View<'a>, index: u32) -> Result<&'a Grid, Reason> {
    view.grid(index).ok_or(Reason::NamesATensorThatIsNotStored)
}

/// A part of a section or of the arena.
fn within([start, len]: [u32; 2], whole: usize, reason: Reason) -> Proof {
    ensure(u64::from(start) + u64::from(len) <= wide(whole), reason)
}

fn step(view: &View, step: &Step) -> Proof {
    let memory = memory(view);
    within(step.name, view.names.len(), Reason::NameLiesOutsideTheNames)?;
    within(step.scratch, memory, Reason::ScratchMemoryLiesOutsideTheArena)?;
    within(step.row, memory, Reason::RowLiesOutsideTheArena)?;
    within(step.border, memory, Reason::BorderLiesOutsideTheArena)?;
    ensure(step.span > 0 && few(step.span) && few(step.rows), Reason::HasTooManyRowsAtATime)?;
    ensure(few(step.pace) && few(step.parts) && step.parts > 0, Reason::GoesOnTooFast)?;
    if step.kind != kind::CONVOLVE {
        ensure(step.phases == [0, 0], Reason::HasPhasesAndIsNoConvolution)?;
        let rows = if step.kind == kind::DEQUANTIZE { step.inputs[0] } else { step.output };
        ensure(step.rows == stored(view, rows)?.size[0], Reason::HasOtherRowsThanItMakes)?;
    }
    let input = |i: usize| stored(view, step.inputs[i]);
    let output = || stored(view, step.output);
    match step.kind {
        kind::QUANTIZE => ensure(step.output == 0, Reason::InputIsNotTheFirstTensor),
        kind::CONVOLVE => convolution(view, step),
        kind::ADD | kind::SCALE | kind::LOOKUP => {
            numbers(view, step)?;
            let (a, out) = (input(0)?, output()?);
            let b = if step.kind == kind::LOOKUP { a } else { input(1)? };
            // The second factor of a product has one channel.
            let channels = step.kind == kind::SCALE || b.channels == out.channels;
            let same = a.size == out.size && b.size == out.size && a.channels == out.channels;
            ensure(same && channels, Reason::TensorsAreOfDifferentSizes)
        }
        kind::MAX_POOL => {
            let pool = step.pool();
            let few = |n: &usize| *n <= 4096;
            let windows = pool.kernel.iter().chain(&pool.stride).all(|n| *n > 0 && few(n));
            ensure(windows && pool.pads.iter().all(few), Reason::WindowsAreOutOfRange)?;
            let (a, out) = (input(0)?, output()?);
            ensure(a.channels == out.channels, Reason::TensorsHaveDifferentChannels)
        }
        kind::DEQUANTIZE => {
            let a = input(0)?;
            ensure(shape(a) == logits(view), Reason::TensorIsNotOfTheLogitsSize)?;
            let row = a.width() * padded(a.channels()) * 4;
            ensure(step.row[1] as usize == row, Reason::RowHasAnotherLength)
        }
        _ => Err(Reason::IsOfNoKnownKind),
    }
}

/// The numbers of a step that works on counts one by one.
fn numbers(view: &View, step: &Step) -> Proof {
    match step.kind {
        kind::ADD => {
            let sum = step.sum();
            rounding(sum.round, sum.zero_point)
        }
        kind::SCALE => {
            let product = step.product();
            let points = product.zero_points.iter().all(|n| (0..=255).contains(n));
            let finite = product.factor.is_finite() && product.zero_point.is_finite();
            ensure(points && finite, Reason::NumbersAreOutOfRange)
        }
        _ => {
            let table = view.tables.len() > usize::from(step.words[0]);
            ensure(table, Reason::NamesATableThatDoesNotExist)
        }
    }
}

fn shape(grid: &Grid) -> [usize; 3] {
    let [height, width] = grid.size();
    [grid.channels(), height, width]
}

fn sides([channels, height, width]: [u32; 3]) -> [usize; 3] {
    [channels as usize, height as usize, width as usize]
}

fn logits(view: &View) -> [usize; 3] {
    sides(view.header.output)
}

/// The last step, and no other, gives the logits.
fn head(view: &View, step: &Step) -> Proof {
    let head = step.kind == kind::DEQUANTIZE
        || step.kind == kind::CONVOLVE && step.result == result::LOGITS;
    let last = view.steps.last().is_some_and(|last| core::ptr::eq(last, step));
    ensure(head == last, Reason::LastStepAloneGivesTheLogits)
}

fn convolution(view: &View, step: &Step) -> Proof {
    let first = stored(view, step.inputs[0])?;
    let second = if step.inputs[1] == NONE { None } else { Some(stored(view, step.inputs[1])?) };
    let phases = view.phases_of(step).ok_or(Reason::PhasesDoNotExist)?;
    let blocks = phases.first().ok_or(Reason::HasNoPhases)?.blocks as usize;
    ensure(blocks > 0 && blocks * BLOCK <= 2 * LIMIT, Reason::ChannelsAreOutOfRange)?;
    ensure(first.size == second.unwrap_or(first).size, Reason::InputsDifferInSize)?;
    let stage = view.stages.get(step.stage as usize).ok_or(Reason::StageDoesNotExist)?;
    let scales = [stage.scales, (blocks * BLOCK) as u32];
    within(scales, view.scales.len(), Reason::ScalesDoNotExist)?;
    let adds = step.result == result::COUNTS && step.residual != NONE;
    ensure((stage.has_sum == 1) == adds, Reason::StageAddsWhatTheStepDoesNot)?;
    let inputs = [Some(first), second];
    let mut rows = 0;
    for p in phases {
        ensure(p.blocks as usize == blocks, Reason::PhasesDifferInChannels)?;
        phase(view, step, p, &inputs)?;
        let whole = usize::from(step.span).is_multiple_of(p.granularity());
        ensure(whole, Reason::StopsWithinATile)?;
        rows = p.size[0].max(rows);
    }
    ensure(rows == step.rows, Reason::HasOtherRowsThanItsPhases)?;
    destination(view, step, phases)?;
    let line = second.unwrap_or(first).line().max(first.line());
    let alike = second.unwrap_or(first).zero_point == first.zero_point;
    let bordered = alike && line <= step.border[1] as usize;
    let borders = step.borders(phases, first.height(), &(0..step.rows.into()));
    ensure(bordered || !borders, Reason::LacksTheBorderThatItReads)
}

/// The numbers of a phase, and all that it reads.
fn phase(view: &View, step: &Step, phase: &Phase, inputs: &[Option<&Grid>; 2]) -> Proof {
    let few = |numbers: [u16; 2]| numbers.iter().all(|&n| n > 0 && few(n));
    ensure(few(phase.size) && few(phase.out_step) && few(phase.in_step), Reason::PhaseIsTooLarge)?;
    ensure(phase.origin.iter().all(|&n| self::few(n)), Reason::PhaseBeginsTooFarOut)?;
    let channels = phase.blocks as usize * BLOCK;
    view.bias_of(phase).ok_or(Reason::PhaseHasBiasesThatDoNotExist)?;
    let packed = view.weights_of(phase).ok_or(Reason::PhaseHasWeightsThatDoNotExist)?;
    ensure(phase.weights[0].is_multiple_of(super::ALIGN as u32), Reason::WeightsAreNotAligned)?;
    let inputs = inputs.iter().flatten();
    let (weights, bytes, scratch) = match phase.tile_taps {
        0 => {
            let packing = view.kernel.packing();
            let down = span(view, phase.down)?;
            // What is too much for the machine's numbers is more than any image has.
            let (mut listed, mut depth) = (0usize, 0usize);
            for (&grid, across) in inputs.zip(phase.across) {
                let across = rows(view, phase, across, grid)?.len();
                // Three bytes to spare, as the arena may begin anywhere.
                let taps = down.saturating_mul(across);
                listed = listed.saturating_add(taps.saturating_mul(4));
                let room = listed.saturating_add(3) <= view.header.lists as usize;
                ensure(room, Reason::ListsOfTapsAreTooShort)?;
                depth += packing.channels(taps, grid.step().min(BLOCK) / GROUP);
            }
            (depth.saturating_mul(channels), packing.bytes(), packing.panel(depth as u64))
        }
        taps @ (2 | 3) if TILED_PLANS => {
            let inputs = inputs.count();
            let chunks = tiles(view, step, phase, inputs)?;
            let points = (winograd::POINTS * chunks * BLOCK).saturating_mul(channels);
            ensure(view.kernel.has_tiles_of(taps.into()), Reason::KernelHasNoTiles)?;
            ensure(step.result == result::COUNTS, Reason::TilesMakeCountsAlone)?;
            (points, 2, wide(winograd::scratch_len(chunks)))
        }
        _ => return Err(Reason::PhaseIsComputedInNoKnownWay),
    };
    let whole = weights.saturating_mul(bytes as usize) == phase.weights[1] as usize;
    ensure(whole, Reason::PhaseHasAnotherCountOfWeights)?;
    ensure(scratch <= u64::from(step.scratch[1]), Reason::ScratchMemoryIsTooShort)?;
    let lowest = bytes == 1 && packed.contains(&(i8::MIN as u8));
    ensure(phase.lowest == u16::from(lowest), Reason::PhaseIsWrongAboutItsLowestWeight)
}

/// How many rows of the input are read, whose smallest and largest are what is said.
fn span(view: &View, [first, count, low, high]: [i32; 4]) -> Result<usize, Reason> {
    let rows = view.taps_of([first as u32, count as u32]);
    let rows = rows.ok_or(Reason::PhaseHasTapsThatDoNotExist)?;
    ensure(ends(rows.iter().copied()) == [low, high], Reason::TapsReachFartherThanIsSaid)?;
    ensure(low >= -(1 << 30) && high <= 1 << 30, Reason::TapsReachTooFar)?;
    Ok(rows.len())
}

/// The taps of one input, and what is read through them in each row.
fn rows<'a>(
    view: &View<'a>,
    phase: &Phase,
    across: [u32; 2],
    grid: &Grid,
) -> Result<&'a [i32], Reason> {
    let taps = view.taps_of(across).ok_or(Reason::PhaseHasTapsThatDoNotExist)?;
    let chunks = grid.step().div_ceil(BLOCK);
    ensure(taps.len().is_multiple_of(chunks), Reason::InputHasTapsOfPartOfItsChannels)?;
    if taps.is_empty() {
        // A transposed convolution whose stride is wider than its window: nothing is read.
        return Ok(taps);
    }
    // Pixels of the input may lie in its border, so that the columns are taken as signed.
    let [low, high] = ends(taps.iter().copied());
    let (step, gap) = (i64::from(grid.step), grid.gap() as i64);
    let last = (i64::from(phase.size[1]) - 1) * i64::from(phase.in_step[1]) * step;
    let end = last + i64::from(high) + step.min(BLOCK as i64);
    let inside = i64::from(low) >= -gap && end <= gap + grid.row_len() as i64;
    ensure(inside, Reason::PhaseReadsOutsideItsInput)?;
    Ok(taps)
}

/// The feeds of a phase's tiles; chunks of 16 channels.
fn tiles(view: &View, step: &Step, phase: &Phase, inputs: usize) -> Result<usize, Reason> {
    let feeds = view.feeds_of(phase).ok_or(Reason::PhaseHasFeedsThatDoNotExist)?;
    ensure((1..=winograd::FEEDS).contains(&feeds.len()), Reason::PhaseHasTooManyFeedsOrNone)?;
    let dilation = phase.dilation.iter().all(|&n| n > 0 && few(n));
    ensure(dilation, Reason::PhaseHasTapsTooFarApart)?;
    let mut chunks = 0;
    for feed in feeds {
        let input = step.inputs.iter().take(inputs).nth(feed.input as usize);
        let grid = stored(view, *input.ok_or(Reason::FeedHasNoInput)?)?;
        ensure(grid.step().is_multiple_of(BLOCK), Reason::FeedHasPartOfABlockOfChannels)?;
        let columns = (grid.gap + u32::from(grid.size[1]) + grid.gap) as i32;
        let [top, left] = feed.first;
        ensure((0..columns).contains(&left), Reason::FeedBeginsOutsideItsInput)?;
        ensure(top.unsigned_abs() <= 1 << 20, Reason::FeedBeginsOutsideItsInput)?;
        chunks += grid.step() / BLOCK;
    }
    let [low, high] = phase.tile_rows(feeds);
    ensure(phase.down == [0, 0, low, high], Reason::FeedsReachFartherThanIsSaid)?;
    Ok(chunks)
}

/// Where the sums go: each pixel of the output gets those of one phase.
fn destination(view: &View, step: &Step, phases: &[Phase]) -> Proof {
    let first = phases.first().ok_or(Reason::HasNoPhases)?;
    let channels = first.blocks as usize * BLOCK;
    if step.result != result::COUNTS {
        let [height, width] = pair(first.size);
        let whole = first.origin == [0, 0] && first.out_step == [1, 1] && phases.len() == 1;
        ensure(whole && step.residual == NONE, Reason::RealValuesAreMadeInMoreThanOnePhase)?;
        ensure(step.row[1] as usize == width * channels * 4, Reason::RowHasAnotherLength)?;
        let made = match step.result {
            result::LOGITS => logits(view),
            result::SIGMOIDS => shape(stored(view, step.output)?),
            _ => return Err(Reason::SumsBecomeNothingKnown),
        };
        let blocks = padded(made[0]) == channels;
        let same = blocks && made[1..] == [height, width];
        return ensure(same, Reason::MakesAnotherSizeThanItsOutputHas);
    }
    let output = stored(view, step.output)?;
    ensure(channels <= output.step(), Reason::PhaseHasMoreChannelsThanItsOutput)?;
    if step.residual != NONE {
        let residual = stored(view, step.residual)?;
        ensure(residual.size == output.size, Reason::AddsATensorOfAnotherSize)?;
        ensure(channels <= residual.step(), Reason::PhaseHasMoreChannelsThanItsResidual)?;
    }
    let ([height, width], [down, across]) = (output.size(), pair(first.out_step));
    let wide = width.min(across);
    let mut origin = [0, 0];
    let whole = phases.iter().all(|phase| {
        let [y, x] = origin;
        origin = if x + 1 == wide { [y + 1, 0] } else { [y, x + 1] };
        let [rows, columns] = pair(phase.size);
        let covers = |rest: usize, step: usize, found: usize| {
            rest.checked_next_multiple_of(step) == Some(found * step)
        };
        phase.out_step == first.out_step
            && pair(phase.origin) == [y, x]
            && covers(height.saturating_sub(y), down, rows)
            && covers(width - x, across, columns)
    });
    let all = phases.len() == height.min(down) * wide;
    ensure(whole && all, Reason::PhasesAreNotAllPixelsOfItsOutput)
}
