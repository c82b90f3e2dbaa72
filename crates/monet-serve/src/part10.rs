//! Where a file's data set begins (PS3.10, section 7.1), of any file: the service itself parses no
//! header, which [`crate::sort`] has another process do.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Offset of the data set: behind preamble, `DICM` and the file meta information, whose length its
/// first element (0002,0000) says. 0 where the file does not begin so.
///
/// # Errors
/// What the system says.
pub(crate) fn data_set(file: &mut File) -> io::Result<u64> {
    const MAGIC: &[u8] = b"DICM\x02\x00\x00\x00UL\x04\x00";
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(144).read_to_end(&mut start)?;
    let length = start.get(140..).and_then(<[u8]>::first_chunk);
    Ok(match length {
        Some(length) if start[128..140] == *MAGIC => 144 + u64::from(u32::from_le_bytes(*length)),
        _ => 0,
    })
}
