//! Packets: which code blocks get which bytes (T.800, sections B.9 to B.12).

use super::block::Style;
use super::stream::{Order, Tiling};
use super::tile::{Block, Component, Segment};
use super::tree::HeaderBits;

/// Most passes of a code block: three for each plane that a band can have (Equation E-2).
const MAX_PASSES: u32 = 3 * (31 + 7);

/// Which precinct a packet is about: component, resolution, precinct.
type Place = (usize, usize, usize);

/// Gives all packets to their code blocks. Packets that are not there leave blocks as they are.
pub(super) fn read(components: &mut [Component], tiling: &Tiling, data: &[u8]) {
    let mut at = 0;
    for (layers, places) in sequence(components, tiling) {
        for layer in layers {
            for &(component, resolution, precinct) in &places {
                match packet(
                    &mut components[component],
                    (resolution, precinct),
                    layer,
                    tiling,
                    data,
                    at,
                ) {
                    Some(end) => at = end,
                    None => return,
                }
            }
        }
    }
}

/// The order of packets: groups of places, through each of which all layers of a range go.
fn sequence(components: &[Component], tiling: &Tiling) -> Vec<(std::ops::Range<u32>, Vec<Place>)> {
    let mut places = Vec::new();
    for (c, component) in components.iter().enumerate() {
        for (r, resolution) in component.resolutions.iter().enumerate() {
            for (p, precinct) in resolution.precincts.iter().enumerate() {
                places.push(((c, r, p), precinct.position));
            }
        }
    }
    let layers = u32::from(tiling.layers);
    match tiling.order {
        Order::LayerResolution | Order::ResolutionLayer => {
            places.sort_by_key(|((c, r, p), _)| (*r, *c, *p));
        }
        Order::ResolutionPosition => places.sort_by_key(|((c, r, p), [x, y])| (*r, *y, *x, *c, *p)),
        Order::PositionComponent => {
            places.sort_by_key(|((c, r, p), [x, y])| (*y, *x, *c, *r as u64, *p as u64));
        }
        Order::ComponentPosition => places.sort_by_key(|((c, r, p), [x, y])| (*c, *y, *x, *r, *p)),
    }
    let places: Vec<Place> = places.into_iter().map(|(place, _)| place).collect();
    match tiling.order {
        // All places for a layer, then for the next.
        Order::LayerResolution => vec![(0..layers, places)],
        Order::ResolutionLayer => {
            let groups = places.chunk_by(|a, b| a.1 == b.1);
            groups.map(|group| (0..layers, group.to_vec())).collect()
        }
        _ => places.into_iter().map(|place| (0..layers, vec![place])).collect(),
    }
}

/// Reads a packet; returns where it ends.
fn packet(
    component: &mut Component,
    (resolution, precinct): (usize, usize),
    layer: u32,
    tiling: &Tiling,
    data: &[u8],
    mut at: usize,
) -> Option<usize> {
    if tiling.packet_starts && data.get(at..at + 2) == Some(&[0xff, 0x91]) {
        at += 6;
    }
    let mut bits = HeaderBits::new(data, at);
    let style = component.style;
    let parts = &mut component.resolutions[resolution].precincts[precinct].parts;
    let mut lengths = Vec::new();
    if bits.bit()? == 1 {
        for (n, part) in parts.iter_mut().enumerate() {
            for index in 0..part.blocks.len() {
                let place = (index % part.across, index / part.across);
                let block = &mut part.blocks[index];
                let included = match block.empty_planes {
                    None => part.inclusion.is_below(place, layer + 1, &mut bits)?,
                    Some(_) => bits.bit()? == 1,
                };
                if !included {
                    continue;
                }
                if block.empty_planes.is_none() {
                    let mut planes = 0;
                    while !part.planes.is_below(place, planes + 1, &mut bits)? {
                        planes += 1;
                    }
                    block.empty_planes = Some(planes);
                }
                contribution(block, style, &mut bits, |segment, length| {
                    lengths.push((n, index, segment, length));
                })?;
            }
        }
    }
    let mut at = bits.end();
    if tiling.header_ends && data.get(at..at + 2) == Some(&[0xff, 0x92]) {
        at += 2;
    }
    for (part, block, segment, length) in lengths {
        let end = at.saturating_add(length).min(data.len());
        parts[part].blocks[block].segments[segment].parts.push((at.min(end), end));
        at = end;
    }
    Some(at)
}

/// What a packet says of an included block: passes, and the length of each segment's part.
fn contribution(
    block: &mut Block,
    style: Style,
    bits: &mut HeaderBits<'_>,
    mut part: impl FnMut(usize, usize),
) -> Option<()> {
    let mut passes = passes(bits)?;
    if block.passes + passes > MAX_PASSES {
        return None;
    }
    while bits.bit()? == 1 {
        block.length_bits += 1;
    }
    while passes > 0 {
        let full = block.segments.last().is_none_or(|segment| segment.passes == segment.most);
        if full {
            let most = most(style, block.passes);
            block.segments.push(Segment { passes: 0, most, parts: Vec::new() });
        }
        let index = block.segments.len() - 1;
        let segment = &mut block.segments[index];
        let count = passes.min(segment.most - segment.passes);
        let width = block.length_bits + count.ilog2();
        if width > 31 {
            return None;
        }
        part(index, bits.number(width)? as usize);
        segment.passes += count;
        block.passes += count;
        passes -= count;
    }
    Some(())
}

/// How many passes a segment has that begins with this pass (Table D.9).
fn most(style: Style, pass: u32) -> u32 {
    match (style.terminate(), style.bypass(), pass) {
        (true, ..) => 1,
        (_, false, _) => u32::MAX,
        (_, true, 0..10) => 10 - pass,
        (_, true, _) => [1, 2, 1][(pass % 3) as usize],
    }
}

/// The number of passes (Table B.4).
fn passes(bits: &mut HeaderBits<'_>) -> Option<u32> {
    if bits.bit()? == 0 {
        return Some(1);
    }
    if bits.bit()? == 0 {
        return Some(2);
    }
    Some(match bits.number(2)? {
        3 => match bits.number(5)? {
            31 => 37 + bits.number(7)?,
            more => 6 + more,
        },
        more => 3 + more,
    })
}
