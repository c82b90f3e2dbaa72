//! Host and board over a line in memory: frame by frame, and with noise.

use monet_core::TensorId;
use monet_core::prepare::normalise::ChannelStats;
use monet_core::prepare::{Fit, FitRule, LEAST_BINS, Normalise, RawSlices, Recipe, Scaling};
use monet_core::{Convolution, Image, Kernel, Operation, Output, Plan, Quant, QuantGraph, Size};
use monet_link::{Answer, Board, CONTENT, Fault, LABELS, Memory, Reader, Request, VOXELS, Voxels};
use monet_link::{Unfit, WIRE, Writer};
use monet_testing::Random;

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const SLICES: u16 = 5;

/// One logit: the slices between which a pixel lies, each with a weight of its own, so that their
/// order counts.
fn net(slices: usize) -> QuantGraph {
    let mut graph = QuantGraph::new(slices, Quant { scale: 1.0 / 255.0, zero_point: 0 });
    let weights: Vec<i8> = if slices == 1 { vec![100] } else { vec![40, 120, -60] };
    let half: i32 = weights.iter().map(|weight| i32::from(*weight) * 128).sum();
    let head = Convolution {
        cout: 1,
        kernel: [1, 1],
        weights,
        scales: vec![1.0],
        bias: vec![-half],
        ..Convolution::default()
    };
    graph.push("head", Operation::Logits { inputs: vec![TensorId(0)], conv: head });
    graph.output = Output::Sigmoid { threshold: 0.5 };
    graph
}

/// A plan with a recipe, for slices of one channel between neighbours.
fn image(neighbours: usize, normalise: Normalise) -> Image<'static> {
    let recipe = Recipe {
        channels: 1,
        neighbours,
        size: Size::new(SIDE, SIDE),
        ceiling: 64,
        step: 4,
        normalise,
        fit: FitRule::Pad { spacing: [1.0, 1.0] },
    };
    let image = Image::compile(
        &net(2 * neighbours + 1),
        Size::new(SIDE, SIDE),
        Kernel::Scalar,
        b"manifest",
    );
    image.expect("a plan").with_recipe(&recipe).expect("its recipe")
}

const PERCENTILES: Normalise = Normalise::Percentiles { low: 0.5, high: 99.5 };

/// Slices with structure, so that labels are not all alike.
fn slices(random: &mut Random) -> Vec<Vec<i16>> {
    let voxel = |i: usize, noise: f32| {
        let (x, y) = ((i % SIDE) as f32, (i / SIDE) as f32);
        (400.0 * ((x * 0.4).sin() + (y * 0.3).cos()) + 300.0 * noise) as i16
    };
    let mut slice = || (0..PIXELS).map(|i| voxel(i, random.unit())).collect();
    (0..SLICES).map(|_| slice()).collect()
}

/// The labels that the engine finds, without a line.
fn expected(image: &Image, slices: &[Vec<i16>]) -> Vec<Vec<u8>> {
    let plan = Plan::try_from(image.clone()).expect("the portable kernel");
    let recipe = plan.recipe().expect("a recipe");
    let fit = Fit::new(recipe, 1, Size::new(SIDE, SIDE), [1.0, 1.0]).expect("it fits");
    let mut stats = ChannelStats::new(recipe.normalise, [0_u32; LEAST_BINS]);
    while stats.wants_pass() {
        slices.iter().for_each(|slice| stats.add(Scaling::NONE.values(slice)));
        stats.end_pass();
    }
    let (maps, mut arena) = ([stats.map()], vec![0; plan.arena_len()]);
    let label = |i: usize| {
        let near = |d: usize| (i + d).saturating_sub(recipe.neighbours).min(slices.len() - 1);
        let around: Vec<&[i16]> = (0..fit.slices()).map(|d| &slices[near(d)][..]).collect();
        let input = RawSlices::new(fit, &around, Scaling::NONE, &maps).expect("slices");
        let mut labels = vec![0; PIXELS];
        plan.run_input(&mut arena, &input, &mut labels).expect("it runs");
        labels
    };
    (0..slices.len()).map(label).collect()
}

/// Memory of a board, for slices of `SIDE`.
struct Buffers {
    arena: Vec<u8>,
    slices: Vec<i16>,
    net: Vec<u8>,
    labels: Vec<u8>,
}

impl Buffers {
    fn new(image: &Image) -> Self {
        let arena = vec![0; image.arena_len()];
        Self { arena, slices: vec![0; 3 * PIXELS], net: vec![0; PIXELS], labels: vec![0; PIXELS] }
    }

