//! The fit: brings a slice to the net's size and the net's labels back to the slice.
//!
//! Two maps between pixel grids are possible, both separable: the whole field of view resized, or
//! the slice resampled to the package's spacing and padded around its centre. Images are sampled
//! linearly, labels by nearest neighbour; where the grids coincide both are plain copies.
//!
//! A [`Fit`] holds numbers alone, no tables: a pixel's place is computed where it is needed. Hosts
//! keep the places along a row in a [`FitRows`], and reuse them for every row.

mod axis;
#[cfg(feature = "alloc")]
mod rows;

use thiserror::Error;

use super::super::size::Size;
use super::{FitRule, Recipe};
use axis::Axis;
#[cfg(feature = "alloc")]
pub use rows::FitRows;

/// The value of padding and of voxels that are not finite, after normalisation.
pub const BACKGROUND: f32 = 0.0;

/// Why a slice does not fit.
#[derive(Debug, Clone, Copy, Error, PartialEq)]
#[non_exhaustive]
pub enum FitError {
    /// Larger than the package's ceiling.
    #[error(
        "a slice of {size} pixels (height x width, at the package's spacing) is larger than the \
         package's ceiling of {ceiling}: \
         raise `input.ceiling` in the manifest, if the device has the memory, or resample the \
         volume"
    )]
    TooLarge {
        /// At the package's spacing.
        size: Size,
        /// The manifest's `input.ceiling`.
        ceiling: usize,
    },
    /// The volume has another number of channels than the net.
    #[error(
        "the volume has {found} channel(s), the model expects {expected}: choose another model or \
         a volume with {expected}"
    )]
    Channels {
        /// Of the volume.
        found: usize,
        /// Of the net.
        expected: usize,
    },
    /// The slice has no pixels or no spacing.
    #[error(
        "a slice of {size} pixels (height x width) at {spacing:?} mm cannot be resampled: sizes \
         and spacings must be positive"
    )]
    Degenerate {
        /// Of the slice.
        size: Size,
        /// Millimetres along width and height.
        spacing: [f64; 2],
    },
    /// Labels are not those that were planned for.
    #[error("{found} {what}, the fit has {expected}")]
    Length {
        /// Which labels.
        what: &'static str,
        /// That were given.
        found: usize,
        /// Height × width, of the slice or of the net.
        expected: usize,
    },
}

/// The fit of one volume's slices to a net.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Channels of a slice.
    channels: usize,
    /// Slices that the net sees at once.
    slices: usize,
    x: Axis,
    y: Axis,
}

impl Fit {
    /// Plans for slices of so many `channels`, of `size` pixels with `spacing` millimetres along
    /// their width and height.
    ///
    /// # Errors
    /// [`FitError`]
    pub fn new(
        recipe: impl Into<Recipe>,
        channels: usize,
        size: Size,
        spacing: [f64; 2],
    ) -> Result<Self, FitError> {
        let recipe: Recipe = recipe.into();
        if channels != recipe.channels {
            return Err(FitError::Channels { found: channels, expected: recipe.channels });
        }
        if size.area() == 0 || !spacing.iter().all(|s| *s > 0.0 && s.is_finite()) {
            return Err(FitError::Degenerate { size, spacing });
        }
        let ceiling = recipe.ceiling;
        let (least, step) = (recipe.size, recipe.step);
        let [x, y] = match recipe.fit {
            FitRule::Resize => {
                [Axis::resized(size.width, least.width), Axis::resized(size.height, least.height)]
            }
            FitRule::Pad { spacing: wanted } => {
                let width = axis::scaled_length(size.width, spacing[0], wanted[0]);
                let height = axis::scaled_length(size.height, spacing[1], wanted[1]);
                if width.max(height) > ceiling {
                    return Err(FitError::TooLarge { size: Size { height, width }, ceiling });
                }
                [
                    Axis::padded(size.width, width, least.width, step),
                    Axis::padded(size.height, height, least.height, step),
                ]
            }
        };
        let channels = channels.max(1);
        let fit = Self { channels, slices: recipe.slices(), x, y };
        let Size { height, width } = fit.net_size();
        if width.max(height) > ceiling {
            return Err(FitError::TooLarge { size: fit.net_size(), ceiling });
        }
        Ok(fit)
    }

    /// Channels of a slice.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Slices that the net sees at once.
    pub fn slices(&self) -> usize {
        self.slices
    }

    /// Size of the slices.
    pub fn size(&self) -> Size {
        Size { height: self.y.source, width: self.x.source }
    }

