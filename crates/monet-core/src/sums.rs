//! Sums of many weights, eight at a time. Every planning waits for them, and a build for small size
//! does not vectorise loops.

use super::image::record;

/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The low byte of each 16 bits.
const LOW: u64 = 0x00ff_00ff_00ff_00ff;
/// Words whose bytes fit in 16 bits, when each lane of these takes two bytes of a word.
const WORDS: usize = 128;

/// The sum of the weights' magnitudes.
pub(super) fn magnitudes(weights: &[i8]) -> u64 {
    bytes(weights, |word| {
        let negative = word >> 7 & ONES;
        // Of negative bytes the complement plus one, which is at most 128: nothing is carried.
        (word ^ (negative * 255)) + negative
    })
}

/// The sum of the weights.
pub(super) fn total(weights: &[i8]) -> i64 {
    // Each byte becomes larger by 128, those that fill the last word too.
    let count = weights.len().next_multiple_of(8) as i64;
    bytes(weights, |word| word ^ (128 * ONES)) as i64 - 128 * count
}

/// The sum of the bytes that `map` makes of eight weights each. The last word is filled with 0.
fn bytes(weights: &[i8], map: impl Fn(u64) -> u64) -> u64 {
    let (words, rest) = record::bytes(weights).as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = |words: &[[u8; 8]]| {
        let mut lanes = 0;
        for word in words {
            let word = map(u64::from_le_bytes(*word));
            lanes += (word & LOW) + (word >> 8 & LOW);
        }
        (lanes & 0xffff) + (lanes >> 16 & 0xffff) + (lanes >> 32 & 0xffff) + (lanes >> 48)
    };
    let tail = if rest.is_empty() { 0 } else { sum(&[last]) };
    words.chunks(WORDS).map(sum).sum::<u64>() + tail
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn sums_are_those_of_single_weights() {
        let mixed = (0..5000).map(|i: i32| (i * i * 31 + i * 7) as i8);
        for weights in
            [mixed.collect::<Vec<_>>(), vec![-128; 5000], vec![127; 5000], vec![-1; 5000]]
        {
            for len in (0..20).chain(1015..1035).chain([5000]) {
                let weights = &weights[..len];
                let magnitude = |w: &i8| u64::from(w.unsigned_abs());
                assert_eq!(magnitudes(weights), weights.iter().map(magnitude).sum(), "{len}");
                assert_eq!(total(weights), weights.iter().map(|&w| i64::from(w)).sum(), "{len}");
            }
        }
    }
}
