//! Takes studies in, hands them to a program one by one, and delivers the results: for years, with
//! nobody looking.
//!
//! The crate knows folders, DICOM headers, processes and peers. It knows nothing of nets: what is
//! made of a study is the business of a program that it starts, one process a study.
//!
//! ```text
//! network ─┐ arrive    collect      work            depart
//! folders ─┴─────▶ incoming ─▶ studies ─▶ waiting ─▶ outgoing ─┬─▶ done    (kept for some days)
//!             stored,     growing      complete,   results     └─▶ failed  (with the reason)
//!             answered                 in order    to deliver
//! ```
//!
//! Each word from `incoming` on is a folder of [`folders::Folders`]. The folders are the whole
//! state: a study moves by one rename, each rename is on disk before the next step, and a service
//! that starts goes on with what it finds.

#![forbid(unsafe_code)]

pub mod arrive;
mod bell;
pub mod case;
mod channel;
pub mod check;
mod collect;
mod commit;
pub mod config;
pub mod depart;
pub mod folders;
pub mod fuzz;
mod growing;
pub mod hours;
mod keep;
pub mod log;
pub mod owner;
pub mod page;
mod part10;
pub mod queue;
mod service;
pub mod sort;
pub mod status;
pub mod strays;
mod time;
#[cfg_attr(not(feature = "tls"), path = "tls_absent.rs")]
mod tls;
mod work;

pub use commit::Commitments;
pub use service::{Program, Service};
pub use work::{NO_SPACE, is_full};
