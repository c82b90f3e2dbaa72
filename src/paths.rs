//! All paths of a run, looked at before anything is read: no output is an input or another output,
//! and each of them can be written.
//!
//! Files are the same where device and inode are, whatever they are called; files that do not exist
//! yet, where folder and name are, as the folder's file system compares names. Both files of an
//! `.hdr`/`.img` pair are inputs where one of them is.

mod name;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use name::VolumeName;

use crate::atomic;
use crate::text::shown;

/// Why a run cannot write what it is to write.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PathError {
    /// The output exists already.
    #[error(
        "{}: exists already: choose another name, or have it replaced (--force, in a library \
         overwrite)",
        shown(path)
    )]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The run reads this file.
    #[error(
        "{}: is the input {} as well as an output: choose another output",
        shown(path),
        shown(input)
    )]
    Input {
        /// The output.
        path: PathBuf,
        /// The input, as it was named.
        input: PathBuf,
    },
    /// Two outputs are one file.
    #[error(
        "{}: two outputs have this name (the other is given as {}): choose names that differ, or \
         segment inputs of one name apart",
        shown(path),
        shown(other)
    )]
    Twice {
        /// One of them.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// There is no such folder.
    #[error(
        "{}: the folder {} does not exist: make it, or choose another",
        shown(path),
        shown(folder)
    )]
    NoFolder {
        /// The output.
        path: PathBuf,
        /// The folder that it was to be in.
        folder: PathBuf,
    },
    /// Nothing can be written in the folder.
    #[error("{}: nothing can be written in the folder {}", shown(path), shown(folder))]
    ReadOnly {
        /// The output.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What has the name is no regular file.
    #[error("{}: is {found}, expected a new name or that of a file: {advice}", shown(path))]
    NoFile {
        /// The output.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The system does not take the name.
    #[error("{}: cannot be the name of a file", shown(path))]
    Name {
        /// The output.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What a run reads and writes.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    reads: Vec<PathBuf>,
    writes: Vec<Output>,
}

#[derive(Debug, Clone)]
struct Output {
    path: PathBuf,
    /// Whether something may have its name by now: see [`Paths::try_write`].
    tried: bool,
}

/// What two paths to one file have in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Device and inode.
    File(u64, u64),
    /// Folder and name.
    Place(PathBuf, OsString),
    /// Folder and name without `.hdr` or `.img`.
    Pair(PathBuf, OsString),
}

impl Paths {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input. Whether it is there is told when it is opened.
    pub fn read(&mut self, path: impl Into<PathBuf>) {
        self.reads.push(path.into());
    }

    /// Adds an output.
    pub fn write(&mut self, path: impl Into<PathBuf>) {
        self.writes.push(Output { path: path.into(), tried: false });
    }

    /// Adds an output of one volume among many. [`Paths::check`] passes it whatever has its name:
    /// that costs this volume alone, and is told when its turn comes.
    pub fn try_write(&mut self, path: impl Into<PathBuf>) {
        self.writes.push(Output { path: path.into(), tried: true });
    }

    /// The folders of the outputs, each once.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let folders: BTreeSet<&Path> =
            self.writes.iter().map(|output| atomic::folder(&output.path)).collect();
        folders.into_iter().map(Path::to_owned).collect()
    }

    /// Looks at all of them; with `overwrite`, outputs may be regular files that exist.
    ///
    /// # Errors
    /// [`PathError`], of the first output that cannot be.
    pub fn check(&self, overwrite: bool) -> Result<(), PathError> {
        let mut folders = Folders::default();
        let (mut inputs, mut outputs, mut any_case) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for path in &self.reads {
            for key in folders.keys(path, fs::metadata(path).ok().as_ref()) {
                inputs.entry(key).or_insert(path);
            }
        }
        for Output { path, tried } in &self.writes {
            let keys = folders.keys(path, fs::symlink_metadata(path).ok().as_ref());
            if let Some(input) = keys.iter().find_map(|key| inputs.get(key)) {
                return Err(PathError::Input { path: path.clone(), input: (*input).clone() });
            }
            match folders.look(path, overwrite) {
                Err(PathError::Exists { .. } | PathError::NoFile { .. }) if *tried => {}
                looked => looked?,
            }
            let same = keys.into_iter().filter(|key| !matches!(key, Key::Pair(..)));
            let same = same.filter_map(|key| outputs.insert(key, path)).last();
            let folded = folders.folded(path).and_then(|key| any_case.insert(key, path));
            if let Some(other) =
                same.or(folded.filter(|_| atomic::folds_case(atomic::folder(path))))
            {
                return Err(PathError::Twice { path: path.clone(), other: other.clone() });
            }
        }
        Ok(())
    }
}

