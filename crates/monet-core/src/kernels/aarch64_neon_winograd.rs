//! AArch64 without dot products: rows of [`winograd`](super::winograd) tiles, four tiles at a time.
//!
//! ```text
//! for each group of 4 tiles:
//!     for each tile, each 16 channels:      inputs  -> 36 points, 16-bit words    `to_points`
//!     for each block of 16 outputs:
//!         for each of 36 points:            products = Σ inputs × weights         `multiply`
//!                                           4 tiles × 4 registers of sums
//!         for each tile:                    products -> sums -> counts            `to_pixels`
//! ```
//!
//! Weights stand as `[point][input][16 outputs]`: `smlal` multiplies 4 of them with one word of an
//! input's register, so that no input has to be spread over a register. It does 4 multiplications
//! where `smull` of bytes does 8, but tiles of 3×3 taps need a quarter of these, and the sums need
//! no addition of their own. Rows without tiles are those of the `neon` kernel.

use core::arch::aarch64::*;

use super::aarch64_epilogue::Epilogue;
use super::winograd::{
    CheckedStrip, Multiply, NINTH, POINTS, SIDE, Strip, StripFeed, pixels, shift, spread, tile,
};
use super::{BLOCK, CheckedRow, Kernel, aarch64_neon_4x16};

const OFFSET: u8 = Kernel::NeonWinograd.offset();
const _: () = assert!(OFFSET == Kernel::Neon.offset(), "some rows are that kernel's");
/// What the product of the point 1, down and across, lacks, as the bytes of the arena lack `OFFSET`
/// of the counts. There the factors of the inputs sum up to -6 in each direction, and to 0 at all
/// other points.
const LACK: i16 = 36 * OFFSET as i16;

/// Tiles of a group.
const TILES: usize = 4;
const _: () = assert!(TILES <= super::winograd::TILES, "scratch memory has room for so many");

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    detected!("neon")
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has found the feature.
    unsafe { spin_registers(rounds) };
    (rounds * 12 * 4) as u64
}

#[target_feature(enable = "neon")]
fn spin_registers(rounds: usize) {
    let (mut sums, one) = core::hint::black_box(([vdupq_n_s32(3); 12], vdup_n_s16(1)));
    let (mut weights, inputs) = core::hint::black_box((vdup_n_s16(5), vdupq_n_s16(7)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = vmlal_laneq_s16::<3>(*sum, weights, inputs);
        }
        weights = vadd_s16(weights, one);
    }
    core::hint::black_box(sums);
}

/// Fills one row.
pub(super) fn convolve(row: CheckedRow) {
    aarch64_neon_4x16::convolve(row);
}

/// Fills a strip.
pub(super) fn convolve_strip(mut strip: CheckedStrip) {
    let (arena, strip) = strip.parts();
    assert!(available());
    // SAFETY: the CPU has the feature; arena and strip are a `CheckedStrip`'s.
    unsafe {
        match strip.taps {
            3 => groups::<3, 4>(arena.as_mut_ptr(), strip),
            _ => groups::<2, 5>(arena.as_mut_ptr(), strip),
        }
    }
}

/// # Safety
/// - The CPU has NEON.
/// - `arena` and `strip` are those of one [`CheckedStrip`], and `strip.taps` is `TAPS`.
/// - `N` is the number of the [`tile`]'s rows, and of its columns.
#[target_feature(enable = "neon")]
unsafe fn groups<const TAPS: usize, const N: usize>(arena: *mut u8, strip: &Strip) {
    const { assert!(tile(TAPS) == N) };
    let (tiles, mut first) = (strip.tiles(), 0);
    let epilogue = Epilogue::new(&strip.targets[0]);
    while first < tiles {
        // SAFETY: the caller's conditions are those of `group`; `first` is the number of a tile.
        unsafe {
            if tiles - first > 2 {
                group::<TAPS, N, TILES>(arena, strip, &epilogue, first, multiply_4);
                first += TILES;
            } else {
                group::<TAPS, N, 2>(arena, strip, &epilogue, first, multiply_2);
                first += 2;
            }
        }
    }
}

