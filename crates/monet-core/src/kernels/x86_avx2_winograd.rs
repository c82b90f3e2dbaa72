//! AVX2: rows of [`winograd`](super::winograd) tiles, six tiles at a time.
//!
//! ```text
//! for each group of 6 tiles:
//!     for each tile, each 16 channels:      inputs  -> 24 points, 16-bit words    `to_points`
//!     for each block of 16 outputs:
//!         for each of 24 points:            products = Σ inputs × weights         `multiply`
//!                                           6 tiles × 2 registers of sums
//!         for each tile:                    products -> sums -> counts            `to_pixels`
//! ```

use core::arch::x86_64::*;

use super::BLOCK;
use super::winograd::{CheckedStrip, POINTS, Strip, StripFeed, TILES, spread, tile};
use super::x86_ymm::Epilogue;

/// Fills a strip.
pub(super) fn convolve_strip(mut strip: CheckedStrip) {
    let (arena, strip) = strip.parts();
    assert!(detected!("avx2"));
    // SAFETY: the CPU has the feature; arena and strip are a `CheckedStrip`'s.
    unsafe {
        match strip.taps {
            3 => groups::<3>(arena.as_mut_ptr(), strip),
            _ => groups::<2>(arena.as_mut_ptr(), strip),
        }
    }
}

/// # Safety
/// - The CPU has AVX2.
/// - `arena` and `strip` are those of one [`CheckedStrip`], and `strip.taps` is `TAPS`.
#[target_feature(enable = "avx2")]
unsafe fn groups<const TAPS: usize>(arena: *mut u8, strip: &Strip) {
    let (tiles, mut first) = (strip.tiles(), 0);
    let destination = &strip.targets[0];
    let epilogue = Epilogue::new(destination);
    // SAFETY: the caller's conditions are those of `group`; each group ends at or before `tiles`.
    unsafe {
        while first + TILES <= tiles {
            group::<TAPS, TILES>(arena, strip, &epilogue, first);
            first += TILES;
        }
        while first + 2 <= tiles {
            group::<TAPS, 2>(arena, strip, &epilogue, first);
            first += 2;
        }
        if first < tiles {
            group::<TAPS, 1>(arena, strip, &epilogue, first);
        }
    }
}

/// All blocks of `T` tiles.
///
/// # Safety
/// - As [`groups`], and `epilogue` was made for the strip's stage.
/// - `first + T <= strip.tiles()` and `T <= TILES`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn group<const TAPS: usize, const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    epilogue: &Epilogue,
    first: usize,
) {
    let chunks = strip.chunks();
    // SAFETY: `CheckedStrip` has shown that the scratch memory holds the points of `chunks` chunks
    // and the products of one block for `TILES` tiles, that the weights cover all points, chunks
    // and blocks, and that every column of each feed, with all its channels, lies in the arena.
    unsafe {
        let points: *mut i16 = arena.add(strip.scratch.start).cast();
        let products: *mut i32 = points.add(POINTS * chunks * T * BLOCK).cast();
        for t in 0..T {
            let (column, mut chunk) = (strip.column(first + t), 0);
            for feed in strip.feeds {
                for channel in (0..feed.channels).step_by(BLOCK) {
                    let out = points.add((chunk * T + t) * BLOCK);
                    to_points(
                        arena.add(channel),
                        feed,
                        column,
                        strip.dilation,
                        out,
                        chunks * T * BLOCK,
                    );
                    chunk += 1;
                }
            }
        }
        for block in 0..strip.blocks() {
            let weights = strip.weights.as_ptr().add(block * POINTS * chunks * BLOCK * BLOCK);
            multiply::<T>(points, weights, chunks, products);
            for t in 0..T {
                let products = products.add(t * BLOCK);
                to_pixels::<TAPS, T>(
                    arena,
                    strip,
                    epilogue,
                    block,
                    strip.column(first + t),
                    products,
                );
            }
        }
    }
}

