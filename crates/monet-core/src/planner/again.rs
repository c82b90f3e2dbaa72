//! Computes a tensor a second time instead of keeping it.
//!
//! A skip waits for the whole way down and up again, and the first one is the largest tensor of
//! all. Its last reader gets a copy of it, which copies of the steps that made it fill just before:
//! in turns with that reader, a few rows are all that is ever in memory.
//!
//! ```text
//! input -> a -> skip -> down … up ->  last        input -> a  -> skip  -> down … up -> last
//!                 └───────────────────┘   becomes  └────────> a' -> skip' ─────────────┘
//! ```

use alloc::collections::BTreeMap;
use alloc::{format, vec, vec::Vec};

use super::super::graph::{Node, Operation, QuantGraph, TensorId};
use super::PlanError;
use super::fuse::{Fused, fuse};

/// By how much of the net's own multiplications a net that computes a tensor twice may have more,
/// in percent.
pub(super) const MOST_PERCENT: u64 = 20;

/// The graph with one tensor computed twice, for each tensor for which that is possible; one at a
/// time, as each has all weights.
///
/// # Errors
/// Those of [`fuse`], in place of a graph.
pub(super) fn variants(
    graph: &QuantGraph,
) -> impl Iterator<Item = Result<QuantGraph, PlanError>> + '_ {
    let twice = |tensor| Twice::new(graph, TensorId(tensor));
    (0..graph.tensors.len()).filter_map(twice).filter_map(|twice| match twice.adds_as(graph) {
        Ok(alike) => alike.then_some(Ok(twice.graph)),
        Err(error) => Some(Err(error)),
    })
}

/// A graph that computes a tensor twice.
struct Twice {
    graph: QuantGraph,
    /// For each of its nodes: the index of the node that it is, or of which it is a copy.
    nodes: Vec<usize>,
    /// For each of its tensors likewise.
    tensors: Vec<TensorId>,
}

impl Twice {
    /// The graph in which the last reader of `skip` has a copy of its own; `None` where the tensor
    /// has one reader only, or where no node fills it.
    fn new(graph: &QuantGraph, skip: TensorId) -> Option<Self> {
        let reads = |&i: &usize| graph.nodes[i].operation.inputs().contains(&skip);
        let readers: Vec<usize> = (0..graph.nodes.len()).filter(reads).collect();
        let [.., _, last] = readers[..] else { return None };
        let mut twice = Self {
            graph: QuantGraph {
                tensors: graph.tensors.clone(),
                nodes: Vec::with_capacity(2 * graph.nodes.len()),
                output: graph.output,
            },
            nodes: Vec::new(),
            tensors: (0..graph.tensors.len()).map(TensorId).collect(),
        };
        for i in 0..last {
            twice.push(graph, i, &BTreeMap::new());
        }
        let mut copies = BTreeMap::new();
        for i in chain(graph, skip) {
            let made = graph.nodes[i].operation.output()?;
            let tensor = &graph.tensors[made.0];
            copies.insert(made, twice.graph.tensor(tensor.channels, tensor.quant));
            twice.tensors.push(made);
            twice.push(graph, i, &copies);
            let name = &mut twice.graph.nodes.last_mut()?.name;
            *name = format!("{name} again");
        }
        twice.push(graph, last, &[(skip, *copies.get(&skip)?)].into());
        for i in last + 1..graph.nodes.len() {
            twice.push(graph, i, &BTreeMap::new());
        }
        Some(twice)
    }

    /// Adds node `i` of a graph, with copies in place of its tensors.
    fn push(&mut self, graph: &QuantGraph, i: usize, copies: &BTreeMap<TensorId, TensorId>) {
        let mut node = graph.nodes[i].clone();
        for tensor in tensors(&mut node.operation) {
            *tensor = *copies.get(tensor).unwrap_or(tensor);
        }
        self.graph.nodes.push(node);
        self.nodes.push(i);
    }

    /// Whether each addition, and each copy of it, is computed where it is without copies: by the
    /// same convolution, or by itself. The last bit of a sum depends on that.
    fn adds_as(&self, graph: &QuantGraph) -> Result<bool, PlanError> {
        let once = additions(graph)?;
        let mut twice = additions(&self.graph)?.into_iter().map(|Addition { sum, by }| {
            let by = by.map(|(node, other)| (self.nodes[node], self.tensors[other.0]));
            Addition { sum: self.tensors[sum.0], by }
        });
        Ok(twice.all(|addition| once.contains(&addition)))
    }
}

/// How an addition is computed.
#[derive(PartialEq)]
struct Addition {
    sum: TensorId,
    /// The convolution of which it becomes part, and the summand that the convolution does not
    /// make.
    by: Option<(usize, TensorId)>,
}

/// All additions of a graph.
fn additions(graph: &QuantGraph) -> Result<Vec<Addition>, PlanError> {
    let fused = fuse(graph)?;
    let by = |sum: TensorId| {
        let adds = |f: &&Fused| f.residual.is_some_and(|(_, own)| own == sum);
        let f = fused.iter().find(adds)?;
        let node = graph.nodes.iter().position(|node| core::ptr::eq(node, f.node))?;
        Some((node, f.residual?.0))
    };
    let sum = |node: &Node| match node.operation {
        Operation::Add { output, .. } => Some(Addition { sum: output, by: by(output) }),
        _ => None,
    };
    Ok(graph.nodes.iter().filter_map(sum).collect())
}

/// The nodes that a tensor is made of, in order.
fn chain(graph: &QuantGraph, tensor: TensorId) -> Vec<usize> {
    let mut wanted = vec![tensor];
    let mut chain = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if node.operation.output().is_some_and(|made| wanted.contains(&made)) {
            wanted.extend(node.operation.inputs());
            chain.push(i);
        }
    }
    chain.reverse();
    chain
}

/// All tensors that an operation names.
fn tensors(operation: &mut Operation) -> Vec<&mut TensorId> {
    match operation {
        Operation::Convolve { inputs, output, .. }
        | Operation::Transpose { inputs, output, .. } => {
            inputs.iter_mut().chain([output]).collect()
        }
        Operation::Add { inputs, output } | Operation::Scale { inputs, output } => {
            inputs.iter_mut().chain([output]).collect()
        }
        Operation::Lookup { input, output, .. } | Operation::MaxPool { input, output, .. } => {
            vec![input, output]
        }
        Operation::Logits { inputs, .. } => inputs.iter_mut().collect(),
        Operation::Dequantize { input } => vec![input],
    }
}
