//! AVX2: rows of [`winograd`](super::winograd) tiles, up to six at a time.
//!
//! ```text
//! for each group of 6, 5, 2 or 1 tiles:
//!     for each tile, each 16 channels:      inputs  -> 36 points, 16-bit words    `to_points`
//!     for each block of 16 outputs:
//!         for each of 36 points:            products = Σ inputs × weights         `multiply`
//!                                           2 registers of sums for each tile
//!         for each tile:                    products -> sums -> counts            `to_pixels`
//! ```

use core::arch::x86_64::*;

use super::BLOCK;
use super::winograd::{
    CheckedStrip, Multiply, NINTH, POINTS, SIDE, Strip, StripFeed, TILES, inputs, pixels, shift,
    spread, tile,
};
use super::x86_ymm::Epilogue;

const _: () = assert!(TILES >= 6, "scratch memory has room for the largest group");

/// Fills a strip.
pub(super) fn convolve_strip(mut strip: CheckedStrip) {
    let (arena, strip) = strip.parts();
    assert!(detected!("avx2"));
    // SAFETY: the CPU has the feature; arena and strip are a `CheckedStrip`'s.
    unsafe {
        match strip.taps {
            3 => groups::<3, 4>(arena.as_mut_ptr(), strip),
            _ => groups::<2, 5>(arena.as_mut_ptr(), strip),
        }
    }
}

/// # Safety
/// - The CPU has AVX2.
/// - `arena` and `strip` are those of one [`CheckedStrip`], and `strip.taps` is `TAPS`.
/// - `N` is the number of the [`tile`]'s rows, and of its columns.
#[target_feature(enable = "avx2")]
unsafe fn groups<const TAPS: usize, const N: usize>(arena: *mut u8, strip: &Strip) {
    const { assert!(tile(TAPS) == N) };
    let (tiles, mut first) = (strip.tiles(), 0);
    let destination = &strip.targets[0];
    let epilogue = Epilogue::new(destination);
    // SAFETY: the caller's conditions are those of `group`; each group ends at or before `tiles`.
    unsafe {
        while first < tiles {
            let left = tiles - first;
            // Fives until sixes leave none over: from 20 tiles on, and with some numbers below.
            first += if left.is_multiple_of(6) {
                group::<TAPS, N, 6>(arena, strip, &epilogue, first, multiply_6)
            } else if left >= 5 {
                group::<TAPS, N, 5>(arena, strip, &epilogue, first, multiply_5)
            } else if left >= 2 {
                group::<TAPS, N, 2>(arena, strip, &epilogue, first, multiply_2)
            } else {
                group::<TAPS, N, 1>(arena, strip, &epilogue, first, multiply_1)
            };
        }
    }
}

/// All blocks of `T` tiles; returns `T`.
///
/// # Safety
/// - As [`groups`], and `epilogue` was made for the strip's stage.
/// - `first + T <= strip.tiles()`, `T <= TILES`, and `multiply` takes `T` tiles.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn group<const TAPS: usize, const N: usize, const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    epilogue: &Epilogue,
    first: usize,
    multiply: Multiply,
) -> usize {
    let chunks = strip.chunks();
    // SAFETY: `CheckedStrip` has shown that there is a chunk, that the scratch memory holds the
    // points of `chunks` chunks and the products of one block for `TILES` tiles, that the weights
    // cover all points, chunks and blocks, and that every column of each feed, with all its
    // channels, lies in the arena.
    unsafe {
        let points: *mut i16 = arena.add(strip.scratch.start).cast();
        let products: *mut i32 = points.add(POINTS * chunks * T * BLOCK).cast();
        let mut columns = [0; T];
        for (t, column) in columns.iter_mut().enumerate() {
            *column = strip.column(first + t);
        }
        for (t, &column) in columns.iter().enumerate() {
            let mut chunk = 0;
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
            multiply(points, weights, chunks, products);
            for (t, &column) in columns.iter().enumerate() {
                let products = products.add(t * BLOCK);
                to_pixels::<TAPS, N, T>(arena, strip, epilogue, block, column, products);
            }
        }
    }
    T
}

/// Transforms 16 channels of one tile to the points; point `i` is stored at `out + i * stride`.
///
/// # Safety
/// - The CPU has AVX2.
/// - `feed` is one of a [`CheckedStrip`]; `arena` points to its arena, plus the number of the first
///   of 16 channels of the feed.
/// - 16 words may be written at each of the 36 points' places.
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
        // channels of the feed's columns lie in the arena, in each of its rows.
        let d = |y: usize| unsafe {
            _mm256_cvtepu8_epi16(_mm_loadu_si128(arena.add(feed.rows[y] + at).cast()))
        };
        inputs(&[d(0), d(1), d(2), d(3), d(4), d(5)])
    };
    // Arrays are spelled out here and below, not mapped: `map` itself is not compiled for the CPU's
    // features, so that nothing which uses them can be inlined there.
    let [a, b, c, d, e, f] = [line(0), line(1), line(2), line(3), line(4), line(5)];
    // Row by row: all rows at once would be more than there are registers.
    for y in 0..SIDE {
        let row = inputs(&[a[y], b[y], c[y], d[y], e[y], f[y]]);
        for (x, &point) in row.iter().enumerate() {
            // SAFETY: the caller has room for 16 words at each point.
            unsafe { _mm256_storeu_si256(out.add((SIDE * y + x) * stride).cast(), point) };
        }
    }
}

