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

use super::super::grid::Grid;
use super::super::kernels::{BLOCK, GROUP, padded, winograd};
use super::super::requant::MIN_SQUARINGS;
use super::order;
use super::reason::Reason;
use super::record::{NONE, Phase, Stage, Step, Tensor, ends, kind, result};
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
    let sides = header.input.iter().chain(&header.output);
    ensure(sides.clone().all(|&n| (1..=LIMIT as u32).contains(&n)), Reason::SideIsOutOfRange)?;
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
    ensure(
        [input.channels, input.size[0], input.size[1]] == header.input,
        Reason::InputTensorHasAnotherSize,
    )?;
    let first = view.steps.first().ok_or(Reason::NoSteps)?;
    ensure(first.kind == kind::QUANTIZE && first.output == 0, Reason::FirstStepIsNotTheInput)
}

fn few(n: u32) -> bool {
    n as usize <= LIMIT
}

fn tensor(tensor: &Tensor, memory: usize) -> Proof {
    ensure(tensor.scale.is_finite() && tensor.scale > 0.0, Reason::ScaleIsNotAPositiveNumber)?;
    ensure(tensor.zero_point <= 255, Reason::ZeroPointIsAbove255)?;
    if tensor.size == [0, 0] {
        return Ok(());
    }
    ensure(tensor.size.iter().all(|&n| n > 0 && few(n)), Reason::SideIsOutOfRange)?;
    ensure(tensor.channels > 0 && few(tensor.channels), Reason::ChannelsAreOutOfRange)?;
    let step = tensor.step as usize;
    let whole = step.is_multiple_of(BLOCK) && few(tensor.step);
    ensure(
        tensor.channels as usize <= step && (step == GROUP || whole),
        Reason::PixelHasNotTheBytesThatItsChannelsNeed,
    )?;
    ensure(tensor.gap as usize <= 1 << 20, Reason::BorderIsTooLarge)?;
    ensure((1..=tensor.size[0]).contains(&tensor.slots), Reason::HasMoreSlotsThanRowsOrNone)?;
    let [gap, width, step] = [tensor.gap, tensor.size[1], tensor.step].map(u64::from);
    // At most 2^21 columns, 2^14 rows and 2^14 bytes a pixel: 2^49.
    let len = (gap + u64::from(tensor.slots) * (width + gap)) * step;
    ensure(u64::from(tensor.offset) + len <= wide(memory), Reason::EndsOutsideTheArena)
}

fn stage(stage: &Stage) -> Proof {
    let word = |n: i32| i16::try_from(n).is_ok();
    ensure(stage.curve <= 2 && stage.has_sum <= 1, Reason::IsOfNoKnownKind)?;
    ensure(stage.elu.iter().chain(&stage.sum).all(|&n| word(n)), Reason::NumberHasMoreThan16Bits)?;
    let squarings = stage.elu[3] as u32;
    let enough = stage.curve < 2 || (MIN_SQUARINGS..=20).contains(&squarings);
    ensure(enough, Reason::SquaringsAreOutOfRange)?;
    let [_, _, _, round, zero_point] = stage.sum;
    rounding(stage.round, stage.zero_point)?;
    if stage.has_sum == 1 { rounding(round, zero_point) } else { Ok(()) }
}

/// What removes fraction bits, and a zero point: their sum then fits in 16 bits.
fn rounding(round: i32, zero_point: i32) -> Proof {
    ensure((1..=1 << 14).contains(&round), Reason::RoundingFactorIsOutOfRange)?;
    ensure((0..=255).contains(&zero_point), Reason::ZeroPointIsOutOfRange)
}

