//! Files in a zip archive, stored or deflated (PKWARE APPNOTE 6.3), each as a [`Source`].
//!
//! 1. The end record, in the file's last 64 KiB, says where the central directory lies.
//! 2. The central directory says each entry's name, sizes and local header.
//! 3. An entry's bytes follow its local header.
//!
//! Nothing is unpacked to disk, and an entry's name is a label and never a path. An entry's header
//! is read without regard to its checksum, which takes the whole entry; [`Archive::check`] compares
//! the checksum.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Crc;

use super::error::ReadError;
use super::source::{FileSource, Inflated, Source, Window, fill};

/// Most entries of an archive.
pub const MAX_ENTRIES: u64 = 1 << 17;
/// Longest central directory.
pub const MAX_DIRECTORY: u64 = 32 << 20;

const END: [u8; 4] = *b"PK\x05\x06";
const END_LENGTH: usize = 22;
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const END64: [u8; 4] = *b"PK\x06\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Whether a file that begins like this is a zip archive.
#[must_use]
pub fn is_zip(start: &[u8]) -> bool {
    start.starts_with(&LOCAL) || start.starts_with(&END)
}

/// A zip archive.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    entries: Vec<Entry>,
    /// Which entries have the checksum that the directory says.
    checked: Vec<AtomicBool>,
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name with its folders, as the archive has it.
    pub name: String,
    /// The file's length.
    pub size: u64,
    crc: u32,
    compressed: u64,
    header: u64,
    method: u16,
    encrypted: bool,
}

impl Archive {
    /// Reads an archive's directory.
    ///
    /// # Errors
    /// [`ReadError::Zip`], [`ReadError::Io`]
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let mut file = FileSource::open(path)?;
        let entries = entries(&mut file)?;
        let checked = entries.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { path: path.to_owned(), entries, checked })
    }

    /// The files in it; folders are left out.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An entry's bytes.
    ///
    /// # Errors
    /// [`ReadError::Zip`], [`ReadError::Io`]
    pub fn source(&self, entry: &Entry) -> Result<Box<dyn Source>, ReadError> {
        unpack(FileSource::open(&self.path)?, entry)
    }

    /// Reads an entry to its end, once, and compares its length and checksum with the directory's.
    ///
    /// # Errors
    /// [`ReadError::Zip`], [`ReadError::Io`]
    pub fn check(&self, index: usize) -> Result<(), ReadError> {
        if self.checked[index].load(Ordering::Relaxed) {
            return Ok(());
        }
        let entry = &self.entries[index];
        check(&mut self.source(entry)?, entry)?;
        self.checked[index].store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether an entry's bytes have the length and the checksum that the directory says.
pub(crate) fn check(source: &mut dyn Source, entry: &Entry) -> Result<(), ReadError> {
    let mut crc = Crc::new();
    let mut length = 0;
    let mut chunk = [0; 16 << 10];
    loop {
        let count = fill(source, &mut chunk)?;
        crc.update(&chunk[..count]);
        length += count as u64;
        if count < chunk.len() {
            break;
        }
    }
    if length != entry.size {
        return Err(ReadError::Zip("an entry is shorter than the directory says"));
    }
    if crc.sum() != entry.crc {
        return Err(ReadError::Zip("an entry has another checksum than the directory says"));
    }
    Ok(())
}

/// An entry's bytes in its archive.
pub(crate) fn unpack<S: Source + 'static>(
    mut file: S,
    entry: &Entry,
) -> Result<Box<dyn Source>, ReadError> {
    if entry.encrypted {
        return Err(ReadError::Zip("an entry is encrypted"));
    }
    file.seek_to(entry.header)?;
    let header = bytes::<30, _>(&mut file)?;
    if header[..4] != LOCAL {
        return Err(ReadError::Zip("no local header where the directory says one is"));
    }
    let names = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
    let start = entry.header.checked_add(30 + names);
    let end = start.and_then(|start| start.checked_add(entry.compressed));
    let (Some(start), Some(_)) = (start, end.filter(|&end| Some(end) <= file.length())) else {
        return Err(ReadError::Zip("an entry reaches over the archive's end"));
    };
    let window = Window::new(file, start, entry.compressed)?;
    match entry.method {
        0 if entry.size == entry.compressed => Ok(Box::new(window)),
        0 => Err(ReadError::Zip("a stored entry has two lengths")),
        8 => Ok(Box::new(Inflated::new(window, Some(entry.size)))),
        _ => Err(ReadError::Zip("an entry is neither stored nor deflated: pack it anew")),
    }
}

