//! Bits of code blocks: the arithmetic decoder (T.800, annex C) and raw bits (section D.6).

/// Probability of the less probable symbol, next states, and whether symbols change places
/// (Table C.2).
const STATES: [(u16, u8, u8, bool); 47] = [
    (0x5601, 1, 1, true),
    (0x3401, 2, 6, false),
    (0x1801, 3, 9, false),
    (0x0ac1, 4, 12, false),
    (0x0521, 5, 29, false),
    (0x0221, 38, 33, false),
    (0x5601, 7, 6, true),
    (0x5401, 8, 14, false),
    (0x4801, 9, 14, false),
    (0x3801, 10, 14, false),
    (0x3001, 11, 17, false),
    (0x2401, 12, 18, false),
    (0x1c01, 13, 20, false),
    (0x1601, 29, 21, false),
    (0x5601, 15, 14, true),
    (0x5401, 16, 14, false),
    (0x5101, 17, 15, false),
    (0x4801, 18, 16, false),
    (0x3801, 19, 17, false),
    (0x3401, 20, 18, false),
    (0x3001, 21, 19, false),
    (0x2801, 22, 19, false),
    (0x2401, 23, 20, false),
    (0x2201, 24, 21, false),
    (0x1c01, 25, 22, false),
    (0x1801, 26, 23, false),
    (0x1601, 27, 24, false),
    (0x1401, 28, 25, false),
    (0x1201, 29, 26, false),
    (0x1101, 30, 27, false),
    (0x0ac1, 31, 28, false),
    (0x09c1, 32, 29, false),
    (0x08a1, 33, 30, false),
    (0x0521, 34, 31, false),
    (0x0441, 35, 32, false),
    (0x02a1, 36, 33, false),
    (0x0221, 37, 34, false),
    (0x0141, 38, 35, false),
    (0x0111, 39, 36, false),
    (0x0085, 40, 37, false),
    (0x0049, 41, 38, false),
    (0x0025, 42, 39, false),
    (0x0015, 43, 40, false),
    (0x0009, 44, 41, false),
    (0x0005, 45, 42, false),
    (0x0001, 45, 43, false),
    (0x5601, 46, 46, false),
];

/// Context of run lengths.
pub(super) const RUN: usize = 17;
/// Context without adaptation.
pub(super) const UNIFORM: usize = 18;

/// What is known of each context: state and more probable symbol.
pub(super) type Contexts = [(u8, bool); 19];

/// The contexts of a code block that begins (Table D.7).
pub(super) fn contexts() -> Contexts {
    let mut contexts = [(0, false); 19];
    contexts[0].0 = 4;
    contexts[RUN].0 = 3;
    contexts[UNIFORM].0 = 46;
    contexts
}

/// Gives a code block's decisions.
pub(super) trait Decisions {
    /// The next decision in a context.
    fn decide(&mut self, context: usize, contexts: &mut Contexts) -> bool;
    /// Whether decisions are bits as they are.
    const RAW: bool;
}

/// The arithmetic decoder. Behind the data's end it reads ones.
pub(super) struct Arithmetic<'a> {
    data: &'a [u8],
    at: usize,
    code: u32,
    interval: u32,
    count: u32,
}

impl<'a> Arithmetic<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        let code = u32::from(data.first().copied().unwrap_or(0xff)) << 16;
        let mut decoder = Self { data, at: 0, code, interval: 0x8000, count: 0 };
        decoder.byte();
        decoder.code <<= 7;
        decoder.count -= 7;
        decoder
    }

    fn at(&self, at: usize) -> u32 {
        self.data.get(at).copied().unwrap_or(0xff).into()
    }

    fn byte(&mut self) {
        let next = self.at(self.at + 1);
        if self.at(self.at) != 0xff {
            self.at += 1;
            self.code = self.code.wrapping_add(next << 8);
            self.count = 8;
        } else if next > 0x8f {
            self.code = self.code.wrapping_add(0xff00);
            self.count = 8;
        } else {
            self.at += 1;
            self.code = self.code.wrapping_add(next << 9);
            self.count = 7;
        }
    }

    fn renormalize(&mut self) {
        while self.interval & 0x8000 == 0 {
            if self.count == 0 {
                self.byte();
            }
            self.interval <<= 1;
            self.code <<= 1;
            self.count -= 1;
        }
    }
}

impl Decisions for Arithmetic<'_> {
    const RAW: bool = false;

    fn decide(&mut self, context: usize, contexts: &mut Contexts) -> bool {
        let (state, probable) = &mut contexts[context];
        let (estimate, more, less, change) = STATES[usize::from(*state)];
        let estimate = u32::from(estimate);
        self.interval -= estimate;
        let low = self.code >> 16 < estimate;
        if !low {
            self.code -= estimate << 16;
            if self.interval & 0x8000 != 0 {
                return *probable;
            }
        }
        // The smaller part of the interval belongs to the less probable symbol.
        let likely = low == (self.interval < estimate);
        if low {
            self.interval = estimate;
        }
        let symbol = *probable == likely;
        if likely {
            *state = more;
        } else {
            *state = less;
            *probable ^= change;
        }
        self.renormalize();
        symbol
    }
}

/// Bits as they are; a bit is stuffed behind a byte of ones. Behind the data's end there are
/// ones, as behind arithmetic codes.
pub(super) struct Raw<'a> {
    data: &'a [u8],
    at: usize,
    held: u8,
    count: u32,
}

impl<'a> Raw<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, held: 0, count: 0 }
    }
}

impl Decisions for Raw<'_> {
    const RAW: bool = true;

    fn decide(&mut self, _: usize, _: &mut Contexts) -> bool {
        if self.count == 0 {
            self.count = if self.held == 0xff { 7 } else { 8 };
            self.held = self.data.get(self.at).copied().unwrap_or(0xff);
            self.at += 1;
        }
        self.count -= 1;
        self.held >> self.count & 1 == 1
    }
}
