//! AMX-INT8: tiles of 16 pixels × 16 outputs, four of them at a time: 64 pixels × 16 outputs, or
//! 32 pixels × 32 outputs where two blocks are left.
//!
//! ```text
//! for each group of four tiles:
//!     C0 to C3 = bias                                    a load whose rows lie 0 bytes apart
//!     for each piece of a window, up to 64 bytes that lie side by side:
//!         B = the piece's weights                        one tile a block
//!         for each 16 pixels:
//!             A = the piece under each of them           rows lie as far apart as pixels
//!             C += tdpbusd(A, B)                         each block
//!         turn some sums of the group before into counts
//!     store C0 to C3, whose sums then wait
//! ```
//!
//! Neighbouring channels lie side by side, and so do those of neighbouring pixels. So a *run* of a
//! window is all channels of one tap, or of a whole row of taps where these lie one pixel apart:
//! 48 bytes for 3 taps of 16 channels. A run is cut into pieces of equal length. An instruction
//! takes its lengths from the tiles' configuration, and a new configuration clears the sums: so all
//! pieces of a row of output have one length, the greatest that divides all runs.
//!
//! The weights are those of [`Packing::Bytes`](super::Packing): a piece of 4 n bytes has n vectors
//! of weights, which follow one another and are the n rows of a B.
//!
//! A row's last 16 pixels are a tile too. Its first pixels, which the tile before has computed
//! already, get the same sums once more, and no counts.
//!
//! # What bounds it, by published throughputs: a model, which nobody has measured
//!
//! Intel's optimization manual gives a core one `tdpbusd` of 16 rows each 16 cycles, whatever the
//! length of its rows, with a latency of 52, and one `tileloadd` each 8 cycles, which is two lines
//! of cache a cycle. The four sums of a group do not wait for one another, so that its products
//! take 64 cycles a piece. Loads of 4 A and 1 B, or of 2 A and 2 B, take at most 40 of these; where
//! each row of A lies in two lines, 72.
//!
//! The vector pipes turn sums into counts meanwhile: with ELU 48 instructions for 4 vectors, two a
//! cycle, so 384 cycles for the 64 vectors of a group, and 544 with a residual. `avx512-vnni` has
//! the same pipes for counts and for products, 128 of these a cycle. So for a group's pixels and
//! blocks, in cycles:
//!
//! | layer | pieces | products | counts | `avx512-vnni` | times as fast |
//! |---|---|---|---|---|---|
//! | 3×3, dilated, 16 channels | 9 of 16 bytes | 576 | 384 | 1536 | 2.7 |
//! | 3×3, dilated, 32 channels | 9 of 32 | 576 | 384 | 2688 | 4.7 |
//! | 3×3, dilated or not, 64 channels | 9 of 64 | 576 | 384 | 4992 | 8.7 |
//! | 3×3, 16 channels | 3 of 48 | 192 | 384 | 1536 | 4.0 |
//! | 3×3, 32 channels | 6 of 48 | 384 | 384 | 2688 | 7.0 |
//! | 3×3, 16 and 32 channels | 9 of 48 | 576 | 384 | 3840 | 6.7 |
//! | 3×3, 32 and 64 channels | 18 of 48 | 1152 | 384 | 7296 | 6.3 |
//! | 4×4, every second pixel, 16 channels | 4 of 64 | 256 | 384 | 2432 | 6.3 |
//! | 4×4, every second pixel, 32 channels | 8 of 64 | 512 | 384 | 4480 | 8.8 |
//! | 2×2 of a transposed 4×4, 64 channels | 4 of 64 | 256 | 384 | 2432 | 6.3 |
//! | 2×2 of a transposed 4×4, 32 channels | 2 of 64 | 128 | 384 | 1408 | 3.7 |
//!
//! Not in the model: caches that miss, the ends of rows, what a row begins with, and clocks that
//! fall under such instructions. Dilated layers of 16 channels gain least, as their pieces fill a
//! quarter of a tile; to gather four taps of a pixel in a panel would cost the load ports about 40
//! cycles for each 16 pixels and save 48 of products.

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

use super::x86_avx512_epilogue::Rules;
use super::x86_avx512_pending::{Pending, TILE};
use super::{BLOCK, CheckedRow, Feed, GROUP, Row};

