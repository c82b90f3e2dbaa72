//! AVX-512 VNNI: tiles of 16 pixels × 16 outputs, or 8 × 32 where there are two blocks, sums in zmm registers.
//!
//! Each weight vector meets the activations of every pixel of the tile as broadcast 32-bit groups (`vpdpbusd`, which does not
//! saturate). The epilogue packs the sums of two pixels to 16 bits and works on 32 counts at a time.

use core::arch::x86_64::*;

use super::super::requant::{Curve, Elu, MIN_SQUARINGS, Stage};
use super::{BLOCK, GROUP, Packed, Row, Target};

/// Bytes of weights that one vector holds: 16 outputs × 4 inputs.
const VECTOR: usize = BLOCK * GROUP;

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: the features are present.
    unsafe { spin_registers(rounds) };
    (rounds * 16 * 64) as u64
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn spin_registers(rounds: usize) {
    let inputs = core::hint::black_box([_mm512_set1_epi8(3); 16]);
    let (mut weights, one) = core::hint::black_box((_mm512_set1_epi8(5), _mm512_set1_epi8(1)));
    let mut sums = inputs;
    for _ in 0..rounds {
        for (sum, &input) in sums.iter_mut().zip(&inputs) {
            *sum = _mm512_dpbusd_epi32(*sum, input, weights);
        }
        weights = _mm512_add_epi8(weights, one);
    }
    core::hint::black_box(sums);
}

/// Fills one row.
pub(super) fn convolve(arena: &mut [u8], row: &Row) {
    row.check(arena.len());
    let Packed::Bytes(weights) = row.weights else { return };
    assert!(available());
    // SAFETY: the features are present; `check` has shown that inputs, residual and output lie in the arena, and that
    // weights, bias and scales cover all blocks.
    unsafe { blocks(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// All blocks of output channels, two at a time while there are two.
///
/// # Safety
/// As [`convolve`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn blocks(arena: *mut u8, weights: *const i8, row: &Row) {
    let block_len = row.depth() * VECTOR;
    let rules = Rules::new(row.stage());
    let mut block = 0;
    while block < row.blocks() {
        // SAFETY: blocks below `row.blocks()` have their weights; the caller vouches for the rest.
        unsafe {
            let weights = weights.add(block * block_len);
            if block + 2 <= row.blocks() {
                tiles::<8, 2>(arena, weights, row, &rules, block);
                block += 2;
            } else {
                tiles::<16, 1>(arena, weights, row, &rules, block);
                block += 1;
            }
        }
    }
}

/// A row in tiles of `P` pixels and what remains in smaller ones.
///
/// # Safety
/// As [`convolve`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn tiles<const P: usize, const N: usize>(
    arena: *mut u8,
    weights: *const i8,
    row: &Row,
    rules: &Rules,
    block: usize,
) {
    let mut x = 0;
    // SAFETY: every tile ends at or before `row.width`.
    unsafe {
        while x + P <= row.width {
            tile::<P, N>(arena, weights, row, rules, block, x);
            x += P;
        }
        while x + 4 <= row.width {
            tile::<4, N>(arena, weights, row, rules, block, x);
            x += 4;
        }
        while x < row.width {
            tile::<1, N>(arena, weights, row, rules, block, x);
            x += 1;
        }
    }
}

/// `P` pixels × `N` blocks from pixel `x` on.
///
/// # Safety
/// As [`convolve`], with `x + P <= row.width`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn tile<const P: usize, const N: usize>(
    arena: *mut u8,
    mut weights: *const i8,
    row: &Row,
    rules: &Rules,
    block: usize,
    x: usize,
) {
    let block_len = row.depth() * VECTOR;
    // SAFETY: bias, inputs and weights lie within the bounds that `check` has shown.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); N]; P];
        for n in 0..N {
            let bias = _mm512_loadu_si512(row.bias.as_ptr().add((block + n) * BLOCK).cast());
            for pixel in &mut sums {
                pixel[n] = bias;
            }
        }
        for feed in row.feeds() {
            let source = arena.add(feed.start + x * feed.step);
            weights = match (feed.groups, feed.step) {
                (4, 16) => accumulate::<P, N, 4, 16>(&mut sums, source, 16, feed.taps, weights, block_len),
                (4, 32) => accumulate::<P, N, 4, 32>(&mut sums, source, 32, feed.taps, weights, block_len),
                (4, 64) => accumulate::<P, N, 4, 64>(&mut sums, source, 64, feed.taps, weights, block_len),
                (4, step) => accumulate::<P, N, 4, 0>(&mut sums, source, step, feed.taps, weights, block_len),
                (_, step) => accumulate::<P, N, 1, 0>(&mut sums, source, step, feed.taps, weights, block_len),
            };
        }
        match row.target {
            Target::Counts { stage, start, step, residual } => {
                let out = arena.add(start + x * step + block * BLOCK);
                let residual = [residual[0] + x * residual[1] + block * BLOCK, residual[1]];
                let scales = stage.scales.as_ptr().add(block * BLOCK);
                counts::<P, N>(&sums, rules, scales, out, step, arena.add(residual[0]), residual[1]);
            }
            Target::Reals { stage, start } => {
                for (p, pixel) in sums.iter().enumerate() {
                    let out = arena.add(start + ((x + p) * row.blocks() + block) * 64);
                    for (n, &sum) in pixel.iter().enumerate() {
                        let scale = _mm512_loadu_ps(stage.scales.as_ptr().add((block + n) * BLOCK));
                        _mm512_storeu_ps(
                            out.add(n * 64).cast(),
                            _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale),
                        );
                    }
                }
            }
        }
    }
}

