//! The records of an image as they lie in memory; `docs/plan-format.md` is their description.
//!
//! Every field is a little-endian number of 4 bytes, or of 2 bytes beside another such, or an array
//! of bytes. So records have no padding, any bytes are a record, and a slice of them is a view of
//! the image itself.

use super::super::grid::{Grid, pair};
use super::super::requant::{Curve, Elu, Product, Rules, Sum};
use super::super::types::Pool;
use super::recipe::RecipeRecord;

#[cfg(target_endian = "big")]
compile_error!("images are little-endian and executed where they lie");

/// Stands for "none" where an index may be missing.
pub(crate) const NONE: u32 = u32::MAX;

/// What bytes can be seen as.
///
/// # Safety
/// - The type is `repr(C)` or a primitive, without padding.
/// - Any bytes are a value of it.
/// - [`ALIGN`](super::ALIGN) is a multiple of its alignment.
pub(crate) unsafe trait Record: Copy + 'static {}

// SAFETY: primitives, and arrays of bytes.
unsafe impl Record for u8 {}
// SAFETY: as above.
unsafe impl Record for i8 {}
// SAFETY: as above.
unsafe impl Record for i16 {}
// SAFETY: as above.
unsafe impl Record for i32 {}
// SAFETY: as above.
unsafe impl Record for f32 {}
// SAFETY: as above.
unsafe impl Record for [u8; 256] {}

// What `docs/plan-format.md` says.
const _: () = {
    assert!(size_of::<Header>() == 208);
    assert!(size_of::<Grid>() == 24);
    assert!(size_of::<Step>() == 120);
    assert!(size_of::<Pass>() == 12);
    assert!(size_of::<Phase>() == 80);
    assert!(size_of::<Feed>() == 16);
    assert!(size_of::<Stage>() == 36);
};

/// Bytes seen as records; none where they are not aligned or not a whole number of records.
pub(crate) fn view<T: Record>(bytes: &[u8]) -> Option<&[T]> {
    let count = count(bytes, size_of::<T>(), align_of::<T>())?;
    // SAFETY: the pointer is aligned, the records lie within the bytes and live as long, and any
    // bytes are a record.
    Some(unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), count) })
}

/// Records at a place in bytes, first and length; none where there are no such.
pub(super) fn part<T: Record>(bytes: &[u8], place: [u32; 2]) -> &[T] {
    let (start, count) = counted(bytes, place, size_of::<T>(), align_of::<T>());
    // SAFETY: `counted` gives an aligned pointer to so many records within the bytes, and any bytes
    // are a record.
    unsafe { core::slice::from_raw_parts(start.cast(), count) }
}

/// Where records of a size and an alignment begin, and how many they are. Boards have it once for
/// all records.
#[inline(never)]
fn counted(bytes: &[u8], [start, len]: [u32; 2], size: usize, align: usize) -> (*const u8, usize) {
    let end = (start as usize).wrapping_add(len as usize);
    let part = bytes.get(start as usize..end);
    let found = part.and_then(|part| Some((part.as_ptr(), count(part, size, align)?)));
    found.unwrap_or((core::ptr::without_provenance(align), 0))
}

/// How many records of a size and an alignment bytes are. Boards have it once for all records.
#[inline(never)]
fn count(bytes: &[u8], size: usize, align: usize) -> Option<usize> {
    let whole = bytes.len().is_multiple_of(size) && bytes.as_ptr().addr().is_multiple_of(align);
    bytes.len().checked_div(size).filter(|_| whole)
}

/// The whole numbers for which bytes have room, from the first aligned byte on.
pub(crate) fn numbers(bytes: &mut [u8]) -> &mut [i32] {
    // SAFETY: any bytes are an i32, and any i32 is bytes.
    unsafe { bytes.align_to_mut() }.1
}

/// Records seen as bytes.
#[cfg(feature = "alloc")]
pub(crate) fn bytes<T: Record>(records: &[T]) -> &[u8] {
    // SAFETY: records have no padding, so that all their bytes may be read.
    unsafe { core::slice::from_raw_parts(records.as_ptr().cast(), size_of_val(records)) }
}

/// A number of 64 bits as two of 32, the low one first.
#[cfg(feature = "alloc")]
pub(crate) fn halves(n: u64) -> [u32; 2] {
    [n as u32, (n >> 32) as u32]
}

/// The number of 64 bits whose halves are given, see [`halves`].
pub(crate) fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The smallest and the largest of some numbers; 0 where there are none.
pub(crate) fn ends(numbers: impl Iterator<Item = i32>) -> [i32; 2] {
    numbers.map(|n| [n, n]).reduce(|[a, b], [c, d]| [a.min(c), b.max(d)]).unwrap_or_default()
}