/// A stored tensor by its number.
pub(super) fn grid(view: &View, index: u32) -> Result<Grid, Reason> {
    let tensor = view.tensors.get(index as usize).ok_or(Reason::NamesATensorThatDoesNotExist)?;
    ensure(tensor.size != [0, 0], Reason::NamesATensorThatIsNotStored)?;
    Ok(tensor.grid())
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
        ensure(step.rows as usize == grid(view, rows)?.size[0], Reason::HasOtherRowsThanItMakes)?;
    }
    let input = |i: usize| grid(view, step.inputs[i]);
    let output = || grid(view, step.output);
    match step.kind {
        kind::QUANTIZE => ensure(step.output == 0, Reason::InputIsNotTheFirstTensor),
        kind::CONVOLVE => convolution(view, step),
        kind::ADD => {
            let sum = step.words;
            ensure(sum.iter().all(|&n| i16::try_from(n).is_ok()), Reason::NumberHasMoreThan16Bits)?;
            rounding(sum[3], sum[4])?;
            let (a, b, sum) = (input(0)?, input(1)?, output()?);
            let same = a.size == sum.size && b.size == sum.size;
            let channels = a.channels == sum.channels && b.channels == sum.channels;
            ensure(same && channels, Reason::TensorsAreOfDifferentSizes)
        }
        kind::SCALE => {
            let product = step.product();
            let points = product.zero_points.iter().all(|n| (0..=255).contains(n));
            let finite = product.factor.is_finite() && product.zero_point.is_finite();
            ensure(points && finite, Reason::NumbersAreOutOfRange)?;
            let (a, b, out) = (input(0)?, input(1)?, output()?);
            let same = a.size == out.size && b.size == out.size && a.channels == out.channels;
            ensure(same, Reason::TensorsAreOfDifferentSizes)
        }
        kind::LOOKUP => {
            let table = view.tables.len() > step.words[0] as u32 as usize;
            ensure(table, Reason::NamesATableThatDoesNotExist)?;
            let (a, out) = (input(0)?, output()?);
            let same = a.size == out.size && a.channels == out.channels;
            ensure(same, Reason::TensorsAreOfDifferentSizes)
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
            ensure(shape(&a) == logits(view), Reason::TensorIsNotOfTheLogitsSize)?;
            let row = a.size[1] * padded(a.channels) * 4;
            ensure(step.row[1] as usize == row, Reason::RowHasAnotherLength)
        }
        _ => Err(Reason::IsOfNoKnownKind),
    }
}

fn shape(grid: &Grid) -> [usize; 3] {
    [grid.channels, grid.size[0], grid.size[1]]
}

fn logits(view: &View) -> [usize; 3] {
    view.header.output.map(|n| n as usize)
}

/// The last step, and no other, gives the logits.
fn head(view: &View, step: &Step) -> Proof {
    let head = step.kind == kind::DEQUANTIZE
        || step.kind == kind::CONVOLVE && step.result == result::LOGITS;
    let last = view.steps.last().is_some_and(|last| core::ptr::eq(last, step));
    ensure(head == last, Reason::LastStepAloneGivesTheLogits)
}

fn convolution(view: &View, step: &Step) -> Proof {
    let first = grid(view, step.inputs[0])?;
    let second = if step.inputs[1] == NONE { None } else { Some(grid(view, step.inputs[1])?) };
    let phases = view.phases_of(step).ok_or(Reason::PhasesDoNotExist)?;
    let blocks = phases.first().ok_or(Reason::HasNoPhases)?.blocks as usize;
    ensure(blocks > 0 && blocks * BLOCK <= 2 * LIMIT, Reason::ChannelsAreOutOfRange)?;
    ensure(phases.iter().all(|p| p.blocks as usize == blocks), Reason::PhasesDifferInChannels)?;
    ensure(first.size == second.as_ref().unwrap_or(&first).size, Reason::InputsDifferInSize)?;
    let stage = view.stages.get(step.stage as usize).ok_or(Reason::StageDoesNotExist)?;
    let scales = [stage.scales, (blocks * BLOCK) as u32];
    within(scales, view.scales.len(), Reason::ScalesDoNotExist)?;
    let adds = step.result == result::COUNTS && step.residual != NONE;
    ensure((stage.has_sum == 1) == adds, Reason::StageAddsWhatTheStepDoesNot)?;
    let inputs = [Some(first), second];
    for p in phases {
        phase(view, step, p, &inputs)?;
    }
    let rows = phases.iter().map(|p| p.size[0]).max();
    ensure(rows == Some(step.rows), Reason::HasOtherRowsThanItsPhases)?;
    let whole =
        |p: &&Phase| p.tile_taps > 0 && !(step.span as usize).is_multiple_of(p.granularity());
    ensure(!phases.iter().any(|p| whole(&p)), Reason::StopsWithinATile)?;
    destination(view, step, phases)?;
    let line = second.map_or(first.line(), |second| second.line().max(first.line()));
    let alike = second.is_none_or(|second| second.quant.zero_point == first.quant.zero_point);
    let bordered = alike && line <= step.border[1] as usize;
    let borders = step.borders(phases, first.size[0], &(0..step.rows as usize));
    ensure(bordered || !borders, Reason::LacksTheBorderThatItReads)
}

