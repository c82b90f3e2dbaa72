//! Writes the image: steps, taps, rules, and the weights in the order in which the kernel reads
//! them.
//!
//! 1. [`Draft::input`] and [`Draft::node`] add one step after the other to tables, which later are
//!    the sections of the image.
//! 2. Weights are large, so a draft has no table of them. For each phase it keeps only the order in
//!    which the kernel reads the weights ([`Order`]).
//! 3. `schedule` and `layout` divide the steps into passes and give memory to all of them.
//! 4. [`Draft::finish`] allocates the image once, packs the weights straight into it, and copies
//!    the tables.

use alloc::vec::Vec;
use core::ops::Range;

use super::super::buffer::Buffer;
use super::super::graph::{Convolution, Node, Operation, TensorId};
use super::super::grid::Grid;
use super::super::image::record::{
    self, Feed, Header, NONE, Pass, Phase, Section, Stage, Step, ends, halves, kind, result,
};
use super::super::image::{ALIGN, MAGIC, VERSION};
use super::super::kernels::{BLOCK, GROUP, Kernel, padded};
use super::super::requant::{Product, Rules, Sum, logit};
use super::super::size::Size;
use super::super::sums;
use super::super::types::{Activation, Output, Quant};
use super::fuse::Fused;
use super::order::{Chunk, Order, TileChannel};
use super::shapes::{Shapes, convolution, makes_reals};
use super::taps::{OutputPhase, TapGrid, output_phases, tap_grids};
use super::{ARENA_LIMIT, PlanError, fault, least_common_multiple};

/// The image as far as it has been drafted.
pub(super) struct Draft<'a> {
    /// All tensors; those that no step stores have no size.
    pub(super) grids: Vec<Grid>,
    kernel: Kernel,
    /// In order; scratch memory and rows of real values have lengths, and offsets from `layout` on.
    pub(super) steps: Vec<Step>,
    pub(super) passes: Vec<Pass>,
    phases: Vec<Phase>,
    feeds: Vec<Feed>,
    stages: Vec<Stage>,
    taps: Vec<i32>,
    bias: Vec<i32>,
    scales: Vec<f32>,
    tables: Vec<[u8; 256]>,
    names: Vec<u8>,
    /// For each phase: its convolution, and the order of its weights.
    orders: Vec<(&'a Convolution, Order)>,
    /// Bytes of the weights of all phases so far.
    weights: usize,
}

/// A step without tensors, to fill in.
const BLANK: Step = Step {
    kind: kind::QUANTIZE,
    inputs: [NONE; 2],
    output: NONE,
    residual: NONE,
    result: result::COUNTS,
    stage: NONE,
    phases: [0; 2],
    rows: 0,
    span: 1,
    pace: 0,
    delay: 0,
    parts: 1,
    scratch: [0; 2],
    row: [0; 2],
    border: [0; 2],
    words: [0; 8],
    name: [0; 2],
    macs: [0; 2],
    traffic: [0; 2],
    parameters: 0,
    shape: [0; 3],
    reserved: 0,
};

/// A range as its start and its length.
fn place(range: &Range<usize>) -> [u32; 2] {
    [range.start as u32, range.len() as u32]
}

/// The first of some taps, their number, the smallest and the largest.
fn reach(start: usize, taps: &[i32]) -> [i32; 4] {
    let [low, high] = ends(taps.iter().copied());
    [start as i32, taps.len() as i32, low, high]
}

impl<'a> Draft<'a> {
    /// An empty draft for tensors that have sizes, not yet places.
    pub(super) fn new(grids: Vec<Grid>, kernel: Kernel) -> Self {
        Self {
            grids,
            kernel,
            steps: Vec::new(),
            passes: Vec::new(),
            phases: Vec::new(),
            feeds: Vec::new(),
            stages: Vec::new(),
            taps: Vec::new(),
            bias: Vec::new(),
            scales: Vec::new(),
            tables: Vec::new(),
            names: Vec::new(),
            orders: Vec::new(),
            weights: 0,
        }
    }

