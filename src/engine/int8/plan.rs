//! From a graph and a slice size to fused steps over a laid-out arena.
//!
//! Everything that can be known before a slice arrives is settled here: which additions ride in a convolution's
//! epilogue, how large each tensor's border of zero points must be, where it lives, in which order a kernel meets
//! its weights. Allocates and may fail; [`run`](super::run) does neither with a plan's steps.

use core::ops::Range;

use super::arena::{Lifetime, place};
use super::graph::{Activation, Convolution, Node, Operation, Output, Pool, Quant, QuantGraph, Source};
use super::kernels::winograd::{self, FEEDS, POINTS};
use super::kernels::{BLOCK, GROUP, Kernel, KernelError, PANEL_PIXELS, Packed, Packing, pack};
use super::overlay::{Descent, Overlay};
use super::requant::{RequantError, Stage, Sum, logit};

/// Largest height, width, channel count and window, so that no product of them overflows.
const LIMIT: usize = 1 << 14;
/// Rows that a step does together at most, for each row from one tap to the next: whole tiles of three taps and of two.
const GROUP_ROWS: usize = winograd::tile(2)[0] * winograd::tile(3)[0];
/// Largest arena, in bytes; offsets of taps are 32-bit.
const ARENA_LIMIT: usize = 1 << 30;

/// A graph for which no plan can be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The graph contradicts itself.
    #[error("node \"{node}\": {found}")]
    Graph {
        /// Name of the node.
        node: String,
        /// What was found and what was expected.
        found: String,
    },
    /// Scales without fixed-point form.
    #[error("node \"{node}\": {source}")]
    Requant {
        /// Name of the node.
        node: String,
        /// Why.
        source: RequantError,
    },
    /// The slice is too small, too large, or the net has no output.
    #[error("no plan for {height}x{width} slices: {found}")]
    Size {
        /// Rows asked for.
        height: usize,
        /// Columns asked for.
        width: usize,
        /// What was found and what was expected.
        found: String,
    },
    /// The kernel cannot run here.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What one step does, for people and profiles.
#[derive(Debug, Clone, PartialEq)]
pub struct StepInfo {
    /// The node's name in the graph.
    pub name: String,
    /// Kind of step, such as `convolve`.
    pub kind: &'static str,
    /// Channels, height and width of what it makes.
    pub shape: [usize; 3],
    /// Multiplications of the net (not counting padded channels).
    pub macs: u64,
    /// Weights and biases of the net (not counting padded channels).
    pub parameters: usize,
    /// Bytes of activations and weights that it reads or writes at least once.
    pub bytes: u64,
    /// Where in the arena its result lies; empty for the last step.
    pub arena: Range<usize>,
}

/// A net made ready for one slice size and one kernel.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) kernel: Kernel,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    pub(super) classes: usize,
    pub(super) output_size: [usize; 2],
    pub(super) output: Output,
    pub(super) threshold: f32,
    pub(super) grids: Vec<Grid>,
    pub(super) steps: Vec<Step>,
    infos: Vec<StepInfo>,
    arena_len: usize,
}

/// A tensor in the arena: pixel by pixel, channels side by side, with a border of zero points around it.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    /// Bytes from one pixel to the next.
    pub(super) step: usize,
    /// Border: top, left, bottom, right.
    pub(super) halo: [usize; 4],
    pub(super) offset: usize,
    pub(super) quant: Quant,
}

impl Grid {
    /// Bytes from one row to the next.
    pub(super) fn row(&self) -> usize {
        (self.halo[1] + self.size[1] + self.halo[3]) * self.step
    }

    /// Rows with the border.
    pub(super) fn rows(&self) -> usize {
        self.halo[0] + self.size[0] + self.halo[2]
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.row() * self.rows()
    }

    /// Arena offset of pixel (y, x).
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        self.offset + (self.halo[0] + y) * self.row() + (self.halo[1] + x) * self.step
    }
}

/// A step; tensors are indices of [`Plan::grids`].
#[derive(Debug, Clone)]
pub(super) enum Step {
    Quantize,
    Convolve(ConvStep),
    Add { inputs: [usize; 2], output: usize, sum: Sum },
    Lookup { input: usize, output: usize, table: Box<[u8; 256]> },
    MaxPool { input: usize, output: usize, pool: Pool },
    Dequantize { input: usize, scratch: Range<usize> },
}

/// A convolution, or the phases of a transposed one.
#[derive(Debug, Clone)]
pub(super) struct ConvStep {
    pub(super) inputs: Vec<usize>,
    pub(super) phases: Vec<Phase>,
    /// Rows of a phase that are done before the next phase's: whole tiles of each.
    pub(super) span: usize,
    pub(super) result: ConvResult,
    pub(super) scratch: Range<usize>,
}

/// Where the sums go.
#[derive(Debug, Clone)]
pub(super) enum ConvResult {
    Counts { output: usize, stage: Stage, residual: Option<usize> },
    Logits { stage: Stage, row: Range<usize> },
}

/// The output pixels that share one set of taps: all of a convolution's, every n-th of a transposed one's.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    /// First output pixel (y, x).
    pub(super) origin: [usize; 2],
    /// From one output pixel to the next.
    pub(super) out_step: [usize; 2],
    /// From one output pixel's input to the next's.
    pub(super) in_step: [usize; 2],
    /// Rows and columns of output.
    pub(super) size: [usize; 2],
    pub(super) way: Way,
    pub(super) bias: Vec<i32>,
}