/// Bytes of weights that one row of a tile holds, and of the sums of a block: 16 outputs × 4 bytes.
const VECTOR: usize = BLOCK * GROUP;

/// Most rows of a tile: pixels of activations and sums, groups of channels of weights.
const ROWS: usize = 16;

/// Most vectors of sums that wait: those of four tiles, and before them those of pixels that have
/// been counted already, fewer than a tile for each of two blocks.
const WAITING: usize = 4 * ROWS + 2 * ROWS;

/// Whether this CPU has the instructions, and Linux lets this process use them.
pub(super) fn available() -> bool {
    detected!("avx512f", "avx512bw", "avx512vnni") && tiles_are_allowed()
}

/// Asks the CPU and Linux, once a process. Threads that ask at the same time get the same answer.
fn tiles_are_allowed() -> bool {
    const NO: u8 = 1;
    const YES: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(0);
    match ANSWER.load(Ordering::Relaxed) {
        0 => {
            let allowed = cpu_has_tiles() && linux_allows_tiles();
            ANSWER.store(if allowed { YES } else { NO }, Ordering::Relaxed);
            allowed
        }
        answer => answer == YES,
    }
}

/// Whether the CPU has AMX-TILE and AMX-INT8, and the operating system keeps tiles for threads. The
/// CPU must have AVX-512.
fn cpu_has_tiles() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const KEPT: u32 = 1 << 17 | 1 << 18;
    #[allow(unused_unsafe, reason = "safe to call since Rust 1.93")]
    // SAFETY: every CPU with AVX-512 has leaf 7.
    let has = unsafe { __cpuid_count(7, 0) }.edx & TILE_AND_INT8 == TILE_AND_INT8;
    let kept: u32;
    // SAFETY: AVX-512 was found, so that the operating system lets programs read this register.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") kept, out("edx") _,
            options(nomem, nostack, preserves_flags));
    }
    has && kept & KEPT == KEPT
}

/// Asks Linux for leave to use tiles, which it gives to a process that wants them: what it saves of
/// such a process at a signal is 8 kB longer.
fn linux_allows_tiles() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let failed: isize;
    // SAFETY: the call reads and writes none of this process's memory; a kernel that does not know
    // it returns an error.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => failed, in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    failed == 0
}

/// Loads a tile whose rows lie so many bytes apart. What one `asm!` leaves in a tile the next one
/// finds there: no other code of the process touches the tiles of this thread, since the compiler
/// makes none that does.
macro_rules! load {
    ($tile:tt, $at:expr, $apart:expr) => {
        asm!(concat!("tileloadd ", $tile, ", [{at} + {apart}*1]"), at = in(reg) $at,
            apart = in(reg) $apart, out($tile) _, options(readonly, nostack, preserves_flags))
    };
}

/// Adds the products of activations and weights to sums.
macro_rules! dot {
    ($sums:tt, $activations:tt, $weights:tt) => {
        asm!(concat!("tdpbusd ", $sums, ", ", $activations, ", ", $weights), out($sums) _,
            options(nomem, nostack, preserves_flags))
    };
}

/// Stores a tile in rows that lie so many bytes apart.
macro_rules! store {
    ($tile:tt, $at:expr, $apart:expr) => {
        asm!(concat!("tilestored [{at} + {apart}*1], ", $tile), at = in(reg) $at,
            apart = in(reg) $apart, options(nostack, preserves_flags))
    };
}

/// Does something with each of the first one, two or four tiles of sums: its name and its number.
macro_rules! each {
    ($count:expr, $do:ident) => {
        $do!("tmm0", 0);
        if $count > 1 {
            $do!("tmm1", 1);
        }
        if $count > 2 {
            $do!("tmm2", 2);
            $do!("tmm3", 3);
        }
    };
}

/// The tiles of this thread, for as long as this lives: sums in the first four, activations in the
/// next two, weights in the last two.
struct Tiles;

