//! Whether there is room for more: a full disk or queue is refused politely, before it hurts.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Keep;
use crate::folders::{Folders, Stage};

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Why nothing new is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Full {
    /// The disk is used up to this share, in percent.
    Disk {
        /// Percent.
        used: f64,
    },
    /// So little of the disk is free.
    Free {
        /// MiB.
        mib: u64,
    },
    /// So many studies wait.
    Queue {
        /// Their number.
        waiting: usize,
    },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { used } => write!(f, "the disk is full to {used:.1} %"),
            Self::Free { mib } => write!(f, "the disk has {mib} MiB left"),
            Self::Queue { waiting } => write!(f, "{waiting} studies wait"),
        }
    }
}

/// Knows the marks over which nothing new is taken.
#[derive(Debug)]
pub struct Gate {
    folders: Arc<Folders>,
    marks: Keep,
    last: Mutex<Option<(Instant, Option<Full>)>>,
}

impl Gate {
    /// A gate with these marks.
    #[must_use]
    pub fn new(folders: Arc<Folders>, marks: Keep) -> Self {
        Self { folders, marks, last: Mutex::default() }
    }

    /// Why nothing new is taken now, if so. A disk that cannot be asked counts as full.
    pub fn full(&self) -> Option<Full> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, full)) if at.elapsed() < FRESH => full,
            _ => {
                let full = self.look().unwrap_or(Some(Full::Free { mib: 0 }));
                *last = Some((Instant::now(), full));
                full
            }
        }
    }

    fn look(&self) -> io::Result<Option<Full>> {
        let (used, mib) = self.folders.space()?;
        let waiting = self.folders.cases(Stage::Waiting)?.len();
        Ok(if used >= f64::from(self.marks.full_percent) {
            Some(Full::Disk { used })
        } else if mib < u64::from(self.marks.free_mib) {
            Some(Full::Free { mib })
        } else if waiting >= self.marks.waiting as usize {
            Some(Full::Queue { waiting })
        } else {
            None
        })
    }
}