inputs!("avx2", __m256i, _mm256_add_epi16, _mm256_sub_epi16, |a| _mm256_slli_epi16::<2>(a));
pixels!("avx2", __m256i, _mm256_add_epi32, _mm256_sub_epi32, |a| _mm256_slli_epi32::<2>(a));

/// Products of a tile's pair of inputs, which is in all lanes of ymm14. They become the tile's sums
/// in `$low` and `$high`; the pair's weights are in ymm12 and ymm13.
macro_rules! first {
    ($low:literal, $high:literal) => {
        concat!("vpmaddwd ", $low, ", ymm14, ymm12\nvpmaddwd ", $high, ", ymm14, ymm13\n")
    };
}

/// As [`first`], but adds to the sums.
macro_rules! more {
    ($low:literal, $high:literal) => {
        concat!(
            "vpmaddwd ymm15, ymm14, ymm12\nvpmaddwd ymm14, ymm14, ymm13\nvpaddd ",
            $low,
            ", ",
            $low,
            ", ymm15\nvpaddd ",
            $high,
            ", ",
            $high,
            ", ymm14\n",
        )
    };
}

/// Loads the weights of the `$pair`th of 8 pairs of inputs, and the pair of each tile, and goes
/// `$way` with them.
macro_rules! pair {
    ($way:ident, $pair:literal, $([$t:literal, $low:literal, $high:literal])+) => {
        concat!(
            "vmovdqu ymm12, [{weights} + 64 * ", $pair, "]\n",
            "vmovdqu ymm13, [{weights} + 64 * ", $pair, " + 32]\n",
            $(
                "vpbroadcastd ymm14, dword ptr [{points} + 32 * ", $t, " + 4 * ", $pair, "]\n",
                $way!($low, $high),
            )+
        )
    };
}

/// Defines a function that multiplies the inputs of `$tiles` tiles with a block's weights at every
/// point. Each tile has its number and the registers of its sums. In assembly: compilers count the
/// pairs, which takes as many slots of the core's front end as a sixth of the products, or unroll
/// them, change the order of the sums, and then have too few registers.
macro_rules! multiply {
    ($name:ident, $tiles:literal, $($tile:tt)+) => {
        /// # Safety
        /// - The CPU has AVX2.
        /// - `points` holds as many vectors of 16 words as there are points, chunks and tiles.
        /// - `weights` holds 16 inputs × 16 outputs for each point and each chunk.
        /// - There is a chunk.
        /// - Products of 16 outputs may be written for each point and each tile.
        #[target_feature(enable = "avx2")]
        unsafe fn $name(
            points: *const i16,
            weights: *const i16,
            chunks: usize,
            products: *mut i32,
        ) {
            // SAFETY: each point and chunk reads the tiles' vectors of inputs and 16 × 16 weights;
            // each point writes the tiles' products. The caller has as many. All registers that
            // change are named.
            unsafe {
                core::arch::asm!(
                    "2:",
                    "mov {chunk}, {chunks}",
                    pair!(first, "0", $($tile)+),
                    "jmp 4f",
                    "3:",
                    pair!(more, "0", $($tile)+),
                    "4:",
                    pair!(more, "1", $($tile)+),
                    pair!(more, "2", $($tile)+),
                    pair!(more, "3", $($tile)+),
                    pair!(more, "4", $($tile)+),
                    pair!(more, "5", $($tile)+),
                    pair!(more, "6", $($tile)+),
                    pair!(more, "7", $($tile)+),
                    concat!("add {points}, 32 * ", $tiles),
                    "add {weights}, 64 * 8",
                    "dec {chunk}",
                    "jnz 3b",
                    $(store!($tile),)+
                    concat!("add {products}, 64 * ", $tiles),
                    "dec {left}",
                    "jnz 2b",
                    points = inout(reg) points => _,
                    weights = inout(reg) weights => _,
                    products = inout(reg) products => _,
                    chunks = in(reg) chunks,
                    chunk = out(reg) _,
                    left = inout(reg) POINTS => _,
                    out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _,
                    out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
                    out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _,
                    out("ymm14") _, out("ymm15") _,
                    options(nostack),
                );
            }
        }
    };
}

