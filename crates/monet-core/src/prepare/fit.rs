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
        // Along width and height, as spacings are.
        let source = [size.width, size.height];
        let least = [recipe.size.width, recipe.size.height];
        let [x, y] = match recipe.fit {
            FitRule::Resize => [0, 1].map(|i| Axis::resized(source[i], least[i])),
            FitRule::Pad { spacing: wanted } => {
                let scaled = [0, 1].map(|i| axis::scaled_length(source[i], spacing[i], wanted[i]));
                if scaled.iter().any(|&length| length > ceiling) {
                    let size = Size { height: scaled[1], width: scaled[0] };
                    return Err(FitError::TooLarge { size, ceiling });
                }
                [0, 1].map(|i| Axis::padded(source[i], scaled[i], least[i], recipe.step))
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
        self.check(slice.len(), net.len());
        net.fill(0);
        let (width, from) = (self.x.scaled, self.y.before * self.x.net + self.x.before);
        let place = [self.x, self.y].map(|axis| move |i| axis.tap(i).nearest());
        let rows = self.y.scaled;
        pick(slice, self.x.source, &mut net[from..], [self.x.net, width, rows], place);
    }

    /// Brings the net's labels back to the slice, by nearest neighbour.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn restore(&self, net: &[u8], slice: &mut [u8]) {
        self.check(slice.len(), net.len());
        let width = self.x.source;
        if self.x.is_same() {
            for (y, row) in slice.chunks_exact_mut(width).enumerate() {
                let start = self.y.back(y) * self.x.net + self.x.before;
                row.copy_from_slice(&net[start..start + width]);
            }
            return;
        }
        let place = [self.x, self.y].map(|axis| move |i| axis.back(i));
        pick(net, self.x.net, slice, [width, width, self.y.source], place);
    }

    fn check(&self, slice: usize, net: usize) {
        assert_eq!(slice, self.size().area(), "slice length");
        assert_eq!(net, self.net_size().area(), "net label length");
    }
}

/// Columns whose places are kept at a time.
const COLUMNS: usize = 64;

/// Fills `to`, of so many pixels a row (`stride`, of which `width` are filled) and so many rows,
/// with the pixels of `from` at the places that `x` and `y` tell for each column and row.
fn pick(
    from: &[u8],
    from_width: usize,
    to: &mut [u8],
    [stride, width, rows]: [usize; 3],
    [x, y]: [impl Fn(usize) -> usize; 2],
) {
    let mut places = [0; COLUMNS];
    for first in (0..width).step_by(COLUMNS) {
        let places = &mut places[..COLUMNS.min(width - first)];
        places.iter_mut().enumerate().for_each(|(i, place)| *place = x(first + i));
        for row in 0..rows {
            let source = &from[y(row) * from_width..][..from_width];
            let out = &mut to[row * stride + first..];
            for (value, &place) in out.iter_mut().zip(&*places) {
                *value = source[place];
            }
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
