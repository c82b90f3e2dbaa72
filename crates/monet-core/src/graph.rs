//! The quantized net, before any slice size, kernel or memory is chosen.
//!
//! Plain data: importers make a [`QuantGraph`], and the planner turns it into an
//! [`Image`](super::Image). Nothing here computes.

use super::sums;
use super::types::{Activation, Output, Pool, Quant};
use alloc::{boxed::Box, string::String, vec, vec::Vec};

/// Names a tensor of the graph: its index in [`QuantGraph::tensors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// A u8 activation tensor; its height and width follow from the slice's.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Number of channels.
    pub channels: usize,
    /// Which real values its counts stand for.
    pub quant: Quant,
}

/// Weights and geometry of a convolution, or of a transposed convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Convolution {
    /// Output channels.
    pub cout: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Rows and columns of the input from one output pixel's window to the next. Transposed: rows
    /// and columns of the output from one input pixel's window to the next.
    pub stride: [usize; 2],
    /// Rows and columns from one tap to the next.
    pub dilation: [usize; 2],
    /// Rows and columns of border: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Transposed only: rows and columns added at the end.
    pub output_padding: [usize; 2],
    /// `[cout][cin][ky][kx]`, where cin counts the channels of all inputs in order.
    pub weights: Vec<i8>,
    /// The real value of a weight of 1, for each output channel.
    pub scales: Vec<f32>,
    /// Added to the sums of each output channel, in units of input scale × weight scale.
    pub bias: Vec<i32>,
}

impl Convolution {
    /// The sum of the weights' magnitudes, for each output channel.
    pub(super) fn magnitudes(&self) -> impl Iterator<Item = u64> {
        self.channels().map(sums::magnitudes)
    }

    /// The largest magnitude of a sum whose inputs are 0 to 1, for each output channel: the
    /// positive weights together, or the negative ones.
    pub(super) fn reaches(&self) -> impl Iterator<Item = u64> {
        let reach = |weights| (sums::magnitudes(weights) + sums::total(weights).unsigned_abs()) / 2;
        self.channels().map(reach)
    }

    /// The weights of each output channel.
    fn channels(&self) -> impl Iterator<Item = &[i8]> {
        self.weights.chunks((self.weights.len() / self.cout).max(1))
    }
}

impl Default for Convolution {
    fn default() -> Self {
        Self {
            cout: 0,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            output_padding: [0; 2],
            weights: Vec::new(),
            scales: Vec::new(),
            bias: Vec::new(),
        }
    }
}

/// One operation of the net.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Convolution over the channels of one or two inputs together. Both inputs have the same
    /// quantization.
    Convolve {
        /// One or two tensors.
        inputs: Vec<TensorId>,
        /// Weights and geometry.
        conv: Convolution,
        /// Applied to the sums before they are quantized.
        activation: Activation,
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Transposed convolution over one or two inputs.
    Transpose {
        /// One or two tensors.
        inputs: Vec<TensorId>,
        /// Weights (output channel first) and geometry.
        conv: Convolution,
        /// Applied to the sums before they are quantized.
        activation: Activation,
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Sum of the real values of two tensors.
    Add {
        /// The two summands.
        inputs: [TensorId; 2],
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Product of the real values of a tensor's channels with those of a tensor of one channel: an
    /// attention gate.
    Scale {
        /// The tensor, then the tensor of one channel.
        inputs: [TensorId; 2],
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Each count replaced through a table: for activations of quantized values, and for changes of
    /// scale.
    Lookup {
        /// The tensor that is read.
        input: TensorId,
        /// The new count for each old one.
        table: Box<[u8; 256]>,
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Largest count of each window.
    MaxPool {
        /// The tensor that is read.
        input: TensorId,
        /// The geometry of the windows.
        pool: Pool,
        /// The tensor that it fills, with the quantization of the input.
        output: TensorId,
    },
    /// The last convolution: its real-valued sums are the logits.
    Logits {
        /// One or two tensors.
        inputs: Vec<TensorId>,
        /// Weights and geometry.
        conv: Convolution,
    },
    /// The last node where it is not a convolution: the real values of a tensor are the logits.
    Dequantize {
        /// The tensor that is read.
        input: TensorId,
    },
}

/// An operation under the name that its file gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// A name for profiles and messages.
    pub name: String,
    /// What it does.
    pub operation: Operation,
}

/// A net: its first tensor is the quantized input, its last node gives the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantGraph {
    /// All u8 tensors; the first is the input.
    pub tensors: Vec<Tensor>,
    /// All nodes, in an order in which each reads only tensors that earlier nodes fill.
    pub nodes: Vec<Node>,
    /// What the logits mean.
    pub output: Output,
}

impl QuantGraph {
    /// A net without nodes whose input has these channels and this quantization.
    pub fn new(channels: usize, quant: Quant) -> Self {
        Self {
            tensors: vec![Tensor { channels, quant }],
            nodes: Vec::new(),
            output: Output::Softmax,
        }
    }

    /// Adds a tensor and returns its handle.
    pub fn tensor(&mut self, channels: usize, quant: Quant) -> TensorId {
        self.tensors.push(Tensor { channels, quant });
        TensorId(self.tensors.len() - 1)
    }

    /// Appends a node.
    pub fn push(&mut self, name: impl Into<String>, operation: Operation) {
        self.nodes.push(Node { name: name.into(), operation });
    }
}

impl Operation {
    /// The tensors that are read.
    pub fn inputs(&self) -> &[TensorId] {
        match self {
            Self::Convolve { inputs, .. }
            | Self::Transpose { inputs, .. }
            | Self::Logits { inputs, .. } => inputs,
            Self::Add { inputs, .. } | Self::Scale { inputs, .. } => inputs,
            Self::Lookup { input, .. }
            | Self::MaxPool { input, .. }
            | Self::Dequantize { input } => core::slice::from_ref(input),
        }
    }

    /// The tensor that is filled; `None` for logits.
    pub fn output(&self) -> Option<TensorId> {
        match self {
            Self::Convolve { output, .. }
            | Self::Transpose { output, .. }
            | Self::Add { output, .. }
            | Self::Scale { output, .. }
            | Self::Lookup { output, .. }
            | Self::MaxPool { output, .. } => Some(*output),
            Self::Logits { .. } | Self::Dequantize { .. } => None,
        }
    }
}
