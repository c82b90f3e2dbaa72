//! Slices that come row by row, as hosts stream them: two rows in memory at a time.

use alloc::{vec, vec::Vec};

use super::axis::Tap;
use super::{BACKGROUND, Fit};

/// Room for bringing slices to the net's size row by row.
#[derive(Debug)]
pub struct FitRows {
    fit: Fit,
    /// Along a row, for each net pixel that the slice reaches; empty where pixels are taken as they
    /// are.
    taps: Vec<Tap>,
    /// The row before the last, and the last.
    pair: [Vec<f32>; 2],
}

impl Fit {
    /// Room for [`FitRows::prepare`].
    #[must_use]
    pub fn rows(&self) -> FitRows {
        let x = self.x;
        let taps = if x.is_same() { 0..0 } else { 0..x.scaled };
        FitRows {
            fit: *self,
            taps: taps.map(|i| x.tap(i)).collect(),
            pair: [(); 2].map(|()| vec![0.0; x.source]),
        }
    }

    /// Brings a normalised slice (channel after channel, row after row) to the net's size.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn prepare(&self, slice: &[f32], net: &mut [f32]) {
        assert_eq!(slice.len(), self.channels * self.size().area(), "slice length");
        let width = self.x.source;
        self.rows().prepare(net, |channel, y, row| {
            row.copy_from_slice(&slice[(channel * self.y.source + y) * width..][..width]);
        });
    }
}

impl FitRows {
    /// Brings a slice to the net's size as [`Fit::prepare`] does, without ever holding it
    /// whole: `read(channel, y, row)` is asked for every normalised row once, in order.
    ///
    /// # Panics
    /// When the lengths are not those planned for.
    pub fn prepare(&mut self, net: &mut [f32], mut read: impl FnMut(usize, usize, &mut [f32])) {
        let Fit { channels, x, y: down, .. } = self.fit;
        let net_plane = x.net * down.net;
        assert_eq!(net.len(), channels * net_plane, "net input length");
        net.fill(BACKGROUND);
        for (channel, out) in net.chunks_exact_mut(net_plane).enumerate() {
            let rows = out.chunks_exact_mut(x.net).skip(down.before).take(down.scaled);
            let rows = rows.map(|row| &mut row[x.before..x.before + x.scaled]);
            if x.is_same() && down.is_same() {
                rows.enumerate().for_each(|(y, row)| read(channel, y, row));
                continue;
            }
            let mut due = (0..).map(|i| down.tap(i)).zip(rows).peekable();
            for y in 0..down.source {
                self.pair.swap(0, 1);
                read(channel, y, &mut self.pair[1]);
                // Taps are sorted by source row. Reading row y completes exactly those rows of the
                // net whose lower neighbour is y, so two rows of memory are enough.
                while let Some((tap, row)) = due.next_if(|(tap, _)| tap.at[1] as usize == y) {
                    let [above, below] =
                        tap.at.map(|at| &*self.pair[usize::from(at as usize == y)]);
                    mix(&self.taps, tap, [above, below], row);
                }
            }
        }
    }
}

/// One row of the net of the two that its pixels lie between.
fn mix(taps: &[Tap], down: Tap, [above, below]: [&[f32]; 2], row: &mut [f32]) {
    if taps.is_empty() {
        for ((above, below), value) in above.iter().zip(below).zip(row) {
            *value = down.mix(*above, *below);
        }
        return;
    }
    for (tap, value) in taps.iter().zip(row) {
        *value = down.mix(tap.sample(above), tap.sample(below));
    }
}
