//! JPEG 2000 (ITU-T T.800), and HTJ2K by another maker's crate.
//!
//! ```text
//! stream ─▶ sizes, styles, tiles ─ packets ─▶ code blocks ─ mq, block ─▶ coefficients
//!           ─ wavelet ─▶ samples of a component ─ component transform, level ─▶ frame
//! ```
//!
//! Not decoded, by name: regions of interest, a change of the order of packets, packed packet
//! headers, components of several kinds.

mod block;
#[cfg(feature = "htj2k")]
mod ht;
mod mq;
mod packets;
mod stream;
mod tile;
mod tree;
mod wavelet;

use super::error::PixelError;
use super::format::PixelFormat;
use super::store;
use block::{Coder, MAX_AREA, MAX_PLANES};
use stream::{MAX_TILES, Size, Tile};
use tile::{Component, Rect};
use wavelet::Kind;

const CODEC: &str = "JPEG 2000";
/// Start of code stream, and the SIZ segment that must follow.
const START: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];

/// A frame's samples, those of a pixel side by side.
type Samples = Vec<i32>;

fn damaged(what: impl Into<String>) -> PixelError {
    PixelError::Codec { codec: CODEC, what: what.into() }
}

/// Decodes a frame; `high` says whether it may be HTJ2K.
pub(super) fn decode(
    format: &PixelFormat,
    data: &[u8],
    high: bool,
    out: &mut Vec<u8>,
) -> Result<(), PixelError> {
    let stream = code_stream(data)?;
    let (size, rest) = size(format, stream)?;
    let samples = if is_high_throughput(rest) {
        if !high {
            return Err(PixelError::Unsupported("HTJ2K in a file that says JPEG 2000"));
        }
        high_throughput(&size, stream)?
    } else {
        let mut samples = vec![0; format.frame_pixels() * usize::from(format.samples)];
        for (index, tile) in stream::tiles(&size, rest)? {
            decode_tile(&size, index, &tile, &mut samples)?;
        }
        samples
    };
    store(samples.into_iter().map(|sample| sample as u32), format, out);
    Ok(())
}

/// Whether the main header has a segment of capabilities, which HTJ2K needs (T.814, A.3).
fn is_high_throughput(mut rest: &[u8]) -> bool {
    while let Some((&[_, marker, high, low], _)) = rest.split_first_chunk::<4>() {
        match marker {
            0x50 => return true,
            0x90 => return false,
            _ => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(2 + length..).unwrap_or_default();
            }
        }
    }
    false
}

#[cfg(feature = "htj2k")]
fn high_throughput(size: &Size, stream: &[u8]) -> Result<Samples, PixelError> {
    ht::decode(size, stream)
}

#[cfg(not(feature = "htj2k"))]
fn high_throughput(_: &Size, _: &[u8]) -> Result<Samples, PixelError> {
    Err(PixelError::Unsupported("HTJ2K"))
}

/// The code stream, which some writers put into a file of boxes (T.800, annex I).
fn code_stream(data: &[u8]) -> Result<&[u8], PixelError> {
    if data.starts_with(&START) {
        return Ok(data);
    }
    let mut rest = data;
    while let Some((front, _)) = rest.split_first_chunk::<8>() {
        let [l0, l1, l2, l3, kind @ ..] = *front;
        let length = match u32::from_be_bytes([l0, l1, l2, l3]) {
            // To the end.
            0 => rest.len(),
            length => usize::try_from(length).unwrap_or(usize::MAX),
        };
        let body = rest.get(8..length).ok_or_else(|| damaged("a box is cut off"))?;
        if kind == *b"jp2c" && body.starts_with(&START) {
            return Ok(body);
        }
        rest = &rest[length..];
    }
    Err(damaged("no code stream"))
}

/// Reads the SIZ segment (T.800, section A.5.1), compares it with the file's header, and says what
/// follows it.
fn size<'s>(format: &PixelFormat, stream: &'s [u8]) -> Result<(Size, &'s [u8]), PixelError> {
    let short = || damaged("its size segment is too short");
    let length = stream.get(4..6).ok_or_else(short)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let segment = stream.get(6..4 + length).ok_or_else(short)?;
    let (front, components) = segment.split_first_chunk::<36>().ok_or_else(short)?;
    let numbers: &[[u8; 4]] = front[2..34].as_chunks().0;
    let number = |n: usize| numbers.get(n).map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let [x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0] = std::array::from_fn(number);
    let count = u16::from_be_bytes([front[34], front[35]]);
    let mismatch = |what, found: u32, expected: u16| {
        let (found, expected) = (found.into(), expected.into());
        Err(PixelError::Mismatch { codec: CODEC, what, found, expected })
    };
    let (columns, rows) = (x1.saturating_sub(x0), y1.saturating_sub(y0));
    if rows != u32::from(format.rows) {
        return mismatch("rows", rows, format.rows);
    }
    if columns != u32::from(format.columns) {
        return mismatch("columns", columns, format.columns);
    }
    if count != format.samples {
        return mismatch("components", count.into(), format.samples);
    }
    if tile_x == 0 || tile_y == 0 || tile_x0 > x0 || tile_y0 > y0 {
        return Err(damaged("tiles of no size"));
    }
    let (components, _) = components.as_chunks::<3>();
    let &[depth, ..] = components.first().ok_or_else(short)?;
    if components.len() < usize::from(count) {
        return Err(short());
    }
    let bits = (depth & 0x7f) + 1;
    let most = format.bits_allocated.min(16);
    if u16::from(bits) > most {
        return mismatch("bits", bits.into(), most);
    }
    if components.iter().any(|component| *component != [depth, 1, 1]) {
        return Err(PixelError::Unsupported("JPEG 2000 with components of several kinds"));
    }
    let size = Size {
        x: [x0, x1],
        y: [y0, y1],
        tile: [tile_x, tile_y],
        tile_start: [tile_x0, tile_y0],
        components: count,
        bits,
        signed: depth & 0x80 != 0,
    };
    if size.tiles() > MAX_TILES {
        return Err(damaged("too many tiles"));
    }
    Ok((size, &stream[4 + length..]))
}

