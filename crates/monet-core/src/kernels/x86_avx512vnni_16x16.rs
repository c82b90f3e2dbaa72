//! AVX-512 VNNI: tiles of 16 pixels × 16 outputs, or of 8 pixels × 32 outputs where two blocks are
//! left, sums in 16 zmm registers.
//!
//! ```text
//! for each tile:
//!     sums = bias                                               16 vectors of 16 sums
//!     for each tap:
//!         for each group of 4 channels:
//!             w = the group's weights, one vector per block
//!             for each pixel: sums += vpdpbusd(the pixel's group in all lanes, w)
//!         turn up to 4 of the pending vectors into counts       `quad!`
//!     turn the rest of the pending vectors into counts
//!     scale the tile's sums, which become the pending ones      `Pending::take`
//! ```
//!
//! A tile's scaled sums thus wait in memory while the next tile's products are computed. Products
//! keep two vector pipes of the core busy, and requantization mostly uses the others, so that the
//! one hides behind the other. Sums are scaled before they wait, as they then are half as long: a
//! store of 64 bytes takes two cycles of a Zen 4.
//!
//! `quad!` is a macro of small functions, since it must be inlined between the products: a call
//! would push every sum out of its register, and `#[inline(always)]` does not go with
//! `#[target_feature]`.
//!
//! Windows three taps wide have a shorter way, `glide`. At a distance of one pixel between taps,
//! activation `a2` serves pixel 2 through the first tap, pixel 1 through the second and pixel 0
//! through the third. `glide` loads each activation once and uses it for all three:
//!
//! ```text
//!               a0   a1   a2   a3   a4   a5     activations, left to right
//! first tap     p0   p1   p2   p3
//! second tap         p0   p1   p2   p3          pixels whose sums grow
//! third tap               p0   p1   p2   p3
//! ```

use core::arch::x86_64::*;
use core::ops::Range;

use super::x86_avx512_epilogue::{Residual, Rules};
use super::{BLOCK, CheckedRow, Destination, Feed, GROUP, Row};

