//! Bits of packet headers, and the trees in them (T.800, sections B.10.1 and B.10.2).

/// A packet header's bits; a zero bit is stuffed behind a byte of ones.
pub(super) struct HeaderBits<'a> {
    data: &'a [u8],
    at: usize,
    held: u8,
    count: u32,
}

impl<'a> HeaderBits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, held: 0, count: 0 }
    }

    /// The next bit; `None` at the data's end.
    pub(super) fn bit(&mut self) -> Option<u32> {
        if self.count == 0 {
            self.count = if self.held == 0xff { 7 } else { 8 };
            self.held = *self.data.get(self.at)?;
            self.at += 1;
        }
        self.count -= 1;
        Some(u32::from(self.held >> self.count & 1))
    }

    /// The next number of so many bits.
    pub(super) fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0_u32, |number, _| Some(number.wrapping_shl(1) | self.bit()?))
    }

    /// Where the header ends.
    pub(super) fn end(&self) -> usize {
        self.at + usize::from(self.held == 0xff)
    }
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// What is known: the value is this at least.
    least: u32,
    known: bool,
}

/// A tag tree: the numbers of a grid, each known to be at least the least of its group.
#[derive(Debug)]
pub(super) struct Tree {
    /// From the leaves to the root: nodes in a row, and nodes.
    levels: Vec<(usize, Vec<Node>)>,
}

impl Tree {
    pub(super) fn new(mut across: usize, mut down: usize) -> Self {
        let node = Node { least: 0, known: false };
        let mut levels = Vec::new();
        if across == 0 || down == 0 {
            return Self { levels };
        }
        loop {
            levels.push((across, vec![node; across * down]));
            if across == 1 && down == 1 {
                return Self { levels };
            }
            (across, down) = (across.div_ceil(2), down.div_ceil(2));
        }
    }

    /// Whether a leaf's number is below a threshold.
    pub(super) fn is_below(
        &mut self,
        (x, y): (usize, usize),
        threshold: u32,
        bits: &mut HeaderBits<'_>,
    ) -> Option<bool> {
        let mut least = 0;
        for (level, (across, nodes)) in self.levels.iter_mut().enumerate().rev() {
            let node = nodes.get_mut((y >> level) * *across + (x >> level))?;
            node.least = node.least.max(least);
            while !node.known && node.least < threshold {
                if bits.bit()? == 1 {
                    node.known = true;
                } else {
                    node.least += 1;
                }
            }
            least = node.least;
            if level == 0 {
                return Some(node.known && node.least < threshold);
            }
        }
        None
    }
}
