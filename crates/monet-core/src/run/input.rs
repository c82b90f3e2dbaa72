//! What a plan takes: planes of real values, row by row.

use super::super::size::Size;
use super::{RunError, expect};

/// Real values as a net takes them, which a run asks for row by row.
pub trait Input {
    /// Planes, rows and columns.
    fn shape(&self) -> [usize; 3];

    /// The values of a row, one for each column. A run asks for each row of each plane once.
    fn row(&self, plane: usize, y: usize) -> impl Iterator<Item = f32>;
}

/// Planes in memory, in parts that each hold whole planes.
pub(super) struct Planes<'a> {
    parts: &'a [&'a [f32]],
    planes: usize,
    size: Size,
}

impl<'a> Planes<'a> {
    /// `shape`: planes, height and width.
    pub(super) fn new(parts: &'a [&'a [f32]], shape: [u32; 3]) -> Result<Self, RunError> {
        let [planes, height, width] = shape;
        let planes = planes as usize;
        let size = Size { height: height as usize, width: width as usize };
        let (plane, expected) = (size.area().max(1), planes * size.area());
        let whole: usize = parts.iter().map(|part| part.len() / plane * plane).sum();
        expect("input", parts.iter().map(|part| part.len()).sum(), expected)?;
        expect("input in whole planes", whole, expected)?;
        Ok(Self { parts, planes, size })
    }
}

impl Input for Planes<'_> {
    fn shape(&self) -> [usize; 3] {
        [self.planes, self.size.height, self.size.width]
    }

    fn row(&self, plane: usize, y: usize) -> impl Iterator<Item = f32> {
        let (mut start, mut row) = (plane * self.size.area() + y * self.size.width, &[][..]);
        for part in self.parts {
            if start < part.len() {
                row = part.get(start..start + self.size.width).unwrap_or_default();
                break;
            }
            start -= part.len();
        }
        row.iter().copied()
    }
}
