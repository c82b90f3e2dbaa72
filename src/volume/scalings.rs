//! What scales each plane's values, kept as briefly as it can be: planes in a row with equal
//! scaling take one entry.

use super::grid::Scaling;

/// Scalings of planes, in their order.
#[derive(Debug, Default)]
pub(super) struct Scalings {
    /// The first plane of each run of equal scalings, ascending from 0.
    runs: Vec<(usize, Scaling)>,
    planes: usize,
}

impl Scalings {
    /// Adds the next plane's.
    pub(super) fn push(&mut self, scaling: Scaling) {
        if self.runs.last().is_none_or(|(_, last)| *last != scaling) {
            self.runs.push((self.planes, scaling));
        }
        self.planes += 1;
    }

    /// Forgets all planes.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.planes = 0;
    }

    /// The scaling of all planes, where they have the same.
    pub(super) fn common(&self) -> Option<Scaling> {
        match self.runs[..] {
            [(_, scaling)] => Some(scaling),
            _ => None,
        }
    }

    /// The scaling of a plane.
    ///
    /// # Panics
    /// When no plane was added.
    pub(super) fn of(&self, plane: usize) -> Scaling {
        self.runs[self.runs.partition_point(|(first, _)| *first <= plane) - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plane_has_the_scaling_that_it_came_with() {
        let scaling = |slope| Scaling { slope, intercept: 0.0 };
        let slopes = [1.0, 1.0, 2.0, 1.0, 3.0, 3.0];
        let mut scalings = Scalings::default();
        assert_eq!(scalings.common(), None);
        for (plane, slope) in slopes.into_iter().enumerate() {
            scalings.push(scaling(slope));
            assert_eq!(scalings.common().is_some(), plane < 2);
        }
        for (plane, slope) in slopes.into_iter().enumerate() {
            assert_eq!(scalings.of(plane), scaling(slope), "plane {plane}");
        }
        assert_eq!(scalings.runs.len(), 4);
    }
}
