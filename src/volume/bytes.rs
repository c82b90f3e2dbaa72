//! A file's bytes in order: opened, decompressed where its content is gzip, and checked to the very end.
//!
//! Knows nothing of headers and voxels but their count.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

/// Bytes that a byte of DEFLATE data can become at most: a match of 258 bytes takes at least two bits (RFC 1951, 3.2.5).
const MAX_EXPANSION: u64 = 1032;

/// Bytes read from the disk at once.
const BUFFER_BYTES: usize = 64 << 10;

/// An open file.
pub(super) struct Opened {
    /// Its content, decompressed.
    pub(super) reader: Box<dyn Read + Send>,
    /// The most bytes that `reader` can give; `None` where the file's length is not known (a pipe).
    pub(super) most: Option<u64>,
}

/// Opens a file for buffered reading, decompressing where the content (not the name) says gzip.
///
/// # Errors
/// What the system says.
pub(super) fn open(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let length = metadata.is_file().then_some(metadata.len());
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(if begins_member(file.fill_buf()?) {
        let reader = Box::new(Members(Some(GzDecoder::new(file))));
        Opened { reader, most: length.map(|n| n.saturating_mul(MAX_EXPANSION)) }
    } else {
        Opened { reader: Box::new(file), most: length }
    })
}

/// Whether a gzip member begins here (a buffer may end within its two magic bytes).
fn begins_member(bytes: &[u8]) -> bool {
    matches!(bytes, [0x1f] | [0x1f, 0x8b, ..])
}

/// The members of a gzip file, one after another. What follows the last one is left unread, as gzip itself does:
/// transfers and tapes pad files.
struct Members(Option<GzDecoder<BufReader<File>>>);

impl Read for Members {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let n = decoder.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            // The member's checksum has been verified by now.
            let more = begins_member(decoder.get_mut().fill_buf()?);
            self.0 = self.0.take().filter(|_| more).map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// Gives a known number of bytes, and looks past the last of them before it hands it out: only there does gzip tell whether
/// its checksum holds.
pub(super) struct Whole<R> {
    inner: R,
    left: u64,
    trailing: Arc<AtomicBool>,
}

impl<R: Read> Whole<R> {
    /// Reads `length` bytes of `inner`; `trailing` becomes true when something follows them.
    pub(super) fn new(inner: R, length: u64, trailing: Arc<AtomicBool>) -> Self {
        Self { inner, left: length, trailing }
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = (&mut self.inner).take(self.left).read(out)?;
        self.left -= n as u64;
        if n > 0 && self.left == 0 {
            // To the end, since every byte that follows is under the checksum, too.
            let more = io::copy(&mut self.inner, &mut io::sink())?;
            self.trailing.store(more > 0, Ordering::Relaxed);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_noticed_and_not_given() {
        for (length, follows) in [(4, true), (6, false)] {
            let trailing = Arc::new(AtomicBool::new(false));
            let mut given = Vec::new();
            Whole::new(&b"voxels"[..], length, trailing.clone()).read_to_end(&mut given).unwrap();
            assert_eq!(given, b"voxels"[..length as usize]);
            assert_eq!(trailing.load(Ordering::Relaxed), follows);
        }
    }

    #[test]
    fn members_follow_one_another_wherever_the_buffer_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members");
        let member = |bytes: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            io::Write::write_all(&mut out, bytes).unwrap();
            out.finish().unwrap()
        };
        // Stored blocks, so that the first member's length moves the second one's magic over the end of the buffer.
        for length in BUFFER_BYTES - 60..BUFFER_BYTES {
            let first = vec![7; length];
            std::fs::write(&path, [member(&first), member(b"second"), vec![0; 9]].concat()).unwrap();
            let mut given = Vec::new();
            open(&path).unwrap().reader.read_to_end(&mut given).unwrap();
            assert_eq!(given.len(), length + 6);
            assert!(given.ends_with(b"second"));
        }
    }
}
