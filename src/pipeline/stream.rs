//! The five stages over bounded queues: read → prepare → infer → restore → write.
//!
//! One thread reads, each engine's worker prepares, infers and restores, the caller's thread writes. Slice number i goes to
//! worker i mod n and is collected from there in the same turn, so that order needs no sorting. A lane between reader,
//! worker and writer owns [`DEPTH`] slice buffers that go round: free → filled → done → free. All are allocated before the
//! first slice, none after.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::PipelineError;
use super::queue::Queue;
use crate::engine::Engine;
use crate::measure::{Clock, Stage, StageTimes};
use crate::package::{FitPlan, Intensity};
use crate::volume::{Neighbours, SliceSource, VolumeError};

/// Slice buffers of a lane: one being read, one in the net, one being written.
pub const DEPTH: usize = 3;

/// A slice on its way.
#[derive(Debug)]
pub struct Slice {
    /// Along the third axis.
    pub index: usize,
    /// Voxels, with those of neighbouring slices where the net sees them; normalised once they have passed the worker.
    pub voxels: Vec<f32>,
    /// Where the slice itself stands among them.
    pub centre: Range<usize>,
    /// Labels in the slice's own grid.
    pub labels: Vec<u8>,
}

type Belt = Queue<Box<Slice>, DEPTH>;

/// The queues of one worker.
struct Lane {
    free: Belt,
    filled: Belt,
    done: Belt,
}

impl Lane {
    fn new(source: &SliceSource, window: &Neighbours) -> Self {
        let lane = Self { free: Queue::new(), filled: Queue::new(), done: Queue::new() };
        let pixels = source.geometry().size[0] * source.geometry().size[1];
        for _ in 0..DEPTH {
            let (voxels, centre) = (vec![0.0; window.len()], window.centre());
            lane.free.push(Box::new(Slice { index: 0, voxels, centre, labels: vec![0; pixels] }));
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

/// Streams every slice of `source` through the stages, with `neighbours` slices on either side; `write` gets them in the source's order. `interrupted` is looked at
/// between slices.
///
/// # Errors
/// The first that a stage meets, or [`PipelineError::Interrupted`].
pub fn stream(
    source: &mut SliceSource,
    neighbours: usize,
    intensity: &Intensity,
    fit: &FitPlan,
    engines: &mut [Box<dyn Engine>],
    interrupted: &AtomicBool,
    mut write: impl FnMut(&Slice) -> Result<(), VolumeError>,
) -> Result<StageTimes, PipelineError> {
    let window = Neighbours::new(source, neighbours);
    let lanes: Vec<Lane> = engines.iter().map(|_| Lane::new(source, &window)).collect();
    let outcome = Outcome { lanes: &lanes, error: Mutex::new(None), stop: AtomicBool::new(false) };
    let mut times = StageTimes::default();
    thread::scope(|scope| {
        let outcome = &outcome;
        let reader = scope.spawn(|| read(source, window, outcome));
        let workers: Vec<_> = lanes
            .iter()
            .zip(engines)
            .map(|(lane, engine)| scope.spawn(|| work(lane, outcome, intensity, fit, engine.as_mut())))
            .collect();
        for lane in lanes.iter().cycle() {
            if interrupted.load(Ordering::Relaxed) {
                outcome.fail(PipelineError::Interrupted);
            }
            let Some(slice) = lane.done.pop() else { break };
            if outcome.stopped() {
                break;
            }
            let clock = Clock::start();
            if let Err(error) = write(&slice) {
                outcome.fail(error.into());
            }
            times.add(Stage::Write, clock);
            lane.free.push(slice);
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

/// The reader's thread: fills free buffers, lane after lane.
fn read(source: &mut SliceSource, mut window: Neighbours, outcome: &Outcome) -> StageTimes {
    let mut times = StageTimes::default();
    for lane in outcome.lanes.iter().cycle() {
        let Some(mut slice) = lane.free.pop() else { break };
        let clock = Clock::start();
        match window.next_into(source, &mut slice.voxels) {
            Ok(Some(index)) => slice.index = index,
            Ok(None) => break,
            Err(error) => {
                outcome.fail(error.into());
                break;
            }
        }
        times.add(Stage::Read, clock);
        lane.filled.push(slice);
    }
    outcome.lanes.iter().for_each(|lane| lane.filled.close());
    times
}

/// A worker's thread: prepare, infer, restore.
fn work(
    lane: &Lane,
    outcome: &Outcome,
    intensity: &Intensity,
    fit: &FitPlan,
    engine: &mut dyn Engine,
) -> StageTimes {
    let mut times = StageTimes::default();
    let [height, width] = fit.net_size();
    let (mut input, mut labels) = (vec![0.0; fit.net_len()], vec![0; height * width]);
    while let Some(mut slice) = lane.filled.pop() {
        let clock = Clock::start();
        intensity.apply(&mut slice.voxels, slice.labels.len());
        fit.prepare(&slice.voxels, &mut input);
        let clock = times.add(Stage::Prepare, clock);
        if let Err(source) = engine.segment(&input, &mut labels) {
            outcome.fail(PipelineError::Engine { slice: slice.index, source });
            break;
        }
        let clock = times.add(Stage::Infer, clock);
        fit.restore(&labels, &mut slice.labels);
        times.add(Stage::Restore, clock);
        lane.done.push(slice);
    }
    lane.done.close();
    times
}
