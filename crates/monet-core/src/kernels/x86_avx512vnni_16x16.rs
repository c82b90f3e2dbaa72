//! AVX-512 VNNI: tiles of 16 pixels × 16 outputs, or 8 × 32 where there are two blocks, sums in zmm
//! registers.
//!
//! Each weight vector meets the activations of every pixel of the tile as broadcast 32-bit groups
//! (`vpdpbusd`, which does not saturate). A tile's sums then wait in memory while the next tile's
//! products are made: between these, four vectors of them at a time, they become counts. Products
//! keep two of the core's vector pipes busy, requantization mostly the others.
//!
//! What runs between products must be inlined there, or every sum would leave its register at each
//! call. `#[inline(always)]` does not go with `#[target_feature]`, so it is a macro of small
//! functions.

use core::arch::x86_64::*;
use core::ops::Range;

use super::x86_avx512_epilogue::{Residual, Rules};
use super::{BLOCK, CheckedRow, Destination, Feed, GROUP, Row};

/// Bytes of weights that one vector holds: 16 outputs × 4 inputs.
const VECTOR: usize = BLOCK * GROUP;

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("avx512f") && detected!("avx512bw") && detected!("avx512vnni")
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
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes();
    assert!(available());
    // SAFETY: the features are present; `check` has shown that inputs, residual and output lie in
    // the arena, and that weights, bias and scales cover all blocks.
    unsafe { blocks(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// Requantizes and stores the next four vectors that wait, or as many as there are.
macro_rules! quad {
    ($pending:expr) => {{
        let count = $pending.vectors.len().min(4);
        if count > 0 {
            let mut words = $pending.rules.curve($pending.words(count));
            if let Some(sum) = &$pending.rules.sum {
                words = $pending.add(sum, words, count);
            }
            $pending.store(words, count);
        }
    }};
}

/// All blocks of output channels, two at a time while there are two.
///
/// # Safety
/// As [`convolve`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn blocks(arena: *mut u8, weights: *const i8, row: &Row) {
    let block_len = row.depth() * VECTOR;
    let rules = Rules::new(row.stage());
    let apart = row.feeds.map(|feed| feed.apart());
    let mut block = 0;
    while block < row.blocks() {
        // SAFETY: blocks below `row.blocks()` have their weights; the caller vouches for the rest.
        unsafe {
            let weights = weights.add(block * block_len);
            if block + 2 <= row.blocks() {
                tiles::<8, 2>(arena, weights, row, apart, &rules, block);
                block += 2;
            } else {
                tiles::<16, 1>(arena, weights, row, apart, &rules, block);
                block += 1;
            }
        }
    }
}

/// A row in tiles of `P` pixels × `N` blocks, and what remains in smaller ones.
///
/// # Safety
/// As [`convolve`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn tiles<const P: usize, const N: usize>(
    arena: *mut u8,
    weights: *const i8,
    row: &Row,
    apart: [Option<usize>; 2],
    rules: &Rules,
    block: usize,
) {
    let mut pending = PendingSums::<N>::new(arena, row, rules, block);
    let mut x = 0;
    // SAFETY: every tile ends at or before `row.width`.
    unsafe {
        while x + P <= row.width {
            tile::<P, N>(arena, weights, row, apart, &mut pending, block, x);
            x += P;
        }
        while x + 4 <= row.width {
            tile::<4, N>(arena, weights, row, [None; 2], &mut pending, block, x);
            x += 4;
        }
        while x < row.width {
            tile::<1, N>(arena, weights, row, [None; 2], &mut pending, block, x);
            x += 1;
        }
        pending.finish();
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
    apart: [Option<usize>; 2],
    pending: &mut PendingSums<N>,
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
        for (feed, apart) in row.feeds().iter().zip(apart) {
            let source = arena.add(feed.start + x * feed.step).cast_const();
            macro_rules! add {
                ($way:ident $(, $known:literal)*) => {
                    $way::<P, N $(, $known)*>(&mut sums, source, feed, weights, block_len, pending)
                };
            }
            weights = match (apart, feed.step) {
                (Some(1), 4) if N == 1 => add!(glide, 1, 4),
                (Some(1), 16) if N == 1 => add!(glide, 1, 16),
                (Some(2), 16) if N == 1 => add!(glide, 2, 16),
                (Some(3), 16) if N == 1 => add!(glide, 3, 16),
                (Some(4), 16) if N == 1 => add!(glide, 4, 16),
                (Some(1), 32) if N == 1 => add!(glide, 1, 32),
                (_, 16) => add!(accumulate, 16),
                (_, 32) => add!(accumulate, 32),
                (_, 64) => add!(accumulate, 64),
                _ => add!(accumulate, 0),
            };
        }
        match row.destination {
            Destination::Quantized { .. } => pending.take(&sums),
            Destination::Float { stage, start } => {
                for (p, pixel) in sums.iter().enumerate() {
                    let out = arena.add(start + ((x + p) * row.blocks() + block) * 64);
                    for (n, &sum) in pixel.iter().enumerate() {
                        let scale = _mm512_loadu_ps(stage.scales.as_ptr().add((block + n) * BLOCK));
                        let real = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
                        _mm512_storeu_ps(out.add(n * 64).cast(), real);
                    }
                }
            }
        }
    }
}