impl Tiles {
    /// Tiles of zeros, for so many pixels and pieces of so many bytes.
    ///
    /// # Safety
    /// - [`available`] has said yes.
    /// - `pixels` is 1 to 16, `piece` a multiple of 4 up to 64.
    /// - This thread has no other.
    unsafe fn new(pixels: usize, piece: usize) -> Self {
        /// As the manual has it: the palette; bytes of a row from 16 on, rows from 48 on.
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            zeros: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut all = Configuration {
            palette: 1,
            start_row: 0,
            zeros: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for tile in 0..8 {
            let [rows, row_bytes] = match tile {
                0..4 => [pixels, VECTOR],
                4..6 => [pixels, piece],
                _ => [piece / GROUP, VECTOR],
            };
            all.rows[tile] = rows as u8;
            all.row_bytes[tile] = row_bytes as u16;
        }
        // SAFETY: the caller has tiles and asks for no longer ones than there are.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &all, out("tmm0") _, out("tmm1") _, out("tmm2") _,
                out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags));
        }
        Self
    }
}

impl Drop for Tiles {
    /// Leaves the thread without tiles, as it was: Linux has less to save, and the core may rest.
    fn drop(&mut self) {
        // SAFETY: whoever made it had the instructions.
        unsafe {
            asm!("tilerelease", out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nomem, nostack, preserves_flags));
        }
    }
}

/// See [`Kernel::spin`](super::Kernel::spin).
pub(super) fn spin(rounds: usize) -> u64 {
    if !available() {
        return 0;
    }
    // SAFETY: `available` has said yes; the products are those of zeros in tiles.
    unsafe {
        let _tiles = Tiles::new(ROWS, VECTOR);
        for _ in 0..rounds {
            dot!("tmm0", "tmm4", "tmm6");
            dot!("tmm1", "tmm4", "tmm7");
            dot!("tmm2", "tmm5", "tmm6");
            dot!("tmm3", "tmm5", "tmm7");
        }
    }
    (rounds * 4 * ROWS * BLOCK * VECTOR) as u64
}

/// Fills one row.
pub(super) fn convolve(mut row: CheckedRow) {
    let (arena, row) = row.parts();
    let weights = row.weights.bytes;
    assert!(available());
    // SAFETY: `available` has found AVX-512 F, BW, VNNI and tiles; arena, weights and row are a
    // `CheckedRow`'s.
    unsafe { blocks(arena.as_mut_ptr(), weights.as_ptr(), row) }
}

/// The runs of an input's window: where each begins, from the pixel under the output pixel, and its
/// bytes.
fn runs<'a>(feed: &'a Feed) -> impl Iterator<Item = (i32, usize)> + 'a {
    let chunk = feed.groups * GROUP;
    let together = move |a: &i32, b: &i32| b - a == chunk as i32;
    feed.taps.offsets().chunk_by(together).map(move |run| (run[0], run.len() * chunk))
}

/// The bytes of a piece: the greatest that a tile can hold and that divides each of these runs.
fn piece(runs: impl Iterator<Item = usize>) -> usize {
    let groups = runs.fold(0, |groups, run| divisor(groups, run / GROUP));
    (1..=ROWS).rev().find(|&n| groups.is_multiple_of(n)).unwrap_or(1) * GROUP
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// A row, and how it is cut.
#[derive(Clone, Copy)]
struct Cut<'a> {
    arena: *mut u8,
    row: &'a Row<'a>,
    /// Pixels of a tile: 16, or all of a shorter row.
    pixels: usize,
    /// Bytes of a piece.
    piece: usize,
    /// Bytes of a block's weights.
    block_len: usize,
}

/// All blocks of output channels, two at a time while there are two.
///
/// # Safety
/// - The CPU has AVX-512 F, BW and VNNI, and [`available`] has said yes.
/// - `arena`, `weights` and `row` are those of one [`CheckedRow`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn blocks(arena: *mut u8, weights: *const i8, row: &Row) {
    let pixels = row.width.min(ROWS);
    let piece = piece(row.feeds().iter().flat_map(runs).map(|run| run.1));
    let cut = Cut { arena, row, pixels, piece, block_len: row.depth() * VECTOR };
    let rules = Rules::new(row.destination.stage());
    let mut block = 0;
    // SAFETY: a `CheckedRow` has a pixel, so that `pixels` and `piece` are within what a tile can
    // have. `CheckedRow` has shown that there are `block_len` weights for each block below
    // `row.blocks()`, and each call takes only blocks below that.
    unsafe {
        let _tiles = Tiles::new(pixels, piece);
        while block < row.blocks() {
            let weights = weights.add(block * cut.block_len);
            if block + 2 <= row.blocks() {
                groups::<2>(&cut, weights, &rules, block);
                block += 2;
            } else {
                groups::<1>(&cut, weights, &rules, block);
                block += 1;
            }
        }
    }
}

