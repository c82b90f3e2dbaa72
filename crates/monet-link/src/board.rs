//! The board's side: keeps slices, counts them, runs the net.

use monet_core::prepare::normalise::{ChannelStats, Map};
use monet_core::prepare::{Fit, LEAST_BINS, Normalise, RawSlices, Recipe, Scaling};
use monet_core::{Plan, Size};

use super::frame::{CONTENT, Damage, Writer, crc32};
use super::message::{Answer, Fault, LABELS, Request, VOXELS, Voxels};

/// Most channels of a slice.
const CHANNELS: usize = 4;
/// Most slices that a net sees at once.
const SLICES: usize = 2 * Recipe::MAX_NEIGHBOURS + 1;
/// Most parts of a slice.
const PARTS: usize = 1024;

/// Memory for a [`Board`].
#[derive(Debug)]
pub struct Memory<'m> {
    /// At least [`Image::arena_len`](monet_core::Image::arena_len) bytes.
    pub arena: &'m mut [u8],
    /// Room for as many slices as the net sees at once, all channels of each.
    pub slices: &'m mut [i16],
    /// The net's labels: height × width of the plan.
    pub net: &'m mut [u8],
    /// A slice's labels: as many as a slice has pixels.
    pub labels: &'m mut [u8],
}

/// Why a plan and memory make no board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The plan does not say how slices are prepared.
    #[error("the plan has no recipe: make it with monet compile")]
    Recipe,
    /// Slices have too many channels.
    #[error("slices of {0} channels, at most {CHANNELS} are taken")]
    Channels(usize),
    /// Some memory is too short.
    #[error("memory for {what} has {found} elements, the plan needs {expected}")]
    Memory {
        /// What is kept there.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The least length.
        expected: usize,
    },
}

/// A slice that is arriving, or is there.
#[derive(Debug, Clone, Copy)]
struct Slot {
    slice: u16,
    /// Parts that are there: a bit each.
    parts: [u32; PARTS / 32],
}

impl Slot {
    const EMPTY: Self = Self { slice: 0, parts: [0; PARTS / 32] };

    /// Marks a part of a slice; what was there of another slice is forgotten.
    fn mark(&mut self, slice: u16, part: usize) {
        if self.slice != slice {
            *self = Self { slice, ..Self::EMPTY };
        }
        if let Some(word) = self.parts.get_mut(part / 32) {
            *word |= 1 << (part % 32);
        }
    }

    /// Whether so many parts of a slice are there.
    fn has(&self, slice: u16, parts: usize) -> bool {
        let found: u32 = self.parts.iter().map(|word| word.count_ones()).sum();
        self.slice == slice && found as usize == parts
    }
}

/// Answers requests by a plan.
#[derive(Debug)]
pub struct Board<'m> {
    plan: Plan<'m>,
    recipe: Recipe,
    memory: Memory<'m>,
    slots: [Slot; SLICES],
    /// Of the volume that was begun.
    fit: Option<Fit>,
    slices: u16,
    stats: [ChannelStats<[u32; LEAST_BINS]>; CHANNELS],
    pass: u16,
    next: u16,
    writer: Writer,
}

/// What takes the bytes of an answer.
type Send<'s> = &'s mut dyn FnMut(&[u8]);

impl<'m> Board<'m> {
    /// A board that no volume was begun on.
    ///
    /// # Errors
    /// [`Unfit`]
    pub fn new(plan: Plan<'m>, memory: Memory<'m>) -> Result<Self, Unfit> {
        let recipe = plan.recipe().ok_or(Unfit::Recipe)?;
        if recipe.channels > CHANNELS {
            return Err(Unfit::Channels(recipe.channels));
        }
        let pixels = plan.output_size().area();
        let least = pixels * recipe.channels * recipe.slices();
        for (what, found, expected) in [
            ("the arena", memory.arena.len(), plan.arena_len()),
            ("slices", memory.slices.len(), least),
            ("the net's labels", memory.net.len(), pixels),
            ("labels", memory.labels.len(), pixels),
        ] {
            if found < expected {
                return Err(Unfit::Memory { what, found, expected });
            }
        }
        let stats = core::array::from_fn(|_| stats(recipe));
        let slots = [Slot::EMPTY; SLICES];
        let writer = Writer::new();
        Ok(Self {
            plan,
            recipe,
            memory,
            slots,
            fit: None,
            slices: 0,
            stats,
            pass: 0,
            next: 0,
            writer,
        })
    }

