//! Files that appear under their final name only when complete.

use std::fs;
use std::io;
use std::path::Path;

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

/// Makes the file durable and gives it its name; with `overwrite` false an existing file is kept and is an error.
///
/// # Errors
/// What the system says.
pub(crate) fn finish(file: NamedTempFile, path: &Path, overwrite: bool) -> io::Result<()> {
    file.as_file().sync_all()?;
    let named = if overwrite { file.persist(path) } else { file.persist_noclobber(path) };
    named.map(drop).map_err(|e| e.error)
}
