//! Every call that changes a name fails or is the last before a crash, on file systems with and
//! without what such calls need.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::disk::fault::{self, Fault, LINKS, NOREPLACE, UNNAMED};
use super::*;

/// Files by name; those with a hidden name apart.
fn files(folders: &[PathBuf]) -> (BTreeMap<PathBuf, String>, Vec<PathBuf>) {
    let (mut seen, mut hidden) = (BTreeMap::new(), Vec::new());
    for entry in folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with(".monet-") {
            hidden.push(path);
        } else {
            seen.insert(path.clone(), fs::read_to_string(path).unwrap());
        }
    }
    (seen, hidden)
}

/// A set of files, of which the last is in one folder and the others in this or another.
struct Case {
    folders: Vec<PathBuf>,
    set: Vec<PathBuf>,
    earlier: BTreeMap<PathBuf, String>,
    overwrite: bool,
}

impl Case {
    fn new(root: &Path, files: usize, apart: bool, earlier: usize, overwrite: bool) -> Self {
        let _ = fs::remove_dir_all(root);
        let folders: Vec<PathBuf> = ["a", "b"].map(|name| root.join(name)).into();
        folders.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let folder = |i: usize| if apart && i + 1 < files { &folders[1] } else { &folders[0] };
        let set: Vec<PathBuf> = (0..files).map(|i| folder(i).join(format!("file{i}"))).collect();
        // As long as the new ones, so that nothing but the name and time tells them apart.
        let earlier: BTreeMap<_, _> =
            set.iter().take(earlier).map(|p| (p.clone(), "OLD".into())).collect();
        earlier.iter().for_each(|(path, text)| fs::write(path, text).unwrap());
        Self { folders, set, earlier, overwrite }
    }

    fn later(&self) -> BTreeMap<PathBuf, String> {
        self.set.iter().map(|path| (path.clone(), "NEW".into())).collect()
    }

    fn run(&self) -> io::Result<()> {
        let set =
            self.set.iter().map(|path| Staged::write(path, b"NEW")).collect::<io::Result<_>>()?;
        commit(set, self.overwrite).map_err(|e| e.source)
    }

    /// Only files of the earlier set, or only new ones; and empty ones where names cannot be taken
    /// otherwise.
    fn unmixed(&self) -> bool {
        let (mut seen, _) = files(&self.folders);
        seen.retain(|_, text| !(text.is_empty() && fault::is_lacking(LINKS)));
        let part_of =
            |set: &BTreeMap<_, _>| seen.iter().all(|(path, text)| set.get(path) == Some(text));
        part_of(&self.earlier) || part_of(&self.later())
    }
}

/// All cases: files of the set, in one folder or two, with earlier ones to replace or without, on
/// file systems that lack something.
fn cases(mut test: impl FnMut(&str, &dyn Fn() -> Case)) {
    let root = tempfile::tempdir().unwrap();
    for lacking in [0, UNNAMED, UNNAMED | NOREPLACE, UNNAMED | NOREPLACE | LINKS] {
        fault::lacking(lacking);
        for (count, apart) in [(1, false), (2, false), (3, false), (3, true)] {
            for (earlier, overwrite) in [(0, false), (0, true), (1, true), (count, true)] {
                let name = format!(
                    "lacking {lacking}, {count} files, apart {apart}, earlier {earlier} {overwrite}"
                );
                test(&name, &|| {
                    Case::new(&root.path().join("case"), count, apart, earlier, overwrite)
                });
            }
        }
    }
    fault::lacking(0);
}

#[test]
fn a_set_appears_and_nothing_else_is_left() {
    cases(|name, make| {
        let case = make();
        case.run().unwrap();
        assert_eq!(files(&case.folders), (case.later(), vec![]), "{name}");
    });
}