impl Phase {
    /// Rows that are done together.
    pub(super) fn granularity(&self) -> usize {
        match &self.way {
            Way::Rows(_) => 1,
            Way::Tiles(tiles) => winograd::tile(tiles.taps)[0] * tiles.dilation[0],
        }
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

/// How a phase is computed.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Pixel by pixel, by the definition.
    Rows(Rows),
    /// Tile by tile, see [`winograd`].
    Tiles(Tiles),
}

/// Taps and weights of pixels.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Per input: byte offsets of the chunks.
    pub(super) taps: Vec<Vec<i32>>,
    /// Per input: smallest and largest of them.
    pub(super) reach: Vec<[i32; 2]>,
    pub(super) weights: Packed,
}

/// Taps and weights of tiles.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    /// Taps down and across.
    pub(super) taps: usize,
    /// From one tap to the next, rows and columns, each of `in_step` pixels.
    pub(super) dilation: [usize; 2],
    pub(super) feeds: Vec<TileFeed>,
    pub(super) weights: Vec<i16>,
}

/// An input of tiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileFeed {
    /// Which of the step's inputs.
    pub(super) input: usize,
    /// Pixel (y, x), counted from the border's corner, under the first tap of output pixel 0.
    pub(super) first: [usize; 2],
}

impl Plan {
    /// Plans `graph` for slices of `height` × `width`.
    pub fn new(graph: &QuantGraph, height: usize, width: usize, kernel: Kernel) -> Result<Self, PlanError> {
        if !kernel.is_available() {
            return Err(KernelError::Unavailable(kernel).into());
        }
        if graph.tensors.is_empty() {
            return Err(PlanError::Size { height, width, found: "the net has no input tensor".into() });
        }
        if let Some(found) = graph.tensors.iter().map(|t| t.channels).find(|n| !(1..=LIMIT).contains(n)) {
            let found = format!("a tensor has {found} channels, expected 1 to {LIMIT}");
            return Err(PlanError::Size { height, width, found });
        }
        let fused = fuse(graph)?;
        let shapes = Shapes::new(graph, &fused, [height, width])?;
        let mut grids = shapes.grids(graph, &fused)?;
        let scratches = lay_out(&mut grids, graph, &fused, &shapes, kernel)?;
        let arena_len = scratches.arena_len;
        if arena_len > ARENA_LIMIT {
            let found = format!(
                "the arena would take {arena_len} bytes, the limit is {ARENA_LIMIT}; use smaller slices"
            );
            return Err(PlanError::Size { height, width, found });
        }
        let builder = Builder { grids: &grids, kernel };
        let mut steps = vec![Step::Quantize];
        let mut infos = vec![builder.input_info()];
        for (i, node) in fused.iter().enumerate() {
            let step = builder.step(node, &shapes, scratches.ranges[i].clone())?;
            infos.push(builder.info(node, &step, shapes.outputs[i]));
            steps.push(step);
        }
        let (classes, output_size) = final_logits(graph, &shapes, [height, width])?;
        let threshold = match graph.output {
            Output::Sigmoid { threshold } => logit(threshold),
            _ => 0.0,
        };
        Ok(Self {
            kernel,
            channels: graph.tensors[0].channels,
            size: [height, width],
            classes,
            output_size,
            output: graph.output,
            threshold,
            grids,
            steps,
            infos,
            arena_len,
        })
    }

    /// Bytes of memory that a run needs; worth aligning to 64.
    pub fn arena_len(&self) -> usize {
        self.arena_len
    }

    /// The kernel that it was made for.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Values of an input slice: channels × height × width.
    pub fn input_len(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// Height and width of the labels.
    pub fn output_size(&self) -> [usize; 2] {
        self.output_size
    }

    /// Channels of the probabilities.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What each step does, in order.
    pub fn steps(&self) -> &[StepInfo] {
        &self.infos
    }

    /// Multiplications of the net for one slice.
    pub fn macs(&self) -> u64 {
        self.infos.iter().map(|s| s.macs).sum()
    }
}

/// A node, and the addition that has become part of it.
struct Fused<'a> {
    node: &'a Node,
    /// The other summand and the sum.
    residual: Option<(Source, Source)>,
}

impl Fused<'_> {
    fn output(&self) -> Option<Source> {
        self.residual.map(|(_, sum)| sum).or(self.node.operation.output())
    }

    fn inputs(&self) -> impl Iterator<Item = Source> + '_ {
        self.node.operation.inputs().iter().copied().chain(self.residual.map(|(other, _)| other))
    }
}

fn fault(node: &Node, found: impl Into<String>) -> PlanError {
    PlanError::Graph { node: node.name.clone(), found: found.into() }
}

/// Checks the order of the graph and moves each addition into the convolution that feeds it alone.
fn fuse(graph: &QuantGraph) -> Result<Vec<Fused<'_>>, PlanError> {
    let mut writer: Vec<Option<usize>> = vec![None; graph.tensors.len()];
    let mut readers = vec![0usize; graph.tensors.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for &Source(t) in node.operation.inputs() {
            if t != 0 && writer.get(t).copied().flatten().is_none() {
                return Err(fault(node, format!("reads tensor {t}, which no earlier node writes")));
            }
            readers[t] += 1;
        }
        if let Some(Source(t)) = node.operation.output() {
            match writer.get_mut(t) {
                Some(w) if w.is_none() && t != 0 => *w = Some(i),
                _ => return Err(fault(node, format!("writes tensor {t}, which is not there to be written"))),
            }
        }
    }
    let mut fused: Vec<Option<Fused>> =
        graph.nodes.iter().map(|node| Some(Fused { node, residual: None })).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        let Operation::Add { inputs, output } = &node.operation else { continue };
        for (own, other) in [(inputs[1], inputs[0]), (inputs[0], inputs[1])] {
            let Some(w) = writer[own.0] else { continue };
            let sole = readers[own.0] == 1 && other != Source(0) && writer[other.0].is_some_and(|o| o < w);
            let same = graph.tensors[own.0].channels == graph.tensors[other.0].channels;
            let Some(target) = fused[w].as_mut().filter(|f| f.residual.is_none()) else { continue };
            if sole
                && same
                && matches!(target.node.operation, Operation::Convolve { .. } | Operation::Transpose { .. })
            {
                target.residual = Some((other, *output));
                fused[i] = None;
                break;
            }
        }
    }
    Ok(fused.into_iter().flatten().collect())
}