/// Adds the products of one input whose chunks have `G` groups; `STEP` is the step between pixels where it is known at compile
/// time, else 0. Returns the weights that remain.
///
/// # Safety
/// As [`convolve`]; `source` is the input of the tile's first pixel.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn accumulate<const P: usize, const N: usize, const G: usize, const STEP: usize>(
    sums: &mut [[__m512i; N]; P],
    source: *const u8,
    step: usize,
    taps: &[i32],
    mut weights: *const i8,
    block_len: usize,
) -> *const i8 {
    let step = if STEP == 0 { step } else { STEP };
    // SAFETY: each tap of each pixel lies in the arena, and there are `taps.len() * G` vectors of weights per block.
    unsafe {
        for &tap in taps {
            let source = source.offset(tap as isize);
            for g in 0..G {
                let mut w = [_mm512_setzero_si512(); N];
                for (n, w) in w.iter_mut().enumerate() {
                    *w = _mm512_loadu_si512(weights.add(n * block_len + g * VECTOR).cast());
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let group = source.add(p * step + g * GROUP).cast::<i32>().read_unaligned();
                    let group = _mm512_set1_epi32(group);
                    for (sum, &w) in sums.iter_mut().zip(&w) {
                        *sum = _mm512_dpbusd_epi32(*sum, group, w);
                    }
                }
            }
            weights = weights.add(G * VECTOR);
        }
    }
    weights
}

/// Vectors of sums that a tile has at most.
const TILE: usize = 16;

