//! Runs quantized convolutional nets on CPUs, with or without an operating system.
//!
//! ```text
//!  QuantGraph ──Image::compile──> Image ──Plan::try_from──> Plan ──run──> labels
//!  the net, of any size           for one size and kernel,   on this CPU
//!  (feature `alloc`)              as bytes to keep anywhere
//! ```
//!
//! - A [`QuantGraph`] says what to compute. Importers build one; [`decode`] reads one from bytes.
//! - [`Image::compile`] fuses its nodes, lays out working memory and packs the weights, for one
//!   slice size and one [`Kernel`]. It needs the feature `alloc`.
//! - [`Image::parse`] proves an image that comes from elsewhere, and copies nothing out of it. A
//!   board keeps its image in flash memory and needs neither `alloc` nor `std`.
//! - [`Plan::run`] turns a prepared slice into labels. It allocates nothing and takes every buffer
//!   from its caller. Labels are equal to the bit on every kernel, because all kernels follow the
//!   fixed-point rules of [`requant`].
//!
//! - [`prepare`] makes the net's input of raw slices, and a slice's labels of the net's, without
//!   allocation. A board takes what its package says about that from [`Image::recipe`].
//!
//! Files and volumes are not known here.
//!
//! # On a board
//!
//! - Memory is the arena, whose length the image tells ([`arena_len`] tells it to the compiler),
//!   the buffers for a slice and its labels, and less than 2.5 kB of stack.
//! - Validation and a run do not panic, and a linked program need not hold the machinery for it.
//!   [`RunError`] tells a wrong buffer, and an image that was changed after it was validated.
//! - A run keeps nothing between slices: it may be interrupted, and run again with another arena
//!   meanwhile.
//!
//! MoNet with 404,000 weights, slices of 48 × 48, measured on linked programs (bytes):
//!
//! | core | kernel | code | weights | tables | arena | stack |
//! |---|---|---|---|---|---|---|
//! | Cortex-M7 | `cortex-m-dsp` | 16,292 | 400,448 | 19,612 | 121,435 | 2,188 |
//! | Cortex-M55 | `cortex-m-mve` | 15,588 | 400,640 | 19,612 | 119,707 | 2,188 |
//!
//! # Example
//!
//! ```
//! use monet_core::{
//!     Convolution, Image, Kernel, Operation, Output, Plan, Quant, QuantGraph, Size, TensorId,
//! };
//!
//! // One channel, one logit: the pixel less one half.
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
//!
//! // A host compiles the image, for any kernel; a device proves it and runs it where it lies.
//! let image = Image::compile(&graph, Size::new(1, 2), Kernel::Scalar, b"")?;
//! let plan = Plan::try_from(Image::parse(image.bytes())?)?;
//! let mut arena = vec![0; plan.arena_len()];
//! let mut labels = [9; 2];
//! plan.run(&mut arena, &[&[0.25, 0.75]], &mut labels)?;
//! assert_eq!(labels, [0, 1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `std` (default) | the CPU is asked for its kernels at run time |
//! | `alloc` (part of `std`) | nets, planning, buffers |
//! | `scalar` (part of `alloc`) | the portable kernel |
//! | `cortex-m-dsp`, `cortex-m-mve` (both default) | the kernels for Cortex-M |
//! | `serde` | rules of [`prepare`] as manifests have them |
//! | none | slices are prepared, images proved and run, by the kernels of the compiler's CPU |

#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod aligned;
#[cfg(feature = "alloc")]
mod buffer;
#[cfg(feature = "alloc")]
mod graph;
mod grid;
mod image;
mod kernels;
#[cfg(feature = "alloc")]
mod planner;
pub mod prepare;
pub mod requant;
mod run;
mod size;
#[cfg(feature = "alloc")]
mod sums;
mod types;
#[cfg(feature = "alloc")]
mod wire;

pub use aligned::{Aligned, arena_len};
#[cfg(feature = "alloc")]
pub use buffer::Buffer;
#[cfg(feature = "alloc")]
pub use graph::{Convolution, Node, Operation, QuantGraph, Tensor, TensorId};
pub use image::{ALIGN, Image, ImageError, Reason, StepInfo};
pub use kernels::{Kernel, KernelError};
#[cfg(feature = "alloc")]
pub use planner::{PlanError, Schedule};
pub use run::{Input, Plan, RunError};
pub use size::{Size, SizeError};
pub use types::{Activation, Output, Pool, Quant};
#[cfg(feature = "alloc")]
pub use wire::{WireError, decode, encode};
