//! The fit: brings a slice to the net's size and the net's labels back to the slice.
//!
//! Two maps between pixel grids are possible, both separable: the whole field of view resized, or
//! the slice resampled to the package's spacing and padded around its centre. Images are sampled
//! linearly, labels by nearest neighbour; where the grids coincide both are plain copies.

use crate::Size;
use thiserror::Error;

use super::normalise::BACKGROUND;
use super::{FitRule, Manifest};

/// Relative difference of spacings below which a slice is taken as it is: a spacing written as
/// 0.9999 mm is 1 mm.
const SAME_SPACING: f64 = 0.01;

/// Why a slice does not fit.
#[derive(Debug, Error, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
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
        manifest: &Manifest,
        channels: usize,
        size: Size,
        spacing: [f64; 2],
    ) -> Result<Self, FitError> {
        let input = &manifest.input;
        if channels != input.channels {
            return Err(FitError::Channels { found: channels, expected: input.channels });
        }
        if size.area() == 0 || !spacing.iter().all(|s| *s > 0.0 && s.is_finite()) {
            return Err(FitError::Degenerate { size, spacing });
        }
        // Along width and height, as spacings are.
        let (source, least) = ([size.width, size.height], [input.width, input.height]);
        let [x, y] = match manifest.fit {
            FitRule::Resize => [0, 1].map(|i| Axis::resized(source[i], least[i])),
            FitRule::Pad { spacing: wanted } => {
                let scaled = [0, 1].map(|i| scaled_length(source[i], spacing[i], wanted[i]));
                if scaled.iter().any(|&length| length > input.ceiling) {
                    let size = Size { height: scaled[1], width: scaled[0] };
                    return Err(FitError::TooLarge { size, ceiling: input.ceiling });
                }
                [0, 1].map(|i| Axis::padded(source[i], scaled[i], least[i], input.step))
            }
        };
        let fit = Self { channels, slices: 2 * input.neighbours + 1, x, y };
        let Size { height, width } = fit.net_size();
        if width.max(height) > input.ceiling {
            return Err(FitError::TooLarge { size: fit.net_size(), ceiling: input.ceiling });
        }
        Ok(fit)
    }

    /// Size of the net's input for these slices: multiples of the manifest's
    /// `input.step`.
    #[must_use]
    pub fn net_size(&self) -> Size {
        Size { height: self.y.net, width: self.x.net }
    }

    /// Number of values that a slice becomes: channels × height × width of the net.
    #[must_use]
    pub fn slice_len(&self) -> usize {
        self.channels * self.y.net * self.x.net
    }

    /// Number of values that the net takes: those of a slice and of its neighbours.
    #[must_use]
    pub fn net_len(&self) -> usize {
        self.slices * self.slice_len()
    }

    /// Brings a normalised slice (channel after channel, row after row) to the net's size.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn prepare(&self, slice: &[f32], net: &mut [f32]) {
        assert_eq!(slice.len(), self.channels * self.x.source * self.y.source, "slice length");
        let width = self.x.source;
        self.prepare_rows(&mut self.row_pair(), net, |channel, y, row| {
            row.copy_from_slice(&slice[(channel * self.y.source + y) * width..][..width]);
        });
    }

    /// Room for the two rows that [`Fit::prepare_rows`] holds at a time.
    #[must_use]
    pub fn row_pair(&self) -> [Vec<f32>; 2] {
        [(); 2].map(|()| vec![0.0; self.x.source])
    }

    /// Brings a slice to the net's size as [`Fit::prepare`] does, without ever holding it
    /// whole: `read(channel, y, row)` is asked for every normalised row once, in order.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn prepare_rows(
        &self,
        pair: &mut [Vec<f32>; 2],
        net: &mut [f32],
        mut read: impl FnMut(usize, usize, &mut [f32]),
    ) {
        let net_plane = self.x.net * self.y.net;
        assert_eq!(net.len(), self.channels * net_plane, "net input length");
        net.fill(BACKGROUND);
        for (channel, out) in net.chunks_exact_mut(net_plane).enumerate() {
            let rows = out.chunks_exact_mut(self.x.net).skip(self.y.before);
            let mut due = self.y.taps.iter().zip(rows).peekable();
            for y in 0..self.y.source {
                pair.swap(0, 1);
                read(channel, y, &mut pair[1]);
                // Taps are sorted by source row. Reading row y completes exactly those rows of the
                // net whose lower neighbour is y, so two rows of memory are enough.
                while let Some((tap, row)) = due.next_if(|(tap, _)| tap.at[1] == y) {
                    let [above, below] = tap.at.map(|at| &pair[usize::from(at == y)]);
                    for (x, value) in self.x.taps.iter().zip(&mut row[self.x.before..]) {
                        *value = tap.mix(x.sample(above), x.sample(below));
                    }
                }
            }
        }
    }

    /// Brings a label slice to the net's size, by nearest neighbour: what a trainer compares the
    /// net's labels with.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn prepare_labels(&self, slice: &[u8], net: &mut [u8]) {
        assert_eq!(slice.len(), self.x.source * self.y.source, "slice length");
        assert_eq!(net.len(), self.x.net * self.y.net, "net label length");
        net.fill(0);
        for (y, row) in self.y.taps.iter().zip(net.chunks_exact_mut(self.x.net).skip(self.y.before))
        {
            let source = &slice[y.nearest() * self.x.source..][..self.x.source];
            for (x, value) in self.x.taps.iter().zip(&mut row[self.x.before..]) {
                *value = source[x.nearest()];
            }
        }
    }

    /// Brings the net's labels back to the slice, by nearest neighbour.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn restore(&self, net: &[u8], slice: &mut [u8]) {
        assert_eq!(net.len(), self.x.net * self.y.net, "net label length");
        assert_eq!(slice.len(), self.x.source * self.y.source, "slice length");
        for (&y, row) in self.y.back.iter().zip(slice.chunks_exact_mut(self.x.source)) {
            let source = &net[y * self.x.net..][..self.x.net];
            for (&x, value) in self.x.back.iter().zip(row) {
                *value = source[x];
            }
        }
    }
}

