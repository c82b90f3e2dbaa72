//! The five stages over bounded queues: read → prepare → infer → restore → write.
//!
//! ```text
//!                  ┌─ filled ─▶ worker 0 ─ done ─┐
//! reader's thread ─┼─ filled ─▶ worker 1 ─ done ─┼─▶ caller's thread
//! read, prepare    └─ filled ─▶ worker 2 ─ done ─┘   restore, write
//!        ▲                   infer                          │
//!        └───────────────────── free ◀──────────────────────┘
//! ```
//!
//! - Queues carry slices of the net's size, so that they stay small however large a volume's slices
//!   are.
//! - The i-th slice goes to worker i mod n, and the caller's thread collects in the same turn, so
//!   that slices keep their order without sorting.
//! - Each worker has a lane of three queues and [`DEPTH`] slots, which go round: free → filled →
//!   done → free. All slots are allocated before the first slice, none after.
//!
//! Threads share out slices, not the rows of one: the latter measured 5 to 36 % slower at two
//! threads (256×256: 24.1 against 25.9 ms a slice, 128×128: 6.1 against 8.3, 512×512: 86 against
//! 91; best of 20, AVX2 on Zen 3), and the next step would have to wait for all rows.
//!
//! Whatever ends one thread ends all: an error, a panic, a thread that cannot be started. Each
//! closes every queue, so that nobody waits for an item that will not come.

use std::any::Any;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use super::PipelineError;
use super::queue::Queue;
use super::window::Window;
use crate::Size;
use crate::engine::{Engine, EngineError};
use crate::measure::{Clock, Stage, Subsampling, Track};
use crate::package::{Fit, Intensity, Recipe};
use crate::volume::{OutputError, SliceSource, VolumeError};

/// Slots of a lane: one in the net, and one that is written and then filled again meanwhile, since
/// both together take less time than the net.
pub const DEPTH: usize = 2;

/// How slices are made ready for the net, the same for all of a volume.
#[derive(Debug, Clone, Copy)]
pub struct Preparation<'a> {
    /// Normalisation.
    pub intensity: &'a Intensity,
    /// How slices are brought to the net's size, and labels back.
    pub fit: &'a Fit,
    /// Neighbours on either side of a slice that the net sees with it.
    pub neighbours: usize,
    /// How slices become thumbnails, where there is to be a preview.
    pub subsampling: Option<Subsampling>,
    /// The beginning of the trace, where one is wanted.
    pub trace: Option<Clock>,
}

impl Preparation<'_> {
    /// Pixels of the picture that are kept.
    fn thumbnail_len(&self) -> usize {
        self.subsampling.map_or(0, |subsampling| subsampling.len())
    }
}

/// A slice at the end of its way.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// Along the third axis.
    pub index: usize,
    /// Labels in the slice's own grid.
    pub labels: &'a [u8],
    /// What the preview keeps of the slice; empty where there is to be none.
    pub thumbnail: &'a [u8],
}

/// A slice on its way.
#[derive(Debug)]
struct Slot {
    index: usize,
    /// The net's input: the slice between its neighbours. Each of them is shared with the slots of
    /// the slices next to it.
    input: heapless::Vec<Arc<Prepared>, { 2 * Recipe::MAX_NEIGHBOURS + 1 }>,
    /// The net's labels, at the net's size.
    labels: Vec<u8>,
}

/// A slice that is read, normalised and fitted.
#[derive(Debug, Clone)]
struct Prepared {
    values: Vec<f32>,
    thumbnail: Vec<u8>,
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
        let Size { height, width } = preparation.fit.net_size();
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

/// The reader's view of a [`SliceSource`], so that tests can put another one in its place.
trait Slices: Send {
    /// Width, height and slices.
    fn size(&self) -> [usize; 3];
    /// Whether slices come by falling index.
    fn descending(&self) -> bool;
    /// As [`SliceSource::advance`].
    fn advance(&mut self) -> Result<Option<usize>, VolumeError>;
    /// As [`SliceSource::row`].
    fn row(&mut self, channel: usize, y: usize, out: &mut [f32]);
}

impl Slices for SliceSource<'_> {
    fn size(&self) -> [usize; 3] {
        self.geometry().size
    }

    fn descending(&self) -> bool {
        self.axis_map().slice.reversed
    }

