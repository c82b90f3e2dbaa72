//! A study that may still grow, and when it is complete.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::case::{self, CASE, Case, IMAGES};
use crate::config::{self, Study};
use crate::folders;
use crate::time;

/// How long a study that has as many instances as it states is waited for all the same: scanners
/// state the number that there is so far, too.
const SETTLE: Duration = Duration::from_secs(5);

/// What is known of a growing study beside its folder.
#[derive(Debug)]
pub(crate) struct Growing {
    pub(crate) case: Case,
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    /// How many instances it is to have, where its images say so.
    pub(crate) of: Option<usize>,
}

impl Growing {
    /// Of a study that an earlier process left: its times by the clock, its last instance's by the
    /// folder's.
    pub(crate) fn found(folder: &Path, study: &str) -> io::Result<Self> {
        let images = folder.join(IMAGES);
        let mut case: Case = case::read(&folder.join(CASE))?;
        case.study = study.into();
        case.instances = folders::names(&images)?.len();
        let now = Instant::now();
        let ago = |elapsed: Duration| now.checked_sub(elapsed).unwrap_or(now);
        let first = Duration::from_secs(time::now_s().saturating_sub(case.first_s));
        let last = fs::metadata(&images)?.modified()?.elapsed().unwrap_or_default();
        Ok(Self { case, first: ago(first), last: ago(last), of: None })
    }

    /// Whether as many instances are there as the study states. A number that is exceeded, or that
    /// was reached before the study grew on, is not believed.
    fn is_counted(&self, rules: &Study) -> bool {
        rules.count && self.of == Some(self.case.instances) && self.case.earlier.is_none()
    }

    /// How long after its last instance the study is complete.
    pub(crate) fn wait(&self, rules: &Study) -> Duration {
        let quiet = config::seconds(rules.quiet_s);
        if self.is_counted(rules) { quiet.min(SETTLE) } else { quiet }
    }

    /// Why a study counts as complete, if it does.
    pub(crate) fn completeness(&self, rules: &Study) -> Option<&'static str> {
        if self.last.elapsed() >= self.wait(rules) {
            Some(match self.is_counted(rules) {
                true => "all instances that it states have come",
                false => "nothing came for the quiet time",
            })
        } else if self.first.elapsed() >= config::seconds(rules.longest_s) {
            Some("the longest wait is over")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_reached_is_believed_once_nothing_comes() {
        let rules = Study { quiet_s: 60, ..Study::default() };
        let growing = |instances, of, ago, earlier: Option<&str>| Growing {
            case: Case { instances, earlier: earlier.map(str::to_owned), ..Case::default() },
            first: Instant::now(),
            last: Instant::now().checked_sub(Duration::from_secs(ago)).unwrap(),
            of,
        };
        let complete = |growing: Growing| growing.completeness(&rules);
        // A scanner that states 1 with each image, or the number so far: one that comes soon goes
        // into the same case.
        assert_eq!(complete(growing(1, Some(1), 1, None)), None);
        assert!(complete(growing(1, Some(1), 6, None)).unwrap().contains("states"));
        assert_eq!(complete(growing(2, Some(1), 6, None)), None, "it is exceeded");
        // One that comes late begins a second case, and no third.
        assert_eq!(complete(growing(2, Some(2), 6, Some("the first"))), None);
        assert!(complete(growing(2, Some(2), 61, Some("the first"))).is_some());
        assert_eq!(complete(growing(5, Some(6), 6, None)), None);
    }
}
