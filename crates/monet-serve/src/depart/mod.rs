//! Delivers results. Each destination has a thread and a pace of its own, so that a dead one holds
//! up no other.

mod folder;
mod peer;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::case::{self, CASE, Case, GIVEN_UP, Made, RESULTS, SENT, SUMMARY, Summary};
use crate::channel::About;
use crate::commit::Commitments;
use crate::config::{Config, Destination};
use crate::folders::{self, Folders, Stage};
use crate::log::Log;
use crate::time;

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
    /// Delivers all of a study's results that go there, or says why not. `folder` is the study's.
    /// What was delivered before is delivered again, with the same names and UIDs.
    ///
    /// # Errors
    /// [`DeliveryError`]
    fn deliver(
        &mut self,
        case: &Case,
        folder: &Path,
        results: &[Made],
    ) -> Result<(), DeliveryError>;
}

/// Delivers to one destination.
pub struct Sender {
    folders: Arc<Folders>,
    config: Arc<Config>,
    log: Log,
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
        to: Destination,
        commitments: &Commitments,
    ) -> Self {
        let way = way(&to, &config, commitments);
        let away = (0, Instant::now());
        Self { folders, config, log, to, way, later: HashMap::new(), over: HashSet::new(), away }
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
        let marks = [SENT, GIVEN_UP].map(|kind| case::mark(&folder, kind, &self.to.name));
        let marked = marks.iter().any(|mark| mark.exists());
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
            Ok(()) => {
                self.away = (0, Instant::now());
                self.later.remove(name);
                put(&marks[0], b"")?;
                let fields: [(&str, &dyn ToString); 3] =
                    [("case", &name), ("to", &self.to.name), ("results", &mine.len())];
                self.log.info("delivered", &fields);
                self.finish(name)?;
                Ok(true)
            }
            Err(error) => self.failed(name, &case, &marks[1], &error).map(|()| false),
        }
    }

    /// Nothing is left to do for a study here, perhaps since an earlier process.
    fn leave(&mut self, name: &str) -> io::Result<bool> {
        self.finish(name)?;
        self.over.insert(name.to_owned());
        Ok(false)
    }

    /// A delivery that did not succeed is tried again, until its days are over.
    fn failed(
        &mut self,
        name: &str,
        case: &Case,
        given_up: &Path,
        error: &DeliveryError,
    ) -> io::Result<()> {
        let to = &self.to.name;
        if !matches!(error, DeliveryError::Pending) {
            self.log.warning("not delivered", &[("case", &name), ("to", to), ("error", error)]);
        }
        let days = u64::from(self.config.retry.days);
        let since = case.complete_s.max(case.retried_s);
        if time::now_s().saturating_sub(since) > days * DAY {
            put(given_up, error.to_string().as_bytes())?;
            self.log.error("given up", &[("case", &name), ("to", to), ("days", &days)]);
            return self.finish(name);
        }
        match error {
            DeliveryError::Unreachable(_) => {
                let count = self.away.0 + 1;
                self.away = (count, Instant::now() + self.pause(count));
            }
            DeliveryError::Pending => {
                self.later.insert(name.to_owned(), (0, Instant::now() + LOOK));
            }
            _ => self.postpone(name),
        }
        Ok(())
    }

    /// Lets a study go that all destinations have, or have refused for good.
    fn finish(&self, name: &str) -> io::Result<()> {
        let folder = self.folders.stage(Stage::Outgoing).join(name);
        let summary: Summary = case::read(&folder.join(RESULTS).join(SUMMARY))?;
        let mut refused = Vec::new();
        for to in &self.config.destination {
            if !summary.results.iter().any(|made| made.goes_to(to)) {
                continue;
            }
            if case::mark(&folder, SENT, &to.name).exists() {
                continue;
            }
            match std::fs::read_to_string(case::mark(&folder, GIVEN_UP, &to.name)) {
                Ok(reason) => refused.push(format!("not delivered to {}: {reason}", to.name)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // The configuration may have changed since the results were made.
        let known = |name: &&String| self.config.destination.iter().any(|to| to.name == **name);
        let named = summary.results.iter().flat_map(|made| &made.to);
        let unknown: BTreeSet<_> = named.filter(|name| !known(name)).collect();
        refused
            .extend(unknown.iter().map(|name| format!("there is no destination {name} any more")));
        refused.extend(case::kept_apart(&folder)?);
        let next = if refused.is_empty() {
            Stage::Done
        } else {
            case::write_reason(&folder, &refused.join("\n"))?;
            Stage::Failed
        };
        folders::move_new(&folder, &self.folders.stage(next).join(name))?;
        self.log.info(next.name(), &[("case", &name)]);
        Ok(())
    }

    fn postpone(&mut self, name: &str) {
        let count = self.later.get(name).map_or(0, |(count, _)| *count) + 1;
        self.later.insert(name.to_owned(), (count, Instant::now() + self.pause(count)));
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
) -> Box<dyn Deliver> {
    match &to.folder {
        Some(folder) => Box::new(folder::ToFolder(folder.clone())),
        None => Box::new(peer::ToPeer::new(to, config, commitments.clone())),
    }
}
