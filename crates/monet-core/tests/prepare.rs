//! Raw slices in, labels out, as a board does it: without allocation, in short memory, and with the
//! labels of a host that prepares whole volumes.

use monet_core::prepare::normalise::{ChannelStats, Map};
use monet_core::prepare::{
    Fit, FitRule, IntensityStats, LEAST_BINS, Normalise, RawError, RawSlices, Recipe, Scaling,
    Voxel,
};
use monet_core::{
    Buffer, Convolution, Image, ImageError, Kernel, Operation, Output, Plan, Quant, QuantGraph,
    RunError, Size, TensorId,
};
use monet_testing::Random;

const NET: Size = Size::new(24, 16);

/// For a net of three planes: a slice between its neighbours.
fn recipe(normalise: Normalise, fit: FitRule) -> Recipe {
    Recipe { channels: 1, neighbours: 1, size: NET, ceiling: 24, step: 4, normalise, fit }
}

/// An image of a net whose label is 1 where a weighted sum of the three planes is large: every
/// count of every plane matters.
fn image(recipe: &Recipe) -> Image<'static> {
    let mut graph = QuantGraph::new(3, Quant { scale: 1.0 / 255.0, zero_point: 0 });
    let head = Convolution {
        cout: 1,
        kernel: [1, 1],
        weights: vec![60, 127, -50],
        scales: vec![1.0],
        bias: vec![-8000],
        ..Convolution::default()
    };
    graph.push("head", Operation::Logits { inputs: vec![TensorId(0)], conv: head });
    graph.output = Output::Sigmoid { threshold: 0.5 };
    let image = Image::compile(&graph, NET, Kernel::best(), b"").expect("a valid net");
    image.with_recipe(recipe).expect("a recipe for this net")
}

/// The slices around one of a volume.
fn around<V>(slices: &[Vec<V>], at: usize) -> [&[V]; 3] {
    [at.saturating_sub(1), at, (at + 1).min(slices.len() - 1)].map(|i| &slices[i][..])
}

/// A host's labels: statistics of the volume, planes prepared whole.
fn of_host(plan: &Plan, recipe: &Recipe, fit: &Fit, slices: &[Vec<f32>]) -> Vec<Vec<u8>> {
    let mut stats = IntensityStats::new(recipe.normalise, 1);
    while stats.wants_pass() {
        slices.iter().for_each(|slice| stats.add(slice));
        stats.end_pass();
    }
    let intensity = stats.finish();
    let planes: Vec<Vec<f32>> = slices
        .iter()
        .map(|slice| {
            let (mut slice, mut net) = (slice.clone(), vec![0.0; fit.slice_len()]);
            let pixels = slice.len();
            intensity.apply(&mut slice, pixels);
            fit.prepare(&slice, &mut net);
            net
        })
        .collect();
    let mut arena = vec![0; plan.arena_len()];
    (0..slices.len())
        .map(|i| {
            let mut labels = vec![0; NET.area()];
            plan.run(&mut arena, &around(&planes, i), &mut labels).expect("planes of the net");
            labels
        })
        .collect()
}

/// A map of voxels, in the least memory that there may be.
fn map_of<V: Voxel>(normalise: Normalise, scaling: Scaling, slices: &[Vec<V>]) -> Map {
    let mut memory = [0u32; LEAST_BINS];
    let mut stats = ChannelStats::new(normalise, &mut memory);
    while stats.wants_pass() {
        slices.iter().for_each(|slice| stats.add(scaling.values(slice)));
        stats.end_pass();
    }
    stats.map()
}

/// A board's labels: an image where it lies, raw slices.
fn of_board<V: Voxel>(bytes: &[u8], size: Size, scaling: Scaling, raw: &[Vec<V>]) -> Vec<Vec<u8>> {
    let plan = Plan::try_from(Image::parse(bytes).expect("an image")).expect("this CPU's kernel");
    let recipe = plan.recipe().expect("a recipe");
    let fit = Fit::new(recipe, 1, size, [1.0, 1.0]).expect("slices that fit");
    let each = |slices: &[Vec<V>]| map_of(recipe.normalise, scaling, slices);
    let maps: Vec<Map> = match recipe.normalise {
        Normalise::SlicePercentiles { .. } => {
            raw.iter().map(|slice| each(std::slice::from_ref(slice))).collect()
        }
        _ => vec![each(raw); raw.len()],
    };
    let mut arena = vec![0xa5; plan.arena_len()];
    (0..raw.len())
        .map(|i| {
            let slices = around(raw, i);
            let maps = [i.saturating_sub(1), i, (i + 1).min(raw.len() - 1)].map(|i| maps[i]);
            let input = RawSlices::new(fit, &slices, scaling, &maps).expect("whole slices");
            let mut labels = vec![0; NET.area()];
            plan.run_input(&mut arena, &input, &mut labels).expect("an input of the net's size");
            labels
        })
        .collect()
}