/// Sizes of all tensors.
struct Shapes {
    /// Height and width per tensor.
    tensors: Vec<[usize; 2]>,
    /// Channels, height and width that each node makes.
    outputs: Vec<[usize; 3]>,
}

impl Shapes {
    fn new(graph: &QuantGraph, fused: &[Fused], size: [usize; 2]) -> Result<Self, PlanError> {
        let channels = graph.tensors.first().map_or(0, |t| t.channels);
        if size.iter().any(|&n| n == 0 || n > LIMIT) || channels == 0 {
            let found = format!("sides must be 1 to {LIMIT}, and the net needs an input with channels");
            return Err(PlanError::Size { height: size[0], width: size[1], found });
        }
        let mut tensors = vec![[0, 0]; graph.tensors.len()];
        tensors[0] = size;
        let mut outputs = Vec::with_capacity(fused.len());
        for f in fused {
            let (channels, out) = shape(graph, f.node, &tensors)?;
            for t in
                f.residual.iter().flat_map(|r| [r.0.0, r.1.0]).chain(f.node.operation.output().map(|s| s.0))
            {
                if graph.tensors[t].channels != channels || (tensors[t] != [0, 0] && tensors[t] != out) {
                    return Err(fault(
                        f.node,
                        format!("makes {channels} x {out:?}, tensor {t} is otherwise"),
                    ));
                }
            }
            if let Some((other, _)) = f.residual
                && tensors[other.0] != out
            {
                return Err(fault(f.node, "adds tensors of different sizes"));
            }
            for Source(t) in f.output().into_iter().chain(f.node.operation.output()) {
                tensors[t] = out;
            }
            outputs.push([channels, out[0], out[1]]);
        }
        Ok(Self { tensors, outputs })
    }

    /// Height and width of what a node makes.
    fn made(&self, node: &Node) -> [usize; 2] {
        match node.operation.output() {
            Some(Source(t)) => self.tensors[t],
            // The head, which comes last.
            None => {
                let [_, h, w] = self.outputs[self.outputs.len() - 1];
                [h, w]
            }
        }
    }

    /// The tensors with the borders that their readers need, not yet placed.
    fn grids(&self, graph: &QuantGraph, fused: &[Fused]) -> Result<Vec<Grid>, PlanError> {
        let mut grids: Vec<Grid> = graph
            .tensors
            .iter()
            .zip(&self.tensors)
            .enumerate()
            .map(|(i, (tensor, &size))| Grid {
                size,
                channels: tensor.channels,
                // Kernels store whole blocks, so only the input may have fewer.
                step: if i == 0 && tensor.channels <= GROUP {
                    GROUP
                } else {
                    tensor.channels.next_multiple_of(BLOCK)
                },
                halo: [0; 4],
                offset: 0,
                quant: tensor.quant,
            })
            .collect();
        for (f, &[_, h, w]) in fused.iter().zip(&self.outputs) {
            let Some((conv, transposed)) = convolution(&f.node.operation) else { continue };
            for sieve in sieves(conv, transposed, [h, w]) {
                for &Source(t) in f.node.operation.inputs() {
                    let grid = &mut grids[t];
                    for axis in 0..2 {
                        let Some([low, high]) = sieve.extent(axis) else { continue };
                        let beyond = high - (grid.size[axis] as isize - 1);
                        grid.halo[axis] = grid.halo[axis].max(low.min(0).unsigned_abs());
                        grid.halo[axis + 2] = grid.halo[axis + 2].max(beyond.max(0).unsigned_abs());
                    }
                }
            }
        }
        // In 64 bits, as on a 32-bit machine the product of what is allowed singly may overflow.
        let bytes = |g: &Grid| {
            let [top, left, bottom, right] = g.halo.map(|n| n as u64);
            (top + g.size[0] as u64 + bottom) * (left + g.size[1] as u64 + right) * g.step as u64
        };
        if grids.iter().any(|g| bytes(g) > ARENA_LIMIT as u64) {
            let [height, width] = self.tensors[0];
            let found = format!("a tensor would take more than {ARENA_LIMIT} bytes; use smaller slices");
            return Err(PlanError::Size { height, width, found });
        }
        Ok(grids)
    }
}

