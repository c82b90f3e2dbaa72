//! The record of a set of files that is being committed, and how its end is brought about: by its
//! owner, or by [`recover`] after him.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::part::{self, Part};
use super::{CommitError, Staged, disk, folder, turn};

/// First field of a record.
const MAGIC: &str = "monet outputs 1";

/// Last field of a record.
const END: &str = "end";

/// No record is longer than this many bytes.
const MAX_RECORD: u64 = 1 << 20;

/// A record whose owner may live elsewhere is left alone for this long: longer than any commit
/// takes.
const COMMIT: Duration = Duration::from_secs(10);

/// A file in the making whose owner may live elsewhere is left alone for this long after it was
/// last written to.
const WRITING: Duration = Duration::from_secs(24 * 60 * 60);

/// Ending of a record while the earlier files can return.
pub(super) const UNDO: &str = "undo";

/// Ending of a record when they can go.
pub(super) const DONE: &str = "done";

/// What is known of one file of the set.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// Its folder; absolute, but for the record's own, which is empty: that may have been moved or
    /// mounted elsewhere.
    folder: PathBuf,
    name: OsString,
    /// Hidden name of the new file until it has its own.
    part: OsString,
    /// Hidden name that the earlier file has stepped aside to.
    aside: OsString,
    /// Whether there is an earlier file.
    earlier: bool,
    /// Bytes of the new file.
    length: u64,
    /// When it was last changed, seconds since 1970.
    changed: u64,
}

impl Entry {
    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn aside(&self) -> PathBuf {
        self.folder.join(&self.aside)
    }

    fn part(&self) -> PathBuf {
        self.folder.join(&self.part)
    }

    /// Whether the file that has the name is the new one, or the empty one that has taken the name
    /// for it; and no other's.
    fn is_named(&self) -> bool {
        let Ok(named) = fs::symlink_metadata(self.path()) else { return false };
        match fs::symlink_metadata(self.part()) {
            _ if named.is_file() && named.len() == 0 => true,
            Ok(part) => same(&named, &part),
            // Some file systems know times to two seconds.
            Err(_) => named.len() == self.length && changed(&named).abs_diff(self.changed) <= 2,
        }
    }
}

#[cfg(unix)]
fn same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    false
}

fn changed(metadata: &fs::Metadata) -> u64 {
    let since =
        metadata.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// The files of a set, in the order in which they appear.
#[derive(Debug, PartialEq)]
struct Record(Vec<Entry>);

impl Record {
    /// Of files that lie in the folders given, in the set's order; the last is the record's own.
    fn of(set: &mut [Staged], folders: &[PathBuf], earlier: &[bool]) -> Result<Self, CommitError> {
        let own = folders.last();
        let entry = |((staged, folder), &earlier): ((&mut Staged, &PathBuf), &bool)| {
            let fill = |staged: &mut Staged| {
                let metadata = staged.part.metadata()?;
                Ok(Entry {
                    folder: if Some(folder) == own { PathBuf::new() } else { folder.clone() },
                    name: staged.path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned(),
                    part: staged.part.hide()?,
                    aside: part::hidden("old"),
                    earlier,
                    length: metadata.len(),
                    changed: changed(&metadata),
                })
            };
            fill(staged).map_err(|e| staged.failed(e))
        };
        set.iter_mut().zip(folders).zip(earlier).map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// The same where the record lies in `own`.
    fn within(mut self, own: &Path) -> Self {
        self.0
            .iter_mut()
            .filter(|e| e.folder.as_os_str().is_empty())
            .for_each(|e| e.folder = own.to_owned());
        self
    }

    /// Fields that end in a zero byte, which no name has.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut field = |bytes: &[u8]| out.extend(bytes.iter().chain(&[0]));
        field(MAGIC.as_bytes());
        for e in &self.0 {
            for name in [e.folder.as_os_str(), &e.name, &e.part, &e.aside] {
                field(name.as_encoded_bytes());
            }
            for number in [u64::from(e.earlier), e.length, e.changed] {
                field(number.to_string().as_bytes());
            }
        }
        field(END.as_bytes());
        out
    }

    /// None where it is no record, or one that names what no record of ours names.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0).collect();
        let (first, rest) = fields.split_first()?;
        let (last, fields) = rest.split_last()?;
        let (entries, []) = fields.as_chunks::<7>() else { return None };
        if *first != MAGIC.as_bytes() || *last != END.as_bytes() {
            return None;
        }
        let plain = |bytes: &[u8]| {
            let name = os_string(bytes)?;
            (Path::new(&name).file_name() == Some(&name)).then_some(name)
        };
        let hidden = |bytes: &[u8], ending| {
            plain(bytes)
                .filter(|name| name.to_str().is_some_and(|name| part::is_hidden(name, ending)))
        };
        let number = |bytes: &[u8]| str::from_utf8(bytes).ok()?.parse::<u64>().ok();
        let entry = |[folder, name, part, aside, earlier, length, changed]: &[&[u8]; 7]| {
            Some(Entry {
                folder: os_string(folder)?.into(),
                name: plain(name)?,
                part: hidden(part, part::PART)?,
                aside: hidden(aside, "old")?,
                earlier: number(earlier)? != 0,
                length: number(length)?,
                changed: number(changed)?,
            })
        };
        entries.iter().map(entry).collect::<Option<_>>().map(Self)
    }

    /// Makes the folders' names durable.
    fn sync(&self) -> io::Result<()> {
        let mut folders: Vec<&Path> = self.0.iter().map(|e| &*e.folder).collect();
        folders.sort_unstable();
        folders.dedup();
        folders.into_iter().try_for_each(disk::sync_folder)
    }

    /// Brings the earlier set back: first all new files go, then the earlier ones take their names
    /// again, the last one last. Begun anew after a crash, it ends the same.
    fn undo(&self) -> io::Result<()> {
        for e in self.0.iter().rev() {
            // An earlier file that has not stepped aside, or is back already, has the name.
            if (!e.earlier || is_there(&e.aside())) && e.is_named() {
                disk::remove(&e.path())?;
            }
        }
        for e in self.0.iter().filter(|e| is_there(&e.aside())) {
            match disk::rename_new_anywhere(&e.aside(), &e.path()) {
                // Somebody has put another file there since.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    disk::remove(&e.aside())?
                }
                renamed => renamed?,
            }
        }
        self.0.iter().try_for_each(|e| disk::remove(&e.part()))?;
        self.sync()
    }

    /// Removes the earlier set.
    fn finish(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|e| disk::remove(&e.aside()))?;
        self.sync()
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "not every system's names are bytes")]
fn os_string(bytes: &[u8]) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(bytes).to_owned())
}

