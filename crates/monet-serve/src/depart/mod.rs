//! Delivers results. Each destination has a thread and a pace of its own, so that a dead one holds
//! up no other.

mod finish;
mod folder;
mod peer;
mod wait;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;

use crate::case::{self, CASE, Case, GIVEN_UP, LATE, Made, RESULTS, SENT, SUMMARY, Summary};
use crate::channel::About;
use crate::commit::Commitments;
use crate::config::{Config, Destination};
use crate::folders::{self, Folders, Stage};
use crate::hours::Hours;
use crate::log::Log;
use crate::time;

pub(crate) use finish::{drop_all, settle};
pub(crate) use wait::due;
pub use wait::{Asked, Attempt, Tally, Wait, gone, tally, waits};

/// How often it is looked whether a peer has committed itself.
const LOOK: Duration = Duration::from_secs(2);
/// Seconds of a day.
const DAY: u64 = 86_400;

/// Why a delivery did not succeed this time.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Nothing can be delivered there now.
    #[error("{0}")]
    Unreachable(String),
    /// This result was not taken.
    #[error("{file}: {reason}")]
    Refused {
        /// The result.
        file: String,
        /// What was said against it.
        reason: String,
    },
    /// The peer has it, and has not yet committed itself to keep it.
    #[error("the peer has not committed itself yet")]
    Pending,
    /// The result cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The result.
        file: String,
        /// Why.
        source: io::Error,
    },
}

/// Takes results somewhere.
pub trait Deliver: Send {
    /// Delivers all of a study's results that go there, or says why not; gives what was said
    /// against results that were taken all the same. `folder` is the study's. What was delivered
    /// before is delivered again, with the same names and UIDs.
    ///
    /// # Errors
    /// [`DeliveryError`]
    fn deliver(
        &mut self,
        case: &Case,
        folder: &Path,
        results: &[Made],
    ) -> Result<Vec<Reservation>, DeliveryError>;
}

/// What was said against a result that was taken all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The result.
    pub file: String,
    /// What was said.
    pub said: String,
}

/// Delivers to one destination.
pub struct Sender {
    folders: Arc<Folders>,
    config: Arc<Config>,
    log: Log,
    hours: Arc<Hours>,
    to: Destination,
    way: Box<dyn Deliver>,
    /// Failures of each study that is to be tried again, and when.
    later: HashMap<String, (u32, Instant)>,
    /// Studies of which the destination has all, or gets nothing, and that others still wait for.
    /// Whoever brings the last result lets a study go, so that these need no second look.
    over: HashSet<String>,
    /// Failures to reach the destination at all, and until when it is left alone.
    away: (u32, Instant),
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("to", &self.to.name).finish_non_exhaustive()
    }
}

impl Sender {
    /// Delivers to a destination.
    #[must_use]
    pub fn new(
        folders: Arc<Folders>,
        config: Arc<Config>,
        log: Log,
        hours: Arc<Hours>,
        to: Destination,
        commitments: &Commitments,
    ) -> Self {
        let way = way(&to, &config, commitments, &hours);
        let away = (0, Instant::now());
        let (later, over) = (HashMap::new(), HashSet::new());
        Self { folders, config, log, hours, to, way, later, over, away }
    }

