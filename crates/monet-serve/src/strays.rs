//! What lies in the service's folders when it starts: what an earlier process moved is made
//! durable, what it left unfinished goes, what is none of the service's is left alone and named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::folders::{self, Folders, Stage, UNFINISHED};

/// Something that lies in the folders and is none of the service's: it is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Makes durable what an earlier process moved, removes what it left unfinished, and finds what is
/// none of the service's.
pub(crate) fn tidy(folders: &Folders) -> io::Result<Vec<Stray>> {
    let mut strays = make_durable(folders)?;
    for path in paths(&folders.incoming())?.into_iter().filter(|path| is_unfinished(path)) {
        strays.extend(Stray::unless("removed", fs::remove_file(&path), path));
    }
    for path in paths(&folders.trash())? {
        let folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        strays.extend(Stray::unless("removed", removed, path));
    }
    strays.extend(keep_latest(folders)?);
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

/// Makes the names in the folders durable. A process that was killed between a move and its sync
/// leaves a name that everybody sees and that a power cut takes away: the service would go on from
/// a name that does not last.
fn make_durable(folders: &Folders) -> io::Result<Vec<Stray>> {
    let mut strays = Vec::new();
    for parent in [folders.stage(Stage::Waiting), folders.studies()] {
        for path in paths(&parent)?.into_iter().filter(|path| path.is_dir()) {
            // What is within a study comes before the study, and where a name went before whence.
            let within = paths(&path).unwrap_or_default().into_iter().filter(|path| path.is_dir());
            let synced = within.chain([path.clone()]).try_for_each(|folder| folders::sync(&folder));
            strays.extend(Stray::unless("synced", synced, path));
        }
    }
    let stages = Stage::ALL.into_iter().rev().map(|stage| folders.stage(stage));
    for folder in stages.chain([folders.studies(), folders.incoming()]) {
        folders::sync(&folder).map_err(|error| folders::named(folder.display(), &error))?;
    }
    Ok(strays)
}

/// Keeps a study at the last of its stages. A power cut between the two names of a move leaves it
/// at both, with the same content, on file systems that keep no more than they promise.
fn keep_latest(folders: &Folders) -> io::Result<Vec<Stray>> {
    let (mut later, mut strays) = (BTreeMap::new(), Vec::new());
    for stage in Stage::ALL.into_iter().rev() {
        for name in folders.cases(stage)? {
            let path = folders.stage(stage).join(&name);
            let Some(kept) = later.get(&name) else {
                later.insert(name, path);
                continue;
            };
            // To remove what one of two names of the same folder has is to remove it from both.
            if is_same(&path, kept)? {
                let why = format!("is the same folder as {}: check the disk", kept.display());
                strays.push(Stray { path, why });
            } else {
                strays.extend(Stray::unless("removed", folders.discard(&path), path));
            }
        }
    }
    Ok(strays)
}

#[cfg(unix)]
fn is_same(a: &Path, b: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let [a, b] = [fs::metadata(a)?, fs::metadata(b)?];
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(not(unix))]
fn is_same(_: &Path, _: &Path) -> io::Result<bool> {
    Ok(false)
}

impl Stray {
    /// Of what cannot be removed, or whatever was to be done.
    fn unless(what: &str, done: io::Result<()>, path: PathBuf) -> Option<Self> {
        let why = format!("cannot be {what}: {}", done.err()?);
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
    fn a_study_that_a_power_cut_left_at_two_stages_is_at_the_later_one() {
        let root = tempfile::tempdir().unwrap();
        drop(Folders::take(root.path()).unwrap());
        for stage in ["waiting", "outgoing", "done"] {
            fs::create_dir_all(root.path().join(stage).join("1-000000001-1.2/images")).unwrap();
        }
        fs::create_dir(root.path().join("waiting/1-000000002-1.3")).unwrap();
        let folders = Folders::take(root.path()).unwrap();
        let cases = Stage::ALL.map(|stage| folders.cases(stage).unwrap().concat());
        assert_eq!(cases, ["1-000000002-1.3", "", "1-000000001-1.2", ""]);
        assert!(folders.strays().is_empty() && names(&folders.trash()).unwrap().is_empty());
    }

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
