//! The power fails at any moment: what was not made durable is gone, or is there without the rest.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::*;
use crate::atomic::disk::Synced;
use crate::atomic::disk::fault::Watch;

/// What a file has that was named before its content was durable.
const LOST: &[u8] = b"\0\0\0\0";

/// What is surely on the disk: names as of the folder's last synchronisation, contents as of the
/// file's.
struct Disk {
    root: PathBuf,
    folders: HashMap<PathBuf, HashMap<String, Option<Vec<u8>>>>,
    contents: HashMap<u64, Vec<u8>>,
    cuts: Vec<String>,
    bad: Vec<String>,
    expected: &'static [&'static str],
}

impl Disk {
    /// All that is in a folder is durable.
    fn of(root: &Path, expected: &'static [&'static str]) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            folders: HashMap::new(),
            contents: HashMap::new(),
            cuts: vec![],
            bad: vec![],
            expected,
        };
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    let inode = entry.metadata().unwrap().ino();
                    disk.contents.insert(inode, fs::read(entry.path()).unwrap());
                }
            }
            let names = disk.now(&folder);
            disk.folders.insert(folder, names);
        }
        disk
    }

    /// The names of a folder, folders among them without content, with what is durable of each
    /// file.
    fn now(&self, folder: &Path) -> HashMap<String, Option<Vec<u8>>> {
        let names = fs::read_dir(folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let found = entry.metadata().unwrap();
            if found.is_dir() {
                return (name, None);
            }
            // A file that has the number of one that is gone is told by what it has.
            let held = self.contents.get(&found.ino());
            let whole = fs::read(entry.path()).unwrap();
            (name, Some(held.filter(|held| **held == whole).map_or(LOST.to_vec(), Clone::clone)))
        });
        names.collect()
    }

    /// Builds what is found after a power cut, in a new place: with the names as they are now, or
    /// as they were last made durable.
    fn rebuild(&self, from: &Path, to: &Path, now: bool) {
        fs::create_dir_all(to).unwrap();
        let names = if now { Some(self.now(from)) } else { self.folders.get(from).cloned() };
        for (name, content) in names.unwrap_or_default() {
            match content {
                None => self.rebuild(&from.join(&name), &to.join(name), now),
                Some(content) => fs::write(to.join(name), content).unwrap(),
            }
        }
    }

    /// The power fails here.
    fn cut(&mut self) {
        for now in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let what = format!("cut {}, names as of now: {now}", self.cuts.len());
            self.rebuild(&self.root, &place.path().join("box"), now);
            let store = Store::open(place.path().join("box/store"), place.path().join("box/keys"));
            let current = store.current(NAME).map(|c| c.map(|c| c.record.version));
            let good = matches!(&current, Ok(Some(v)) if self.expected.contains(&v.as_str()));
            let next = put(&store, "tiny-3.plan").and_then(|_| store.current(NAME));
            let goes_on = matches!(&next, Ok(Some(c)) if c.record.version == "3.0");
            if !good || !goes_on {
                self.bad.push(format!("{what}: {current:?}, then {next:?}"));
            }
            self.cuts.push(what);
        }
    }
}

impl Watch for std::rc::Rc<std::cell::RefCell<Disk>> {
    fn call(&mut self) {
        self.borrow_mut().cut();
    }

    fn synced(&mut self, what: Synced<'_>) {
        let mut disk = self.borrow_mut();
        match what {
            Synced::File(file) => {
                let (inode, content) = content(file);
                disk.contents.insert(inode, content);
            }
            Synced::Folder(folder) => {
                let names = disk.now(folder);
                disk.folders.insert(folder.to_owned(), names);
            }
        }
    }
}

fn content(file: &File) -> (u64, Vec<u8>) {
    let found = file.metadata().unwrap();
    let mut content = vec![0; usize::try_from(found.len()).unwrap()];
    file.read_exact_at(&mut content, 0).unwrap();
    (found.ino(), content)
}

/// Does something while the power may fail at each call; the versions that may be current then.
fn cut_everywhere(expected: &'static [&'static str], deed: &Deed, start: &[&str]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    start.iter().for_each(|package| drop(put(&store, package).unwrap()));
    let disk = std::rc::Rc::new(std::cell::RefCell::new(Disk::of(folder.path(), expected)));
    fault::watch(Some(Box::new(disk.clone())));
    deed.run(&store).unwrap();
    fault::watch(None);
    let after = version(&store).unwrap();
    // What was said to be done is durable.
    disk.borrow_mut().expected = Vec::leak(vec![&*String::leak(after)]);
    disk.borrow_mut().cut();
    let disk = disk.borrow();
    assert!(disk.bad.is_empty(), "{deed:?}: {:#?}", disk.bad);
    disk.cuts.len()
}

#[test]
fn after_a_power_cut_at_any_call_a_whole_package_is_current() {
    let two = ["tiny-1.plan", "tiny-2.plan"];
    let install = Deed::Install("tiny-2b.plan", false);
    let cuts = cut_everywhere(&["2.0", "2.1"], &install, &two)
        + cut_everywhere(&["2.0", "1.0"], &Deed::Rollback, &two)
        + cut_everywhere(&["2.0"], &Deed::Start, &two)
        + cut_everywhere(&["2.0"], &Deed::Confirm, &two);
    assert!(cuts > 60, "{cuts}");
}

#[test]
fn a_first_install_that_is_done_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let disk = std::rc::Rc::new(std::cell::RefCell::new(Disk::of(folder.path(), &["1.0"])));
    fault::watch(Some(Box::new(disk.clone())));
    put(&store, "tiny-1.plan").unwrap();
    fault::watch(None);
    // Before it was done there was nothing to lose.
    disk.borrow_mut().bad.clear();
    disk.borrow_mut().cut();
    assert!(disk.borrow().bad.is_empty(), "{:#?}", disk.borrow().bad);
}