/// Stores a tile's sums.
macro_rules! store {
    ([$t:literal, $low:literal, $high:literal]) => {
        concat!(
            "vmovdqu [{products} + 64 * ",
            $t,
            "], ",
            $low,
            "\nvmovdqu [{products} + 64 * ",
            $t,
            " + 32], ",
            $high,
        )
    };
}

multiply!(multiply_6, "6", ["0", "ymm0", "ymm1"] ["1", "ymm2", "ymm3"] ["2", "ymm4", "ymm5"]
    ["3", "ymm6", "ymm7"] ["4", "ymm8", "ymm9"] ["5", "ymm10", "ymm11"]);
multiply!(multiply_5, "5", ["0", "ymm0", "ymm1"] ["1", "ymm2", "ymm3"] ["2", "ymm4", "ymm5"]
    ["3", "ymm6", "ymm7"] ["4", "ymm8", "ymm9"]);
multiply!(multiply_2, "2", ["0", "ymm0", "ymm1"] ["1", "ymm2", "ymm3"]);
multiply!(multiply_1, "1", ["0", "ymm0", "ymm1"]);

/// Transforms one tile's products back to sums of its pixels, requantizes and stores them.
///
/// # Safety
/// - As [`group`].
/// - `block < strip.blocks()`, and `column` is the first column of one of the strip's tiles.
/// - `products` points to the tile's first product, within the products of a group of `T` tiles.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn to_pixels<const TAPS: usize, const N: usize, const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    epilogue: &Epilogue,
    block: usize,
    column: usize,
    products: *const i32,
) {
    // SAFETY: the caller has the tile's 16 products at each point, and `CheckedStrip` has shown
    // that the biases cover all blocks.
    let (halves, bias) = unsafe {
        let bias = strip.bias.as_ptr().add(block * BLOCK);
        let bias = [_mm256_loadu_si256(bias.cast()), _mm256_loadu_si256(bias.add(8).cast())];
        ([lines::<TAPS, T>(products), lines::<TAPS, T>(products.add(8))], bias)
    };
    let valid = (strip.width - column).div_ceil(strip.dilation).min(N);
    for (y, destination) in strip.targets.iter().enumerate() {
        let rows = [row::<TAPS>(&halves[0], y, bias[0]), row::<TAPS>(&halves[1], y, bias[1])];
        let mut sums = [[_mm256_setzero_si256(); 2]; N];
        for (x, sums) in sums.iter_mut().enumerate() {
            *sums = [rows[0][x], rows[1][x]];
        }
        let destination = spread(destination, column, strip.dilation);
        // SAFETY: `valid` counts the tile's pixels that lie below `strip.width`; `CheckedStrip` has
        // shown that all blocks of these lie in the arena. `spread` reaches them only.
        unsafe {
            if valid == N {
                epilogue.store(arena, &destination, strip.blocks(), block, 0, &sums);
            } else {
                for (x, &sum) in sums[..valid].iter().enumerate() {
                    epilogue.store(arena, &destination, strip.blocks(), block, x, &[sum]);
                }
            }
        }
    }
}

/// The way back down, of eight output channels, for each of six columns.
///
/// # Safety
/// - The CPU has AVX2.
/// - Eight products may be read at `products + i * T * BLOCK` for each of the 36 points `i`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn lines<const TAPS: usize, const T: usize>(
    products: *const i32,
) -> [[__m256i; SIDE - 1]; SIDE] {
    // SAFETY: `i` runs over the 36 points, and the caller has eight products at each.
    let product = |i: usize| unsafe { _mm256_loadu_si256(products.add(i * T * BLOCK).cast()) };
    let line = |x: usize| {
        let m = |y: usize| product(SIDE * y + x);
        pixels::<TAPS>(&[m(0), m(1), m(2), m(3), m(4), m(5)])
    };
    [line(0), line(1), line(2), line(3), line(4), line(5)]
}

/// The sums of eight output channels for a row of a tile's pixels.
#[target_feature(enable = "avx2")]
#[inline]
fn row<const TAPS: usize>(
    [a, b, c, d, e, f]: &[[__m256i; SIDE - 1]; SIDE],
    y: usize,
    bias: __m256i,
) -> [__m256i; SIDE - 1] {
    let ninth = _mm256_set1_epi32(NINTH);
    let mut sums = pixels::<TAPS>(&[a[y], b[y], c[y], d[y], e[y], f[y]]);
    for (x, sum) in sums.iter_mut().enumerate() {
        let shift = _mm_cvtsi32_si128((shift(y) + shift(x)) as i32);
        let exact = _mm256_sra_epi32(_mm256_mullo_epi32(*sum, ninth), shift);
        *sum = _mm256_add_epi32(bias, exact);
    }
    sums
}
