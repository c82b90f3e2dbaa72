//! Panics anywhere in the pipeline: whatever thread they hit and whenever, the call ends. A test
//! that would hang fails instead.

use std::panic::catch_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::engine::EngineError;
use crate::package::{IntensityStats, Manifest, Normalise, Package};

const SIDE: usize = 8;
const SLICES: usize = 9;

/// What goes wrong at a slice.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    SourcePanics,
    EnginePanics,
    EngineFails,
    WriterPanics,
}

/// Slices of the same voxels.
struct Source {
    next: usize,
    panics_at: Option<usize>,
}

impl Slices for Source {
    fn size(&self) -> [usize; 3] {
        [SIDE, SIDE, SLICES]
    }

    fn descending(&self) -> bool {
        false
    }

    fn advance(&mut self) -> Result<Option<usize>, VolumeError> {
        assert_ne!(Some(self.next), self.panics_at, "the source breaks");
        self.next += 1;
        Ok((self.next <= SLICES).then(|| self.next - 1))
    }

    fn row(&mut self, _: usize, _: usize, out: &mut [f32]) {
        out.fill(self.next as f32);
    }
}

/// Labels every voxel with its slice's number, counted from 1; the input's value tells which slice
/// it is.
struct Net {
    size: Size,
    fault: Fault,
    at: usize,
}

impl Engine for Net {
    fn size(&self) -> Size {
        self.size
    }

    fn name(&self) -> String {
        "net of a test".to_owned()
    }

    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError> {
        let number =
            (input[0].iter().fold(0.0, |a: f32, b| a.max(*b)) * SLICES as f32).round() as usize;
        if number == self.at + 1 {
            match self.fault {
                // With a text made on the way, where the source's and the writer's are literals.
                Fault::EnginePanics => panic!("the net breaks at slice {}", self.at),
                Fault::EngineFails => return Err(EngineError::run("fails")),
                _ => {}
            }
        }
        labels.fill(number as u8);
        Ok(())
    }
}

fn manifest() -> Manifest {
    Package::embedded().manifest
}

/// Streams with a fault at a slice; gives the outcome, or the panic's text, and the labels written.
fn streamed(
    fault: Fault,
    at: usize,
    workers: usize,
) -> (Result<Result<(), PipelineError>, String>, Vec<u8>) {
    let fit = Fit::new(&manifest(), 1, Size::new(SIDE, SIDE), [1.0, 1.0]).unwrap();
    let intensity =
        IntensityStats::new(Normalise::Window { low: 0.0, high: SLICES as f32 }, 1).finish();
    let net = |_| Box::new(Net { size: fit.net_size(), fault, at }) as Box<dyn Engine>;
    let mut engines: Vec<_> = (0..workers).map(net).collect();
    let mut source = Source { next: 0, panics_at: (fault == Fault::SourcePanics).then_some(at) };
    let preparation = Preparation {
        intensity: &intensity,
        fit: &fit,
        neighbours: 0,
        subsampling: None,
        trace: None,
    };
    let mut written = Vec::new();
    let write = |slice: Labelled| {
        if fault == Fault::WriterPanics {
            assert_ne!(slice.index, at, "the writer breaks");
        }
        written.push(slice.labels[0]);
        Ok(())
    };
    let never = AtomicBool::new(false);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        stream_slices(&mut source, preparation, &mut engines, &never, write).map(drop)
    }));
    (ended.map_err(|panic| text_of(&*panic)), written)
}

/// What `run` gives, if it ends at all.
fn within_a_minute<T: Send + 'static>(what: String, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(run()));
    receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what}: hangs"))
}

#[test]
fn whatever_panics_the_call_ends() {
    for workers in [1, 2, 5] {
        for at in [0, SLICES / 2, SLICES - 1] {
            for fault in [
                Fault::None,
                Fault::SourcePanics,
                Fault::EnginePanics,
                Fault::EngineFails,
                Fault::WriterPanics,
            ] {
                let what = format!("{fault:?} at slice {at}, {workers} worker(s)");
                let (ended, written) =
                    within_a_minute(what.clone(), move || streamed(fault, at, workers));
                let expected: Vec<u8> = (1..=SLICES as u8).collect();
                assert!(expected.starts_with(&written), "{what}: {written:?}");
                match (fault, ended) {
                    (Fault::None, Ok(Ok(()))) => assert_eq!(written, expected, "{what}"),
                    (
                        Fault::SourcePanics,
                        Ok(Err(PipelineError::Panicked { thread: "reader", text })),
                    ) => {
                        assert!(text.contains("the source breaks"), "{what}: {text}");
                    }
                    (
                        Fault::EnginePanics,
                        Ok(Err(PipelineError::Panicked { thread: "worker", text })),
                    ) => {
                        assert_eq!(text, format!("the net breaks at slice {at}"), "{what}");
                    }
                    (Fault::EngineFails, Ok(Err(PipelineError::Engine { slice, .. }))) => {
                        assert_eq!(slice, at, "{what}");
                    }
                    (Fault::WriterPanics, Err(text)) => {
                        assert!(text.contains("the writer breaks"), "{what}: {text}");
                        assert_eq!(written, expected[..at], "{what}: what came before is written");
                    }
                    (_, ended) => panic!("{what}: {ended:?}"),
                }
            }
        }
    }
}

/// A panic may carry anything.
#[test]
fn a_panic_without_a_text_is_told_too() {
    assert_eq!(
        text_of(&*catch_unwind(|| std::panic::panic_any(7)).unwrap_err()),
        "without a message"
    );
}