/// Transforms 16 channels of one tile to the points; point `i` is stored at `out + i * stride`.
///
/// # Safety
/// - The CPU has AVX2.
/// - `feed` is one of a [`CheckedStrip`]; `arena` points to its arena, plus the number of the first
///   of 16 channels of the feed.
/// - 16 words may be written at each of the 24 points' places.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn to_points(
    arena: *const u8,
    feed: &StripFeed,
    column: usize,
    dilation: usize,
    out: *mut i16,
    stride: usize,
) {
    let line = |x: usize| {
        let at = (column + x * dilation).min(feed.columns - 1) * feed.step;
        // SAFETY: the column is clamped to the feed's last; `CheckedStrip` has shown that all
        // channels of the feed's columns lie in the arena, in each of its four rows.
        let load =
            |row| unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(arena.add(row + at).cast())) };
        let [a, b, c, d] =
            [load(feed.rows[0]), load(feed.rows[1]), load(feed.rows[2]), load(feed.rows[3])];
        [
            _mm256_sub_epi16(a, c),
            _mm256_add_epi16(b, c),
            _mm256_sub_epi16(c, b),
            _mm256_sub_epi16(b, d),
        ]
    };
    // Arrays are spelled out here and below, not mapped: `map` itself is not compiled for the CPU's
    // features, so that nothing which uses them can be inlined there.
    let [a, b, c, d, e, f] = [line(0), line(1), line(2), line(3), line(4), line(5)];
    let row = |y: usize| columns(&[a[y], b[y], c[y], d[y], e[y], f[y]]);
    for (y, points) in [row(0), row(1), row(2), row(3)].into_iter().enumerate() {
        for (x, point) in points.into_iter().enumerate() {
            // SAFETY: the caller has room for 16 words at each point.
            unsafe { _mm256_storeu_si256(out.add((6 * y + x) * stride).cast(), point) };
        }
    }
}

/// The "across" half of the transform of inputs, see the table in [`winograd`](super::winograd).
#[target_feature(enable = "avx2")]
#[inline]
fn columns(d: &[__m256i; 6]) -> [__m256i; 6] {
    let (add, sub) = (|a, b| _mm256_add_epi16(a, b), |a, b| _mm256_sub_epi16(a, b));
    let four = |a| _mm256_slli_epi16::<2>(a);
    let (even, odd) = (sub(d[4], d[2]), sub(d[3], d[1]));
    let (far, near) = (sub(d[4], four(d[2])), sub(d[3], four(d[1])));
    let twice = add(odd, odd);
    [
        add(four(sub(d[0], d[2])), even),
        add(far, near),
        sub(far, near),
        add(even, twice),
        sub(even, twice),
        sub(sub(d[5], d[3]), four(odd)),
    ]
}

/// Multiplies the inputs of `T` tiles with a block's weights at every point.
///
/// # Safety
/// - The CPU has AVX2.
/// - `points` holds `POINTS * chunks * T` vectors of 16 words.
/// - `weights` holds `POINTS * chunks` times 16 inputs × 16 outputs.
/// - `POINTS * T` vectors of 16 products may be written at `products`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn multiply<const T: usize>(
    mut points: *const i16,
    mut weights: *const i16,
    chunks: usize,
    mut products: *mut i32,
) {
    const PAIRS: usize = BLOCK / 2;
    // SAFETY: each point and chunk reads `T` vectors of inputs and 16 × 16 weights; each point
    // writes `T` vectors of products. The caller has as many.
    unsafe {
        for _ in 0..POINTS {
            let mut sums = [[_mm256_setzero_si256(); 2]; T];
            for chunk in 0..chunks {
                for pair in 0..PAIRS {
                    let w = weights.add(pair * BLOCK * 2);
                    let w = [_mm256_loadu_si256(w.cast()), _mm256_loadu_si256(w.add(BLOCK).cast())];
                    for (t, sums) in sums.iter_mut().enumerate() {
                        let input = points.add(t * BLOCK + pair * 2).cast::<i32>().read_unaligned();
                        let input = _mm256_set1_epi32(input);
                        let added =
                            [_mm256_madd_epi16(input, w[0]), _mm256_madd_epi16(input, w[1])];
                        *sums = if pair == 0 && chunk == 0 {
                            added
                        } else {
                            [
                                _mm256_add_epi32(sums[0], added[0]),
                                _mm256_add_epi32(sums[1], added[1]),
                            ]
                        };
                    }
                }
                points = points.add(T * BLOCK);
                weights = weights.add(BLOCK * BLOCK);
            }
            for sums in sums {
                _mm256_storeu_si256(products.cast(), sums[0]);
                _mm256_storeu_si256(products.add(8).cast(), sums[1]);
                products = products.add(BLOCK);
            }
        }
    }
}

