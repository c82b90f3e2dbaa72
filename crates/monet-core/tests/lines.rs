//! Line by line, with a tensor computed twice, and plane by plane: the same results to the bit, in
//! less memory.

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
    let (mut together, mut smaller, mut again, mut planned) = (0, 0, 0, 0);
    for kernel in Kernel::available() {
        let mut random = Random(21);
        for case in 0..cases() {
            let (graph, size) = match case % 2 {
                0 => nets::deep(&mut random),
                _ => nets::any(&mut random),
            };
            let order = [Schedule::Planes, Schedule::Lines, Schedule::Twice];
            let [Some(planes), Some(lines), Some(twice)] =
                order.map(|o| plan(&graph, size, kernel, o))
            else {
                continue;
            };
            planned += 1;
            together += usize::from(lines.passes().any(|(_, waves)| waves > 1));
            smaller += usize::from(lines.arena_len() < planes.arena_len());
            again += usize::from(twice.macs() > lines.macs());
            assert!(lines.arena_len() <= planes.arena_len(), "{kernel}, case {case}");
            assert!(twice.arena_len() <= lines.arena_len(), "{kernel}, case {case}");
            assert!(5 * twice.macs() <= 6 * lines.macs(), "{kernel}, case {case}");
            let want = logits(&planes, 0x5a);
            for plan in [&lines, &twice] {
                let passes = plan.passes().collect::<Vec<_>>();
                assert!(logits(plan, 0xa5) == want, "{kernel}, {case}: {size:?} {passes:?}");
            }
        }
    }
    println!("{planned} planned, {together} take turns, {smaller} need less, {again} have twins");
    // One net in ten has a skip that is worth it: few nets may have none.
    assert!(again > 0 || planned < 100, "{planned}, {again}");
    assert!(together * 5 > planned && smaller * 5 > planned, "{planned}, {together}, {smaller}");
}

#[test]
fn monet_gives_the_same_at_sizes_whole_and_odd() {
    for kernel in Kernel::available() {
        for size in [[32, 40], [36, 20], [64, 16], [4, 4], [8, 12], [100, 8]] {
            let by = |order| plan(&nets::monet(3), size, kernel, order).expect("a multiple of 4");
            let want = logits(&by(Schedule::Planes), 1);
            for order in [Schedule::Lines, Schedule::Twice] {
                assert!(logits(&by(order), 2) == want, "{kernel} {size:?} {order:?}");
            }
        }
    }
}

/// At 64×64 no division of the steps has all its passes within less than 133,872 bytes
/// (`cortex-m-mve` 135,600, `cortex-m-dsp` 139,059) as long as each tensor is computed once. Most
/// takes the concatenation behind the bottleneck, where both skips and the bottleneck's result are
/// whole: 66,576, 33,824 and 17,472 bytes. The first skip computed twice is 12.9 % more
/// multiplications, and no skip of that size is kept.
#[test]
fn boards_with_little_memory_have_room() {
    let sides = [64, 128, 256];
    for (order, most) in [
        (Schedule::Lines, [140_000, 512_000, 1_500_000]),
        (Schedule::Twice, [128_000, 360_000, 1_050_000]),
    ] {
        for kernel in [Kernel::Scalar, Kernel::CortexMMve, Kernel::CortexMDsp] {
            let arena = |side: usize| {
                let size = Size::new(side, side);
                let image = Image::scheduled(&nets::monet(1), size, kernel, order, b"");
                image.expect("MoNet at a multiple of 4").arena_len()
            };
            let found = sides.map(arena);
            println!("{order:?} {kernel} {found:?}");
            let fits = found.iter().zip(most).all(|(&found, most)| found <= most);
            assert!(fits, "{order:?} {kernel} {found:?}");
        }
    }
    // Where copies would need more than an arena may have, there are none.
    let size = Size::new(4096, 4096);
    let plan = |order| Image::scheduled(&nets::monet(1), size, Kernel::Scalar, order, b"");
    let [lines, twice] = [Schedule::Lines, Schedule::Twice].map(plan);
    assert!(twice.expect("as by lines").arena_len() <= lines.expect("a plan").arena_len());
}
