//! The int8 engine: a quantized convolutional net as a list of fused steps over one static arena.
//!
//! A [`QuantGraph`] says what to compute; [`Plan::new`] fuses, packs and lays it out for one slice
//! size and one [`Kernel`]; [`Plan::run`] turns a prepared slice into labels. Running allocates
//! nothing, knows no operating system and takes every buffer from its caller; labels are equal to
//! the bit on every kernel, because all of them follow the fixed-point rules of [`requant`].
//! Reading ONNX and standing inside tract happens elsewhere in this module; preparing slices and
//! restoring labels happens in [`crate::package`].
//!
//! ```
//! use monet_core::{
//!     Activation, Convolution, Kernel, Operation, Output, Plan, Quant, QuantGraph, Size, TensorId,
//! };
//!
//! let mut graph = QuantGraph::new(1, Quant { scale: 1.0 / 255.0, zero_point: 0 });
//! let head = Convolution {
//!     cout: 1,
//!     kernel: [1, 1],
//!     weights: vec![127],
//!     scales: vec![1.0],
//!     bias: vec![-127 * 128],
//!     ..Convolution::default()
//! };
//! graph.push("head", Operation::Logits { inputs: vec![TensorId(0)], conv: head });
//! graph.output = Output::Sigmoid { threshold: 0.5 };
//! let plan = Plan::new(&graph, Size::new(1, 2), Kernel::Scalar)?;
//! let mut arena = vec![0; plan.arena_len()];
//! let mut labels = [9; 2];
//! plan.run(&mut arena, &[&[0.25, 0.75]], &mut labels)?;
//! assert_eq!(labels, [0, 1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "alloc")]
mod buffer;
#[cfg(feature = "alloc")]
mod graph;
mod grid;
mod image;
mod kernels;
#[cfg(feature = "alloc")]
mod planner;
pub mod requant;
mod run;
mod size;
mod types;
#[cfg(feature = "alloc")]
mod wire;

#[cfg(feature = "alloc")]
pub use buffer::Buffer;
#[cfg(feature = "alloc")]
pub use graph::{Convolution, Node, Operation, QuantGraph, Tensor, TensorId};
pub use image::{ALIGN, Image, ImageError, StepInfo};
pub use kernels::{Kernel, KernelError};
#[cfg(feature = "alloc")]
pub use planner::PlanError;
pub use run::{Plan, RunError};
pub use size::{Size, SizeError};
pub use types::{Activation, Output, Pool, Quant};
#[cfg(feature = "alloc")]
pub use wire::{WireError, decode, encode};
