//! Memory of a fixed length for images and arenas, without allocation.

use super::image::ALIGN;

/// So many bytes that begin at a multiple of [`ALIGN`]: for an image in flash memory, and for an
/// arena.
///
/// ```
/// use monet_core::{ALIGN, Aligned};
///
/// static ARENA: Aligned<100> = Aligned::ZERO;
/// assert_eq!(ARENA.0.as_ptr() as usize % ALIGN, 0);
/// ```
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Aligned<const N: usize>(pub [u8; N]);

const _: () = assert!(align_of::<Aligned<1>>() == ALIGN);

impl<const N: usize> Aligned<N> {
    /// All 0.
    pub const ZERO: Self = Self([0; N]);

    /// A copy of bytes, of which there must be N.
    ///
    /// # Panics
    /// Where there are more or fewer: in a constant, the program is not built then.
    pub const fn from_slice(bytes: &[u8]) -> Self {
        assert!(bytes.len() == N, "another length than the type's");
        let Some(bytes) = bytes.first_chunk() else { return Self::ZERO };
        Self(*bytes)
    }
}

/// Bytes of working memory that the plan of an image needs, as its header says it: for the length
/// of a static arena. 0 where the bytes are too few for a header. Whether they are an image is for
/// [`Image::parse`](super::Image::parse) to say.
///
/// ```no_run
/// use monet_core::{Aligned, arena_len};
///
/// const IMAGE: &[u8] = &[0; 192]; // include_bytes!("hippocampus.image")
/// static mut ARENA: Aligned<{ arena_len(IMAGE) }> = Aligned::ZERO;
/// ```
pub const fn arena_len(image: &[u8]) -> usize {
    match image.split_at_checked(core::mem::offset_of!(super::image::record::Header, arena)) {
        Some((_, rest)) => match rest.first_chunk() {
            Some(bytes) => u32::from_le_bytes(*bytes) as usize,
            None => 0,
        },
        None => 0,
    }
}