/// Pixels that a length at `spacing` has at the `wanted` spacing.
fn scaled_length(length: usize, spacing: f64, wanted: f64) -> usize {
    if (spacing / wanted - 1.0).abs() <= SAME_SPACING {
        length
    } else {
        ((length as f64 * spacing / wanted).round() as usize).max(1)
    }
}

/// One axis of the map.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    /// Pixels of the slice.
    source: usize,
    /// Pixels of the net.
    net: usize,
    /// Net pixels before the first that the slice reaches.
    before: usize,
    /// For each net pixel that the slice reaches, where its value comes from.
    taps: Vec<Tap>,
    /// For each slice pixel, the net pixel that its label comes from.
    back: Vec<usize>,
}

impl Axis {
    fn resized(source: usize, net: usize) -> Self {
        Self::new(source, net, net)
    }

    fn padded(source: usize, scaled: usize, least: usize, step: usize) -> Self {
        Self::new(source, scaled, scaled.next_multiple_of(step).max(least))
    }

    /// `source` pixels sampled at `scaled` places, centred among `net`. Pixel centres lie at
    /// half-integers, so that both grids cover the same field of view.
    fn new(source: usize, scaled: usize, net: usize) -> Self {
        let before = (net - scaled) / 2;
        let ratio = source as f64 / scaled as f64;
        let taps = (0..scaled).map(|i| Tap::at((i as f64 + 0.5) * ratio - 0.5, source)).collect();
        let back = (0..source)
            .map(|i| before + (((i as f64 + 0.5) / ratio) as usize).min(scaled - 1))
            .collect();
        Self { source, net, before, taps, back }
    }
}

/// Linear interpolation between two neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    at: [usize; 2],
    /// Of the second neighbour.
    weight: f32,
}

impl Tap {
    fn at(position: f64, length: usize) -> Self {
        let position = position.clamp(0.0, (length - 1) as f64);
        let first = position as usize;
        Self { at: [first, (first + 1).min(length - 1)], weight: (position - first as f64) as f32 }
    }

    fn sample(self, row: &[f32]) -> f32 {
        self.mix(row[self.at[0]], row[self.at[1]])
    }

    fn mix(self, first: f32, second: f32) -> f32 {
        first + (second - first) * self.weight
    }