/// `N` blocks of a row, in groups of four tiles and what remains in smaller ones.
///
/// # Safety
/// - The CPU has AVX-512 F, BW and VNNI. This thread has [`Tiles`] of the cut's lengths.
/// - `cut.arena` and `cut.row` are those of one [`CheckedRow`]; `weights` are the row's from block
///   `block` on.
/// - `block + N <= row.blocks()`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn groups<const N: usize>(cut: &Cut, weights: *const i8, rules: &Rules, block: usize) {
    let bias = cut.row.bias[block * BLOCK..].as_ptr();
    let mut waiting = Waiting::<N> {
        sums: Sums([MaybeUninit::uninit(); WAITING]),
        vector: 0,
        pixels: 0,
        pending: Pending::new(cut.arena, &cut.row.destination, cut.row.blocks(), rules, block),
    };
    let mut x = 0;
    // SAFETY: the caller's conditions are those of `group`; each group begins in the row. All that
    // waits are pixels of this row, in order.
    unsafe {
        while x < cut.row.width {
            let tiles = (cut.row.width - x).div_ceil(ROWS);
            x += if N == 1 && tiles >= 4 {
                group::<4, N>(cut, weights, bias, &mut waiting, x);
                4 * ROWS
            } else if tiles >= 2 {
                group::<2, N>(cut, weights, bias, &mut waiting, x);
                2 * ROWS
            } else {
                group::<1, N>(cut, weights, bias, &mut waiting, x);
                ROWS
            };
        }
        waiting.finish();
    }
}

/// `P` tiles of pixels × `N` blocks from pixel `x` on. A tile that would reach beyond the row ends
/// with it, and begins before `x` or within the tile before. Its sums then wait where they would if
/// the pixels before `x` waited, too.
///
/// # Safety
/// - As [`groups`]; `weights` are those of the blocks, and `bias` has [`BLOCK`] values for each.
/// - `P * N` is 1, 2 or 4, and `N` is 1 or 2.
/// - `x` and the tiles before the last end in the row. All pixels before `x` have been given to
///   `waiting`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn group<const P: usize, const N: usize>(
    cut: &Cut,
    mut weights: *const i8,
    bias: *const i32,
    waiting: &mut Waiting<N>,
    x: usize,
) {
    let places: [usize; P] =
        core::array::from_fn(|t| (x + t * ROWS).min(cut.row.width - cut.pixels));
    // SAFETY: each tile's pixels are the row's: `CheckedRow` has shown that all their taps lie in
    // the arena, and a piece is whole taps or parts of them that lie side by side. The pieces of a
    // window have as many weights in all as a block. A tile of sums begins at most 15 pixels before
    // `x` and ends at most `P * ROWS` behind it, for which `Sums` has room.
    unsafe {
        macro_rules! begin {
            ($tile:tt, $number:literal) => {
                load!($tile, bias.add($number % N * BLOCK), 0usize)
            };
        }
        each!(P * N, begin);
        for feed in cut.row.feeds() {
            let sources = places.map(|x| cut.arena.wrapping_add(feed.start + x * feed.step));
            for (offset, bytes) in runs(feed) {
                for at in (offset as isize..).step_by(cut.piece).take(bytes / cut.piece) {
                    let sources = sources.map(|source| source.wrapping_offset(at).cast_const());
                    multiply::<P, N>(sources, feed.step, weights, cut.block_len);
                    weights = weights.add(cut.piece * BLOCK);
                    waiting.count_some();
                }
            }
        }
        while waiting.pixels > 0 {
            waiting.count_some();
        }
        let sums = waiting.sums.0.as_mut_ptr();
        macro_rules! end {
            ($tile:tt, $number:literal) => {
                let pixel = ROWS + places[$number / N] - x;
                store!($tile, sums.add(pixel * N + $number % N), N * VECTOR)
            };
        }
        each!(P * N, end);
    }
    waiting.vector = ROWS * N;
    waiting.pixels = (cut.row.width - x).min(P * ROWS);
}