    fn board<'m>(&'m mut self, image: &'m Image) -> Result<Board<'m>, Unfit> {
        let plan = Plan::try_from(image.clone()).expect("the portable kernel");
        let Self { arena, slices, net, labels } = self;
        Board::new(plan, Memory { arena, slices, net, labels })
    }
}

/// A line to a board: bytes go over one by one, and are spoilt where it is told so.
struct Line<'m> {
    board: Board<'m>,
    theirs: Reader,
    ours: Reader,
    random: Random,
    /// One byte in so many is dropped, flipped or repeated; none where it is 0.
    spoilt: usize,
    tag: u8,
}

/// An answer that owns its labels.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    About { neighbours: u8, net: [u16; 2], voxels: u32, manifest: u32 },
    State { pass: u16, next: u16, wanted: bool },
    Labels { part: u16, labels: Vec<u8> },
    Error { fault: Fault, slice: u16 },
}

impl Heard {
    fn of(answer: Answer) -> Self {
        match answer {
            Answer::About { neighbours, net, voxels, manifest, .. } => {
                Self::About { neighbours, net, voxels, manifest }
            }
            Answer::State { pass, next, wanted } => Self::State { pass, next, wanted },
            Answer::Labels { part, labels, .. } => Self::Labels { part, labels: labels.to_vec() },
            Answer::Error { fault, slice } => Self::Error { fault, slice },
            _ => panic!("an answer that this test does not know"),
        }
    }
}

impl<'m> Line<'m> {
    fn new(board: Board<'m>, spoilt: usize) -> Self {
        let random = Random(42);
        Self { board, theirs: Reader::new(), ours: Reader::new(), random, spoilt, tag: 0 }
    }

    /// The byte as the line carries it: not at all, once or twice.
    fn carry(random: &mut Random, spoilt: usize, byte: u8, to: &mut Vec<u8>) {
        if spoilt == 0 || (random.unit() * spoilt as f32) as usize != 0 {
            return to.push(byte);
        }
        match (random.unit() * 3.0) as usize {
            0 => {}
            1 => to.push(byte ^ (1 << ((random.unit() * 8.0) as u32 % 8))),
            _ => to.extend([byte, byte]),
        }
    }

    /// Sends bytes; what comes back, with its tag.
    fn send(&mut self, bytes: &[u8]) -> Vec<(Heard, u8)> {
        let Self { board, theirs, ours, random, spoilt, .. } = self;
        let (mut there, mut back) = (Vec::new(), Vec::new());
        bytes.iter().for_each(|byte| Self::carry(random, *spoilt, *byte, &mut there));
        for byte in there {
            if let Some(frame) = theirs.push(byte) {
                board.answer(frame, &mut |wire| {
                    wire.iter().for_each(|byte| Self::carry(random, *spoilt, *byte, &mut back));
                });
            }
        }
        let mut heard = Vec::new();
        for byte in back {
            if let Some(Ok(message)) = ours.push(byte)
                && let Ok((answer, tag)) = Answer::decode(message)
            {
                heard.push((Heard::of(answer), tag));
            }
        }
        heard
    }

    fn tell(&mut self, request: Request) -> Vec<(Heard, u8)> {
        let message = request.encode(self.tag, &mut [0; CONTENT]).to_vec();
        self.send(Writer::new().frame(&message))
    }

    /// The answers that a request gets, those of other requests left out.
    fn ask(&mut self, request: Request) -> Vec<Heard> {
        self.tag = self.tag % 255 + 1;
        let heard = self.tell(request);
        heard.into_iter().filter(|(_, tag)| *tag == self.tag).map(|(answer, _)| answer).collect()
    }

    fn parts(&mut self, number: u16, slice: &[i16]) {
        for (part, voxels) in (0..).zip(slice.chunks(VOXELS)) {
            let voxels: Vec<[u8; 2]> = voxels.iter().map(|voxel| voxel.to_le_bytes()).collect();
            self.tell(Request::Part { slice: number, part, voxels: Voxels::new(&voxels) });
        }
    }

    /// Asks again until there is an answer that is no error; sends the slices that are missing.
    fn insist(&mut self, request: Request, slices: &[Vec<i16>]) -> Vec<Heard> {
        for _ in 0..200 {
            let heard = self.ask(request);
            match heard[..] {
                [Heard::Error { fault: Fault::Missing, slice }] => {
                    self.parts(slice, &slices[usize::from(slice)]);
                }
                [Heard::Error { .. }] | [] => {}
                [..] => return heard,
            }
        }
        panic!("no answer to {request:?}")
    }

    fn begin(&mut self, slices: &[Vec<i16>]) -> Heard {
        let size = [SIDE as u16; 2];
        let request = Request::Begin { size, slices: SLICES, spacing: [1.0, 1.0] };
        self.insist(request, slices).remove(0)
    }

