//! The marker segments of a code stream (T.800, annex A).

use std::collections::BTreeMap;

use super::block::Style;
use super::damaged;
use super::wavelet::Kind;
use crate::pixels::PixelError;

/// Most tiles of a frame.
pub(super) const MAX_TILES: u64 = 1 << 14;
/// Most decomposition levels.
pub(super) const MAX_LEVELS: u8 = 32;

/// The image and its tiles on the reference grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) x: [u32; 2],
    pub(super) y: [u32; 2],
    pub(super) tile: [u32; 2],
    pub(super) tile_start: [u32; 2],
    pub(super) components: u16,
    /// Bits of a sample, and whether it is signed.
    pub(super) bits: u8,
    pub(super) signed: bool,
}

impl Size {
    /// How many tiles lie side by side.
    pub(super) fn across(&self) -> u32 {
        (self.x[1] - self.tile_start[0]).div_ceil(self.tile[0])
    }

    /// How many tiles there are.
    pub(super) fn tiles(&self) -> u64 {
        let down = (self.y[1] - self.tile_start[1]).div_ceil(self.tile[1]);
        u64::from(self.across()) * u64::from(down)
    }
}

/// How a tile's packets follow one another (Table A.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    LayerResolution,
    ResolutionLayer,
    ResolutionPosition,
    PositionComponent,
    ComponentPosition,
}

/// Coding style of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    pub(super) packet_starts: bool,
    pub(super) header_ends: bool,
    pub(super) order: Order,
    pub(super) layers: u16,
    pub(super) transform: bool,
}

/// Coding style of a component.
#[derive(Debug, Clone)]
pub(super) struct Coding {
    pub(super) levels: u8,
    /// Exponents of a code block's sides.
    pub(super) block: [u8; 2],
    pub(super) style: Style,
    pub(super) kind: Kind,
    /// Exponents of a precinct's sides, by resolution; 15 where none are given.
    precincts: Vec<u8>,
}

impl Coding {
    pub(super) fn precinct(&self, resolution: u8) -> [u32; 2] {
        let size = self.precincts.get(usize::from(resolution)).copied().unwrap_or(0xff);
        [u32::from(size & 15), u32::from(size >> 4)]
    }
}

/// Quantization of a component.
#[derive(Debug, Clone)]
pub(super) struct Quantization {
    pub(super) guard: u8,
    derived: bool,
    /// Exponent and mantissa of each band.
    steps: Vec<(u8, u16)>,
}

impl Quantization {
    /// Of a band, counted from the lowest, at a resolution (Equation E-5).
    pub(super) fn step(&self, band: usize, resolution: u8) -> Option<(u8, u16)> {
        if !self.derived {
            return self.steps.get(band).copied();
        }
        let (exponent, mantissa) = *self.steps.first()?;
        Some((exponent.checked_sub(resolution.saturating_sub(1))?, mantissa))
    }
}

/// Styles of all components of a tile.
#[derive(Debug, Clone, Default)]
pub(super) struct Styles {
    tiling: Option<Tiling>,
    coding: Option<Coding>,
    codings: BTreeMap<u16, Coding>,
    quantization: Option<Quantization>,
    quantizations: BTreeMap<u16, Quantization>,
}

impl Styles {
    pub(super) fn tiling(&self) -> Result<Tiling, PixelError> {
        self.tiling.ok_or_else(|| damaged("no coding style"))
    }

    pub(super) fn of(&self, component: u16) -> Result<(&Coding, &Quantization), PixelError> {
        let coding = self.codings.get(&component).or(self.coding.as_ref());
        let quantization = self.quantizations.get(&component).or(self.quantization.as_ref());
        coding.zip(quantization).ok_or_else(|| damaged("no coding style or quantization"))
    }

