//! Fuses additions into convolutions: an addition then happens in the epilogue of the convolution
//! that makes one of its summands, while the sums are still in registers.
//!
//! 1. Check the graph: each node reads only tensors that an earlier node writes, and no tensor is
//!    written twice.
//! 2. For each addition, look for a convolution that makes one of its summands, such that:
//!    - nobody else reads that summand,
//!    - the other summand is ready by then: an earlier node writes it,
//!    - both summands have as many channels,
//!    - the convolution makes counts, and no addition has been fused into it yet.
//! 3. Where there is one, the convolution takes the other summand as its *residual* and writes the
//!    sum. The addition itself disappears.
//!
//! ```text
//! convolve(x) -> a                       convolve(x) + r -> sum
//! add(a, r) -> sum           becomes
//! ```

use super::super::graph::{Node, Operation, QuantGraph, TensorId};
use super::shapes::{convolution, makes_reals};
use super::{PlanError, fault};
use alloc::{format, vec, vec::Vec};

/// A node, and the addition that has been fused into it.
pub(super) struct Fused<'a> {
    /// The node.
    pub(super) node: &'a Node,
    /// The addition's other summand, and its sum.
    pub(super) residual: Option<(TensorId, TensorId)>,
}

impl Fused<'_> {
    /// The tensor that is written; `None` for logits.
    pub(super) fn output(&self) -> Option<TensorId> {
        self.residual.map(|(_, sum)| sum).or(self.node.operation.output())
    }

    /// The tensors that are read.
    pub(super) fn inputs(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.node.operation.inputs().iter().copied().chain(self.residual.map(|(other, _)| other))
    }
}

/// The nodes of a graph in their order, with additions fused into convolutions.
pub(super) fn fuse(graph: &QuantGraph) -> Result<Vec<Fused<'_>>, PlanError> {
    let mut writer: Vec<Option<usize>> = vec![None; graph.tensors.len()];
    let mut readers = vec![0usize; graph.tensors.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for &TensorId(t) in node.operation.inputs() {
            if t != 0 && writer.get(t).copied().flatten().is_none() {
                return Err(fault(node, format!("reads tensor {t}, which no earlier node writes")));
            }
            readers[t] += 1;
        }
        if let Some(TensorId(t)) = node.operation.output() {
            match writer.get_mut(t) {
                Some(w) if w.is_none() && t != 0 => *w = Some(i),
                _ => {
                    return Err(fault(
                        node,
                        format!(
                            "writes tensor {t}, which is the input, or written before, or unknown"
                        ),
                    ));
                }
            }
        }
    }
    let mut fused: Vec<Option<Fused>> =
        graph.nodes.iter().map(|node| Some(Fused { node, residual: None })).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        let Operation::Add { inputs, output } = &node.operation else { continue };
        for (own, other) in [(inputs[1], inputs[0]), (inputs[0], inputs[1])] {
            let Some(w) = writer[own.0] else { continue };
            let sole = readers[own.0] == 1
                && other != TensorId(0)
                && writer[other.0].is_some_and(|o| o < w);
            let same = graph.tensors[own.0].channels == graph.tensors[other.0].channels;
            let Some(destination) = fused[w].as_mut().filter(|f| f.residual.is_none()) else {
                continue;
            };
            let summed = convolution(&destination.node.operation).is_some();
            if sole && same && summed && !makes_reals(&destination.node.operation) {
                destination.residual = Some((other, *output));
                fused[i] = None;
                break;
            }
        }
    }
    Ok(fused.into_iter().flatten().collect())
}
