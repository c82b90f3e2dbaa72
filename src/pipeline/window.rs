//! A slice with its neighbours: what a net sees that looks at a slice and a few on either side of it.

/// A window over a volume's slices that moves by one. Holds `2 n + 1` prepared slices, whatever the volume's length; beyond the
/// volume's ends its last slice stands again.
#[derive(Debug)]
pub(super) struct Window<T> {
    /// Slices on either side.
    side: usize,
    /// Of the volume.
    slices: usize,
    /// Whether slices come with falling indices.
    descending: bool,
    /// Slice number i, in the order in which they come, stands at i modulo their count.
    ring: Vec<T>,
    /// Slices taken in.
    read: usize,
    /// Slices given out.
    given: usize,
}

impl<T: Clone> Window<T> {
    /// A window of `side` slices on either side over a volume of `slices`, none of them read; `empty` is what a slice is read into.
    pub(super) fn new(side: usize, slices: usize, descending: bool, empty: &T) -> Self {
        Self { side, slices, descending, ring: vec![empty.clone(); 2 * side + 1], read: 0, given: 0 }
    }

    /// Takes in what the next position needs, by `read`, which tells whether there was a slice. Returns false when all slices have
    /// been given or none is left to read.
    pub(super) fn advance<E>(&mut self, mut read: impl FnMut(&mut T) -> Result<bool, E>) -> Result<bool, E> {
        if self.given == self.slices {
            return Ok(false);
        }
        while self.read < self.slices.min(self.given + self.side + 1) {
            let place = self.read % self.ring.len();
            if !read(&mut self.ring[place])? {
                return Ok(false);
            }
            self.read += 1;
        }
        self.given += 1;
        Ok(true)
    }

    /// Index of the slice in the middle, along the third axis.
    pub(super) fn index(&self) -> usize {
        let number = self.given - 1;
        if self.descending { self.slices - 1 - number } else { number }
    }

    /// The slice in the middle.
    pub(super) fn centre(&self) -> &T {
        &self.ring[(self.given - 1) % self.ring.len()]
    }

    /// The slice and its neighbours, by rising index whatever the order in which they came.
    pub(super) fn planes(&self) -> impl Iterator<Item = &T> {
        (0..self.ring.len()).map(|i| {
            let later = if self.descending { 2 * self.side - i } else { i };
            let number = (self.given - 1 + later).saturating_sub(self.side).min(self.slices - 1);
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
        for (slices, side, descending) in
            (1..6).flat_map(|n| (0..3).flat_map(move |s| [(n, s, false), (n, s, true)]))
        {
            let index = |number: usize| if descending { slices - 1 - number } else { number };
            let (mut window, mut next) = (Window::new(side, slices, descending, &usize::MAX), 0);
            let mut read = |slot: &mut usize| {
                *slot = index(next);
                next += 1;
                Ok::<_, Infallible>(true)
            };
            for number in 0..slices {
                assert_eq!(window.advance(&mut read), Ok(true));
                let at = index(number);
                assert_eq!((window.index(), *window.centre()), (at, at));
                let expected: Vec<usize> =
                    (0..=2 * side).map(|i| (at + i).saturating_sub(side).min(slices - 1)).collect();
                let found: Vec<usize> = window.planes().copied().collect();
                assert_eq!(found, expected, "slice {at} of {slices}, {side} on either side");
            }
            assert_eq!(window.advance(&mut read), Ok(false));
        }
    }

    #[test]
    fn a_slice_that_cannot_be_read_ends_it() {
        let mut window = Window::new(1, 4, false, &0);
        assert_eq!(window.advance(|_| Ok::<_, u8>(false)), Ok(false));
        assert_eq!(window.advance(|_| Err(7)), Err(7));
    }
}