/// Channels and size that a node makes.
fn shape(graph: &QuantGraph, node: &Node, sizes: &[[usize; 2]]) -> Result<(usize, [usize; 2]), PlanError> {
    let inputs = node.operation.inputs();
    let first = *inputs.first().ok_or_else(|| fault(node, "has no input"))?;
    let size = sizes[first.0];
    if inputs.iter().any(|s| sizes[s.0] != size) {
        return Err(fault(node, "has inputs of different sizes"));
    }
    let channels = graph.tensors[first.0].channels;
    match &node.operation {
        Operation::Add { inputs, .. } if graph.tensors[inputs[1].0].channels != channels => {
            Err(fault(node, "adds tensors of different channel counts"))
        }
        Operation::Add { .. } | Operation::Lookup { .. } | Operation::Dequantize { .. } => {
            Ok((channels, size))
        }
        Operation::MaxPool { pool, .. } => {
            let window = Convolution {
                kernel: pool.kernel,
                stride: pool.stride,
                pads: pool.pads,
                ..Convolution::default()
            };
            if (0..4).any(|i| pool.pads[i] >= pool.kernel[i % 2]) {
                return Err(fault(node, "has a border as large as its window"));
            }
            Ok((channels, window_size(node, &window, size)?))
        }
        Operation::Convolve { conv, .. } | Operation::Logits { conv, .. } => {
            check_weights(graph, node, conv)?;
            Ok((conv.cout, window_size(node, conv, size)?))
        }
        Operation::Transpose { conv, .. } => {
            check_weights(graph, node, conv)?;
            Ok((conv.cout, transposed_size(node, conv, size)?))
        }
    }
}

fn check_weights(graph: &QuantGraph, node: &Node, conv: &Convolution) -> Result<(), PlanError> {
    let inputs = node.operation.inputs();
    if inputs.len() > 2 {
        return Err(fault(node, format!("has {} inputs, at most 2 are supported", inputs.len())));
    }
    let quant = graph.tensors[inputs[0].0].quant;
    if inputs.iter().any(|s| graph.tensors[s.0].quant != quant) {
        return Err(fault(node, "has inputs of different quantization; put a lookup before one of them"));
    }
    let cin: usize = inputs.iter().map(|s| graph.tensors[s.0].channels).sum();
    if conv.cout == 0 || conv.cout > LIMIT || cin > LIMIT || conv.kernel.iter().any(|&k| k == 0 || k > 64) {
        return Err(fault(node, "has a channel count or window that is not supported"));
    }
    let window = conv.kernel[0] * conv.kernel[1];
    let expected = conv.cout.checked_mul(cin).and_then(|n| n.checked_mul(window)).unwrap_or(usize::MAX);
    let found = [conv.weights.len(), conv.scales.len(), conv.bias.len()];
    if found != [expected, conv.cout, conv.cout] {
        return Err(fault(
            node,
            format!(
                "has {found:?} weights, scales and biases, expected {:?}",
                [expected, conv.cout, conv.cout]
            ),
        ));
    }
    Ok(())
}

fn check_window(node: &Node, conv: &Convolution) -> Result<(), PlanError> {
    let positive = conv.kernel.iter().chain(&conv.stride).chain(&conv.dilation).all(|&n| n > 0 && n <= 64);
    let border = conv.pads.iter().chain(&conv.output_padding).all(|&n| n <= 4096);
    if positive && border {
        Ok(())
    } else {
        Err(fault(node, "has a window, stride, dilation or border out of range"))
    }
}

fn window_size(node: &Node, conv: &Convolution, size: [usize; 2]) -> Result<[usize; 2], PlanError> {
    check_window(node, conv)?;
    let mut out = [0; 2];
    for axis in 0..2 {
        let span = conv.dilation[axis] * (conv.kernel[axis] - 1) + 1;
        let padded = size[axis] + conv.pads[axis] + conv.pads[axis + 2];
        let Some(room) = padded.checked_sub(span) else {
            return Err(fault(node, format!("has a window of {span} over {padded} rows or columns")));
        };
        out[axis] = room / conv.stride[axis] + 1;
        if out[axis] > LIMIT {
            return Err(fault(node, format!("makes {} rows or columns, the limit is {LIMIT}", out[axis])));
        }
    }
    Ok(out)
}

fn transposed_size(node: &Node, conv: &Convolution, size: [usize; 2]) -> Result<[usize; 2], PlanError> {
    check_window(node, conv)?;
    let mut out = [0; 2];
    for axis in 0..2 {
        let full = (size[axis] - 1) * conv.stride[axis]
            + conv.dilation[axis] * (conv.kernel[axis] - 1)
            + 1
            + conv.output_padding[axis];
        match full.checked_sub(conv.pads[axis] + conv.pads[axis + 2]) {
            Some(n) if n > 0 && n <= LIMIT => out[axis] = n,
            _ => return Err(fault(node, format!("makes {full} rows or columns, then removes its border"))),
        }
    }
    Ok(out)
}

fn convolution(operation: &Operation) -> Option<(&Convolution, bool)> {
    match operation {
        Operation::Convolve { conv, .. } | Operation::Logits { conv, .. } => Some((conv, false)),
        Operation::Transpose { conv, .. } => Some((conv, true)),
        _ => None,
    }
}

/// The output pixels of a phase and the taps that they share, in pixels.
struct Sieve {
    origin: [usize; 2],
    out_step: [usize; 2],
    in_step: [usize; 2],
    size: [usize; 2],
    /// Input pixel relative to output pixel 0, and the tap's index in the window, per axis.
    taps: [Vec<(isize, usize)>; 2],
}

impl Sieve {
    /// First and last input row (axis 0) or column that is read; none where nothing is.
    fn extent(&self, axis: usize) -> Option<[isize; 2]> {
        let low = self.taps[axis].iter().map(|t| t.0).min()?;
        let high = self.taps[axis].iter().map(|t| t.0).max()?;
        Some([low, high + ((self.size[axis] - 1) * self.in_step[axis]) as isize])
    }
}