#[test]
fn where_a_call_fails_the_earlier_set_is_there_or_the_later_one() {
    let mut failures = 0;
    cases(|name, make| {
        for at in 0.. {
            let case = make();
            fault::plan(Some((at, Fault::Error)));
            let ended = case.run();
            let all = fault::calls() <= at;
            fault::plan(None);
            let (seen, hidden) = files(&case.folders);
            if all {
                break;
            }
            failures += usize::from(ended.is_err());
            // One file that has replaced another cannot be taken back where its folder is not made
            // durable after that.
            let late = case.set.len() == 1 && case.overwrite && seen == case.later();
            let expected = if ended.is_ok() || late { case.later() } else { case.earlier.clone() };
            assert_eq!(seen, expected, "{name}, call {at}: {ended:?}");
            // Only what could not be removed may be left; the next run does it.
            recover(&case.folders);
            assert_eq!(files(&case.folders), (seen, vec![]), "{name}, call {at}, left {hidden:?}");
        }
    });
    assert!(failures > 200, "{failures}");
}

#[test]
fn after_a_crash_at_any_call_no_sets_are_mixed_and_the_next_run_brings_one_of_them_back() {
    let (mut undone, mut done) = (0, 0);
    cases(|name, make| {
        for at in 0.. {
            let case = make();
            fault::plan(Some((at, Fault::Crash)));
            let _ = case.run();
            let all = fault::calls() <= at;
            fault::plan(None);
            if all {
                break;
            }
            assert!(case.unmixed(), "{name}, call {at}: {:?}", files(&case.folders));
            let mut hidden = files(&case.folders).1;
            // The record tells of those.
            hidden.retain(|path| path.extension().is_none_or(|ending| ending != "old"));
            let told = case.folders.iter().flat_map(|folder| {
                leftovers(folder).unwrap().into_iter().map(|name| folder.join(name))
            });
            assert_eq!(
                told.collect::<BTreeSet<_>>(),
                hidden.into_iter().collect(),
                "{name}, call {at}"
            );
            recover(&case.folders);
            let (seen, hidden) = files(&case.folders);
            assert!(seen == case.earlier || seen == case.later(), "{name}, call {at}: {seen:?}");
            undone += usize::from(seen == case.earlier);
            done += usize::from(seen == case.later());
            assert_eq!(hidden, Vec::<PathBuf>::new(), "{name}, call {at}");
            if seen == case.earlier {
                case.run().unwrap();
            }
            assert_eq!(files(&case.folders), (case.later(), vec![]), "{name}, call {at}");
        }
    });
    assert!(undone > 300 && done > 50, "{undone} {done}");
}

#[test]
fn a_crash_while_a_crash_is_mended_changes_nothing_in_the_end() {
    let root = tempfile::tempdir().unwrap();
    for lacking in [0, UNNAMED | NOREPLACE | LINKS] {
        fault::lacking(lacking);
        for first in 0..30 {
            for second in 0..12 {
                let case = Case::new(&root.path().join("case"), 3, true, 2, true);
                fault::plan(Some((first, Fault::Crash)));
                let _ = case.run();
                fault::plan(Some((second, Fault::Crash)));
                recover(&case.folders);
                fault::plan(None);
                assert!(case.unmixed(), "{first}, {second}: {:?}", files(&case.folders));
                recover(&case.folders);
                let (seen, hidden) = files(&case.folders);
                assert!(
                    seen == case.earlier || seen == case.later(),
                    "{first}, {second}: {seen:?}"
                );
                assert_eq!(hidden, Vec::<PathBuf>::new(), "{first}, {second}");
            }
        }
    }
    fault::lacking(0);
}

#[test]
fn what_another_has_put_there_stays() {
    let root = tempfile::tempdir().unwrap();
    for lacking in [0, UNNAMED | NOREPLACE, UNNAMED | NOREPLACE | LINKS] {
        fault::lacking(lacking);
        for files_of_set in [1, 3] {
            let case = Case::new(&root.path().join("case"), files_of_set, false, 0, false);
            let set: Vec<_> =
                case.set.iter().map(|path| Staged::write(path, b"NEW").unwrap()).collect();
            let other = &case.set[files_of_set - 1];
            fs::write(other, "HIS").unwrap();
            let error = commit(set, false).unwrap_err();
            assert_eq!((&error.path, error.source.kind()), (other, io::ErrorKind::AlreadyExists));
            assert_eq!(files(&case.folders), ([(other.clone(), "HIS".into())].into(), vec![]));
        }
    }
    fault::lacking(0);
}

