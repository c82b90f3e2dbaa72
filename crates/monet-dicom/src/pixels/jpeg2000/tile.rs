//! What a tile's component is divided into (T.800, annex B): resolutions, bands, precincts, code
//! blocks.

use super::block::Style;
use super::damaged;
use super::stream::{Coding, Quantization};
use super::tree::Tree;
use super::wavelet::Kind;
use crate::pixels::PixelError;

/// A rectangle: first and behind the last, along x and y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: [u32; 2],
    pub(super) y: [u32; 2],
}

impl Rect {
    pub(super) fn width(&self) -> usize {
        self.x[1].saturating_sub(self.x[0]) as usize
    }

    pub(super) fn height(&self) -> usize {
        self.y[1].saturating_sub(self.y[0]) as usize
    }

    fn map(&self, of: impl Fn(u32, usize) -> u32) -> Self {
        Self { x: self.x.map(|x| of(x, 0)), y: self.y.map(|y| of(y, 1)) }
    }

    fn meet(&self, other: &Self) -> Self {
        let meet = |a: [u32; 2], b: [u32; 2]| {
            let start = a[0].max(b[0]);
            [start, a[1].min(b[1]).max(start)]
        };
        Self { x: meet(self.x, other.x), y: meet(self.y, other.y) }
    }
}

/// Which frequencies a band has, along x and y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    LowLow,
    HighLow,
    LowHigh,
    HighHigh,
}

/// Bytes of passes that end together.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    pub(super) passes: u32,
    /// Most passes that it can have.
    pub(super) most: u32,
    /// Places in the tile's packets.
    pub(super) parts: Vec<(usize, usize)>,
}

/// A code block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Where its coefficients go in the component's memory.
    pub(super) at: (usize, usize),
    pub(super) size: (usize, usize),
    /// Planes without any bit; `None` until a packet includes the block.
    pub(super) empty_planes: Option<u32>,
    pub(super) length_bits: u32,
    pub(super) passes: u32,
    pub(super) segments: Vec<Segment>,
}

/// The code blocks of a band in a precinct.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) band: usize,
    pub(super) across: usize,
    pub(super) blocks: Vec<Block>,
    pub(super) inclusion: Tree,
    pub(super) planes: Tree,
}

/// A precinct: what one packet of a layer is about.
#[derive(Debug)]
pub(super) struct Precinct {
    /// Where it begins on the reference grid.
    pub(super) position: [u64; 2],
    pub(super) parts: Vec<Part>,
}

/// A band.
#[derive(Debug, Clone, Copy)]
pub(super) struct Band {
    pub(super) orientation: Orientation,
    /// Planes that a coefficient has at most (Equation E-2).
    pub(super) planes: u32,
    /// What half a step of a coefficient is worth.
    pub(super) half_step: f32,
    rect: Rect,
    /// Where it lies in the component's memory.
    at: (usize, usize),
}

/// A resolution.
#[derive(Debug)]
pub(super) struct Resolution {
    pub(super) rect: Rect,
    pub(super) bands: Vec<Band>,
    pub(super) precincts: Vec<Precinct>,
}

/// A component of a tile.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) rect: Rect,
    pub(super) style: Style,
    pub(super) kind: Kind,
    pub(super) resolutions: Vec<Resolution>,
}

/// Counts what a tile is divided into, which a few bytes could make more than its pixels.
struct Budget(usize);

impl Budget {
    fn take(&mut self, count: usize) -> Result<(), PixelError> {
        self.0 = self.0.checked_sub(count).ok_or_else(|| damaged("too many code blocks"))?;
        Ok(())
    }
}

impl Component {
    pub(super) fn new(
        rect: Rect,
        bits: u8,
        coding: &Coding,
        quantization: &Quantization,
    ) -> Result<Self, PixelError> {
        // Code blocks have 16 coefficients at least, but at edges.
        let mut budget = Budget(rect.width() * rect.height() / 8 + 1024);
        let levels = u32::from(coding.levels);
        let resolutions = (0..=coding.levels).map(|r| {
            let shift = levels - u32::from(r);
            let reduced = rect.map(|v, _| ceil_shift(v.into(), shift));
            let bands = bands(&rect, &reduced, r, bits, coding, quantization)?;
            let precincts = precincts(&rect, &reduced, &bands, r, coding, &mut budget)?;
            Ok(Resolution { rect: reduced, bands, precincts })
        });
        Ok(Self {
            rect,
            style: coding.style,
            kind: coding.kind,
            resolutions: resolutions.collect::<Result<_, PixelError>>()?,
        })
    }
}

/// A number divided by a power of two, rounded up.
fn ceil_shift(value: u64, shift: u32) -> u32 {
    ((value + (1_u64 << shift) - 1) >> shift) as u32
}

