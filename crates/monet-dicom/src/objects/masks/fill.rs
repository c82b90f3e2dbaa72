//! Filling polygons: a pixel is inside if its centre is, by the even-odd rule.
//!
//! Each edge flips, in every row whose centres it passes, the first pixel behind it. Row by row,
//! a pixel is inside where the flips up to it are odd in number. So edges come in any order and
//! are not kept.

/// A plane in which polygons are filled.
#[derive(Debug, Clone)]
pub(super) struct Fill {
    rows: usize,
    columns: usize,
    flips: Vec<bool>,
}

impl Fill {
    pub(super) fn new([rows, columns]: [u16; 2]) -> Self {
        let (rows, columns) = (usize::from(rows), usize::from(columns));
        Self { rows, columns, flips: vec![false; rows * columns] }
    }

    /// Empties the plane.
    pub(super) fn clear(&mut self) {
        self.flips.fill(false);
    }

    /// Adds a polygon's edge, from one column and row to another.
    pub(super) fn edge(&mut self, from: [f64; 2], to: [f64; 2]) {
        let ([ax, ay], [bx, by]) = if from[1] <= to[1] { (from, to) } else { (to, from) };
        // Rows y with ay <= y < by; the casts saturate.
        let rows = (ay.ceil().max(0.0) as usize)..(by.ceil().clamp(0.0, self.rows as f64) as usize);
        for row in rows {
            let x = ax + (bx - ax) * (row as f64 - ay) / (by - ay);
            let column = x.ceil().max(0.0) as usize;
            if column < self.columns {
                self.flips[row * self.columns + column] ^= true;
            }
        }
    }

    /// Whether each pixel is inside, row by row.
    pub(super) fn inside(&self) -> impl Iterator<Item = bool> {
        self.flips.chunks(self.columns.max(1)).flat_map(|row| {
            row.iter().scan(false, |inside, flip| {
                *inside ^= flip;
                Some(*inside)
            })
        })
    }
}
