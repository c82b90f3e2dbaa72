//! Against sorting.

use std::{string::ToString, vec, vec::Vec};

use proptest::prelude::*;

use super::super::doubt::Doubt;
use super::*;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
struct Window {
    ends: [f32; 2],
    doubt: Option<Doubt>,
}

/// What passes over voxels find, and how many it took.
fn window(voxels: &[f32], percentiles: [f32; 2], foreground: bool) -> (Window, usize) {
    window_in(Vec::new(), voxels, percentiles, foreground)
}

/// The same in some memory.
fn window_in(
    bins: impl Bins,
    voxels: &[f32],
    percentiles: [f32; 2],
    foreground: bool,
) -> (Window, usize) {
    let mut ranks = Ranks::new(percentiles, foreground, bins);
    for pass in 1.. {
        // In parts, as slices come.
        for part in voxels.chunks(7) {
            ranks.add(&mut part.iter().copied());
        }
        ranks.end_pass();
        if let Some(ends) = ranks.ends() {
            return (Window { ends, doubt: ranks.doubt() }, pass);
        }
        assert!(pass < 16, "it never ends");
    }
    unreachable!()
}

/// The same in the memory of a caller, which has so many counts.
fn window_of<const N: usize>(
    voxels: &[f32],
    percentiles: [f32; 2],
    foreground: bool,
) -> (Window, usize) {
    let mut memory = vec![7; N];
    let memory: &mut [u32; N] = memory.as_mut_slice().try_into().unwrap();
    window_in(memory, voxels, percentiles, foreground)
}

/// The same by sorting.
fn sorted(voxels: &[f32], percentiles: [f32; 2]) -> [u32; 2] {
    let mut sorted: Vec<f32> = voxels.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    percentiles.map(|p| {
        sorted[(f64::from(p) / 100.0 * (sorted.len() - 1) as f64).round() as usize].to_bits()
    })
}

/// The foreground's by counting and sorting.
fn sorted_foreground(voxels: &[f32], percentiles: [f32; 2]) -> [u32; 2] {
    let finite: Vec<f32> = voxels.iter().copied().filter(|x| x.is_finite()).collect();
    let times = |v: f32| finite.iter().filter(|x| x.to_bits() == v.to_bits()).count();
    let most = finite
        .iter()
        .copied()
        .max_by(|a, b| times(*a).cmp(&times(*b)).then(b.total_cmp(a)))
        .unwrap();
    let rest: Vec<f32> = finite.iter().copied().filter(|x| x.to_bits() != most.to_bits()).collect();
    if times(most) <= finite.len() / 128 || rest.is_empty() {
        return sorted(voxels, percentiles);
    }
    match sorted(&rest, percentiles) {
        [a, b] if f32::from_bits(a) == f32::from_bits(b) => sorted(voxels, percentiles),
        ends => ends,
    }
}

#[test]
fn padding_takes_no_part_in_the_foreground() {
    let body: Vec<f32> = (0..1000).map(|i| 100.0 + (i % 200) as f32).collect();
    for (padding, each) in
        [(0.0, 5000), (-1000.0, 20), (-1000.0, 90_000), (9999.0, 300), (150.0, 9000)]
    {
        let mut voxels = vec![padding; each];
        voxels.extend(&body);
        let (found, passes) = window(&voxels, [0.5, 99.5], true);
        assert!(
            found.ends[0] >= 100.0 && found.ends[1] <= 299.0 && found.ends[1] > 290.0,
            "{found:?}"
        );
        assert!(passes == 1 && found.doubt.is_none(), "{padding}: {found:?}");
        voxels.push(0.5);
        let (again, passes) = window(&voxels, [0.5, 99.5], true);
        // It is the lowest of the body, so that the rank below it moves by one.
        let near = again.ends.iter().zip(found.ends).all(|(a, b)| (a - b).abs() <= 1.0);
        assert!(near && passes == 3, "as floats, {padding}: {again:?} {found:?}");
    }
}