/// Adds the products of one input; `STEP` is the step between pixels where it is known at compile
/// time, else 0. Returns the weights that remain.
///
/// # Safety
/// As [`convolve`]; `source` is the input of the tile's first pixel.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn accumulate<const P: usize, const N: usize, const STEP: usize>(
    sums: &mut [[__m512i; N]; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
    block_len: usize,
    pending: &mut PendingSums<N>,
) -> *const i8 {
    let step = if STEP == 0 { feed.step } else { STEP };
    // SAFETY: each tap of each pixel lies in the arena, and there are `taps.len() * groups` vectors
    // of weights per block.
    unsafe {
        for &tap in feed.taps.offsets() {
            let source = source.offset(tap as isize);
            // Not unrolled: all groups' loads would come first, and not find room in registers.
            for g in 0..feed.groups {
                let w = vectors::<N>(weights, block_len);
                weights = weights.add(VECTOR);
                for (p, sums) in sums.iter_mut().enumerate() {
                    let group = broadcast(source.add(p * step + g * GROUP));
                    for (sum, &w) in sums.iter_mut().zip(&w) {
                        *sum = _mm512_dpbusd_epi32(*sum, group, w);
                    }
                }
            }
            if P * N == TILE {
                quad!(pending);
            }
        }
    }
    weights
}

/// As [`accumulate`] for windows of three taps across, `D` pixels apart: each activation is loaded
/// once for the three pixels that see it through one tap each. With one block to a tile, loads
/// would else be what the products wait for.
///
/// # Safety
/// As [`accumulate`], with `feed.apart() == Some(D)` and `feed.step == STEP`: what is read is what
/// the taps of the tile's pixels read.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn glide<const P: usize, const N: usize, const D: usize, const STEP: usize>(
    sums: &mut [[__m512i; N]; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
    block_len: usize,
    pending: &mut PendingSums<N>,
) -> *const i8 {
    // From one tap's weights to the next's.
    let tap_len = feed.chunks * feed.groups * VECTOR;
    let mut taps = feed.taps.offsets();
    // SAFETY: the caller vouches for the activations; there are `taps.len() * groups` vectors of
    // weights per block.
    unsafe {
        while let Some((window_row, below)) = taps.split_at_checked(3 * feed.chunks) {
            taps = below;
            for &first in &window_row[..feed.chunks] {
                let source = source.offset(first as isize);
                for g in 0..feed.groups {
                    let w = [0, 1, 2].map(|k| vectors::<N>(weights.add(k * tap_len), block_len));
                    weights = weights.add(VECTOR);
                    let mut products = |i: usize| {
                        let group = broadcast(source.add(i * STEP + g * GROUP));
                        for (k, w) in w.iter().enumerate() {
                            let p = i.wrapping_sub(k * D);
                            if p < P {
                                for (sum, &w) in sums[p].iter_mut().zip(w) {
                                    *sum = _mm512_dpbusd_epi32(*sum, group, w);
                                }
                            }
                        }
                    };
                    // A loop of so many turns would not be unrolled, and its sums not be kept in
                    // registers.
                    macro_rules! unroll {
                        ($($i:literal)*) => { $( if $i < P + 2 * D { products($i) } )* };
                    }
                    unroll!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);
                }
                if P * N == TILE {
                    quad!(pending);
                }
            }
            weights = weights.add(2 * tap_len);
        }
    }
    weights
}

