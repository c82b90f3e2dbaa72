//! What people and monitors want to know: which studies are where, and how they are.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::case::{
    self, APART, CASE, Case, DROPPED, GIVEN_UP, REASON, RESULTS, SENT, SUMMARY, Summary,
};
use crate::config::Destination;
use crate::depart::{self, Wait};
use crate::folders::{self, Folders, Stage};

/// Longest reason that is shown.
const MAX_REASON: u64 = 16 << 10;

/// A study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its name, which commands take.
    pub name: String,
    /// `waiting`, `outgoing`, `done` or `failed`.
    pub stage: &'static str,
    /// Where it came from, and when.
    pub case: Case,
    /// What was made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Destinations that have it.
    pub sent: Vec<String>,
    /// Destinations that did not take it.
    pub given_up: Vec<String>,
    /// Destinations whose deliveries a person has dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Destinations that are still to get it, and why they have not got it yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
    /// Instances that came twice with different contents.
    pub apart: usize,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Number of studies at each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Instances that were stored and not yet looked at.
    pub incoming: usize,
    /// Studies that may still grow.
    pub growing: usize,
    /// Studies whose turn will come.
    pub waiting: usize,
    /// Studies whose results are on their way.
    pub outgoing: usize,
    /// Studies that are delivered.
    pub done: usize,
    /// Studies that failed.
    pub failed: usize,
}

impl Counts {
    /// Counts.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(folders: &Folders) -> io::Result<Self> {
        let count = |folder: PathBuf| {
            let whole = |name: &&String| !name.starts_with(folders::UNFINISHED);
            io::Result::Ok(folders::names(&folder)?.iter().filter(whole).count())
        };
        Ok(Self {
            incoming: count(folders.incoming())?,
            growing: count(folders.studies())?,
            waiting: folders.cases(Stage::Waiting)?.len(),
            outgoing: folders.cases(Stage::Outgoing)?.len(),
            done: folders.cases(Stage::Done)?.len(),
            failed: folders.cases(Stage::Failed)?.len(),
        })
    }
}

/// A study by its name, wherever it is.
///
/// # Errors
/// What the system says; [`io::ErrorKind::NotFound`].
pub fn find(folders: &Folders, name: &str) -> io::Result<Stage> {
    let here = |stage: &Stage| folders.cases(*stage).is_ok_and(|all| all.iter().any(|n| n == name));
    Stage::ALL.into_iter().find(here).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// What there is to know of a study, where these are the destinations of the configuration.
///
/// # Errors
/// What the system says; [`io::ErrorKind::NotFound`] where it has moved on.
pub fn entry(folders: &Folders, to: &[Destination], stage: Stage, name: &str) -> io::Result<Entry> {
    let folder = folders.stage(stage).join(name);
    let summary = folder.join(RESULTS).join(SUMMARY);
    let [sent, given_up, dropped] = [SENT, GIVEN_UP, DROPPED].map(|kind| {
        let mut names = folders::names(&folder.join(kind)).unwrap_or_default();
        names.sort_unstable();
        names
    });
    // A power cut may have left a refused file's folder without it.
    let case: Case = case::read(&folder.join(CASE)).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound if folder.exists() => Ok(Case::default()),
        _ => Err(error),
    })?;
    let summary: Option<Summary> = summary.exists().then(|| case::read(&summary)).transpose()?;
    let waits = match &summary {
        Some(summary) if stage == Stage::Outgoing => {
            depart::waits(folders, to, name, &case, summary)
        }
        _ => Vec::new(),
    };
    Ok(Entry {
        name: name.to_owned(),
        stage: stage.name(),
        case,
        summary,
        sent,
        given_up,
        dropped,
        waits,
        apart: folders::names(&folder.join(APART))?.len(),
        reason: reason(folder.join(REASON)),
    })
}

fn reason(path: PathBuf) -> Option<String> {
    let short = fs::metadata(&path).ok()?.len() <= MAX_REASON;
    if short { fs::read_to_string(path).ok() } else { None }
}

/// The studies at a stage, in order, at most so many of the newest.
///
/// # Errors
/// What the system says.
pub fn entries(
    folders: &Folders,
    to: &[Destination],
    stage: Stage,
    most: usize,
) -> io::Result<Vec<Entry>> {
    let names = folders.cases(stage)?;
    let newest = names.len().saturating_sub(most);
    let mut all = Vec::new();
    for name in &names[newest..] {
        match entry(folders, to, stage, name) {
            Ok(entry) => all.push(entry),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