/// All blocks of `T` tiles. Where the strip has fewer, what would be computed for those is not
/// stored.
///
/// # Safety
/// - As [`groups`], and `epilogue` was made for the strip's stage.
/// - `first < strip.tiles()`, `T <= TILES`, and `multiply` takes `T` tiles.
#[target_feature(enable = "neon")]
unsafe fn group<const TAPS: usize, const N: usize, const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    epilogue: &Epilogue<OFFSET>,
    first: usize,
    multiply: Multiply,
) {
    let (chunks, tiles) = (strip.chunks(), T.min(strip.tiles() - first));
    // SAFETY: `CheckedStrip` has shown that the scratch memory holds the points of `chunks` chunks
    // and the products of one block for `TILES` tiles, that the weights cover all points, chunks
    // and blocks, and that every column of each feed, with all its channels, lies in the arena.
    // Where a tile is missing, `multiply` takes whatever numbers are there.
    unsafe {
        let points: *mut i16 = arena.add(strip.scratch.start).cast();
        let products: *mut i32 = points.add(POINTS * chunks * T * BLOCK).cast();
        for t in 0..tiles {
            let (column, mut chunk) = (strip.column(first + t), 0);
            for feed in strip.feeds {
                for channel in (0..feed.channels).step_by(BLOCK) {
                    let out = points.add((chunk * T + t) * BLOCK);
                    let stride = chunks * T * BLOCK;
                    to_points(arena.add(channel), feed, column, strip.dilation, out, stride);
                    chunk += 1;
                }
            }
        }
        for block in 0..strip.blocks() {
            let weights = strip.weights.as_ptr().add(block * POINTS * chunks * BLOCK * BLOCK);
            multiply(points, weights, chunks, products);
            for t in 0..tiles {
                let (column, products) = (strip.column(first + t), products.add(t * BLOCK));
                to_pixels::<TAPS, N, T>(arena, strip, epilogue, block, column, products);
            }
        }
    }
}

/// Transforms 16 channels of one tile to the points; point `i` is stored at `out + i * stride`.
///
/// # Safety
/// - The CPU has NEON.
/// - `feed` is one of a [`CheckedStrip`]; `arena` points to its arena, plus the number of the first
///   of 16 channels of the feed.
/// - 16 words may be written at each of the 36 points' places.
#[target_feature(enable = "neon")]
unsafe fn to_points(
    arena: *const u8,
    feed: &StripFeed,
    column: usize,
    dilation: usize,
    mut out: *mut i16,
    stride: usize,
) {
    let last = feed.columns - 1;
    let line = |x: usize| {
        let at = (column + x * dilation).min(last) * feed.step;
        // SAFETY: the column is clamped to the feed's last; `CheckedStrip` has shown that all
        // channels of the feed's columns lie in the arena, in each of its rows.
        let d = |y: usize| unsafe { vld1q_s8(arena.add(feed.rows[y] + at).cast()) };
        // Arrays are spelled out here and below, not mapped: compilers leave `map` a call.
        let d = [d(0), d(1), d(2), d(3), d(4), d(5)];
        let low = |y: usize| vget_low_s8(d[y]);
        let high = |y: usize| vget_high_s8(d[y]);
        [
            bytes(&[low(0), low(1), low(2), low(3), low(4), low(5)]),
            bytes(&[high(0), high(1), high(2), high(3), high(4), high(5)]),
        ]
    };
    let [a, b, c, d, e, f] = [line(0), line(1), line(2), line(3), line(4), line(5)];
    let row = |half: usize, y: usize| {
        words(&[a[half][y], b[half][y], c[half][y], d[half][y], e[half][y], f[half][y]])
    };
    for y in 0..SIDE {
        let (mut low, mut high) = (row(0, y), row(1, y));
        if y == 1 {
            let lack = vdupq_n_s16(LACK);
            (low[1], high[1]) = (vaddq_s16(low[1], lack), vaddq_s16(high[1], lack));
        }
        for x in 0..SIDE {
            // SAFETY: the caller has room for 16 words at each point.
            unsafe {
                vst1q_s16(out, low[x]);
                vst1q_s16(out.add(8), high[x]);
            }
            out = out.wrapping_add(stride);
        }
    }
}

