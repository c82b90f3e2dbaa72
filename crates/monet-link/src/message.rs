//! Messages: what a frame's kind, tag and body say. The crate's own page has the tables.

/// Most voxels of a part of a slice.
pub const VOXELS: usize = 256;
/// Most labels of a part of a slice's labels.
pub const LABELS: usize = 512;

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const BEGIN: u8 = 0x02;
    pub(super) const PART: u8 = 0x03;
    pub(super) const COUNT: u8 = 0x04;
    pub(super) const SEGMENT: u8 = 0x05;
    pub(super) const ABOUT: u8 = 0x81;
    pub(super) const STATE: u8 = 0x82;
    pub(super) const LABELS: u8 = 0x83;
    pub(super) const ERROR: u8 = 0x8f;
}

/// A message that is whole and says nothing that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no known message: kind {kind:#04x}, {len} bytes of body")]
pub struct Malformed {
    /// Its kind.
    pub kind: u8,
    /// Bytes of its body.
    pub len: usize,
}

/// Voxels as they lie in a message, two bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voxels<'a>(&'a [[u8; 2]]);

impl<'a> Voxels<'a> {
    /// Voxels, low byte first.
    #[must_use]
    pub fn new(voxels: &'a [[u8; 2]]) -> Self {
        Self(voxels)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = i16> + use<'a> {
        self.0.iter().map(|voxel| i16::from_le_bytes(*voxel))
    }
}

/// What a host asks.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// What the board is.
    Hello,
    /// To forget the volume before, and take this one.
    Begin {
        /// Width and height of a slice.
        size: [u16; 2],
        /// How many there are.
        slices: u16,
        /// Millimetres along both.
        spacing: [f64; 2],
    },
    /// To keep a part of a slice.
    Part {
        /// Which slice.
        slice: u16,
        /// Which of its parts of [`VOXELS`].
        part: u16,
        /// Its voxels.
        voxels: Voxels<'a>,
    },
    /// To take a slice into the statistics.
    Count {
        /// Which pass over the volume.
        pass: u16,
        /// Which slice: they come in order.
        slice: u16,
    },
    /// The labels of a slice.
    Segment {
        /// Which.
        slice: u16,
    },
}

/// What a board answers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Answer<'a> {
    /// What it is.
    About {
        /// [`VERSION`](super::VERSION).
        version: u8,
        /// Channels of a slice.
        channels: u8,
        /// Neighbours on either side of a slice that the net sees.
        neighbours: u8,
        /// Height and width of the net's slices.
        net: [u16; 2],
        /// Voxels, all channels together, of the largest slice that it keeps.
        voxels: u32,
        /// CRC-32 of the manifest of its package.
        manifest: u32,
    },
    /// How far the statistics are.
    State {
        /// The pass.
        pass: u16,
        /// The slice that it counts next.
        next: u16,
        /// Whether it wants that pass; where not, it segments.
        wanted: bool,
    },
    /// Labels.
    Labels {
        /// Of which slice.
        slice: u16,
        /// Which of its parts of [`LABELS`].
        part: u16,
        /// One a pixel.
        labels: &'a [u8],
    },
    /// Why there is no other answer.
    Error {
        /// Why.
        fault: Fault,
        /// The slice that it is about; 0 where it is about none.
        slice: u16,
    },
}

/// Why a board does not do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
#[non_exhaustive]
pub enum Fault {
    /// A frame was damaged on its way.
    #[error("a frame was damaged on its way")]
    Frame = 1,
    /// A frame was whole and held no request.
    #[error("it does not know this request: it may be older or newer than this program")]
    Unknown = 2,
    /// No volume was begun.
    #[error("no volume was begun: it may have been started anew")]
    Idle = 3,
    /// The slices are of a size for which it has no memory, or no plan.
    #[error("it has no plan or no memory for slices of this size")]
    Size = 4,
    /// There is no such slice, part or pass.
    #[error("there is no such slice, part or pass")]
    Range = 5,
    /// A slice that it needs is not there as a whole.
    #[error("a slice did not arrive as a whole")]
    Missing = 6,
    /// The statistics want other slices before.
    #[error("the statistics are not complete")]
    Early = 7,
    /// The plan does not run: its bytes have changed since the board was started.
    #[error("its plan was changed in memory: start it anew")]
    Plan = 8,
}