/// A vector of weights of each block.
///
/// # Safety
/// They are there.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn vectors<const N: usize>(weights: *const i8, block_len: usize) -> [__m512i; N] {
    let mut w = [_mm512_setzero_si512(); N];
    for (n, w) in w.iter_mut().enumerate() {
        // SAFETY: the caller vouches for it.
        *w = unsafe { _mm512_loadu_si512(weights.add(n * block_len).cast()) };
    }
    w
}

/// Four channels, for all outputs.
///
/// # Safety
/// They are there.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn broadcast(group: *const u8) -> __m512i {
    // SAFETY: the caller vouches for it.
    _mm512_set1_epi32(unsafe { group.cast::<i32>().read_unaligned() })
}

/// Vectors of sums of a whole tile.
const TILE: usize = 16;

/// Sums of the tile before, pixel by pixel and of its `N` blocks in turn, and where their counts
/// go.
struct PendingSums<'a, const N: usize> {
    sums: [__m512i; TILE],
    /// Those that still wait.
    vectors: Range<usize>,
    rules: &'a Rules,
    scales: [__m512; 2],
    /// The place of the first vector that waits, or of the next that comes, and bytes from one
    /// pixel to the next.
    out: *mut u8,
    step: usize,
    residual: *const u8,
    residual_step: usize,
}

