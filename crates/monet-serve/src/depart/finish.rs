//! How a study's deliveries end: everywhere, or for good.

use std::io;
use std::path::Path;

use super::{put, wait};
use crate::case::{self, DROPPED, GIVEN_UP};
use crate::config::Destination;
use crate::folders::{self, Folders, Stage};
use crate::log::Log;

/// Lets a study go that all destinations have, or have refused for good, or are not to get any
/// more; where it went, if it did. What a destination is to get that the configuration does not
/// know waits.
///
/// # Errors
/// What the system says; [`io::ErrorKind::NotFound`] where the study is not there.
pub(crate) fn finish(
    folders: &Folders,
    destinations: &[Destination],
    name: &str,
) -> io::Result<Option<Stage>> {
    let folder = folders.stage(Stage::Outgoing).join(name);
    let mut refused = Vec::new();
    for to in wait::due_of(&folder, destinations)? {
        if !wait::is_over(&folder, &to) {
            return Ok(None);
        }
        refused.extend(given_up(&folder, &to)?);
    }
    refused.extend(case::kept_apart(&folder)?);
    let next = if refused.is_empty() {
        Stage::Done
    } else {
        case::write_reason(&folder, &refused.join("\n"))?;
        Stage::Failed
    };
    folders::move_new(&folder, &folders.stage(next).join(name))?;
    Ok(Some(next))
}

fn given_up(folder: &Path, to: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(case::mark(folder, GIVEN_UP, to)) {
        Ok(reason) => Ok(Some(format!("not delivered to {to}: {reason}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets go what an earlier process, with another configuration perhaps, left without anything to
/// do.
pub(crate) fn settle(folders: &Folders, destinations: &[Destination], log: &Log) {
    for name in folders.cases(Stage::Outgoing).unwrap_or_default() {
        match finish(folders, destinations, &name) {
            Ok(Some(stage)) => log.info(stage.name(), &[("case", &name)]),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log.error("not settled", &[("case", &name), ("error", &error)]);
            }
            _ => {}
        }
    }
}

/// Drops what a destination was still to get; of how many studies that was.
///
/// # Errors
/// What the system says.
pub(crate) fn drop_all(
    folders: &Folders,
    destinations: &[Destination],
    to: &str,
) -> io::Result<usize> {
    let mut count = 0;
    for name in folders.cases(Stage::Outgoing)? {
        let folder = folders.stage(Stage::Outgoing).join(&name);
        let dropped = || -> io::Result<bool> {
            let due = wait::due_of(&folder, destinations)?;
            if !due.contains(to) || wait::is_over(&folder, to) {
                return Ok(false);
            }
            put(&case::mark(&folder, DROPPED, to), b"")?;
            finish(folders, destinations, &name)?;
            Ok(true)
        };
        match dropped() {
            Ok(dropped) => count += usize::from(dropped),
            // A running service had the last word.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