#[cfg(not(unix))]
fn os_string(bytes: &[u8]) -> Option<OsString> {
    str::from_utf8(bytes).ok().map(|name| OsStr::new(name).to_owned())
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Commits a set; `earlier` says of which there are earlier files, which are replaced.
pub(super) fn commit(set: &mut [Staged], earlier: &[bool]) -> Result<(), CommitError> {
    let mut folders = Vec::with_capacity(set.len());
    for staged in &*set {
        folders.push(folder(&staged.path).canonicalize().map_err(|e| staged.failed(e))?);
    }
    let Some(own) = folders.last() else { return Ok(()) };
    let record = Record::of(set, &folders, earlier)?;
    let last = set.len() - 1;
    let (_lock, undo) = write(&record, own).map_err(|e| set[last].failed(e))?;
    let record = record.within(own);
    let done = undo.with_extension(DONE);
    let named = take_names(&record, set).and_then(|()| {
        let named = record
            .sync()
            .and_then(|()| disk::rename(&undo, &done))
            .and_then(|()| disk::sync_folder(own));
        named.map_err(|e| set[last].failed(e))
    });
    if let Err(error) = named {
        // What cannot be undone now, since the disk has gone, the next run undoes by the record.
        let unfinished = if is_there(&done) { disk::rename(&done, &undo) } else { Ok(()) };
        let _ = unfinished.and_then(|()| record.undo()).and_then(|()| disk::remove(&undo));
        return Err(error);
    }
    set.iter_mut().for_each(|staged| staged.part.appeared());
    let _ = record.finish().and_then(|()| disk::remove(&done));
    Ok(())
}

/// Makes the record durable, before the first name changes. Held, its file is locked.
fn write(record: &Record, own: &Path) -> io::Result<(Part, PathBuf)> {
    let undo = own.join(part::hidden(UNDO));
    let mut file = Part::create(own, 0o600)?;
    file.write_all(&record.encode())?;
    file.sync()?;
    match file.appear(&undo) {
        // No other file has such a name.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => file.replace(&undo)?,
        named => named?,
    }
    disk::sync_folder(own)?;
    Ok((file, undo))
}

/// Earlier files step aside, the last first; new ones take their names, the last last.
fn take_names(record: &Record, set: &[Staged]) -> Result<(), CommitError> {
    let entries = || record.0.iter().zip(set);
    for (e, staged) in entries().rev().filter(|(e, _)| e.earlier) {
        disk::rename(&e.path(), &e.aside()).map_err(|e| staged.failed(e))?;
    }
    for (e, staged) in entries() {
        disk::rename_new_anywhere(&e.part(), &e.path()).map_err(|e| staged.failed(e))?;
    }
    Ok(())
}

/// Brings to its end what processes that are dead now have begun in these folders: a set of files
/// whose names were changing returns to the earlier set or loses what is left of it, and files that
/// were never complete are removed. Files of other users and of processes that live are left alone,
/// and so are records that name a folder which is not among these. Where something cannot be done
/// it is left for the next time.
pub fn recover(folders: &[PathBuf]) {
    let known: Vec<PathBuf> =
        folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
    for own in &known {
        let left = |ending: &str| {
            let names = fs::read_dir(own)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.file_name()));
            names
                .filter(|name| name.to_str().is_some_and(|name| part::is_hidden(name, ending)))
                .map(|name| own.join(name))
                .collect::<Vec<_>>()
        };
        // Whoever wants these names waits until they are as they are to stay.
        let undo = left(UNDO);
        let _turn = if undo.is_empty() { None } else { turn(own) };
        let bring = |paths: Vec<PathBuf>, end: fn(&Record) -> io::Result<()>| {
            for path in paths {
                let Some(mut file) = part::abandoned(&path, COMMIT) else { continue };
                let Some(record) = read(&mut file) else { continue };
                let record = record.within(own);
                if record.0.iter().all(|e| known.contains(&e.folder)) {
                    let _ = end(&record).and_then(|()| disk::remove(&path));
                }
            }
        };
        bring(undo, Record::undo);
        bring(left(DONE), Record::finish);
        for path in left(part::PART) {
            if let Some(_lock) = part::abandoned(&path, WRITING) {
                let _ = disk::remove(&path);
            }
        }
    }
}

fn read(file: &mut File) -> Option<Record> {
    let mut bytes = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut bytes).ok()?;
    Record::decode(&bytes)
}
