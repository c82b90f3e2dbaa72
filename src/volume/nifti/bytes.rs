//! A file's bytes in order. The file is opened once, decompressed where its content is gzip, and
//! read to its very end, where checksums stand.
//!
//! Knows how many bytes are wanted, and nothing of what they mean.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use flate2::bufread::GzDecoder;

use super::super::error::VolumeError;

/// Most bytes that one byte of DEFLATE data can become: a match of 258 bytes takes at least two
/// bits (RFC 1951, 3.2.5).
const MAX_EXPANSION: u64 = 1032;

/// Bytes read from the disk at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A flag by which another thread ends reading. It is looked at before each read of
/// [`BUFFER_BYTES`].
pub(super) type Stop = Option<Arc<AtomicBool>>;

/// An open file. A further pass seeks back and never opens the path again, so that a file which
/// takes the name meanwhile is not mistaken for this one.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    file: Arc<File>,
    /// The file's identity when it was opened; `None` for a pipe, which cannot be read twice.
    stamp: Option<Stamp>,
    stop: Stop,
}

/// What distinguishes a file from other files and from its own later content. A change that leaves
/// size and time of modification as they were, within the clock's grain, goes unnoticed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device and number on it.
    #[cfg(unix)]
    identity: [u64; 2],
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            identity: [metadata.dev(), metadata.ino()],
        }
    }
}

/// Bytes of an [`Input`] from its start.
pub(super) struct Stream {
    /// Its content, decompressed.
    pub(super) reader: Box<dyn Read + Send>,
    /// Bytes of it that were read.
    pub(super) at: u64,
    /// The most bytes that it can have; `None` where the file's length is not known (a pipe).
    pub(super) most: Option<u64>,
}

impl Input {
    /// Opens a file.
    pub(super) fn open(path: &Path, stop: Stop) -> Result<Self, VolumeError> {
        let open = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            Ok((file, metadata.is_file().then(|| Stamp::of(&metadata))))
        };
        let (file, stamp) = open().map_err(|e| failed(path, e))?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file), stamp, stop })
    }

    /// Whether it can be read more than once.
    pub(super) fn is_seekable(&self) -> bool {
        self.stamp.is_some()
    }

    /// Its bytes, decompressed where the content (not the name) says gzip: from the start, or from
    /// where a pipe is.
    pub(super) fn start(&self) -> Result<Stream, VolumeError> {
        self.begin().map_err(|e| failed(&self.path, e))
    }

    fn begin(&self) -> io::Result<Stream> {
        if self.is_seekable() {
            (&*self.file).rewind()?;
        }
        let watched = Watched { inner: self.file.clone(), stop: self.stop.clone() };
        decompressed(watched, self.stamp.map(|stamp| stamp.length))
    }

    /// Fails where the file changed since it was opened, or its name leads to another one now. A
    /// name that leads nowhere any more is no failure: what was opened is still whole.
    pub(super) fn check(&self) -> Result<(), VolumeError> {
        let Some(stamp) = self.stamp else { return Ok(()) };
        let changed = |found| VolumeError::Changed { path: self.path.clone(), found };
        if Stamp::of(&self.file.metadata().map_err(|e| failed(&self.path, e))?) != stamp {
            return Err(changed("it was changed"));
        }
        #[cfg(unix)]
        if fs::metadata(&self.path).is_ok_and(|now| Stamp::of(&now).identity != stamp.identity) {
            return Err(changed("another file took its name"));
        }
        Ok(())
    }
}

/// The content of a file that has so many bytes.
fn decompressed<R: Read + Send + 'static>(
    file: Watched<R>,
    length: Option<u64>,
) -> io::Result<Stream> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(if begins_member(file.fill_buf()?) {
        let reader = Box::new(Members(Some(GzDecoder::new(file))));
        Stream { reader, at: 0, most: length.map(|n| n.saturating_mul(MAX_EXPANSION)) }
    } else {
        Stream { reader: Box::new(file), at: 0, most: length }
    })
}

/// The error of a failed read of a file.
pub(super) fn failed(path: &Path, source: io::Error) -> VolumeError {
    match stopped(&source) {
        true => VolumeError::Interrupted { path: path.to_owned() },
        false => VolumeError::Open { path: path.to_owned(), source },
    }
}

/// Whether a read ended because [`Stop`] was set.
pub(super) fn stopped(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Stopped>())
}