/// Requantizes and stores `P` pixels × `N` blocks. Each operation is applied to the whole tile before the next, so that none waits for
/// another's latency.
///
/// # Safety
/// As [`convolve`]; `out` and `residual` are the places of the tile's first pixel and block.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn counts<const P: usize, const N: usize>(
    sums: &[[__m512i; N]; P],
    rules: &Rules,
    scales: *const f32,
    out: *mut u8,
    step: usize,
    residual: *const u8,
    residual_step: usize,
) {
    let vectors = P * N;
    let (pairs, quads) = (vectors.div_ceil(2), vectors.div_ceil(4));
    let place = |step: usize, i: usize| i / N * step + i % N * BLOCK;
    // SAFETY: vector i is pixel i / N, block i % N of the tile; only `vectors` of them are read or written.
    unsafe {
        let mut fixed = [_mm512_setzero_si512(); TILE];
        for (i, fixed) in fixed.iter_mut().enumerate().take(vectors) {
            let scale = _mm512_loadu_ps(scales.add(i % N * BLOCK));
            *fixed = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[i / N][i % N]), scale));
        }
        let mut words = [_mm512_setzero_si512(); TILE / 2];
        for i in 0..pairs {
            words[i] = _mm512_packs_epi32(fixed[2 * i], fixed[2 * i + 1]);
        }
        rules.curve(&mut words, pairs);
        if let Some(sum) = &rules.sum {
            let zero = _mm512_setzero_si512();
            let mut others = [zero; TILE / 2];
            for quad in 0..quads {
                let other = load::<N>(residual, residual_step, 4 * quad, vectors);
                others[2 * quad] = _mm512_unpacklo_epi8(zero, other);
                others[2 * quad + 1] = _mm512_unpackhi_epi8(zero, other);
            }
            sum.add(&mut words, &others, pairs);
        }
        rules.finish(&mut words, pairs);
        for quad in 0..quads {
            let bytes = _mm512_packus_epi16(words[2 * quad], words[2 * quad + 1]);
            let bytes = _mm512_permutexvar_epi32(order(), bytes);
            if vectors >= 4 && step == N * BLOCK {
                _mm512_storeu_si512(out.add(place(step, 4 * quad)).cast(), bytes);
                continue;
            }
            let parts = [
                _mm512_castsi512_si128(bytes),
                _mm512_extracti32x4_epi32::<1>(bytes),
                _mm512_extracti32x4_epi32::<2>(bytes),
                _mm512_extracti32x4_epi32::<3>(bytes),
            ];
            for (i, &part) in parts.iter().take(vectors).enumerate() {
                _mm_storeu_si128(out.add(place(step, 4 * quad + i)).cast(), part);
            }
        }
    }
}

/// Undoes what packing within 128-bit lanes did to the order of 32-bit groups; its own inverse.
#[target_feature(enable = "avx512f")]
#[inline]
fn order() -> __m512i {
    _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}

/// The residual's bytes of four vectors from the `first` on, in the order that packing gives; of a tile smaller than four, as many as there are.
///
/// # Safety
/// As [`counts`].
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn load<const N: usize>(residual: *const u8, step: usize, first: usize, vectors: usize) -> __m512i {
    let place = |i: usize| (first + i) / N * step + (first + i) % N * BLOCK;
    // SAFETY: the caller vouches for these places.
    let bytes = unsafe {
        if vectors >= 4 && step == N * BLOCK {
            _mm512_loadu_si512(residual.add(place(0)).cast())
        } else {
            let mut parts = [_mm_setzero_si128(); 4];
            for (i, part) in parts.iter_mut().take(vectors).enumerate() {
                *part = _mm_loadu_si128(residual.add(place(i)).cast());
            }
            gather(parts)
        }
    };
    _mm512_permutexvar_epi32(order(), bytes)
}

/// Four 128-bit parts as one vector.
#[target_feature(enable = "avx512f")]
#[inline]
fn gather(parts: [__m128i; 4]) -> __m512i {
    let v = _mm512_castsi128_si512(parts[0]);
    let v = _mm512_inserti32x4::<1>(v, parts[1]);
    let v = _mm512_inserti32x4::<2>(v, parts[2]);
    _mm512_inserti32x4::<3>(v, parts[3])
}

/// A [`Stage`] as vectors, each function the twin of the scalar one of `requant`, on 32 counts.
struct Rules {
    curve: Shape,
    round: __m512i,
    zero_point: __m512i,
    sum: Option<Residual>,
}

/// An activation as vectors; those of ELU stand unused beside the others.
struct Shape {
    kind: Kind,
    cubic: [__m512i; 3],
    squarings: u32,
    one: __m512i,
    depth: __m512i,
}

enum Kind {
    Linear,
    Relu,
    Elu,
}

/// A residual addition as vectors.
struct Residual {
    round: __m512i,
    low: __m512i,
    high: __m512i,
    first: __m512i,
    second: __m512i,
    offset: __m512i,
}