/// Adds the products of a piece of each pixel of `P` tiles, by the weights of `N` blocks.
///
/// # Safety
/// - This thread has [`Tiles`].
/// - From each of `sources` on a piece may be read for each pixel of a tile, `step` bytes apart.
/// - At `weights + n * block_len`, for each `n` below `N`, lie the weights of a piece.
/// - `P * N` is 1, 2 or 4, and `N` is 1 or 2.
#[inline(always)]
unsafe fn multiply<const P: usize, const N: usize>(
    sources: [*const u8; P],
    step: usize,
    weights: *const i8,
    block_len: usize,
) {
    // SAFETY: the caller has all that the tiles hold of activations and weights.
    unsafe {
        load!("tmm6", weights, VECTOR);
        if N == 2 {
            load!("tmm7", weights.add(block_len), VECTOR);
        }
        load!("tmm4", sources[0], step);
        dot!("tmm0", "tmm4", "tmm6");
        if N == 2 {
            dot!("tmm1", "tmm4", "tmm7");
        }
        if P > 1 {
            load!("tmm5", sources[1 % P], step);
            if N == 2 {
                dot!("tmm2", "tmm5", "tmm6");
                dot!("tmm3", "tmm5", "tmm7");
            } else {
                dot!("tmm1", "tmm5", "tmm6");
            }
        }
        if P > 2 {
            load!("tmm4", sources[2 % P], step);
            dot!("tmm2", "tmm4", "tmm6");
            load!("tmm5", sources[3 % P], step);
            dot!("tmm3", "tmm5", "tmm6");
        }
    }
}

/// Room for sums: of a group's pixels, `[pixel][block]`, and of 16 pixels before them.
#[repr(C, align(64))]
struct Sums([MaybeUninit<[i32; BLOCK]>; WAITING]);

/// The sums of a group, which become counts while the next group's products are computed.
struct Waiting<'a, const N: usize> {
    sums: Sums,
    /// The vector of sums of the next pixel.
    vector: usize,
    /// How many pixels wait.
    pixels: usize,
    pending: Pending<'a, N>,
}

impl<const N: usize> Waiting<'_, N> {
    /// Counts a tile of a block, 16 vectors, or as many as there are in whole fours or one by one.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F, BW and VNNI.
    /// - All pixels that wait, and have waited so far, are the row's, in order.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn count_some(&mut self) {
        // SAFETY: the caller's conditions; as many pixels wait as are taken.
        unsafe {
            match self.pixels {
                0 => {}
                16.. if N == 1 => self.count::<16>(),
                8.. => self.count::<8>(),
                4.. => self.count::<4>(),
                _ => self.count::<1>(),
            }
        }
    }

    /// Counts `P` pixels.
    ///
    /// # Safety
    /// - As [`Waiting::count_some`]; `P` pixels wait.
    /// - `P * N` is at most [`TILE`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn count<const P: usize>(&mut self) {
        let mut sums = [[_mm512_setzero_si512(); N]; P];
        debug_assert!(P * N <= TILE && P <= self.pixels);
        // SAFETY: the group has stored the sums of all pixels that wait, each a vector a block.
        unsafe {
            let waiting = self.sums.0.as_ptr().add(self.vector);
            for (p, pixel) in sums.iter_mut().enumerate() {
                for (n, sum) in pixel.iter_mut().enumerate() {
                    *sum = _mm512_load_si512(waiting.add(p * N + n).cast());
                }
            }
            self.pending.put(&sums);
        }
        self.vector += P * N;
        self.pixels -= P;
    }

    /// Counts all that waits.
    ///
    /// # Safety
    /// As [`Waiting::count_some`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn finish(&mut self) {
        // SAFETY: the caller's conditions are those of all.
        unsafe {
            while self.pixels > 0 {
                self.count_some();
            }
            self.pending.finish();
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::piece;

    #[test]
    fn a_piece_divides_every_run_and_fits_a_tile() {
        let of = |runs: &[usize]| piece(runs.iter().copied());
        assert_eq!(of(&[16; 9]), 16);
        assert_eq!(of(&[64, 128, 192]), 64);
        assert_eq!(of(&[96; 3]), 48);
        assert_eq!(of(&[48, 48, 96]), 48);
        // Five taps of 16 channels: 20 groups, of which a tile can hold no more than 10.
        assert_eq!(of(&[80]), 40);
        assert_eq!(of(&[4, 12]), 4);
        // Seventeen groups.
        assert_eq!(of(&[68]), 4);
        // A phase without taps: its sums are biases.
        assert_eq!(of(&[]), 64);
    }
}
