//! What the command says. Messages go to standard error and never stop the work; results go to
//! standard output, and results that are lost are an error. Control characters of either are
//! escaped: what a file is called does not move a terminal's cursor.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::{Context, Result};
use monet::text;

/// Tells that something is odd.
pub(super) fn warn(text: impl Display) {
    say(&format!("monet: warning: {text}"));
}

/// Tells what a person may want to know.
pub(super) fn note(text: impl Display) {
    say(&format!("monet: {text}"));
}

/// Tells an error with its causes.
pub(super) fn report(error: &anyhow::Error) {
    say(&format!("monet: error: {error:#}"));
}

/// A message: one entry of a log, whose further lines are indented, so that none of them passes for
/// another entry.
fn say(text: &str) {
    let entry = text::lines(text.trim_end()).replace('\n', "\n  ");
    // A log on a full disk or a reader that has gone is no reason to stop.
    let _ = io::stderr().write_all(format!("{entry}\n").as_bytes());
}

/// Prints results.
///
/// # Errors
/// Standard output that cannot be written; a reader that has seen enough, as `head` has, is none.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text::lines(text).as_bytes()).and_then(|()| out.flush());
    forgive(written).context("standard output cannot be written")
}

/// Help or the version, as results; what is wrong with a command line, as a message. Returns the
/// exit code.
pub(super) fn usage(error: &clap::Error) -> u8 {
    if error.use_stderr() {
        let _ = io::stderr().write_all(text::lines(&error.render().to_string()).as_bytes());
        return 2;
    }
    match forgive(error.print().and_then(|()| io::stdout().flush())) {
        Ok(()) => 0,
        Err(error) => {
            report(&anyhow::Error::new(error).context("standard output cannot be written"));
            1
        }
    }
}

/// A closed pipe is no failure.
fn forgive(written: io::Result<()>) -> io::Result<()> {
    written.or_else(
        |error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) },
    )
}