/// The phases of a convolution whose output has `size`.
fn sieves(conv: &Convolution, transposed: bool, size: [usize; 2]) -> Vec<Sieve> {
    let pad = |axis: usize| conv.pads[axis] as isize;
    if !transposed {
        let taps = [0, 1].map(|axis| {
            (0..conv.kernel[axis]).map(|k| ((k * conv.dilation[axis]) as isize - pad(axis), k)).collect()
        });
        return vec![Sieve { origin: [0, 0], out_step: [1, 1], in_step: conv.stride, size, taps }];
    }
    let mut phases = Vec::new();
    for y in 0..conv.stride[0].min(size[0]) {
        for x in 0..conv.stride[1].min(size[1]) {
            let origin = [y, x];
            // Output o reads input i through tap k where o = i * stride - pad + k * dilation.
            let taps = [0, 1].map(|axis| {
                (0..conv.kernel[axis])
                    .map(|k| (origin[axis] as isize + pad(axis) - (k * conv.dilation[axis]) as isize, k))
                    .filter(|(i, _)| i.rem_euclid(conv.stride[axis] as isize) == 0)
                    .map(|(i, k)| (i.div_euclid(conv.stride[axis] as isize), k))
                    .collect()
            });
            let count = [0, 1].map(|axis| (size[axis] - origin[axis]).div_ceil(conv.stride[axis]));
            phases.push(Sieve { origin, out_step: conv.stride, in_step: [1, 1], size: count, taps });
        }
    }
    phases
}

/// The taps of an axis as combs, one for each remainder of the input step: equally many teeth, equally far apart.
#[derive(Debug, PartialEq)]
struct Combs {
    /// Teeth of each.
    taps: usize,
    /// Input steps from one tooth to the next.
    dilation: usize,
    /// First tooth, and the teeth's indices in the window.
    combs: Vec<(isize, Vec<usize>)>,
}

impl Combs {
    /// None where taps are not spread like that.
    fn new(taps: &[(isize, usize)], step: usize) -> Option<Self> {
        let mut taps = taps.to_vec();
        taps.sort_unstable();
        let step = step as isize;
        let mut found: Option<Self> = None;
        for remainder in 0..step {
            let teeth: Vec<_> = taps.iter().filter(|t| t.0.rem_euclid(step) == remainder).collect();
            let (Some(first), Some(second)) = (teeth.first(), teeth.get(1)) else { continue };
            let apart = second.0 - first.0;
            if teeth.windows(2).any(|pair| pair[1].0 - pair[0].0 != apart) {
                return None;
            }
            let (count, dilation) = (teeth.len(), (apart / step) as usize);
            let all = found.get_or_insert(Self { taps: count, dilation, combs: Vec::new() });
            if (count, dilation) != (all.taps, all.dilation) {
                return None;
            }
            all.combs.push((first.0, teeth.iter().map(|t| t.1).collect()));
        }
        found.filter(|all| all.combs.len() * all.taps == taps.len())
    }
}

/// The taps of a phase for tiles: where a kernel computes them, a phase has two or three of them down and across, chunks of
/// channels are whole, sums stay exact, and what tiles compute beyond the edges leaves a gain.
fn combs(node: &Node, sieve: &Sieve, grids: &[Grid], kernel: Kernel) -> Option<[Combs; 2]> {
    let (Operation::Convolve { inputs, conv, .. } | Operation::Transpose { inputs, conv, .. }) =
        &node.operation
    else {
        return None;
    };
    let chunks = inputs.iter().all(|s| grids[s.0].step.is_multiple_of(BLOCK));
    let exact = conv.magnitudes().all(winograd::fits);
    if !kernel.has_tiles() || !chunks || !exact {
        return None;
    }
    let [down, across] =
        [Combs::new(&sieve.taps[0], sieve.in_step[0])?, Combs::new(&sieve.taps[1], sieve.in_step[1])?];
    let taps = down.taps;
    let few = matches!(taps, 2 | 3) && across.taps == taps;
    if !few || inputs.len() * down.combs.len() * across.combs.len() > FEEDS {
        return None;
    }
    let [high, wide] = winograd::tile(taps);
    let tiles = winograd::tiles(sieve.size[0], high, down.dilation)
        * winograd::tiles(sieve.size[1], wide, across.dilation);
    // Taking inputs and products there and back costs as much as some of the products saved.
    let gains = tiles * POINTS * 3 <= sieve.size[0] * sieve.size[1] * taps * taps * 2;
    gains.then_some([down, across])
}

/// Bytes of scratch memory that a kernel wants for a node.
fn scratch_len(node: &Node, grids: &[Grid], shapes: &Shapes, kernel: Kernel) -> usize {
    let Some((conv, transposed)) = convolution(&node.operation) else { return 0 };
    let step: usize = node.operation.inputs().iter().map(|s| grids[s.0].step).sum();
    let rows = match kernel.packing() {
        Packing::Words => conv.kernel[0] * conv.kernel[1] * step * PANEL_PIXELS * 2,
        Packing::Bytes | Packing::Pairs | Packing::Eights => 0,
    };
    let size = shapes.made(node);
    let phase = |sieve: &Sieve| match combs(node, sieve, grids, kernel) {
        Some([down, across]) => winograd::scratch_len(step / BLOCK * down.combs.len() * across.combs.len()),
        None => rows,
    };
    sieves(conv, transposed, size).iter().map(phase).max().unwrap_or(0)
}

/// Where the steps' own memory lies.
struct Scratches {
    ranges: Vec<[Range<usize>; 2]>,
    arena_len: usize,
}

