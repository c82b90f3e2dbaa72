//! Mutated images: refused, or run within their arena and buffers. Under AddressSanitizer this is
//! the proof that validation is enough: `MONET_MUTATIONS=10000000 tools/sanitize mutations`.
//!
//! An image is made of a random net, for each kernel that there is, and mutated many times: cut
//! short, moved by a byte, of another version or kernel, with bits flipped or numbers changed. Run
//! too are such images as are valid still, by the kernels of this CPU.

use monet_core::{Buffer, Image, ImageError, Kernel, Plan, Schedule, Size};
use monet_testing::{Random, nets};

/// Mutations of one image.
const EACH: usize = 500;
/// Nets whose images are longer are left out, to have more of the others.
const LONGEST: usize = 40_000;
/// Larger arenas and slices than any image had before its mutation.
const LARGEST: usize = 1 << 20;

#[derive(Debug, Default)]
struct Counts {
    refused: usize,
    ran: usize,
    /// Valid, and for a kernel that this CPU lacks or too large to run.
    valid: usize,
}

#[test]
fn a_mutated_image_is_refused_or_runs_within_its_memory() {
    let wanted = std::env::var("MONET_MUTATIONS");
    let wanted = wanted.map_or(20_000, |n| n.parse().expect("MONET_MUTATIONS is a number"));
    let seed = std::env::var("MONET_SEED").map_or(21, |n| n.parse().expect("a number"));
    let mut random = Random(seed);
    let mut counts = Counts::default();
    let mut made = 0;
    while made < wanted {
        let (graph, [height, width]) = nets::any(&mut random);
        let kernel = random.pick(&Kernel::ALL);
        let schedule = random.pick(&[Schedule::Planes, Schedule::Lines, Schedule::Twice]);
        let size = Size::new(height, width);
        let image = Image::scheduled(&graph, size, kernel, schedule, b"beside");
        let image = image.expect("a valid net");
        if image.bytes().len() > LONGEST {
            continue;
        }
        let mut memory = Memory::new(image.bytes());
        for _ in 0..EACH {
            memory.mutate(&mut random);
            memory.run(&mut counts);
        }
        made += EACH;
    }
    println!("{counts:?}");
    assert!(counts.ran > wanted / 1000 && counts.refused > wanted / 10, "{counts:?}");
}

/// An image, its mutation, and what it runs in.
struct Memory<'a> {
    image: &'a [u8],
    mutation: Buffer,
    /// Where the mutation begins, and how long it is.
    start: usize,
    len: usize,
    buffers: [Vec<f32>; 2],
}

impl<'a> Memory<'a> {
    fn new(image: &'a [u8]) -> Self {
        let mutation = Buffer::zeroed(image.len() + 1);
        Self { image, mutation, start: 0, len: image.len(), buffers: [Vec::new(), Vec::new()] }
    }

    fn mutate(&mut self, random: &mut Random) {
        (self.start, self.len) = (usize::from(random.below(100) == 0), self.image.len());
        self.mutation[self.start..self.start + self.len].copy_from_slice(self.image);
        let bytes = &mut self.mutation[self.start..];
        match random.below(50) {
            0 => self.len = random.below(self.len),
            1 => bytes[8] = random.below(256) as u8,
            2 => bytes[48] = random.below(16) as u8,
            _ => {
                for _ in 0..1 + random.below(3) {
                    spoil(random, &mut bytes[..self.len]);
                }
            }
        }
    }

    fn run(&mut self, counts: &mut Counts) {
        // A copy of its own length, so that reading one byte beyond is found.
        let exact = Buffer::from(&self.mutation[self.start..self.start + self.len]);
        let moved = &self.mutation[self.start..self.start + self.len];
        let image = match Image::parse(if self.start == 0 { &exact } else { moved }) {
            Ok(image) => image,
            Err(error) => {
                let unaligned = error == ImageError::Unaligned;
                assert_eq!(unaligned, self.start == 1, "{error}");
                assert!(error.to_string().len() > 20);
                counts.refused += 1;
                return;
            }
        };
        assert_eq!(image.steps().len(), image.steps().filter(|s| !s.kind.is_empty()).count());
        let values = image.classes() * image.output_size().area();
        let large = image.arena_len().max(image.input_len()).max(values) > LARGEST;
        let Ok(plan) = Plan::try_from(image) else {
            counts.valid += 1;
            return;
        };
        if large {
            counts.valid += 1;
            return;
        }
        let [input, out] = &mut self.buffers;
        input.resize_with(plan.input_len(), || 0.25);
        out.resize(values, 0.0);
        let mut arena = vec![0x5a; plan.arena_len()];
        plan.run_probabilities(&mut arena, &[input], out).expect("buffers of the plan's sizes");
        counts.ran += 1;
    }
}

/// Changes one number of the header or of a table, or one bit anywhere.
fn spoil(random: &mut Random, image: &mut [u8]) {
    let tables = 3_000.min(image.len());
    let end = if random.below(8) > 0 { tables } else { image.len() };
    let at = random.below(end);
    let word = at / 4 * 4;
    let number = random.next_u64() as u32;
    let new = match random.below(6) {
        0 => number,
        1 => number % 8,
        2 => u32::MAX - number % 8,
        3 => 1 << (number % 32),
        4 => {
            // One more or less than there was.
            let Some(Some(old)) = image.get(word..word + 4).map(|w| w.first_chunk()) else {
                return;
            };
            u32::from_le_bytes(*old).wrapping_add(if number & 1 == 0 { 1 } else { u32::MAX })
        }
        _ => return image[at] ^= 1 << (number % 8),
    };
    if let Some(place) = image.get_mut(word..word + 4) {
        place.copy_from_slice(&new.to_le_bytes());
    }
}