#[test]
fn the_living_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folders = [folder.path().to_owned()];
    for lacking in [0, UNNAMED] {
        fault::lacking(lacking);
        let staged = Staged::write(&folder.path().join("file"), b"NEW").unwrap();
        assert_eq!(leftovers(folder.path()).unwrap(), <[&str; 0]>::default());
        recover(&folders);
        commit(vec![staged], false).unwrap();
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"NEW");
        fs::remove_file(folder.path().join("file")).unwrap();
    }
    fault::lacking(0);
    // Another machine's, or of before this one was started: its age tells.
    let foreign = folder.path().join(".monet-00000000-0123456789abcdef.part");
    fs::write(&foreign, "half").unwrap();
    recover(&folders);
    assert!(foreign.exists());
    let file = fs::File::options().write(true).open(&foreign).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600))
        .unwrap();
    drop(file);
    recover(&folders);
    assert!(!foreign.exists());
}

#[cfg(unix)]
#[test]
fn hidden_names_that_are_no_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let boot = part::hidden("part").into_string().unwrap();
    let name = |ending: &str| folder.path().join(boot.replace(".part", &format!(".{ending}")));
    fs::write(folder.path().join("mine"), "OLD").unwrap();
    std::os::unix::fs::symlink(folder.path().join("mine"), name("part")).unwrap();
    fs::create_dir(name("done")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, name("undo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    recover(&[folder.path().to_owned()]);
    let mut left: Vec<OsString> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left.len(), 4, "{left:?}");
    assert_eq!(leftovers(folder.path()).unwrap(), <[&str; 0]>::default());
}

/// A record that somebody made up reaches nothing outside of the folders at hand, and damage is no
/// panic.
#[test]
fn a_record_reaches_no_other_folder() {
    let folder = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| folder.path().join(name));
    fs::create_dir(&here).unwrap();
    fs::create_dir(&there).unwrap();
    let victim = there.join("file");
    fs::write(&victim, "OLD").unwrap();
    let changed = fs::metadata(&victim).unwrap().modified().unwrap();
    let changed = changed.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let [undo, part, old] =
        ["undo", "part", "old"].map(|ending| part::hidden(ending).into_string().unwrap());
    let record = |folder: &str, name: &str| {
        format!("monet outputs 1\0{folder}\0{name}\0{part}\0{old}\x000\x003\0{changed}\0end\0")
    };
    let there = there.to_str().unwrap();
    let good = record(there, "file");
    let mut made_up = vec![good.clone(), record("", "../there/file"), record("../there", "file")];
    made_up.extend((0..good.len()).map(|len| good[..len].to_owned()));
    for text in made_up {
        fs::write(here.join(&undo), text).unwrap();
        recover(std::slice::from_ref(&here));
        assert_eq!(fs::read(&victim).unwrap(), b"OLD");
    }
    // The same record does what it says where the run writes to that folder, too: so the test would
    // see it.
    fs::write(here.join(&undo), good).unwrap();
    recover(&[here, there.into()]);
    assert!(!victim.exists());
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode_and_what_is_no_file_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let [file, link, nowhere] = ["file", "link", "nowhere"].map(|name| folder.path().join(name));
    fs::write(&file, "OLD").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    symlink("missing", &nowhere).unwrap();
    for lacking in [0, UNNAMED] {
        fault::lacking(lacking);
        commit(vec![Staged::write(&file, b"NEW").unwrap()], true).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        for other in [&link, &nowhere, folder.path()] {
            let staged = Staged::write(other, b"NEW").unwrap();
            assert!(commit(vec![staged], true).is_err(), "{}", other.display());
        }
        assert!(
            link.symlink_metadata().unwrap().is_symlink()
                && !folder.path().join("missing").exists()
        );
    }
    fault::lacking(0);
}
