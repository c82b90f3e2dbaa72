//! Delivery into a folder: a folder a study, named by its UID.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{Deliver, DeliveryError, Reservation};
use crate::case::{Case, Made, RESULTS};
use crate::folders;

/// The folder.
#[derive(Debug)]
pub(super) struct ToFolder(pub(super) PathBuf);

impl Deliver for ToFolder {
    fn deliver(
        &mut self,
        case: &Case,
        folder: &Path,
        results: &[Made],
    ) -> Result<Vec<Reservation>, DeliveryError> {
        let away =
            |error: io::Error| DeliveryError::Unreachable(format!("{}: {error}", self.0.display()));
        // A folder that is not there may be a mount that is not: it is not made.
        if !self.0.is_dir() {
            return Err(away(io::ErrorKind::NotFound.into()));
        }
        let target = self.0.join(&case.study);
        folders::make(&target).map_err(away)?;
        for made in results {
            let unread = |source| DeliveryError::Read { file: made.file.clone(), source };
            let mut from = File::open(folder.join(RESULTS).join(&made.file)).map_err(unread)?;
            copy(&mut from, &target, &made.file).map_err(away)?;
        }
        Ok(Vec::new())
    }
}

/// The copy has its name when it is whole.
fn copy(from: &mut File, folder: &Path, name: &str) -> io::Result<()> {
    let part = folders::unfinished(folder);
    let copied = File::create(&part).and_then(|mut to| {
        io::copy(from, &mut to)?;
        to.sync_all()?;
        std::fs::rename(&part, folder.join(name))
    });
    if copied.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    copied?;
    folders::sync(folder)
}
