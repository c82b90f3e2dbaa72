//! What lies in the service's folders when it starts: what an earlier process left unfinished goes,
//! what is none of the service's is left alone and named.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::folders::{Folders, Stage, UNFINISHED};

/// Something that lies in the folders and is none of the service's: it is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Removes what an earlier process left unfinished, and finds what is none of the service's.
pub(crate) fn tidy(folders: &Folders) -> io::Result<Vec<Stray>> {
    let mut strays = Vec::new();
    for path in paths(&folders.incoming())?.into_iter().filter(|path| is_unfinished(path)) {
        strays.extend(Stray::unless(fs::remove_file(&path), path));
    }
    for path in paths(&folders.trash())? {
        let folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        strays.extend(Stray::unless(removed, path));
    }
    for stage in Stage::ALL {
        let cases: BTreeSet<String> = folders.cases(stage)?.into_iter().collect();
        let known = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| cases.contains(name))
        };
        let others = paths(&folders.stage(stage))?.into_iter().filter(|path| !known(path));
        let why = "is no study of the service's";
        strays.extend(others.map(|path| Stray { path, why: why.into() }));
    }
    Ok(strays)
}

impl Stray {
    /// Of what cannot be removed.
    fn unless(removed: io::Result<()>, path: PathBuf) -> Option<Self> {
        let why = format!("cannot be removed: {}", removed.err()?);
        Some(Self { path, why })
    }
}

/// All that is in a folder, in order.
fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut all = paths.collect::<io::Result<Vec<_>>>()?;
    all.sort_unstable();
    Ok(all)
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::names;

    #[test]
    fn what_is_not_the_services_stops_nothing_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        drop(Folders::take(root.path()).unwrap());
        for file in ["trash/file", "done/1-000000001-1.2", "waiting/.DS_Store", "failed/notes"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        for folder in ["incoming/.part-of-somebody", "outgoing/lost+found"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let folders = Folders::take(root.path()).unwrap();
        let strays: Vec<_> = folders
            .strays()
            .iter()
            .map(|stray| stray.path.strip_prefix(root.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            strays,
            [
                "incoming/.part-of-somebody",
                "waiting/.DS_Store",
                "outgoing/lost+found",
                "done/1-000000001-1.2",
                "failed/notes"
            ]
        );
        assert!(names(&folders.trash()).unwrap().is_empty());
        assert!(folders.cases(Stage::Done).unwrap().is_empty());
        fs::remove_dir(folders.studies()).unwrap();
        fs::write(folders.studies(), "").unwrap();
        drop(folders);
        let error = Folders::take(root.path()).unwrap_err().to_string();
        assert!(error.contains("studies"), "{error}");
    }
}