/// The bands of a resolution (Equation B-15).
fn bands(
    rect: &Rect,
    reduced: &Rect,
    resolution: u8,
    bits: u8,
    coding: &Coding,
    quantization: &Quantization,
) -> Result<Vec<Band>, PixelError> {
    use Orientation::{HighHigh, HighLow, LowHigh, LowLow};
    let level = match resolution {
        0 => u32::from(coding.levels),
        _ => u32::from(coding.levels - resolution) + 1,
    };
    let orientations: &[Orientation] =
        if resolution == 0 { &[LowLow] } else { &[HighLow, LowHigh, HighHigh] };
    let lower = |v: u32| ceil_shift(v.into(), 1) as usize;
    let first = |v: [u32; 2]| lower(v[1]) - lower(v[0]);
    orientations
        .iter()
        .enumerate()
        .map(|(n, &orientation)| {
            let high = [
                matches!(orientation, HighLow | HighHigh),
                matches!(orientation, LowHigh | HighHigh),
            ];
            let edge = |v: u32, axis: usize| {
                let half = if high[axis] { 1_u64 << (level - 1) } else { 0 };
                ceil_shift(u64::from(v).saturating_sub(half), level)
            };
            let index = if resolution == 0 { 0 } else { 3 * usize::from(resolution) - 2 + n };
            let step = quantization.step(index, resolution);
            let (exponent, mantissa) = step.ok_or_else(|| damaged("a band has no quantization"))?;
            let planes = u32::from(quantization.guard) + u32::from(exponent);
            let gain = i32::from(high[0]) + i32::from(high[1]);
            let step = match coding.kind {
                Kind::Reversible => 1.0,
                Kind::Irreversible => {
                    let range = i32::from(bits) + gain - i32::from(exponent);
                    2_f32.powi(range) * (1.0 + f32::from(mantissa) / 2048.0)
                }
            };
            let at = (
                if high[0] { first(reduced.x) } else { 0 },
                if high[1] { first(reduced.y) } else { 0 },
            );
            Ok(Band {
                orientation,
                planes: planes.saturating_sub(1),
                half_step: step / 2.0,
                rect: rect.map(edge),
                at,
            })
        })
        .collect()
}

/// The precincts of a resolution (section B.6).
fn precincts(
    rect: &Rect,
    reduced: &Rect,
    bands: &[Band],
    resolution: u8,
    coding: &Coding,
    budget: &mut Budget,
) -> Result<Vec<Precinct>, PixelError> {
    if reduced.width() == 0 || reduced.height() == 0 {
        return Ok(Vec::new());
    }
    let exponents = coding.precinct(resolution);
    let first = [reduced.x[0] >> exponents[0], reduced.y[0] >> exponents[1]];
    let behind = [
        ceil_shift(reduced.x[1].into(), exponents[0]),
        ceil_shift(reduced.y[1].into(), exponents[1]),
    ];
    let shift = u32::from(coding.levels - resolution);
    let mut precincts = Vec::new();
    for py in first[1]..behind[1] {
        for px in first[0]..behind[0] {
            budget.take(1)?;
            // A first precinct that begins outside of the tile counts from the tile's edge.
            let start = |n: u32, exponent: u32, edge: u32, tile: u32| {
                let start = u64::from(n) << exponent;
                if start < edge.into() { tile.into() } else { start << shift }
            };
            let position = [
                start(px, exponents[0], reduced.x[0], rect.x[0]),
                start(py, exponents[1], reduced.y[0], rect.y[0]),
            ];
            let parts = (0..bands.len())
                .map(|band| {
                    part(band, &bands[band], [px, py], exponents, resolution, coding, budget)
                })
                .collect::<Result<_, _>>()?;
            precincts.push(Precinct { position, parts });
        }
    }
    Ok(precincts)
}

/// A band's code blocks in a precinct (section B.7).
fn part(
    index: usize,
    band: &Band,
    precinct: [u32; 2],
    exponents: [u32; 2],
    resolution: u8,
    coding: &Coding,
    budget: &mut Budget,
) -> Result<Part, PixelError> {
    // A precinct has half its size in a band, but in the lowest.
    let size = exponents.map(|exponent| exponent - u32::from(resolution > 0));
    let side = |n: u32, size: u32| {
        let start = u64::from(n) << size;
        [start, start + (1 << size)].map(|v| u32::try_from(v).unwrap_or(u32::MAX))
    };
    let whole = Rect { x: side(precinct[0], size[0]), y: side(precinct[1], size[1]) };
    let rect = whole.meet(&band.rect);
    let block = [0, 1].map(|axis| u32::from(coding.block[axis]).min(size[axis]));
    let empty = rect.width() == 0 || rect.height() == 0;
    let range = |v: [u32; 2], exponent: u32| {
        let behind = if empty { v[0] >> exponent } else { ceil_shift(v[1].into(), exponent) };
        v[0] >> exponent..behind
    };
    let (columns, rows) = (range(rect.x, block[0]), range(rect.y, block[1]));
    let (across, down) = (columns.len(), rows.len());
    budget.take(across.saturating_mul(down))?;
    let mut blocks = Vec::with_capacity(across * down);
    for by in rows {
        for bx in columns.clone() {
            let whole = Rect { x: side(bx, block[0]), y: side(by, block[1]) };
            let own = whole.meet(&rect);
            let x = (own.x[0] - band.rect.x[0]) as usize + band.at.0;
            let y = (own.y[0] - band.rect.y[0]) as usize + band.at.1;
            blocks.push(Block {
                at: (x, y),
                size: (own.width(), own.height()),
                empty_planes: None,
                length_bits: 3,
                passes: 0,
                segments: Vec::new(),
            });
        }
    }
    let (inclusion, planes) = (Tree::new(across, down), Tree::new(across, down));
    Ok(Part { band: index, across, blocks, inclusion, planes })
}