/// What the central directory lists.
pub(crate) fn entries(file: &mut dyn Source) -> Result<Vec<Entry>, ReadError> {
    let (count, length, start) = end_record(file)?;
    if count > MAX_ENTRIES || length > MAX_DIRECTORY {
        return Err(ReadError::Zip("more entries than this reader takes"));
    }
    let end = start.checked_add(length);
    if end.is_none_or(|end| Some(end) > file.length()) {
        return Err(ReadError::Zip("the directory reaches over the archive's end"));
    }
    file.seek_to(start)?;
    let mut directory = file.take(length);
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = entry(&mut directory)?;
        if !entry.name.ends_with('/') {
            entries.push(entry);
        }
    }
    entries.shrink_to_fit();
    Ok(entries)
}

/// Number of entries, the directory's length, and its place.
fn end_record(file: &mut dyn Source) -> Result<(u64, u64, u64), ReadError> {
    const NONE: ReadError = ReadError::Zip("no end record: the archive is cut off");
    let length = file.length().ok_or(NONE)?;
    let tail_at = length.saturating_sub(END_LENGTH as u64 + 0xffff);
    file.seek_to(tail_at)?;
    let mut tail = Vec::new();
    file.take(length - tail_at).read_to_end(&mut tail)?;
    let at = tail.windows(END_LENGTH).rposition(|window| window[..4] == END).ok_or(NONE)?;
    let end = &tail[at..at + END_LENGTH];
    let (count, size, start) = (u16_at(end, 10), u32_at(end, 12), u32_at(end, 16));
    if count != u16::MAX && size != u32::MAX && start != u32::MAX {
        return Ok((count.into(), size.into(), start.into()));
    }
    let locator = at.checked_sub(20).map(|from| &tail[from..at]);
    match locator {
        Some(locator) if locator[..4] == LOCATOR => end_record_64(file, u64_at(locator, 8)),
        // An archive may have exactly that many entries.
        _ => Ok((count.into(), size.into(), start.into())),
    }
}

fn end_record_64(file: &mut dyn Source, at: u64) -> Result<(u64, u64, u64), ReadError> {
    file.seek_to(at)?;
    let end = bytes::<56, _>(file)?;
    if end[..4] != END64 {
        return Err(ReadError::Zip("no end record of 64 bits where its locator says one is"));
    }
    Ok((u64_at(&end, 32), u64_at(&end, 40), u64_at(&end, 48)))
}

/// The next entry of the central directory.
fn entry(directory: &mut impl Read) -> Result<Entry, ReadError> {
    let front = bytes::<46, _>(directory)?;
    if front[..4] != CENTRAL {
        return Err(ReadError::Zip("no entry where the directory has one"));
    }
    let mut rest = vec![0; usize::from(u16_at(&front, 28))];
    directory.read_exact(&mut rest)?;
    let name = String::from_utf8_lossy(&rest).into_owned();
    let mut extra = vec![0; usize::from(u16_at(&front, 30))];
    directory.read_exact(&mut extra)?;
    io::copy(&mut directory.take(u16_at(&front, 32).into()), &mut io::sink())?;
    // Of the 64-bit field only those numbers are there that do not fit into 32 bits.
    let mut wide = wide(&extra).chunks_exact(8).map(|number| u64_at(number, 0));
    let mut number = |at| match u32_at(&front, at) {
        u32::MAX => wide.next().ok_or(ReadError::Zip("an entry lacks its 64-bit length")),
        number => Ok(number.into()),
    };
    let (size, compressed, header) = (number(24)?, number(20)?, number(42)?);
    let (method, crc, encrypted) = (u16_at(&front, 10), u32_at(&front, 16), front[8] & 1 != 0);
    Ok(Entry { name, size, crc, compressed, header, method, encrypted })
}