/// The parts of an image, in the order in which they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Tensors,
    Steps,
    Passes,
    Phases,
    Feeds,
    Stages,
    Taps,
    Bias,
    Scales,
    Tables,
    Names,
    Attachment,
    Weights,
    Recipe,
}

impl Section {
    pub(crate) const ALL: [Self; 14] = [
        Self::Tensors,
        Self::Steps,
        Self::Passes,
        Self::Phases,
        Self::Feeds,
        Self::Stages,
        Self::Taps,
        Self::Bias,
        Self::Scales,
        Self::Tables,
        Self::Names,
        Self::Attachment,
        Self::Weights,
        Self::Recipe,
    ];

    /// Bytes of a record.
    pub(super) fn record_len(self) -> usize {
        match self {
            Self::Tensors => size_of::<Grid>(),
            Self::Steps => size_of::<Step>(),
            Self::Passes => size_of::<Pass>(),
            Self::Phases => size_of::<Phase>(),
            Self::Feeds => size_of::<Feed>(),
            Self::Stages => size_of::<Stage>(),
            Self::Taps | Self::Bias | Self::Scales => 4,
            Self::Tables => 256,
            Self::Names | Self::Attachment | Self::Weights => 1,
            Self::Recipe => size_of::<RecipeRecord>(),
        }
    }
}

/// The first 208 bytes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
    /// Bytes of the image, this header included.
    pub(crate) length: u32,
    /// SHA-256 of all bytes after it.
    pub(crate) sha256: [u8; 32],
    /// See [`Kernel::code`](super::super::Kernel).
    pub(crate) kernel: u32,
    /// Channels, height and width of the input.
    pub(crate) input: [u32; 3],
    /// Channels, height and width of the logits.
    pub(crate) output: [u32; 3],
    /// 0 sigmoid, 1 softmax, 2 identity.
    pub(crate) meaning: u32,
    /// Probability above which a sigmoid's label is 1, and the logit that has it.
    pub(crate) threshold: [f32; 2],
    /// Bytes of working memory.
    pub(crate) arena: u32,
    /// The last bytes of these, in which a run lists the taps of a row.
    pub(crate) lists: u32,
    /// First byte and number of bytes of each [`Section`].
    pub(crate) sections: [[u32; 2]; 14],
}

// SAFETY: `repr(C)`; numbers of 4 bytes and bytes in multiples of 4.
unsafe impl Record for Header {}

impl Header {
    /// That of no image.
    pub(crate) const EMPTY: Self = Self {
        magic: [0; 8],
        version: 0,
        length: 0,
        sha256: [0; 32],
        kernel: 0,
        input: [0; 3],
        output: [0; 3],
        meaning: 0,
        threshold: [0.0; 2],
        arena: 0,
        lists: 0,
        sections: [[0; 2]; 14],
    };
}

// SAFETY: `repr(C)`; six numbers of 2 bytes, then numbers of 4.
unsafe impl Record for Grid {}

/// Kinds of steps.
pub(crate) mod kind {
    pub(crate) const QUANTIZE: u16 = 0;
    pub(crate) const CONVOLVE: u16 = 1;
    pub(crate) const ADD: u16 = 2;
    pub(crate) const SCALE: u16 = 3;
    pub(crate) const LOOKUP: u16 = 4;
    pub(crate) const MAX_POOL: u16 = 5;
    pub(crate) const DEQUANTIZE: u16 = 6;
}

/// What a convolution makes of its sums.
pub(crate) mod result {
    /// Counts of the output, by the kernel.
    pub(crate) const COUNTS: u16 = 0;
    /// Real values in the step's row: the logits.
    pub(crate) const LOGITS: u16 = 1;
    /// Real values in the step's row, then counts of their sigmoids in the output.
    pub(crate) const SIGMOIDS: u16 = 2;
}