    fn advance(&mut self) -> Result<Option<usize>, VolumeError> {
        Self::advance(self)
    }

    fn row(&mut self, channel: usize, y: usize, out: &mut [f32]) {
        Self::row(self, channel, y, out);
    }
}

/// What the threads share: the first error, and whether they are to stop.
struct Outcome<'a> {
    lanes: &'a [Lane],
    error: Mutex<Option<PipelineError>>,
    stop: AtomicBool,
}

impl Outcome<'_> {
    fn fail(&self, error: PipelineError) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop();
    }

    /// Makes all threads stop: those that wait at a queue wake up.
    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.iter().for_each(Lane::close);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs a thread's part; its panic becomes an error. Nobody uses again what the panic leaves
    /// half-way: the lanes drop their slots, and [`stream`] warns its caller about source and
    /// engines.
    fn contain(&self, thread: &'static str, part: impl FnOnce() -> Track) -> Track {
        catch_unwind(AssertUnwindSafe(part)).unwrap_or_else(|panic| {
            self.fail(PipelineError::Panicked { thread, text: text_of(&*panic) });
            Track::default()
        })
    }

    /// Starts a thread. Where the system refuses, that becomes the error.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        name: &'static str,
        part: impl FnOnce() -> Track + Send + 'scope,
    ) -> Option<ScopedJoinHandle<'scope, Track>> {
        let started = thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, move || self.contain(name, part));
        started
            .map_err(|source| {
                self.fail(PipelineError::Thread { threads: self.lanes.len() + 1, source })
            })
            .ok()
    }
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("without a message").to_owned()
}

/// Streams every slice of `source` through the stages; `write` gets them in the source's order.
/// `interrupted` is looked at between slices. Returns what each thread did, the caller's first.
///
/// # Errors
/// The first that a stage meets, or [`PipelineError::Interrupted`]. After
/// [`PipelineError::Panicked`] neither source nor engines should be used again: the panic may have
/// left them half-way.
///
/// # Panics
/// When `write` panics: with the same panic, once all threads have ended.
pub fn stream(
    source: &mut SliceSource,
    preparation: Preparation,
    engines: &mut [Box<dyn Engine>],
    interrupted: &AtomicBool,
    write: impl FnMut(Labelled) -> Result<(), OutputError>,
) -> Result<Vec<Track>, PipelineError> {
    stream_slices(source, preparation, engines, interrupted, write)
}

/// [`stream`], from any source.
fn stream_slices(
    source: &mut impl Slices,
    preparation: Preparation,
    engines: &mut [Box<dyn Engine>],
    interrupted: &AtomicBool,
    write: impl FnMut(Labelled) -> Result<(), OutputError>,
) -> Result<Vec<Track>, PipelineError> {
    let [width, height, _] = source.size();
    let mut labels = vec![0; width * height];
    let lanes: Vec<Lane> = engines.iter().map(|_| Lane::new(&preparation)).collect();
    let outcome = Outcome { lanes: &lanes, error: Mutex::new(None), stop: AtomicBool::new(false) };
    let tracks = thread::scope(|scope| {
        let (outcome, preparation) = (&outcome, &preparation);
        let mut threads = Vec::with_capacity(lanes.len() + 1);
        threads.extend(outcome.start(scope, "reader", move || read(source, preparation, outcome)));
        for (lane, engine) in lanes.iter().zip(engines) {
            threads.extend(
                outcome.start(scope, "worker", move || {
                    work(lane, preparation, outcome, engine.as_mut())
                }),
            );
        }
        let collecting = || collect(preparation, outcome, interrupted, &mut labels, write);
        let collected = catch_unwind(AssertUnwindSafe(collecting)).inspect_err(|_| outcome.stop());
        // None of them panics: `contain` sees to that.
        let theirs = threads.into_iter().filter_map(|thread| thread.join().ok());
        collected.map(|own| iter::once(own).chain(theirs).collect())
    });
    match (tracks, outcome.error.into_inner().unwrap_or_else(PoisonError::into_inner)) {
        (Err(panic), _) => resume_unwind(panic),
        (Ok(_), Some(error)) => Err(error),
        (Ok(tracks), None) => Ok(tracks),
    }
}

