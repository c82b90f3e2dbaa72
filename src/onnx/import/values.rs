//! What the importer knows of a tensor of the file, and the range of its real values.

use super::Importer;
use monet_core::requant;
use monet_core::{Activation, Convolution, Pool, Quant, TensorId};

/// What the importer knows of a tensor of the file.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Integer tensors side by side: a QuantizeLinear's result.
    Counts(Vec<TensorId>),
    /// Their real values: a DequantizeLinear's or Concat's result.
    Reals(Vec<TensorId>),
    /// Dequantized weights or biases.
    Weights(Weights),
    /// A real-valued result that waits for its QuantizeLinear.
    Pending(Pending),
}

/// Constant counts, and what one of them stands for.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    /// Without their zero points.
    pub(super) values: Vec<i32>,
    pub(super) shape: Vec<usize>,
    /// One of all, or one of each slice along the axis.
    pub(super) scales: Vec<f32>,
    pub(super) axis: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Pending {
    Convolution {
        inputs: Vec<TensorId>,
        conv: Convolution,
        activation: Activation,
        transposed: bool,
    },
    Add([TensorId; 2]),
    /// A tensor times a single channel.
    Scale([TensorId; 2]),
    Pool(Box<Pending>, Pool),
    /// A real value for each count of a tensor.
    Curve(TensorId, Box<[f32; 256]>),
    /// Several concatenated, none of them a `Concat` itself.
    Concat(Vec<Pending>),
    /// A waiting value, or the part's input where `None`, clamped between two real values.
    Clamp(Option<Box<Pending>>, [f32; 2]),
}

/// Longest chain of waiting operators. Each operator walks the chain before it, so an unbounded
/// chain takes quadratic time.
pub(super) const MOST_WAITING: usize = 8;

/// Most tensors in a concatenation.
pub(super) const MOST_BESIDE: usize = 16;

impl Pending {
    /// Length of the chain of waiting operators.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Pool(inner, _) | Self::Clamp(Some(inner), _) => 1 + inner.depth(),
            _ => 1,
        }
    }

    /// Whether a table makes it of counts, so that quantizing it again loses nothing.
    pub(super) fn is_curve(&self) -> bool {
        match self {
            Self::Curve(..) => true,
            Self::Concat(parts) => parts.iter().all(Self::is_curve),
            _ => false,
        }
    }

    /// Applies a function to each value of a curve; `None` for what is no curve.
    pub(super) fn through(self, f: &impl Fn(f32) -> f32) -> Option<Self> {
        match self {
            Self::Curve(source, mut values) => {
                values.iter_mut().for_each(|value| *value = f(*value));
                Some(Self::Curve(source, values))
            }
            Self::Concat(parts) => parts
                .into_iter()
                .map(|part| part.through(f))
                .collect::<Option<_>>()
                .map(Self::Concat),
            _ => None,
        }
    }
}

/// The quantization whose range holds these two real values and 0.
pub(super) fn holding([low, high]: [f32; 2]) -> Option<Quant> {
    let (low, high) = (-low.min(0.0), high.max(0.0));
    let scale = (low + high) / 255.0;
    (scale.is_finite() && scale > 0.0)
        .then(|| Quant { scale, zero_point: (low / scale + 0.5) as u8 })
}

impl Importer<'_> {
    /// The real values of counts.
    pub(super) fn curve(&self, source: TensorId) -> Pending {
        let Quant { scale, zero_point } = self.graph.tensors[source.0].quant;
        let value = |i: usize| (i as f32 - f32::from(zero_point)) * scale;
        Pending::Curve(source, Box::new(std::array::from_fn(value)))
    }

    /// Least and largest real value of a tensor of counts.
    fn reach(&self, source: TensorId) -> [f32; 2] {
        let Quant { scale, zero_point } = self.graph.tensors[source.0].quant;
        [0, u8::MAX].map(|count| (f32::from(count) - f32::from(zero_point)) * scale)
    }

    /// Least and largest real value of a waiting tensor; `None` where only a QuantizeLinear tells.
    pub(super) fn range(&self, pending: &Pending) -> Option<[f32; 2]> {
        let bounds = |values: &[f32]| {
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            [least, values.iter().copied().fold(f32::NEG_INFINITY, f32::max)]
        };
        match pending {
            Pending::Convolution { activation: Activation::Sigmoid, .. } => Some([0.0, 1.0]),
            Pending::Convolution { .. } | Pending::Concat(_) => None,
            Pending::Add(inputs) => {
                let [a, b] = inputs.map(|s| self.reach(s));
                Some([a[0] + b[0], a[1] + b[1]])
            }
            Pending::Scale(inputs) => {
                let [a, b] = inputs.map(|s| self.reach(s));
                Some(bounds(&[a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]]))
            }
            Pending::Pool(inner, _) => self.range(inner),
            Pending::Curve(_, values) => Some(bounds(&values[..])),
            Pending::Clamp(inner, [low, high]) => {
                let own = inner.as_ref().and_then(|inner| self.range(inner));
                let [least, most] = own.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
                Some([least.max(*low), most.min(*high)])
            }
        }
    }
}

/// Applies an activation to a real value.
pub(super) fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Elu { alpha } if x < 0.0 => alpha * (requant::exp(x) - 1.0),
        Activation::Elu { .. } => x,
        Activation::Sigmoid => requant::sigmoid(x),
    }
}
