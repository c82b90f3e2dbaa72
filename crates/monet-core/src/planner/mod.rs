//! Makes an [`Image`] from a net, a slice size and a kernel.
//!
//! The planner settles everything that can be known before a slice arrives:
//!
//! 1. `fuse`: which additions become part of a convolution,
//! 2. `shapes`: how large each tensor is, and how wide its border of zero points,
//! 3. `draft`, with `taps` and `order`: the steps, and the weights in the order in which the kernel
//!    reads them,
//! 4. `schedule`, with `pass` and `overlay`: which steps take turns, and which rows of tensors thus
//!    need memory at the same time,
//! 5. `layout`, with `arena`: where each tensor lies in the arena.
//!
//! Before all that, `again` may have steps computed twice, where memory is short.
//!
//! Planning allocates and may fail. Running, in [`run`](super::run), does neither.

mod again;
mod arena;
mod draft;
mod fuse;
mod layout;
mod order;
mod overlay;
mod pass;
mod schedule;
mod shapes;
mod taps;

use alloc::{format, string::String};

use self::draft::Draft;
use self::fuse::fuse;
pub use self::schedule::Schedule;
use self::schedule::schedule;
use self::shapes::{Shapes, final_logits};
use super::graph::{Node, QuantGraph};
use super::image::{ARENA_LIMIT, Image, ImageError, LIMIT};
use super::kernels::{Kernel, KernelError};
use super::requant::RequantError;
use super::run::Plan;
use super::size::Size;

/// Why no plan can be made for a graph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The graph contradicts itself.
    #[error("node \"{node}\": {found}")]
    Graph {
        /// Name of the node.
        node: String,
        /// What was found and what was expected.
        found: String,
    },
    /// The scales of a node have no form in fixed point.
    #[error("node \"{node}\" has no form in fixed point")]
    Requant {
        /// Name of the node.
        node: String,
        /// Why.
        source: RequantError,
    },
    /// The slice is too small or too large for the net, or the net lacks an input or an output.
    #[error("no plan for {height}x{width} slices: {found}")]
    Size {
        /// Rows asked for.
        height: usize,
        /// Columns asked for.
        width: usize,
        /// What was found and what was expected.
        found: String,
    },
    /// The kernel cannot run here.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The net has no form as an image.
    #[error("the net has no form as a plan")]
    Image(#[from] ImageError),
    /// The plan would be larger than an image can be.
    #[error("the plan would have {0} bytes, more than 2^30; use smaller slices or a smaller net")]
    Long(u64),
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

impl Image<'static> {
    /// Plans `graph` for slices of one size and for one kernel, which this machine need not have.
    /// The image keeps the bytes of `attachment` beside the plan. Steps compute whole planes.
    ///
    /// # Errors
    /// Any [`PlanError`] except [`PlanError::Kernel`]
    pub fn compile(
        graph: &QuantGraph,
        size: Size,
        kernel: Kernel,
        attachment: &[u8],
    ) -> Result<Self, PlanError> {
        Self::scheduled(graph, size, kernel, Schedule::Planes, attachment)
    }

    /// As [`Image::compile`], in another order.
    ///
    /// # Errors
    /// Any [`PlanError`] except [`PlanError::Kernel`]
    pub fn scheduled(
        graph: &QuantGraph,
        size: Size,
        kernel: Kernel,
        order: Schedule,
        attachment: &[u8],
    ) -> Result<Self, PlanError> {
        let once = Self::planned(graph, size, kernel, order, attachment)?;
        if order != Schedule::Twice {
            return Ok(once);
        }
        let most = once.macs().saturating_add(once.macs() * again::MOST_PERCENT / 100);
        let mut best = once;
        // A net with copies may have no plan where the net itself has one: then it is no candidate.
        for twice in again::variants(graph).filter_map(Result::ok) {
            let plan = |order, attachment| Self::planned(&twice, size, kernel, order, attachment);
            // Whole planes are planned at once, turns of rows are not.
            if plan(Schedule::Planes, &[]).is_ok_and(|planes| planes.macs() <= most)
                && let Ok(image) = plan(order, attachment)
                && image.arena_len() < best.arena_len()
            {
                best = image;
            }
        }
        Ok(best)
    }

    fn planned(
        graph: &QuantGraph,
        size: Size,
        kernel: Kernel,
        order: Schedule,
        attachment: &[u8],
    ) -> Result<Self, PlanError> {
        if graph.tensors.is_empty() {
            return Err(too_large(size, "the net has no input tensor".into()));
        }
        if let Some(found) =
            graph.tensors.iter().map(|t| t.channels).find(|n| !(1..=LIMIT).contains(n))
        {
            let found = format!("a tensor has {found} channels, expected 1 to {LIMIT}");
            return Err(too_large(size, found));
        }
        let fused = fuse(graph)?;
        let shapes = Shapes::new(graph, &fused, [size.height, size.width])?;
        let (classes, made) = final_logits(graph, &shapes, [size.height, size.width])?;
        let mut draft = Draft::new(shapes.grids(graph, &fused)?, kernel);
        draft.input();
        for (node, &shape) in fused.iter().zip(&shapes.outputs) {
            draft.node(node, &shapes, shape)?;
        }
        let arena = schedule(&mut draft, order).map_err(|found| too_large(size, found))?;
        let header = draft.header(size, [classes, made[0], made[1]], graph.output, arena);
        let image = draft.finish(header, attachment)?;
        Ok(Image::from_buffer(image)?)
    }
}

impl Plan<'static> {
    /// Plans `graph` for slices of one size and for a kernel of this machine, by whole planes.
    ///
    /// # Errors
    /// [`PlanError`]
    pub fn new(graph: &QuantGraph, size: Size, kernel: Kernel) -> Result<Self, PlanError> {
        Self::scheduled(graph, size, kernel, Schedule::default())
    }

    /// As [`Plan::new`], in another order.
    ///
    /// # Errors
    /// [`PlanError`]
    pub fn scheduled(
        graph: &QuantGraph,
        size: Size,
        kernel: Kernel,
        order: Schedule,
    ) -> Result<Self, PlanError> {
        kernel.require()?;
        Ok(Self::try_from(Image::scheduled(graph, size, kernel, order, &[])?)?)
    }
}

fn too_large(Size { height, width }: Size, found: String) -> PlanError {
    PlanError::Size { height, width, found }
}

fn fault(node: &Node, found: impl Into<String>) -> PlanError {
    PlanError::Graph { node: node.name.clone(), found: found.into() }
}
