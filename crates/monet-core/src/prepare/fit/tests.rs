//! Against the taps of whole planes.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::super::Normalise;
use super::*;

/// A recipe for tests to bend.
fn example() -> Recipe {
    Recipe {
        channels: 1,
        neighbours: 0,
        size: Size::new(48, 64),
        ceiling: 256,
        step: 4,
        normalise: Normalise::Percentiles { low: 0.5, high: 99.5 },
        fit: FitRule::Pad { spacing: [1.0, 1.0] },
    }
}

/// For slices of a width and height, as spacings are.
fn plan([width, height]: [usize; 2], spacing: [f64; 2]) -> Result<Fit, FitError> {
    Fit::new(example(), 1, Size { height, width }, spacing)
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
    let mut recipe = example();
    recipe.step = 16;
    assert_eq!(
        Fit::new(recipe, 1, Size::new(50, 101), [1.0; 2]).unwrap().net_size(),
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
    let error = Fit::new(example(), 4, Size::new(9, 9), [1.0; 2]).unwrap_err();
    assert_eq!(error, FitError::Channels { found: 4, expected: 1 });
}

#[test]
fn nothing_can_be_planned_for_no_pixels_or_no_spacing() {
    for (size, spacing) in [([0, 5], [1.0; 2]), ([5, 5], [0.0, 1.0]), ([5, 5], [f64::NAN, 1.0])] {
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
        let mut recipe = example();
        recipe.ceiling = 1024;
        let plan = Fit::new(recipe, 1, Size::new(h, w), [fine, fine]).unwrap();
        let label = |i: usize| (seed.rotate_left(i as u32) % 3) as u8;
        let labels: Vec<u8> = (0..w * h).map(label).collect();
        let mut net = vec![0; plan.net_len()];
        plan.prepare_labels(&labels, &mut net);
        let mut back = vec![9; w * h];
        plan.restore(&net, &mut back).unwrap();
        prop_assert_eq!(back, labels);
    }

    /// Rows that stream by, each asked for once and in order, become what the taps say of whole
    /// planes.
    #[test]
    fn streamed_rows_give_the_values_of_whole_planes(
        (w, h) in (1usize..40, 1usize..40),
        spacing in prop_oneof![
            (0.2f64..3.0, 0.2f64..3.0), Just((1.0, 1.0)), Just((1.0, 0.7)), Just((1.3, 1.0)),
        ],
    ) {
        let mut recipe = example();
        recipe.channels = 2;
        let plan = Fit::new(recipe, 2, Size::new(h, w), spacing.into()).unwrap();
        let slice: Vec<f32> = (0..2 * w * h).map(|i| (i * 7919 % 101) as f32 / 100.0).collect();
        let mut expected = vec![BACKGROUND; plan.slice_len()];
        for (channel, plane) in slice.chunks_exact(w * h).enumerate() {
            for (i, y) in (0..plan.y.scaled).map(|i| plan.y.tap(i)).enumerate() {
                for (j, x) in (0..plan.x.scaled).map(|i| plan.x.tap(i)).enumerate() {
                    let [above, below] = y.at.map(|at| x.sample(&plane[at as usize * w..][..w]));
                    let row = channel * plan.y.net + plan.y.before + i;
                    expected[row * plan.x.net + plan.x.before + j] = y.mix(above, below);
                }
            }
        }
        let (mut net, mut asked) = (vec![9.0; plan.slice_len()], Vec::new());
        plan.rows().prepare(&mut net, |channel, y, row| {
            asked.push(channel * h + y);
            row.copy_from_slice(&slice[(channel * h + y) * w..][..w]);
        });
        prop_assert_eq!(&net, &expected);
        let pulled: Vec<f32> = (0..2 * plan.y.net)
            .flat_map(|i| {
                let plane = &slice[i / plan.y.net * w * h..][..w * h];
                let row = plan.net_row(i % plan.y.net, |y, x| plane[y * w + x]);
                row.collect::<Vec<_>>()
            })
            .collect();
        prop_assert_eq!(pulled, expected);
        prop_assert_eq!(asked, (0..2 * h).collect::<Vec<_>>());
    }

    /// A sampled value never leaves the range of the slice.
    #[test]
    fn samples_stay_within_the_slice(
        (w, h) in (1usize..40, 1usize..40),
        spacing in (0.2f64..3.0, 0.2f64..3.0),
        resize in any::<bool>(),
    ) {
        let mut recipe = example();
        if resize {
            recipe.fit = FitRule::Resize;
        }
        let plan = Fit::new(recipe, 1, Size::new(h, w), [spacing.0, spacing.1]).unwrap();
        let slice: Vec<f32> = (0..w * h).map(|i| (i * 7919 % 101) as f32 / 100.0).collect();
        let mut net = vec![0.0; plan.net_len()];
        plan.prepare(&slice, &mut net);
        prop_assert!(net.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}
