//! The records of an image as they lie in memory; `docs/plan-format.md` is their description.
//!
//! Every field is a little-endian number of 4 bytes, or an array of bytes. So records have no
//! padding, any bytes are a record, and a slice of them is a view of the image itself.

use super::super::grid::Grid;
use super::super::requant::{Curve, Elu, Product, Rules, Sum};
use super::super::types::{Pool, Quant};

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
    assert!(size_of::<Tensor>() == 36);
    assert!(size_of::<Step>() == 152);
    assert!(size_of::<Pass>() == 12);
    assert!(size_of::<Phase>() == 120);
    assert!(size_of::<Feed>() == 16);
    assert!(size_of::<Stage>() == 64);
};

/// Bytes seen as records; none where they are not aligned or not a whole number of records.
pub(crate) fn view<T: Record>(bytes: &[u8]) -> Option<&[T]> {
    let pointer = bytes.as_ptr().cast::<T>();
    if !pointer.is_aligned() || !bytes.len().is_multiple_of(size_of::<T>()) {
        return None;
    }
    // SAFETY: the pointer is aligned, the records lie within the bytes and live as long, and any
    // bytes are a record.
    Some(unsafe { core::slice::from_raw_parts(pointer, bytes.len() / size_of::<T>()) })
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

/// A tensor of counts in the arena, see [`Grid`]; one that is never stored has no height.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Tensor {
    pub(crate) size: [u32; 2],
    pub(crate) channels: u32,
    pub(crate) step: u32,
    pub(crate) gap: u32,
    pub(crate) slots: u32,
    pub(crate) offset: u32,
    pub(crate) scale: f32,
    pub(crate) zero_point: u32,
}

// SAFETY: `repr(C)`, numbers of 4 bytes alone.
unsafe impl Record for Tensor {}

impl Tensor {
    /// A tensor that has its place.
    #[cfg(feature = "alloc")]
    pub(crate) fn new(grid: &Grid) -> Self {
        Self {
            size: grid.size.map(|n| n as u32),
            channels: grid.channels as u32,
            step: grid.step as u32,
            gap: grid.gap as u32,
            slots: grid.slots as u32,
            offset: grid.offset as u32,
            scale: grid.quant.scale,
            zero_point: grid.quant.zero_point.into(),
        }
    }

    /// The tensor in the machine's own numbers.
    pub(crate) fn grid(&self) -> Grid {
        Grid {
            size: self.size.map(|n| n as usize),
            channels: self.channels as usize,
            step: self.step as usize,
            gap: self.gap as usize,
            slots: self.slots as usize,
            offset: self.offset as usize,
            border: None,
            quant: Quant { scale: self.scale, zero_point: self.zero_point as u8 },
        }
    }
}

/// Kinds of steps.
pub(crate) mod kind {
    pub(crate) const QUANTIZE: u32 = 0;
    pub(crate) const CONVOLVE: u32 = 1;
    pub(crate) const ADD: u32 = 2;
    pub(crate) const SCALE: u32 = 3;
    pub(crate) const LOOKUP: u32 = 4;
    pub(crate) const MAX_POOL: u32 = 5;
    pub(crate) const DEQUANTIZE: u32 = 6;
}

/// What a convolution makes of its sums.
pub(crate) mod result {
    /// Counts of the output, by the kernel.
    pub(crate) const COUNTS: u32 = 0;
    /// Real values in the step's row: the logits.
    pub(crate) const LOGITS: u32 = 1;
    /// Real values in the step's row, then counts of their sigmoids in the output.
    pub(crate) const SIGMOIDS: u32 = 2;
}

/// One step of the plan.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Step {
    pub(crate) kind: u32,
    /// Tensors that are read; [`NONE`] where there is no second one.
    pub(crate) inputs: [u32; 2],
    /// Tensor that is filled, [`NONE`] for logits.
    pub(crate) output: u32,
    /// Convolution: tensor that is added, or [`NONE`].
    pub(crate) residual: u32,
    /// Convolution: what becomes of the sums.
    pub(crate) result: u32,
    /// Convolution: its stage.
    pub(crate) stage: u32,
    /// Convolution: first phase, and how many.
    pub(crate) phases: [u32; 2],
    /// How often it goes on to the next rows: of each phase of a convolution, of the output, or of
    /// the input where there is no output.
    pub(crate) rows: u32,
    /// Rows that are done together.
    pub(crate) span: u32,
    /// What each wave of its pass adds to its rows, and what is missing as it begins later than the
    /// pass, in so many parts of a row: see [`Step::done`].
    pub(crate) pace: u32,
    pub(crate) delay: u32,
    pub(crate) parts: u32,
    /// Offset and bytes of free memory in the arena.
    pub(crate) scratch: [u32; 2],
    /// Offset and bytes of a row of real values in the arena.
    pub(crate) row: [u32; 2],
    /// Offset and bytes of a line of zero points in the arena: the upper and lower border of what
    /// is read.
    pub(crate) border: [u32; 2],
    /// By kind. Add: the five numbers of [`Sum`]. Scale: the factor's bits, two zero points, the
    /// bits of the third. Lookup: number of the table. Maximum: window, stride, border.
    pub(crate) words: [i32; 8],
    /// First byte and bytes of its name.
    pub(crate) name: [u32; 2],
    /// For people: multiplications and bytes of memory, low half first; weights and biases.
    pub(crate) macs: [u32; 2],
    pub(crate) traffic: [u32; 2],
    pub(crate) parameters: u32,
    /// For people: channels, height and width of what it makes.
    pub(crate) shape: [u32; 3],
}

