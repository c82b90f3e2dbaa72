//! Works on studies, each in a process of its own, which is given so much memory and time. Whatever
//! an image makes the process do is the failure of that study, and of nothing else.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::case::{self, CASE, Case, RESULTS, SUMMARY, Summary};
use crate::config::{self, Config};
use crate::depart;
use crate::folders::{self, Folders, Stage};
use crate::hours::Hours;
use crate::log::Log;

/// Name of the folder of results that are being made.
const MAKING: &str = ".part-results";
/// Most of a process's last words that count.
const LAST_WORDS: usize = 4 << 10;
/// Least and longest pauses between looks at a process.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// Exit code of a process that found no space for results.
pub const NO_SPACE: i32 = 28;
/// How long space is waited for before a study is tried again.
const FULL: Duration = Duration::from_secs(30);

/// Whether an error says that a disk, or somebody's share of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What several workers share.
#[derive(Debug)]
pub(crate) struct Work {
    folders: Arc<Folders>,
    config: Arc<Config>,
    log: Log,
    hours: Arc<Hours>,
    /// Program and arguments; the study's folder and the folder of its results come behind, and
    /// the configuration as JSON on its standard input.
    command: Vec<String>,
    taken: Mutex<HashSet<String>>,
    /// Failures of studies that are tried again.
    failures: Mutex<HashMap<String, u16>>,
    /// Until when space is waited for.
    space: Mutex<Option<Instant>>,
}

/// How a study ended.
enum Ended {
    Made(Summary),
    Failed(String),
    /// There was no space for its results.
    NoSpace(String),
    /// The service stops; the study stays where it is.
    Stopped,
}

impl Work {
    /// Work on the studies of these folders by this command.
    #[must_use]
    pub(crate) fn new(
        folders: Arc<Folders>,
        config: Arc<Config>,
        log: Log,
        hours: Arc<Hours>,
        command: Vec<String>,
    ) -> Self {
        let (taken, failures, space) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { folders, config, log, hours, command, taken, failures, space }
    }

    /// The studies that are being worked on.
    #[must_use]
    pub(crate) fn running(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        all.sort_unstable();
        all
    }

    /// Works on the next study that waits, if one does. `go_on` is asked again and again.
    ///
    /// # Errors
    /// The folders cannot be looked at, results cannot be kept: the study stays where it is.
    pub(crate) fn next(&self, go_on: &dyn Fn() -> bool) -> io::Result<bool> {
        if self.space().is_some_and(|end| end > Instant::now()) {
            return Ok(false);
        }
        let Some(name) = self.take()? else { return Ok(false) };
        let done = match self.study(&name, go_on) {
            Err(error) if is_full(&error) => self.wait_for_space(&name, &error.to_string()),
            done => done,
        };
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        match done {
            // Somebody discarded it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            done => done.map(|()| true),
        }
    }

    fn take(&self) -> io::Result<Option<String>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.folders.cases(Stage::Waiting)?.into_iter().find(|n| !taken.contains(n));
        taken.extend(next.clone());
        Ok(next)
    }

    fn study(&self, name: &str, go_on: &dyn Fn() -> bool) -> io::Result<()> {
        let folder = self.folders.stage(Stage::Waiting).join(name);
        let results = folder.join(RESULTS);
        let begun = Instant::now();
        // Results that are there were whole before they had that name.
        let ended = if results.exists() {
            Ended::Made(case::read(&results.join(SUMMARY))?)
        } else {
            let making = folder.join(MAKING);
            folders::remove_all(&making)?;
            fs::create_dir(&making)?;
            let ended = self.process(&folder, &making, go_on)?;
            if let Ended::Made(_) = ended {
                sync_all(&making)?;
                folders::move_new(&making, &results)?;
            }
            ended
        };
        match ended {
            Ended::Stopped => Ok(()),
            Ended::Failed(reason) => self.fail(name, &reason),
            Ended::NoSpace(reason) => self.wait_for_space(name, &reason),
            Ended::Made(summary) => self.made(name, &summary, begun.elapsed()),
        }
    }

    fn made(&self, name: &str, summary: &Summary, took: Duration) -> io::Result<()> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let (made, skipped) = (summary.results.len(), summary.skipped.len());
        let seconds = format!("{:.2}", took.as_secs_f64());
        let fields: [(&str, &dyn ToString); 4] =
            [("case", &name), ("results", &made), ("skipped", &skipped), ("seconds", &seconds)];
        self.log.info(if made > 0 { "segmented" } else { "nothing to do" }, &fields);
        let folder = self.folders.stage(Stage::Waiting).join(name);
        let due = depart::due(&self.config.destination, &Case::default(), summary);
        if !due.is_empty() {
            let case: Case = case::read(&folder.join(CASE))?;
            let due_ran_s = Some(self.hours.ran_s());
            case::write(&folder.join(CASE), &Case { due, due_ran_s, ..case })?;
            return self.to(name, Stage::Outgoing);
        }
        match case::kept_apart(&folder)? {
            Some(reason) => case::fail(&self.folders, &self.log, &folder, name, &reason),
            None => self.to(name, Stage::Done),
        }
    }

    fn space(&self) -> MutexGuard<'_, Option<Instant>> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A full disk says nothing of the study, which waits for space and loses none of its tries.
    /// What was begun of its results makes room.
    fn wait_for_space(&self, name: &str, reason: &str) -> io::Result<()> {
        *self.space() = Instant::now().checked_add(FULL);
        let (seconds, reason) = (FULL.as_secs(), reason.trim());
        let fields: [(&str, &dyn ToString); 3] =
            [("case", &name), ("seconds", &seconds), ("reason", &reason)];
        self.log.warning("waits for space on the disk", &fields);
        folders::remove_all(&self.folders.stage(Stage::Waiting).join(name).join(MAKING))
    }

    /// A failure may be the machine's and not the study's: it is tried again.
    fn fail(&self, name: &str, reason: &str) -> io::Result<()> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.remove(name).unwrap_or(0) + 1;
        if count < self.config.jobs.tries {
            failures.insert(name.to_owned(), count);
            self.log.warning("failed, tried again", &[("case", &name), ("reason", &reason)]);
            return Ok(());
        }
        drop(failures);
        let folder = self.folders.stage(Stage::Waiting).join(name);
        case::fail(&self.folders, &self.log, &folder, name, reason)
    }

    fn to(&self, name: &str, stage: Stage) -> io::Result<()> {
        folders::move_new(
            &self.folders.stage(Stage::Waiting).join(name),
            &self.folders.stage(stage).join(name),
        )
    }

    /// Runs the process to its end, or ends it.
    fn process(&self, folder: &Path, making: &Path, go_on: &dyn Fn() -> bool) -> io::Result<Ended> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .args([folder, making])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take()
            && let Err(error) = input.write_all(&serde_json::to_vec(&*self.config)?)
            // One that does not listen says itself why.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        let words = child.stderr.take();
        let listener = std::thread::spawn(move || words.map_or(String::new(), last_words));
        let limit = config::seconds(self.config.jobs.seconds);
        let status = wait(&mut child, Instant::now() + limit, go_on)?;
        let words = listener.join().unwrap_or_default();
        Ok(match status {
            Wait::Ended(status) if status.success() => match case::read(&making.join(SUMMARY)) {
                Ok(summary) => Ended::Made(summary),
                Err(error) => Ended::Failed(format!("it left no summary: {error}")),
            },
            Wait::Ended(status) if status.code() == Some(NO_SPACE) => Ended::NoSpace(words),
            Wait::Ended(status) => Ended::Failed(reason(&status.to_string(), &words)),
            Wait::TooLong => {
                let seconds = self.config.jobs.seconds;
                Ended::Failed(reason(&format!("not ready after {seconds} s"), &words))
            }
            Wait::Stopped => Ended::Stopped,
        })
    }
}