/// One step of the plan.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Step {
    pub(crate) kind: u16,
    /// Convolution: what becomes of the sums.
    pub(crate) result: u16,
    /// Tensors that are read; [`NONE`] where there is no second one.
    pub(crate) inputs: [u32; 2],
    /// Tensor that is filled, [`NONE`] for logits.
    pub(crate) output: u32,
    /// Convolution: tensor that is added, or [`NONE`].
    pub(crate) residual: u32,
    /// Convolution: its stage.
    pub(crate) stage: u32,
    /// Convolution: first phase, and how many.
    pub(crate) phases: [u32; 2],
    /// How often it goes on to the next rows: of each phase of a convolution, of the output, or of
    /// the input where there is no output.
    pub(crate) rows: u16,
    /// Rows that are done together.
    pub(crate) span: u16,
    /// What each wave of its pass adds to its rows, and what is missing as it begins later than the
    /// pass, in so many parts of a row: see [`Step::done`].
    pub(crate) pace: u16,
    pub(crate) parts: u16,
    pub(crate) delay: u32,
    /// Offset and bytes of free memory in the arena.
    pub(crate) scratch: [u32; 2],
    /// Offset and bytes of a row of real values in the arena.
    pub(crate) row: [u32; 2],
    /// Offset and bytes of a line of zero points in the arena: the upper and lower border of what
    /// is read.
    pub(crate) border: [u32; 2],
    /// By kind. Add: the five numbers of [`Sum`]. Scale: the factor's bits, low half first, two
    /// zero points, the bits of the third. Lookup: number of the table. Maximum: window, stride,
    /// border.
    pub(crate) words: [u16; 8],
    /// First byte and bytes of its name.
    pub(crate) name: [u32; 2],
    /// For people: multiplications and bytes of memory, low half first; weights and biases.
    pub(crate) macs: [u32; 2],
    pub(crate) traffic: [u32; 2],
    pub(crate) parameters: u32,
    /// For people: channels, height and width of what it makes.
    pub(crate) shape: [u16; 3],
    pub(crate) reserved: u16,
}

// SAFETY: `repr(C)`, numbers of 4 bytes, and of 2 bytes in pairs.
unsafe impl Record for Step {}

/// Steps that take turns: in each wave each of them computes some rows.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Pass {
    /// First step, and how many.
    pub(crate) steps: [u32; 2],
    pub(crate) waves: u32,
}

// SAFETY: `repr(C)`, numbers of 4 bytes alone.
unsafe impl Record for Pass {}

impl Step {
    /// The rules of an addition.
    pub(crate) fn sum(&self) -> Sum {
        let [a, b, c, d, e, ..] = self.words;
        sum([a as i16, b as i16, c as i16, d as i16, e as i16])
    }

    /// The rules of a product.
    pub(crate) fn product(&self) -> Product {
        let [factor, factor_high, a, b, zero_point, zero_point_high, ..] = self.words;
        let real = |low: u16, high: u16| f32::from_bits(u32::from(high) << 16 | u32::from(low));
        Product {
            factor: real(factor, factor_high),
            zero_points: [a.into(), b.into()],
            zero_point: real(zero_point, zero_point_high),
        }
    }

    /// The windows of a maximum.
    pub(crate) fn pool(&self) -> Pool {
        let [a, b, c, d, e, f, g, h] = self.words;
        let ([e, f], [g, h]) = (pair([e, f]), pair([g, h]));
        Pool { kernel: pair([a, b]), stride: pair([c, d]), pads: [e, f, g, h] }
    }
}

/// The rules of a sum, of the five numbers in a [`Step`] or a [`Stage`].
fn sum([first, second, offset, round, zero_point]: [i16; 5]) -> Sum {
    Sum { first, second, offset, round, zero_point }
}

/// The five numbers that [`sum`] takes.
#[cfg(feature = "alloc")]
fn sum_numbers(sum: &Sum) -> [i16; 5] {
    let Sum { first, second, offset, round, zero_point } = *sum;
    [first, second, offset, round, zero_point]
}

#[cfg(feature = "alloc")]
pub(crate) fn sum_words(sum: &Sum) -> [u16; 8] {
    let [a, b, c, d, e] = sum_numbers(sum).map(|n| n as u16);
    [a, b, c, d, e, 0, 0, 0]
}

#[cfg(feature = "alloc")]
pub(crate) fn product_words(product: &Product) -> [u16; 8] {
    let Product { factor, zero_points: [a, b], zero_point } = *product;
    let [factor, zero_point] = [factor, zero_point].map(f32::to_bits);
    let high = |bits: u32| (bits >> 16) as u16;
    [factor as u16, high(factor), a as u16, b as u16, zero_point as u16, high(zero_point), 0, 0]
}

#[cfg(feature = "alloc")]
pub(crate) fn pool_words(pool: &Pool) -> [u16; 8] {
    let ([a, b], [c, d], [e, f, g, h]) = (pool.kernel, pool.stride, pool.pads);
    [a, b, c, d, e, f, g, h].map(|n| n as u16)
}

