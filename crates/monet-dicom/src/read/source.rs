//! Where bytes come from: a file, a part of one, memory, compressed data.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::DeflateDecoder;

use super::keep::MAX_INFLATED;

/// Bytes that can be read from any place on.
pub trait Source: Read + Send {
    /// Goes to a byte, counted from the start. A place behind the end may be an error at once or
    /// when it is read.
    ///
    /// # Errors
    /// What the system says, or that compressed data is damaged.
    fn seek_to(&mut self, offset: u64) -> io::Result<()>;

    /// How many bytes there are, where that is known without reading all of them.
    fn length(&self) -> Option<u64>;
}

impl Source for Box<dyn Source> {
    fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        (**self).seek_to(offset)
    }

    fn length(&self) -> Option<u64> {
        (**self).length()
    }
}

impl<T: AsRef<[u8]> + Send> Source for Cursor<T> {
    fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        self.set_position(offset);
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.get_ref().as_ref().len() as u64)
    }
}

/// A file of a file system.
#[derive(Debug)]
pub struct FileSource {
    reader: BufReader<File>,
    at: u64,
    length: u64,
}

impl FileSource {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidInput`] for what is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
        }
        Ok(Self { reader: BufReader::new(file), at: 0, length: metadata.len() })
    }
}

impl Read for FileSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Source for FileSource {
    fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        let away = offset.checked_signed_diff(self.at);
        let away = away.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // A near place stays in the buffer.
        self.reader.seek_relative(away)?;
        self.at = offset;
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}

/// A part of a source.
#[derive(Debug)]
pub(crate) struct Window<S> {
    inner: S,
    start: u64,
    length: u64,
    at: u64,
}

impl<S: Source> Window<S> {
    /// `length` bytes from byte `start`.
    pub(crate) fn new(mut inner: S, start: u64, length: u64) -> io::Result<Self> {
        inner.seek_to(start)?;
        Ok(Self { inner, start, length, at: 0 })
    }
}

impl<S: Source> Read for Window<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..most])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<S: Source> Source for Window<S> {
    fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        let place = self.start.checked_add(offset);
        self.inner.seek_to(place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?)?;
        self.at = offset;
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}

/// Deflated bytes, inflated as they are read. A place further on is reached by inflating up to it,
/// a place before by inflating from the start.
pub(crate) struct Inflated<S> {
    // `None` only while the decoder is made anew.
    decoder: Option<DeflateDecoder<BufReader<S>>>,
    at: u64,
    length: Option<u64>,
}

impl<S: Source> Inflated<S> {
    /// What `inner` gives when it is inflated, so many bytes if that is known.
    pub(crate) fn new(inner: S, length: Option<u64>) -> Self {
        let decoder = Some(DeflateDecoder::new(BufReader::new(inner)));
        Self { decoder, at: 0, length }
    }

    fn restart(&mut self) -> io::Result<()> {
        let decoder = self.decoder.take().ok_or_else(damaged)?;
        let mut inner = decoder.into_inner().into_inner();
        let gone = inner.seek_to(0);
        self.decoder = Some(DeflateDecoder::new(BufReader::new(inner)));
        self.at = 0;
        gone
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "compressed data is damaged")
}

/// The error inside an [`io::Error`] that says that too much comes out of compressed data.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_INFLATED} bytes come out of the compressed data")]
pub(super) struct TooMuch;

impl<S: Source> Read for Inflated<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = self.length.unwrap_or(MAX_INFLATED).min(MAX_INFLATED);
        let left = usize::try_from(limit - self.at.min(limit)).unwrap_or(usize::MAX);
        if left == 0 && self.length.is_none() && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TooMuch));
        }
        let most = left.min(buffer.len());
        let decoder = self.decoder.as_mut().ok_or_else(damaged)?;
        let count = decoder.read(&mut buffer[..most])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<S: Source> Source for Inflated<S> {
    fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        if offset < self.at {
            self.restart()?;
        }
        let mut scratch = [0; 8 << 10];
        while self.at < offset {
            let step = usize::try_from(offset - self.at).unwrap_or(usize::MAX).min(scratch.len());
            if self.read(&mut scratch[..step])? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// Reads until the buffer is full or the source ends, and says how much there was.
pub(crate) fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