/// Places all tensors, and the scratch memory and logit row of each step.
fn lay_out(
    grids: &mut [Grid],
    graph: &QuantGraph,
    fused: &[Fused],
    shapes: &Shapes,
    kernel: Kernel,
) -> Result<Scratches, PlanError> {
    let mut blocks: Vec<Lifetime> =
        grids.iter().map(|g| Lifetime { len: g.len(), from: usize::MAX, to: 0 }).collect();
    blocks[0].from = 0;
    for (i, f) in fused.iter().enumerate() {
        for Source(t) in f.inputs() {
            blocks[t].to = i + 1;
        }
        if let Some(Source(t)) = f.output() {
            blocks[t].from = i + 1;
            blocks[t].to = i + 1;
        }
    }
    // A tensor that lives in an epilogue's registers only.
    for block in blocks.iter_mut().filter(|b| b.from == usize::MAX) {
        *block = Lifetime { len: 0, from: 0, to: 0 };
    }
    for (i, f) in fused.iter().enumerate() {
        let [channels, _, width] = shapes.outputs[i];
        let scratch = scratch_len(f.node, grids, shapes, kernel);
        let logits = matches!(f.node.operation, Operation::Logits { .. } | Operation::Dequantize { .. });
        let row = if logits { width * channels.next_multiple_of(BLOCK) * 4 } else { 0 };
        for len in [scratch, row] {
            blocks.push(Lifetime { len, from: i + 1, to: i + 1 });
        }
    }
    if blocks.iter().any(|b| b.len > ARENA_LIMIT) {
        let [height, width] = shapes.tensors[0];
        let found = format!("a tensor would take more than {ARENA_LIMIT} bytes; use smaller slices");
        return Err(PlanError::Size { height, width, found });
    }
    let (offsets, arena_len) = place(&blocks, &overlays(grids, fused, shapes, &blocks));
    for (grid, &offset) in grids.iter_mut().zip(&offsets) {
        grid.offset = offset;
    }
    let own = graph.tensors.len();
    let range = |i: usize| offsets[i]..offsets[i] + blocks[i].len;
    let ranges = (0..fused.len()).map(|i| [range(own + 2 * i), range(own + 2 * i + 1)]).collect();
    Ok(Scratches { ranges, arena_len })
}

/// Where a convolution's result may overlay an input or summand that it is the last to read.
fn overlays(grids: &[Grid], fused: &[Fused], shapes: &Shapes, blocks: &[Lifetime]) -> Vec<Overlay> {
    let mut overlays = Vec::new();
    for (step, f) in (1..).zip(fused) {
        let Some((conv, transposed)) = convolution(&f.node.operation) else { continue };
        let Some(Source(output)) = f.output() else { continue };
        let out_step = if transposed { conv.stride[0] } else { 1 };
        let summand = f.residual.map(|(other, _)| (other, out_step));
        let in_step = if transposed { 1 } else { conv.stride[0] };
        let inputs = f.node.operation.inputs().iter().map(|&source| (source, in_step));
        for (Source(input), in_step) in inputs.chain(summand) {
            if blocks[input].to != step || input == output {
                continue;
            }
            let descent = Descent {
                group: GROUP_ROWS * conv.dilation[0],
                rows: shapes.made(f.node)[0],
                out_step,
                in_step,
                above: grids[output].halo[0],
                row: [grids[output].row(), grids[input].row()],
            };
            overlays.push(Overlay { input, output, lag: descent.lag() });
        }
    }
    overlays
}

fn final_logits(
    graph: &QuantGraph,
    shapes: &Shapes,
    [height, width]: [usize; 2],
) -> Result<(usize, [usize; 2]), PlanError> {
    let heads = |n: &&Node| n.operation.output().is_none();
    let found =
        match (graph.nodes.last().filter(heads), graph.nodes.iter().filter(heads).count(), graph.output) {
            (Some(_), 1, output) => {
                let [channels, h, w] = shapes.outputs[shapes.outputs.len() - 1];
                match output {
                    Output::Sigmoid { .. } if channels != 1 => {
                        format!("a sigmoid over {channels} channels; exactly 1 is supported")
                    }
                    Output::Sigmoid { threshold } if !(threshold > 0.0 && threshold < 1.0) => {
                        format!("a threshold of {threshold}; it must lie between 0 and 1")
                    }
                    _ if channels > 256 && output != Output::Identity => {
                        format!("{channels} classes; labels hold at most 256")
                    }
                    _ => return Ok((channels, [h, w])),
                }
            }
            _ => "the net must end in its logits, and nowhere else".into(),
        };
    Err(PlanError::Size { height, width, found })
}

/// Makes steps of nodes.
struct Builder<'a> {
    grids: &'a [Grid],
    kernel: Kernel,
}

