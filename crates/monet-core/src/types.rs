//! Values that both a net and a plan contain: quantizations, activations, windows, outputs.
//!
//! Nothing here computes or allocates.

/// Affine quantization of a u8 tensor: `real = (value - zero_point) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quant {
    /// The real value of one count; positive and finite.
    pub scale: f32,
    /// The count that stands for 0.0.
    pub zero_point: u8,
}

/// The function that is applied to a convolution's sum before it is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// The sum itself.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, `alpha * (exp(x) - 1)` elsewhere.
    Elu {
        /// Depth of the negative plateau; positive.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))` of the real-valued sum. Transposed convolutions cannot have it.
    Sigmoid,
}

/// Geometry of a maximum over windows. The border does not count: only pixels of the tensor can be
/// the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns of border: top, left, bottom, right.
    pub pads: [usize; 4],
}

/// How logits become labels and probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// One logit per pixel: label 1 where its sigmoid lies above the threshold.
    Sigmoid {
        /// Between 0 and 1.
        threshold: f32,
    },
    /// The label is the index of the largest logit, the first among equals.
    Softmax,
    /// Labels as for [`Output::Softmax`]. Where probabilities are asked for, the logits themselves.
    Identity,
}
