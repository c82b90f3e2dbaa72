//! The five stages over bounded queues: read → prepare → infer → restore → write.
//!
//! One thread reads and prepares, each engine's worker infers, the caller's thread restores and writes: what is queued is as small
//! as the net's own grid, however large a slice is. Slice number i goes to worker i mod n and is collected from there in the same turn, so
//! that order needs no sorting. A lane between reader, worker and writer owns [`DEPTH`] slots that go round: free →
//! filled → done → free. All are allocated before the first slice, none after.
//!
//! Threads share out slices, not the rows of one: the latter measured 5 to 36 % slower at two threads (256×256: 24.1 against 25.9 ms a
//! slice, 128×128: 6.1 against 8.3, 512×512: 86 against 91; best of 20, AVX2 on Zen 3), and the next step would have to wait for all rows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::PipelineError;
use super::queue::Queue;
use super::window::Window;
use crate::engine::{Engine, EngineError};
use crate::measure::{Clock, Stage, StageTimes, Thinning};
use crate::package::{FitPlan, Intensity, MAX_NEIGHBOURS};
use crate::volume::{SliceSource, VolumeError};

/// Slots of a lane: one in the net, one being written and then filled, both of which take less time than the net.
pub const DEPTH: usize = 2;

/// How slices are made ready for the net, the same for all of a volume.
#[derive(Debug, Clone, Copy)]
pub struct Preparation<'a> {
    /// Normalisation.
    pub intensity: &'a Intensity,
    /// Fit to the net's size and back.
    pub fit: &'a FitPlan,
    /// Slices on either side that the net sees beside a slice.
    pub neighbours: usize,
    /// What is kept of the picture, where there is to be a preview.
    pub thinning: Option<Thinning>,
}

impl Preparation<'_> {
    /// Pixels of the picture that are kept.
    fn grey_len(&self) -> usize {
        self.thinning.map_or(0, |thinning| thinning.len())
    }
}

/// A slice at the end of its way.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// Along the third axis.
    pub index: usize,
    /// Labels in the slice's own grid.
    pub labels: &'a [u8],
    /// The slice as its thinning made it; empty without one.
    pub grey: &'a [u8],
}

/// A slice on its way.
#[derive(Debug)]
struct Slot {
    index: usize,
    /// What the net takes: the slice between its neighbours, shared with the slots of these.
    input: heapless::Vec<Arc<Prepared>, { 2 * MAX_NEIGHBOURS + 1 }>,
    /// What it gives, in its own grid.
    labels: Vec<u8>,
}

/// A slice that is read, normalised and fitted.
#[derive(Debug, Clone)]
struct Prepared {
    values: Vec<f32>,
    grey: Vec<u8>,
}

type Belt = Queue<Box<Slot>, DEPTH>;

/// The queues of one worker.
struct Lane {
    free: Belt,
    filled: Belt,
    done: Belt,
}

impl Lane {
    fn new(preparation: &Preparation) -> Self {
        let lane = Self { free: Queue::new(), filled: Queue::new(), done: Queue::new() };
        let [height, width] = preparation.fit.net_size();
        for _ in 0..DEPTH {
            lane.free.push(Box::new(Slot {
                index: 0,
                input: heapless::Vec::new(),
                labels: vec![0; height * width],
            }));
        }
        lane
    }

    fn close(&self) {
        [&self.free, &self.filled, &self.done].into_iter().for_each(Queue::close);
    }
}

/// Where all threads leave the first error and learn that they are to stop.
struct Outcome<'a> {
    lanes: &'a [Lane],
    error: Mutex<Option<PipelineError>>,
    stop: AtomicBool,
}

