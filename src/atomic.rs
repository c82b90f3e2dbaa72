//! Files that appear under their final name only when complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::unfinished::{self, Listed};

/// A temporary file, which is on the list of unfinished ones as long as it has no other name.
pub(crate) type Temporary = NamedTempFile<Part>;

/// Its content.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    _listed: Listed,
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A temporary file in the folder where `path` is to be; dropped, it is removed.
///
/// # Errors
/// What the system says, for instance that the folder does not exist.
pub(crate) fn begin(path: &Path) -> io::Result<Temporary> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable as any program's output, not private as temporary files are; the process's umask applies.
    tempfile::Builder::new().prefix(".monet-").suffix(".part").make_in(folder, |path| {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let listed = Listed::new(path).inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(Part { file, _listed: listed })
    })
}

/// A complete file that has not its name yet; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    file: Temporary,
    path: PathBuf,
}

impl Staged {
    /// Makes a temporary file durable.
    pub(crate) fn new(file: Temporary, path: &Path) -> io::Result<Self> {
        file.as_file().file.sync_all()?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes a whole file.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut file = begin(path)?;
        file.write_all(bytes)?;
        Self::new(file, path)
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name; with `overwrite` false an existing file is kept and is an error.
    pub(crate) fn commit(self, overwrite: bool) -> io::Result<()> {
        let Self { file, path } = self;
        unfinished::naming(|| {
            let named = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
            named.map(drop).map_err(|e| e.error)
        })
    }
}
