//! AVX-512 VNNI: rows of [`winograd`](super::winograd) tiles, up to six at a time.
//!
//! ```text
//! for each group of 6, 4, 2 or 1 tiles:
//!     for each tile, each 32 channels:      inputs  -> 36 points, 16-bit words    `to_points`
//!     for each block of 16 outputs:
//!         for each of 36 points:            products = Σ inputs × weights         `multiply`
//!                                           1 register of sums for each tile
//!         for each tile:                    products -> sums -> counts            `to_pixels`
//! ```
//!
//! `vpdpwssd` does half the multiplications of `vpdpbusd`, and tiles need a quarter of these.

use core::arch::x86_64::*;

use super::BLOCK;
use super::winograd::{
    CheckedStrip, Multiply, NINTH, POINTS, SIDE, Strip, StripFeed, TILES, inputs, pixels, shift,
    spread, tile,
};
use super::x86_avx512_epilogue::Rules;
use super::x86_avx512_pending::Pending;
use super::x86_avx512vnni_16x16::available;

/// Taps down and across: tiles for two take longer than rows.
const TAPS: usize = 3;
/// Rows of a tile, and columns.
const N: usize = tile(TAPS);
const _: () = assert!(TILES >= 6, "scratch memory has room for the largest group");

/// Fills a strip.
pub(super) fn convolve_strip(mut strip: CheckedStrip) {
    let (arena, strip) = strip.parts();
    assert!(available());
    assert!(strip.taps == TAPS);
    // SAFETY: the CPU has the features; arena and strip are a `CheckedStrip`'s.
    unsafe { groups(arena.as_mut_ptr(), strip) }
}

/// # Safety
/// - The CPU has AVX-512 F, BW and VNNI.
/// - `arena` and `strip` are those of one [`CheckedStrip`], and `strip.taps` is [`TAPS`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn groups(arena: *mut u8, strip: &Strip) {
    let (tiles, mut first) = (strip.tiles(), 0);
    let rules = Rules::new(strip.targets[0].stage());
    // SAFETY: the caller's conditions are those of `group`; each group ends at or before `tiles`.
    unsafe {
        while first < tiles {
            first += match tiles - first {
                1 => group::<1>(arena, strip, &rules, first, multiply_1),
                2 | 3 => group::<2>(arena, strip, &rules, first, multiply_2),
                // Two fours are faster than six and two.
                4 | 5 | 8 => group::<4>(arena, strip, &rules, first, multiply_4),
                _ => group::<6>(arena, strip, &rules, first, multiply_6),
            };
        }
    }
}

/// All blocks of `T` tiles; returns `T`.
///
/// # Safety
/// - As [`groups`], and `rules` were made for the strip's stage.
/// - `first + T <= strip.tiles()`, `T <= TILES`, and `multiply` takes `T` tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn group<const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    rules: &Rules,
    first: usize,
    multiply: Multiply,
) -> usize {
    let chunks = strip.chunks();
    // SAFETY: `CheckedStrip` has shown that the scratch memory holds the points of `chunks` chunks
    // and the products of one block for `TILES` tiles, that the weights cover all points, chunks
    // and blocks, and that every column of each feed, with all its channels, lies in the arena.
    unsafe {
        let points: *mut i16 = arena.add(strip.scratch.start).cast();
        let products: *mut i32 = points.add(POINTS * chunks * T * BLOCK).cast();
        for t in 0..T {
            let column = strip.column(first + t);
            let mut out = points.add(t * BLOCK);
            for feed in strip.feeds {
                let mut channel = 0;
                while channel < feed.channels {
                    let source = arena.add(channel).cast_const();
                    let two = channel + BLOCK < feed.channels;
                    let places = [out, out.wrapping_add(T * BLOCK)];
                    let stride = chunks * T * BLOCK;
                    if two {
                        to_points::<2>(source, feed, column, strip.dilation, places, stride);
                    } else {
                        to_points::<1>(source, feed, column, strip.dilation, places, stride);
                    }
                    let done = 1 + usize::from(two);
                    channel += done * BLOCK;
                    out = out.wrapping_add(done * T * BLOCK);
                }
            }
        }
        for block in 0..strip.blocks() {
            let weights = strip.weights.as_ptr().add(block * POINTS * chunks * BLOCK * BLOCK);
            multiply(points, weights, chunks, products);
            for t in 0..T {
                let (column, products) = (strip.column(first + t), products.add(t * BLOCK));
                to_pixels::<T>(arena, strip, rules, block, column, products);
            }
        }
    }
    T
}