    fn nearest(self) -> usize {
        self.at[usize::from(self.weight >= 0.5)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::manifest::tests::example;
    use super::*;

    /// For slices of a width and height, as spacings are.
    fn plan([width, height]: [usize; 2], spacing: [f64; 2]) -> Result<Fit, FitError> {
        Fit::new(&example(), 1, Size { height, width }, spacing)
    }

    #[test]
    fn a_small_slice_is_padded_around_its_centre() {
        let plan = plan([2, 2], [1.0, 1.0]).unwrap();
        assert_eq!(plan.net_size(), Size::new(48, 64));
        let mut net = vec![9.0; plan.net_len()];
        plan.prepare(&[1.0, 2.0, 3.0, 4.0], &mut net);
        assert_eq!(
            [net[23 * 64 + 31], net[23 * 64 + 32], net[24 * 64 + 31], net[24 * 64 + 32]],
            [1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(net.iter().sum::<f32>(), 10.0);
    }

    #[test]
    fn a_larger_slice_is_planned_larger_and_never_cropped() {
        assert_eq!(plan([101, 50], [1.0, 1.0]).unwrap().net_size(), Size::new(52, 104));
    }

    #[test]
    fn a_larger_slice_is_planned_in_the_net_s_own_steps() {
        let mut manifest = example();
        manifest.input.step = 16;
        assert_eq!(
            Fit::new(&manifest, 1, Size::new(50, 101), [1.0; 2]).unwrap().net_size(),
            Size::new(64, 112)
        );
    }

    #[test]
    fn a_slice_above_the_ceiling_is_refused() {
        let error = plan([200, 40], [2.0, 1.0]).unwrap_err();
        assert_eq!(error, FitError::TooLarge { size: Size::new(40, 400), ceiling: 256 });
    }

    #[test]
    fn channels_must_agree() {
        let error = Fit::new(&example(), 4, Size::new(9, 9), [1.0; 2]).unwrap_err();
        assert_eq!(error, FitError::Channels { found: 4, expected: 1 });
    }

    #[test]
    fn nothing_can_be_planned_for_no_pixels_or_no_spacing() {
        for (size, spacing) in [([0, 5], [1.0; 2]), ([5, 5], [0.0, 1.0]), ([5, 5], [f64::NAN, 1.0])]
        {
            assert!(matches!(plan(size, spacing), Err(FitError::Degenerate { .. })));
        }
    }

    #[test]
    fn another_spacing_is_resampled_linearly() {
        let plan = plan([2, 1], [2.0, 1.0]).unwrap();
        let mut net = vec![0.0; plan.net_len()];
        plan.prepare(&[0.0, 1.0], &mut net);
        assert_eq!(net[23 * 64 + 30..23 * 64 + 34], [0.0, 0.25, 0.75, 1.0]);
    }

    proptest! {
        /// Labels that go to the net and back are unchanged wherever the net's grid is at least as
        /// fine.
        #[test]
        fn labels_survive_the_way_there_and_back(
            (w, h) in (1usize..60, 1usize..60),
            fine in prop::sample::select(vec![1.0f64, 1.005, 1.3, 2.0, 3.7]),
            seed in any::<u64>(),
        ) {
            let mut manifest = example();
            manifest.input.ceiling = 1024;
            let plan = Fit::new(&manifest, 1, Size::new(h, w), [fine, fine]).unwrap();
            let label = |i: usize| (seed.rotate_left(i as u32) % 3) as u8;
            let labels: Vec<u8> = (0..w * h).map(label).collect();
            let mut net = vec![0; plan.net_len()];
            plan.prepare_labels(&labels, &mut net);
            let mut back = vec![9; w * h];
            plan.restore(&net, &mut back);
            prop_assert_eq!(back, labels);
        }

        /// Rows that stream by, each asked for once and in order, become what the taps say of whole
        /// planes.
        #[test]
        fn streamed_rows_give_the_values_of_whole_planes(
            (w, h) in (1usize..40, 1usize..40),
            spacing in (0.2f64..3.0, 0.2f64..3.0),
        ) {
            let mut manifest = example();
            manifest.input.channels = 2;
            let plan = Fit::new(&manifest, 2, Size::new(h, w), spacing.into()).unwrap();
            let slice: Vec<f32> = (0..2 * w * h).map(|i| (i * 7919 % 101) as f32 / 100.0).collect();
            let mut expected = vec![BACKGROUND; plan.slice_len()];
            for (channel, plane) in slice.chunks_exact(w * h).enumerate() {
                for (i, y) in plan.y.taps.iter().enumerate() {
                    for (j, x) in plan.x.taps.iter().enumerate() {
                        let [above, below] = y.at.map(|at| x.sample(&plane[at * w..][..w]));
                        let row = channel * plan.y.net + plan.y.before + i;
                        expected[row * plan.x.net + plan.x.before + j] = y.mix(above, below);
                    }
                }
            }
            let (mut net, mut asked) = (vec![9.0; plan.slice_len()], Vec::new());
            plan.prepare_rows(&mut plan.row_pair(), &mut net, |channel, y, row| {
                asked.push(channel * h + y);
                row.copy_from_slice(&slice[(channel * h + y) * w..][..w]);
            });
            prop_assert_eq!(net, expected);
            prop_assert_eq!(asked, (0..2 * h).collect::<Vec<_>>());
        }

        /// A sampled value never leaves the range of the slice.
        #[test]
        fn samples_stay_within_the_slice(
            (w, h) in (1usize..40, 1usize..40),
            spacing in (0.2f64..3.0, 0.2f64..3.0),
            resize in any::<bool>(),
        ) {
            let mut manifest = example();
            if resize {
                manifest.fit = FitRule::Resize;
            }
            let plan = Fit::new(&manifest, 1, Size::new(h, w), [spacing.0, spacing.1]).unwrap();
            let slice: Vec<f32> = (0..w * h).map(|i| (i * 7919 % 101) as f32 / 100.0).collect();
            let mut net = vec![0.0; plan.net_len()];
            plan.prepare(&slice, &mut net);
            prop_assert!(net.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
}
