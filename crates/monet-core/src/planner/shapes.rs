//! Sizes of all tensors and of their borders, from the size of the slice. Here every operation's
//! geometry is checked, too.

use super::super::graph::{Convolution, Node, Operation, QuantGraph, TensorId};
use super::super::grid::Grid;
use super::super::kernels::{GROUP, padded};
use super::super::types::{Activation, Output};
use super::fuse::Fused;
use super::taps::output_phases;
use super::{ARENA_LIMIT, LIMIT, PlanError, fault};
use alloc::{format, vec, vec::Vec};

/// Sizes of all tensors.
pub(super) struct Shapes {
    /// Height and width per tensor.
    pub(super) tensors: Vec<[usize; 2]>,
    /// Channels, height and width of what each node makes.
    pub(super) outputs: Vec<[usize; 3]>,
}

impl Shapes {
    /// Follows the slice's size through all nodes.
    pub(super) fn new(
        graph: &QuantGraph,
        fused: &[Fused],
        size: [usize; 2],
    ) -> Result<Self, PlanError> {
        let channels = graph.tensors.first().map_or(0, |t| t.channels);
        if size.iter().any(|&n| n == 0 || n > LIMIT) || channels == 0 {
            let found =
                format!("sides must be 1 to {LIMIT}, and the net needs an input with channels");
            return Err(PlanError::Size { height: size[0], width: size[1], found });
        }
        let mut tensors = vec![[0, 0]; graph.tensors.len()];
        tensors[0] = size;
        let mut outputs = Vec::with_capacity(fused.len());
        for f in fused {
            let (channels, out) = shape(graph, f.node, &tensors)?;
            for t in f
                .residual
                .iter()
                .flat_map(|r| [r.0.0, r.1.0])
                .chain(f.node.operation.output().map(|s| s.0))
            {
                if graph.tensors[t].channels != channels
                    || (tensors[t] != [0, 0] && tensors[t] != out)
                {
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
            for TensorId(t) in f.output().into_iter().chain(f.node.operation.output()) {
                tensors[t] = out;
            }
            outputs.push([channels, out[0], out[1]]);
        }
        Ok(Self { tensors, outputs })
    }

    /// Height and width of what a node makes.
    pub(super) fn made(&self, node: &Node) -> [usize; 2] {
        match node.operation.output() {
            Some(TensorId(t)) => self.tensors[t],
            // Only the last node has no output tensor: it makes the logits.
            None => {
                let [_, h, w] = self.outputs[self.outputs.len() - 1];
                [h, w]
            }
        }
    }

    /// The tensors with the gaps that their readers need, not yet placed.
    pub(super) fn grids(
        &self,
        graph: &QuantGraph,
        fused: &[Fused],
    ) -> Result<Vec<Grid>, PlanError> {
        let mut grids: Vec<Grid> = graph
            .tensors
            .iter()
            .zip(&self.tensors)
            .enumerate()
            .map(|(i, (tensor, &size))| Grid {
                size: size.map(|n| n as u16),
                channels: tensor.channels as u16,
                // Kernels store whole blocks of channels. Only the input, which no kernel stores,
                // may have fewer.
                step: match tensor.channels {
                    channels if i == 0 && channels <= GROUP => GROUP as u16,
                    channels => padded(channels) as u16,
                },
                slots: size[0] as u16,
                zero_point: tensor.quant.zero_point.into(),
                gap: 0,
                offset: 0,
                scale: tensor.quant.scale,
            })
            .collect();
        for (f, &[_, h, w]) in fused.iter().zip(&self.outputs) {
            let Some((conv, transposed)) = convolution(&f.node.operation) else { continue };
            for outputs in output_phases(conv, transposed, [h, w]) {
                let Some([low, high]) = outputs.columns() else { continue };
                for &TensorId(t) in f.node.operation.inputs() {
                    let grid = &mut grids[t];
                    let beyond = high - (grid.width() as isize - 1);
                    grid.gap = grid.gap.max((-low).max(beyond).max(0) as u32);
                }
            }
        }
        // In 64 bits: each factor is within its limit, but on a 32-bit machine the product could
        // overflow.
        let bytes = |g: &Grid| {
            let ([height, width], gap) = (g.size.map(u64::from), u64::from(g.gap));
            (height + 2) * (width + 2 * gap) * u64::from(g.step)
        };
        if grids.iter().any(|g| bytes(g) > ARENA_LIMIT as u64) {
            let [height, width] = self.tensors[0];
            let found =
                format!("a tensor would take more than {ARENA_LIMIT} bytes; use smaller slices");
            return Err(PlanError::Size { height, width, found });
        }
        Ok(grids)
    }
}

/// Channels and size of what a node makes.
pub(super) fn shape(
    graph: &QuantGraph,
    node: &Node,
    sizes: &[[usize; 2]],
) -> Result<(usize, [usize; 2]), PlanError> {
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
        Operation::Scale { inputs, .. } if graph.tensors[inputs[1].0].channels != 1 => {
            let found = graph.tensors[inputs[1].0].channels;
            Err(fault(node, format!("multiplies by a tensor of {found} channels, expected 1")))
        }
        Operation::Add { .. }
        | Operation::Scale { .. }
        | Operation::Lookup { .. }
        | Operation::Dequantize { .. } => Ok((channels, size)),
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

/// Checks a convolution's inputs, and that it has as many weights, scales and biases as they ask
/// for.
pub(super) fn check_weights(
    graph: &QuantGraph,
    node: &Node,
    conv: &Convolution,
) -> Result<(), PlanError> {
    let inputs = node.operation.inputs();
    if inputs.len() > 2 {
        return Err(fault(node, format!("has {} inputs, at most 2 are supported", inputs.len())));
    }
    let quant = graph.tensors[inputs[0].0].quant;
    if inputs.iter().any(|s| graph.tensors[s.0].quant != quant) {
        return Err(fault(
            node,
            "has inputs of different quantization; put a lookup before one of them",
        ));
    }
    let cin: usize = inputs.iter().map(|s| graph.tensors[s.0].channels).sum();
    if conv.cout == 0
        || conv.cout > LIMIT
        || cin > LIMIT
        || conv.kernel.iter().any(|&k| k == 0 || k > 64)
    {
        return Err(fault(node, "has a channel count or window that is not supported"));
    }
    let window = conv.kernel[0] * conv.kernel[1];
    let expected =
        conv.cout.checked_mul(cin).and_then(|n| n.checked_mul(window)).unwrap_or(usize::MAX);
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

/// Checks that the numbers of a window are in range.
pub(super) fn check_window(node: &Node, conv: &Convolution) -> Result<(), PlanError> {
    let positive =
        conv.kernel.iter().chain(&conv.stride).chain(&conv.dilation).all(|&n| n > 0 && n <= 64);
    let border = conv.pads.iter().chain(&conv.output_padding).all(|&n| n <= 4096);
    if positive && border {
        Ok(())
    } else {
        Err(fault(node, "has a window, stride, dilation or border out of range"))
    }
}

/// Rows and columns that a convolution, or a pooling with the same window, makes.
pub(super) fn window_size(
    node: &Node,
    conv: &Convolution,
    size: [usize; 2],
) -> Result<[usize; 2], PlanError> {
    check_window(node, conv)?;
    let mut out = [0; 2];
    for axis in 0..2 {
        let span = conv.dilation[axis] * (conv.kernel[axis] - 1) + 1;
        let padded = size[axis] + conv.pads[axis] + conv.pads[axis + 2];
        let Some(room) = padded.checked_sub(span) else {
            return Err(fault(
                node,
                format!("has a window of {span} over {padded} rows or columns"),
            ));
        };
        out[axis] = room / conv.stride[axis] + 1;
        if out[axis] > LIMIT {
            return Err(fault(
                node,
                format!("makes {} rows or columns, the limit is {LIMIT}", out[axis]),
            ));
        }
    }
    Ok(out)
}

/// Rows and columns that a transposed convolution makes.
pub(super) fn transposed_size(
    node: &Node,
    conv: &Convolution,
    size: [usize; 2],
) -> Result<[usize; 2], PlanError> {
    check_window(node, conv)?;
    let mut out = [0; 2];
    for axis in 0..2 {
        let full = (size[axis] - 1) * conv.stride[axis]
            + conv.dilation[axis] * (conv.kernel[axis] - 1)
            + 1
            + conv.output_padding[axis];
        match full.checked_sub(conv.pads[axis] + conv.pads[axis + 2]) {
            Some(n) if n > 0 && n <= LIMIT => out[axis] = n,
            _ => {
                return Err(fault(
                    node,
                    format!("makes {full} rows or columns, then removes its border"),
                ));
            }
        }
    }
    Ok(out)
}

/// Whether a step makes real values, a row at a time. The run then turns these into labels,
/// probabilities or counts; the kernel makes no counts.
pub(super) fn makes_reals(operation: &Operation) -> bool {
    match operation {
        Operation::Logits { .. } | Operation::Dequantize { .. } => true,
        Operation::Convolve { activation, .. } => *activation == Activation::Sigmoid,
        _ => false,
    }
}

/// The convolution of an operation that is one, and whether it is transposed.
pub(super) fn convolution(operation: &Operation) -> Option<(&Convolution, bool)> {
    match operation {
        Operation::Convolve { conv, .. } | Operation::Logits { conv, .. } => Some((conv, false)),
        Operation::Transpose { conv, .. } => Some((conv, true)),
        _ => None,
    }
}

/// Checks that the net ends in logits of the kind that its output needs; returns the number of
/// classes, and the height and width of the logits.
pub(super) fn final_logits(
    graph: &QuantGraph,
    shapes: &Shapes,
    [height, width]: [usize; 2],
) -> Result<(usize, [usize; 2]), PlanError> {
    let heads = |n: &&Node| n.operation.output().is_none();
    let found = match (
        graph.nodes.last().filter(heads),
        graph.nodes.iter().filter(heads).count(),
        graph.output,
    ) {
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
