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
//! one hides behind the other.
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

use super::x86_avx512_epilogue::Rules;
use super::x86_avx512_pending::{Pending, TILE, quad};
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

/// All blocks of output channels, two at a time while there are two.
///
/// # Safety
/// - The CPU has AVX-512 F, BW and VNNI.
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn blocks(arena: *mut u8, weights: *const i8, row: &Row) {
    let block_len = row.depth() * VECTOR;
    let rules = Rules::new(row.destination.stage());
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
    let mut pending = Pending::<N>::new(arena, &row.destination, row.blocks(), rules, block);
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
            Destination::Float { .. } => pending.reals(&sums),
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