/// The error inside a read that ended because [`Stop`] was set.
#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Stopped {}

/// The file itself. Reads that a signal cuts short are repeated; reads end once [`Stop`] is set.
struct Watched<R> {
    inner: R,
    stop: Stop,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(io::Error::other(Stopped));
            }
            match self.inner.read(out) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// Whether a gzip member begins here (a buffer may end within its two magic bytes).
fn begins_member(bytes: &[u8]) -> bool {
    matches!(bytes, [0x1f] | [0x1f, 0x8b, ..])
}

/// The members of a gzip file, one after another. Bytes behind the last member are left unread, as
/// gzip itself leaves them, since transfers and tapes pad files.
struct Members<R>(Option<GzDecoder<BufReader<R>>>);

impl<R: Read> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let n = decoder.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            // The member's checksum has been verified by now.
            let more = begins_member(decoder.get_mut().fill_buf()?);
            self.0 =
                self.0.take().filter(|_| more).map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// Gives a known number of bytes. Before it gives the last of them, it reads on to the end, since
/// only there gzip says whether its checksum holds.
pub(super) struct Whole<R> {
    inner: R,
    left: u64,
    /// Whether something followed them.
    pub(super) trailing: bool,
}

impl<R: Read> Whole<R> {
    /// Reads `length` bytes of `inner`.
    pub(super) fn new(inner: R, length: u64) -> Self {
        Self { inner, left: length, trailing: false }
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = (&mut self.inner).take(self.left).read(out)?;
        self.left -= n as u64;
        if n > 0 && self.left == 0 {
            // Bytes that follow are under the checksum, too.
            self.trailing = io::copy(&mut self.inner, &mut io::sink())? > 0;
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
            let mut given = Vec::new();
            let mut whole = Whole::new(&b"voxels"[..], length);
            whole.read_to_end(&mut given).unwrap();
            assert_eq!(given, b"voxels"[..length as usize]);
            assert_eq!(whole.trailing, follows);
        }
    }

    fn member(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn members_follow_one_another_wherever_the_buffer_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members");
        // Stored blocks, so that the first member's length moves the second one's magic over the
        // end of the buffer.
        for length in BUFFER_BYTES - 60..BUFFER_BYTES {
            let first = vec![7; length];
            std::fs::write(&path, [member(&first), member(b"second"), vec![0; 9]].concat())
                .unwrap();
            let mut given = Vec::new();
            Input::open(&path, None)
                .unwrap()
                .start()
                .unwrap()
                .reader
                .read_to_end(&mut given)
                .unwrap();
            assert_eq!(given.len(), length + 6);
            assert!(given.ends_with(b"second"));
        }
    }

    /// Is cut short by a signal before each read.
    struct Signalled<R>(R, bool);

    impl<R: Read> Read for Signalled<R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(out) }
        }
    }

    #[test]
    fn signals_are_no_errors_at_the_start_and_between_members() {
        let bytes = [member(b"first "), member(b"second")].concat();
        let watched = Watched { inner: Signalled(io::Cursor::new(bytes), false), stop: None };
        let mut text = String::new();
        decompressed(watched, None).unwrap().reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first second");
    }

    #[test]
    fn every_pass_reads_what_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "first").unwrap();
        let input = Input::open(&path, None).unwrap();
        let pass = || {
            let mut text = String::new();
            input.start().unwrap().reader.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!((pass(), pass()), ("first".into(), "first".into()));
        input.check().unwrap();
        fs::write(&other, "other").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(pass(), "first");
        #[cfg(unix)]
        assert!(input.check().unwrap_err().to_string().contains("another file took its name"));
        fs::remove_file(&path).unwrap();
        input.check().unwrap();
    }

    #[test]
    fn a_file_that_grows_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "first").unwrap();
        let input = Input::open(&path, None).unwrap();
        fs::write(&path, "longer than it was").unwrap();
        assert!(matches!(input.check(), Err(VolumeError::Changed { .. })));
    }

    #[test]
    fn reading_ends_when_it_is_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, vec![1; 3 * BUFFER_BYTES]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut stream = Input::open(&path, Some(stop.clone())).unwrap().start().unwrap();
        stop.store(true, Ordering::Relaxed);
        let error = stream.reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(stopped(&error), "{error}");
    }
}
