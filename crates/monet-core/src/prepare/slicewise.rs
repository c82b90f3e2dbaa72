//! Normalisation of slices that come row by row, and of every slice by itself: from the percentiles
//! of its own voxels, for packages whose slices are images of their own.
//!
//! Percentiles are by nearest rank, so that a slice is normalised as a
//! volume of this one slice would be. A slice is held whole here, once, because its first row can
//! be normalised only when its last is known.

use alloc::{vec, vec::Vec};

use super::normalise::Map;
use super::volume::Intensity;

/// Normalises one slice after another, row by row: the maps of the volume, or the slice's own.
#[derive(Debug)]
pub struct SliceIntensity {
    /// A channel's.
    maps: Vec<Map>,
    each_slice: Option<[f32; 2]>,
    /// The slice, channel after channel; empty where the maps are the volume's.
    slice: Vec<f32>,
    /// One of its planes, to be sorted.
    voxels: Vec<f32>,
    pixels: usize,
}

impl SliceIntensity {
    /// For slices of so many pixels a channel.
    pub(super) fn new(intensity: &Intensity, pixels: usize) -> Self {
        let Intensity { maps, each_slice } = intensity.clone();
        let held = each_slice.map_or(0, |_| pixels);
        let slice = vec![0.0; held * maps.len()];
        Self { maps, each_slice, slice, voxels: vec![0.0; held], pixels }
    }

    /// Begins a slice: finds its maps, where it has its own. `read` then gives the rows of each
    /// channel once, of this width, by channel and row.
    pub fn begin(&mut self, width: usize, mut read: impl FnMut(usize, usize, &mut [f32])) {
        let Some(percentiles) = self.each_slice else { return };
        let planes = self.slice.chunks_exact_mut(self.pixels.max(1));
        for (channel, (plane, own)) in planes.zip(&mut self.maps).enumerate() {
            for (y, row) in plane.chunks_exact_mut(width.max(1)).enumerate() {
                read(channel, y, row);
            }
            self.voxels.copy_from_slice(plane);
            *own = map(&mut self.voxels, percentiles);
        }
    }

    /// A normalised row of the slice that has begun, into `out`; `read` gives it, where it was not
    /// read already.
    ///
    /// # Panics
    /// When there is no such channel or row.
    pub fn row(&self, channel: usize, y: usize, out: &mut [f32], read: impl FnOnce(&mut [f32])) {
        if self.each_slice.is_some() {
            let from = channel * self.pixels + y * out.len();
            out.copy_from_slice(&self.slice[from..from + out.len()]);
        } else {
            read(out);
        }
        self.maps[channel].apply_all(out);
    }
}

/// The map from a plane's percentiles to 0 and 1; a plane of one value, or without a number,
/// becomes all background. Leaves the voxels in another order.
pub(super) fn map(voxels: &mut [f32], wanted: [f32; 2]) -> Map {
    let [low, high] = percentiles(voxels, wanted).unwrap_or_default();
    Map::unit(low, high)
}

