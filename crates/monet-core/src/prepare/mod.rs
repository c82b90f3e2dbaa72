//! Makes slices ready for the net: intensities to what the net was trained on, pixels to its size,
//! and its labels back to the slice.
//!
//! ```text
//!             statistics of the volume                a slice
//!  ChannelStats: passes over all voxels       raw ──Map──▶ normalised ──Fit──▶ the net's input
//!      └──▶ Map, one a channel                labels ◀──Fit::restore── the net's labels
//! ```
//!
//! - A [`Recipe`] has the few numbers that a package says about this.
//! - [`ChannelStats`](normalise::ChannelStats) finds a channel's [`Map`](normalise::Map) in memory
//!   of its caller: see [`normalise`].
//! - A [`Fit`] maps pixels to pixels and holds no tables: see [`fit`].
//!
//! On a board a raw slice goes in and labels come out:
//!
//! 1. [`Image::recipe`](super::Image::recipe) gives the recipe that the plan's maker put in.
//! 2. [`ChannelStats`](normalise::ChannelStats) see all slices once or more, for a map; where the
//!    recipe's window is fixed, they need no pass.
//! 3. [`RawSlices`] and [`Plan::run_input`](super::Plan::run_input) turn a slice between its
//!    neighbours into the net's labels, [`Fit::restore`] these into the slice's.
//!
//! Host and board run the same code, so that a slice becomes the same labels on both. With the
//! feature `alloc` there are, beside it, types that hold their own memory and take slices row by
//! row, as hosts stream them.

mod bins;
mod doubt;
pub mod fit;
mod frequent;
mod moments;
pub mod normalise;
mod ranks;
mod raw;
mod recipe;
#[cfg(feature = "alloc")]
mod slicewise;
mod sqrt;
#[cfg(feature = "alloc")]
mod volume;
mod voxel;

pub use bins::{Bins, Count, LEAST_BINS};
pub use doubt::{Doubt, IntensityWarning, Side};
#[cfg(feature = "alloc")]
pub use fit::FitRows;
pub use fit::{Fit, FitError};
pub use raw::{RawError, RawSlices};
pub use recipe::{FitRule, Normalise, Recipe};
#[cfg(feature = "alloc")]
pub use slicewise::SliceIntensity;
#[cfg(feature = "alloc")]
pub use volume::{Intensity, IntensityStats};
pub use voxel::{Scaling, Voxel};
