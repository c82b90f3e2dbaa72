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

/// Memory for counts: a slice of the caller's (`&mut [u32]`), of [`LEAST_BINS`] at least, or, with
/// the feature `alloc`, a vector that grows.
pub trait Bins {
    /// A count.
    type Count: Count;

    /// The counts, `wanted` of them, or as many as there can be. Those that were there before stay
    /// as they are.
    fn room(&mut self, wanted: usize) -> &mut [Self::Count];
}

impl<C: Count> Bins for &mut [C] {
    type Count = C;

    fn room(&mut self, wanted: usize) -> &mut [C] {
        let len = self.len().min(wanted);
        &mut self[..len]
    }
}

impl<C: Count, const N: usize> Bins for [C; N] {
    type Count = C;

    fn room(&mut self, wanted: usize) -> &mut [C] {
        &mut self[..N.min(wanted)]
    }
}

#[cfg(feature = "alloc")]
impl Bins for alloc::vec::Vec<u64> {
    type Count = u64;

    fn room(&mut self, wanted: usize) -> &mut [u64] {
        if self.len() < wanted {
            self.resize(wanted, 0);
        }
        &mut self[..wanted]
    }
}