impl<'a, const N: usize> PendingSums<'a, N> {
    /// None yet, of a row's blocks from `block` on.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn new(arena: *mut u8, row: &'a Row, rules: &'a Rules, block: usize) -> Self {
        let (start, step, residual) = match row.destination {
            Destination::Quantized { start, step, residual, .. } => (start, step, residual),
            Destination::Float { start, .. } => (start, 0, [0, 0]),
        };
        let scales = &row.stage().scales[block * BLOCK..(block + N) * BLOCK];
        // SAFETY: a block has 16 scales.
        let scales = [0, N - 1].map(|n| unsafe { _mm512_loadu_ps(scales[n * BLOCK..].as_ptr()) });
        Self {
            sums: [_mm512_setzero_si512(); TILE],
            vectors: 0..0,
            rules,
            scales,
            out: arena.wrapping_add(start + block * BLOCK),
            step,
            residual: arena.wrapping_add(residual[0] + block * BLOCK),
            residual_step: residual[1],
        }
    }

    /// Lets the sums of the next `P` pixels wait, after what waits.
    ///
    /// # Safety
    /// As [`convolve`]: what waits, and these pixels, lie in the row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn take<const P: usize>(&mut self, sums: &[[__m512i; N]; P]) {
        // SAFETY: the caller vouches for it.
        unsafe { self.finish() };
        for (place, sum) in self.sums.iter_mut().zip(sums.as_flattened()) {
            *place = *sum;
        }
        self.vectors = 0..P * N;
    }

    /// All that wait.
    ///
    /// # Safety
    /// As [`convolve`]: they lie in the row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn finish(&mut self) {
        while !self.vectors.is_empty() {
            // SAFETY: the caller vouches for it.
            unsafe { quad!(self) };
        }
    }

    /// Takes the next `count`, at most four, for fixed-point counts.
    ///
    /// # Safety
    /// So many wait.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn words(&mut self, count: usize) -> [__m512i; 2] {
        // SAFETY: a tile has a multiple of four vectors.
        let sums =
            unsafe { self.sums.as_ptr().add(self.vectors.start).cast::<[__m512i; 4]>().read() };
        self.vectors.start += count;
        let fixed = |i: usize| {
            _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[i]), self.scales[i % 2]))
        };
        [_mm512_packs_epi32(fixed(0), fixed(1)), _mm512_packs_epi32(fixed(2), fixed(3))]
    }

    /// Adds the residual of the next `count` vectors.
    ///
    /// # Safety
    /// It lies in the arena.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn add(&mut self, sum: &Residual, words: [__m512i; 2], count: usize) -> [__m512i; 2] {
        // SAFETY: the caller vouches for it.
        let other = unsafe {
            if count == 4 && self.residual_step == N * BLOCK {
                _mm512_loadu_si512(self.residual.cast())
            } else {
                self.gather(count)
            }
        };
        self.residual = self.residual.wrapping_add(count / N * self.residual_step);
        let (zero, other) = (_mm512_setzero_si512(), _mm512_permutexvar_epi32(order(), other));
        [
            sum.add(words[0], _mm512_unpacklo_epi8(zero, other)),
            sum.add(words[1], _mm512_unpackhi_epi8(zero, other)),
        ]
    }

    /// Stores the counts of the next `count` vectors.
    ///
    /// # Safety
    /// Their place lies in the arena.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn store(&mut self, words: [__m512i; 2], count: usize) {
        let [first, second] = words.map(|r| self.rules.finish(r));
        let bytes = _mm512_permutexvar_epi32(order(), _mm512_packus_epi16(first, second));
        // SAFETY: the caller vouches for it.
        unsafe {
            if count == 4 && self.step == N * BLOCK {
                _mm512_storeu_si512(self.out.cast(), bytes);
            } else {
                self.scatter(bytes, count);
            }
        }
        self.out = self.out.wrapping_add(count / N * self.step);
    }

    /// Bytes from the first vector's place to that of vector `i`.
    #[inline]
    fn offset(step: usize, i: usize) -> usize {
        i / N * step + i % N * BLOCK
    }

    /// Stores the counts of up to four vectors one by one; two blocks of a pixel together.
    ///
    /// # Safety
    /// They lie in the arena.
    #[target_feature(enable = "avx512f")]
    unsafe fn scatter(&self, bytes: __m512i, count: usize) {
        // SAFETY: the caller vouches for these places.
        unsafe {
            if N == 2 && count == 4 {
                _mm256_storeu_si256(self.out.cast(), _mm512_castsi512_si256(bytes));
                _mm256_storeu_si256(
                    self.out.add(self.step).cast(),
                    _mm512_extracti64x4_epi64::<1>(bytes),
                );
                return;
            }
            let parts = [
                _mm512_castsi512_si128(bytes),
                _mm512_extracti32x4_epi32::<1>(bytes),
                _mm512_extracti32x4_epi32::<2>(bytes),
                _mm512_extracti32x4_epi32::<3>(bytes),
            ];
            for (i, &part) in parts.iter().take(count).enumerate() {
                _mm_storeu_si128(self.out.add(Self::offset(self.step, i)).cast(), part);
            }
        }
    }

    /// The residual's bytes of up to four vectors, one by one.
    ///
    /// # Safety
    /// They lie in the arena.
    #[target_feature(enable = "avx512f")]
    unsafe fn gather(&self, count: usize) -> __m512i {
        let mut parts = [_mm_setzero_si128(); 4];
        for (i, part) in parts.iter_mut().take(count).enumerate() {
            // SAFETY: the caller vouches for these places.
            *part = unsafe {
                _mm_loadu_si128(self.residual.add(Self::offset(self.residual_step, i)).cast())
            };
        }
        let v = _mm512_castsi128_si512(parts[0]);
        let v = _mm512_inserti32x4::<1>(v, parts[1]);
        let v = _mm512_inserti32x4::<2>(v, parts[2]);
        _mm512_inserti32x4::<3>(v, parts[3])
    }
}

/// Undoes what packing within 128-bit lanes did to the order of 32-bit groups; its own inverse.
#[target_feature(enable = "avx512f")]
#[inline]
fn order() -> __m512i {
    _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}
