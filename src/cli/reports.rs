//! Reports of a command: to files that appear together and only when complete, or to standard
//! output. And what all commands look at before they read anything: that no output is an input or
//! another output.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use monet::atomic::{self, Staged};
use monet::package::{Net, Package};
use monet::paths::Paths;
use monet::text::shown;

use super::terminal;

/// Whether a path stands for standard output.
pub(super) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Looks at all paths of a run, once what killed runs have left in the outputs' folders is tidied
/// up. Outputs may be `-`, one of them.
///
/// # Errors
/// [`monet::paths::PathError`]; two outputs to standard output.
pub(super) fn guard<'a>(
    inputs: impl IntoIterator<Item = PathBuf>,
    outputs: impl IntoIterator<Item = &'a Path>,
    force: bool,
) -> Result<()> {
    guard_list(inputs, outputs.into_iter().map(|path| (path, false)), force)
}

/// As [`guard`], of outputs and whether each is one volume's among many: [`Paths::try_write`].
///
/// # Errors
/// As [`guard`]
pub(super) fn guard_list<'a>(
    inputs: impl IntoIterator<Item = PathBuf>,
    outputs: impl IntoIterator<Item = (&'a Path, bool)>,
    force: bool,
) -> Result<()> {
    let mut paths = Paths::new();
    inputs.into_iter().for_each(|path| paths.read(path));
    let mut printed = 0;
    for (path, tried) in outputs {
        match (is_stdout(path), tried) {
            (true, _) => printed += 1,
            (false, true) => paths.try_write(path),
            (false, false) => paths.write(path),
        }
    }
    ensure!(
        printed <= 1,
        "- stands for standard output, which can take one of the outputs asked for"
    );
    atomic::recover(&paths.folders());
    Ok(paths.check(force)?)
}

/// The files that a package was loaded from.
pub(super) fn files_of(model: Option<&Path>, package: &Package) -> Vec<PathBuf> {
    let Some(path) = model else { return Vec::new() };
    match package.net {
        Net::Onnx(_) => vec![path.to_owned(), path.with_file_name(&package.manifest.model)],
        Net::Plan(_) | Net::Image(_) => vec![path.to_owned()],
    }
}

/// Writes reports: files first, all or none, then what goes to standard output.
///
/// # Errors
/// A file that cannot be written; with `force` false one that exists; standard output that cannot
/// be written.
pub(super) fn deliver(reports: &[(Option<&Path>, String)], force: bool) -> Result<()> {
    let wanted = || reports.iter().filter_map(|(path, text)| Some(((*path)?, text)));
    let mut set = Vec::new();
    for (path, text) in wanted().filter(|(path, _)| !is_stdout(path)) {
        let staged = Staged::write(path, text.as_bytes());
        set.push(staged.with_context(|| format!("{}: cannot be written", shown(path)))?);
    }
    atomic::commit(set, force)?;
    wanted().filter(|(path, _)| is_stdout(path)).try_for_each(|(_, text)| terminal::print(text))
}

/// A file that grows beyond a limit (`ulimit -f`) ends the process by a signal, unless that is
/// ignored: then its write is an error.
#[cfg(target_os = "linux")]
pub(super) fn make_limits_errors() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Not done on other systems.
#[cfg(not(target_os = "linux"))]
pub(super) fn make_limits_errors() {}
