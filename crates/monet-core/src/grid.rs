//! A tensor's place in the arena.

use super::types::Quant;

/// A tensor in the arena: pixel by pixel, channels side by side, with a border of zero points
/// around it.
///
/// ```text
///           left        width       right
///         ┌─────┬───────────────────┬─────┐
///    top  │  zero points                  │   a pixel: `step` bytes, one for
///         ├─────┼───────────────────┼─────┤   each channel, then padding
///  height │     │ pixels            │     │
///         ├─────┼───────────────────┼─────┤
///  bottom │                               │
///         └─────┴───────────────────┴─────┘
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    /// Rows and columns without the border.
    pub(crate) size: [usize; 2],
    /// Channels of a pixel.
    pub(crate) channels: usize,
    /// Bytes from one pixel to the next.
    pub(crate) step: usize,
    /// Rows or columns of border: top, left, bottom, right.
    pub(crate) halo: [usize; 4],
    /// Where the border's first pixel lies in the arena.
    pub(crate) offset: usize,
    /// What the counts stand for.
    pub(crate) quant: Quant,
}

impl Grid {
    /// Bytes from one row to the next.
    pub(crate) fn row(&self) -> usize {
        (self.halo[1] + self.size[1] + self.halo[3]) * self.step
    }

    /// Rows with the border.
    pub(crate) fn rows(&self) -> usize {
        self.halo[0] + self.size[0] + self.halo[2]
    }

    /// Bytes with the border.
    pub(crate) fn len(&self) -> usize {
        self.row() * self.rows()
    }

    /// Arena offset of pixel (y, x).
    pub(crate) fn at(&self, y: usize, x: usize) -> usize {
        self.offset + (self.halo[0] + y) * self.row() + (self.halo[1] + x) * self.step
    }
}