/// Bytes of weights that one vector holds: 16 outputs × 4 inputs.
const VECTOR: usize = BLOCK * GROUP;

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("avx512f", "avx512bw", "avx512vnni")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the features.
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
    let weights = row.weights.bytes;
    assert!(available());
    // SAFETY: `available` has found the features; arena, weights and row are a `CheckedRow`'s.
    unsafe { blocks(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// Requantizes and stores the next four pending vectors, or as many as are pending.
///
/// Runs where the conditions of [`Pending::finish`] hold.
macro_rules! quad {
    ($pending:expr) => {{
        let count = $pending.vectors.len().min(4);
        if count > 0 {
            let mut words = $pending.rules.curve($pending.next(count));
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
/// - The CPU has AVX-512 F, BW and VNNI.
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn blocks(arena: *mut u8, weights: *const i8, row: &Row) {
    let block_len = row.depth() * VECTOR;
    let rules = Rules::new(row.stage());
    let apart = row.feeds.map(|feed| feed.apart());
    let mut block = 0;
    while block < row.blocks() {
        // SAFETY: `CheckedRow` has shown that there are `block_len` weights for each block below
        // `row.blocks()`, and each call takes only blocks below that.
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
/// - The CPU has AVX-512 F, BW and VNNI.
/// - `arena` and `row` are those of one [`CheckedRow`]; `weights` are the row's from block `block`
///   on.
/// - `block + N <= row.blocks()`, and `apart` holds [`Feed::apart`] of each of the row's inputs.
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
    let mut pending = Pending::<N>::new(arena, row, rules, block);
    let mut x = 0;
    // SAFETY: the caller's conditions are those of `tile`; each tile ends at or before `row.width`.
    // All that becomes pending are pixels of this row.
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
/// - As [`tiles`]; an entry of `apart` may also be `None`.
/// - `pending` was made for this row and these blocks; its next pixel is pixel `x`.
/// - `x + P <= row.width`, and `P * N` is at most [`TILE`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn tile<const P: usize, const N: usize>(
    arena: *mut u8,
    mut weights: *const i8,
    row: &Row,
    apart: [Option<usize>; 2],
    pending: &mut Pending<N>,
    block: usize,
    x: usize,
) {
    let block_len = row.depth() * VECTOR;
    // SAFETY: `CheckedRow` has shown that biases, scales and weights cover all blocks, and that the
    // inputs and outputs of pixels below `row.width` lie in the arena. `feed.apart()` proves the
    // distance and the match on `feed.step` the step for which `glide` is made.
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
/// - The CPU has AVX-512 F, BW and VNNI.
/// - `feed` is an input of a [`CheckedRow`]; `source` is its place under the first of `P` pixels of
///   the row.
/// - For each `n` below `N`, `weights + n * block_len` holds a vector of [`VECTOR`] bytes for each
///   group of channels of each tap.
/// - `STEP` is 0 or `feed.step`.
/// - As [`Pending::finish`], for `pending`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn accumulate<const P: usize, const N: usize, const STEP: usize>(
    sums: &mut [[__m512i; N]; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
    block_len: usize,
    pending: &mut Pending<N>,
) -> *const i8 {
    let step = if STEP == 0 { feed.step } else { STEP };
    // SAFETY: `CheckedRow` has shown that each tap of the `P` pixels lies in the arena. Each tap
    // reads `feed.groups` vectors of weights per block.
    unsafe {
        for &tap in feed.taps.offsets() {
            let source = source.offset(tap as isize);
            // Not unrolled: the compiler would then move all groups' loads to the front, and there
            // are not registers enough for them.
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

/// As [`accumulate`], for windows three taps wide whose taps lie `D` pixels apart. Each activation
/// is loaded once for the three pixels that see it, each through another tap. With one block in a
/// tile, the products would else wait for loads.
///
/// # Safety
/// - As [`accumulate`], with `feed.step == STEP`.
/// - `feed.apart() == Some(D)`, and `D` is at most `P`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn glide<const P: usize, const N: usize, const D: usize, const STEP: usize>(
    sums: &mut [[__m512i; N]; P],
    source: *const u8,
    feed: &Feed,
    mut weights: *const i8,
    block_len: usize,
    pending: &mut Pending<N>,
) -> *const i8 {
    // Bytes from one tap's weights to the next tap's.
    let tap_len = feed.chunks * feed.groups * VECTOR;
    let mut taps = feed.taps.offsets();
    // SAFETY: activation `i` is the one that pixel `i - k * D` reads through tap `k`, for some `k`
    // of 0 to 2 that makes it a pixel of the tile; `CheckedRow` has shown that this place lies in
    // the arena. The weights of three taps follow one another, `tap_len` bytes apart.
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
                    // Unrolled by hand: the compiler would keep a loop of so many turns, and then
                    // could not keep its sums in registers.
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

/// One vector of weights for each of `N` blocks.
///
/// # Safety
/// - The CPU has AVX-512 F.
/// - [`VECTOR`] bytes may be read at `weights + n * block_len`, for each `n` below `N`.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn vectors<const N: usize>(weights: *const i8, block_len: usize) -> [__m512i; N] {
    let mut w = [_mm512_setzero_si512(); N];
    for (n, w) in w.iter_mut().enumerate() {
        // SAFETY: `n` is below `N`, so the caller has a vector there.
        *w = unsafe { _mm512_loadu_si512(weights.add(n * block_len).cast()) };
    }
    w
}

/// Four channels of a pixel, repeated for all 16 outputs.
///
/// # Safety
/// - The CPU has AVX-512 F.
/// - [`GROUP`] bytes may be read at `group`.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn broadcast(group: *const u8) -> __m512i {
    // SAFETY: the caller has four bytes there; the read needs no alignment.
    _mm512_set1_epi32(unsafe { group.cast::<i32>().read_unaligned() })
}

/// Vectors of sums in a whole tile.
const TILE: usize = 16;

/// The scaled sums of the previous tile, which are still to become counts, and where these go. The
/// order of the vectors is `[pixel][block]`.
struct Pending<'a, const N: usize> {
    /// Fixed-point counts of two vectors each, as the packing instruction leaves them.
    words: [__m512i; TILE / 2],
    /// Indices of the vectors that are still pending. The start is a multiple of four, or the range
    /// is empty.
    vectors: Range<usize>,
    rules: &'a Rules,
    scales: [__m512; 2],
    /// Where the counts of the oldest pending vector go; if none is pending, those of the next
    /// tile's first.
    out: *mut u8,
    /// Bytes from one output pixel to the next.
    step: usize,
    /// As `out`, for the residual that is added.
    residual: *const u8,
    /// Bytes from one residual pixel to the next.
    residual_step: usize,
}

impl<'a, const N: usize> Pending<'a, N> {
    /// None pending yet; `N` blocks of the row from `block` on.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn new(arena: *mut u8, row: &'a Row, rules: &'a Rules, block: usize) -> Self {
        let (start, step, residual) = match row.destination {
            Destination::Quantized { start, step, residual, .. } => (start, step, residual),
            Destination::Float { start, .. } => (start, 0, [0, 0]),
        };
        let scales = &row.stage().scales[block * BLOCK..(block + N) * BLOCK];
        // SAFETY: the slice has 16 scales for each of `N` blocks, and `n` is below `N`.
        let scales = [0, N - 1].map(|n| unsafe { _mm512_loadu_ps(scales[n * BLOCK..].as_ptr()) });
        Self {
            words: [_mm512_setzero_si512(); TILE / 2],
            vectors: 0..0,
            rules,
            scales,
            out: arena.wrapping_add(start + block * BLOCK),
            step,
            residual: arena.wrapping_add(residual[0] + block * BLOCK),
            residual_step: residual[1],
        }
    }

    /// Finishes what is pending, then scales the sums of the next `P` pixels, which become pending.
    ///
    /// # Safety
    /// - As [`Pending::finish`].
    /// - The row has `P` more pixels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn take<const P: usize>(&mut self, sums: &[[__m512i; N]; P]) {
        // SAFETY: the caller's conditions are those of `finish`.
        unsafe { self.finish() };
        let sums = sums.as_flattened();
        // Known at compile time, so that the compiler unrolls the loop and keeps sums in registers.
        for pair in 0..(P * N).div_ceil(2) {
            // A single vector stands for the one that is not there, too.
            let [first, second] = [0, 1].map(|i| {
                let sum = sums[(2 * pair + i).min(P * N - 1)];
                _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), self.scales[i]))
            });
            self.words[pair] = _mm512_packs_epi32(first, second);
        }
        self.vectors = 0..P * N;
    }

    /// Requantizes and stores all that is pending.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F, BW and VNNI.
    /// - `self` was made for a row and an arena of one [`CheckedRow`], with blocks of that row.
    /// - All pixels that have become pending so far are pixels of that row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn finish(&mut self) {
        while !self.vectors.is_empty() {
            // SAFETY: `quad!` takes at most as many vectors as are pending. Their pixels are the
            // row's, so `CheckedRow` has shown that their output and residual lie in the arena.
            unsafe { quad!(self) };
        }
    }

    /// Takes the fixed-point counts of the next `count` pending vectors, at most four.
    ///
    /// # Safety
    /// At least `count` vectors are pending.
    #[inline]
    unsafe fn next(&mut self, count: usize) -> [__m512i; 2] {
        // SAFETY: a vector is pending, so the start is a multiple of four below `TILE`, itself a
        // multiple of four: the counts of four vectors lie there.
        let words: [__m512i; 2] = unsafe {
            self.words.as_ptr().add(self.vectors.start / 2).cast::<[__m512i; 2]>().read()
        };
        self.vectors.start += count;
        words
    }

    /// Adds the residual of the next `count` vectors.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F and BW.
    /// - The residuals of the next `count` vectors lie in the arena.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn add(&mut self, sum: &Residual, words: [__m512i; 2], count: usize) -> [__m512i; 2] {
        // SAFETY: with a step of `N` blocks the residuals of four vectors are 64 bytes side by
        // side; the caller has all of them in the arena.
        let other = unsafe {
            if count == 4 && self.residual_step == N * BLOCK {
                _mm512_loadu_si512(self.residual.cast())
            } else {
                self.gather(count)
            }
        };
        self.residual = self.residual.wrapping_add(count / N * self.residual_step);
        let other = _mm512_xor_si512(other, _mm512_set1_epi8(i8::MIN));
        let (zero, other) = (_mm512_setzero_si512(), _mm512_permutexvar_epi32(order(), other));
        [
            sum.add(words[0], _mm512_unpacklo_epi8(zero, other)),
            sum.add(words[1], _mm512_unpackhi_epi8(zero, other)),
        ]
    }

    /// Stores the counts of the next `count` vectors.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F and BW.
    /// - The outputs of the next `count` vectors lie in the arena.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn store(&mut self, words: [__m512i; 2], count: usize) {
        let [first, second] = words.map(|r| self.rules.finish(r));
        let bytes = _mm512_permutexvar_epi32(order(), _mm512_packus_epi16(first, second));
        // SAFETY: with a step of `N` blocks the outputs of four vectors are 64 bytes side by side;
        // the caller has all of them in the arena.
        unsafe {
            if count == 4 && self.step == N * BLOCK {
                _mm512_storeu_si512(self.out.cast(), bytes);
            } else {
                self.scatter(bytes, count);
            }
        }
        self.out = self.out.wrapping_add(count / N * self.step);
    }

    /// Bytes from the place of the next vector to the place of the `i`-th after it.
    #[inline]
    fn offset(step: usize, i: usize) -> usize {
        i / N * step + i % N * BLOCK
    }

    /// Stores the counts of up to four vectors one by one; two blocks of a pixel together.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F.
    /// - The outputs of the next `count` vectors lie in the arena.
    #[target_feature(enable = "avx512f")]
    unsafe fn scatter(&self, bytes: __m512i, count: usize) {
        // SAFETY: these are the outputs of the next `count` vectors; two blocks of a pixel are 32
        // bytes side by side.
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
    /// - The CPU has AVX-512 F.
    /// - The residuals of the next `count` vectors lie in the arena.
    #[target_feature(enable = "avx512f")]
    unsafe fn gather(&self, count: usize) -> __m512i {
        let mut parts = [_mm_setzero_si128(); 4];
        for (i, part) in parts.iter_mut().take(count).enumerate() {
            // SAFETY: `i` is below `count`, so this is one of the residuals that the caller has.
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

/// The order of 32-bit groups that undoes the interleaving of the packing instructions, which work
/// within 128-bit lanes. It is its own inverse.
#[target_feature(enable = "avx512f")]
#[inline]
fn order() -> __m512i {
    _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}
