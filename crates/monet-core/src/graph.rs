//! The quantized net as its file says it, before any size, kernel or memory is chosen.
//!
//! Plain data: importers fill it, [`Plan`](super::Plan) consumes it. Nothing here computes.

use super::types::{Activation, Output, Pool, Quant};
use alloc::{boxed::Box, string::String, vec, vec::Vec};

/// A tensor of the graph, by its index in [`QuantGraph::tensors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorId(pub usize);

/// A u8 activation tensor; its height and width follow from the slice's.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Number of channels.
    pub channels: usize,
    /// How its counts stand for real values.
    pub quant: Quant,
}

/// Weights and geometry of a convolution or, with the same fields, of a transposed one.
#[derive(Debug, Clone, PartialEq)]
pub struct Convolution {
    /// Output channels.
    pub cout: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Rows and columns from one output to the next (transposed: from one input's output to the
    /// next).
    pub stride: [usize; 2],
    /// Rows and columns from one tap to the next.
    pub dilation: [usize; 2],
    /// Rows and columns of border: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Transposed only: rows and columns added at the end.
    pub output_padding: [usize; 2],
    /// `[cout][cin][ky][kx]`, where cin counts the channels of all inputs in order.
    pub weights: Vec<i8>,
    /// Real value of one count of weight, per output channel.
    pub scales: Vec<f32>,
    /// Per output channel, in units of input scale × weight scale.
    pub bias: Vec<i32>,
}

impl Convolution {
    /// Sum of the weights' magnitudes, per output channel.
    pub(super) fn magnitudes(&self) -> impl Iterator<Item = u64> {
        // Summed in 32 bits where these suffice, for speed: this is part of every start.
        let part =
            |weights: &[i8]| weights.iter().map(|w| u32::from(w.unsigned_abs())).sum::<u32>();
        self.weights
            .chunks((self.weights.len() / self.cout).max(1))
            .map(move |weights| weights.chunks(1 << 16).map(|w| u64::from(part(w))).sum())
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
    /// Convolution over the channels of one or two inputs set side by side, all of one
    /// quantization.
    Convolve {
        /// One or two tensors.
        inputs: Vec<TensorId>,
        /// Weights and geometry.
        conv: Convolution,
        /// Between sum and quantization.
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
        /// Between sum and quantization.
        activation: Activation,
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Sum of two tensors in real values, quantized anew.
    Add {
        /// The two summands.
        inputs: [TensorId; 2],
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Product of a tensor with a single channel, which weighs all of its channels alike: the gate
    /// of attention.
    Scale {
        /// The tensor, then the channel.
        inputs: [TensorId; 2],
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Each count replaced through a table: activations after quantization, changes of scale.
    Lookup {
        /// What is read.
        input: TensorId,
        /// The new count for each old one.
        table: Box<[u8; 256]>,
        /// The tensor that it fills.
        output: TensorId,
    },
    /// Largest count of each window.
    MaxPool {
        /// What is read.
        input: TensorId,
        /// Windows.
        pool: Pool,
        /// The tensor that it fills; same quantization as its input.
        output: TensorId,
    },
    /// The last convolution: its real-valued sums are the logits.
    Logits {
        /// One or two tensors.
        inputs: Vec<TensorId>,
        /// Weights and geometry.
        conv: Convolution,
    },
    /// The real values of a tensor are the logits.
    Dequantize {
        /// What is read.
        input: TensorId,
    },
}

/// An operation under the name that its file gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// For people: profiles and messages.
    pub name: String,
    /// What it does.
    pub operation: Operation,
}

/// A net: its first tensor is the quantized input, its last node gives the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantGraph {
    /// All u8 tensors; the first is the input.
    pub tensors: Vec<Tensor>,
    /// In an order in which each reads only what stands before.
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

    /// The tensor that is filled; none for logits.
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