impl Fault {
    fn of(code: u8) -> Option<Self> {
        let all = [
            Self::Frame,
            Self::Unknown,
            Self::Idle,
            Self::Size,
            Self::Range,
            Self::Missing,
            Self::Early,
            Self::Plan,
        ];
        all.into_iter().find(|fault| *fault as u8 == code)
    }
}

/// Writes a message into memory.
struct Pen<'m> {
    memory: &'m mut [u8],
    len: usize,
}

impl Pen<'_> {
    fn put(mut self, bytes: &[u8]) -> Self {
        if let Some(place) = self.memory.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
        self
    }

    fn numbers<const N: usize>(self, numbers: [u16; N]) -> Self {
        numbers.into_iter().fold(self, |pen, number| pen.put(&number.to_le_bytes()))
    }
}

/// Reads a body.
#[derive(Clone, Copy)]
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    /// The value, where nothing is left.
    fn all<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Kind, tag and body of a message.
fn open(message: &[u8]) -> (u8, u8, Body<'_>) {
    match message {
        [kind, tag, body @ ..] => (*kind, *tag, Body(body)),
        _ => (0, 0, Body(&[])),
    }
}

impl<'a> Request<'a> {
    /// The request's message, in `memory` of at least [`CONTENT`](super::CONTENT) bytes.
    pub fn encode(self, tag: u8, memory: &mut [u8]) -> &[u8] {
        let pen = Pen { memory, len: 0 };
        let start = |kind| pen.put(&[kind, tag]);
        let pen = match self {
            Self::Hello => start(kind::HELLO),
            Self::Begin { size: [width, height], slices, spacing } => {
                let pen = start(kind::BEGIN).numbers([width, height, slices]);
                spacing.into_iter().fold(pen, |pen, mm| pen.put(&mm.to_le_bytes()))
            }
            Self::Part { slice, part, voxels } => {
                let pen = start(kind::PART).numbers([slice, part]);
                pen.put(voxels.0.as_flattened())
            }
            Self::Count { pass, slice } => start(kind::COUNT).numbers([pass, slice]),
            Self::Segment { slice } => start(kind::SEGMENT).numbers([slice]),
        };
        let Pen { memory, len } = pen;
        memory.get(..len).unwrap_or_default()
    }

    /// The request of a message, and its tag.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn decode(message: &'a [u8]) -> Result<(Self, u8), Malformed> {
        let (kind, tag, body) = open(message);
        let known = Self::of(kind, body);
        known.map(|request| (request, tag)).ok_or(Malformed { kind, len: body.0.len() })
    }

    fn of(kind: u8, mut body: Body<'a>) -> Option<Self> {
        match kind {
            kind::HELLO => body.all(Self::Hello),
            kind::BEGIN => {
                let size = [body.number()?, body.number()?];
                let slices = body.number()?;
                let spacing = [body.take()?, body.take()?].map(f64::from_le_bytes);
                body.all(Self::Begin { size, slices, spacing })
            }
            kind::PART => {
                let (slice, part) = (body.number()?, body.number()?);
                let (voxels, rest) = body.0.as_chunks();
                let whole = rest.is_empty() && (1..=VOXELS).contains(&voxels.len());
                whole.then_some(Self::Part { slice, part, voxels: Voxels(voxels) })
            }
            kind::COUNT => {
                let (pass, slice) = (body.number()?, body.number()?);
                body.all(Self::Count { pass, slice })
            }
            kind::SEGMENT => {
                let slice = body.number()?;
                body.all(Self::Segment { slice })
            }
            _ => None,
        }
    }
}