impl Builder<'_> {
    fn step(&self, f: &Fused, shapes: &Shapes, [scratch, row]: [Range<usize>; 2]) -> Result<Step, PlanError> {
        let requant = |source| PlanError::Requant { node: f.node.name.clone(), source };
        Ok(match &f.node.operation {
            Operation::Convolve { activation, .. } | Operation::Transpose { activation, .. } => {
                Step::Convolve(self.convolve(f, Some(*activation), shapes, scratch, row)?)
            }
            Operation::Logits { .. } => Step::Convolve(self.convolve(f, None, shapes, scratch, row)?),
            Operation::Add { inputs, output } => {
                let q = |s: Source| self.grids[s.0].quant;
                let sum = Sum::new(q(inputs[0]), q(inputs[1]), q(*output)).map_err(requant)?;
                Step::Add { inputs: inputs.map(|s| s.0), output: output.0, sum }
            }
            Operation::Lookup { input, table, output } => {
                Step::Lookup { input: input.0, output: output.0, table: table.clone() }
            }
            Operation::MaxPool { input, pool, output } => {
                Step::MaxPool { input: input.0, output: output.0, pool: *pool }
            }
            Operation::Dequantize { input } => Step::Dequantize { input: input.0, scratch: row },
        })
    }

    fn convolve(
        &self,
        f: &Fused,
        activation: Option<Activation>,
        shapes: &Shapes,
        scratch: Range<usize>,
        row: Range<usize>,
    ) -> Result<ConvStep, PlanError> {
        let Some((conv, transposed)) = convolution(&f.node.operation) else {
            return Err(fault(f.node, "is no convolution"));
        };
        let inputs: Vec<usize> = f.node.operation.inputs().iter().map(|s| s.0).collect();
        let phases = sieves(conv, transposed, shapes.made(f.node));
        let phases: Vec<Phase> = phases.iter().map(|s| self.phase(f.node, s, conv, &inputs)).collect();
        let span = phases.iter().map(Phase::granularity).fold(1, least_common_multiple);
        debug_assert!(span <= GROUP_ROWS * conv.dilation[0], "overlays count on it");
        let result = match activation {
            Some(activation) => self.counts(f, conv, activation, inputs[0])?,
            None => {
                let real = Quant { scale: 1.0, zero_point: 0 };
                let mut stage = self.stage(f, conv, Activation::Linear, inputs[0], real)?;
                for (scale, own) in stage.scales.iter_mut().zip(&conv.scales) {
                    *scale = self.grids[inputs[0]].quant.scale * own;
                }
                ConvResult::Logits { stage, row }
            }
        };
        Ok(ConvStep { inputs, phases, span, result, scratch })
    }

    /// The bias of a layer, padded to whole blocks, less what the input's zero point adds through these taps; `offset` is what the
    /// counts have less when they are multiplied.
    fn bias(&self, conv: &Convolution, input: usize, taps: &[usize], offset: i32) -> Vec<i32> {
        let zero_point = i32::from(self.grids[input].quant.zero_point) - offset;
        let window = conv.kernel[0] * conv.kernel[1];
        let mut bias = vec![0; conv.cout.next_multiple_of(BLOCK)];
        let weights = conv.weights.chunks(conv.weights.len() / conv.cout);
        for (bias, (&own, weights)) in bias.iter_mut().zip(conv.bias.iter().zip(weights)) {
            let taps = |weights: &[i8]| taps.iter().map(|&tap| i32::from(weights[tap])).sum::<i32>();
            *bias = own - zero_point * weights.chunks(window).map(taps).sum::<i32>();
        }
        bias
    }

    fn counts(
        &self,
        f: &Fused,
        conv: &Convolution,
        activation: Activation,
        input: usize,
    ) -> Result<ConvResult, PlanError> {
        let Some(own) = f.node.operation.output() else { return Err(fault(f.node, "has no output")) };
        let own = self.grids[own.0].quant;
        let mut stage = self.stage(f, conv, activation, input, own)?;
        let mut output = f.node.operation.output();
        let mut residual = None;
        if let Some((other, sum)) = f.residual {
            let rules = Sum::new(own, self.grids[other.0].quant, self.grids[sum.0].quant);
            stage.sum =
                Some(rules.map_err(|source| PlanError::Requant { node: f.node.name.clone(), source })?);
            output = Some(sum);
            residual = Some(other.0);
        }
        match output {
            Some(Source(output)) => Ok(ConvResult::Counts { output, stage, residual }),
            None => Err(fault(f.node, "has no output")),
        }
    }

    /// The fixed-point rules of a layer; also the check that its sums fit in 32 bits.
    fn stage(
        &self,
        f: &Fused,
        conv: &Convolution,
        activation: Activation,
        input: usize,
        out: Quant,
    ) -> Result<Stage, PlanError> {
        let input = self.grids[input].quant;
        // Twice 255: the zero point's share sits in the bias.
        let bound = |(sum, &bias): (u64, &i32)| sum as f64 * 510.0 + f64::from(bias).abs();
        let bounds: Vec<f64> = conv.magnitudes().zip(&conv.bias).map(bound).collect();
        let mut stage = Stage::new(input.scale, &conv.scales, &bounds, activation, out)
            .map_err(|source| PlanError::Requant { node: f.node.name.clone(), source })?;
        stage.scales.resize(conv.cout.next_multiple_of(BLOCK), 0.0);
        Ok(stage)
    }

    fn phase(&self, node: &Node, sieve: &Sieve, conv: &Convolution, inputs: &[usize]) -> Phase {
        let taken: Vec<usize> = sieve.taps[0]
            .iter()
            .flat_map(|&(_, ky)| sieve.taps[1].iter().map(move |&(_, kx)| ky * conv.kernel[1] + kx))
            .collect();
        let way = match combs(node, sieve, self.grids, self.kernel) {
            Some(combs) => self.tiles(&combs, conv, inputs),
            None => self.rows(sieve, conv, inputs),
        };
        let offset = match way {
            Way::Rows(_) => self.kernel.offset(),
            Way::Tiles(_) => 0,
        };
        Phase {
            origin: sieve.origin,
            out_step: sieve.out_step,
            in_step: sieve.in_step,
            size: sieve.size,
            way,
            bias: self.bias(conv, inputs[0], &taken, offset),
        }
    }

    fn tiles(&self, [down, across]: &[Combs; 2], conv: &Convolution, inputs: &[usize]) -> Way {
        let mut feeds = Vec::new();
        // Of each channel of the feeds: its number in the net, none for padding, and its taps in rows of three, none for those
        // that two by two have not.
        let mut channels = Vec::new();
        let mut cin = 0;
        for (input, grid) in inputs.iter().map(|&t| &self.grids[t]).enumerate() {
            for (y, rows) in &down.combs {
                for (x, columns) in &across.combs {
                    let first = |axis: usize, at: isize| (grid.halo[axis] as isize + at) as usize;
                    feeds.push(TileFeed { input, first: [first(0, *y), first(1, *x)] });
                    let number = |c: usize| (c < grid.channels).then_some(cin + c);
                    let tap = |i: usize| Some(rows.get(i / 3)? * conv.kernel[1] + columns.get(i % 3)?);
                    let picks: [Option<usize>; 9] = core::array::from_fn(tap);
                    channels.extend((0..grid.step).map(|c| (number(c), picks)));
                }
            }
            cin += grid.channels;
        }
        let len = conv.kernel[0] * conv.kernel[1];
        let window = |output: usize, input: usize| {
            let mut taken = [0; 9];
            if let (Some(input), picks) = &channels[input]
                && output < conv.cout
            {
                let window = &conv.weights[(output * cin + input) * len..][..len];
                for (value, pick) in taken.iter_mut().zip(picks) {
                    *value = pick.map_or(0, |at| window[at]);
                }
            }
            taken
        };
        let weights = winograd::transform(down.taps, conv.cout.div_ceil(BLOCK), channels.len(), window);
        Way::Tiles(Tiles { taps: down.taps, dilation: [down.dilation, across.dilation], feeds, weights })
    }

    fn rows(&self, sieve: &Sieve, conv: &Convolution, inputs: &[usize]) -> Way {
        let cin: usize = inputs.iter().map(|&t| self.grids[t].channels).sum();
        let window = conv.kernel[0] * conv.kernel[1];
        let mut taps = Vec::with_capacity(inputs.len());
        // Of each chunk: first channel, end of the input's channels (beyond it lies padding), tap.
        let mut chunks = Vec::new();
        let mut groups = Vec::new();
        let mut first = 0;
        for &t in inputs {
            let grid = &self.grids[t];
            let size = grid.step.min(BLOCK);
            let mut offsets = Vec::new();
            for &(y, ky) in &sieve.taps[0] {
                for &(x, kx) in &sieve.taps[1] {
                    for chunk in 0..grid.step / size {
                        let at = y * grid.row() as isize + x * grid.step as isize + (chunk * size) as isize;
                        offsets.push(at as i32);
                        chunks.push((first + chunk * size, first + grid.channels, ky * conv.kernel[1] + kx));
                        groups.push(size / GROUP);
                    }
                }
            }
            taps.push(offsets);
            first += grid.channels;
        }
        let weight =
            |output: usize, input: usize, tap: usize| conv.weights[(output * cin + input) * window + tap];
        let blocks = conv.cout.div_ceil(BLOCK);
        let weights = pack(self.kernel.packing(), blocks, &groups, |output, chunk, channel| {
            let (start, end, tap) = chunks[chunk];
            let input = start + channel;
            if output < conv.cout && input < end { weight(output, input, tap) } else { 0 }
        });
        let reach =
            taps.iter().map(|t| [t.iter().copied().min().unwrap_or(0), t.iter().copied().max().unwrap_or(0)]);
        let reach = reach.collect();
        Way::Rows(Rows { taps, reach, weights })
    }

    fn input_info(&self) -> StepInfo {
        let grid = &self.grids[0];
        let [h, w] = grid.size;
        StepInfo {
            name: "input".into(),
            kind: "quantize",
            shape: [grid.channels, h, w],
            macs: 0,
            parameters: 0,
            bytes: (h * w * (grid.channels * 4 + grid.step)) as u64,
            arena: grid.offset..grid.offset + grid.len(),
        }
    }

    fn info(&self, f: &Fused, step: &Step, shape: [usize; 3]) -> StepInfo {
        let pixels = (shape[1] * shape[2]) as u64;
        let (mut macs, mut parameters, mut bytes) = (0, 0, 0);
        if let Some((conv, transposed)) = convolution(&f.node.operation) {
            let per_pixel = conv.weights.len() as u64;
            let input = self.grids[f.node.operation.inputs()[0].0].size;
            macs = per_pixel * if transposed { (input[0] * input[1]) as u64 } else { pixels };
            parameters = conv.weights.len() + conv.bias.len();
            bytes += per_pixel;
        }
        for Source(t) in f.inputs().chain(f.output()) {
            bytes += (self.grids[t].size[0] * self.grids[t].size[1] * self.grids[t].step) as u64;
        }
        let kind = match (step, &f.node.operation) {
            (Step::Quantize, _) => "quantize",
            (Step::Convolve(_), Operation::Transpose { .. }) => "transpose",
            (Step::Convolve(c), _) if matches!(c.result, ConvResult::Logits { .. }) => "logits",
            (Step::Convolve(_), _) if f.residual.is_some() => "convolve+add",
            (Step::Convolve(_), _) => "convolve",
            (Step::Add { .. }, _) => "add",
            (Step::Lookup { .. }, _) => "lookup",
            (Step::MaxPool { .. }, _) => "max-pool",
            (Step::Dequantize { .. }, _) => "dequantize",
        };
        let arena = f
            .output()
            .map_or(0..0, |Source(t)| self.grids[t].offset..self.grids[t].offset + self.grids[t].len());
        StepInfo { name: f.node.name.clone(), kind, shape, macs, parameters, bytes, arena }
    }
}