    /// Adds the step that quantizes the input.
    pub(super) fn input(&mut self) {
        let grid = self.grids[0];
        let [height, width] = grid.size();
        let traffic = (height * width) as u64 * (grid.channels() * 4 + grid.step()) as u64;
        let shape = [grid.channels, grid.size[0], grid.size[1]];
        let name = self.name("input");
        let (traffic, rows) = (halves(traffic), grid.size[0]);
        let step = Step { output: 0, rows, traffic, shape, name, ..BLANK };
        self.steps.push(step);
    }

    /// Adds the step of a node. `shape` is the channels, height and width of what it makes.
    pub(super) fn node(
        &mut self,
        f: &Fused<'a>,
        shapes: &Shapes,
        shape: [usize; 3],
    ) -> Result<(), PlanError> {
        let requant = |source| PlanError::Requant { node: f.node.name.clone(), source };
        let quant = |id: TensorId| self.grids[id.0].quant();
        let mut step = match &f.node.operation {
            Operation::Convolve { activation, .. } | Operation::Transpose { activation, .. } => {
                self.convolution(f, Some(*activation), shapes)?
            }
            Operation::Logits { .. } => self.convolution(f, None, shapes)?,
            Operation::Add { inputs: [a, b], output } => {
                let sum = Sum::new(quant(*a), quant(*b), quant(*output)).map_err(requant)?;
                Step { kind: kind::ADD, words: record::sum_words(&sum), ..BLANK }
            }
            Operation::Scale { inputs: [a, b], output } => {
                let product =
                    Product::new(quant(*a), quant(*b), quant(*output)).map_err(requant)?;
                Step { kind: kind::SCALE, words: record::product_words(&product), ..BLANK }
            }
            Operation::Lookup { table, .. } => {
                self.tables.push(**table);
                let mut words = [0; 8];
                words[0] = (self.tables.len() - 1) as u16;
                Step { kind: kind::LOOKUP, words, ..BLANK }
            }
            Operation::MaxPool { pool, .. } => {
                Step { kind: kind::MAX_POOL, words: record::pool_words(pool), ..BLANK }
            }
            Operation::Dequantize { .. } => Step { kind: kind::DEQUANTIZE, ..BLANK },
        };
        for (to, input) in step.inputs.iter_mut().zip(f.node.operation.inputs()) {
            *to = input.0 as u32;
        }
        step.output = f.output().map_or(NONE, |id| id.0 as u32);
        let [channels, height, width] = shape;
        let reals = width * padded(channels) * 4;
        step.row[1] = if makes_reals(&f.node.operation) { reals as u32 } else { 0 };
        if step.kind != kind::CONVOLVE {
            step.rows = height as u16;
        }
        let inputs = || f.node.operation.inputs().iter().map(|id| &self.grids[id.0]);
        let rows = inputs().next().map_or(0, |grid| grid.height());
        if step.kind == kind::CONVOLVE
            && step.borders(self.phases_of(&step), rows, &(0..step.rows.into()))
        {
            step.border[1] = inputs().map(Grid::line).max().unwrap_or(0) as u32;
        }
        step.name = self.name(&f.node.name);
        self.describe(f, &mut step, shape);
        self.steps.push(step);
        Ok(())
    }

    /// Adds a name to the table of names; returns its start and its length.
    fn name(&mut self, name: &str) -> [u32; 2] {
        let start = self.names.len();
        self.names.extend(name.as_bytes());
        place(&(start..self.names.len()))
    }

