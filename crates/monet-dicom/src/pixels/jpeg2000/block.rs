//! Coefficients of a code block, bit plane by bit plane (T.800, annex D).
//!
//! A plane has three passes: the neighbours of significant coefficients, the bits of significant
//! coefficients, the rest. Where passes are left out, a coefficient becomes the middle of the range
//! that is open, as other decoders have it (section E.1.1.2, r = 1/2).

use super::mq::{Arithmetic, Contexts, Decisions, RUN, Raw, UNIFORM, contexts};
use super::tile::Orientation;

/// Longest and highest sides multiply to this (section A.6.1).
pub(super) const MAX_AREA: usize = 4096;
/// Most planes: magnitudes have 31 bits, one of which is half a step.
pub(super) const MAX_PLANES: u32 = 30;

/// Code block style (Table A.19).
#[derive(Debug, Clone, Copy)]
pub(super) struct Style(pub(super) u8);

impl Style {
    pub(super) fn bypass(self) -> bool {
        self.0 & 1 != 0
    }

    fn reset(self) -> bool {
        self.0 & 2 != 0
    }

    pub(super) fn terminate(self) -> bool {
        self.0 & 4 != 0
    }

    fn causal(self) -> bool {
        self.0 & 8 != 0
    }

    fn symbols(self) -> bool {
        self.0 & 32 != 0
    }
}

const SIGNIFICANT: u8 = 1;
const NEGATIVE: u8 = 2;
const VISITED: u8 = 4;
const REFINED: u8 = 8;

// Significant neighbours.
const WEST: u8 = 1;
const EAST: u8 = 2;
const NORTH: u8 = 4;
const SOUTH: u8 = 8;
const NORTH_WEST: u8 = 16;
const NORTH_EAST: u8 = 32;
const SOUTH_WEST: u8 = 64;
const SOUTH_EAST: u8 = 128;
const BELOW: u8 = SOUTH | SOUTH_WEST | SOUTH_EAST;

/// Contexts of becoming significant (Table D.1), by significant neighbours.
fn contexts_of_significance(orientation: Orientation) -> [u8; 256] {
    std::array::from_fn(|near| {
        let near = near as u8;
        let count = |sides: u8| (near & sides).count_ones();
        let (beside, above) = (count(WEST | EAST), count(NORTH | SOUTH));
        let diagonal = count(NORTH_WEST | NORTH_EAST | SOUTH_WEST | SOUTH_EAST);
        let (h, v) = match orientation {
            Orientation::HighLow => (above, beside),
            _ => (beside, above),
        };
        if orientation == Orientation::HighHigh {
            return match (diagonal, h + v) {
                (3.., _) => 8,
                (2, 1..) => 7,
                (2, 0) => 6,
                (1, 2..) => 5,
                (1, 1) => 4,
                (1, 0) => 3,
                (0, sum) => sum.min(2) as u8,
            };
        }
        match (h, v, diagonal) {
            (2.., ..) => 8,
            (1, 1.., _) => 7,
            (1, 0, 1..) => 6,
            (1, 0, 0) => 5,
            (0, 2.., _) => 4,
            (0, 1, _) => 3,
            (0, 0, d) => d.min(2) as u8,
        }
    })
}

/// Decodes code blocks, one after the other in the same memory.
pub(super) struct Coder {
    width: usize,
    height: usize,
    /// With a margin of one coefficient.
    flags: Vec<u8>,
    /// Significant neighbours of each coefficient, with the same margin.
    near: Vec<u8>,
    /// In half steps, without sign.
    magnitudes: Vec<u32>,
    contexts: Contexts,
    style: Style,
    table: [u8; 256],
}

impl Coder {
    pub(super) fn new() -> Self {
        Self {
            width: 0,
            height: 0,
            flags: Vec::new(),
            near: Vec::new(),
            magnitudes: Vec::new(),
            contexts: contexts(),
            style: Style(0),
            table: [0; 256],
        }
    }