    /// Size of the net's input for these slices: multiples of the recipe's step.
    pub fn net_size(&self) -> Size {
        Size { height: self.y.net, width: self.x.net }
    }

    /// Number of values that a slice becomes: channels × height × width of the net.
    pub fn slice_len(&self) -> usize {
        self.channels * self.net_size().area()
    }

    /// Number of values that the net takes: those of a slice and of its neighbours.
    pub fn net_len(&self) -> usize {
        self.slices * self.slice_len()
    }

    /// Row `y` of a channel of the net's input, of a slice whose normalised voxels `voxel(y, x)`
    /// gives. It asks for each voxel where it needs it, up to four times a pixel where the grids
    /// differ, and holds none.
    pub fn net_row<V: Fn(usize, usize) -> f32>(
        &self,
        y: usize,
        voxel: V,
    ) -> impl Iterator<Item = f32> + use<V> {
        let x = self.x;
        let row = self.y.reached(y).map(|i| self.y.tap(i));
        let same = x.is_same() && self.y.is_same();
        (0..x.net).map(move |column| match (row, x.reached(column)) {
            (Some(row), Some(i)) if same => voxel(row.at[0] as usize, i),
            (Some(row), Some(i)) => {
                let tap = x.tap(i);
                let [above, below] = row.at.map(|y| {
                    let [left, right] = tap.at.map(|x| voxel(y as usize, x as usize));
                    tap.mix(left, right)
                });
                row.mix(above, below)
            }
            _ => BACKGROUND,
        })
    }

    /// Brings a label slice to the net's size, by nearest neighbour: what a trainer compares the
    /// net's labels with.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn prepare_labels(&self, slice: &[u8], net: &mut [u8]) {
        self.check(slice.len(), net.len()).unwrap_or_else(|error| panic!("{error}"));
        net.fill(0);
        let from = self.y.before * self.x.net + self.x.before;
        let place = [self.x, self.y].map(|axis| move |i| axis.tap(i).nearest());
        let size = [self.x.scaled, self.y.scaled];
        let picked = pick(slice, self.x.source, &mut net[from..], self.x.net, size, place);
        picked.expect("places lie within the slice");
    }

    /// Brings the net's labels back to the slice, by nearest neighbour.
    ///
    /// # Errors
    /// [`FitError::Length`]
    pub fn restore(&self, net: &[u8], slice: &mut [u8]) -> Result<(), FitError> {
        self.check(slice.len(), net.len())?;
        let (width, from_width) = (self.x.source, self.x.net);
        if self.x.is_same() {
            for (y, row) in slice.chunks_exact_mut(width.max(1)).enumerate() {
                let start = self.y.back(y) * from_width + self.x.before;
                let labels = net.get(start..).unwrap_or_default();
                row.iter_mut().zip(labels).for_each(|(to, label)| *to = *label);
            }
            return Ok(());
        }
        let place = [self.x, self.y].map(|axis| move |i| axis.back(i));
        pick(net, from_width, slice, width, [width, self.y.source], place);
        Ok(())
    }

    fn check(&self, slice: usize, net: usize) -> Result<(), FitError> {
        for (what, found, size) in [
            ("labels of the slice", slice, self.size()),
            ("labels of the net", net, self.net_size()),
        ] {
            let expected = size.area();
            if found != expected {
                return Err(FitError::Length { what, found, expected });
            }
        }
        Ok(())
    }
}

/// Columns whose places are kept at a time.
const COLUMNS: usize = 64;

/// Fills `width` pixels of so many rows of `to`, which begin `stride` apart, with the pixels of
/// `from` at the places that `x` and `y` tell for each column and row; `None` where there is no
/// such place.
fn pick(
    from: &[u8],
    from_width: usize,
    to: &mut [u8],
    stride: usize,
    [width, rows]: [usize; 2],
    [x, y]: [impl Fn(usize) -> usize; 2],
) -> Option<()> {
    let mut places = [0; COLUMNS];
    for first in (0..width).step_by(COLUMNS) {
        let columns = COLUMNS.min(width - first);
        places.iter_mut().zip(first..width).for_each(|(place, column)| *place = x(column));
        for (row, out) in to.chunks_mut(stride.max(1)).take(rows).enumerate() {
            let source = from.get(y(row) * from_width..)?.get(..from_width)?;
            let out = out.get_mut(first..first + columns)?;
            for (value, &place) in out.iter_mut().zip(&places) {
                *value = *source.get(place)?;
            }
        }
    }
    Some(())
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
