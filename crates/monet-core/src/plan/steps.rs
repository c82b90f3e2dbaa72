//! Steps of nodes: taps, weights in the order in which a kernel meets them, fixed-point rules.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::super::graph::{Activation, Convolution, Node, Operation, Quant, Source};
use super::super::kernels::{BLOCK, GROUP, Kernel, pack, winograd};
use super::super::requant::{Product, Stage, Sum};
use super::fuse::Fused;
use super::shapes::{Shapes, convolution};
use super::taps::{Combs, Sieve, combs, sieves};
use super::{
    ConvResult, ConvStep, GROUP_ROWS, Grid, Phase, PlanError, Rows, Step, StepInfo, TileFeed,
    Tiles, Way, fault, least_common_multiple,
};

/// Makes steps of nodes.
pub(super) struct Builder<'a> {
    pub(super) grids: &'a [Grid],
    pub(super) kernel: Kernel,
}

impl Builder<'_> {
    pub(super) fn step(
        &self,
        f: &Fused,
        shapes: &Shapes,
        [scratch, row]: [Range<usize>; 2],
    ) -> Result<Step, PlanError> {
        let requant = |source| PlanError::Requant { node: f.node.name.clone(), source };
        Ok(match &f.node.operation {
            Operation::Convolve { activation, .. } | Operation::Transpose { activation, .. } => {
                Step::Convolve(self.convolve(f, Some(*activation), shapes, scratch, row)?)
            }
            Operation::Logits { .. } => {
                Step::Convolve(self.convolve(f, None, shapes, scratch, row)?)
            }
            Operation::Add { inputs, output } => {
                let q = |s: Source| self.grids[s.0].quant;
                let sum = Sum::new(q(inputs[0]), q(inputs[1]), q(*output)).map_err(requant)?;
                Step::Add { inputs: inputs.map(|s| s.0), output: output.0, sum }
            }
            Operation::Scale { inputs, output } => {
                let q = |s: Source| self.grids[s.0].quant;
                let product =
                    Product::new(q(inputs[0]), q(inputs[1]), q(*output)).map_err(requant)?;
                Step::Scale { inputs: inputs.map(|s| s.0), output: output.0, product }
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
        // Its rules first: they see to it that no sum overflows, the biases of the phases included.
        let result = match (activation, f.node.operation.output()) {
            (Some(Activation::Sigmoid), _) if transposed => {
                return Err(fault(f.node, "has a sigmoid behind a transposed convolution"));
            }
            (Some(Activation::Sigmoid), Some(Source(output))) => {
                ConvResult::Sigmoids { stage: self.reals(f, conv, inputs[0])?, row, output }
            }
            (Some(activation), _) => self.counts(f, conv, activation, inputs[0])?,
            (None, _) => ConvResult::Logits { stage: self.reals(f, conv, inputs[0])?, row },
        };
        let phases = sieves(conv, transposed, shapes.made(f.node));
        let phases: Vec<Phase> =
            phases.iter().map(|s| self.phase(f.node, s, conv, &inputs)).collect();
        let span = phases.iter().map(Phase::granularity).fold(1, least_common_multiple);
        debug_assert!(span <= GROUP_ROWS * conv.dilation[0], "overlays count on it");
        Ok(ConvStep { inputs, phases, span, result, scratch })
    }

    /// The bias of a layer, padded to whole blocks, less what the input's zero point adds through
    /// these taps; `offset` is what the counts have less when they are multiplied.
    fn bias(&self, conv: &Convolution, input: usize, taps: &[usize], offset: i32) -> Vec<i32> {
        let zero_point = i32::from(self.grids[input].quant.zero_point) - offset;
        let window = conv.kernel[0] * conv.kernel[1];
        let mut bias = vec![0; conv.cout.next_multiple_of(BLOCK)];
        let weights = conv.weights.chunks(conv.weights.len() / conv.cout);
        for (bias, (&own, weights)) in bias.iter_mut().zip(conv.bias.iter().zip(weights)) {
            let taps =
                |weights: &[i8]| taps.iter().map(|&tap| i32::from(weights[tap])).sum::<i32>();
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
        let Some(own) = f.node.operation.output() else {
            return Err(fault(f.node, "has no output"));
        };
        let own = self.grids[own.0].quant;
        let mut stage = self.stage(f, conv, activation, input, own)?;
        let mut output = f.node.operation.output();
        let mut residual = None;
        if let Some((other, sum)) = f.residual {
            let rules = Sum::new(own, self.grids[other.0].quant, self.grids[sum.0].quant);
            stage.sum = Some(
                rules.map_err(|source| PlanError::Requant { node: f.node.name.clone(), source })?,
            );
            output = Some(sum);
            residual = Some(other.0);
        }
        match output {
            Some(Source(output)) => Ok(ConvResult::Counts { output, stage, residual }),
            None => Err(fault(f.node, "has no output")),
        }
    }

    /// From sums to their real values.
    fn reals(&self, f: &Fused, conv: &Convolution, input: usize) -> Result<Stage, PlanError> {
        let real = Quant { scale: 1.0, zero_point: 0 };
        let mut stage = self.stage(f, conv, Activation::Linear, input, real)?;
        for (scale, own) in stage.scales.iter_mut().zip(&conv.scales) {
            *scale = self.grids[input].quant.scale * own;
        }
        Ok(stage)
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
        // Of each channel of the feeds: its number in the net, none for padding, and its taps in
        // rows of three, none for those that two by two have not.
        let mut channels = Vec::new();
        let mut cin = 0;
        for (input, grid) in inputs.iter().map(|&t| &self.grids[t]).enumerate() {
            for (y, rows) in &down.combs {
                for (x, columns) in &across.combs {
                    let first = |axis: usize, at: isize| (grid.halo[axis] as isize + at) as usize;
                    feeds.push(TileFeed { input, first: [first(0, *y), first(1, *x)] });
                    let number = |c: usize| (c < grid.channels).then_some(cin + c);
                    let tap =
                        |i: usize| Some(rows.get(i / 3)? * conv.kernel[1] + columns.get(i % 3)?);
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
        let weights =
            winograd::transform(down.taps, conv.cout.div_ceil(BLOCK), channels.len(), window);
        Way::Tiles(Tiles {
            taps: down.taps,
            dilation: [down.dilation, across.dilation],
            feeds,
            weights,
        })
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
                        let at = y * grid.row() as isize
                            + x * grid.step as isize
                            + (chunk * size) as isize;
                        offsets.push(at as i32);
                        chunks.push((
                            first + chunk * size,
                            first + grid.channels,
                            ky * conv.kernel[1] + kx,
                        ));
                        groups.push(size / GROUP);
                    }
                }
            }
            taps.push(offsets);
            first += grid.channels;
        }
        let weight = |output: usize, input: usize, tap: usize| {
            conv.weights[(output * cin + input) * window + tap]
        };
        let blocks = conv.cout.div_ceil(BLOCK);
        let weights = pack(self.kernel.packing(), blocks, &groups, |output, chunk, channel| {
            let (start, end, tap) = chunks[chunk];
            let input = start + channel;
            if output < conv.cout && input < end { weight(output, input, tap) } else { 0 }
        });
        let reach = taps
            .iter()
            .map(|t| [t.iter().copied().min().unwrap_or(0), t.iter().copied().max().unwrap_or(0)]);
        let reach = reach.collect();
        Way::Rows(Rows { taps, reach, weights })
    }

    pub(super) fn input_info(&self) -> StepInfo {
        let grid = &self.grids[0];
        let [h, w] = grid.size;
        StepInfo {
            name: "input".into(),
            kind: "quantize",
            shape: [grid.channels, h, w],
            macs: 0,
            parameters: 0,
            bytes: (h * w) as u64 * (grid.channels * 4 + grid.step) as u64,
            arena: grid.offset..grid.offset + grid.len(),
        }
    }

    pub(super) fn info(&self, f: &Fused, step: &Step, shape: [usize; 3]) -> StepInfo {
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
            (Step::Scale { .. }, _) => "scale",
            (Step::Lookup { .. }, _) => "lookup",
            (Step::MaxPool { .. }, _) => "max-pool",
            (Step::Dequantize { .. }, _) => "dequantize",
        };
        let arena = f.output().map_or(0..0, |Source(t)| {
            self.grids[t].offset..self.grids[t].offset + self.grids[t].len()
        });
        StepInfo { name: f.node.name.clone(), kind, shape, macs, parameters, bytes, arena }
    }
}
