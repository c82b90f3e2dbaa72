//! Slices with their neighbours: what a net sees that looks at a slice and a few on either side of it.
//!
//! Holds `2 n + 1` slices, whatever the volume's length; beyond the volume's ends its last slice stands again.

use super::error::VolumeError;
use super::source::SliceSource;

/// A window over a source's slices that moves by one.
#[derive(Debug)]
pub struct Neighbours {
    /// Slices on either side.
    side: usize,
    /// Values of one slice.
    slice: usize,
    /// Slices in the source's order; number i stands at i modulo their count. Empty where there are no neighbours to keep.
    ring: Vec<f32>,
    /// Slices read into the ring.
    read: usize,
    /// Slices given out.
    given: usize,
}

impl Neighbours {
    /// A window of `side` slices on either side, over a source that is at its start.
    #[must_use]
    pub fn new(source: &SliceSource, side: usize) -> Self {
        let slice = source.slice_len();
        let kept = if side == 0 { 0 } else { (2 * side + 1) * slice };
        Self { side, slice, ring: vec![0.0; kept], read: 0, given: 0 }
    }

    /// Values of a slice with its neighbours: slices × channels × height × width.
    #[must_use]
    pub fn len(&self) -> usize {
        (2 * self.side + 1) * self.slice
    }

    /// Whether slices have no pixels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slice == 0
    }

    /// Where the slice itself stands among the values that [`Neighbours::next_into`] gives.
    #[must_use]
    pub fn centre(&self) -> std::ops::Range<usize> {
        self.side * self.slice..(self.side + 1) * self.slice
    }

    /// The next slice of the source with its neighbours, in ascending order along the third axis whatever the file's order.
    /// Returns the slice's index as [`SliceSource::next_into`] does, and like it reads nothing after an error.
    ///
    /// # Errors
    /// Those of [`SliceSource::next_into`].
    ///
    /// # Panics
    /// When `out` is not [`Neighbours::len`] long.
    pub fn next_into(
        &mut self,
        source: &mut SliceSource,
        out: &mut [f32],
    ) -> Result<Option<usize>, VolumeError> {
        assert_eq!(out.len(), self.len(), "length of a slice with its neighbours");
        if self.side == 0 {
            return source.next_into(out);
        }
        let slices = source.geometry().size[2];
        if self.given == slices {
            return Ok(None);
        }
        while self.read < slices.min(self.given + self.side + 1) {
            let at = self.place(self.read);
            if source.next_into(&mut self.ring[at])?.is_none() {
                return Ok(None);
            }
            self.read += 1;
        }
        let descending = source.axis_map().0[2].reversed;
        for (i, plane) in out.chunks_exact_mut(self.slice).enumerate() {
            let later = if descending { 2 * self.side - i } else { i };
            let number = (self.given + later).saturating_sub(self.side).min(slices - 1);
            plane.copy_from_slice(&self.ring[self.place(number)]);
        }
        let number = self.given;
        self.given += 1;
        Ok(Some(if descending { slices - 1 - number } else { number }))
    }

    /// Where slice `number` stands in the ring.
    fn place(&self, number: usize) -> std::ops::Range<usize> {
        let start = number % (2 * self.side + 1) * self.slice;
        start..start + self.slice
    }
}
