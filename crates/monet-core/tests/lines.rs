//! Line by line and plane by plane: the same results to the bit, in less memory.

use monet_core::{Image, Kernel, Plan, QuantGraph, Schedule, Size};
use monet_testing::{Random, nets};

/// Random nets that each kernel must compute alike.
fn cases() -> usize {
    std::env::var("MONET_CASES").map_or(40, |text| text.parse().expect("MONET_CASES is a number"))
}

/// A plan, if the net fits the size.
fn plan(
    graph: &QuantGraph,
    [height, width]: [usize; 2],
    kernel: Kernel,
    order: Schedule,
) -> Option<Plan<'static>> {
    match Plan::scheduled(graph, Size::new(height, width), kernel, order) {
        Ok(plan) => Some(plan),
        Err(monet_core::PlanError::Image(error)) => panic!("{order:?}: {error}"),
        Err(_) => None,
    }
}

/// What a plan makes of seeded values in an arena of rubbish.
fn logits(plan: &Plan, rubbish: u8) -> Vec<u32> {
    let mut random = Random(3);
    let input: Vec<f32> = (0..plan.input_len()).map(|_| 4.0 * random.unit() - 1.0).collect();
    let mut arena = vec![rubbish; plan.arena_len()];
    let mut out = vec![f32::NAN; plan.classes() * plan.output_size().area()];
    plan.run_probabilities(&mut arena, &[&input], &mut out).expect("buffers of the plan's sizes");
    out.into_iter().map(f32::to_bits).collect()
}

#[test]
fn random_nets_give_the_same_by_lines_and_by_planes() {
    let (mut together, mut smaller, mut planned) = (0, 0, 0);
    for kernel in Kernel::available() {
        let mut random = Random(21);
        for case in 0..cases() {
            let (graph, size) = match case % 2 {
                0 => nets::deep(&mut random),
                _ => nets::any(&mut random),
            };
            let order = [Schedule::Planes, Schedule::Lines];
            let [Some(planes), Some(lines)] = order.map(|o| plan(&graph, size, kernel, o)) else {
                continue;
            };
            planned += 1;
            together += usize::from(lines.passes().any(|(_, waves)| waves > 1));
            smaller += usize::from(lines.arena_len() < planes.arena_len());
            assert!(lines.arena_len() <= planes.arena_len(), "{kernel}, case {case}");
            let same = logits(&planes, 0x5a) == logits(&lines, 0xa5);
            assert!(
                same,
                "{kernel}, case {case}: {size:?} {:?}",
                lines.passes().collect::<Vec<_>>()
            );
        }
    }
    println!("{planned} planned, {together} take turns, {smaller} need less memory");
    assert!(together * 5 > planned && smaller * 5 > planned, "{planned}, {together}, {smaller}");
}

#[test]
fn monet_gives_the_same_at_sizes_whole_and_odd() {
    for kernel in Kernel::available() {
        for size in [[32, 40], [36, 20], [64, 16], [4, 4], [8, 12], [100, 8]] {
            let order = [Schedule::Planes, Schedule::Lines];
            let [Some(planes), Some(lines)] = order.map(|o| plan(&nets::monet(3), size, kernel, o))
            else {
                panic!("{size:?} fits the net")
            };
            assert!(logits(&planes, 1) == logits(&lines, 2), "{kernel} {size:?}");
        }
    }
}

/// At 64×64 no division has all its passes within less than 133,872 bytes (`cortex-m-mve` 135,600,
/// `cortex-m-dsp` 139,059). Most takes the concatenation behind the bottleneck, where both skips
/// and the bottleneck's result are whole: 66,576, 33,824 and 17,472 bytes. Beside them lie four
/// rows of the transposed convolution (8,512), a border (2,176), what the result is ahead of the
/// skip over which it lies (5,312), and the kernel's panel (none, 1,728 and 5,187).
///
/// Two things would help. A transposed convolution that makes one row at a time needs a ring of
/// three rows (2,112 less), and a ring's border may lie in a row of it that is free then (1,088
/// less): 130,672 with the scalar kernel, and more than 131,072 with the others. Less than that
/// needs a part of a skip computed twice; the whole first skip is 12.9 % of the multiplications.
#[test]
fn lines_keep_what_boards_have() {
    for (kernel, smallest) in
        [(Kernel::Scalar, 136_000), (Kernel::CortexMMve, 137_000), (Kernel::CortexMDsp, 140_000)]
    {
        let arena = |side: usize| {
            let size = Size::new(side, side);
            let image = Image::scheduled(&nets::monet(1), size, kernel, Schedule::Lines, b"");
            image.expect("MoNet at a multiple of 4").arena_len()
        };
        let found = [64, 128, 256].map(arena);
        println!("{kernel} {found:?}");
        let most = [smallest, 512_000, 1_500_000];
        assert!(found.iter().zip(most).all(|(found, most)| *found <= most), "{kernel} {found:?}");
    }
}