/// Transforms bytes to points in one direction, see the table in [`winograd`](super::winograd).
#[target_feature(enable = "neon")]
#[inline]
fn bytes(d: &[int8x8_t; SIDE]) -> [int16x8_t; SIDE] {
    let (less, four) = (|a, b| vsubl_s8(a, b), |a| vshlq_n_s16::<2>(a));
    let (even, odd) = (less(d[4], d[2]), less(d[3], d[1]));
    let three = vdup_n_s8(3);
    let (far, near) = (vmlsl_s8(even, d[2], three), vmlsl_s8(odd, d[1], three));
    points(even, odd, far, near, four(less(d[0], d[2])), less(d[5], d[3]))
}

/// Transforms words to points in the other direction.
#[target_feature(enable = "neon")]
#[inline]
fn words(d: &[int16x8_t; SIDE]) -> [int16x8_t; SIDE] {
    let (sub, four) = (|a, b| vsubq_s16(a, b), |a| vshlq_n_s16::<2>(a));
    let (even, odd) = (sub(d[4], d[2]), sub(d[3], d[1]));
    let (far, near) = (vmlsq_n_s16(d[4], d[2], 4), vmlsq_n_s16(d[3], d[1], 4));
    points(even, odd, far, near, four(sub(d[0], d[2])), sub(d[5], d[3]))
}

/// The points, by what they are made of:
///
/// - `even` is d4 − d2, `odd` d3 − d1, `far` d4 − 4·d2, `near` d3 − 4·d1,
/// - `first` is 4·d0 − 4·d2, `last` d5 − d3.
#[target_feature(enable = "neon")]
#[inline]
fn points(
    even: int16x8_t,
    odd: int16x8_t,
    far: int16x8_t,
    near: int16x8_t,
    first: int16x8_t,
    last: int16x8_t,
) -> [int16x8_t; SIDE] {
    let (add, sub) = (|a, b| vaddq_s16(a, b), |a, b| vsubq_s16(a, b));
    let twice = add(odd, odd);
    [
        add(first, even),
        add(far, near),
        sub(far, near),
        add(even, twice),
        sub(even, twice),
        sub(last, add(twice, twice)),
    ]
}

/// Transforms one tile's products back to sums of its pixels, requantizes and stores them.
///
/// # Safety
/// - As [`group`].
/// - `block < strip.blocks()`, and `column` is the first column of one of the strip's tiles.
/// - `products` points to the tile's first product, within the products of a group of `T` tiles.
#[target_feature(enable = "neon")]
unsafe fn to_pixels<const TAPS: usize, const N: usize, const T: usize>(
    arena: *mut u8,
    strip: &Strip,
    epilogue: &Epilogue<OFFSET>,
    block: usize,
    column: usize,
    products: *const i32,
) {
    let mut sums = [[[vdupq_n_s32(0); 4]; N]; N];
    for quarter in 0..4 {
        // SAFETY: the caller has the tile's 16 products at each point, and `CheckedStrip` has shown
        // that the biases cover all blocks.
        let rows = unsafe {
            let bias = strip.bias.as_ptr().add(block * BLOCK + 4 * quarter);
            rows::<TAPS, N, T>(products.add(4 * quarter), bias)
        };
        for (to, from) in sums.as_flattened_mut().iter_mut().zip(rows.as_flattened()) {
            to[quarter] = *from;
        }
    }
    let valid = (strip.width - column).div_ceil(strip.dilation).min(N);
    for (sums, destination) in sums.iter().zip(strip.targets) {
        let destination = spread(destination, column, strip.dilation);
        // SAFETY: `valid` counts the tile's pixels that lie below `strip.width`; `CheckedStrip` has
        // shown that all blocks of these lie in the arena. `spread` reaches them only.
        unsafe { epilogue.store(arena, &destination, strip.blocks(), block, 0, &sums[..valid]) };
    }
}

