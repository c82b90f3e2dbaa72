//! A board without an operating system at the end of a serial line, as a [`Device`] of the
//! pipeline: raw slices go over, labels come back, and the line may lose bytes.
//!
//! [`monet_link`] has the frames and the messages. What stands here: how a line is opened
//! ([`Line`]), how a question is repeated until it is answered ([`Link`]), and how a volume goes
//! over ([`Remote`]).

mod line;
mod link;
mod remote;

use std::time::Duration;

use thiserror::Error;

pub use line::Line;
pub use link::Link;
pub use monet_link::Fault;
pub use remote::Remote;

#[cfg(doc)]
use crate::pipeline::Device;

/// Why a board gives no labels.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BoardError {
    /// The line cannot be opened, or fails.
    #[error("{port}: {doing}")]
    Line {
        /// The device or the address.
        port: String,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The other end has closed the line.
    #[error("{port}: the other end has closed the line")]
    Closed {
        /// The device or the address.
        port: String,
    },
    /// Nothing that was asked is answered.
    #[error(
        "{port}: no answer to {question} in {tries} tries of {} s: is the board on, and at this \
         speed?",
        wait.as_secs_f64()
    )]
    Silent {
        /// The device or the address.
        port: String,
        /// What was asked.
        question: &'static str,
        /// How often.
        tries: usize,
        /// How long each try waited.
        wait: Duration,
    },
    /// The board refuses.
    #[error("{port}: the board answers {question}: {fault}")]
    Refused {
        /// The device or the address.
        port: String,
        /// What was asked.
        question: &'static str,
        /// What it says.
        fault: Fault,
    },
    /// The board has another version of the protocol, or another package.
    #[error("{port}: the board's {what} is {found}, expected {expected}: {advice}")]
    Differs {
        /// The device or the address.
        port: String,
        /// What differs.
        what: &'static str,
        /// The board's.
        found: String,
        /// This program's, or the volume's.
        expected: String,
        /// What to do.
        advice: &'static str,
    },
    /// A voxel that does not go over.
    #[error(
        "intensity {0} is no whole number of 16 bits, which is what boards take: convert the volume"
    )]
    Voxel(f32),
    /// The work was interrupted.
    #[error("interrupted")]
    Interrupted,
}
