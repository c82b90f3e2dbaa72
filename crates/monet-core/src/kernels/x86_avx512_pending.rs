//! Sums of the AVX-512 kernels that wait to become counts, and their way into the arena.
//!
//! Scaled sums of one tile wait in memory while a kernel computes the products of the next one.
//! Sums are scaled before they wait, as they then are half as long: a store of 64 bytes takes two
//! cycles of a Zen 4. The arithmetic between is that of [`Rules`].
//!
//! All of this has the features of `avx512-vnni`, whether it needs them or not: the compiler
//! inlines more of what has the features of its caller, and a tile's sums stay in registers.
//!
//! `quad!` is a macro of small functions, since it must be inlined between products: a call would
//! push every sum out of its register, and `#[inline(always)]` does not go with
//! `#[target_feature]`.

use core::arch::x86_64::*;
use core::ops::Range;

use super::x86_avx512_epilogue::{Residual, Rules};
use super::{BLOCK, Destination};

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
pub(super) use quad;

/// Bytes of a block's real values.
const REALS: usize = BLOCK * size_of::<f32>();

/// Vectors of sums in a whole tile.
pub(super) const TILE: usize = 16;

/// The scaled sums of the previous tile, which are still to become counts, and where these go. The
/// order of the vectors is `[pixel][block]`.
pub(super) struct Pending<'a, const N: usize> {
    /// Fixed-point counts of two vectors each, as the packing instruction leaves them.
    words: [__m512i; TILE / 2],
    /// Indices of the vectors that are still pending. The start is a multiple of four, or the range
    /// is empty.
    pub(super) vectors: Range<usize>,
    pub(super) rules: &'a Rules,
    scales: [__m512; 2],
    /// Whether sums become real values and none waits, as [`Destination::Float`] has it.
    real: bool,
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
    /// None pending yet; of the `blocks` blocks that a destination's pixels have, `N` from `block`
    /// on.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn new(
        arena: *mut u8,
        destination: &Destination,
        blocks: usize,
        rules: &'a Rules,
        block: usize,
    ) -> Self {
        let (out, step, residual) = match *destination {
            Destination::Quantized { start, step, residual, .. } => {
                (start + block * BLOCK, step, residual)
            }
            Destination::Float { start, .. } => (start + block * REALS, blocks * REALS, [0, 0]),
        };
        let scales = &destination.stage().scales[block * BLOCK..(block + N) * BLOCK];
        // SAFETY: the slice has 16 scales for each of `N` blocks, and `n` is below `N`.
        let scales = [0, N - 1].map(|n| unsafe { _mm512_loadu_ps(scales[n * BLOCK..].as_ptr()) });
        Self {
            words: [_mm512_setzero_si512(); TILE / 2],
            vectors: 0..0,
            rules,
            scales,
            real: matches!(destination, Destination::Float { .. }),
            out: arena.wrapping_add(out),
            step,
            residual: arena.wrapping_add(residual[0] + block * BLOCK),
            residual_step: residual[1],
        }
    }

    /// Takes the sums of the row's next `P` pixels.
    ///
    /// # Safety
    /// - As [`Pending::finish`].
    /// - The row has `P` more pixels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(super) unsafe fn put<const P: usize>(&mut self, sums: &[[__m512i; N]; P]) {
        // SAFETY: the caller's conditions are those of both.
        unsafe {
            match self.real {
                true => self.reals(sums),
                false => self.take(sums),
            }
        }
    }

    /// Stores the sums of the next `P` pixels as real values.
    ///
    /// # Safety
    /// As [`Pending::put`], for a row of real values.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn reals<const P: usize>(&mut self, sums: &[[__m512i; N]; P]) {
        for pixel in sums {
            for (n, &sum) in pixel.iter().enumerate() {
                let real = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), self.scales[n]);
                // SAFETY: `CheckedRow` has shown that all blocks of this pixel lie in the arena.
                unsafe { _mm512_storeu_ps(self.out.add(n * REALS).cast(), real) };
            }
            self.out = self.out.wrapping_add(self.step);
        }
    }

    /// Finishes what is pending, then scales the sums of the next `P` pixels, which become pending.
    ///
    /// # Safety
    /// - As [`Pending::finish`].
    /// - The row has `P` more pixels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(super) unsafe fn take<const P: usize>(&mut self, sums: &[[__m512i; N]; P]) {
        // SAFETY: the caller's conditions are those of `finish`.
        unsafe { self.finish() };
        let sums = sums.as_flattened();
        // Known at compile time, so that the compiler unrolls the loop and keeps sums in registers.
        for pair in 0..(P * N).div_ceil(2) {
            // A single vector stands for the one that is not there, too.
            self.words[pair] = self.scale([0, 1].map(|i| sums[(2 * pair + i).min(P * N - 1)]));
        }
        self.vectors = 0..P * N;
    }

    /// Two vectors of sums as fixed-point counts.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn scale(&self, [first, second]: [__m512i; 2]) -> __m512i {
        let scale = |sum, by| _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), by));
        _mm512_packs_epi32(scale(first, self.scales[0]), scale(second, self.scales[1]))
    }

    /// Requantizes and stores the sums of the next `count` vectors, at most four. None waits: for a
    /// kernel that has no products to compute meanwhile.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F, BW and VNNI.
    /// - Nothing is pending, and `self` was made for counts.
    /// - The outputs of the next `count` vectors lie in the arena, and their residuals do where the
    ///   rules add one.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(super) unsafe fn pass(&mut self, sums: [__m512i; 4], count: usize) {
        let [a, b, c, d] = sums;
        let mut words = self.rules.curve([self.scale([a, b]), self.scale([c, d])]);
        // SAFETY: the caller has the outputs in the arena, and the residuals where there are any.
        unsafe {
            if let Some(sum) = &self.rules.sum {
                words = self.add(sum, words, count);
            }
            self.store(words, count);
        }
    }

    /// Requantizes and stores all that is pending.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F, BW and VNNI.
    /// - `self` was made for a row and an arena of one [`CheckedRow`], with blocks of that row.
    /// - All pixels that have become pending so far are pixels of that row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(super) unsafe fn finish(&mut self) {
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
    pub(super) unsafe fn next(&mut self, count: usize) -> [__m512i; 2] {
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
    /// - The CPU has AVX-512 F, BW and VNNI.
    /// - The residuals of the next `count` vectors lie in the arena.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(super) unsafe fn add(
        &mut self,
        sum: &Residual,
        words: [__m512i; 2],
        count: usize,
    ) -> [__m512i; 2] {
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
    /// - The CPU has AVX-512 F, BW and VNNI.
    /// - The outputs of the next `count` vectors lie in the arena.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(super) unsafe fn store(&mut self, words: [__m512i; 2], count: usize) {
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
