//! Values among which are all that many voxels have, and which of them is the background.

use core::cmp::Reverse;

use super::bins::Count;

/// A value is the background if more than one in so many voxels have it, and none is more frequent.
const BACKGROUND_SHARE: u64 = 128;

/// Candidates: all values that more than one in [`BACKGROUND_SHARE`] voxels have are among so many.
const CANDIDATES: usize = BACKGROUND_SHARE as usize - 1;

/// Counts of memory that a [`Frequent`] takes: a key, then its count, for each candidate.
pub(super) const LEN: usize = 2 * CANDIDATES;

/// The most frequent value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Background {
    /// Its ordered bits.
    pub(super) key: u32,
    /// Voxels that have it.
    pub(super) count: u64,
}

/// The most frequent of values, if it is frequent enough and not the only one; of equals the one
/// with the lowest key.
pub(super) fn background(values: impl Iterator<Item = Background>, all: u64) -> Option<Background> {
    let most = values.max_by_key(|it| (it.count, Reverse(it.key)));
    most.filter(|it| it.count > all / BACKGROUND_SHARE && it.count < all)
}

/// Values among which are all that more than one in [`BACKGROUND_SHARE`] voxels have (Misra and
/// Gries 1982), by their ordered bits.
pub(super) struct Frequent<'m, C> {
    /// Keys and counts; keys rise.
    all: &'m mut [[C; 2]],
    /// How many of them are candidates.
    len: &'m mut usize,
}

impl<'m, C: Count> Frequent<'m, C> {
    /// In [`LEN`] counts of memory, of which `len` candidates are in use.
    pub(super) fn new(memory: &'m mut [C], len: &'m mut usize) -> Self {
        Self { all: memory.as_chunks_mut().0, len }
    }

    fn find(&self, key: u32) -> Result<usize, usize> {
        let candidates = self.all.get(..*self.len).unwrap_or_default();
        candidates.binary_search_by_key(&u64::from(key), |[key, _]| key.get())
    }

    /// Counts a voxel, if its value is a candidate.
    pub(super) fn count(&mut self, key: u32) {
        if let Ok(at) = self.find(key)
            && let Some([_, count]) = self.all.get_mut(at)
        {
            count.add_one();
        }
    }

    /// Takes so many voxels of one value, as if they came one after another.
    pub(super) fn add(&mut self, key: u32, mut voxels: u64) {
        while voxels > 0 {
            match self.find(key) {
                Ok(at) => {
                    if let Some([_, count]) = self.all.get_mut(at) {
                        *count = C::of(count.get() + voxels);
                    }
                    return;
                }
                Err(at) if *self.len < self.all.len() => {
                    *self.len += 1;
                    if let Some(behind) = self.all.get_mut(at..*self.len)
                        && let Some(moved) = behind.len().checked_sub(1)
                    {
                        behind.copy_within(..moved, 1);
                    }
                    if let Some(candidate) = self.all.get_mut(at) {
                        *candidate = [C::of(key.into()), C::of(voxels)];
                    }
                    return;
                }
                Err(_) => {
                    let least = self.all.iter().map(|[_, count]| count.get()).min();
                    let taken = least.map_or(voxels, |least| least.min(voxels));
                    self.take(taken);
                    voxels -= taken;
                }
            }
        }
    }

    /// Takes so many from every candidate; those that have none left are none any more.
    fn take(&mut self, voxels: u64) {
        let mut kept = 0;
        for at in 0..*self.len {
            let Some([key, count]) = self.all.get(at).copied() else { break };
            let left = count.get().saturating_sub(voxels);
            if left > 0
                && let Some(candidate) = self.all.get_mut(kept)
            {
                *candidate = [key, C::of(left)];
                kept += 1;
            }
        }
        *self.len = kept;
    }

    /// Begins to count the candidates' voxels.
    pub(super) fn recount(&mut self) {
        self.all.iter_mut().for_each(|[_, count]| *count = C::default());
    }

    /// The candidates and their counts.
    pub(super) fn each(&self) -> impl Iterator<Item = Background> {
        let background =
            |[key, count]: &[C; 2]| Background { key: key.get() as u32, count: count.get() };
        self.all.iter().take(*self.len).map(background)
    }
}
