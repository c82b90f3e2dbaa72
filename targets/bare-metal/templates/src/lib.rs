//! What the templates do: prove the plan, then segment volume after volume of raw slices.
//!
//! Slices come as the scanner stores them, 16-bit whole numbers, and labels leave at the slices'
//! own size: the recipe in the plan says how both are brought to the net's. No line here was ever
//! run on the boards that it is meant for. A program adds its clocks and caches, sets up external
//! flash memory before the plan in it is touched, and says where slices come from.

#![no_std]

use board::Memory;
use monet_core::prepare::normalise::{ChannelStats, Map};
use monet_core::prepare::{Fit, LEAST_BINS, Normalise, RawSlices, Scaling};
use monet_core::{Image, Plan, Size};

/// Rows and columns of a slice, and the millimetres from one voxel to the next along both: put your
/// scanner's in place. The net of the template takes slices up to 48 × 48 at 1 mm.
pub const SLICE: Size = Size::new(48, 48);
const SPACING: [f64; 2] = [1.0, 1.0];
/// Pixels of the net's slices.
const NET: usize = 48 * 48;
/// Slices that the net sees at once.
const SEEN: usize = 3;

/// Where volumes come from.
pub trait Scanner {
    /// Slices of the next volume, once there is one; `None` where none will ever be.
    fn volume(&mut self) -> Option<usize>;

    /// Reads a slice of the volume, row after row, as often as it is asked for.
    fn read(&mut self, slice: usize, voxels: &mut [i16]);

    /// Takes a slice's labels: one for each voxel.
    fn take(&mut self, slice: usize, labels: &[u8]);
}

/// The slices that the net sees, labels, and counts for the volume's statistics.
pub struct Buffers {
    slices: [[i16; SLICE.area()]; SEEN],
    net: [u8; NET],
    labels: [u8; SLICE.area()],
    bins: [u32; LEAST_BINS],
}

impl Buffers {
    /// All 0.
    pub const ZERO: Self = Self {
        slices: [[0; SLICE.area()]; SEEN],
        net: [0; NET],
        labels: [0; SLICE.area()],
        bins: [0; LEAST_BINS],
    };
}

/// Segments every volume of a scanner. Returns at once where the plan is not valid, the core lacks
/// its kernel, or the plan is for other slices.
pub fn run(
    image: &'static [u8],
    arena: &mut [u8],
    buffers: &'static Memory<Buffers>,
    scanner: &mut impl Scanner,
) {
    let Some(buffers) = buffers.take() else { return };
    let Ok(Ok(plan)) = Image::parse(image).map(Plan::try_from) else { return };
    while let Some(slices) = scanner.volume() {
        if volume(&plan, arena, buffers, scanner, slices).is_none() {
            return;
        }
    }
}

/// Segments a volume of so many slices; `None` where the plan does not take them.
fn volume(
    plan: &Plan,
    arena: &mut [u8],
    buffers: &mut Buffers,
    scanner: &mut impl Scanner,
    slices: usize,
) -> Option<()> {
    let recipe = plan.recipe()?;
    let fit = Fit::new(recipe, 1, SLICE, SPACING).ok()?;
    // Slices that are normalised each by itself need statistics of their own.
    let each_slice = matches!(recipe.normalise, Normalise::SlicePercentiles { .. });
    if fit.net_size() != plan.size() || fit.slices() != SEEN || each_slice {
        return None;
    }
    let Buffers { slices: seen, net, labels, bins } = buffers;
    let map = statistics(recipe.normalise, &mut seen[0], bins, scanner, slices);
    let last = slices.checked_sub(1)?;
    for slice in 0..slices {
        // At the ends of the volume the first or the last slice stands in for those beyond.
        let around = [slice.saturating_sub(1), slice, (slice + 1).min(last)];
        for (near, voxels) in around.into_iter().zip(seen.iter_mut()) {
            scanner.read(near, voxels);
        }
        let raw: [&[i16]; SEEN] = seen.each_ref().map(|voxels| &voxels[..]);
        let maps = [map];
        let input = RawSlices::new(fit, &raw, Scaling::NONE, &maps).ok()?;
        plan.run_input(arena, &input, net).ok()?;
        fit.restore(net, labels).ok()?;
        scanner.take(slice, labels);
    }
    Some(())
}

/// What normalises the voxels of a volume, in as many passes over its slices as that takes.
fn statistics(
    normalise: Normalise,
    voxels: &mut [i16],
    bins: &mut [u32; LEAST_BINS],
    scanner: &mut impl Scanner,
    slices: usize,
) -> Map {
    let mut stats = ChannelStats::new(normalise, bins);
    while stats.wants_pass() {
        for slice in 0..slices {
            scanner.read(slice, voxels);
            stats.add(Scaling::NONE.values(voxels));
        }
        stats.end_pass();
    }
    stats.map()
}
