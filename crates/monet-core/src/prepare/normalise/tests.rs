//! Normalised volumes, and what is doubted about them.

use std::{string::String, string::ToString, vec, vec::Vec};

use proptest::prelude::*;

use super::*;

fn normalised(normalise: Normalise, slices: &[&[f32]], channels: usize) -> Vec<Vec<f32>> {
    let mut stats = IntensityStats::new(normalise, channels);
    while stats.wants_pass() {
        slices.iter().for_each(|slice| stats.add(slice));
        stats.end_pass();
    }
    let intensity = stats.finish();
    slices
        .iter()
        .map(|slice| {
            let mut slice = slice.to_vec();
            let pixels = slice.len() / channels;
            intensity.apply(&mut slice, pixels);
            slice
        })
        .collect()
}

#[test]
fn a_window_needs_no_pass_and_clips() {
    let window = Normalise::Window { low: -150.0, high: 250.0 };
    assert!(!IntensityStats::new(window, 1).wants_pass());
    let slice = [-1000.0, -150.0, 50.0, 250.0, 3000.0, f32::NAN, f32::INFINITY];
    assert_eq!(normalised(window, &[&slice], 1)[0], [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn channels_are_normalised_apart() {
    let whole = Normalise::Percentiles { low: 0.0, high: 100.0 };
    let slices: [&[f32]; 2] = [&[0.0, 2.0, 10.0, 30.0], &[4.0, 1.0, 50.0, 20.0]];
    let expected = [vec![0.0, 0.5, 0.0, 0.5], vec![1.0, 0.25, 1.0, 0.25]];
    assert_eq!(normalised(whole, &slices, 2), expected);
}

#[test]
fn a_volume_of_one_value_or_of_none_is_background() {
    for normalise in
        [Normalise::Percentiles { low: 0.5, high: 99.5 }, Normalise::ZScore { clip: 5.0 }]
    {
        assert_eq!(normalised(normalise, &[&[7.0; 4]], 1)[0], [0.0; 4]);
        assert_eq!(normalised(normalise, &[&[f32::NAN; 4]], 1)[0], [0.0; 4]);
    }
}

/// What is doubtful, as a person reads it.
fn doubts(normalise: Normalise, slice: &[f32], channels: usize) -> Vec<String> {
    let mut stats = IntensityStats::new(normalise, channels);
    while stats.wants_pass() {
        stats.add(slice);
        stats.end_pass();
    }
    stats.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn a_channel_without_width_is_named() {
    let slice = [1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0, 7.0];
    for (normalise, what) in [
        (
            Normalise::Percentiles { low: 0.5, high: 99.5 },
            "channel 1: percentiles 0.5 and 99.5 are both 7",
        ),
        (
            Normalise::ForegroundPercentiles { low: 0.5, high: 99.5 },
            "channel 1: percentiles 0.5 and 99.5 are both 7",
        ),
        (Normalise::ZScore { clip: 5.0 }, "channel 1: all voxels are 7"),
    ] {
        let found = doubts(normalise, &slice, 2);
        assert!(found.len() == 1 && found[0].starts_with(what), "{found:?}");
    }
    assert!(
        doubts(Normalise::ZScore { clip: 5.0 }, &[f32::NAN; 4], 1).is_empty(),
        "told by the range"
    );
}

#[test]
fn an_outlier_that_is_the_deviation_is_doubted_and_a_bright_voxel_is_not() {
    let normalise = Normalise::ZScore { clip: 5.0 };
    let body: Vec<f32> = (0..10_000).map(|i| (i % 100) as f32).collect();
    assert!(doubts(normalise, &[&body[..], &[500.0]].concat(), 1).is_empty());
    for (outlier, what) in [(1e30, "those from 1"), (-30_000.0, "those up to -30000")] {
        let found = doubts(normalise, &[&body[..], &[outlier]].concat(), 1);
        assert!(
            found.len() == 1 && found[0].contains(what) && found[0].contains("without"),
            "{found:?}"
        );
    }
}

#[test]
fn what_is_no_number_and_what_lies_outside_a_window_is_doubted() {
    let window = Normalise::Window { low: -150.0, high: 250.0 };
    let told = |range| window.doubt(None, range).map(|doubt| doubt.to_string());
    assert!(told(None).unwrap().starts_with("no voxel is a number"));
    for range in [[-1024.0, -150.0], [250.0, 9e9], [-1000.0, -1000.0]] {
        assert!(
            told(Some(range))
                .unwrap()
                .starts_with("no voxel lies within the package's window of -150 to 250")
        );
    }
    assert_eq!(told(Some([-1024.0, -149.0])), None);
    assert_eq!(Normalise::ZScore { clip: 1.0 }.doubt(Some(2), Some([0.0, 0.0])), None);
}

#[test]
fn a_z_score_has_mean_nought_and_deviation_one() {
    let slice: Vec<f32> = (0..1000).map(|i| 1.0e6 + (i * 37 % 1000) as f32).collect();
    let out = &normalised(Normalise::ZScore { clip: 10.0 }, &[&slice], 1)[0];
    let mean = out.iter().sum::<f32>() / 1000.0;
    let var = out.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 1000.0;
    assert!(mean.abs() < 1e-3 && (var - 1.0).abs() < 1e-3, "{mean} {var}");
}

proptest! {
    #[test]
    fn normalised_voxels_stay_in_range(voxels in prop::collection::vec(any::<f32>(), 1..50)) {
        let unit = Normalise::Percentiles { low: 1.0, high: 99.0 };
        let values = &normalised(unit, &[&voxels], 1)[0];
        prop_assert!(values.iter().all(|x| (0.0..=1.0).contains(x)));
    }
}
