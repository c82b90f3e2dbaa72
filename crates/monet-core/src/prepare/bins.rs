//! Memory of the caller in which voxels are counted.

/// How many counts the memory must have at least.
pub const LEAST_BINS: usize = 512;

/// A count of voxels.
pub trait Count: Copy + Default {
    /// One more; stays at the most that there can be.
    fn add_one(&mut self);
    /// The count that stands for a number, or the largest.
    fn of(number: u64) -> Self;
    /// The number.
    fn get(self) -> u64;
}

impl Count for u32 {
    fn add_one(&mut self) {
        *self = self.saturating_add(1);
    }

    fn of(number: u64) -> Self {
        number.try_into().unwrap_or(Self::MAX)
    }

    fn get(self) -> u64 {
        self.into()
    }
}

impl Count for u64 {
    fn add_one(&mut self) {
        // No volume has so many voxels.
        *self = self.wrapping_add(1);
    }

    fn of(number: u64) -> Self {
        number
    }

    fn get(self) -> u64 {
        self
    }
}

/// Memory for counts: an array, the program's own or the caller's (`&mut [u32; 4096]`), of
/// [`LEAST_BINS`] at least, or, with the feature `alloc`, a vector that grows.
///
/// No program is built that has shorter arrays.
pub trait Bins {
    /// A count.
    type Count: Count;

    /// The counts, `wanted` of them, or as many as there can be. Those that were there before stay
    /// as they are.
    fn room(&mut self, wanted: usize) -> &mut [Self::Count];
}

impl<C: Count, const N: usize> Bins for [C; N] {
    type Count = C;

    fn room(&mut self, wanted: usize) -> &mut [C] {
        const { assert!(N >= LEAST_BINS, "memory for counts has room for LEAST_BINS of them") };
        part(self, 0, N.min(wanted))
    }
}

impl<B: Bins> Bins for &mut B {
    type Count = B::Count;

    fn room(&mut self, wanted: usize) -> &mut [B::Count] {
        (*self).room(wanted)
    }
}

#[cfg(feature = "alloc")]
impl Bins for alloc::vec::Vec<u64> {
    type Count = u64;

    fn room(&mut self, wanted: usize) -> &mut [u64] {
        if self.len() < wanted {
            self.resize(wanted, 0);
        }
        part(self, 0, wanted)
    }
}

/// So many counts from a place on; none where there are fewer.
pub(super) fn part<C>(counts: &mut [C], start: usize, len: usize) -> &mut [C] {
    counts.get_mut(start..).and_then(|counts| counts.get_mut(..len)).unwrap_or_default()
}

/// One more at a place, if there is such a place.
pub(super) fn add_one<C: Count>(counts: &mut [C], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        count.add_one();
    }
}

/// Changes the count at a place, if there is such a place.
pub(super) fn change<C: Count>(counts: &mut [C], at: usize, new: impl FnOnce(u64) -> u64) {
    if let Some(count) = counts.get_mut(at) {
        *count = C::of(new(count.get()));
    }
}
