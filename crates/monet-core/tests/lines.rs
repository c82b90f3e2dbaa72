//! Line by line and plane by plane: the same results to the bit, in less memory.

use monet_core::{Kernel, Plan, QuantGraph, Schedule, Size};
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

/// At 64×64 the peak lies at the bottleneck, where both skips are whole: 66,576 and 33,824 bytes.
/// Beside them the pass of the first three dilated convolutions has their input (20,736) and the
/// rings between them (8,704 and 5,888). The pass behind it has the plane that the transposed
/// convolution reads (17,472), what this makes (a ring of 8,512), a border of 2,176, and the next
/// layer's plane (36,992) over the second skip. One step a pass would lower the former to about
/// 128,000; the latter cannot go below 131,728 so.
#[test]
fn lines_keep_what_boards_have() {
    let arena = |side: usize| {
        let plan = plan(&nets::monet(1), [side; 2], Kernel::Scalar, Schedule::Lines);
        plan.expect("MoNet at a multiple of 4").arena_len()
    };
    let found = [64, 128, 256].map(arena);
    println!("{found:?}");
    assert!(found[0] <= 140_000 && found[1] <= 512_000 && found[2] <= 1_500_000, "{found:?}");
}
