//! Height and width, named: bare pairs get swapped.

use core::fmt;
use core::str::FromStr;

/// Rows and columns of a slice, a tensor or a window.
///
/// ```
/// use monet_core::Size;
///
/// let size: Size = "512x384".parse()?;
/// assert_eq!((size.height, size.width, size.area()), (512, 384, 196_608));
/// assert_eq!(size.to_string(), "512x384");
/// # Ok::<(), monet_core::SizeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// Of so many rows and columns.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// Pixels.
    pub const fn area(self) -> usize {
        self.height * self.width
    }
}

/// A text that is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected HEIGHTxWIDTH in pixels, such as 512x384")]
pub struct SizeError;

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let (height, width) = text.split_once('x').ok_or(SizeError)?;
        let number = |text: &str| text.parse().ok().filter(|&n| n > 0).ok_or(SizeError);
        Ok(Self { height: number(height)?, width: number(width)? })
    }
}
