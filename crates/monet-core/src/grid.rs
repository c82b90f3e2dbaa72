//! A tensor's place in the arena.

use super::types::Quant;

/// A tensor in the arena: row by row, pixel by pixel, channels side by side.
///
/// - Between rows lies a *gap* of zero points, which is the right border of one row and the left
///   border of the next.
/// - The memory has *slots* for so many rows. Row y lies in slot y modulo their number: a tensor of
///   fewer slots than rows is a ring, and a row takes the place of the one that is no longer read.
/// - Rows above the first and below the last one, the upper and lower border, are not stored. A
///   step that reads some has a line of zero points elsewhere, which stands for all of them.
///
/// ```text
///           gap   pixels             gap
///         ┌─────┬───────────────────┬─────┐
///  slot 0       │ row 0, 4, 8, …    │  ← the left border of slot 1 too
///         ┌─────┼───────────────────┼─────┤   a pixel: `step` bytes, one for
///  slot 1       │ row 1, 5, 9, …    │         each channel, then padding
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
    /// Pixels of a gap.
    pub(crate) gap: usize,
    /// Rows that the memory has room for.
    pub(crate) slots: usize,
    /// Where the gap before slot 0 lies in the arena.
    pub(crate) offset: usize,
    /// Where the line of zero points lies in the arena, while a step reads rows of the border.
    pub(crate) border: Option<usize>,
    /// What the counts stand for.
    pub(crate) quant: Quant,
}

impl Grid {
    /// Bytes of a row with its two gaps.
    pub(crate) fn line(&self) -> usize {
        (self.gap + self.size[1] + self.gap) * self.step
    }

    /// Bytes from one slot to the next.
    pub(crate) fn pitch(&self) -> usize {
        (self.size[1] + self.gap) * self.step
    }

    /// Bytes of all slots and gaps.
    pub(crate) fn len(&self) -> usize {
        self.gap * self.step + self.slots * self.pitch()
    }

    /// Arena offset of pixel (y, x) of the tensor.
    pub(crate) fn at(&self, y: usize, x: usize) -> usize {
        let slot = y.checked_rem(self.slots).unwrap_or(0);
        self.offset + self.gap * self.step + slot * self.pitch() + x * self.step
    }

    /// Arena offset of column 0 of a row that may be one of the border. Without a line of zero
    /// points it is some row's.
    pub(crate) fn row(&self, y: isize) -> usize {
        match (usize::try_from(y), self.border) {
            (Ok(y), _) if y < self.size[0] => self.at(y, 0),
            (_, Some(border)) => border + self.gap * self.step,
            (_, None) => self.at(0, 0),
        }
    }
}
