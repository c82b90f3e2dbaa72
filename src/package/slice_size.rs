//! Sizes of slices that somebody asks a net for.

use monet_core::SizeError;
use thiserror::Error;

use super::{Recipe, SIZE_STEP};
use crate::Size;

/// Why a net is not made for slices of a size.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SliceSizeError {
    /// It is no size.
    #[error(transparent)]
    Text(#[from] SizeError),
    /// A side is no multiple of [`SIZE_STEP`], or beyond [`Recipe::MAX_SIDE`].
    #[error("expected two multiples of {SIZE_STEP} up to {}", Recipe::MAX_SIDE)]
    Sides,
}

/// Height and width of slices, as `256x192`.
///
/// ```
/// use monet::package::slice_size;
///
/// assert_eq!(slice_size("256x192")?.height, 256);
/// assert!(slice_size("255x192").is_err() && slice_size("4x1000000").is_err());
/// # Ok::<(), monet::package::SliceSizeError>(())
/// ```
///
/// # Errors
/// [`SliceSizeError`]
pub fn slice_size(text: &str) -> Result<Size, SliceSizeError> {
    let size: Size = text.parse()?;
    let fits = |side: usize| side.is_multiple_of(SIZE_STEP) && side <= Recipe::MAX_SIDE;
    // A size has no side of 0.
    if fits(size.height) && fits(size.width) { Ok(size) } else { Err(SliceSizeError::Sides) }
}
