//! Files that appear under their final name only when complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A temporary file in the folder where `path` is to be; dropped, it is removed.
///
/// # Errors
/// What the system says, for instance that the folder does not exist.
pub(crate) fn begin(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".monet-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any program's output, not private as a temporary file; the process's umask applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// A complete file that has not its name yet; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    /// Makes a temporary file durable.
    pub(crate) fn new(file: NamedTempFile, path: &Path) -> io::Result<Self> {
        file.as_file().sync_all()?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes a whole file.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut file = begin(path)?;
        io::Write::write_all(&mut file, bytes)?;
        Self::new(file, path)
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name; with `overwrite` false an existing file is kept and is an error.
    pub(crate) fn commit(self, overwrite: bool) -> io::Result<()> {
        let Self { file, path } = self;
        let named = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        named.map(drop).map_err(|e| e.error)
    }
}