/// Transforms one tile's products back to sums of its pixels, requantizes and stores them.
///
/// # Safety
/// - As [`group`].
/// - `block < strip.blocks()`, and `column` is the first column of one of the strip's tiles.
/// - `products` points to the tile's first product, within the products of a group of `T` tiles.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn to_pixels<const TAPS: usize, const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    epilogue: &Epilogue,
    block: usize,
    column: usize,
    products: *const i32,
) {
    let [_, most] = tile(TAPS);
    // SAFETY: the caller has the tile's 16 products at each point, and `CheckedStrip` has shown
    // that the biases cover all blocks.
    let [low, high] = unsafe {
        let bias = strip.bias.as_ptr().add(block * BLOCK);
        [rows::<TAPS, T>(products, bias), rows::<TAPS, T>(products.add(8), bias.add(8))]
    };
    let valid = (strip.width - column).div_ceil(strip.dilation).min(most);
    for (y, destination) in strip.targets.iter().enumerate() {
        let (low, high) = (&low[y], &high[y]);
        let sum = |x: usize| [low[x], high[x]];
        let sums = [sum(0), sum(1), sum(2), sum(3), sum(4)];
        let destination = spread(destination, column, strip.dilation);
        // SAFETY: `valid` counts the tile's pixels that lie below `strip.width`; `CheckedStrip` has
        // shown that all blocks of these lie in the arena. `spread` reaches them only.
        unsafe {
            match (valid, sums.first_chunk::<4>()) {
                (5, _) => epilogue.store(arena, &destination, strip.blocks(), block, 0, &sums),
                (4, Some(four)) => {
                    epilogue.store(arena, &destination, strip.blocks(), block, 0, four)
                }
                _ => {
                    for (x, &sum) in sums[..valid].iter().enumerate() {
                        epilogue.store(arena, &destination, strip.blocks(), block, x, &[sum]);
                    }
                }
            }
        }
    }
}

/// The sums of eight output channels for a tile's pixels, row by row.
///
/// # Safety
/// - The CPU has AVX2.
/// - Eight biases may be read at `bias`.
/// - Eight products may be read at `products + i * T * BLOCK` for each of the 24 points `i`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn rows<const TAPS: usize, const T: usize>(
    products: *const i32,
    bias: *const i32,
) -> [[__m256i; 5]; 3] {
    // SAFETY: the caller has eight biases there.
    let bias = unsafe { _mm256_loadu_si256(bias.cast()) };
    // SAFETY: `i` runs over the 24 points, and the caller has eight products at each.
    let product = |i: usize| unsafe { _mm256_loadu_si256(products.add(i * T * BLOCK).cast()) };
    let line =
        |x: usize| down::<TAPS>(&[product(x), product(6 + x), product(12 + x), product(18 + x)]);
    let lines = [line(0), line(1), line(2), line(3), line(4), line(5)];
    let row = |y: usize| {
        let line = [lines[0][y], lines[1][y], lines[2][y], lines[3][y], lines[4][y], lines[5][y]];
        let [a, b, c, d, e] = across::<TAPS>(&line);
        let sum = |scaled| _mm256_add_epi32(whole(scaled), bias);
        [sum(a), sum(b), sum(c), sum(d), sum(e)]
    };
    let (first, second) = (row(0), row(1));
    [first, second, if TAPS == 2 { row(2) } else { second }]
}

/// The "down" half of the way back: twice the sums, of two rows for three taps, of three rows for
/// two.
#[target_feature(enable = "avx2")]
#[inline]
fn down<const TAPS: usize>(m: &[__m256i; 4]) -> [__m256i; 3] {
    let (add, sub) = (|a, b| _mm256_add_epi32(a, b), |a, b| _mm256_sub_epi32(a, b));
    let (sum, difference, last) = (add(m[1], m[2]), sub(m[1], m[2]), add(m[3], m[3]));
    let first = add(add(m[0], m[0]), sum);
    if TAPS == 3 {
        [first, sub(difference, last), last]
    } else {
        [first, difference, sub(sum, last)]
    }
}

/// The "across" half of the way back: 24 times what `down` gave, of four columns for three taps, of
/// five columns for two.
#[target_feature(enable = "avx2")]
#[inline]
fn across<const TAPS: usize>(m: &[__m256i; 6]) -> [__m256i; 5] {
    let (add, sub) = (|a, b| _mm256_add_epi32(a, b), |a, b| _mm256_sub_epi32(a, b));
    let (twice, four) = (|a| _mm256_add_epi32(a, a), |a| _mm256_slli_epi32::<2>(a));
    let (near, nears) = (four(sub(m[1], m[2])), four(add(m[1], m[2])));
    let (far, fars) = (twice(sub(m[3], m[4])), add(m[3], m[4]));
    let first = twice(m[0]);
    let eight = _mm256_slli_epi32::<3>(m[5]);
    let last = add(twice(eight), eight);
    let fourth = add(near, four(far));
    let (fourth, fifth) = if TAPS == 3 {
        (add(fourth, last), last)
    } else {
        (fourth, add(add(nears, four(four(fars))), last))
    };
    [
        add(add(add(twice(first), first), nears), fars),
        add(near, far),
        add(nears, four(fars)),
        fourth,
        fifth,
    ]
}

/// Divides multiples of 48 by 48: shifts them right by 4, then multiplies by the inverse of 3
/// modulo 2^32.
#[target_feature(enable = "avx2")]
#[inline]
fn whole(scaled: __m256i) -> __m256i {
    _mm256_mullo_epi32(_mm256_srai_epi32::<4>(scaled), _mm256_set1_epi32(0xaaaa_aaab_u32 as i32))
}
