//! A volume's way over the line.
//!
//! ```text
//! passes    for each slice, as the volume gives it:  send its parts, count it
//! labels    for each slice, as the volume gives it:  send its parts; once its neighbours are
//!           there, too, ask for the labels of the slice in their middle
//! ```
//!
//! As many slices as the net sees at once are kept here, so that one that got lost can be sent
//! again.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use monet_core::Size;
use monet_link::{Answer, LABELS, Request, crc32};

use super::link::Reply;
use super::{BoardError, Line, Link};
use crate::package::{Fit, Manifest};
use crate::pipeline::stream::Labelled;
use crate::pipeline::{Device, PipelineError};
use crate::volume::{OutputError, SliceSource};

/// A board that has a package's plan.
#[derive(Debug)]
pub struct Remote {
    link: Link,
    neighbours: usize,
    /// Height and width of its net.
    net: [u16; 2],
    /// Voxels of the largest slice.
    room: u32,
    /// Slices that were sent last, by their number.
    sent: Vec<(u16, Vec<i16>)>,
}

/// How far the statistics are.
struct State {
    pass: u16,
    next: u16,
    wanted: bool,
}

impl Remote {
    /// Asks a board what it is; its package must be the one of this manifest.
    ///
    /// # Errors
    /// [`BoardError`]
    pub fn connect(
        line: Line,
        manifest: &Manifest,
        wait: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Self, BoardError> {
        let mut link = Link::new(line, wait);
        let about = link.ask("hello", Request::Hello, interrupted, |answer| match answer {
            Answer::About { version, neighbours, net, voxels, manifest, .. } => {
                Some((version, neighbours, net, voxels, manifest))
            }
            _ => None,
        })?;
        let port = link.port().to_owned();
        let Reply::Done((version, neighbours, net, room, package)) = about else {
            return Err(BoardError::Closed { port });
        };
        if version != monet_link::VERSION {
            let (found, expected) = (version.to_string(), monet_link::VERSION.to_string());
            let advice = "build its program with this version of monet";
            let what = "version of the protocol";
            return Err(BoardError::Differs { port, what, found, expected, advice });
        }
        // A self-test holds for one size and is left out of plans for another.
        let plain = Manifest { selftest: None, ..manifest.clone() };
        let known = [manifest, &plain].map(|manifest| crc32(manifest.to_toml().as_bytes()));
        if !known.contains(&package) {
            let found = format!("{package:#010x}");
            let expected = format!("{:#010x}, that of {}", known[0], manifest.name);
            let advice = "name the board's package with --model";
            let what = "package (the CRC-32 of its manifest)";
            return Err(BoardError::Differs { port, what, found, expected, advice });
        }
        Ok(Self { link, neighbours: neighbours.into(), net, room, sent: Vec::new() })
    }

    /// Height and width of the net's slices.
    #[must_use]
    pub fn net_size(&self) -> Size {
        let [height, width] = self.net.map(usize::from);
        Size::new(height, width)
    }

    /// Whether the volume's slices are of a size that the board takes.
    fn check(&self, fit: &Fit, slices: usize) -> Result<[u16; 3], BoardError> {
        let differs = |what, found: String, expected: String| {
            let port = self.link.port().to_owned();
            let advice = "plan the board's image for the size that it is to take";
            Err(BoardError::Differs { port, what, found, expected, advice })
        };
        let (size, needed) = (fit.size(), fit.net_size());
        if needed != self.net_size() {
            return differs("size of slices", self.net_size().to_string(), needed.to_string());
        }
        let voxels = size.area() * fit.channels();
        let numbers = [size.width, size.height, slices].map(u16::try_from);
        match numbers {
            [Ok(width), Ok(height), Ok(slices)] if voxels <= self.room as usize => {
                Ok([width, height, slices])
            }
            _ => differs("room for a slice", self.room.to_string(), format!("{voxels} voxels")),
        }
    }

    /// Asks, and sends slices again that are missing.
    fn insist<T>(
        &mut self,
        question: &'static str,
        request: Request,
        interrupted: &AtomicBool,
        mut take: impl FnMut(Answer) -> Option<T>,
    ) -> Result<T, BoardError> {
        // Each slice that the net sees may get lost, and more than once.
        const LOSSES: usize = 1000;
        for _ in 0..LOSSES {
            match self.link.ask(question, request, interrupted, &mut take)? {
                Reply::Done(value) => return Ok(value),
                Reply::Missing(slice) => {
                    let sent = self.sent.iter().find(|(number, _)| *number == slice);
                    let Some((_, voxels)) = sent else { break };
                    self.link.send_slice(slice, voxels)?;
                }
            }
        }
        let port = self.link.port().to_owned();
        Err(BoardError::Refused { port, question, fault: super::Fault::Missing })
    }

    fn state(
        &mut self,
        question: &'static str,
        request: Request,
        interrupted: &AtomicBool,
    ) -> Result<State, BoardError> {
        self.insist(question, request, interrupted, |answer| match answer {
            Answer::State { pass, next, wanted } => Some(State { pass, next, wanted }),
            _ => None,
        })
    }

    /// Sends a slice, and keeps it for a while.
    fn send(&mut self, number: u16, voxels: Vec<i16>) -> Result<(), BoardError> {
        self.link.send_slice(number, &voxels)?;
        if self.sent.len() > 2 * self.neighbours {
            self.sent.remove(0);
        }
        self.sent.push((number, voxels));
        Ok(())
    }

    /// The passes over the volume that normalisation needs.
    fn count(
        &mut self,
        volume: &mut SliceSource,
        mut state: State,
        interrupted: &AtomicBool,
    ) -> Result<(), PipelineError> {
        while state.wanted {
            volume.rewind()?;
            let mut number = 0;
            while let Some((index, voxels)) = self.read(volume)? {
                let request = Request::Count { pass: state.pass, slice: number };
                let counted = self.send(number, voxels);
                let counted = counted.and_then(|()| self.state("count", request, interrupted));
                state = counted.map_err(|error| failed(self.link.port(), index, error))?;
                number = state.next;
            }
        }
        self.sent.clear();
        volume.rewind()?;
        Ok(())
    }

    /// The next slice of a volume, and its index.
    fn read(&self, volume: &mut SliceSource) -> Result<Option<(usize, Vec<i16>)>, PipelineError> {
        let mut slice = vec![0.0; volume.slice_len()];
        let Some(index) = volume.next_into(&mut slice)? else { return Ok(None) };
        let whole = |voxel: &f32| {
            let number = *voxel as i16;
            if f32::from(number) == *voxel { Ok(number) } else { Err(BoardError::Voxel(*voxel)) }
        };
        let voxels = slice.iter().map(whole).collect::<Result<_, _>>();
        let voxels = voxels.map_err(|error| failed(self.link.port(), index, error))?;
        Ok(Some((index, voxels)))
    }

    /// The labels of a slice.
    fn labels(
        &mut self,
        slice: u16,
        labels: &mut [u8],
        interrupted: &AtomicBool,
    ) -> Result<(), BoardError> {
        // What the board says of damaged parts is heard before its answer to this. The long
        // question then meets no error but its own.
        self.insist("hello", Request::Hello, interrupted, |answer| {
            matches!(answer, Answer::About { .. }).then_some(())
        })?;
        let mut arrived = vec![false; labels.len().div_ceil(LABELS)];
        self.insist("segment", Request::Segment { slice }, interrupted, |answer| {
            let Answer::Labels { slice: own, part, labels: found } = answer else { return None };
            let place = labels.chunks_mut(LABELS).nth(part.into());
            let place = place.filter(|place| own == slice && place.len() == found.len())?;
            place.copy_from_slice(found);
            arrived[usize::from(part)] = true;
            arrived.iter().all(|there| *there).then_some(())
        })
    }
}

impl Device for Remote {
    fn name(&self) -> String {
        format!("board at {}", self.link.port())
    }