/// The extra field of 64-bit numbers.
fn wide(mut extra: &[u8]) -> &[u8] {
    while let Some((front, rest)) = extra.split_at_checked(4) {
        let length = usize::from(u16_at(front, 2)).min(rest.len());
        let (field, behind) = rest.split_at(length);
        if u16_at(front, 0) == 1 {
            return field;
        }
        extra = behind;
    }
    &[]
}

fn bytes<const N: usize, R: Read + ?Sized>(source: &mut R) -> Result<[u8; N], ReadError> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

// The callers' slices are of known lengths.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;

    use super::*;

    /// An archive of one entry, and where the entry's bytes lie in it.
    fn archive(content: &[u8], deflated: bool) -> (Vec<u8>, std::ops::Range<usize>) {
        let packed = if deflated {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.to_vec()
        };
        let mut crc = Crc::new();
        crc.update(content);
        let numbers = |more: &[u16]| {
            let method = if deflated { 8_u16 } else { 0 };
            let front = [20_u16, 0, method, 0, 0].map(u16::to_le_bytes).concat();
            let sizes = [crc.sum(), packed.len() as u32, content.len() as u32];
            let sizes = sizes.map(u32::to_le_bytes).concat();
            let names = [1_u16, 0].iter().chain(more).flat_map(|n| n.to_le_bytes());
            [front, sizes, names.collect()].concat()
        };
        let mut bytes = [&LOCAL[..], &numbers(&[]), b"a", &packed].concat();
        let (start, end) = (31, bytes.len());
        bytes.extend([&CENTRAL[..], &[20, 0], &numbers(&[0; 7]), b"a"].concat());
        let length = (bytes.len() - end) as u32;
        bytes.extend([&END[..], &[0, 0, 0, 0, 1, 0, 1, 0]].concat());
        bytes.extend([length.to_le_bytes(), (end as u32).to_le_bytes()].concat());
        bytes.extend([0, 0]);
        (bytes, start..end)
    }

    fn checked(bytes: &[u8]) -> Result<(), ReadError> {
        let entries = entries(&mut Cursor::new(bytes))?;
        check(&mut unpack(Cursor::new(bytes.to_vec()), &entries[0])?, &entries[0])
    }

    proptest! {
        /// Whatever byte of an entry changes: its checksum tells, unless the bytes that come out
        /// are the same.
        #[test]
        fn a_changed_entry_is_told(
            content in prop::collection::vec(any::<u8>(), 1..2000),
            deflated: bool, at: prop::sample::Index, bits in 1_u8..,
        ) {
            let (mut bytes, place) = archive(&content, deflated);
            prop_assert!(checked(&bytes).is_ok());
            bytes[place.start + at.index(place.len())] ^= bits;
            let mut found = Vec::new();
            let entries = entries(&mut Cursor::new(&bytes)).unwrap();
            let mut source = unpack(Cursor::new(bytes.clone()), &entries[0]).unwrap();
            let same = source.read_to_end(&mut found).is_ok() && found == content;
            prop_assert_eq!(checked(&bytes).is_ok(), same);
        }
    }

    #[test]
    fn a_length_that_is_wrong_is_told() {
        let (mut bytes, place) = archive(b"some content", true);
        let size = place.end + 24;
        bytes[size] += 1;
        assert!(matches!(checked(&bytes), Err(ReadError::Zip(what)) if what.contains("shorter")));
        bytes[size] -= 2;
        assert!(matches!(checked(&bytes), Err(ReadError::Zip(what)) if what.contains("checksum")));
    }
}
