//! Skips that are seen: on standard error, past the test harness, which keeps to itself what a test
//! that passes has printed; and counted, in a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::{env, io, thread};

/// Says that the test that calls goes without something, and why.
///
/// The line goes to standard error and to the end of the file that the environment variable
/// `MONET_SKIPS` names. CI compares that file with the list of skips that it expects.
///
/// # Panics
///
/// Panics where the line cannot be written, since a skip must not be lost.
#[track_caller]
pub fn skip(why: &str) {
    // The harness names a test's thread by the test, unless tests run one after the other.
    let here = thread::current();
    let test = match here.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => Location::caller().file().to_owned(),
    };
    let line = format!("SKIPPED {test}: {why}\n");
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
    if let Some(path) = env::var_os("MONET_SKIPS") {
        // One write of a short line to the end of a file: lines of several tests never mix.
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.expect("the file that MONET_SKIPS names can be written");
    }
}