/// The numbers of a phase, and all that it reads.
fn phase(view: &View, step: &Step, phase: &Phase, inputs: &[Option<Grid>; 2]) -> Proof {
    let few = |numbers: [u32; 2]| numbers.iter().all(|&n| (1..=LIMIT as u32).contains(&n));
    ensure(few(phase.size) && few(phase.out_step) && few(phase.in_step), Reason::PhaseIsTooLarge)?;
    ensure(phase.origin.iter().all(|&n| n as usize <= LIMIT), Reason::PhaseBeginsTooFarOut)?;
    let channels = phase.blocks as usize * BLOCK;
    view.bias_of(phase).ok_or(Reason::PhaseHasBiasesThatDoNotExist)?;
    let packed = view.weights_of(phase).ok_or(Reason::PhaseHasWeightsThatDoNotExist)?;
    ensure(phase.weights[0].is_multiple_of(super::ALIGN as u32), Reason::WeightsAreNotAligned)?;
    let inputs = inputs.iter().flatten();
    let (weights, bytes, scratch) = match phase.tile_taps {
        0 => {
            let packing = view.kernel.packing();
            let down = span(view, phase.down)?.len();
            let (mut listed, mut depth) = (0, 0);
            for (grid, across) in inputs.zip(phase.across) {
                let across = rows(view, phase, across, grid)?.len();
                // Three bytes to spare, as the arena may begin anywhere.
                listed += wide(down) * wide(across) * 4;
                let room = listed + 3 <= u64::from(view.header.lists);
                ensure(room, Reason::ListsOfTapsAreTooShort)?;
                depth += wide(packing.channels(down * across, grid.step.min(BLOCK) / GROUP));
            }
            (depth * wide(channels), packing.bytes(), packing.panel(depth))
        }
        2 | 3 => {
            let inputs = inputs.count();
            let chunks = tiles(view, step, phase, inputs)?;
            let points = wide(winograd::POINTS * chunks * BLOCK) * wide(channels);
            ensure(view.kernel.has_tiles(), Reason::KernelHasNoTiles)?;
            ensure(step.result == result::COUNTS, Reason::TilesMakeCountsAlone)?;
            (points, 2, wide(winograd::scratch_len(chunks)))
        }
        _ => return Err(Reason::PhaseIsComputedInNoKnownWay),
    };
    ensure(weights * bytes == u64::from(phase.weights[1]), Reason::PhaseHasAnotherCountOfWeights)?;
    ensure(scratch <= u64::from(step.scratch[1]), Reason::ScratchMemoryIsTooShort)?;
    let lowest = bytes == 1 && packed.contains(&(i8::MIN as u8));
    ensure(phase.lowest == u32::from(lowest), Reason::PhaseIsWrongAboutItsLowestWeight)
}

/// A part of the taps, whose smallest and largest are what is said.
fn span<'a>(view: &View<'a>, place: [i32; 4]) -> Result<&'a [i32], Reason> {
    let [first, count, low, high] = place;
    ensure(first >= 0 && count >= 0, Reason::InputHasFewerThanNoTaps)?;
    let taps = view.taps_of(place).ok_or(Reason::PhaseHasTapsThatDoNotExist)?;
    ensure(ends(taps.iter().copied()) == [low, high], Reason::TapsReachFartherThanIsSaid)?;
    ensure(low >= -(1 << 30) && high <= 1 << 30, Reason::TapsReachTooFar)?;
    Ok(taps)
}

