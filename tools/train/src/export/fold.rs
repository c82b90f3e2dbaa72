//! Batch normalisation folded into weights and biases, in f64.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::net::{BN_EPSILON, Block, Net, Norm};
use crate::topology::{Conv, Op};

/// A convolution with batch normalisation folded into weight and bias.
#[derive(Debug, Clone)]
pub struct Folded {
    /// In the order of [`Conv::weight_shape`].
    pub weight: Vec<f32>,
    /// Per output channel.
    pub bias: Vec<f32>,
}

/// Folds every block, in f64.
///
/// # Errors
/// Those of tch.
pub fn fold(net: &Net) -> Result<Vec<Option<Folded>>> {
    let convs = net.topology.nodes.iter().zip(&net.blocks);
    convs
        .map(|(node, block)| match (node.op, block) {
            (Op::Conv(conv), Some(block)) => fold_block(&conv, block).map(Some),
            _ => Ok(None),
        })
        .collect()
}

fn fold_block(conv: &Conv, block: &Block) -> Result<Folded> {
    let double = |t: &Tensor| t.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    let mut weight = double(&block.weight);
    let mut bias = match &block.bias {
        Some(bias) => double(bias),
        None => Tensor::zeros([conv.outputs as i64], (Kind::Double, Device::Cpu)),
    };
    if let Some(Norm { gamma, beta, mean, var }) = &block.norm {
        let factor = double(gamma) / (double(var) + BN_EPSILON).sqrt();
        let shape = if conv.transposed { [1, -1, 1, 1] } else { [-1, 1, 1, 1] };
        weight *= factor.reshape(shape);
        bias = double(beta) + (bias - double(mean)) * factor;
    }
    let floats = |t: Tensor| Vec::<f32>::try_from(t.to_kind(Kind::Float).flatten(0, -1));
    Ok(Folded { weight: floats(weight)?, bias: floats(bias)? })
}