    /// Delivers what can be delivered now; whether that was anything.
    ///
    /// # Errors
    /// The folders cannot be looked at.
    pub fn round(&mut self, go_on: &dyn Fn() -> bool) -> io::Result<bool> {
        let mut any = false;
        let cases = self.folders.cases(Stage::Outgoing)?;
        let there = |name: &String| cases.binary_search(name).is_ok();
        self.later.retain(|name, _| there(name));
        self.over.retain(there);
        for name in cases {
            if !go_on() || self.away.1 > Instant::now() {
                break;
            }
            if self.later.get(&name).is_some_and(|(_, at)| *at > Instant::now()) {
                continue;
            }
            match self.one(&name) {
                Ok(delivered) => any |= delivered,
                // Another destination's thread had the last word, or a person discarded it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let to = &self.to.name;
                    self.log
                        .error("not delivered", &[("to", to), ("case", &name), ("error", &error)]);
                    self.postpone(&name);
                }
            }
        }
        Ok(any)
    }

    fn one(&mut self, name: &str) -> io::Result<bool> {
        let folder = self.folders.stage(Stage::Outgoing).join(name);
        let marked = wait::is_over(&folder, &self.to.name);
        if marked && self.over.contains(name) {
            return Ok(false);
        }
        if marked {
            return self.leave(name);
        }
        let summary: Summary = case::read(&folder.join(RESULTS).join(SUMMARY))?;
        let mine: Vec<Made> =
            summary.results.into_iter().filter(|made| made.goes_to(&self.to)).collect();
        if mine.is_empty() {
            return self.leave(name);
        }
        let case: Case = case::read(&folder.join(CASE))?;
        match self.way.deliver(&case, &folder, &mine) {
            Ok(reservations) => self.delivered(name, mine.len(), &reservations).map(|()| true),
            Err(error) => self.failed(name, case, &error).map(|()| false),
        }
    }

    fn delivered(&mut self, name: &str, results: usize, said: &[Reservation]) -> io::Result<()> {
        let folder = self.folders.stage(Stage::Outgoing).join(name);
        let to = &self.to.name;
        self.away = (0, Instant::now());
        self.later.remove(name);
        folders::remove(&wait::away(&self.folders, to))?;
        put(&case::mark(&folder, SENT, to), b"")?;
        folders::remove(&case::mark(&folder, LATE, to))?;
        for Reservation { file, said } in said {
            let fields: [(&str, &dyn ToString); 4] =
                [("case", &name), ("to", to), ("file", file), ("status", said)];
            self.log.warning("delivered with a warning", &fields);
        }
        let fields: [(&str, &dyn ToString); 3] =
            [("case", &name), ("to", to), ("results", &results)];
        self.log.info("delivered", &fields);
        self.finish(name)
    }

    /// Nothing is left to do for a study here, perhaps since an earlier process.
    fn leave(&mut self, name: &str) -> io::Result<bool> {
        self.finish(name)?;
        self.over.insert(name.to_owned());
        Ok(false)
    }

    /// A delivery that did not succeed is tried again, until its days are over.
    fn failed(&mut self, name: &str, case: Case, error: &DeliveryError) -> io::Result<()> {
        let folder = self.folders.stage(Stage::Outgoing).join(name);
        let to = self.to.name.clone();
        if !matches!(error, DeliveryError::Pending) {
            self.log.warning("not delivered", &[("case", &name), ("to", &to), ("error", error)]);
        }
        let days = u64::from(self.config.retry.days);
        if self.tried_s(&folder, case)? >= days * DAY {
            put(&case::mark(&folder, GIVEN_UP, &to), error.to_string().as_bytes())?;
            self.log.error("given up", &[("case", &name), ("to", &to), ("days", &days)]);
            return self.finish(name);
        }
        match error {
            DeliveryError::Unreachable(_) => {
                let count = self.away.0 + 1;
                self.away = (count, Instant::now() + self.pause(count));
                self.keep(&wait::away(&self.folders, &to), count, error)
            }
            DeliveryError::Pending => {
                self.later.insert(name.to_owned(), (0, Instant::now() + LOOK));
                folders::remove(&case::mark(&folder, LATE, &to))
            }
            _ => {
                let count = self.postpone(name);
                self.keep(&case::mark(&folder, LATE, &to), count, error)
            }
        }
    }

    /// For how many seconds a study's delivery has been tried. A study without a time to count
    /// from, or with one that is yet to come, is counted from now on.
    fn tried_s(&self, folder: &Path, case: Case) -> io::Result<u64> {
        let ran = self.hours.ran_s();
        if let Some(tried) = case.due_ran_s.and_then(|begun| ran.checked_sub(begun)) {
            return Ok(tried);
        }
        case::write(&folder.join(CASE), &Case { due_ran_s: Some(ran), ..case })?;
        Ok(0)
    }

    /// Keeps why a delivery waits, for who asks.
    fn keep(&self, path: &Path, tries: u32, error: &DeliveryError) -> io::Result<()> {
        let (error, last_s) = (error.to_string(), time::now_s());
        let next_s = last_s + self.pause(tries).as_secs();
        put_json(path, &Attempt { tries, error, last_s, next_s })
    }

    fn finish(&self, name: &str) -> io::Result<()> {
        if let Some(stage) = finish::finish(&self.folders, &self.config.destination, name)? {
            self.log.info(stage.name(), &[("case", &name)]);
        }
        Ok(())
    }

    fn postpone(&mut self, name: &str) -> u32 {
        let count = self.later.get(name).map_or(0, |(count, _)| *count) + 1;
        self.later.insert(name.to_owned(), (count, Instant::now() + self.pause(count)));
        count
    }

    fn pause(&self, count: u32) -> Duration {
        let retry = &self.config.retry;
        let pause = u64::from(retry.first_s) << (count - 1).min(20);
        Duration::from_secs(pause.min(retry.longest_s.into()))
    }
}

/// Writes a mark into its folder, which may be new.
fn put(mark: &Path, text: &[u8]) -> io::Result<()> {
    folders::make(mark.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    folders::write(mark, text)
}

/// Writes a JSON file, which people read, too, into its folder, which may be new.
fn put_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    folders::make(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    case::write(path, value)
}

/// Whether a DICOM peer answers.
///
/// # Errors
/// [`DeliveryError`]
pub(crate) fn echo(to: &Destination, patience: Duration) -> Result<About, DeliveryError> {
    peer::echo(to, patience)
}

/// The way to a destination.
#[must_use]
pub(crate) fn way(
    to: &Destination,
    config: &Config,
    commitments: &Commitments,
    hours: &Arc<Hours>,
) -> Box<dyn Deliver> {
    match &to.folder {
        Some(folder) => Box::new(folder::ToFolder(folder.clone())),
        None => Box::new(peer::ToPeer::new(to, config, commitments.clone(), hours.clone())),
    }
}