    /// Decodes a block of so many planes from its segments: bytes, and how many passes they are.
    pub(super) fn decode<'d>(
        &mut self,
        (width, height): (usize, usize),
        orientation: Orientation,
        style: Style,
        planes: u32,
        segments: impl Iterator<Item = (&'d [u8], u32)>,
    ) {
        (self.width, self.height) = (width, height);
        self.flags.clear();
        self.flags.resize((width + 2) * (height + 2), 0);
        self.near.clear();
        self.near.resize((width + 2) * (height + 2), 0);
        self.magnitudes.clear();
        self.magnitudes.resize(width * height, 0);
        self.contexts = contexts();
        self.style = style;
        self.table = contexts_of_significance(orientation);
        let mut pass = 0;
        for (data, count) in segments {
            let raw = style.bypass() && pass >= 10 && pass % 3 != 0;
            let passes = pass..pass + count;
            pass += count;
            if raw {
                self.passes(passes, planes, &mut Raw::new(data));
            } else {
                self.passes(passes, planes, &mut Arithmetic::new(data));
            }
        }
    }

    /// The block's coefficients in half steps, row by row.
    pub(super) fn coefficients(&self) -> impl Iterator<Item = (usize, usize, i32)> {
        (0..self.height).flat_map(move |y| {
            (0..self.width).map(move |x| {
                let magnitude = self.magnitudes[y * self.width + x] as i32;
                let negative = self.flags[self.flag(x, y)] & NEGATIVE != 0;
                (x, y, if negative { -magnitude } else { magnitude })
            })
        })
    }

    fn passes<D: Decisions>(
        &mut self,
        passes: std::ops::Range<u32>,
        planes: u32,
        decisions: &mut D,
    ) {
        for pass in passes {
            let Some(plane) = planes.checked_sub(1 + pass.div_ceil(3)) else { return };
            match pass % 3 {
                1 => self.propagation(plane, decisions),
                2 => self.refinement(plane, decisions),
                _ => self.cleanup(plane, decisions),
            }
            if self.style.reset() {
                self.contexts = contexts();
            }
        }
    }

    fn flag(&self, x: usize, y: usize) -> usize {
        (y + 1) * (self.width + 2) + x + 1
    }

    /// Calls for each coefficient in the order of the scan: columns of four rows.
    fn each(&mut self, mut visit: impl FnMut(&mut Self, usize, usize)) {
        for stripe in (0..self.height).step_by(4) {
            for x in 0..self.width {
                for y in stripe..(stripe + 4).min(self.height) {
                    visit(self, x, y);
                }
            }
        }
    }

    /// Which neighbours are significant. The next stripe may not be looked at.
    fn neighbours(&self, at: usize, y: usize) -> u8 {
        let all = self.near[at];
        if self.style.causal() && y % 4 == 3 { all & !BELOW } else { all }
    }

    /// Makes a coefficient significant.
    fn set(&mut self, at: usize, negative: bool) {
        self.flags[at] |= SIGNIFICANT | if negative { NEGATIVE } else { 0 };
        let row = self.width + 2;
        // Each of these neighbours sees the coefficient on its other side.
        for (start, sides) in [
            (at - row - 1, [SOUTH_EAST, SOUTH, SOUTH_WEST]),
            (at - 1, [EAST, 0, WEST]),
            (at + row - 1, [NORTH_EAST, NORTH, NORTH_WEST]),
        ] {
            self.near[start..start + 3]
                .iter_mut()
                .zip(sides)
                .for_each(|(near, side)| *near |= side);
        }
    }

