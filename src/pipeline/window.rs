//! A slice with its neighbours: the input of a net that looks at a slice and a few on either side.

/// A sliding window over the slices: each step shows one slice with `side` neighbours on either
/// side. At the ends of the volume the first or last slice is repeated.
///
/// ```text
/// side = 1, four slices     shown: 0 0 1 │ 0 1 2 │ 1 2 3 │ 2 3 3
/// ```
///
/// The window holds as many slices as it is given room for, whatever the volume's length.
#[derive(Debug)]
pub(super) struct Window<T> {
    /// Slices on either side.
    side: usize,
    /// Of the volume.
    slices: usize,
    /// Whether the volume gives its slices by falling index.
    descending: bool,
    /// The i-th slice that was read stands at place i modulo the number of places.
    ring: Vec<T>,
    /// Slices read so far.
    read: usize,
    /// Positions shown so far.
    shown: usize,
}

impl<T> Window<T> {
    /// A window with `side` neighbours on either side over a volume of `slices`, none of which was
    /// read. Slices are read into the places of `ring`, of which there are at least
    /// `2 * side + 1`; each place is used again after `ring.len()` slices.
    pub(super) fn new(side: usize, slices: usize, descending: bool, ring: Vec<T>) -> Self {
        debug_assert!(ring.len() > 2 * side, "no room for a slice and its neighbours");
        Self { side, slices, descending, ring, read: 0, shown: 0 }
    }

    /// Moves on by one slice, and reads the slices that this position shows for the first time:
    /// `read` fills a place and says whether there was a slice. Returns false after the last
    /// position, and where `read` found no slice.
    pub(super) fn advance<E>(
        &mut self,
        mut read: impl FnMut(&mut T) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if self.shown == self.slices {
            return Ok(false);
        }
        while self.read < self.slices.min(self.shown + self.side + 1) {
            let place = self.read % self.ring.len();
            if !read(&mut self.ring[place])? {
                return Ok(false);
            }
            self.read += 1;
        }
        self.shown += 1;
        Ok(true)
    }

    /// Index of the slice in the middle, along the third axis.
    pub(super) fn index(&self) -> usize {
        let number = self.shown - 1;
        if self.descending { self.slices - 1 - number } else { number }
    }

    /// The slice and its neighbours by rising index, whatever the order in which they were read.
    pub(super) fn slices(&self) -> impl Iterator<Item = &T> {
        (0..=2 * self.side).map(|i| {
            let later = if self.descending { 2 * self.side - i } else { i };
            let number = (self.shown - 1 + later).saturating_sub(self.side).min(self.slices - 1);
            &self.ring[number % self.ring.len()]
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn neighbours_stand_in_ascending_order_and_the_ends_repeat() {
        let sides = |n| (0..3).flat_map(move |s| [(n, s, false), (n, s, true)]);
        for ((slices, side, descending), spare) in
            (1..6).flat_map(sides).flat_map(|case| (0..3).map(move |spare| (case, spare)))
        {
            let index = |number: usize| if descending { slices - 1 - number } else { number };
            let (mut window, mut next) =
                (Window::new(side, slices, descending, vec![usize::MAX; 2 * side + 1 + spare]), 0);
            let mut read = |slot: &mut usize| {
                *slot = index(next);
                next += 1;
                Ok::<_, Infallible>(true)
            };
            for number in 0..slices {
                assert_eq!(window.advance(&mut read), Ok(true));
                let at = index(number);
                assert_eq!(window.index(), at);
                let expected: Vec<usize> =
                    (0..=2 * side).map(|i| (at + i).saturating_sub(side).min(slices - 1)).collect();
                let found: Vec<usize> = window.slices().copied().collect();
                assert_eq!(found, expected, "slice {at} of {slices}, {side} on either side");
            }
            assert_eq!(window.advance(&mut read), Ok(false));
        }
    }

    #[test]
    fn a_slice_that_cannot_be_read_ends_it() {
        let mut window = Window::new(1, 4, false, vec![0; 3]);
        assert_eq!(window.advance(|_| Ok::<_, u8>(false)), Ok(false));
        assert_eq!(window.advance(|_| Err(7)), Err(7));
    }
}
