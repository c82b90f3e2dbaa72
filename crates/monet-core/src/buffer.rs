//! Memory whose first byte lies at a multiple of 64, as plans want it.

use alloc::{vec, vec::Vec};
use core::ops::{Deref, DerefMut};

use super::image::ALIGN;

/// Bytes that begin at a multiple of [`ALIGN`](super::ALIGN).
///
/// ```
/// let mut buffer = monet_core::Buffer::zeroed(100);
/// buffer[99] = 7;
/// assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (100, 0));
/// ```
pub struct Buffer {
    /// As many bytes, and up to 63 before and after them. Systems give memory of zeros as it is
    /// first written, but seldom where an alignment is asked for.
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// So many bytes, all 0.
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + ALIGN - 1];
        let start = bytes.as_ptr().addr().wrapping_neg() % ALIGN;
        Self { bytes, start, len }
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl core::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}