    /// Fills in what a step costs. Profiles show these numbers; running needs none of them.
    fn describe(&self, f: &Fused, step: &mut Step, shape: [usize; 3]) {
        let pixels = (shape[1] * shape[2]) as u64;
        let mut traffic = 0;
        if let Some((conv, transposed)) = convolution(&f.node.operation) {
            let per_pixel = conv.weights.len() as u64;
            let input = self.grids[f.node.operation.inputs()[0].0].size();
            let places = if transposed { (input[0] * input[1]) as u64 } else { pixels };
            step.macs = halves(per_pixel * places);
            step.parameters = (conv.weights.len() + conv.bias.len()) as u32;
            traffic += per_pixel;
        }
        for TensorId(t) in f.inputs().chain(f.output()) {
            let grid = &self.grids[t];
            traffic += (grid.height() * grid.row_len()) as u64;
        }
        step.traffic = halves(traffic);
        step.shape = shape.map(|n| n as u16);
    }

    /// The step of a convolution, with its stage and its phases.
    fn convolution(
        &mut self,
        f: &Fused<'a>,
        activation: Option<Activation>,
        shapes: &Shapes,
    ) -> Result<Step, PlanError> {
        let Some((conv, transposed)) = convolution(&f.node.operation) else {
            return Err(fault(f.node, "is no convolution"));
        };
        let inputs: Vec<usize> = f.node.operation.inputs().iter().map(|id| id.0).collect();
        let mut step = Step { kind: kind::CONVOLVE, ..BLANK };
        // Rules come before phases: making them proves that no sum overflows, and the phases'
        // biases are sums too.
        let real = Quant { scale: 1.0, zero_point: 0 };
        let rules = match (activation, f.node.operation.output()) {
            (Some(Activation::Sigmoid), _) if transposed => {
                return Err(fault(f.node, "has a sigmoid behind a transposed convolution"));
            }
            (Some(Activation::Sigmoid) | None, _) => {
                let sigmoids = activation.is_some();
                step.result = if sigmoids { result::SIGMOIDS } else { result::LOGITS };
                let first = self.scales.len();
                let rules = self.rules(f, conv, Activation::Linear, inputs[0], real)?;
                let scales = self.scales[first..].iter_mut();
                for (scale, own) in scales.zip(&conv.scales) {
                    *scale = self.grids[inputs[0]].scale * own;
                }
                rules
            }
            (Some(activation), Some(own)) => {
                let own = self.grids[own.0].quant();
                let mut rules = self.rules(f, conv, activation, inputs[0], own)?;
                if let Some((other, sum)) = f.residual {
                    let [other_quant, sum] = [other, sum].map(|id| self.grids[id.0].quant());
                    let sum = Sum::new(own, other_quant, sum);
                    let requant = |source| PlanError::Requant { node: f.node.name.clone(), source };
                    rules.sum = Some(sum.map_err(requant)?);
                    step.residual = other.0 as u32;
                }
                rules
            }
            (Some(_), None) => return Err(fault(f.node, "has no output")),
        };
        let scales = self.scales.len() - padded(conv.cout);
        self.stages.push(Stage::new(&rules, scales as u32));
        step.stage = (self.stages.len() - 1) as u32;
        let first = self.phases.len();
        for outputs in output_phases(conv, transposed, shapes.made(f.node)) {
            self.phase(f.node, &outputs, conv, &inputs)?;
        }
        let phases = &self.phases[first..];
        step.phases = [first as u32, phases.len() as u32];
        step.rows = phases.iter().map(|phase| phase.size[0]).max().unwrap_or(0);
        let span = phases.iter().map(Phase::granularity).fold(1, least_common_multiple);
        step.span = span as u16;
        let packing = self.kernel.packing();
        let scratch = self.orders[first..].iter().map(|(_, order)| order.scratch(packing));
        let scratch = scratch.max().unwrap_or(0);
        step.scratch[1] = u32::try_from(scratch).map_err(|_| PlanError::Long(scratch))?;
        Ok(step)
    }