    /// Decodes a sign (Tables D.2 and D.3) and makes the coefficient significant.
    fn sign<D: Decisions>(&mut self, x: usize, y: usize, plane: u32, decisions: &mut D) {
        let (at, row) = (self.flag(x, y), self.width + 2);
        let one = |at: usize| match self.flags[at] & (SIGNIFICANT | NEGATIVE) {
            SIGNIFICANT => 1,
            0 | NEGATIVE => 0,
            _ => -1,
        };
        let below = if self.style.causal() && y % 4 == 3 { 0 } else { one(at + row) };
        let h = (one(at - 1) + one(at + 1)).clamp(-1, 1);
        let v = (one(at - row) + below).clamp(-1, 1);
        let (context, flip) = match (h, v) {
            (1, 1) => (13, false),
            (1, 0) => (12, false),
            (1, _) => (11, false),
            (0, 1) => (10, false),
            (0, 0) => (9, false),
            (0, _) => (10, true),
            (_, 1) => (11, true),
            (_, 0) => (12, true),
            _ => (13, true),
        };
        let negative = decisions.decide(context, &mut self.contexts) != (flip && !D::RAW);
        self.set(at, negative);
        self.magnitudes[y * self.width + x] = 3 << plane;
    }

    fn propagation<D: Decisions>(&mut self, plane: u32, decisions: &mut D) {
        self.each(|coder, x, y| {
            let at = coder.flag(x, y);
            if coder.flags[at] & SIGNIFICANT != 0 {
                return;
            }
            let neighbours = coder.neighbours(at, y);
            if neighbours == 0 {
                return;
            }
            let context = usize::from(coder.table[usize::from(neighbours)]);
            if decisions.decide(context, &mut coder.contexts) {
                coder.sign(x, y, plane, decisions);
            }
            coder.flags[at] |= VISITED;
        });
    }

    fn refinement<D: Decisions>(&mut self, plane: u32, decisions: &mut D) {
        self.each(|coder, x, y| {
            let at = coder.flag(x, y);
            if coder.flags[at] & (SIGNIFICANT | VISITED) != SIGNIFICANT {
                return;
            }
            let context = match (coder.flags[at] & REFINED != 0, coder.neighbours(at, y)) {
                (true, _) => 16,
                (false, 0) => 14,
                (false, _) => 15,
            };
            let bit = decisions.decide(context, &mut coder.contexts);
            coder.flags[at] |= REFINED;
            let magnitude = &mut coder.magnitudes[y * coder.width + x];
            // From the middle of the range to the middle of one of its halves.
            *magnitude = if bit { *magnitude + (1 << plane) } else { *magnitude - (1 << plane) };
        });
    }

    fn cleanup<D: Decisions>(&mut self, plane: u32, decisions: &mut D) {
        for stripe in (0..self.height).step_by(4) {
            for x in 0..self.width {
                let end = (stripe + 4).min(self.height);
                let mut y = stripe;
                if self.is_run(x, stripe) {
                    if !decisions.decide(RUN, &mut self.contexts) {
                        continue;
                    }
                    let high = usize::from(decisions.decide(UNIFORM, &mut self.contexts));
                    y += high << 1 | usize::from(decisions.decide(UNIFORM, &mut self.contexts));
                    self.sign(x, y, plane, decisions);
                    y += 1;
                }
                for y in y..end {
                    let at = self.flag(x, y);
                    if self.flags[at] & (SIGNIFICANT | VISITED) == 0 {
                        let near = self.neighbours(at, y);
                        let context = usize::from(self.table[usize::from(near)]);
                        if decisions.decide(context, &mut self.contexts) {
                            self.sign(x, y, plane, decisions);
                        }
                    }
                }
            }
        }
        self.flags.iter_mut().for_each(|flags| *flags &= !VISITED);
        if self.style.symbols() {
            for _ in 0..4 {
                let _ = decisions.decide(UNIFORM, &mut self.contexts);
            }
        }
    }

    /// Whether a column of a whole stripe has neither significant coefficients nor neighbours.
    fn is_run(&self, x: usize, stripe: usize) -> bool {
        stripe + 4 <= self.height
            && (stripe..stripe + 4).all(|y| {
                let at = self.flag(x, y);
                self.flags[at] & (SIGNIFICANT | VISITED) == 0 && self.neighbours(at, y) == 0
            })
    }
}