    /// Does what a frame asks, as a [`Reader`](super::Reader) gives it, and sends the frames of the
    /// answer.
    pub fn answer(&mut self, frame: Result<&[u8], Damage>, send: Send) {
        let fault = match frame.map(Request::decode) {
            Ok(Ok((request, tag))) => {
                let done = self.follow(request, tag, send);
                done.err().map(|(fault, slice)| (fault, slice, tag))
            }
            Ok(Err(_)) => Some((Fault::Unknown, 0, 0)),
            Err(_) => Some((Fault::Frame, 0, 0)),
        };
        if let Some((fault, slice, tag)) = fault {
            self.send(Answer::Error { fault, slice }, tag, send);
        }
    }

    fn follow(&mut self, request: Request, tag: u8, send: Send) -> Result<(), (Fault, u16)> {
        match request {
            Request::Hello => self.send(self.about(), tag, send),
            Request::Begin { size, slices, spacing } => {
                self.begin(size, slices, spacing).map_err(|fault| (fault, 0))?;
                self.send(self.state(), tag, send);
            }
            Request::Part { slice, part, voxels } => {
                self.keep(slice, part.into(), voxels).map_err(|fault| (fault, slice))?;
            }
            Request::Count { pass, slice } => {
                self.count(pass, slice).map_err(|fault| (fault, slice))?;
                self.send(self.state(), tag, send);
            }
            Request::Segment { slice } => {
                let pixels = self.segment(slice)?;
                self.send_labels(slice, pixels, tag, send);
            }
        }
        Ok(())
    }

    fn send(&mut self, answer: Answer, tag: u8, send: Send) {
        send(self.writer.frame(answer.encode(tag, &mut [0; CONTENT])));
    }

    fn send_labels(&mut self, slice: u16, pixels: usize, tag: u8, send: Send) {
        let Self { memory, writer, .. } = self;
        let labels = memory.labels.get(..pixels).unwrap_or_default();
        for (part, labels) in (0..).zip(labels.chunks(LABELS)) {
            let answer = Answer::Labels { slice, part, labels };
            send(writer.frame(answer.encode(tag, &mut [0; CONTENT])));
        }
    }

    fn about<'a>(&self) -> Answer<'a> {
        let Size { height, width } = self.plan.size();
        Answer::About {
            version: super::VERSION,
            channels: self.recipe.channels as u8,
            neighbours: self.recipe.neighbours as u8,
            net: [height, width].map(|side| side as u16),
            voxels: self.room() as u32,
            manifest: crc32(self.plan.attachment()),
        }
    }

    fn state<'a>(&self) -> Answer<'a> {
        Answer::State { pass: self.pass, next: self.next, wanted: self.wanted() }
    }

    /// Voxels of the largest slice.
    fn room(&self) -> usize {
        let kept = self.memory.slices.len().checked_div(self.recipe.slices()).unwrap_or(0);
        kept.min(self.memory.labels.len() * self.recipe.channels).min(PARTS * VOXELS)
    }

    /// Whether a pass over the volume is wanted.
    fn wanted(&self) -> bool {
        let each_slice = matches!(self.recipe.normalise, Normalise::SlicePercentiles { .. });
        let mut channels = self.stats.iter().take(self.recipe.channels);
        !each_slice && channels.any(ChannelStats::wants_pass)
    }

    fn begin(&mut self, size: [u16; 2], slices: u16, spacing: [f64; 2]) -> Result<(), Fault> {
        self.fit = None;
        let [width, height] = size.map(usize::from);
        let channels = self.recipe.channels;
        let fit = Fit::new(self.recipe, channels, Size::new(height, width), spacing);
        let fit = fit.map_err(|_| Fault::Size)?;
        let voxels = channels * width * height;
        if fit.net_size() != self.plan.size() || voxels > self.room() || slices == 0 {
            return Err(Fault::Size);
        }
        self.stats.iter_mut().for_each(|channel| *channel = stats(self.recipe));
        self.slots = [Slot::EMPTY; SLICES];
        (self.fit, self.slices, self.pass, self.next) = (Some(fit), slices, 0, 0);
        Ok(())
    }

    /// The fit, where a volume was begun that has such a slice.
    fn fit_of(&self, slice: u16) -> Result<Fit, Fault> {
        let fit = self.fit.ok_or(Fault::Idle)?;
        if slice < self.slices { Ok(fit) } else { Err(Fault::Range) }
    }

    fn place(&self, slice: u16) -> usize {
        usize::from(slice).checked_rem(self.recipe.slices()).unwrap_or(0)
    }

    /// Whether all of a slice is there.
    fn has(&self, slice: u16, voxels: usize) -> bool {
        let slot = self.slots.get(self.place(slice));
        slot.is_some_and(|slot| slot.has(slice, voxels.div_ceil(VOXELS)))
    }

