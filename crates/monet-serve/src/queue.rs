//! What a person does with studies: try again, discard, drop what nobody is to get any more.

use std::io;

use thiserror::Error;

use crate::case::{self, CASE, Case, DROPPED, GIVEN_UP, LATE, REASON, RESULTS, SENT};
use crate::config::Destination;
use crate::depart;
use crate::folders::{self, Folders, Stage};
use crate::hours;
use crate::status;

/// Why a study stays as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueueError {
    /// There is none of that name.
    #[error("there is no study {0}: `monet queue list` has their names")]
    Unknown(String),
    /// Its results have not arrived everywhere.
    #[error("{0} is not delivered everywhere: --force discards it all the same")]
    NotDelivered(String),
    /// It waits for its turn, or its results are on their way.
    #[error("{0} is {1}: nothing is to be tried again")]
    OnItsWay(String, &'static str),
    /// The configuration has this destination.
    #[error(
        "{0} is in the configuration: remove it there, and from the rules, and start the service \
         anew; then its deliveries can be dropped"
    )]
    Configured(String),
    /// What the system says.
    #[error("{0}: {1}")]
    System(String, io::Error),
}

/// Where a study is.
///
/// # Errors
/// [`QueueError::Unknown`]
pub fn find(folders: &Folders, name: &str) -> Result<Stage, QueueError> {
    status::find(folders, name).map_err(|_| QueueError::Unknown(name.to_owned()))
}

/// Lets a study that failed, or is done, go through again: a failed delivery is delivered again,
/// everything else is segmented anew. The days in which it is to be delivered begin again. Where it
/// is now.
///
/// # Errors
/// [`QueueError`]
pub fn retry(folders: &Folders, name: &str) -> Result<Stage, QueueError> {
    let stage = find(folders, name)?;
    if matches!(stage, Stage::Waiting | Stage::Outgoing) {
        return Err(QueueError::OnItsWay(name.to_owned(), stage.name()));
    }
    let folder = folders.stage(stage).join(name);
    let delivery = stage == Stage::Failed && folder.join(RESULTS).exists();
    let go = || {
        let remove = |what: &str| folders::remove_all(&folder.join(what));
        remove(GIVEN_UP)?;
        remove(LATE)?;
        let case: Case = case::read(&folder.join(CASE))?;
        let due_ran_s = Some(hours::read(folders.root()));
        case::write(&folder.join(CASE), &Case { due_ran_s, ..case })?;
        let next = if delivery {
            Stage::Outgoing
        } else {
            remove(SENT)?;
            remove(DROPPED)?;
            remove(RESULTS)?;
            Stage::Waiting
        };
        folders::remove(&folder.join(REASON))?;
        folders::move_new(&folder, &folders.stage(next).join(name))?;
        Ok(next)
    };
    go().map_err(|error| QueueError::System(name.to_owned(), error))
}

/// Removes a study; one whose results have not arrived everywhere only with `force`.
///
/// # Errors
/// [`QueueError`]
pub fn discard(folders: &Folders, name: &str, force: bool) -> Result<(), QueueError> {
    let stage = find(folders, name)?;
    if stage != Stage::Done && !force {
        return Err(QueueError::NotDelivered(name.to_owned()));
    }
    let folder = folders.stage(stage).join(name);
    folders.discard(&folder).map_err(|error| QueueError::System(name.to_owned(), error))
}

/// Drops what a destination was still to get that the configuration does not know any more; of how
/// many studies that was. A study for which nobody else waits is done.
///
/// # Errors
/// [`QueueError`]
pub fn drop_deliveries(
    folders: &Folders,
    destinations: &[Destination],
    to: &str,
) -> Result<usize, QueueError> {
    if destinations.iter().any(|known| known.name == to) {
        return Err(QueueError::Configured(to.to_owned()));
    }
    depart::drop_all(folders, destinations, to)
        .map_err(|error| QueueError::System(to.to_owned(), error))
}
