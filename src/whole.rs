//! Reads whole files that are small by nature, and refuses those that are not: `/dev/zero` has no
//! end, and memory has.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a file, of which there are at most as many as `limit` says of the first few of
/// them.
///
/// # Errors
/// What the system says; [`io::ErrorKind::FileTooLarge`] where there are more.
pub(crate) fn bytes(
    path: &Path,
    first: usize,
    limit: impl Fn(&[u8]) -> u64,
) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(first as u64).read_to_end(&mut bytes)?;
    let limit = limit(&bytes);
    file.take((limit + 1).saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let text = format!("it is longer than {limit} bytes, the most that such a file has");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// A file's text of at most so many bytes.
///
/// # Errors
/// As [`bytes`]; [`io::ErrorKind::InvalidData`] where it is no UTF-8.
pub(crate) fn text(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = bytes(path, 0, |_| limit)?;
    String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_refused_and_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(bytes(&path, 2, |_| 5).unwrap(), b"12345");
        assert_eq!(
            bytes(&path, 2, |start| start.len() as u64).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(bytes(&path, 9, |_| 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        #[cfg(target_os = "linux")]
        assert_eq!(
            bytes(Path::new("/dev/zero"), 8, |_| 1 << 16).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