impl<'a> Answer<'a> {
    /// The answer's message, in `memory` of at least [`CONTENT`](super::CONTENT) bytes.
    pub fn encode(self, tag: u8, memory: &mut [u8]) -> &[u8] {
        let pen = Pen { memory, len: 0 };
        let start = |kind| pen.put(&[kind, tag]);
        let pen = match self {
            Self::About { version, channels, neighbours, net, voxels, manifest } => {
                let pen = start(kind::ABOUT).put(&[version, channels, neighbours]).numbers(net);
                pen.put(&voxels.to_le_bytes()).put(&manifest.to_le_bytes())
            }
            Self::State { pass, next, wanted } => {
                start(kind::STATE).numbers([pass, next]).put(&[wanted.into()])
            }
            Self::Labels { slice, part, labels } => {
                start(kind::LABELS).numbers([slice, part]).put(labels)
            }
            Self::Error { fault, slice } => start(kind::ERROR).put(&[fault as u8]).numbers([slice]),
        };
        let Pen { memory, len } = pen;
        memory.get(..len).unwrap_or_default()
    }

    /// The answer of a message, and its tag.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn decode(message: &'a [u8]) -> Result<(Self, u8), Malformed> {
        let (kind, tag, body) = open(message);
        let known = Self::of(kind, body);
        known.map(|answer| (answer, tag)).ok_or(Malformed { kind, len: body.0.len() })
    }

    fn of(kind: u8, mut body: Body<'a>) -> Option<Self> {
        match kind {
            kind::ABOUT => {
                let [version, channels, neighbours] = body.take()?;
                let net = [body.number()?, body.number()?];
                let [voxels, manifest] = [body.take()?, body.take()?].map(u32::from_le_bytes);
                body.all(Self::About { version, channels, neighbours, net, voxels, manifest })
            }
            kind::STATE => {
                let (pass, next, [wanted]) = (body.number()?, body.number()?, body.take()?);
                body.all(Self::State { pass, next, wanted: wanted != 0 })
            }
            kind::LABELS => {
                let (slice, part, labels) = (body.number()?, body.number()?, body.0);
                let some = (1..=LABELS).contains(&labels.len());
                some.then_some(Self::Labels { slice, part, labels })
            }
            kind::ERROR => {
                let [code] = body.take()?;
                let (fault, slice) = (Fault::of(code)?, body.number()?);
                body.all(Self::Error { fault, slice })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CONTENT;
    use super::*;

    #[test]
    fn requests_and_answers_come_back() {
        let mut memory = [0; CONTENT];
        for (tag, request) in [
            Request::Hello,
            Request::Begin { size: [300, 200], slices: 52, spacing: [0.5, 1.25] },
            Request::Part { slice: 700, part: 3, voxels: Voxels(&[[0xff, 0x7f], [0, 0x80]]) },
            Request::Count { pass: 1, slice: 51 },
            Request::Segment { slice: 9 },
        ]
        .into_iter()
        .enumerate()
        {
            let message = request.encode(tag as u8, &mut memory);
            assert_eq!(Request::decode(message), Ok((request, tag as u8)));
            assert!(Answer::decode(message).is_err());
            assert!(Request::decode(&message[..message.len() - 1]).is_err());
        }
        let about = Answer::About {
            version: 1,
            channels: 2,
            neighbours: 4,
            net: [48, 64],
            voxels: 1 << 20,
            manifest: 0xdead_beef,
        };
        let labels = Answer::Labels { slice: 4, part: 5, labels: &[1; LABELS] };
        let error = Answer::Error { fault: Fault::Missing, slice: 12 };
        for answer in [about, Answer::State { pass: 1, next: 2, wanted: true }, labels, error] {
            assert_eq!(Answer::decode(answer.encode(8, &mut memory)), Ok((answer, 8)));
        }
    }

    #[test]
    fn the_longest_messages_fit_into_a_frame() {
        let mut memory = [0; CONTENT];
        let voxels = Voxels(&[[7, 8]; VOXELS]);
        let part = Request::Part { slice: 1, part: 2, voxels };
        assert_eq!(Request::decode(part.encode(3, &mut memory)), Ok((part, 3)));
        let labels = Answer::Labels { slice: 1, part: 2, labels: &[9; LABELS] };
        assert_eq!(Answer::decode(labels.encode(3, &mut memory)), Ok((labels, 3)));
    }
}