    fn keep(&mut self, slice: u16, part: usize, voxels: Voxels) -> Result<(), Fault> {
        let len = self.recipe.channels * self.fit_of(slice)?.size().area();
        let (place, first) = (self.place(slice), part * VOXELS);
        if first >= len || voxels.len() != VOXELS.min(len - first) {
            return Err(Fault::Range);
        }
        let start = place * len + first;
        let to = self.memory.slices.get_mut(start..start + voxels.len()).ok_or(Fault::Range)?;
        to.iter_mut().zip(voxels.iter()).for_each(|(to, voxel)| *to = voxel);
        self.slots.get_mut(place).ok_or(Fault::Range)?.mark(slice, part);
        Ok(())
    }

    /// Takes a slice into the statistics, where it is the one that comes next.
    fn count(&mut self, pass: u16, slice: u16) -> Result<(), Fault> {
        let pixels = self.fit_of(slice)?.size().area();
        if !self.wanted() || (pass, slice) != (self.pass, self.next) {
            return Ok(());
        }
        let len = pixels * self.recipe.channels;
        if !self.has(slice, len) {
            return Err(Fault::Missing);
        }
        let start = self.place(slice) * len;
        let voxels = self.memory.slices.get(start..start + len).ok_or(Fault::Range)?;
        for (stats, channel) in self.stats.iter_mut().zip(voxels.chunks_exact(pixels.max(1))) {
            if stats.wants_pass() {
                stats.add(Scaling::NONE.values(channel));
            }
        }
        self.next += 1;
        if self.next == self.slices {
            let channels = self.stats.iter_mut().take(self.recipe.channels);
            channels.filter(|stats| stats.wants_pass()).for_each(ChannelStats::end_pass);
            (self.pass, self.next) = (self.pass.saturating_add(1), 0);
            // The next pass may give the slices other numbers.
            self.slots = [Slot::EMPTY; SLICES];
        }
        Ok(())
    }

    /// Leaves a slice's labels in memory: so many.
    fn segment(&mut self, slice: u16) -> Result<usize, (Fault, u16)> {
        let fit = self.fit_of(slice).map_err(|fault| (fault, slice))?;
        if self.wanted() {
            return Err((Fault::Early, slice));
        }
        let (pixels, seen, last) = (fit.size().area(), self.recipe.slices(), self.slices - 1);
        let len = pixels * self.recipe.channels;
        let first = i32::from(slice) - self.recipe.neighbours as i32;
        let around = (first..).take(seen).map(|near| near.clamp(0, last.into()) as u16);
        if let Some(missing) = around.clone().find(|near| !self.has(*near, len)) {
            return Err((Fault::Missing, missing));
        }
        let Self { memory: Memory { arena, slices: kept, net, labels }, .. } = self;
        let mut slices: [&[i16]; SLICES] = [&[]; SLICES];
        let fault = (Fault::Size, slice);
        for (near, voxels) in around.zip(&mut slices) {
            let start = usize::from(near).checked_rem(seen).unwrap_or(0) * len;
            *voxels = kept.get(start..start + len).ok_or(fault)?;
        }
        let slices = slices.get(..seen).ok_or(fault)?;
        let mut maps = [Map::unit(0.0, 0.0); CHANNELS * SLICES];
        let maps = self::maps(self.recipe, &self.stats, slices, &mut maps);
        let input = RawSlices::new(fit, slices, Scaling::NONE, maps).map_err(|_| fault)?;
        let net = net.get_mut(..fit.net_size().area()).ok_or(fault)?;
        let labels = labels.get_mut(..pixels).ok_or(fault)?;
        self.plan.run_input(arena, &input, net).map_err(|_| (Fault::Plan, slice))?;
        fit.restore(net, labels).map_err(|_| fault)?;
        Ok(pixels)
    }
}

/// The maps of the volume's channels, or of each slice's.
fn maps<'a>(
    recipe: Recipe,
    volume: &[ChannelStats<[u32; LEAST_BINS]>],
    slices: &[&[i16]],
    maps: &'a mut [Map],
) -> &'a [Map] {
    if !matches!(recipe.normalise, Normalise::SlicePercentiles { .. }) {
        let maps = maps.get_mut(..recipe.channels).unwrap_or_default();
        maps.iter_mut().zip(volume).for_each(|(map, stats)| *map = stats.map());
        return maps;
    }
    let planes = slices.iter().flat_map(|slice| {
        let pixels = slice.len().checked_div(recipe.channels).unwrap_or(0);
        slice.chunks_exact(pixels.max(1))
    });
    for (map, plane) in maps.iter_mut().zip(planes) {
        let mut stats = stats(recipe);
        while stats.wants_pass() {
            stats.add(Scaling::NONE.values(plane));
            stats.end_pass();
        }
        *map = stats.map();
    }
    maps.get(..recipe.channels * slices.len()).unwrap_or_default()
}

/// Statistics of no voxels.
fn stats(recipe: Recipe) -> ChannelStats<[u32; LEAST_BINS]> {
    ChannelStats::new(recipe.normalise, [0; LEAST_BINS])
}