/// The sums of four output channels for a tile's pixels, row by row.
///
/// # Safety
/// - The CPU has NEON.
/// - Four biases may be read at `bias`.
/// - Four products may be read at `products + i * T * BLOCK` for each of the 36 points `i`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn rows<const TAPS: usize, const N: usize, const T: usize>(
    products: *const i32,
    bias: *const i32,
) -> [[int32x4_t; N]; N] {
    // SAFETY: the caller has four biases there.
    let bias = unsafe { vld1q_s32(bias) };
    // SAFETY: `i` runs over the 36 points, and the caller has four products at each.
    let product = |i: usize| unsafe { vld1q_s32(products.add(i * T * BLOCK)) };
    let line = |x: usize| {
        let m = |y: usize| product(SIDE * y + x);
        pixels::<TAPS>(&[m(0), m(1), m(2), m(3), m(4), m(5)])
    };
    let [a, b, c, d, e, f] = [line(0), line(1), line(2), line(3), line(4), line(5)];
    let ninth = vdupq_n_s32(NINTH);
    let mut sums = [[bias; N]; N];
    for (y, sums) in sums.iter_mut().enumerate() {
        let row = pixels::<TAPS>(&[a[y], b[y], c[y], d[y], e[y], f[y]]);
        for (x, (sum, multiple)) in sums.iter_mut().zip(row).enumerate() {
            *sum = add_shifted(*sum, vmulq_s32(multiple, ninth), shift(y) + shift(x));
        }
    }
    sums
}

/// Adds numbers without their last `shift` bits, 2 to 6 of them.
#[target_feature(enable = "neon")]
#[inline]
fn add_shifted(sums: int32x4_t, numbers: int32x4_t, shift: u32) -> int32x4_t {
    match shift {
        2 => vsraq_n_s32::<2>(sums, numbers),
        3 => vsraq_n_s32::<3>(sums, numbers),
        4 => vsraq_n_s32::<4>(sums, numbers),
        5 => vsraq_n_s32::<5>(sums, numbers),
        _ => vsraq_n_s32::<6>(sums, numbers),
    }
}

pixels!("neon", int32x4_t, vaddq_s32, vsubq_s32, |a| vshlq_n_s32::<2>(a));

/// Adds one input's products with 16 outputs to the sums of one tile in `$s0` to `$s3`, or replaces
/// these: `$op` is `smlal` or `smull`. The input is lane `$lane` of `$x`; weights are in `$w0` and
/// `$w1`.
macro_rules! tile {
    (
        $op:literal, $lane:literal, $w0:literal, $w1:literal, $x:literal,
        $s0:literal, $s1:literal, $s2:literal, $s3:literal
    ) => {
        concat!(
            $op, " ", $s0, ".4s, ", $w0, ".4h, ", $x, ".h[", $lane, "]\n", $op, "2 ", $s1, ".4s, ",
            $w0, ".8h, ", $x, ".h[", $lane, "]\n", $op, " ", $s2, ".4s, ", $w1, ".4h, ", $x, ".h[",
            $lane, "]\n", $op, "2 ", $s3, ".4s, ", $w1, ".8h, ", $x, ".h[", $lane, "]\n",
        )
    };
}

/// Adds one input's products to the sums of all tiles, whose words stand in the registers named
/// last: four, or two.
macro_rules! input {
    (
        $op:literal, $lane:literal, $w0:literal, $w1:literal, $a:literal, $b:literal, $c:literal,
        $d:literal
    ) => {
        concat!(
            input!($op, $lane, $w0, $w1, $a, $b),
            tile!($op, $lane, $w0, $w1, $c, "v24", "v25", "v26", "v27"),
            tile!($op, $lane, $w0, $w1, $d, "v28", "v29", "v30", "v31"),
        )
    };
    ($op:literal, $lane:literal, $w0:literal, $w1:literal, $a:literal, $b:literal) => {
        concat!(
            tile!($op, $lane, $w0, $w1, $a, "v16", "v17", "v18", "v19"),
            tile!($op, $lane, $w0, $w1, $b, "v20", "v21", "v22", "v23"),
        )
    };
}

/// Two inputs, of lanes `$l0` and `$l1`, whose weights are in v8 and v9, v10 and v11. Meanwhile
/// those of the next two are loaded from `$next0` and `$next1` into v12 to v15.
macro_rules! first_two {
    (
        $op:literal, $l0:literal, $l1:literal, $next0:literal, $next1:literal, $($x:literal),+
    ) => {
        concat!(
            "ldp q12, q13, [{weights}, #", $next0, "]\n",
            input!($op, $l0, "v8", "v9", $($x),+),
            "ldp q14, q15, [{weights}, #", $next1, "]\n",
            input!("smlal", $l1, "v10", "v11", $($x),+),
        )
    };
}

