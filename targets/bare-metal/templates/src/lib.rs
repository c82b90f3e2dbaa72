//! What the templates do: prove the plan, then segment slice after slice.
//!
//! No line here was ever run on the boards that it is meant for. A program adds its clocks and
//! caches, sets up external flash memory before the plan in it is touched, and says where slices
//! come from.

#![no_std]

use board::Memory;
use monet_core::{Image, Plan};

/// Pixels of a plane, and of the labels.
pub const PIXELS: usize = 48 * 48;

/// The input, three planes, and the labels.
pub struct Buffers {
    slice: [f32; 3 * PIXELS],
    labels: [u8; PIXELS],
}

impl Buffers {
    /// All 0.
    pub const ZERO: Self = Self { slice: [0.0; 3 * PIXELS], labels: [0; PIXELS] };
}

/// Segments every slice that `fill` fills in, until it says that there is none, and hands the
/// labels to `done`. Returns at once where the plan is not valid, the core lacks its kernel, or the
/// plan is for other sizes.
pub fn run(
    image: &'static [u8],
    arena: &mut [u8],
    buffers: &'static Memory<Buffers>,
    mut fill: impl FnMut(&mut [f32]) -> bool,
    mut done: impl FnMut(&[u8]),
) {
    let Some(Buffers { slice, labels }) = buffers.take() else { return };
    let Ok(Ok(plan)) = Image::parse(image).map(Plan::try_from) else { return };
    while fill(slice) {
        if plan.run(arena, &[slice], labels).is_err() {
            return;
        }
        done(labels);
    }
}