    /// Takes a segment in, if it is about styles.
    fn segment(&mut self, marker: u8, body: &[u8]) -> Result<(), PixelError> {
        let short = || damaged("a segment is too short");
        match marker {
            0x52 => {
                let (&[style, order, l0, l1, transform], rest) =
                    body.split_first_chunk::<5>().ok_or_else(short)?;
                let order = match order {
                    0 => Order::LayerResolution,
                    1 => Order::ResolutionLayer,
                    2 => Order::ResolutionPosition,
                    3 => Order::PositionComponent,
                    4 => Order::ComponentPosition,
                    _ => return Err(damaged("no such order of packets")),
                };
                self.tiling = Some(Tiling {
                    packet_starts: style & 2 != 0,
                    header_ends: style & 4 != 0,
                    order,
                    layers: u16::from_be_bytes([l0, l1]),
                    transform: transform != 0,
                });
                self.coding = Some(coding(style, rest)?);
            }
            0x53 => {
                let (&[component, style], rest) =
                    body.split_first_chunk::<2>().ok_or_else(short)?;
                self.codings.insert(component.into(), coding(style, rest)?);
            }
            0x5c => self.quantization = Some(quantization(body)?),
            0x5d => {
                let (&component, rest) = body.split_first().ok_or_else(short)?;
                self.quantizations.insert(component.into(), quantization(rest)?);
            }
            0x5e => return Err(PixelError::Unsupported("JPEG 2000 with a region of interest")),
            0x5f => return Err(PixelError::Unsupported("JPEG 2000 with a change of order")),
            0x60 | 0x61 => {
                return Err(PixelError::Unsupported("JPEG 2000 with packed packet headers"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The part of a coding style that a component may have of its own (Table A.20).
fn coding(style: u8, body: &[u8]) -> Result<Coding, PixelError> {
    let (&[levels, width, height, block, transform], sizes) =
        body.split_first_chunk::<5>().ok_or_else(|| damaged("a coding style is too short"))?;
    let precincts = if style & 1 != 0 { sizes.to_vec() } else { Vec::new() };
    // A precinct of one sample would have bands of half a one.
    let small = precincts.iter().skip(1).any(|size| size & 15 == 0 || size >> 4 == 0);
    if levels > MAX_LEVELS || width > 8 || height > 8 || width + height > 8 || small {
        return Err(damaged("a coding style that cannot be"));
    }
    if style & 1 != 0 && precincts.len() <= usize::from(levels) {
        return Err(damaged("precincts are missing"));
    }
    if block & 0xc0 != 0 {
        return Err(PixelError::Unsupported("JPEG 2000 with high-throughput blocks among others"));
    }
    let kind = if transform == 0 { Kind::Irreversible } else { Kind::Reversible };
    Ok(Coding { levels, block: [width + 2, height + 2], style: Style(block), kind, precincts })
}

fn quantization(body: &[u8]) -> Result<Quantization, PixelError> {
    let (&style, rest) = body.split_first().ok_or_else(|| damaged("a quantization is empty"))?;
    let wide = |step: &[u8; 2]| {
        let step = u16::from_be_bytes(*step);
        ((step >> 11) as u8, step & 0x7ff)
    };
    let steps = match style & 31 {
        0 => rest.iter().map(|step| (step >> 3, 0)).collect(),
        1 | 2 => rest.as_chunks().0.iter().map(wide).collect(),
        _ => return Err(damaged("no such quantization")),
    };
    Ok(Quantization { guard: style >> 5, derived: style & 31 == 1, steps })
}

/// A tile's styles, and the bytes of its packets.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    pub(super) styles: Styles,
    pub(super) packets: Vec<u8>,
}

/// Reads all segments behind SIZ. A stream that is cut off gives the tiles that are there.
pub(super) fn tiles(size: &Size, stream: &[u8]) -> Result<BTreeMap<u16, Tile>, PixelError> {
    let mut main = Styles::default();
    let mut tiles: BTreeMap<u16, Tile> = BTreeMap::new();
    let mut rest = stream;
    while let Some((&[fill, marker, high, low], _)) = rest.split_first_chunk::<4>() {
        if fill != 0xff {
            return Err(damaged("no marker where one must be"));
        }
        if marker == 0xd9 {
            break;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(4..2 + length).ok_or_else(|| damaged("a segment is cut off"))?;
        if marker != 0x90 {
            main.segment(marker, body)?;
            rest = &rest[2 + length..];
            continue;
        }
        let &[t0, t1, l0, l1, l2, l3, _, _] = body else {
            return Err(damaged("a tile-part has no header"));
        };
        let index = u16::from_be_bytes([t0, t1]);
        if u64::from(index) >= size.tiles() {
            return Err(damaged("a tile that is not there"));
        }
        let length = match u32::from_be_bytes([l0, l1, l2, l3]) {
            0 => rest.len(),
            length => usize::try_from(length).unwrap_or(usize::MAX).min(rest.len()),
        };
        let part = rest.get(12..length).ok_or_else(|| damaged("a tile-part is too short"))?;
        let tile = tiles
            .entry(index)
            .or_insert_with(|| Tile { styles: main.clone(), packets: Vec::new() });
        tile_part(tile, part)?;
        rest = &rest[length..];
    }
    Ok(tiles)
}

/// A tile-part: segments, start of data, packets.
fn tile_part(tile: &mut Tile, mut rest: &[u8]) -> Result<(), PixelError> {
    while let Some((&[fill, marker], behind)) = rest.split_first_chunk::<2>() {
        if fill != 0xff {
            return Err(damaged("no marker where one must be"));
        }
        if marker == 0x93 {
            // Only the last tile-part may be followed by the end of the stream.
            tile.packets.extend(behind);
            return Ok(());
        }
        let length = behind.first_chunk().map_or(0, |length| u16::from_be_bytes(*length));
        let body = behind.get(2..usize::from(length));
        tile.styles.segment(marker, body.ok_or_else(|| damaged("a segment is cut off"))?)?;
        rest = &behind[usize::from(length)..];
    }
    Err(damaged("a tile-part has no data"))
}