/// Transforms `C` chunks of 16 channels of one tile to the points, one or two; point `i` of a chunk
/// is stored at its place in `out`, plus `i * stride`.
///
/// # Safety
/// - The CPU has AVX-512 F and BW.
/// - `feed` is one of a [`CheckedStrip`]; `arena` points to its arena, plus the number of the first
///   of `C` chunks of the feed's channels.
/// - 16 words may be written at each of the 36 points' places, for each chunk.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn to_points<const C: usize>(
    arena: *const u8,
    feed: &StripFeed,
    column: usize,
    dilation: usize,
    out: [*mut i16; 2],
    stride: usize,
) {
    let line = |x: usize| {
        let at = (column + x * dilation).min(feed.columns - 1) * feed.step;
        // SAFETY: the column is clamped to the feed's last; `CheckedStrip` has shown that all
        // channels of the feed's columns lie in the arena, in each of its rows.
        let d = |y: usize| unsafe {
            let place = arena.add(feed.rows[y] + at);
            let bytes = match C {
                2 => _mm256_loadu_si256(place.cast()),
                _ => _mm256_zextsi128_si256(_mm_loadu_si128(place.cast())),
            };
            _mm512_cvtepu8_epi16(bytes)
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
            let at = (SIDE * y + x) * stride;
            // SAFETY: the caller has room for 16 words of each chunk at each point.
            unsafe {
                _mm256_storeu_si256(out[0].add(at).cast(), _mm512_castsi512_si256(point));
                if C == 2 {
                    let second = _mm512_extracti64x4_epi64::<1>(point);
                    _mm256_storeu_si256(out[1].add(at).cast(), second);
                }
            }
        }
    }
}

inputs!("avx512f,avx512bw,avx512vnni", __m512i, _mm512_add_epi16, _mm512_sub_epi16, |a| {
    _mm512_slli_epi16::<2>(a)
});
pixels!("avx512f,avx512bw,avx512vnni", __m512i, _mm512_add_epi32, _mm512_sub_epi32, |a| {
    _mm512_slli_epi32::<2>(a)
});

/// Adds the products of the `$pair`th of 8 pairs of inputs to the sums of all tiles. Each tile has
/// its number and the register of its sums.
macro_rules! pair {
    ($pair:literal, $([$t:literal, $sums:literal])+) => {
        concat!(
            "vmovdqu64 zmm31, [{weights} + 64 * ", $pair, "]\n",
            $(
                "vpdpwssd ", $sums, ", zmm31, dword ptr [{points} + 32 * ", $t, " + 4 * ", $pair,
                "]{{1to16}}\n",
            )+
        )
    };
}

/// Defines a [`Multiply`] for `$tiles` tiles. In assembly: compilers make two instructions of
/// `vpdpwssd`, as its sums are there a little later.
macro_rules! multiply {
    ($name:ident, $tiles:literal, $($tile:tt)+) => {
        /// # Safety
        /// - The CPU has AVX-512 F and VNNI.
        /// - Inputs, weights and places of products are as many as [`Multiply`] says, for as many
        ///   tiles as this is made for.
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn $name(
            points: *const i16,
            weights: *const i16,
            chunks: usize,
            products: *mut i32,
        ) {
            // SAFETY: the code goes once through all inputs and weights and once through the places
            // of products, all of which the caller has. All registers that change are named.
            unsafe {
                core::arch::asm!(
                    "2:",
                    "mov {chunk}, {chunks}",
                    $(clear!($tile),)+
                    "3:",
                    pair!("0", $($tile)+),
                    pair!("1", $($tile)+),
                    pair!("2", $($tile)+),
                    pair!("3", $($tile)+),
                    pair!("4", $($tile)+),
                    pair!("5", $($tile)+),
                    pair!("6", $($tile)+),
                    pair!("7", $($tile)+),
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
                    out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                    out("zmm20") _, out("zmm21") _, out("zmm31") _,
                    options(nostack),
                );
            }
        }
    };
}

