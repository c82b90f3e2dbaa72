//! How a convolution's result may lie over an input, so that both together take little more memory
//! than one.
//!
//! A convolution goes down its rows once. If no later step reads the input, the input's rows above
//! those still to be read are free, and the result may overwrite them. It does so if it begins a
//! number of bytes, the *lag*, before the input:
//!
//! ```text
//! arena address ──────────────────────────────────────────────────────────>
//! result   [ written rows    | rows still to be written              ]
//! input             [ free rows   | rows still to be read                ]
//!          |← lag →|         ↑    ↑
//!                            a    b          a must never pass b
//! ```
//!
//! The least lag follows from how a step proceeds:
//!
//! 1. A step works through *positions* from top to bottom, in groups. One position is one output
//!    row, or `out_step` rows of a transposed convolution.
//! 2. written(p): bytes from the result's start to the end of the last row that is written when the
//!    group that begins at position p is done.
//! 3. read(p): bytes from the input's start to the first row that position p reads. Later positions
//!    read no row above it.
//! 4. The lag is the largest written(p) − read(p).

/// A result that may overlay an input of its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlay {
    /// The block that the step reads, for the last time.
    pub(super) input: usize,
    /// The block that it writes.
    pub(super) output: usize,
    /// Bytes that the output must begin before the input.
    pub(super) lag: usize,
}

/// How a step goes down its rows: in groups, all rows of one group before those of the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descent {
    /// Most positions of a group.
    pub(super) group: usize,
    /// Output rows, without border.
    pub(super) rows: usize,
    /// Output rows from one position to the next.
    pub(super) out_step: usize,
    /// Input rows from one position to the next. Position p reads no row above row p × in_step,
    /// counted from the border's first.
    pub(super) in_step: usize,
    /// Border rows above the output's first row.
    pub(super) above: usize,
    /// Bytes of an output row and of an input row.
    pub(super) row: [usize; 2],
}

impl Descent {
    /// The least lag at which no row is written before it has been read for the last time.
    pub(super) fn lag(&self) -> usize {
        let positions = self.rows.div_ceil(self.out_step);
        let kink = positions.saturating_sub(self.group);
        // With a row to spare, for what kernels store beyond the last pixel of a row.
        let written = |p: usize| {
            (self.above + ((p + self.group) * self.out_step).min(self.rows) + 1) * self.row[0]
        };
        let read = |p: usize| p * self.in_step * self.row[1];
        // written(p) − read(p) consists of two straight pieces, as written(p) stops rising where
        // the last group begins. It is therefore largest at one of their four ends.
        [0, kink.saturating_sub(1), kink, positions.saturating_sub(1)]
            .map(|p| written(p).saturating_sub(read(p)))
            .into_iter()
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes down the rows as a step does, and says whether it never writes over a row that is still
    /// to be read.
    fn is_safe(descent: &Descent, lag: usize, group: usize) -> bool {
        let (out, input) = (0, lag);
        let positions = descent.rows.div_ceil(descent.out_step);
        (0..positions).step_by(group).all(|p| {
            let last = ((p + group) * descent.out_step).min(descent.rows);
            out + (descent.above + last) * descent.row[0]
                <= input + p * descent.in_step * descent.row[1]
        })
    }

    proptest::proptest! {
        #[test]
        fn no_row_is_written_before_it_was_read(
            rows in 1usize..80, most in 1usize..12,
            out_step in 1usize..4, in_step in 1usize..4, above in 0usize..5,
            wide in 1usize..90, broad in 1usize..90,
        ) {
            let row = [wide, broad];
            let descent = Descent { group: most, rows, out_step, in_step, above, row };
            let lag = descent.lag();
            for group in (1..=most).filter(|group| most % group == 0) {
                let safe = is_safe(&descent, lag, group);
                proptest::prop_assert!(safe, "{descent:?} at {lag} by {group}");
            }
        }
    }
}