enum Wait {
    Ended(std::process::ExitStatus),
    TooLong,
    Stopped,
}

/// Waits for a process, which is ended when its time is over or the service stops.
fn wait(child: &mut Child, end: Instant, go_on: &dyn Fn() -> bool) -> io::Result<Wait> {
    let mut pause = PAUSES[0];
    let over = loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Wait::Ended(status));
        }
        if !go_on() {
            break Wait::Stopped;
        }
        if Instant::now() >= end {
            break Wait::TooLong;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES[1]);
    };
    child.kill()?;
    child.wait()?;
    Ok(over)
}

/// A process's last words, with how it ended. The words come first: they say more.
fn reason(how: &str, words: &str) -> String {
    let words = words.trim();
    if words.is_empty() { how.to_owned() } else { format!("{words}\n({how})") }
}

/// The end of what a process says, however much that is.
fn last_words(mut from: impl Read) -> String {
    let (mut last, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        last.extend_from_slice(&chunk[..count]);
        let over = last.len().saturating_sub(LAST_WORDS);
        last.drain(..over);
    }
    String::from_utf8_lossy(&last).into_owned()
}

/// Makes the files of a folder, and their names, be on disk.
fn sync_all(folder: &Path) -> io::Result<()> {
    for name in folders::names(folder)? {
        File::open(folder.join(name))?.sync_all()?;
    }
    folders::sync(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Study;

    #[test]
    fn a_full_disk_costs_a_study_none_of_its_tries() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("box.toml");
        let text = "folder = \"data\"\n[[rule]]\n[jobs]\ntries = 1\n\
                    [[watch]]\nname = \"W\"\nfolder = \"in\"\n";
        fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.study, Study::default());
        let folders = Arc::new(Folders::take(&config.folder).unwrap());
        let name = folders.name(false, "1.2.3");
        let folder = folders.stage(Stage::Waiting).join(&name);
        folders::make(&folder).unwrap();
        case::write(&folder.join(CASE), &Case::default()).unwrap();
        // There is no space while a file says so.
        let full = root.path().join("full");
        fs::write(&full, "").unwrap();
        let script = "cat >/dev/null; echo part >$2/part; [ ! -e $0 ] || exit 28; \
                      echo '{\"results\":[],\"skipped\":[]}' >$2/summary.json";
        let command = ["sh", "-c", script, full.to_str().unwrap()].map(str::to_owned).to_vec();
        let hours = Arc::new(Hours::of(&folders));
        let log = Log::new(false, io::sink());
        let work = Work::new(folders.clone(), Arc::new(config), log, hours, command);
        for _ in 0..3 {
            assert!(work.next(&|| true).unwrap());
            assert_eq!(folders.cases(Stage::Waiting).unwrap(), std::slice::from_ref(&name));
            assert!(!folder.join(MAKING).exists(), "what was begun makes room");
            assert!(!work.next(&|| true).unwrap(), "it is not tried again at once");
            *work.space() = None;
        }
        fs::remove_file(full).unwrap();
        assert!(work.next(&|| true).unwrap());
        assert_eq!(folders.cases(Stage::Done).unwrap(), [name]);
    }
}
