//! One axis of a fit.

use super::super::sqrt::round;

/// Relative difference of spacings below which a slice is taken as it is: a spacing written as
/// 0.9999 mm is 1 mm.
const SAME_SPACING: f64 = 0.01;

/// Pixels that a length at `spacing` has at the `wanted` spacing.
pub(super) fn scaled_length(length: usize, spacing: f64, wanted: f64) -> usize {
    if (spacing / wanted - 1.0).abs() <= SAME_SPACING {
        length
    } else {
        let scaled = round(length as f64 * spacing / wanted);
        usize::try_from(scaled).unwrap_or(usize::MAX).max(1)
    }
}

/// `source` pixels sampled at `scaled` places, centred among `net`. Pixel centres lie at
/// half-integers, so that both grids cover the same field of view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// Pixels of the slice.
    pub(super) source: usize,
    /// Pixels of the net.
    pub(super) net: usize,
    /// Net pixels before the first that the slice reaches.
    pub(super) before: usize,
    /// Net pixels that the slice reaches.
    pub(super) scaled: usize,
    /// Pixels of the slice for one of the net.
    ratio: f64,
}

impl Axis {
    pub(super) fn resized(source: usize, net: usize) -> Self {
        Self::new(source, net, net)
    }

    pub(super) fn padded(source: usize, scaled: usize, least: usize, step: usize) -> Self {
        Self::new(source, scaled, scaled.next_multiple_of(step.max(1)).max(least))
    }

    fn new(source: usize, scaled: usize, net: usize) -> Self {
        let before = (net - scaled) / 2;
        Self { source, net, before, scaled, ratio: source as f64 / scaled as f64 }
    }

    /// Whether pixels are taken as they are.
    pub(super) fn is_same(&self) -> bool {
        self.source == self.scaled
    }

    /// Which of the pixels that the slice reaches a net pixel is.
    pub(super) fn reached(&self, net: usize) -> Option<usize> {
        net.checked_sub(self.before).filter(|&i| i < self.scaled)
    }

    /// Where the value of the i-th net pixel comes from that the slice reaches.
    pub(super) fn tap(&self, i: usize) -> Tap {
        let last = self.source - 1;
        if self.is_same() {
            return Tap { at: [i, (i + 1).min(last)].map(|at| at as u32), weight: 0.0 };
        }
        let position = ((i as f64 + 0.5) * self.ratio - 0.5).clamp(0.0, last as f64);
        let first = position as usize;
        let at = [first, (first + 1).min(last)].map(|at| at as u32);
        Tap { at, weight: (position - first as f64) as f32 }
    }

    /// The net pixel that the label of a slice's pixel comes from.
    pub(super) fn back(&self, pixel: usize) -> usize {
        if self.is_same() {
            return self.before + pixel;
        }
        self.before + (((pixel as f64 + 0.5) / self.ratio) as usize).min(self.scaled - 1)
    }
}

/// Linear interpolation between two neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tap {
    pub(super) at: [u32; 2],
    /// Of the second neighbour.
    weight: f32,
}

impl Tap {
    #[cfg(feature = "alloc")]
    pub(super) fn sample(self, row: &[f32]) -> f32 {
        self.mix(row[self.at[0] as usize], row[self.at[1] as usize])
    }

    pub(super) fn mix(self, first: f32, second: f32) -> f32 {
        first + (second - first) * self.weight
    }

    pub(super) fn nearest(self) -> usize {
        self.at[usize::from(self.weight >= 0.5)] as usize
    }
}