    fn segment(
        &mut self,
        volume: &mut SliceSource,
        fit: &Fit,
        interrupted: &AtomicBool,
        write: &mut dyn FnMut(Labelled) -> Result<(), OutputError>,
    ) -> Result<(), PipelineError> {
        let geometry = *volume.geometry();
        let begun = self.check(fit, geometry.size[2]).and_then(|[width, height, slices]| {
            let [x, y, _] = geometry.spacing;
            let request = Request::Begin { size: [width, height], slices, spacing: [x, y] };
            self.state("begin", request, interrupted)
        });
        let state = begun.map_err(|error| failed(self.link.port(), 0, error))?;
        self.count(volume, state, interrupted)?;

        let mut labels = vec![0; fit.size().area()];
        // Slices that were sent and whose labels are still to come, in the volume's order.
        let mut waiting = std::collections::VecDeque::new();
        let (mut arrived, slices) = (0, geometry.size[2]);
        while let Some((index, voxels)) = self.read(volume)? {
            arrived += 1;
            waiting.push_back(index);
            self.send(index as u16, voxels)
                .map_err(|error| failed(self.link.port(), index, error))?;
            while waiting.len() > self.neighbours || arrived == slices {
                let Some(index) = waiting.pop_front() else { break };
                self.labels(index as u16, &mut labels, interrupted)
                    .map_err(|error| failed(self.link.port(), index, error))?;
                write(Labelled { index, labels: &labels, thumbnail: &[] })?;
            }
        }
        Ok(())
    }
}

/// The pipeline's error of a slice.
fn failed(port: &str, slice: usize, error: BoardError) -> PipelineError {
    match error {
        BoardError::Interrupted => PipelineError::Interrupted,
        error => PipelineError::Device { device: port.to_owned(), slice, source: error.into() },
    }
}