/// A tile's place on the reference grid (Equations B-7 to B-10).
fn place(size: &Size, index: u16) -> Rect {
    let side = |n: u32, start: u32, tile: u32, image: [u32; 2]| {
        let edge = |n: u32| u64::from(start) + u64::from(n) * u64::from(tile);
        let clamp = |v: u64| v.clamp(image[0].into(), image[1].into()) as u32;
        [clamp(edge(n)), clamp(edge(n + 1))]
    };
    let (column, row) = (u32::from(index) % size.across(), u32::from(index) / size.across());
    Rect {
        x: side(column, size.tile_start[0], size.tile[0], size.x),
        y: side(row, size.tile_start[1], size.tile[1], size.y),
    }
}

fn decode_tile(
    size: &Size,
    index: u16,
    tile: &Tile,
    samples: &mut Samples,
) -> Result<(), PixelError> {
    let rect = place(size, index);
    let tiling = tile.styles.tiling()?;
    let component = |c| {
        let (coding, quantization) = tile.styles.of(c)?;
        Component::new(rect, size.bits, coding, quantization)
    };
    let mut components = (0..size.components).map(component).collect::<Result<Vec<_>, _>>()?;
    packets::read(&mut components, &tiling, &tile.packets);
    let mut coder = Coder::new();
    let mut planes = Vec::new();
    for component in &components {
        planes.push(reconstruct(component, &tile.packets, &mut coder)?);
    }
    if tiling.transform
        && let [a, b, c] = planes.as_mut_slice()
    {
        mix(components[0].kind, a, b, c);
    }
    put(size, &rect, &planes, samples);
    Ok(())
}

/// A component's samples, without level: coefficients, then level by level of the transform.
fn reconstruct(
    component: &Component,
    packets: &[u8],
    coder: &mut Coder,
) -> Result<Vec<f32>, PixelError> {
    let (width, height) = (component.rect.width(), component.rect.height());
    let mut plane = vec![0.0; width * height];
    let mut bytes = Vec::new();
    for (n, resolution) in component.resolutions.iter().enumerate() {
        let precincts = resolution.precincts.iter();
        for part in precincts.flat_map(|precinct| &precinct.parts) {
            let band = &resolution.bands[part.band];
            for block in &part.blocks {
                let Some(empty) = block.empty_planes else { continue };
                let planes = band.planes.saturating_sub(empty);
                if planes > MAX_PLANES || block.size.0 * block.size.1 > MAX_AREA {
                    return Err(damaged("more bits than a coefficient has"));
                }
                // Parts of a segment come from several packets.
                bytes.clear();
                let mut ends = Vec::new();
                for segment in &block.segments {
                    let parts = segment.parts.iter();
                    parts.for_each(|&(start, end)| bytes.extend(&packets[start..end]));
                    ends.push((bytes.len(), segment.passes));
                }
                let mut start = 0;
                let segments = ends.iter().map(|&(end, passes)| {
                    let segment = &bytes[start..end];
                    start = end;
                    (segment, passes)
                });
                coder.decode(block.size, band.orientation, component.style, planes, segments);
                for (x, y, value) in coder.coefficients() {
                    plane[(block.at.1 + y) * width + block.at.0 + x] = match component.kind {
                        Kind::Reversible => (value / 2) as f32,
                        Kind::Irreversible => value as f32 * band.half_step,
                    };
                }
            }
        }
        let size = (resolution.rect.width(), resolution.rect.height());
        if n > 0 && size.0 > 0 && size.1 > 0 {
            let start = (resolution.rect.x[0], resolution.rect.y[0]);
            wavelet::level(component.kind, &mut plane, width, size, start);
        }
    }
    Ok(plane)
}

/// The inverse component transforms (T.800, annex G).
fn mix(kind: Kind, a: &mut [f32], b: &mut [f32], c: &mut [f32]) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        let (y, u, v) = (*a, *b, *c);
        (*a, *b, *c) = match kind {
            Kind::Reversible => {
                let green = y - ((u + v) * 0.25).floor();
                (v + green, green, u + green)
            }
            Kind::Irreversible => (y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u),
        };
    }
}

/// Puts a tile's planes into the frame, with level and within the range.
fn put(size: &Size, rect: &Rect, planes: &[Vec<f32>], samples: &mut Samples) {
    let half = 1_i64 << (size.bits - 1);
    let (least, level) = if size.signed { (-half, 0) } else { (0, half) };
    let most = least + 2 * half - 1;
    let columns = (size.x[1] - size.x[0]) as usize;
    let count = planes.len();
    for (n, plane) in planes.iter().enumerate() {
        for (y, row) in plane.chunks_exact(rect.width().max(1)).enumerate() {
            let y = y + (rect.y[0] - size.y[0]) as usize;
            let start = y * columns + (rect.x[0] - size.x[0]) as usize;
            let to = samples[start * count..].iter_mut().skip(n).step_by(count);
            for (to, value) in to.zip(row) {
                // A float that is too large becomes the largest number.
                let value = (value.round_ties_even() as i64).saturating_add(level);
                *to = value.clamp(least, most) as i32;
            }
        }
    }
}