    /// The fixed-point rules of a layer. Adds the layer's scales to their table, and checks that
    /// its sums fit in 32 bits.
    fn rules(
        &mut self,
        f: &Fused,
        conv: &Convolution,
        activation: Activation,
        input: usize,
        out: Quant,
    ) -> Result<Rules, PlanError> {
        let input = self.grids[input].quant();
        // A count adds at most 255 times a weight to a sum. The bias contains the zero point times
        // the weights, again at most 255 times.
        let bound = |(sum, &bias): (u64, &i32)| sum as f64 * 510.0 + f64::from(bias).abs();
        let bounds = conv.magnitudes().zip(&conv.bias).map(bound);
        let first = self.scales.len();
        self.scales.resize(first + padded(conv.cout), 0.0);
        let scales = &mut self.scales[first..];
        Rules::new(input.scale, &conv.scales, bounds, activation, out, scales)
            .map_err(|source| PlanError::Requant { node: f.node.name.clone(), source })
    }

    /// Adds a phase: its taps or feeds, its biases, and the order of its weights.
    fn phase(
        &mut self,
        node: &Node,
        outputs: &OutputPhase,
        conv: &'a Convolution,
        inputs: &[usize],
    ) -> Result<(), PlanError> {
        let taken: Vec<usize> = outputs.taps[0]
            .iter()
            .flat_map(|&(_, ky)| {
                outputs.taps[1].iter().map(move |&(_, kx)| ky * conv.kernel[1] + kx)
            })
            .collect();
        let mut phase = Phase {
            origin: outputs.origin.map(|n| n as u16),
            out_step: outputs.out_step.map(|n| n as u16),
            in_step: outputs.in_step.map(|n| n as u16),
            size: outputs.size.map(|n| n as u16),
            dilation: [1, 1],
            tile_taps: 0,
            lowest: 0,
            feeds: [0, 0],
            down: [0; 4],
            across: [[0; 2]; 2],
            bias: self.bias.len() as u32,
            blocks: conv.cout.div_ceil(BLOCK) as u32,
            weights: [0, 0],
        };
        let order = match tap_grids(node, outputs, &self.grids, self.kernel) {
            Some(taps) => self.tiles(&mut phase, &taps, conv, inputs),
            None => self.rows(&mut phase, outputs, conv, inputs),
        };
        let len = order.len(self.kernel.packing(), phase.blocks as usize);
        let offset = match order {
            Order::Rows(_) => self.kernel.offset().into(),
            Order::Tiles { .. } => 0,
        };
        let start = self.weights.next_multiple_of(ALIGN);
        if start as u64 + len > ARENA_LIMIT as u64 {
            return Err(PlanError::Long(start as u64 + len));
        }
        phase.weights = [start as u32, len as u32];
        self.weights = start + len as usize;
        self.add_bias(conv, inputs[0], &taken, offset);
        self.phases.push(phase);
        self.orders.push((conv, order));
        Ok(())
    }

    /// Adds the biases of a phase, padded to whole blocks: the layer's own, minus what the input's
    /// zero point adds to the sums through `taps`. The kernel subtracts `offset` from each count
    /// before it multiplies, so the zero point that it meets is smaller by as much.
    fn add_bias(&mut self, conv: &Convolution, input: usize, taps: &[usize], offset: i32) {
        let zero_point = i32::from(self.grids[input].zero_point) - offset;
        let window = conv.kernel[0] * conv.kernel[1];
        let padding = padded(conv.cout) - conv.cout;
        let weights = conv.weights.chunks(conv.weights.len() / conv.cout);
        // Where a phase has all taps, its weights lie side by side.
        let whole = taps.len() == window;
        let biases = conv.bias.iter().zip(weights).map(|(&own, weights)| {
            let taps =
                |weights: &[i8]| taps.iter().map(|&tap| i32::from(weights[tap])).sum::<i32>();
            let sum = if whole {
                sums::total(weights) as i32
            } else {
                weights.chunks(window).map(taps).sum::<i32>()
            };
            own - zero_point * sum
        });
        self.bias.extend(biases);
        self.bias.extend(core::iter::repeat_n(0, padding));
    }

