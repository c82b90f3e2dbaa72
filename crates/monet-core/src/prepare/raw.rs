//! Raw slices as a net's input, prepared where the net takes them: no memory between the two.

use super::super::run::Input;
use super::normalise::{BACKGROUND, Map};
use super::{Fit, Scaling, Voxel};

/// Why raw slices are no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RawError {
    /// Too many slices, or too few.
    #[error("{found} slices, the net sees {expected} at once")]
    Slices {
        /// That were given.
        found: usize,
        /// That the net takes.
        expected: usize,
    },
    /// A slice is too short or too long.
    #[error("slice {slice} has {found} voxels, expected {expected}: all channels of one slice")]
    Length {
        /// Which of the slices, from 0.
        slice: usize,
        /// Its voxels.
        found: usize,
        /// Channels × height × width.
        expected: usize,
    },
    /// As many maps as neither channels nor planes.
    #[error(
        "{found} maps, expected one for each of {channels} channels, or for each of all slices"
    )]
    Maps {
        /// That were given.
        found: usize,
        /// Of a slice.
        channels: usize,
    },
}

/// A slice between its neighbours, as stored: whole numbers or floats, channel after channel, row
/// after row, rows along the width. The lowest slice comes first; at the ends of a volume the first
/// or the last slice stands in for those beyond.
///
/// ```
/// use monet_core::Size;
/// use monet_core::prepare::normalise::Map;
/// use monet_core::prepare::{Fit, FitRule, Normalise, RawSlices, Recipe, Scaling};
/// use monet_core::Input;
///
/// let recipe = Recipe {
///     channels: 1,
///     neighbours: 0,
///     size: Size::new(4, 4),
///     ceiling: 64,
///     step: 4,
///     normalise: Normalise::Window { low: 0.0, high: 100.0 },
///     fit: FitRule::Pad { spacing: [1.0, 1.0] },
/// };
/// let fit = Fit::new(recipe, 1, Size::new(2, 2), [1.0, 1.0])?;
/// let (slices, maps): ([&[i16]; 1], _) = ([&[0, 50, 100, 200]], [Map::unit(0.0, 100.0)]);
/// let input = RawSlices::new(fit, &slices, Scaling::NONE, &maps)?;
/// assert!(input.row(0, 1).eq([0.0, 0.0, 0.5, 0.0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RawSlices<'a, V> {
    fit: Fit,
    slices: &'a [&'a [V]],
    scaling: Scaling,
    maps: &'a [Map],
}

impl<'a, V: Voxel> RawSlices<'a, V> {
    /// As many slices as the net sees at once, and a map for each channel, or for each channel of
    /// each slice where every slice is normalised by itself.
    ///
    /// # Errors
    /// [`RawError`]
    pub fn new(
        fit: Fit,
        slices: &'a [&'a [V]],
        scaling: Scaling,
        maps: &'a [Map],
    ) -> Result<Self, RawError> {
        let (channels, expected) = (fit.channels(), fit.slices());
        if slices.len() != expected {
            return Err(RawError::Slices { found: slices.len(), expected });
        }
        let len = channels * fit.size().area();
        if let Some(slice) = slices.iter().position(|slice| slice.len() != len) {
            return Err(RawError::Length { slice, found: slices[slice].len(), expected: len });
        }
        if maps.len() != channels && maps.len() != channels * expected {
            return Err(RawError::Maps { found: maps.len(), channels });
        }
        Ok(Self { fit, slices, scaling, maps })
    }
}

impl<V: Voxel> Input for RawSlices<'_, V> {
    fn shape(&self) -> [usize; 3] {
        let size = self.fit.net_size();
        [self.fit.channels() * self.fit.slices(), size.height, size.width]
    }

    fn row(&self, plane: usize, y: usize) -> impl Iterator<Item = f32> {
        let Self { fit, scaling, .. } = *self;
        let (channels, size) = (fit.channels(), fit.size());
        let map = self.maps.get(plane % self.maps.len().max(1)).copied();
        let channels = channels.max(1);
        let from = plane % channels * size.area();
        let slice = self.slices.get(plane / channels).and_then(|slice| slice.get(from..));
        fit.net_row(y, move |y, x| {
            let voxel = slice.and_then(|slice| slice.get(y * size.width + x));
            let (Some(&voxel), Some(map)) = (voxel, map) else { return BACKGROUND };
            map.apply(scaling.apply(voxel))
        })
    }
}
