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
///
/// An image holds it as it is here: `docs/plan-format.md` has the fields.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Grid {
    /// Rows and columns without the border; 0 of a tensor that is never stored.
    pub(crate) size: [u16; 2],
    /// Channels of a pixel.
    pub(crate) channels: u16,
    /// Bytes from one pixel to the next.
    pub(crate) step: u16,
    /// Rows that the memory has room for.
    pub(crate) slots: u16,
    /// The count that stands for 0.0.
    pub(crate) zero_point: u16,
    /// Pixels of a gap.
    pub(crate) gap: u32,
    /// Where the gap before slot 0 lies in the arena.
    pub(crate) offset: u32,
    /// The real value of one count.
    pub(crate) scale: f32,
}

impl Grid {
    /// Rows and columns without the border.
    pub(crate) fn size(&self) -> [usize; 2] {
        pair(self.size)
    }

    /// Rows without the border.
    pub(crate) fn height(&self) -> usize {
        self.size[0].into()
    }

    /// Columns without the border.
    pub(crate) fn width(&self) -> usize {
        self.size[1].into()
    }

    /// Channels of a pixel.
    pub(crate) fn channels(&self) -> usize {
        self.channels.into()
    }

    /// Bytes from one pixel to the next.
    pub(crate) fn step(&self) -> usize {
        self.step.into()
    }

    /// Bytes of a gap.
    pub(crate) fn gap(&self) -> usize {
        self.gap as usize * self.step()
    }

    /// What the counts stand for.
    pub(crate) fn quant(&self) -> Quant {
        Quant { scale: self.scale, zero_point: self.zero_point as u8 }
    }

    /// Bytes of the pixels of a row.
    pub(crate) fn row_len(&self) -> usize {
        self.width() * self.step()
    }

    /// Bytes of a row with its two gaps.
    pub(crate) fn line(&self) -> usize {
        self.gap() + self.pitch()
    }

    /// Bytes from one slot to the next.
    pub(crate) fn pitch(&self) -> usize {
        self.row_len() + self.gap()
    }

    /// Bytes of all slots and gaps.
    pub(crate) fn len(&self) -> usize {
        self.gap() + usize::from(self.slots) * self.pitch()
    }

    /// Arena offset of pixel (y, x) of the tensor.
    pub(crate) fn at(&self, y: usize, x: usize) -> usize {
        let slot = y.checked_rem(self.slots.into()).unwrap_or(0);
        self.offset as usize + self.gap() + slot * self.pitch() + x * self.step()
    }

    /// Arena offset of column 0 of a row that may be one of the border, for which the line of zero
    /// points at `border` stands. Without such a line it is some row's.
    pub(crate) fn row(&self, y: isize, border: Option<usize>) -> usize {
        match (usize::try_from(y), border) {
            (Ok(y), _) if y < self.height() => self.at(y, 0),
            (_, Some(border)) => border + self.gap(),
            (_, None) => self.at(0, 0),
        }
    }
}

/// A pair of 16-bit numbers as `usize`. An array's own `map` is a loop over memory in programs that
/// are built for size.
pub(crate) fn pair([first, second]: [u16; 2]) -> [usize; 2] {
    [first.into(), second.into()]
}