impl Rules {
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(stage: &Stage) -> Self {
        let all = |x: i16| _mm512_set1_epi16(x);
        let (round, zero_point) = match &stage.sum {
            Some(sum) => (sum.round, sum.zero_point),
            None => (stage.round, stage.zero_point),
        };
        let none = Elu { cubic: [0; 3], squarings: MIN_SQUARINGS, one: 0, depth: 0 };
        let (kind, elu) = match &stage.curve {
            Curve::Linear => (Kind::Linear, &none),
            Curve::Relu => (Kind::Relu, &none),
            Curve::Elu(elu) => (Kind::Elu, elu),
        };
        let curve = Shape {
            kind,
            cubic: elu.cubic.map(all),
            squarings: elu.squarings,
            one: all(elu.one),
            depth: all(elu.depth),
        };
        let sum = stage.sum.as_ref().map(|sum| Residual {
            round: all(stage.round),
            low: all(-stage.zero_point),
            high: all(255 - stage.zero_point),
            first: all(sum.first),
            second: all(sum.second),
            offset: all(sum.offset),
        });
        Self { curve, round: all(round), zero_point: all(zero_point), sum }
    }

    /// The activation.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn curve(&self, words: &mut [__m512i; TILE / 2], pairs: usize) {
        let zero = _mm512_setzero_si512();
        let Shape { kind, cubic, squarings, one, depth } = &self.curve;
        match kind {
            Kind::Linear => (),
            Kind::Relu => each(words, pairs, |_, t| _mm512_max_epi16(t, zero)),
            Kind::Elu => {
                let mut e = *words;
                each(&mut e, pairs, |_, t| {
                    let n = _mm512_min_epi16(t, zero);
                    _mm512_add_epi16(_mm512_mulhrs_epi16(cubic[0], n), cubic[1])
                });
                each(&mut e, pairs, |i, e| {
                    let n = _mm512_min_epi16(words[i], zero);
                    _mm512_add_epi16(_mm512_mulhrs_epi16(e, n), cubic[2])
                });
                each(&mut e, pairs, |i, e| {
                    let n = _mm512_min_epi16(words[i], zero);
                    _mm512_add_epi16(_mm512_mulhrs_epi16(e, n), _mm512_set1_epi16(i16::MAX))
                });
                // Three at least, and mostly no more.
                for _ in 0..MIN_SQUARINGS {
                    each(&mut e, pairs, |_, e| _mm512_mulhrs_epi16(e, e));
                }
                for _ in MIN_SQUARINGS..*squarings {
                    each(&mut e, pairs, |_, e| _mm512_mulhrs_epi16(e, e));
                }
                each(words, pairs, |i, t| {
                    let fall = _mm512_mulhrs_epi16(_mm512_sub_epi16(*one, e[i]), *depth);
                    _mm512_sub_epi16(_mm512_max_epi16(t, zero), fall)
                });
            }
        }
    }

    /// Removes the fraction and adds the zero point; packing saturates.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn finish(&self, words: &mut [__m512i; TILE / 2], pairs: usize) {
        each(words, pairs, |_, r| _mm512_add_epi16(_mm512_mulhrs_epi16(r, self.round), self.zero_point));
    }
}

impl Residual {
    /// Adds the residual, which comes as `value << 8`; the result has the sum's fraction.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn add(&self, words: &mut [__m512i; TILE / 2], others: &[__m512i; TILE / 2], pairs: usize) {
        let middle = _mm512_set1_epi16(i16::MIN);
        each(words, pairs, |_, r| {
            let value = _mm512_mulhrs_epi16(r, self.round);
            _mm512_min_epi16(_mm512_max_epi16(value, self.low), self.high)
        });
        each(words, pairs, |i, value| {
            let second = _mm512_mulhrs_epi16(_mm512_xor_si512(others[i], middle), self.second);
            let first = _mm512_mulhrs_epi16(_mm512_slli_epi16::<7>(value), self.first);
            _mm512_adds_epi16(first, _mm512_adds_epi16(second, self.offset))
        });
    }
}

/// Applies `f` to the first `n` vectors.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn each(words: &mut [__m512i; TILE / 2], n: usize, f: impl Fn(usize, __m512i) -> __m512i) {
    for (i, word) in words.iter_mut().enumerate().take(n) {
        *word = f(i, *word);
    }
}