/// The output pixels of a convolution that share one set of taps: all of a convolution's, every
/// n-th of a transposed one's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Phase {
    /// First output pixel (y, x).
    pub(crate) origin: [u16; 2],
    /// Rows and columns from one output pixel to the next.
    pub(crate) out_step: [u16; 2],
    /// Rows and columns from one output pixel's input to the next's.
    pub(crate) in_step: [u16; 2],
    /// Rows and columns of output.
    pub(crate) size: [u16; 2],
    /// Tiles: rows and columns from one tap to the next, each of `in_step` pixels.
    pub(crate) dilation: [u16; 2],
    /// 0: row by row. 2 or 3: tile by tile, so many taps down and across.
    pub(crate) tile_taps: u16,
    /// Whether one of the weights is -128.
    pub(crate) lowest: u16,
    /// Tiles: first feed, and how many.
    pub(crate) feeds: [u32; 2],
    /// Rows of the input that are read, counted from that under the output row: first tap, how
    /// many, smallest and largest. Tiles have but the last two.
    pub(crate) down: [i32; 4],
    /// Rows, per input: the taps in each of these rows: first, and how many.
    pub(crate) across: [[u32; 2]; 2],
    /// First of its biases.
    pub(crate) bias: u32,
    /// Blocks of 16 output channels.
    pub(crate) blocks: u32,
    /// First byte and bytes of its weights.
    pub(crate) weights: [u32; 2],
}

// SAFETY: `repr(C)`, numbers of 2 bytes in pairs, then numbers of 4.
unsafe impl Record for Phase {}

impl Phase {
    /// Rows that are done together.
    pub(crate) fn granularity(&self) -> usize {
        match self.tile_taps.into() {
            0 => 1,
            _ if !super::super::kernels::TILED_PLANS => 1,
            taps => super::super::kernels::winograd::tile(taps) * usize::from(self.dilation[0]),
        }
    }

    /// Tiles: the smallest and the largest row that is read, as [`Phase::down`] has them.
    pub(crate) fn tile_rows(&self, feeds: &[Feed]) -> [i32; 2] {
        let apart = i32::from(self.dilation[0]) * i32::from(self.in_step[0]);
        let reach = (i32::from(self.tile_taps) - 1) * apart;
        let [low, high] = ends(feeds.iter().map(|feed| feed.first[0]));
        [low, high + reach]
    }
}

/// An input of tiles.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Feed {
    /// Which of the step's inputs.
    pub(crate) input: u32,
    /// Row and column under the first tap of output pixel 0. The column is counted from the left
    /// border's first, the row from that of pixels: rows of the upper border are negative.
    pub(crate) first: [i32; 2],
    pub(crate) reserved: u32,
}

// SAFETY: `repr(C)`, numbers of 4 bytes alone.
unsafe impl Record for Feed {}

/// The fixed-point rules of a layer, but for its scales, which have a section of their own.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Stage {
    /// 0 linear, 1 ReLU, 2 ELU.
    pub(crate) curve: u16,
    /// ELU: the cubic, squarings, `one`, `depth`.
    pub(crate) elu: [i16; 6],
    pub(crate) round: i16,
    pub(crate) zero_point: i16,
    /// Whether a residual is added, and its rules.
    pub(crate) has_sum: u16,
    pub(crate) sum: [i16; 5],
    pub(crate) reserved: u16,
    /// First of its scales, one for each of the output channels in whole blocks.
    pub(crate) scales: u32,
}

// SAFETY: `repr(C)`, sixteen numbers of 2 bytes, then one of 4.
unsafe impl Record for Stage {}

impl Stage {
    /// The rules.
    pub(crate) fn rules(&self) -> Rules {
        let [a, b, c, squarings, one, depth] = self.elu;
        let elu = Elu { cubic: [a, b, c], squarings: squarings as u32, one, depth };
        Rules {
            curve: match self.curve {
                0 => Curve::Linear,
                1 => Curve::Relu,
                _ => Curve::Elu(elu),
            },
            round: self.round,
            zero_point: self.zero_point,
            sum: (self.has_sum != 0).then(|| sum(self.sum)),
        }
    }

    /// Of rules whose scales begin at a place.
    #[cfg(feature = "alloc")]
    pub(crate) fn new(rules: &Rules, scales: u32) -> Self {
        let (curve, elu) = match rules.curve {
            Curve::Linear => (0, [0; 6]),
            Curve::Relu => (1, [0; 6]),
            Curve::Elu(Elu { cubic: [a, b, c], squarings, one, depth }) => {
                (2, [a, b, c, squarings as i16, one, depth])
            }
        };
        Self {
            curve,
            elu,
            round: rules.round,
            zero_point: rules.zero_point,
            has_sum: rules.sum.is_some().into(),
            sum: rules.sum.as_ref().map_or([0; 5], sum_numbers),
            reserved: 0,
            scales,
        }
    }
}