    /// Describes a phase that is computed in tiles: adds a feed for each input and each group of
    /// taps down and across.
    fn tiles(
        &mut self,
        phase: &mut Phase,
        [down, across]: &[TapGrid; 2],
        conv: &Convolution,
        inputs: &[usize],
    ) -> Order {
        let first_feed = self.feeds.len();
        let mut channels = Vec::new();
        let mut cin = 0;
        for (input, grid) in inputs.iter().map(|&t| &self.grids[t]).enumerate() {
            for (y, rows) in &down.groups {
                for (x, columns) in &across.groups {
                    let first = [*y as i32, grid.gap as i32 + *x as i32];
                    self.feeds.push(Feed { input: input as u32, first, reserved: 0 });
                    let tap =
                        |i: usize| Some(rows.get(i / 3)? * conv.kernel[1] + columns.get(i % 3)?);
                    let taps: [Option<usize>; 9] = core::array::from_fn(tap);
                    let number = |c: usize| (c < grid.channels()).then_some(cin + c);
                    channels
                        .extend((0..grid.step()).map(|c| TileChannel { input: number(c), taps }));
                }
            }
            cin += grid.channels();
        }
        phase.tile_taps = down.taps as u16;
        phase.dilation = [down.dilation as u16, across.dilation as u16];
        phase.feeds = place(&(first_feed..self.feeds.len()));
        let [low, high] = phase.tile_rows(&self.feeds[first_feed..]);
        phase.down = [0, 0, low, high];
        Order::Tiles { taps: down.taps, channels }
    }

    /// Describes a phase that is computed row by row: adds the rows that its window covers, and for
    /// each input the offset of each chunk of channels under each tap of such a row.
    fn rows(
        &mut self,
        phase: &mut Phase,
        outputs: &OutputPhase,
        conv: &Convolution,
        inputs: &[usize],
    ) -> Order {
        let [down, across] = &outputs.taps;
        let start = self.taps.len();
        self.taps.extend(down.iter().map(|&(y, _)| y as i32));
        phase.down = reach(start, &self.taps[start..]);
        let mut chunks = Vec::new();
        let mut first = 0;
        for (i, &t) in inputs.iter().enumerate() {
            let grid = &self.grids[t];
            let size = grid.step().min(BLOCK);
            let parts = || (0..grid.step()).step_by(size);
            let start = self.taps.len();
            for &(x, _) in across {
                let tap = x * grid.step() as isize;
                self.taps.extend(parts().map(|at| (tap + at as isize) as i32));
            }
            phase.across[i] = place(&(start..self.taps.len()));
            for (&(_, ky), &(_, kx)) in down.iter().flat_map(|y| across.iter().map(move |x| (y, x)))
            {
                chunks.extend(parts().map(|at| Chunk {
                    first: first + at,
                    end: first + grid.channels(),
                    tap: ky * conv.kernel[1] + kx,
                    groups: size / GROUP,
                }));
            }
            // Chunks of weights of 0, where the kernel's order takes several chunks as one.
            let joined = self.kernel.packing().joined(size / GROUP);
            let own = down.len() * across.len() * parts().count();
            let filling = own.next_multiple_of(joined) - own;
            let end = first + grid.channels();
            let nothing = || Chunk { first: end, end, tap: 0, groups: size / GROUP };
            chunks.extend(core::iter::repeat_with(nothing).take(filling));
            first += grid.channels();
        }
        Order::Rows(chunks)
    }

    /// The phases of a step.
    pub(super) fn phases_of(&self, step: &Step) -> &[Phase] {
        let [first, count] = step.phases.map(|n| n as usize);
        &self.phases[first..first + count]
    }

