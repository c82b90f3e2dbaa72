//! The inverse wavelet transforms (T.800, annex F).
//!
//! Numbers are floats in both: whole numbers of the reversible transform have at most 16 bits and a
//! few more, which floats hold exactly.

/// Which transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 5-3, whole numbers.
    Reversible,
    /// 9-7.
    Irreversible,
}

/// One level: `data` has rows of `stride` numbers, of which the first `size` are bands side by
/// side: low ones, then high ones. `start` is where the level's numbers begin in the image.
pub(super) fn level(
    kind: Kind,
    data: &mut [f32],
    stride: usize,
    size: (usize, usize),
    start: (u32, u32),
) {
    let (width, height) = size;
    let mut line = vec![0.0; width.max(height)];
    for row in data.chunks_exact_mut(stride).take(height) {
        let line = &mut line[..width];
        interleave(&row[..width], line, start.0);
        lift_line(kind, line, start.0);
        row[..width].copy_from_slice(line);
    }
    // Columns in groups, which share the rows' cache lines.
    const GROUP: usize = 16;
    let mut group = vec![[0.0; GROUP]; height];
    for x in (0..width).step_by(GROUP) {
        let count = GROUP.min(width - x);
        let lows = lows(height, start.1);
        for (y, row) in data.chunks_exact(stride).take(height).enumerate() {
            let odd = usize::from(start.1 % 2 == 1);
            let at = if y < lows { 2 * y + odd } else { 2 * (y - lows) + 1 - odd };
            group[at][..count].copy_from_slice(&row[x..x + count]);
        }
        lift_group(kind, &mut group, start.1);
        for (row, values) in data.chunks_exact_mut(stride).zip(&group) {
            row[x..x + count].copy_from_slice(&values[..count]);
        }
    }
}

/// How many of so many numbers from `start` lie at even places.
fn lows(count: usize, start: u32) -> usize {
    if start.is_multiple_of(2) { count.div_ceil(2) } else { count / 2 }
}

fn interleave(bands: &[f32], line: &mut [f32], start: u32) {
    let (low, high) = bands.split_at(lows(bands.len(), start));
    let odd = usize::from(start % 2 == 1);
    line.iter_mut().skip(odd).step_by(2).zip(low).for_each(|(to, from)| *to = *from);
    line.iter_mut().skip(1 - odd).step_by(2).zip(high).for_each(|(to, from)| *to = *from);
}

/// A step of a transform: which places (0 for even ones), and what their neighbours' sum does.
type Step = (usize, fn(f32, f32) -> f32);

fn steps(kind: Kind) -> &'static [Step] {
    match kind {
        Kind::Reversible => &[
            (0, |value, sum| value - ((sum + 2.0) * 0.25).floor()),
            (1, |value, sum| value + (sum * 0.5).floor()),
        ],
        // Table F.4.
        Kind::Irreversible => &[
            (0, |value, sum| value - 0.443_506_87 * sum),
            (1, |value, sum| value - 0.882_911_1 * sum),
            (0, |value, sum| value + 0.052_980_12 * sum),
            (1, |value, sum| value + 1.586_134_3 * sum),
        ],
    }
}

/// Scale of even and odd places before the steps.
fn scales(kind: Kind) -> Option<[f32; 2]> {
    const K: f32 = 1.230_174_1;
    (kind == Kind::Irreversible).then_some([K, 1.0 / K])
}

/// Neighbours of a place; at the ends both are the one that is there.
fn beside(at: usize, count: usize) -> (usize, usize) {
    let before = if at > 0 { at - 1 } else { at + 1 };
    let behind = if at + 1 < count { at + 1 } else { at - 1 };
    (before, behind)
}

fn lift_line(kind: Kind, line: &mut [f32], start: u32) {
    let (count, odd) = (line.len(), (start % 2) as usize);
    if count < 2 {
        // A single number at an odd place was doubled.
        line.iter_mut().for_each(|value| *value *= if odd == 1 { 0.5 } else { 1.0 });
        return;
    }
    if let Some(scales) = scales(kind) {
        line.iter_mut().enumerate().for_each(|(at, value)| *value *= scales[(at + odd) % 2]);
    }
    for (place, step) in steps(kind) {
        for at in ((place + odd) % 2..count).step_by(2) {
            let (before, behind) = beside(at, count);
            line[at] = step(line[at], line[before] + line[behind]);
        }
    }
}

fn lift_group<const N: usize>(kind: Kind, lines: &mut [[f32; N]], start: u32) {
    let (count, odd) = (lines.len(), (start % 2) as usize);
    if count < 2 {
        let half = if odd == 1 { 0.5 } else { 1.0 };
        lines.iter_mut().flatten().for_each(|value| *value *= half);
        return;
    }
    if let Some(scales) = scales(kind) {
        for (at, line) in lines.iter_mut().enumerate() {
            line.iter_mut().for_each(|value| *value *= scales[(at + odd) % 2]);
        }
    }
    for (place, step) in steps(kind) {
        for at in ((place + odd) % 2..count).step_by(2) {
            let (before, behind) = beside(at, count);
            let (before, behind) = (lines[before], lines[behind]);
            for ((value, a), b) in lines[at].iter_mut().zip(before).zip(behind) {
                *value = step(*value, a + b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_band_becomes_a_flat_image() {
        for kind in [Kind::Reversible, Kind::Irreversible] {
            for start in [(0, 0), (1, 0), (0, 1), (3, 5)] {
                let size = (9, 7);
                let mut data = vec![0.0; 9 * 7];
                for y in 0..lows(7, start.1) {
                    data[y * 9..][..lows(9, start.0)].fill(100.0);
                }
                level(kind, &mut data, 9, size, start);
                assert!(data.iter().all(|v| (v - 100.0).abs() < 0.01), "{kind:?} {start:?}");
            }
        }
    }

    #[test]
    fn a_reversible_line_comes_back() {
        // Forward by section F.4.8.1, with the same mirrored ends.
        let line: Vec<f32> = [3, 7, 1, 200, -5, 8, 9, 9, 4].map(|n: i16| n.into()).to_vec();
        for (start, count) in [(0, 9), (1, 9), (0, 8), (1, 2), (0, 2)] {
            let mut coded = line[..count].to_vec();
            for place in [1, 0] {
                for at in ((place + start) % 2..count).step_by(2) {
                    let (before, behind) = beside(at, count);
                    let sum = coded[before] + coded[behind];
                    coded[at] += match place {
                        1 => -(sum * 0.5).floor(),
                        _ => ((sum + 2.0) * 0.25).floor(),
                    };
                }
            }
            lift_line(Kind::Reversible, &mut coded, start as u32);
            assert_eq!(coded, line[..count]);
        }
    }
}
