//! Which additions ride in the epilogue of the convolution that feeds them.

use super::super::graph::{Node, Operation, QuantGraph, TensorId};
use super::shapes::{convolution, makes_reals};
use super::{PlanError, fault};
use alloc::{format, vec, vec::Vec};

/// A node, and the addition that has become part of it.
pub(super) struct Fused<'a> {
    pub(super) node: &'a Node,
    /// The other summand and the sum.
    pub(super) residual: Option<(TensorId, TensorId)>,
}

impl Fused<'_> {
    pub(super) fn output(&self) -> Option<TensorId> {
        self.residual.map(|(_, sum)| sum).or(self.node.operation.output())
    }

    pub(super) fn inputs(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.node.operation.inputs().iter().copied().chain(self.residual.map(|(other, _)| other))
    }
}

/// Checks the order of the graph and moves each addition into the convolution that feeds it alone.
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
                        format!("writes tensor {t}, which is not there to be written"),
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