/// Makes a tile's sums 0.
macro_rules! clear {
    ([$t:literal, $sums:literal]) => {
        concat!("vpxord ", $sums, ", ", $sums, ", ", $sums)
    };
}

/// Stores a tile's sums.
macro_rules! store {
    ([$t:literal, $sums:literal]) => {
        concat!("vmovdqu64 [{products} + 64 * ", $t, "], ", $sums)
    };
}

multiply!(multiply_4, "4", ["0", "zmm16"] ["1", "zmm17"] ["2", "zmm18"] ["3", "zmm19"]);
multiply!(multiply_6, "6", ["0", "zmm16"] ["1", "zmm17"] ["2", "zmm18"] ["3", "zmm19"]
    ["4", "zmm20"] ["5", "zmm21"]);
multiply!(multiply_2, "2", ["0", "zmm16"] ["1", "zmm17"]);
multiply!(multiply_1, "1", ["0", "zmm16"]);

/// Transforms one tile's products back to sums of its pixels, requantizes and stores them.
///
/// # Safety
/// - As [`group`].
/// - `block < strip.blocks()`, and `column` is the first column of one of the strip's tiles.
/// - `products` points to the tile's first product, within the products of a group of `T` tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn to_pixels<const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    rules: &Rules,
    block: usize,
    column: usize,
    products: *const i32,
) {
    // SAFETY: the caller has the tile's 16 products at each point, and `CheckedStrip` has shown
    // that the biases cover all blocks.
    let rows = unsafe {
        let bias = strip.bias.as_ptr().add(block * BLOCK);
        rows::<T>(products, bias)
    };
    let valid = (strip.width - column).div_ceil(strip.dilation).min(N);
    for (sums, destination) in rows.iter().zip(strip.targets) {
        let destination = spread(destination, column, strip.dilation);
        let mut pending = Pending::<1>::new(arena, &destination, strip.blocks(), rules, block);
        // SAFETY: `valid` counts the tile's pixels that lie below `strip.width`; `CheckedStrip` has
        // shown that all blocks of these lie in the arena. `spread` reaches them only.
        unsafe {
            pending.pass(*sums, valid);
        }
    }
}

/// The sums of 16 output channels for a tile's pixels, row by row.
///
/// # Safety
/// - The CPU has AVX-512 F.
/// - 16 biases may be read at `bias`.
/// - 16 products may be read at `products + i * T * BLOCK` for each of the 36 points `i`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn rows<const T: usize>(products: *const i32, bias: *const i32) -> [[__m512i; N]; N] {
    // SAFETY: the caller has 16 biases there.
    let bias = unsafe { _mm512_loadu_si512(bias.cast()) };
    // SAFETY: `i` runs over the 36 points, and the caller has 16 products at each.
    let product = |i: usize| unsafe { _mm512_loadu_si512(products.add(i * T * BLOCK).cast()) };
    let line = |x: usize| {
        let m = |y: usize| product(SIDE * y + x);
        pixels::<TAPS>(&[m(0), m(1), m(2), m(3), m(4), m(5)])
    };
    let [a, b, c, d, e, f] = [line(0), line(1), line(2), line(3), line(4), line(5)];
    let ninth = _mm512_set1_epi32(NINTH);
    let mut sums = [[bias; N]; N];
    for (y, sums) in sums.iter_mut().enumerate() {
        let row = pixels::<TAPS>(&[a[y], b[y], c[y], d[y], e[y], f[y]]);
        for (x, (sum, multiple)) in sums.iter_mut().zip(row).enumerate() {
            let shift = _mm_cvtsi32_si128((shift(y) + shift(x)) as i32);
            let exact = _mm512_sra_epi32(_mm512_mullo_epi32(multiple, ninth), shift);
            *sum = _mm512_add_epi32(*sum, exact);
        }
    }
    sums
}