    /// A whole volume, as the host does it.
    fn segment(&mut self, slices: &[Vec<i16>]) -> Vec<Vec<u8>> {
        let mut state = self.begin(slices);
        while let Heard::State { pass, next, wanted: true } = state {
            self.parts(next, &slices[usize::from(next)]);
            state = self.insist(Request::Count { pass, slice: next }, slices).remove(0);
        }
        (0..SLICES).map(|slice| self.labels(slice, slices)).collect()
    }

    fn labels(&mut self, slice: u16, slices: &[Vec<i16>]) -> Vec<u8> {
        loop {
            let mut found = vec![None; PIXELS.div_ceil(LABELS)];
            for heard in self.insist(Request::Segment { slice }, slices) {
                if let Heard::Labels { part, labels } = heard {
                    found[usize::from(part)] = Some(labels);
                }
            }
            if let Some(found) = found.into_iter().collect::<Option<Vec<_>>>() {
                return found.concat();
            }
        }
    }
}

#[test]
fn labels_come_back_as_the_engine_finds_them() {
    for (neighbours, normalise) in [
        (1, PERCENTILES),
        (0, Normalise::Window { low: -300.0, high: 500.0 }),
        (1, Normalise::ZScore { clip: 3.0 }),
    ] {
        let image = image(neighbours, normalise);
        let slices = slices(&mut Random(7));
        let want = expected(&image, &slices);
        assert!(want.concat().iter().any(|label| *label != want[0][0]), "labels differ");
        let mut buffers = Buffers::new(&image);
        let mut line = Line::new(buffers.board(&image).expect("a board"), 0);
        assert_eq!(line.segment(&slices), want, "{normalise:?}");
    }
}

#[test]
fn slices_that_are_normalised_each_by_itself_need_no_pass() {
    let image = image(0, Normalise::SlicePercentiles { low: 0.5, high: 99.5 });
    let slices = slices(&mut Random(8));
    let mut buffers = Buffers::new(&image);
    let mut line = Line::new(buffers.board(&image).expect("a board"), 0);
    assert_eq!(line.begin(&slices), Heard::State { pass: 0, next: 0, wanted: false });
    for (slice, labels) in slices.iter().zip(line.segment(&slices)) {
        let alone = expected(&image_of_one(), std::slice::from_ref(slice));
        assert_eq!(labels, alone[0]);
    }
}

/// As a volume of one slice: the percentiles of a volume are then the slice's.
fn image_of_one() -> Image<'static> {
    image(0, PERCENTILES)
}

#[test]
fn a_line_with_noise_costs_time_and_no_label() {
    let image = image(1, PERCENTILES);
    let slices = slices(&mut Random(9));
    let want = expected(&image, &slices);
    let mut buffers = Buffers::new(&image);
    let mut line = Line::new(buffers.board(&image).expect("a board"), 700);
    assert_eq!(line.segment(&slices), want);
    // A host that vanishes in the middle of a frame, and another that begins anew.
    let half = Writer::new().frame(&[3; 200])[..90].to_vec();
    line.send(&half);
    assert_eq!(line.segment(&slices), want);
}

#[test]
fn a_board_says_what_it_is_and_why_it_refuses() {
    let image = image(1, PERCENTILES);
    let mut buffers = Buffers::new(&image);
    let mut line = Line::new(buffers.board(&image).expect("a board"), 0);
    let [side, voxels] = [SIDE as u16, PIXELS as u16];
    let manifest = monet_link::crc32(b"manifest");
    let about = Heard::About { neighbours: 1, net: [side; 2], voxels: voxels.into(), manifest };
    assert_eq!(line.ask(Request::Hello), [about]);

    let refused = |fault, slice| vec![Heard::Error { fault, slice }];
    assert_eq!(line.ask(Request::Segment { slice: 2 }), refused(Fault::Idle, 2));
    let begin = |size| Request::Begin { size, slices: SLICES, spacing: [1.0, 1.0] };
    for size in [[0, 0], [side + 1, side], [u16::MAX; 2]] {
        assert_eq!(line.ask(begin(size)), refused(Fault::Size, 0), "{size:?}");
    }
    assert_eq!(line.ask(begin([side, side])).len(), 1);
    assert_eq!(line.ask(Request::Segment { slice: SLICES }), refused(Fault::Range, SLICES));
    assert_eq!(line.ask(Request::Segment { slice: 0 }), refused(Fault::Early, 0));
    assert_eq!(line.ask(Request::Count { pass: 0, slice: 0 }), refused(Fault::Missing, 0));
    let (two, all) = (Voxels::new(&[[0; 2]; 2]), Voxels::new(&[[0; 2]; VOXELS]));
    for (part, voxels) in [(0, two), (4, all), (u16::MAX, all)] {
        let answer = line.ask(Request::Part { slice: 0, part, voxels });
        assert_eq!(answer, refused(Fault::Range, 0));
    }
    // What is no message, and what is none that is known.
    let damaged = (Heard::Error { fault: Fault::Frame, slice: 0 }, 0);
    assert_eq!(line.send(&[0, 9, 9, 9, 0]), [damaged]);
    let unknown = (Heard::Error { fault: Fault::Unknown, slice: 0 }, 0);
    assert_eq!(line.send(Writer::new().frame(&[0x70, 3])), [unknown]);
}

