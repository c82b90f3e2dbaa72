//! Puts instances to their studies, and says when a study is complete.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use monet_dicom::uid;

use crate::arrive::origin;
use crate::case::{self, APART, CASE, Case, IMAGES};
use crate::config::{Jobs, Study};
use crate::folders::{self, Folders, Stage, subject};
use crate::growing::Growing;
use crate::log::Log;
use crate::part10;
use crate::sort::{Belongs, Looked, Sorter};
use crate::time;

/// How often a file is looked at before it counts as one that belongs nowhere: a disk that does not
/// answer once, or a process that ends once, may do better.
const LOOKS: u32 = 3;
/// How long until a file is looked at again.
const AGAIN: Duration = Duration::from_secs(2);

/// Follows the studies that may still grow.
#[derive(Debug)]
pub(crate) struct Collector {
    folders: Arc<Folders>,
    log: Log,
    rules: Study,
    jobs: Jobs,
    sorter: Sorter,
    growing: HashMap<String, Growing>,
    /// Files of the inbox that belonged nowhere so far: how often they were looked at, and when
    /// that is done again.
    doubtful: HashMap<String, (u32, Instant)>,
}

impl Collector {
    /// Goes on with the studies that an earlier process left.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(
        folders: Arc<Folders>,
        log: Log,
        rules: Study,
        jobs: Jobs,
        sorter: Sorter,
    ) -> io::Result<Self> {
        let (growing, doubtful) = (HashMap::new(), HashMap::new());
        let mut all = Self { folders, log, rules, jobs, sorter, growing, doubtful };
        for study in folders::names(&all.folders.studies())? {
            match all.go_on_with(&study) {
                Ok(Some(growing)) => drop(all.growing.insert(study, growing)),
                Ok(None) => {}
                Err(error) => {
                    let path = all.folders.studies().join(&study);
                    let fields: [(&str, &dyn ToString); 2] =
                        [("path", &path.display()), ("error", &error)];
                    all.log.warning("left alone", &fields);
                }
            }
        }
        Ok(all)
    }

    /// A study that an earlier process left. What looks like one and cannot be read is a failure
    /// of its own; what does not is an error.
    fn go_on_with(&mut self, study: &str) -> io::Result<Option<Growing>> {
        let folder = self.folders.studies().join(study);
        if study.starts_with(folders::UNFINISHED) {
            return fs::remove_dir_all(&folder).map(|()| None);
        }
        if !uid::is_valid(study) || !folder.is_dir() {
            return Err(io::Error::other("is no study of the service's"));
        }
        let error = match Growing::found(&folder, study) {
            Ok(growing) => return Ok(Some(growing)),
            Err(error) => error,
        };
        let case = self.folders.name(false, study);
        let reason = format!("what is left of the study cannot be read: {error}");
        case::fail(&self.folders, &self.log, &folder, &case, &reason)?;
        Ok(None)
    }

    /// Puts all instances that have come to their studies. One that cannot be placed now stays for
    /// the next time.
    ///
    /// # Errors
    /// The inbox cannot be looked through, no process can be started.
    pub(crate) fn collect(&mut self, go_on: &dyn Fn() -> bool) -> io::Result<()> {
        let mut names = folders::names(&self.folders.incoming())?;
        names.retain(|name| !name.starts_with(folders::UNFINISHED));
        names.sort_unstable();
        self.doubtful.retain(|name, _| names.binary_search(name).is_ok());
        for name in names {
            if !go_on() {
                break;
            }
            if self.doubtful.get(&name).is_some_and(|(_, at)| *at > Instant::now()) {
                continue;
            }
            let from = origin(&name).unwrap_or_default();
            let placed = match self.sorter.look(&name)? {
                Looked::Belongs(belongs) => self.place(&name, &from, &belongs),
                Looked::Refused(reason) => self.doubt(&name, &from, &reason),
            };
            if let Err(error) = placed {
                let fields: [(&str, &dyn ToString); 2] = [("file", &name), ("error", &error)];
                self.log.error("instance not placed", &fields);
            }
        }
        Ok(())
    }

    /// A file that belongs nowhere is looked at again, and refused after the last look.
    fn doubt(&mut self, name: &str, from: &str, reason: &str) -> io::Result<()> {
        let (looks, at) = self.doubtful.entry(name.to_owned()).or_insert((0, Instant::now()));
        *looks += 1;
        *at = Instant::now() + AGAIN;
        if *looks >= LOOKS {
            return self.refuse(name, from, reason);
        }
        let fields: [(&str, &dyn ToString); 2] = [("file", &name), ("reason", &reason)];
        self.log.warning("looked at again", &fields);
        Ok(())
    }

    /// Lets the studies go whose instances have all come, as far as one can tell; how many those
    /// were.
    pub(crate) fn complete(&mut self) -> usize {
        let done: Vec<(String, &str)> = self
            .growing
            .iter()
            .filter_map(|(study, growing)| {
                Some((study.clone(), growing.completeness(&self.rules)?))
            })
            .collect();
        let mut closed = 0;
        for (study, why) in done {
            match self.close(&study, why) {
                Ok(()) => closed += 1,
                Err(error) => {
                    self.log.error("study not closed", &[("study", &study), ("error", &error)]);
                }
            }
        }
        closed
    }

    /// How long until the next study is complete, if nothing comes.
    #[must_use]
    pub(crate) fn pause(&self) -> Duration {
        let left =
            |growing: &Growing| growing.wait(&self.rules).saturating_sub(growing.last.elapsed());
        let next = self.growing.values().map(left).min();
        next.unwrap_or(Duration::MAX).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    /// Moves an instance to its study.
    fn place(&mut self, name: &str, from: &str, belongs: &Belongs) -> io::Result<()> {
        let file = self.folders.incoming().join(name);
        let study = &belongs.study;
        if !self.growing.contains_key(study) {
            if let Some(earlier) = self.earlier(study)? {
                let same = earlier.join(IMAGES).join(image(&belongs.instance));
                if same.exists() {
                    return self.again(&file, &same, &earlier, belongs);
                }
                self.begin(study, Some(&earlier))?;
            } else {
                self.begin(study, None)?;
            }
        }
        let folder = self.folders.studies().join(study);
        let target = folder.join(IMAGES).join(image(&belongs.instance));
        if target.exists() {
            return self.again(&file, &target, &folder, belongs);
        }
        let growing = self.growing.get_mut(study).ok_or(io::ErrorKind::NotFound)?;
        if growing.case.from.insert(from.to_owned()) {
            case::write(&folder.join(CASE), &growing.case)?;
        }
        folders::move_new(&file, &target)?;
        growing.case.instances += 1;
        growing.last = Instant::now();
        growing.of = growing.of.max(belongs.of);
        Ok(())
    }

    /// The folder of a new study; with the instances of an earlier one of the same UID, if there is
    /// one: the study is then worked on anew, as a whole.
    fn begin(&mut self, study: &str, earlier: Option<&Path>) -> io::Result<()> {
        let part = folders::unfinished(&self.folders.studies());
        fs::create_dir(&part)?;
        let images = part.join(IMAGES);
        fs::create_dir(&images)?;
        let mut case = Case { study: study.into(), first_s: time::now_s(), ..Case::default() };
        if let Some(earlier) = earlier {
            let before: Case = case::read(&earlier.join(CASE))?;
            for name in folders::names(&earlier.join(IMAGES))? {
                fs::hard_link(earlier.join(IMAGES).join(&name), images.join(&name))?;
                case.instances += 1;
            }
            case.from = before.from;
            let name = earlier.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let fields: [(&str, &dyn ToString); 2] = [("study", &study), ("earlier", &name)];
            self.log.warning("study grows after it was complete", &fields);
            case.earlier = Some(name);
        }
        folders::sync(&images)?;
        case::write(&part.join(CASE), &case)?;
        folders::move_new(&part, &self.folders.studies().join(study))?;
        let now = Instant::now();
        self.growing.insert(study.into(), Growing { case, first: now, last: now, of: None });
        Ok(())
    }

    /// The newest complete case of a study.
    fn earlier(&self, study: &str) -> io::Result<Option<PathBuf>> {
        let mut newest: Option<(String, PathBuf)> = None;
        for stage in Stage::ALL {
            for name in self.folders.cases(stage)? {
                // The urgency comes first in a name and says nothing of age.
                let age = name[1..].to_owned();
                if subject(&name) == study && newest.as_ref().is_none_or(|(other, _)| *other < age)
                {
                    newest = Some((age, self.folders.stage(stage).join(&name)));
                }
            }
        }
        Ok(newest.map(|(_, path)| path).filter(|path| path.join(CASE).exists()))
    }

    /// An instance whose UID has come before: dropped where it is the same, else kept apart.
    fn again(&self, file: &Path, same: &Path, folder: &Path, what: &Belongs) -> io::Result<()> {
        let fields: [(&str, &dyn ToString); 2] =
            [("study", &what.study), ("instance", &what.instance)];
        if equal(file, same)? {
            self.log.info("repeated instance", &fields);
            return fs::remove_file(file);
        }
        self.log.warning("another instance with the same UID, kept apart", &fields);
        let apart = folder.join(APART);
        folders::make(&apart)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folders::move_new(file, &apart.join(format!("{}-{name}", what.instance)))?;
        self.look_at(folder)
    }

    /// A study that is done and has instances that were kept apart is not done: somebody is to look
    /// at it. One that is on its way comes there by itself.
    fn look_at(&self, folder: &Path) -> io::Result<()> {
        if folder.parent() != Some(self.folders.stage(Stage::Done).as_path()) {
            return Ok(());
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let reason = case::kept_apart(folder)?.unwrap_or_default();
        case::fail(&self.folders, &self.log, folder, &name, &reason)
    }

    /// A file that belongs nowhere is a failure of its own.
    fn refuse(&self, name: &str, from: &str, reason: &str) -> io::Result<()> {
        let case = self.folders.name(false, "no-study");
        let part = folders::unfinished(&self.folders.studies());
        folders::make(&part)?;
        folders::make(&part.join(IMAGES))?;
        let now = time::now_s();
        let of = Case {
            from: [from.to_owned()].into(),
            instances: 1,
            first_s: now,
            complete_s: now,
            ..Case::default()
        };
        case::write(&part.join(CASE), &of)?;
        let reason = format!("A file from {from} belongs to no study: {reason}");
        case::fail(&self.folders, &self.log, &part, &case, &reason)?;
        let images = self.folders.stage(Stage::Failed).join(&case).join(IMAGES);
        folders::move_new(&self.folders.incoming().join(name), &images.join(name))
    }

    /// A study that is complete waits for its turn from now on.
    fn close(&mut self, study: &str, why: &str) -> io::Result<()> {
        let growing = self.growing.get_mut(study).ok_or(io::ErrorKind::NotFound)?;
        let folder = self.folders.studies().join(study);
        growing.case.complete_s = time::now_s();
        case::write(&folder.join(CASE), &growing.case)?;
        let from = &growing.case.from;
        let urgent = self.jobs.urgent.iter().any(|title| from.contains(title.as_str()));
        let name = self.folders.name(urgent, study);
        folders::move_new(&folder, &self.folders.stage(Stage::Waiting).join(&name))?;
        let instances = growing.case.instances;
        self.growing.remove(study);
        let fields: [(&str, &dyn ToString); 3] =
            [("case", &name), ("instances", &instances), ("because", &why)];
        self.log.info("complete", &fields);
        Ok(())
    }
}

/// An instance's file name.
fn image(instance: &str) -> String {
    format!("{instance}.dcm")
}

/// Whether two files have the same data set: all behind the file meta information, which says who
/// sent the instance.
fn equal(a: &Path, b: &Path) -> io::Result<bool> {
    let mut files = [data_set(a)?, data_set(b)?];
    let mut chunks = [[0; 8 << 10]; 2];
    loop {
        let mut counts = [0; 2];
        for ((file, chunk), count) in files.iter_mut().zip(&mut chunks).zip(&mut counts) {
            *count = fill(file, chunk)?;
        }
        if chunks[0][..counts[0]] != chunks[1][..counts[1]] {
            return Ok(false);
        }
        if counts[0] == 0 {
            return Ok(true);
        }
    }
}

/// A file from its data set on.
fn data_set(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    let begin = part10::data_set(&mut file)?;
    file.seek(SeekFrom::Start(begin))?;
    Ok(file)
}

fn fill(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match file.read(&mut bytes[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reads headers: ends without a word as often as there are lines in `fails`, and answers
    /// from then on.
    fn sorter(fails: &Path) -> Sorter {
        let script = "read name; if [ -s \"$0\" ]; then sed -i 1d \"$0\"; exit; fi; \
                      echo '{\"Ok\":{\"study\":\"1.2.3\",\"instance\":\"1.2.3.4\",\"of\":null}}'";
        let path = fails.to_string_lossy().into_owned();
        Sorter::new(["sh", "-c", script, &path].map(str::to_owned).to_vec())
    }

    fn collected(failures: usize) -> (Vec<String>, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let fails = root.path().join("fails");
        fs::write(&fails, "once\n".repeat(failures)).unwrap();
        let folders = Arc::new(Folders::take(&root.path().join("data")).unwrap());
        fs::write(folders.incoming().join("1@SENDER.dcm"), b"an instance").unwrap();
        let log = Log::new(false, io::sink());
        let (rules, jobs) = (Study::default(), Jobs::default());
        let mut collector =
            Collector::new(folders.clone(), log, rules, jobs, sorter(&fails)).unwrap();
        for look in 1..=LOOKS {
            collector.collect(&|| true).unwrap();
            let here = folders::names(&folders.incoming()).unwrap();
            let is_open = look as usize <= failures && look < LOOKS;
            assert_eq!(here.len(), usize::from(is_open), "after look {look}");
            // A look too early is none.
            collector.collect(&|| true).unwrap();
            collector.doubtful.values_mut().for_each(|(_, at)| *at = Instant::now());
        }
        let studies = folders::names(&folders.studies()).unwrap();
        (studies, folders.cases(Stage::Failed).unwrap())
    }

    #[test]
    fn a_study_that_cannot_be_read_stops_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folders = Arc::new(Folders::take(root.path()).unwrap());
        fs::create_dir(folders.studies().join("1.2.3")).unwrap();
        fs::create_dir(folders.studies().join("lost+found")).unwrap();
        fs::write(folders.studies().join("1.2.4"), "a file").unwrap();
        let (rules, jobs) = (Study::default(), Jobs::default());
        let log = Log::new(false, io::sink());
        let sorter = Sorter::new(Vec::new());
        let collector = Collector::new(folders.clone(), log, rules, jobs, sorter).unwrap();
        assert!(collector.growing.is_empty());
        let failed = folders.cases(Stage::Failed).unwrap();
        assert_eq!(failed.len(), 1);
        assert_eq!(subject(&failed[0]), "1.2.3");
        let mut left = folders::names(&folders.studies()).unwrap();
        left.sort_unstable();
        assert_eq!(left, ["1.2.4", "lost+found"]);
    }

    #[test]
    fn a_file_is_looked_at_again_before_it_belongs_nowhere() {
        for failures in 0..LOOKS as usize {
            let (studies, failed) = collected(failures);
            assert_eq!((studies, failed.len()), (vec!["1.2.3".into()], 0), "{failures} failures");
        }
        let (studies, failed) = collected(LOOKS as usize);
        assert_eq!((studies.len(), failed.len()), (0, 1));
    }
}
