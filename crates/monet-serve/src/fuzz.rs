//! What a fuzzer runs: a browser's bytes, from the first to the last, as the status page takes
//! them. No bytes may make it panic or take memory without bound.
//!
//! `cargo fuzz run http` runs it under libFuzzer, `tests/fuzz.rs` on stable Rust.

use std::path::Path;

use crate::folders::Folders;
use crate::page::{escape, parse};
use crate::status;

/// How many bytes come at a time: one in the shortest requests, for all the places where a request
/// may break off.
fn step(length: usize) -> usize {
    if length < 256 { 1 } else { 1024 }
}

/// A request that arrives in pieces, and a look for the study that it names.
///
/// # Panics
///
/// Panics where a request asks for a study that is not there and gets one, or where what it says
/// would be markup in a page.
pub fn http(bytes: &[u8]) {
    let mut come = 0;
    let head = loop {
        match parse(&bytes[..come]) {
            Ok(None) if come < bytes.len() => come = bytes.len().min(come + step(bytes.len())),
            Ok(Some(head)) => break head,
            Ok(None) | Err(_) => return,
        }
    };
    let nowhere = Folders::of(Path::new("/nonexistent"));
    for name in head.path.split('/') {
        assert!(status::find(&nowhere, name).is_err(), "{name:?}");
    }
    let shown = escape(&head.path);
    assert!(!shown.contains(['<', '>', '"', '\'']), "{shown:?}");
}