/// Two inputs as in `first_two`, the other way round.
macro_rules! next_two {
    ($l0:literal, $l1:literal, $next0:literal, $next1:literal, $($x:literal),+) => {
        concat!(
            "ldp q8, q9, [{weights}, #", $next0, "]\n",
            input!("smlal", $l0, "v12", "v13", $($x),+),
            "ldp q10, q11, [{weights}, #", $next1, "]\n",
            input!("smlal", $l1, "v14", "v15", $($x),+),
        )
    };
}

/// A chunk of 16 inputs, whose words stand in the registers of the first list, then in those of the
/// second. `$op` is what the first input does. Places are given, not counted up: cores that execute
/// in order wait for a counted one.
macro_rules! chunk {
    ($op:literal, $load:expr, [$($x:literal),+], [$($y:literal),+]) => {
        concat!(
            "ldp q8, q9, [{weights}]\n",
            $load,
            "ldp q10, q11, [{weights}, #32]\n",
            first_two!($op, "0", "1", "64", "96", $($x),+),
            next_two!("2", "3", "128", "160", $($x),+),
            first_two!("smlal", "4", "5", "192", "224", $($x),+),
            next_two!("6", "7", "256", "288", $($x),+),
            first_two!("smlal", "0", "1", "320", "352", $($y),+),
            next_two!("2", "3", "384", "416", $($y),+),
            first_two!("smlal", "4", "5", "448", "480", $($y),+),
            "add {weights}, {weights}, #512\n",
            input!("smlal", "6", "v12", "v13", $($y),+),
            input!("smlal", "7", "v14", "v15", $($y),+),
        )
    };
}

/// Defines a [`Multiply`] in assembly, since compilers spill the sums. `$load` loads a chunk's
/// inputs, `$store` stores a point's products.
macro_rules! multiply {
    ($name:ident, $load:expr, $store:expr, $x:tt, $y:tt) => {
        /// # Safety
        /// - The CPU has NEON.
        /// - Inputs, weights and places of products are as many as [`Multiply`] says, for as many
        ///   tiles as this is made for.
        #[target_feature(enable = "neon")]
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
                    "mov {left}, {chunks}",
                    chunk!("smull", $load, $x, $y),
                    "subs {left}, {left}, #1",
                    "b.eq 4f",
                    "3:",
                    chunk!("smlal", $load, $x, $y),
                    "subs {left}, {left}, #1",
                    "b.ne 3b",
                    "4:",
                    $store,
                    "subs {count}, {count}, #1",
                    "b.ne 2b",
                    points = inout(reg) points => _,
                    weights = inout(reg) weights => _,
                    products = inout(reg) products => _,
                    chunks = in(reg) chunks,
                    left = out(reg) _,
                    count = inout(reg) POINTS => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                    out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _,
                    out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
                    out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _,
                    out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _,
                    out("v31") _,
                    options(nostack),
                );
            }
        }
    };
}

multiply!(
    multiply_4,
    "ldp q0, q1, [{points}]
     ldp q2, q3, [{points}, #32]
     ldp q4, q5, [{points}, #64]
     ldp q6, q7, [{points}, #96]
     add {points}, {points}, #128\n",
    "stp q16, q17, [{products}]
     stp q18, q19, [{products}, #32]
     stp q20, q21, [{products}, #64]
     stp q22, q23, [{products}, #96]
     stp q24, q25, [{products}, #128]
     stp q26, q27, [{products}, #160]
     stp q28, q29, [{products}, #192]
     stp q30, q31, [{products}, #224]
     add {products}, {products}, #256\n",
    ["v0", "v2", "v4", "v6"],
    ["v1", "v3", "v5", "v7"]
);
multiply!(
    multiply_2,
    "ldp q0, q1, [{points}]
     ldp q2, q3, [{points}, #32]
     add {points}, {points}, #64\n",
    "stp q16, q17, [{products}]
     stp q18, q19, [{products}, #32]
     stp q20, q21, [{products}, #64]
     stp q22, q23, [{products}, #96]
     add {products}, {products}, #128\n",
    ["v0", "v2"],
    ["v1", "v3"]
);