/// Folders as named and where they are, and those that were tried by writing.
#[derive(Default)]
struct Folders(BTreeMap<PathBuf, PathBuf>, BTreeSet<PathBuf>);

impl Folders {
    /// Where a folder is; none where there is none.
    fn find(&mut self, folder: &Path) -> io::Result<&Path> {
        if !self.0.contains_key(folder) {
            self.0.insert(folder.to_owned(), folder.canonicalize()?);
        }
        Ok(&self.0[folder])
    }

    fn keys(&mut self, path: &Path, metadata: Option<&Metadata>) -> Vec<Key> {
        let mut keys: Vec<Key> = metadata.and_then(node).into_iter().collect();
        let (Some(name), Ok(folder)) = (path.file_name(), self.find(atomic::folder(path))) else {
            return keys;
        };
        keys.push(Key::Place(folder.to_owned(), name.to_owned()));
        keys.extend(pair(name).map(|stem| Key::Pair(folder.to_owned(), stem.to_owned())));
        keys
    }

    /// Folder and name in small letters: the same file where a file system does not tell cases
    /// apart.
    fn folded(&mut self, path: &Path) -> Option<(PathBuf, String)> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        Some((self.find(atomic::folder(path)).ok()?.to_owned(), name))
    }

    /// Whether an output can be written.
    fn look(&mut self, path: &Path, overwrite: bool) -> Result<(), PathError> {
        let named = || path.to_owned();
        let folder = atomic::folder(path);
        match self.find(folder) {
            Ok(found) if !found.is_dir() => {
                return Err(PathError::Name {
                    path: named(),
                    source: io::ErrorKind::NotADirectory.into(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PathError::NoFolder { path: named(), folder: folder.to_owned() });
            }
            Err(source) => return Err(PathError::Name { path: named(), source }),
            Ok(_) => {}
        }
        let found = fs::symlink_metadata(path);
        let is_folder =
            path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let earlier = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(PathError::Name { path: named(), source }),
            Ok(metadata) => Some(metadata),
        };
        let kind = earlier.as_ref().map(Metadata::file_type);
        if is_folder || kind.is_some_and(|kind| !kind.is_file()) {
            let (found, advice) = what(kind.filter(|_| !is_folder));
            return Err(PathError::NoFile { path: named(), found, advice });
        }
        if earlier.is_some() && !overwrite {
            return Err(PathError::Exists { path: named() });
        }
        if self.1.insert(folder.to_owned()) {
            let folder = || folder.to_owned();
            atomic::begin(path).map_err(|source| PathError::ReadOnly {
                path: named(),
                folder: folder(),
                source,
            })?;
        }
        Ok(())
    }
}

/// What is no regular file, and what is to be done about it.
fn what(kind: Option<FileType>) -> (&'static str, &'static str) {
    match kind {
        None => ("a folder", "add the name of a file"),
        Some(kind) if kind.is_dir() => ("a folder", "add the name of a file"),
        Some(kind) if kind.is_symlink() => ("a link", "name what it points to"),
        Some(_) => {
            ("a pipe, a device or a socket", "write a file; a report goes to standard output as -")
        }
    }
}

/// What both files of an `.hdr`/`.img` pair are called.
fn pair(name: &OsStr) -> Option<&OsStr> {
    let name = VolumeName::of(name);
    (name.is_any(&["hdr", "img"]) && name.is_read()).then_some(name.stem)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "not every system tells")]