#[test]
fn two_values_are_all_that_there_is_and_one_is_nothing() {
    for odd in [0.0, 0.25] {
        let two = [vec![odd; 90], vec![1.0 + odd; 10]].concat();
        assert_eq!(
            window(&two, [0.5, 99.5], true).0.ends,
            [odd, 1.0 + odd],
            "no width without the background"
        );
        let one = [odd; 50];
        let doubt = Doubt::SamePercentiles { percentiles: [0.5, 99.5], value: odd };
        for foreground in [false, true] {
            let found = window(&one, [0.5, 99.5], foreground).0;
            assert_eq!(found, Window { ends: [odd; 2], doubt: Some(doubt.clone()) });
        }
        assert_eq!(window(&[], [0.5, 99.5], true).0, Window { ends: [0.0; 2], doubt: None });
    }
}

#[test]
fn a_window_that_few_voxels_or_padding_set_is_doubted() {
    // By whole numbers and, with one that is none, by floats.
    for odd in [None, Some(0.5)] {
        let body: Vec<f32> =
            (0..10_000).map(|i| (i % 100 + i / 100 % 30) as f32).chain(odd).collect();
        let told = |more: &[f32], percentiles: [f32; 2]| {
            window(&[more, &body].concat(), percentiles, false)
                .0
                .doubt
                .map(|doubt| doubt.to_string())
        };
        assert_eq!(told(&[], [0.5, 99.5]), None);
        assert_eq!(told(&[-20.0; 60], [0.5, 99.5]), None, "a little");
        let layer = told(&[-1000.0; 1500], [0.5, 99.5]).unwrap();
        assert!(layer.starts_with("13.0 % of the voxels, those up to -1000, set"), "{layer}");
        assert!(layer.contains("-1000 to 12"), "{layer}");
        let bright = told(&[30_000.0; 200], [0.5, 99.5]).unwrap();
        assert!(bright.starts_with("2.0 % of the voxels, those from 30000, set"), "{bright}");
        let one = told(&[20_000.0], [0.0, 100.0]).unwrap();
        assert!(one.starts_with("less than 0.1 % of the voxels, those from 20000, set"), "{one}");
        let most = told(&vec![64.0; 900_000], [0.5, 99.5]).unwrap();
        assert!(most.contains("set the intensities") && most.contains(" 64 "), "{most}");
    }
    let voxels: Vec<f32> = (0..10_000).map(|i| 0.001 * (i % 977) as f32).chain([1e30]).collect();
    assert_eq!(window(&voxels, [0.5, 99.5], false).0.doubt, None, "an outlier is cut off");
    assert!(window(&voxels, [0.0, 100.0], false).0.doubt.is_some(), "an outlier is the window");
}

#[test]
fn what_is_natural_is_not_doubted() {
    // Dark air around a body, more or less of it; noise far from nought; a skewed distribution.
    for air in [0, 100, 5000, 40_000] {
        let voxels: Vec<f32> = (0..10_000)
            .map(|i| 300.0 + (i * 37 % 700) as f32)
            .chain((0..air).map(|_| 0.0))
            .collect();
        assert_eq!(window(&voxels, [0.5, 99.5], false).0.doubt, None, "{air}");
    }
    let noise: Vec<f32> = (0..10_000).map(|i| 1000.0 + (i * 7919 % 1000) as f32 / 150.0).collect();
    let skewed: Vec<f32> = (1..10_000).map(|i| (10_000.0 / i as f32).ln().powi(2) * 90.5).collect();
    for percentiles in [[0.5, 99.5], [0.0, 100.0]] {
        assert_eq!(window(&noise, percentiles, false).0.doubt, None);
        assert_eq!(window(&skewed, percentiles, false).0.doubt, None);
    }
}