// SAFETY: `repr(C)`, numbers of 4 bytes alone.
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
        sum([a, b, c, d, e])
    }

    /// The rules of a product.
    pub(crate) fn product(&self) -> Product {
        let [factor, a, b, zero_point, ..] = self.words;
        Product {
            factor: f32::from_bits(factor as u32),
            zero_points: [a, b],
            zero_point: f32::from_bits(zero_point as u32),
        }
    }

    /// The windows of a maximum.
    pub(crate) fn pool(&self) -> Pool {
        let [a, b, c, d, e, f, g, h] = self.words.map(|n| n as u32 as usize);
        Pool { kernel: [a, b], stride: [c, d], pads: [e, f, g, h] }
    }
}

/// The rules of a sum, of the five numbers in a [`Step`] or a [`Stage`].
fn sum(numbers: [i32; 5]) -> Sum {
    let [first, second, offset, round, zero_point] = numbers.map(|n| n as i16);
    Sum { first, second, offset, round, zero_point }
}

/// The five numbers that [`sum`] takes.
#[cfg(feature = "alloc")]
fn sum_numbers(sum: &Sum) -> [i32; 5] {
    let Sum { first, second, offset, round, zero_point } = *sum;
    [first, second, offset, round, zero_point].map(i32::from)
}

#[cfg(feature = "alloc")]
pub(crate) fn sum_words(sum: &Sum) -> [i32; 8] {
    let [a, b, c, d, e] = sum_numbers(sum);
    [a, b, c, d, e, 0, 0, 0]
}

#[cfg(feature = "alloc")]
pub(crate) fn product_words(product: &Product) -> [i32; 8] {
    let Product { factor, zero_points: [a, b], zero_point } = *product;
    [factor.to_bits() as i32, a, b, zero_point.to_bits() as i32, 0, 0, 0, 0]
}

#[cfg(feature = "alloc")]
pub(crate) fn pool_words(pool: &Pool) -> [i32; 8] {
    let ([a, b], [c, d], [e, f, g, h]) = (pool.kernel, pool.stride, pool.pads);
    [a, b, c, d, e, f, g, h].map(|n| n as i32)
}

/// The output pixels of a convolution that share one set of taps: all of a convolution's, every
/// n-th of a transposed one's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Phase {
    /// First output pixel (y, x).
    pub(crate) origin: [u32; 2],
    /// Rows and columns from one output pixel to the next.
    pub(crate) out_step: [u32; 2],
    /// Rows and columns from one output pixel's input to the next's.
    pub(crate) in_step: [u32; 2],
    /// Rows and columns of output.
    pub(crate) size: [u32; 2],
    /// 0: row by row. 2 or 3: tile by tile, so many taps down and across.
    pub(crate) tile_taps: u32,
    /// Tiles: rows and columns from one tap to the next, each of `in_step` pixels.
    pub(crate) dilation: [u32; 2],
    /// Tiles: first feed, and how many.
    pub(crate) feeds: [u32; 2],
    /// Rows of the input that are read, counted from that under the output row: first tap, how
    /// many, smallest and largest. Tiles have but the last two.
    pub(crate) down: [i32; 4],
    /// Rows, per input: the taps in each of these rows: first, how many, smallest and largest.
    pub(crate) across: [[i32; 4]; 2],
    /// First of its biases.
    pub(crate) bias: u32,
    /// Blocks of 16 output channels.
    pub(crate) blocks: u32,
    /// First byte and bytes of its weights.
    pub(crate) weights: [u32; 2],
    /// Whether one of the weights is -128.
    pub(crate) lowest: u32,
}

// SAFETY: `repr(C)`, numbers of 4 bytes alone.
unsafe impl Record for Phase {}

impl Phase {
    /// Rows that are done together.
    pub(crate) fn granularity(&self) -> usize {
        match self.tile_taps as usize {
            0 => 1,
            taps => super::super::kernels::winograd::tile(taps)[0] * self.dilation[0] as usize,
        }
    }

    /// Tiles: the smallest and the largest row that is read, as [`Phase::down`] has them.
    pub(crate) fn tile_rows(&self, feeds: &[Feed]) -> [i32; 2] {
        let reach = ((self.tile_taps - 1) * self.dilation[0]) as i32 * self.in_step[0] as i32;
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
    pub(crate) curve: u32,
    /// ELU: the cubic, squarings, `one`, `depth`.
    pub(crate) elu: [i32; 6],
    pub(crate) round: i32,
    pub(crate) zero_point: i32,
    /// Whether a residual is added, and its rules.
    pub(crate) has_sum: u32,
    pub(crate) sum: [i32; 5],
    /// First of its scales, one for each of the output channels in whole blocks.
    pub(crate) scales: u32,
}

// SAFETY: `repr(C)`, numbers of 4 bytes alone.
unsafe impl Record for Stage {}

impl Stage {
    /// The rules.
    pub(crate) fn rules(&self) -> Rules {
        let [a, b, c, squarings, one, depth] = self.elu;
        let elu = Elu {
            cubic: [a as i16, b as i16, c as i16],
            squarings: squarings as u32,
            one: one as i16,
            depth: depth as i16,
        };
        Rules {
            curve: match self.curve {
                0 => Curve::Linear,
                1 => Curve::Relu,
                _ => Curve::Elu(elu),
            },
            round: self.round as i16,
            zero_point: self.zero_point as i16,
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
                let [a, b, c, one, depth] = [a, b, c, one, depth].map(i32::from);
                (2, [a, b, c, squarings as i32, one, depth])
            }
        };
        Self {
            curve,
            elu,
            round: rules.round.into(),
            zero_point: rules.zero_point.into(),
            has_sum: rules.sum.is_some().into(),
            sum: rules.sum.as_ref().map_or([0; 5], sum_numbers),
            scales,
        }
    }
}