fn node(metadata: &Metadata) -> Option<Key> {
    use std::os::unix::fs::MetadataExt;
    Some(Key::File(metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn node(_: &Metadata) -> Option<Key> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reads: &[&Path], writes: &[&Path], overwrite: bool) -> Result<(), PathError> {
        let mut paths = Paths::new();
        reads.iter().for_each(|path| paths.read(*path));
        writes.iter().for_each(|path| paths.write(*path));
        paths.check(overwrite)
    }

    #[test]
    fn an_output_is_no_input_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let [input, other] = ["scan.nii", "other.nii"].map(at);
        fs::write(&input, "in").unwrap();
        fs::create_dir(at("sub")).unwrap();
        for same in [input.clone(), at("sub/../scan.nii"), at("./scan.nii")] {
            for overwrite in [false, true] {
                let checked = check(&[&input], &[&same], overwrite);
                assert!(matches!(checked, Err(PathError::Input { .. })), "{same:?}: {checked:?}");
            }
        }
        check(&[&input], &[&other], false).unwrap();
        fs::write(at("earlier"), "").unwrap();
        assert!(matches!(
            check(&[&input], &[&at("earlier")], false),
            Err(PathError::Exists { .. })
        ));
        check(&[&input], &[&at("earlier")], true).unwrap();
        // Not there yet: what one volume gives cannot be the next one's input.
        assert!(matches!(check(&[&input, &other], &[&other], false), Err(PathError::Input { .. })));
        // Inputs may be named twice.
        check(&[&input, &input], &[&other], false).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("scan.nii"), "in").unwrap();
        fs::hard_link(at("scan.nii"), at("hard.nii")).unwrap();
        fs::create_dir(at("sub")).unwrap();
        std::os::unix::fs::symlink(at("scan.nii"), at("soft.nii")).unwrap();
        std::os::unix::fs::symlink(folder.path(), at("here")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        let error = |read: &str, written: &str| check(&[&at(read)], &[&at(written)], true);
        assert!(matches!(error("scan.nii", "hard.nii"), Err(PathError::Input { .. })));
        assert!(matches!(error("soft.nii", "scan.nii"), Err(PathError::Input { .. })));
        assert!(matches!(error("scan.nii", "here/scan.nii"), Err(PathError::Input { .. })));
        for link in ["soft.nii", "dangling"] {
            assert!(matches!(
                error("hard.nii", link),
                Err(PathError::NoFile { found: "a link", .. })
            ));
        }
        let twice = check(&[], &[&at("new"), &at("here/new")], true);
        assert!(matches!(twice, Err(PathError::Twice { .. })));
    }

    #[test]
    fn both_files_of_a_pair_are_inputs() {
        let at = |name: &str| std::env::temp_dir().join(name);
        for (read, written, meet) in [
            ("p.hdr", "p.img", true),
            ("p.img.gz", "p.hdr.gz", true),
            ("P.HDR", "P.IMG", true),
            ("p.hdr", "p.png", false),
            ("p.nii", "p.img", false),
            ("p.hdr", "q.img", false),
        ] {
            let checked = check(&[&at(read)], &[&at(written)], true);
            assert_eq!(
                matches!(checked, Err(PathError::Input { .. })),
                meet,
                "{read} {written}: {checked:?}"
            );
        }
        check(&[], &[&at("p.hdr"), &at("p.img")], true).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        let error = |path: &Path| check(&[], &[path], true).unwrap_err();
        let missing = error(&at("missing/o.nii.gz"));
        assert!(matches!(missing, PathError::NoFolder { .. }), "{missing}");
        assert!(matches!(
            error(&at("file/o.nii.gz")),
            PathError::NoFolder { .. } | PathError::Name { .. }
        ));
        for name in ["", ".", "..", "new/"] {
            let found = error(&at(name));
            assert!(
                matches!(found, PathError::NoFile { found: "a folder", .. }),
                "{name}: {found:?}"
            );
        }
        assert!(matches!(error(&at(&"n".repeat(300))), PathError::Name { .. }));
        assert!(fs::read_dir(folder.path()).unwrap().count() == 1, "nothing is left");
        assert!(matches!(check(&[], &[&at("a"), &at("a")], false), Err(PathError::Twice { .. })));
        // Where names that differ in case are two files.
        if !atomic::folds_case(folder.path()) {
            check(&[&at("C")], &[&at("a"), &at("A"), &at("c")], false).unwrap();
        }
    }
}
