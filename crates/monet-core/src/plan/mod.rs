//! From a graph and a slice size to fused steps over a laid-out arena.
//!
//! Everything that can be known before a slice arrives is settled here: which additions ride in a
//! convolution's epilogue, how large each tensor's border of zero points must be, where it lives,
//! in which order a kernel meets its weights. Allocates and may fail; [`run`](super::run) does
//! neither with a plan's steps.

mod arena;
mod fuse;
mod layout;
mod overlay;
mod shapes;
mod steps;
mod taps;

use alloc::{boxed::Box, format, string::String, vec, vec::Vec};
use core::ops::Range;

use self::fuse::fuse;
use self::layout::lay_out;
use self::shapes::{Shapes, final_logits};
use self::steps::Builder;
use super::graph::{Node, Output, Pool, Quant, QuantGraph};
use super::kernels::winograd;
use super::kernels::{Kernel, KernelError, Packed};
use super::requant::{Product, RequantError, Stage, Sum, logit};

/// Largest height, width, channel count and window, so that no product of them overflows.
const LIMIT: usize = 1 << 14;
/// Rows that a step does together at most, for each row from one tap to the next: whole tiles of
/// three taps and of two.
const GROUP_ROWS: usize = winograd::tile(2)[0] * winograd::tile(3)[0];
/// Largest arena, in bytes; offsets of taps are 32-bit.
const ARENA_LIMIT: usize = 1 << 30;

/// A graph for which no plan can be made.
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
    /// Scales without fixed-point form.
    #[error("node \"{node}\" has no form in fixed point")]
    Requant {
        /// Name of the node.
        node: String,
        /// Why.
        source: RequantError,
    },
    /// The slice is too small, too large, or the net has no output.
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
}

/// What one step does, for people and profiles.
#[derive(Debug, Clone, PartialEq)]
pub struct StepInfo {
    /// The node's name in the graph.
    pub name: String,
    /// Kind of step, such as `convolve`.
    pub kind: &'static str,
    /// Channels, height and width of what it makes.
    pub shape: [usize; 3],
    /// Multiplications of the net (not counting padded channels).
    pub macs: u64,
    /// Weights and biases of the net (not counting padded channels).
    pub parameters: usize,
    /// Bytes of activations and weights that it reads or writes at least once.
    pub bytes: u64,
    /// Where in the arena its result lies; empty for the last step.
    pub arena: Range<usize>,
}

/// A net made ready for one slice size and one kernel.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) kernel: Kernel,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    pub(super) classes: usize,
    pub(super) output_size: [usize; 2],
    pub(super) output: Output,
    pub(super) threshold: f32,
    pub(super) grids: Vec<Grid>,
    pub(super) steps: Vec<Step>,
    infos: Vec<StepInfo>,
    arena_len: usize,
}

/// A tensor in the arena: pixel by pixel, channels side by side, with a border of zero points
/// around it.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    /// Bytes from one pixel to the next.
    pub(super) step: usize,
    /// Border: top, left, bottom, right.
    pub(super) halo: [usize; 4],
    pub(super) offset: usize,
    pub(super) quant: Quant,
}

impl Grid {
    /// Bytes from one row to the next.
    pub(super) fn row(&self) -> usize {
        (self.halo[1] + self.size[1] + self.halo[3]) * self.step
    }

    /// Rows with the border.
    pub(super) fn rows(&self) -> usize {
        self.halo[0] + self.size[0] + self.halo[2]
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.row() * self.rows()
    }

    /// Arena offset of pixel (y, x).
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        self.offset + (self.halo[0] + y) * self.row() + (self.halo[1] + x) * self.step
    }
}

/// A step; tensors are indices of [`Plan::grids`].
#[derive(Debug, Clone)]
pub(super) enum Step {
    Quantize,
    Convolve(ConvStep),
    Add { inputs: [usize; 2], output: usize, sum: Sum },
    Scale { inputs: [usize; 2], output: usize, product: Product },
    Lookup { input: usize, output: usize, table: Box<[u8; 256]> },
    MaxPool { input: usize, output: usize, pool: Pool },
    Dequantize { input: usize, scratch: Range<usize> },
}

/// A convolution, or the phases of a transposed one.
#[derive(Debug, Clone)]
pub(super) struct ConvStep {
    pub(super) inputs: Vec<usize>,
    pub(super) phases: Vec<Phase>,
    /// Rows of a phase that are done before the next phase's: whole tiles of each.
    pub(super) span: usize,
    pub(super) result: ConvResult,
    pub(super) scratch: Range<usize>,
}