    /// Bytes in which the taps of a row of any step can be listed, wherever they begin.
    pub(super) fn lists(&self) -> u64 {
        let listed = |phase: &Phase| {
            let across: u64 = phase.across.iter().map(|taps| taps[1] as u64).sum();
            phase.down[1] as u64 * across * 4
        };
        self.phases.iter().map(listed).max().unwrap_or(0) + 3
    }

    /// The header; [`Draft::finish`] fills in the sections and the length. `arena` and `lists` are
    /// the bytes of the arena, and of the lists at its end.
    pub(super) fn header(
        &self,
        size: Size,
        output: [usize; 3],
        meaning: Output,
        [arena, lists]: [usize; 2],
    ) -> Header {
        let (meaning, threshold) = match meaning {
            Output::Sigmoid { threshold } => (0, [threshold, logit(threshold)]),
            Output::Softmax => (1, [0.0; 2]),
            Output::Identity => (2, [0.0; 2]),
        };
        Header {
            magic: MAGIC,
            version: VERSION,
            length: 0,
            sha256: [0; 32],
            kernel: self.kernel.code(),
            input: [self.grids[0].channels(), size.height, size.width].map(|n| n as u32),
            output: output.map(|n| n as u32),
            meaning,
            threshold,
            arena: arena as u32,
            lists: lists as u32,
            sections: [[0; 2]; 14],
        }
    }

    /// Makes the image: header, tables and weights, each section at a multiple of [`ALIGN`].
    pub(super) fn finish(
        mut self,
        mut header: Header,
        attachment: &[u8],
    ) -> Result<Buffer, PlanError> {
        let mut end = size_of::<Header>() as u64;
        for section in Section::ALL {
            let len = match section {
                Section::Weights => self.weights,
                Section::Attachment => attachment.len(),
                _ => self.table(section).len(),
            };
            let start = end.next_multiple_of(ALIGN as u64);
            end = start + len as u64;
            if end > ARENA_LIMIT as u64 {
                return Err(PlanError::Long(end));
            }
            header.sections[section as usize] = [start as u32, len as u32];
        }
        header.length = end as u32;
        let mut image = Buffer::zeroed(end as usize);
        let place = |section: Section| {
            let [start, len] = header.sections[section as usize].map(|n| n as usize);
            start..start + len
        };
        self.pack(&mut image[place(Section::Weights)]);
        image[..size_of::<Header>()].copy_from_slice(record::bytes(&[header]));
        image[place(Section::Attachment)].copy_from_slice(attachment);
        for section in Section::ALL {
            if !matches!(section, Section::Weights | Section::Attachment) {
                image[place(section)].copy_from_slice(self.table(section));
            }
        }
        Ok(image)
    }

    /// The bytes of a section that is copied from a table.
    fn table(&self, section: Section) -> &[u8] {
        match section {
            Section::Tensors => record::bytes(&self.grids),
            Section::Steps => record::bytes(&self.steps),
            Section::Passes => record::bytes(&self.passes),
            Section::Phases => record::bytes(&self.phases),
            Section::Feeds => record::bytes(&self.feeds),
            Section::Stages => record::bytes(&self.stages),
            Section::Taps => record::bytes(&self.taps),
            Section::Bias => record::bytes(&self.bias),
            Section::Scales => record::bytes(&self.scales),
            Section::Tables => record::bytes(&self.tables),
            Section::Names => &self.names,
            Section::Attachment | Section::Weights | Section::Recipe => &[],
        }
    }

    /// Packs the weights of all phases, and notes which phases have a weight of -128.
    fn pack(&mut self, weights: &mut [u8]) {
        for (phase, (conv, order)) in self.phases.iter_mut().zip(&self.orders) {
            let [start, len] = phase.weights.map(|n| n as usize);
            let out = &mut weights[start..start + len];
            let lowest = order.pack(conv, self.kernel.packing(), phase.blocks as usize, out);
            phase.lowest = lowest.into();
        }
    }
}