/// The taps of one input, and what is read through them in each row.
fn rows<'a>(
    view: &View<'a>,
    phase: &Phase,
    across: [i32; 4],
    grid: &Grid,
) -> Result<&'a [i32], Reason> {
    let taps = span(view, across)?;
    let chunks = grid.step.div_ceil(BLOCK);
    ensure(taps.len().is_multiple_of(chunks), Reason::InputHasTapsOfPartOfItsChannels)?;
    if taps.is_empty() {
        // A transposed convolution whose stride is wider than its window: nothing is read.
        return Ok(taps);
    }
    // Pixels of the input may lie in its border, so that the columns are taken as signed.
    let [_, _, low, high] = across.map(i64::from);
    let [width, stride] = [phase.size[1], phase.in_step[1]].map(i64::from);
    let (step, gap) = (grid.step as i64, (grid.gap * grid.step) as i64);
    let last = (width - 1) * stride * step + high + grid.step.min(BLOCK) as i64;
    let inside = low >= -gap && last <= gap + grid.size[1] as i64 * step;
    ensure(inside, Reason::PhaseReadsOutsideItsInput)?;
    Ok(taps)
}

/// The feeds of a phase's tiles; chunks of 16 channels.
fn tiles(view: &View, step: &Step, phase: &Phase, inputs: usize) -> Result<usize, Reason> {
    let feeds = view.feeds_of(phase).ok_or(Reason::PhaseHasFeedsThatDoNotExist)?;
    ensure((1..=winograd::FEEDS).contains(&feeds.len()), Reason::PhaseHasTooManyFeedsOrNone)?;
    let dilation = phase.dilation.iter().all(|&n| (1..=LIMIT as u32).contains(&n));
    ensure(dilation, Reason::PhaseHasTapsTooFarApart)?;
    let mut chunks = 0;
    for feed in feeds {
        let input = step.inputs.iter().take(inputs).nth(feed.input as usize);
        let grid = grid(view, *input.ok_or(Reason::FeedHasNoInput)?)?;
        ensure(grid.step.is_multiple_of(BLOCK), Reason::FeedHasPartOfABlockOfChannels)?;
        let columns = (grid.gap + grid.size[1] + grid.gap) as i32;
        let [top, left] = feed.first;
        ensure((0..columns).contains(&left), Reason::FeedBeginsOutsideItsInput)?;
        ensure(top.unsigned_abs() <= 1 << 20, Reason::FeedBeginsOutsideItsInput)?;
        chunks += grid.step / BLOCK;
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
        let [height, width] = first.size.map(|n| n as usize);
        let whole = first.origin == [0, 0] && first.out_step == [1, 1] && phases.len() == 1;
        ensure(whole && step.residual == NONE, Reason::RealValuesAreMadeInMoreThanOnePhase)?;
        ensure(step.row[1] as usize == width * channels * 4, Reason::RowHasAnotherLength)?;
        let made = match step.result {
            result::LOGITS => logits(view),
            result::SIGMOIDS => shape(&grid(view, step.output)?),
            _ => return Err(Reason::SumsBecomeNothingKnown),
        };
        let blocks = padded(made[0]) == channels;
        let same = blocks && made[1..] == [height, width];
        return ensure(same, Reason::MakesAnotherSizeThanItsOutputHas);
    }
    let output = grid(view, step.output)?;
    ensure(channels <= output.step, Reason::PhaseHasMoreChannelsThanItsOutput)?;
    if step.residual != NONE {
        let residual = grid(view, step.residual)?;
        ensure(residual.size == output.size, Reason::AddsATensorOfAnotherSize)?;
        ensure(channels <= residual.step, Reason::PhaseHasMoreChannelsThanItsResidual)?;
    }
    let [[height, width], [down, across]] = [output.size, first.out_step.map(|n| n as usize)];
    let wide = width.min(across);
    let mut origins = (0..height.min(down)).flat_map(|y| (0..wide).map(move |x| [y, x]));
    let whole = phases.iter().all(|phase| {
        let found = [phase.origin, phase.size].map(|pair| pair.map(|n| n as usize));
        let step = phase.out_step.map(|n| n as usize);
        phase.out_step == first.out_step
            && origins.next().is_some_and(|origin| {
                let covers = |axis: usize| {
                    let rest = output.size[axis] - origin[axis];
                    rest.checked_next_multiple_of(step[axis]) == Some(found[1][axis] * step[axis])
                };
                found[0] == origin && covers(0) && covers(1)
            })
    });
    ensure(whole && origins.next().is_none(), Reason::PhasesAreNotAllPixelsOfItsOutput)
}