/// The caller's part: takes the net's labels from lane after lane, and writes them.
fn collect(
    preparation: &Preparation,
    outcome: &Outcome,
    interrupted: &AtomicBool,
    labels: &mut [u8],
    mut write: impl FnMut(Labelled) -> Result<(), OutputError>,
) -> Track {
    let mut track = Track::new("caller", preparation.trace);
    for lane in outcome.lanes.iter().cycle() {
        if interrupted.load(Ordering::Relaxed) {
            outcome.fail(PipelineError::Interrupted);
        }
        let Some(slot) = lane.done.pop() else { break };
        if outcome.stopped() {
            break;
        }
        let clock = Clock::start();
        let restored = preparation.fit.restore(&slot.labels, labels);
        restored.expect("labels have the sizes of the fit");
        let clock = track.add(Stage::Restore, slot.index, clock);
        let thumbnail = &slot.input[preparation.neighbours].thumbnail;
        if let Err(error) = write(Labelled { index: slot.index, labels, thumbnail }) {
            outcome.fail(error.into());
        }
        track.add(Stage::Write, slot.index, clock);
        lane.free.push(slot);
    }
    track
}

/// The reader's thread: fills free slots, lane after lane.
fn read(source: &mut impl Slices, preparation: &Preparation, outcome: &Outcome) -> Track {
    let Preparation { intensity, fit, neighbours, subsampling, trace } = *preparation;
    let mut track = Track::new("reader", trace);
    let [width, height, slices] = source.size();
    let mut intensity = intensity.by_rows(width * height);
    let mut rows = fit.rows();
    let empty = || {
        Arc::new(Prepared {
            values: vec![0.0; fit.slice_len()],
            thumbnail: vec![0; preparation.thumbnail_len()],
        })
    };
    // Slots in flight still share earlier slices. The ring is so long that a place is used again
    // only after every slot that shares its slice has come back, so `Arc::make_mut` never copies.
    let ring = (0..2 * neighbours + DEPTH * outcome.lanes.len()).map(|_| empty()).collect();
    let mut window = Window::new(neighbours, slices, source.descending(), ring);
    let mut take_in = |slice: &mut Arc<Prepared>| {
        let Prepared { values, thumbnail } = Arc::make_mut(slice);
        let clock = Clock::start();
        let Some(index) = source.advance()? else { return Ok::<bool, VolumeError>(false) };
        let clock = track.add(Stage::Read, index, clock);
        // Row by row, as a slice of f32 would be the largest buffer beside the net's; only slices
        // that are normalised each by itself are held.
        intensity.begin(width, |channel, y, row| source.row(channel, y, row));
        rows.prepare(values, |channel, y, row| {
            intensity.row(channel, y, row, |row| source.row(channel, y, row));
            if let (Some(subsampling), 0) = (subsampling, channel) {
                subsampling.apply(y, row, thumbnail);
            }
        });
        track.add(Stage::Prepare, index, clock);
        Ok(true)
    };
    for lane in outcome.lanes.iter().cycle() {
        let Some(mut slot) = lane.free.pop() else { break };
        slot.input.clear();
        match window.advance(&mut take_in) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                outcome.fail(error.into());
                break;
            }
        }
        slot.index = window.index();
        slot.input.extend(window.slices().cloned());
        lane.filled.push(slot);
    }
    outcome.lanes.iter().for_each(|lane| lane.filled.close());
    track
}

/// A worker's thread: the net.
fn work(
    lane: &Lane,
    preparation: &Preparation,
    outcome: &Outcome,
    engine: &mut dyn Engine,
) -> Track {
    let mut track = Track::new("worker", preparation.trace);
    while let Some(mut slot) = lane.filled.pop() {
        let clock = Clock::start();
        if let Err(source) = infer(&mut slot, engine) {
            outcome.fail(PipelineError::Engine { slice: slot.index, source });
            break;
        }
        track.add(Stage::Infer, slot.index, clock);
        lane.done.push(slot);
    }
    lane.done.close();
    track
}

/// Labels of a slot's slice.
fn infer(slot: &mut Slot, engine: &mut dyn Engine) -> Result<(), EngineError> {
    let input: heapless::Vec<&[f32], { 2 * Recipe::MAX_NEIGHBOURS + 1 }> =
        slot.input.iter().map(|slice| &slice.values[..]).collect();
    engine.segment(&input, &mut slot.labels)
}

#[cfg(test)]
mod tests;