#[test]
fn what_is_asked_twice_is_counted_once() {
    let image = image(1, PERCENTILES);
    let slices = slices(&mut Random(3));
    let mut buffers = Buffers::new(&image);
    let mut line = Line::new(buffers.board(&image).expect("a board"), 0);
    line.begin(&slices);
    line.parts(0, &slices[0]);
    let next = [Heard::State { pass: 0, next: 1, wanted: true }];
    assert_eq!(line.ask(Request::Count { pass: 0, slice: 0 }), next);
    assert_eq!(line.ask(Request::Count { pass: 0, slice: 0 }), next);
}

#[test]
fn memory_that_is_too_short_is_refused_by_name() {
    let image = image(1, PERCENTILES);
    let mut buffers = Buffers::new(&image);
    buffers.slices.truncate(3 * PIXELS - 1);
    let expected = 3 * PIXELS;
    let short = Unfit::Memory { what: "slices", found: expected - 1, expected };
    assert_eq!(buffers.board(&image).err(), Some(short));
}

/// Frames by the million: random bytes, whole frames, and whole frames that were spoilt. Whatever
/// comes, the board answers what is whole and says so of the rest, and nothing panics.
/// `MONET_LINK_FRAMES` says how many.
#[test]
fn frames_by_the_million_leave_the_board_answering() {
    let frames = std::env::var("MONET_LINK_FRAMES").ok().and_then(|n| n.parse().ok());
    let frames: usize = frames.unwrap_or(100_000);
    let image = image(1, PERCENTILES);
    let mut buffers = Buffers::new(&image);
    let mut board = buffers.board(&image).expect("a board");
    let (mut reader, mut writer, mut random) = (Reader::new(), Writer::new(), Random(1));
    let (mut wire, mut message) = ([0; WIRE], [0; CONTENT]);
    let (mut answers, mut damaged) = (0_usize, 0_usize);
    for i in 0..frames {
        let len = fill(&mut message, &mut random);
        let frame = writer.frame(&message[..len]);
        let bytes = &mut wire[..frame.len()];
        bytes.copy_from_slice(frame);
        let spoilt = i % 2 == 1;
        if spoilt {
            bytes[below(&mut random, bytes.len())] ^= below(&mut random, 255) as u8 + 1;
        }
        let end = if i % 8 == 7 { below(&mut random, bytes.len()) } else { bytes.len() };
        for byte in &bytes[..end] {
            if let Some(frame) = reader.push(*byte) {
                damaged += usize::from(frame.is_err());
                board.answer(frame, &mut |_| answers += 1);
            }
        }
    }
    assert!(damaged > frames / 4 && answers >= damaged, "{damaged} damaged, {answers} answers");
    // After all that, a question is answered.
    reader.push(0);
    let hello = Request::Hello.encode(9, &mut message);
    let mut last = Vec::new();
    for byte in writer.frame(hello) {
        if let Some(frame) = reader.push(*byte) {
            board.answer(frame, &mut |wire| last = wire.to_vec());
        }
    }
    let heard: Vec<_> =
        last.iter().filter_map(|byte| reader.push(*byte).map(|f| f.is_ok())).collect();
    assert_eq!(heard, [true]);
}

fn below(random: &mut Random, most: usize) -> usize {
    (random.unit() * most as f32) as usize % most.max(1)
}

/// A message: any bytes, or one that begins as a request does. Returns its length.
fn fill(message: &mut [u8; CONTENT], random: &mut Random) -> usize {
    let len = 2 + below(random, 40) * below(random, 13);
    for chunk in message[..len].chunks_mut(2) {
        let word = (random.unit() * 65536.0) as u16;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    message[0] = [1, 2, 3, 4, 5, 0x40][below(random, 6)];
    if message[0] == 2 && len >= 24 {
        // A volume that is taken now and then.
        message[2..8].copy_from_slice(&[SIDE as u8, 0, SIDE as u8, 0, SLICES as u8, 0]);
        message[8..24].copy_from_slice([1.0_f64.to_le_bytes(); 2].as_flattened());
        return 24;
    }
    len
}