impl Outcome<'_> {
    fn fail(&self, error: PipelineError) {
        let mut first = self.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        first.get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.iter().for_each(Lane::close);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Streams every slice of `source` through the stages; `write` gets them in the source's order. `interrupted` is looked at
/// between slices.
///
/// # Errors
/// The first that a stage meets, or [`PipelineError::Interrupted`].
pub fn stream(
    source: &mut SliceSource,
    preparation: Preparation,
    engines: &mut [Box<dyn Engine>],
    interrupted: &AtomicBool,
    mut write: impl FnMut(Labelled) -> Result<(), VolumeError>,
) -> Result<StageTimes, PipelineError> {
    let [width, height, _] = source.geometry().size;
    let mut labels = vec![0; width * height];
    let lanes: Vec<Lane> = engines.iter().map(|_| Lane::new(&preparation)).collect();
    let outcome = Outcome { lanes: &lanes, error: Mutex::new(None), stop: AtomicBool::new(false) };
    let mut times = StageTimes::default();
    thread::scope(|scope| {
        let outcome = &outcome;
        let reader = scope.spawn(move || read(source, &preparation, outcome));
        let workers: Vec<_> = lanes
            .iter()
            .zip(engines)
            .map(|(lane, engine)| scope.spawn(|| work(lane, outcome, engine.as_mut())))
            .collect();
        for lane in lanes.iter().cycle() {
            if interrupted.load(Ordering::Relaxed) {
                outcome.fail(PipelineError::Interrupted);
            }
            let Some(slot) = lane.done.pop() else { break };
            if outcome.stopped() {
                break;
            }
            let clock = Clock::start();
            preparation.fit.restore(&slot.labels, &mut labels);
            let clock = times.add(Stage::Restore, clock);
            let grey = &slot.input[preparation.neighbours].grey;
            if let Err(error) = write(Labelled { index: slot.index, labels: &labels, grey }) {
                outcome.fail(error.into());
            }
            times.add(Stage::Write, clock);
            lane.free.push(slot);
        }
        // A thread that panicked ends the whole here, as a panic in this thread would.
        for thread in workers.into_iter().chain([reader]) {
            match thread.join() {
                Ok(theirs) => times.merge(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    match outcome.error.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(times),
    }
}

/// The reader's thread: fills free slots, lane after lane.
fn read(source: &mut SliceSource, preparation: &Preparation, outcome: &Outcome) -> StageTimes {
    let Preparation { intensity, fit, neighbours, thinning } = *preparation;
    let mut times = StageTimes::default();
    let slices = source.geometry().size[2];
    let mut pair = fit.row_pair();
    let empty =
        || Arc::new(Prepared { values: vec![0.0; fit.slice_len()], grey: vec![0; preparation.grey_len()] });
    // Slots that are under way hold the slices before this one; whoever takes slice i's place finds that its slots are back.
    let ring = (0..2 * neighbours + DEPTH * outcome.lanes.len()).map(|_| empty()).collect();
    let mut window = Window::new(neighbours, slices, source.axis_map().0[2].reversed, ring);
    let mut take_in = |slice: &mut Arc<Prepared>, times: &mut StageTimes| {
        let Prepared { values, grey } = Arc::make_mut(slice);
        let clock = Clock::start();
        if source.advance()?.is_none() {
            return Ok(false);
        }
        let clock = times.add(Stage::Read, clock);
        // Row by row, as a slice of f32 would be the largest buffer beside the net's.
        fit.prepare_rows(&mut pair, values, |channel, y, row| {
            source.row(channel, y, row);
            intensity.apply_to(channel, row);
            if let (Some(thinning), 0) = (thinning, channel) {
                thinning.apply(y, row, grey);
            }
        });
        times.add(Stage::Prepare, clock);
        Ok(true)
    };
    for lane in outcome.lanes.iter().cycle() {
        let Some(mut slot) = lane.free.pop() else { break };
        slot.input.clear();
        match window.advance(|slice| take_in(slice, &mut times)) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                outcome.fail(PipelineError::Volume(error));
                break;
            }
        }
        slot.index = window.index();
        slot.input.extend(window.slices().cloned());
        lane.filled.push(slot);
    }
    outcome.lanes.iter().for_each(|lane| lane.filled.close());
    times
}

/// A worker's thread: the net.
fn work(lane: &Lane, outcome: &Outcome, engine: &mut dyn Engine) -> StageTimes {
    let mut times = StageTimes::default();
    while let Some(mut slot) = lane.filled.pop() {
        let clock = Clock::start();
        if let Err(source) = infer(&mut slot, engine) {
            outcome.fail(PipelineError::Engine { slice: slot.index, source });
            break;
        }
        times.add(Stage::Infer, clock);
        lane.done.push(slot);
    }
    lane.done.close();
    times
}

/// Labels of a slot's slice.
fn infer(slot: &mut Slot, engine: &mut dyn Engine) -> Result<(), EngineError> {
    let input: heapless::Vec<&[f32], { 2 * MAX_NEIGHBOURS + 1 }> =
        slot.input.iter().map(|slice| &slice.values[..]).collect();
    engine.segment(&input, &mut slot.labels)
}