/// Where the sums go.
#[derive(Debug, Clone)]
pub(super) enum ConvResult {
    Counts {
        output: usize,
        stage: Stage,
        residual: Option<usize>,
    },
    Logits {
        stage: Stage,
        row: Range<usize>,
    },
    /// Real-valued sums into the row, their sigmoids into the tensor.
    Sigmoids {
        stage: Stage,
        row: Range<usize>,
        output: usize,
    },
}

/// The output pixels that share one set of taps: all of a convolution's, every n-th of a transposed
/// one's.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    /// First output pixel (y, x).
    pub(super) origin: [usize; 2],
    /// From one output pixel to the next.
    pub(super) out_step: [usize; 2],
    /// From one output pixel's input to the next's.
    pub(super) in_step: [usize; 2],
    /// Rows and columns of output.
    pub(super) size: [usize; 2],
    pub(super) way: Way,
    pub(super) bias: Vec<i32>,
}

impl Phase {
    /// Rows that are done together.
    pub(super) fn granularity(&self) -> usize {
        match &self.way {
            Way::Rows(_) => 1,
            Way::Tiles(tiles) => winograd::tile(tiles.taps)[0] * tiles.dilation[0],
        }
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

/// How a phase is computed.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Pixel by pixel, by the definition.
    Rows(Rows),
    /// Tile by tile, see [`winograd`].
    Tiles(Tiles),
}

/// Taps and weights of pixels.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Per input: byte offsets of the chunks.
    pub(super) taps: Vec<Vec<i32>>,
    /// Per input: smallest and largest of them.
    pub(super) reach: Vec<[i32; 2]>,
    pub(super) weights: Packed,
}

/// Taps and weights of tiles.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    /// Taps down and across.
    pub(super) taps: usize,
    /// From one tap to the next, rows and columns, each of `in_step` pixels.
    pub(super) dilation: [usize; 2],
    pub(super) feeds: Vec<TileFeed>,
    pub(super) weights: Vec<i16>,
}

/// An input of tiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileFeed {
    /// Which of the step's inputs.
    pub(super) input: usize,
    /// Pixel (y, x), counted from the border's corner, under the first tap of output pixel 0.
    pub(super) first: [usize; 2],
}

impl Plan {
    /// Plans `graph` for slices of `height` × `width`.
    pub fn new(
        graph: &QuantGraph,
        height: usize,
        width: usize,
        kernel: Kernel,
    ) -> Result<Self, PlanError> {
        if !kernel.is_available() {
            return Err(KernelError::Unavailable(kernel).into());
        }
        if graph.tensors.is_empty() {
            return Err(PlanError::Size {
                height,
                width,
                found: "the net has no input tensor".into(),
            });
        }
        if let Some(found) =
            graph.tensors.iter().map(|t| t.channels).find(|n| !(1..=LIMIT).contains(n))
        {
            let found = format!("a tensor has {found} channels, expected 1 to {LIMIT}");
            return Err(PlanError::Size { height, width, found });
        }
        let fused = fuse(graph)?;
        let shapes = Shapes::new(graph, &fused, [height, width])?;
        let mut grids = shapes.grids(graph, &fused)?;
        let scratches = lay_out(&mut grids, graph, &fused, &shapes, kernel)?;
        let arena_len = scratches.arena_len;
        let builder = Builder { grids: &grids, kernel };
        let mut steps = vec![Step::Quantize];
        let mut infos = vec![builder.input_info()];
        for (i, node) in fused.iter().enumerate() {
            let step = builder.step(node, &shapes, scratches.ranges[i].clone())?;
            infos.push(builder.info(node, &step, shapes.outputs[i]));
            steps.push(step);
        }
        let (classes, output_size) = final_logits(graph, &shapes, [height, width])?;
        let threshold = match graph.output {
            Output::Sigmoid { threshold } => logit(threshold),
            _ => 0.0,
        };
        Ok(Self {
            kernel,
            channels: graph.tensors[0].channels,
            size: [height, width],
            classes,
            output_size,
            output: graph.output,
            threshold,
            grids,
            steps,
            infos,
            arena_len,
        })
    }

    /// Bytes of memory that a run needs; worth aligning to 64.
    pub fn arena_len(&self) -> usize {
        self.arena_len
    }

    /// The kernel that it was made for.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Values of an input slice: channels × height × width.
    pub fn input_len(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// Height and width of the labels.
    pub fn output_size(&self) -> [usize; 2] {
        self.output_size
    }

    /// Channels of the probabilities.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What each step does, in order.
    pub fn steps(&self) -> &[StepInfo] {
        &self.infos
    }

    /// Multiplications of the net for one slice.
    pub fn macs(&self) -> u64 {
        self.infos.iter().map(|s| s.macs).sum()
    }
}

fn fault(node: &Node, found: impl Into<String>) -> PlanError {
    PlanError::Graph { node: node.name.clone(), found: found.into() }
}