/// The values at two percentiles, the lower first, of those voxels that are numbers; `None` where
/// none is. Leaves the voxels in another order.
pub(super) fn percentiles(voxels: &mut [f32], wanted: [f32; 2]) -> Option<[f32; 2]> {
    let mut count = 0;
    for at in 0..voxels.len() {
        if voxels[at].is_finite() {
            voxels.swap(count, at);
            count += 1;
        }
    }
    let numbers = &mut voxels[..count];
    let last = count.checked_sub(1)?;
    let [low, high] = super::ranks::nearest(wanted, count as u64)
        .map(|rank| usize::try_from(rank).unwrap_or(last).min(last));
    let (_, least, above) = numbers.select_nth_unstable_by(low, f32::total_cmp);
    let least = *least;
    let most = match high.checked_sub(low + 1) {
        Some(rank) => *above.select_nth_unstable_by(rank, f32::total_cmp).1,
        None => least,
    };
    Some([least, most])
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec::Vec};

    use proptest::prelude::*;

    use super::super::{IntensityStats, Normalise};
    use super::*;

    fn intensity(normalise: Normalise, slices: &[f32], of: usize, channels: usize) -> Intensity {
        let mut stats = IntensityStats::new(normalise, channels);
        while stats.wants_pass() {
            slices.chunks_exact(of).for_each(|slice| stats.add(slice));
            stats.end_pass();
        }
        stats.finish()
    }

    /// A slice as the device normalises it.
    fn by_rows(intensity: &Intensity, slice: &[f32], width: usize, pixels: usize) -> Vec<f32> {
        let mut rows = intensity.by_rows(pixels);
        let read = |channel: usize, y: usize, row: &mut [f32]| {
            row.copy_from_slice(&slice[channel * pixels + y * width..][..width]);
        };
        rows.begin(width, read);
        let mut out = vec![0.0; slice.len()];
        for (i, row) in out.chunks_exact_mut(width).enumerate() {
            let (channel, y) = (i * width / pixels, i * width % pixels / width);
            rows.row(channel, y, row, |row| read(channel, y, row));
        }
        out
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    proptest! {
        /// Two channels of 3 × 2 pixels, three slices: each as if it were a volume of its own, and
        /// the same whole and row by row.
        #[test]
        fn a_slice_is_normalised_as_a_volume_of_it_alone_would_be(
            voxels in prop::collection::vec(
                prop_oneof![
                    4 => (-40..40i16).prop_map(f32::from),
                    2 => -1e3..1e3f32,
                    1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, -0.0, f32::MAX]),
                ],
                36,
            ),
            low in 0.0..50f32, high in 50.0..100f32,
        ) {
            let each = intensity(Normalise::SlicePercentiles { low, high }, &voxels, 12, 2);
            let mut whole = voxels.clone();
            each.apply(&mut whole, 6);
            for (slice, normalised) in voxels.chunks_exact(12).zip(whole.chunks_exact(12)) {
                let alone = intensity(Normalise::Percentiles { low, high }, slice, 12, 2);
                let mut expected = slice.to_vec();
                alone.apply(&mut expected, 6);
                prop_assert_eq!(bits(normalised), bits(&expected));
                prop_assert_eq!(bits(&by_rows(&each, slice, 3, 6)), bits(&expected));
                prop_assert_eq!(bits(&by_rows(&alone, slice, 3, 6)), bits(&expected));
            }
        }
    }

    #[test]
    fn slices_without_width_are_background_and_doubted() {
        let each = Normalise::SlicePercentiles { low: 0.5, high: 99.5 };
        let slices = [0.0, 1.0, 2.0, 3.0, 7.0, 7.0, 7.0, f32::NAN, 5.0, 5.0, 5.0, 5.0];
        let mut stats = IntensityStats::new(each, 1);
        while stats.wants_pass() {
            slices.chunks_exact(4).for_each(|slice| stats.add(slice));
            stats.end_pass();
        }
        let warnings: Vec<_> = stats.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("2 of 3 slices are blank"), "{warnings:?}");
        let mut normalised = slices;
        stats.finish().apply(&mut normalised, 4);
        assert_eq!(normalised[..4], [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert_eq!(normalised[4..], [0.0; 8]);
    }

    #[test]
    fn a_plane_without_numbers_has_no_percentiles() {
        assert_eq!(percentiles(&mut [f32::NAN; 3], [0.0, 100.0]), None);
        assert_eq!(percentiles(&mut [], [0.0, 100.0]), None);
        assert_eq!(percentiles(&mut [4.0], [0.0, 100.0]), Some([4.0; 2]));
        assert_eq!(percentiles(&mut [9.0, f32::NAN, 4.0], [0.0, 100.0]), Some([4.0, 9.0]));
    }
}
