//! How far a result must lie before an input to be allowed to overwrite it, so that both together
//! take little more than one.
//!
//! A convolution goes down its rows once: rows of the input above those that are still to be read
//! are free, if nobody reads it after that. A result that begins a *lag* of bytes before the input
//! never catches up with the reading.

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

/// How a step goes down its rows: by groups, all rows of one before those of the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descent {
    /// Groups end at multiples of at most this many positions.
    pub(super) group: usize,
    /// Output rows, without border.
    pub(super) rows: usize,
    /// Output rows from one position to the next.
    pub(super) out_step: usize,
    /// Input rows from one position to the next; position p reads none above row p × in_step, the
    /// border's first being row 0.
    pub(super) in_step: usize,
    /// Border rows above the output's first.
    pub(super) above: usize,
    /// Bytes of an output row and of an input row.
    pub(super) row: [usize; 2],
}

impl Descent {
    /// The least lag at which no row is written before it has been read for the last time.
    pub(super) fn lag(&self) -> usize {
        let positions = self.rows.div_ceil(self.out_step);
        let kink = positions.saturating_sub(self.group);
        // Written when the group that begins at a position is done, with a row to spare for what is
        // stored beyond the last pixel.
        let written = |p: usize| {
            (self.above + ((p + self.group) * self.out_step).min(self.rows) + 1) * self.row[0]
        };
        // Bytes of the input that may be overwritten by then. The difference is greatest at an end
        // of its two straight pieces.
        let read = |p: usize| p * self.in_step * self.row[1];
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

    /// Goes down the rows as a step does and looks at what it meets.
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