/// As stored, what a board and what a host make of it.
fn compare<V: Voxel>(recipe: &Recipe, size: Size, scaling: Scaling, raw: &[Vec<V>]) {
    let image = image(recipe);
    let plan = Plan::try_from(image.clone()).expect("this CPU's kernel");
    let fit = Fit::new(*recipe, 1, size, [1.0, 1.0]).expect("slices that fit");
    let voxels: Vec<Vec<f32>> = raw.iter().map(|slice| scaling.values(slice).collect()).collect();
    let expected = of_host(&plan, recipe, &fit, &voxels);
    let found = of_board(&Buffer::from(image.bytes()), size, scaling, raw);
    assert!(found.iter().flatten().any(|&label| label != found[0][0]), "labels differ");
    assert!(found == expected, "{recipe:?}");
}

#[test]
fn raw_slices_become_the_labels_of_a_host() {
    let mut random = Random(5);
    let (low, high) = (1.5, 98.5);
    for normalise in [
        Normalise::Window { low: -100.0, high: 900.0 },
        Normalise::Percentiles { low, high },
        Normalise::ForegroundPercentiles { low, high },
        Normalise::SlicePercentiles { low, high },
        Normalise::ZScore { clip: 2.5 },
    ] {
        for (fit, size) in [
            (FitRule::Pad { spacing: [1.0, 1.0] }, Size::new(21, 13)),
            (FitRule::Pad { spacing: [0.8, 1.7] }, Size::new(33, 11)),
            (FitRule::Resize, Size::new(40, 9)),
        ] {
            let recipe = recipe(normalise, fit);
            let mut slices = |most: usize| -> Vec<Vec<usize>> {
                let voxel = |random: &mut Random| {
                    let value = random.below(most);
                    if value < most / 3 { 0 } else { value }
                };
                (0..4).map(|_| (0..size.area()).map(|_| voxel(&mut random)).collect()).collect()
            };
            let of = |slices: &[Vec<usize>]| -> Vec<Vec<i16>> {
                slices.iter().map(|s| s.iter().map(|&v| v as i16 - 1000).collect()).collect()
            };
            let hounsfield = Scaling { slope: 0.75, intercept: 100.5 };
            compare(&recipe, size, Scaling::NONE, &of(&slices(2000)));
            compare(&recipe, size, hounsfield, &of(&slices(2000)));
            let bytes = slices(256);
            let bytes: Vec<Vec<u8>> =
                bytes.iter().map(|s| s.iter().map(|&v| v as u8).collect()).collect();
            compare(&recipe, size, Scaling::NONE, &bytes);
            let words = slices(60_000);
            let words: Vec<Vec<u16>> =
                words.iter().map(|s| s.iter().map(|&v| v as u16).collect()).collect();
            compare(&recipe, size, Scaling::NONE, &words);
            let floats = slices(5000);
            let mut floats: Vec<Vec<f32>> =
                floats.iter().map(|s| s.iter().map(|&v| v as f32 / 7.0).collect()).collect();
            (floats[0][3], floats[1][4]) = (f32::NAN, f32::NEG_INFINITY);
            compare(&recipe, size, Scaling::NONE, &floats);
        }
    }
}

