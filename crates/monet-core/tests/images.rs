//! Images survive a copy, and no damage to one makes a run touch what it must not.

use monet_core::{Buffer, Image, ImageError, Kernel, Plan, QuantGraph, Schedule, Size};
use monet_testing::{Random, nets};

fn image(graph: &QuantGraph, size: [usize; 2], kernel: Kernel) -> Image<'static> {
    ordered(graph, size, kernel, Schedule::Planes)
}

fn ordered(
    graph: &QuantGraph,
    [height, width]: [usize; 2],
    kernel: Kernel,
    order: Schedule,
) -> Image<'static> {
    let size = Size::new(height, width);
    Image::scheduled(graph, size, kernel, order, b"beside").expect("a valid net")
}

fn logits(plan: &Plan) -> Vec<u32> {
    let mut arena = vec![0x5a; plan.arena_len()];
    let input: Vec<f32> = (0..plan.input_len()).map(|i| (i % 251) as f32 / 251.0).collect();
    let mut out = vec![0.0; plan.classes() * plan.output_size().area()];
    plan.run_probabilities(&mut arena, &[&input], &mut out).expect("buffers of the plan's sizes");
    out.into_iter().map(f32::to_bits).collect()
}

#[test]
fn an_image_for_any_kernel_is_compiled_and_proved_anywhere() {
    let mut random = Random(1);
    for _ in 0..40 {
        let (graph, size) = nets::any(&mut random);
        for kernel in Kernel::ALL {
            let image = image(&graph, size, kernel);
            assert_eq!((image.kernel(), image.attachment()), (kernel, &b"beside"[..]));
            let copy = Buffer::from(image.bytes());
            let copy = Image::parse(&copy).expect("a copy of a proved image");
            assert_eq!(Plan::try_from(copy.clone()).is_ok(), kernel.is_available());
            assert_eq!(copy.steps().count(), image.steps().count());
        }
    }
}

#[test]
fn a_copy_runs_as_the_original_does() {
    let graph = nets::monet(3);
    let image = image(&graph, [24, 16], Kernel::best());
    let copy = Buffer::from(image.bytes());
    let plan = Plan::try_from(Image::parse(&copy).expect("a copy")).expect("this CPU's kernel");
    assert_eq!(logits(&plan), logits(&Plan::try_from(image.clone()).expect("this CPU's kernel")));
}

#[test]
fn the_digest_covers_what_the_header_does_not_check() {
    let image = image(&nets::layer(16, 16, 1), [8, 8], Kernel::Scalar);
    assert_eq!((image.sha256(), image.digested().len()), (&[0; 32], image.bytes().len() - 48));
    let sealed = image.clone().sealed([7; 32]);
    assert_eq!((sealed.sha256(), sealed.digested()), (&[7; 32], image.digested()));
    Image::parse(sealed.bytes()).expect("a sealed image");
}

#[test]
fn what_is_no_image_is_named() {
    let image = image(&nets::layer(16, 16, 1), [8, 8], Kernel::Scalar);
    let parse = |change: &dyn Fn(&mut [u8])| {
        let mut copy = Buffer::from(image.bytes());
        change(&mut copy);
        Image::parse(&copy).map(|_| ()).expect_err("a spoilt image")
    };
    assert_eq!(parse(&|bytes| bytes[0] ^= 1), ImageError::Magic);
    assert_eq!(parse(&|bytes| bytes[8] = 2), ImageError::Version(2));
    assert_eq!(parse(&|bytes| bytes[48] = 99), ImageError::Kernel(99));
    assert!(matches!(parse(&|bytes| bytes[12] ^= 1), ImageError::Length { .. }));
    assert!(matches!(parse(&|bytes| bytes[96] ^= 1), ImageError::Section(_)));
    let long = Buffer::from(&[image.bytes(), &[0]].concat()[..]);
    assert!(matches!(Image::parse(&long), Err(ImageError::Length { .. })));
    for len in [0, 7, 8, 64, 199, 200, image.bytes().len() - 1] {
        let short = Buffer::from(&image.bytes()[..len]);
        assert!(Image::parse(&short).is_err(), "{len} bytes");
    }
    let moved = Buffer::from(&[&[0][..], image.bytes()].concat()[..]);
    assert!(matches!(Image::parse(&moved[1..]), Err(ImageError::Unaligned)));
}

/// Damage in the tables, which a forger could make with the right SHA-256. What is refused is
/// refused with a reason; what is not runs, in its arena and buffers alone: debug builds check the
/// arithmetic, sanitizers and Miri the memory, every kernel's `check` the bounds.
#[test]
fn a_forged_image_is_refused_or_runs_within_its_bounds() {
    let mut random = Random(17);
    let cases = std::env::var("MONET_CASES").map_or(4_000, |n| n.parse().expect("a number"));
    let (mut ran, mut refused) = (0, 0);
    let kernels: Vec<Kernel> = Kernel::available().collect();
    for _ in 0..cases / 20 {
        let (graph, size) = nets::any(&mut random);
        let order = random.pick(&[Schedule::Planes, Schedule::Lines, Schedule::Twice]);
        let image = ordered(&graph, size, random.pick(&kernels), order);
        for _ in 0..20 {
            let mut forged = Buffer::from(image.bytes());
            for _ in 0..1 + random.below(3) {
                spoil(&mut random, &mut forged);
            }
            let Ok(image) = Image::from_buffer(forged) else {
                refused += 1;
                continue;
            };
            let Ok(plan) = Plan::try_from(image) else { continue };
            if plan.arena_len() <= 1 << 24 && plan.input_len() <= 1 << 20 {
                logits(&plan);
                ran += 1;
            }
        }
    }
    println!("{ran} ran, {refused} were refused");
    assert!(ran > cases / 100 && refused > cases / 10, "{ran} ran, {refused} were refused");
}

/// Changes one number of the header or of a table, or one byte anywhere.
fn spoil(random: &mut Random, image: &mut [u8]) {
    let tables = 2_000.min(image.len());
    let end = if random.below(8) > 0 { tables } else { image.len() };
    let at = random.below(end);
    let word = at / 4 * 4;
    let number = random.next_u64() as u32;
    let new = match random.below(5) {
        0 => number,
        1 => number % 8,
        2 => u32::MAX - number % 8,
        3 => 1 << (number % 32),
        _ => return image[at] ^= 1 << (number % 8),
    };
    if let Some(place) = image.get_mut(word..word + 4) {
        place.copy_from_slice(&new.to_le_bytes());
    }
}