proptest! {
    #[test]
    fn percentiles_are_those_of_the_sorted_voxels(
        voxels in prop::collection::vec(any::<f32>(), 1..200),
        p in (0.0f32..50.0, 50.0f32..=100.0),
    ) {
        prop_assume!(voxels.iter().any(|x| x.is_finite()));
        let (found, _) = window(&voxels, [p.0, p.1], false);
        prop_assert_eq!(found.ends.map(f32::to_bits), sorted(&voxels, [p.0, p.1]));
    }

    /// Of whole numbers one pass is enough, and a voxel that is no integer, late in the volume,
    /// changes nothing but that.
    #[test]
    fn percentiles_of_whole_numbers_take_one_pass(
        whole in prop::collection::vec(any::<i16>(), 1..200),
        odd in prop::option::of(prop::sample::select(vec![-0.0f32, 0.5, 32768.0, -1.0e9])),
        p in (0.0f32..50.0, 50.0f32..=100.0),
    ) {
        let voxels: Vec<f32> = whole.iter().map(|&x| f32::from(x)).chain(odd).collect();
        let (found, passes) = window(&voxels, [p.0, p.1], false);
        prop_assert_eq!(passes, if odd.is_none() { 1 } else { 2 });
        prop_assert_eq!(found.ends.map(f32::to_bits), sorted(&voxels, [p.0, p.1]));
    }

    /// The most frequent value is found, however voxels are ordered and stored.
    #[test]
    fn foreground_percentiles_are_those_of_the_sorted_rest(
        few in prop::collection::vec(
            prop::sample::select(vec![0.0f32, 3.0, -7.0, 3.5, 1e9, -0.0]), 0..60
        ),
        many in prop::collection::vec(-300i16..300, 1..400),
        p in (0.0f32..50.0, 50.0f32..=100.0),
        seed in any::<u64>(),
    ) {
        let mut voxels: Vec<f32> = many.iter().map(|&x| f32::from(x)).chain(few).collect();
        let n = voxels.len();
        (0..n).for_each(|i| voxels.swap(i, (seed.rotate_left(i as u32) % n as u64) as usize));
        let (found, _) = window(&voxels, [p.0, p.1], true);
        prop_assert_eq!(found.ends.map(f32::to_bits), sorted_foreground(&voxels, [p.0, p.1]));
    }

    /// Short memory takes more passes to the same values, at most as many as `normalise` says.
    #[test]
    fn memory_decides_on_passes_and_not_on_values(
        few in prop::collection::vec(
            prop_oneof![Just(0.0f32), Just(3.0), Just(-7.0), Just(3.5), Just(-0.0), any::<f32>()],
            0..60,
        ),
        many in prop::collection::vec(any::<i16>(), 1..200),
        range in prop::sample::select(vec![30i16, 300, i16::MAX]),
        whole in any::<bool>(),
        p in (0.0f32..50.0, 50.0f32..=100.0),
        seed in any::<u64>(),
        foreground in any::<bool>(),
    ) {
        let few = few.into_iter().filter(|x| !whole || Keys::Whole.of(*x).is_some());
        let mut voxels: Vec<f32> =
            many.iter().map(|&x| f32::from(x % range)).chain(few).collect();
        let n = voxels.len();
        (0..n).for_each(|i| voxels.swap(i, (seed.rotate_left(i as u32) % n as u64) as usize));
        let (expected, _) = window(&voxels, [p.0, p.1], foreground);
        for (window, len, passes) in [
            (window_of::<512> as fn(&_, _, _) -> _, 512, [2, 6]),
            (window_of::<4096>, 4096, [2, 5]),
            (window_of::<HALF>, HALF, [2, 4]),
            (window_of::<{ 4 * HALF }>, 4 * HALF, [1, 3]),
        ] {
            let (found, took) = window(&voxels, [p.0, p.1], foreground);
            prop_assert_eq!(found.ends.map(f32::to_bits), expected.ends.map(f32::to_bits));
            let bound = passes[usize::from(!whole)];
            // Leaving out the background: its candidates, and shorter digits, as candidates take
            // memory; and all again where nothing else is there.
            let more = if foreground { bound + 3 } else { 0 };
            prop_assert!(took <= bound + more, "{} counts: {} passes", len, took);
        }
    }
}
