//! Watch folders: DICOM files that stopped growing are taken in and removed.
//!
//! The folder is looked through again and again: network mounts tell nobody of changes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use monet_dicom::read::{START, is_dicom};

use super::Inbox;
use crate::config::{self, Watch};
use crate::log::Log;

/// Deepest folder below a watch folder.
const MAX_DEPTH: usize = 16;
/// Most files that are followed at the same time; the others' turn comes when these are taken.
const MAX_FOLLOWED: usize = 100_000;

/// Length and time of change, which a file keeps when it is complete.
type State = (u64, Option<SystemTime>);

/// Follows the files of one watch folder.
#[derive(Debug)]
pub struct Watcher {
    watch: Watch,
    seen: HashMap<PathBuf, (State, Instant)>,
    /// Files that are not DICOM, which stay where they are.
    foreign: HashMap<PathBuf, State>,
    reachable: bool,
}

impl Watcher {
    /// Begins with none.
    #[must_use]
    pub fn new(watch: Watch) -> Self {
        Self { watch, seen: HashMap::new(), foreign: HashMap::new(), reachable: true }
    }

    /// How often to look.
    #[must_use]
    pub fn pause(&self) -> Duration {
        config::seconds(self.watch.quiet_s.clamp(2, 20)) / 2
    }

    /// Looks through the folder once and takes what has not changed for the quiet time; how many
    /// files that were. A file that cannot be taken stays and is tried again.
    pub fn look(&mut self, inbox: &Inbox, log: &Log, go_on: &dyn Fn() -> bool) -> usize {
        let mut found = HashMap::new();
        let walked = walk(&self.watch.folder, 0, &mut found);
        self.tell(&walked, log);
        let quiet = config::seconds(self.watch.quiet_s);
        let mut taken = 0;
        let mut seen = HashMap::new();
        self.foreign.retain(|path, state| found.get(path) == Some(state));
        found.retain(|path, _| !self.foreign.contains_key(path));
        for (path, state) in found {
            let since = match self.seen.get(&path) {
                Some((before, since)) if *before == state => *since,
                _ => Instant::now(),
            };
            if since.elapsed() >= quiet && go_on() {
                match self.take(&path, inbox) {
                    Ok(true) => {
                        taken += 1;
                        continue;
                    }
                    Ok(false) => {
                        let name = self.watch.name.as_str();
                        log.warning("no DICOM file, left there", &[("folder", &name)]);
                        self.foreign.insert(path, state);
                        continue;
                    }
                    Err(error) => log.warning(
                        "file not taken",
                        &[("folder", &self.watch.name.as_str()), ("error", &error)],
                    ),
                }
            }
            seen.insert(path, (state, since));
        }
        self.seen = seen;
        taken
    }

    /// Says once that a folder is out of reach, and once that it is back.
    fn tell(&mut self, walked: &io::Result<()>, log: &Log) {
        let folder = self.watch.folder.display();
        match walked {
            Err(error) if self.reachable => {
                log.error("watch folder out of reach", &[("folder", &folder), ("error", error)]);
            }
            Ok(()) if !self.reachable => log.info("watch folder is back", &[("folder", &folder)]),
            _ => {}
        }
        self.reachable = walked.is_ok();
    }

    /// Takes a file, or says that it is no DICOM. The instance is in the inbox for good before its
    /// file goes.
    fn take(&self, path: &Path, inbox: &Inbox) -> io::Result<bool> {
        let mut file = File::open(path)?;
        let mut start = Vec::new();
        (&mut file).take(START as u64).read_to_end(&mut start)?;
        if !is_dicom(&start) {
            return Ok(false);
        }
        let mut arriving = inbox.begin()?;
        arriving.write_all(&start)?;
        io::copy(&mut file, &mut arriving)?;
        arriving.keep(self.watch.name.as_str())?;
        fs::remove_file(path).map(|()| true)
    }
}

/// The regular files of a folder and those below. Links are not followed, hidden names are somebody
/// else's unfinished files.
fn walk(folder: &Path, depth: usize, found: &mut HashMap<PathBuf, State>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if found.len() >= MAX_FOLLOWED {
            return Ok(());
        }
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // What is gone or barred does not keep the others waiting.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < MAX_DEPTH {
            let _ = walk(&entry.path(), depth + 1, found);
        } else if kind.is_file()
            && let Ok(metadata) = entry.metadata()
        {
            found.insert(entry.path(), (metadata.len(), metadata.modified().ok()));
        }
    }
    Ok(())
}