/// A host scales all voxels in double precision, where adding an intercept of 0 makes 0.0 of -0.0.
/// Percentiles count these two apart.
#[test]
fn zeros_of_both_signs_are_one_background() {
    let recipe =
        recipe(Normalise::ForegroundPercentiles { low: 0.0, high: 100.0 }, FitRule::Resize);
    let voxel = |i: usize| match i % 3 {
        0 => 0.0,
        1 => -0.0,
        _ => 100.0 + (i % 100) as f32,
    };
    let raw: Vec<Vec<f32>> =
        (0..4).map(|slice| (0..NET.area()).map(|i| voxel(i * (slice + 1))).collect()).collect();
    let decode = |&stored: &f32| (f64::from(stored) * 1.0 + 0.0) as f32;
    let voxels: Vec<Vec<f32>> =
        raw.iter().map(|slice| slice.iter().map(decode).collect()).collect();
    let image = image(&recipe);
    let fit = Fit::new(recipe, 1, NET, [1.0, 1.0]).expect("slices that fit");
    let plan = Plan::try_from(image.clone()).expect("this CPU's kernel");
    let expected = of_host(&plan, &recipe, &fit, &voxels);
    assert!(expected.iter().flatten().any(|&label| label != expected[0][0]), "labels differ");
    assert_eq!(of_board(&Buffer::from(image.bytes()), NET, Scaling::NONE, &raw), expected);
}

#[test]
fn a_recipe_comes_back_from_the_image_and_a_bad_one_does_not() {
    let window = Normalise::Window { low: 0.0, high: 1.0 };
    for normalise in [window, Normalise::ZScore { clip: 3.0 }] {
        for fit in [FitRule::Resize, FitRule::Pad { spacing: [0.7, 1.3] }] {
            let recipe = recipe(normalise, fit);
            let image = image(&recipe);
            assert_eq!(image.recipe(), Some(recipe));
            let again = image.with_recipe(&Recipe { step: 8, ..recipe }).expect("another");
            assert_eq!(again.recipe().map(|recipe| recipe.step), Some(8));
            assert_eq!(again.bytes().len(), image.bytes().len());
        }
    }
    let image = image(&recipe(window, FitRule::Resize));
    let bad = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe(window, FitRule::Resize);
        change(&mut recipe);
        let refused = image.with_recipe(&recipe).map(|_| ()).expect_err("a bad recipe");
        assert!(matches!(refused, ImageError::Invalid { what: "recipe", .. }), "{refused}");
    };
    bad(&|recipe| recipe.channels = 2);
    bad(&|recipe| recipe.neighbours = usize::MAX);
    bad(&|recipe| recipe.step = 0);
    bad(&|recipe| recipe.ceiling = 5000);
    bad(&|recipe| recipe.size.width = 25);
    bad(&|recipe| recipe.fit = FitRule::Pad { spacing: [0.0, 1.0] });
    bad(&|recipe| recipe.normalise = Normalise::ZScore { clip: f32::NAN });
    let start = image.bytes().len() - 64;
    for (at, value) in [(24, 5), (36, 2)] {
        let mut forged = Buffer::from(image.bytes());
        forged[start + at] = value;
        let refused = Image::parse(&forged).map(|_| ()).expect_err("an unknown kind");
        assert!(matches!(refused, ImageError::Invalid { what: "recipe", .. }), "{refused}");
    }
}

#[test]
fn what_is_no_input_of_the_net_is_refused() {
    let recipe = recipe(Normalise::Window { low: 0.0, high: 1.0 }, FitRule::Resize);
    let fit = Fit::new(recipe, 1, Size::new(2, 2), [1.0; 2]).expect("slices that fit");
    let (slice, map) = (&[0u8; 4][..], Map::unit(0.0, 1.0));
    let new = |slices: &[&[u8]], maps: &[Map]| {
        RawSlices::new(fit, slices, Scaling::NONE, maps).map(|_| ())
    };
    assert_eq!(new(&[slice; 2], &[map]), Err(RawError::Slices { found: 2, expected: 3 }));
    let short = RawError::Length { slice: 1, found: 3, expected: 4 };
    assert_eq!(new(&[slice, &slice[..3], slice], &[map]), Err(short));
    assert_eq!(new(&[slice; 3], &[map; 2]), Err(RawError::Maps { found: 2, channels: 1 }));
    let larger = Recipe { size: Size::new(24, 24), ..recipe };
    let fit = Fit::new(larger, 1, Size::new(2, 2), [1.0; 2]).expect("slices that fit");
    let (slices, maps) = ([slice; 3], [map]);
    let input = RawSlices::new(fit, &slices, Scaling::NONE, &maps).expect("whole slices");
    let plan = Plan::try_from(image(&recipe)).expect("this CPU's kernel");
    let mut arena = vec![0; plan.arena_len()];
    let refused = plan.run_input(&mut arena, &input, &mut [0; NET.area()]);
    assert_eq!(refused, Err(RunError::Length { what: "input columns", found: 24, expected: 16 }));
}
