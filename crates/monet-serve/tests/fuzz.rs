//! The fuzzer of [`monet_serve::fuzz`] on stable Rust, with every byte of memory counted: see
//! [`monet_testing::damage`]. The seeds are requests of a browser and of a monitor.

use monet_serve::fuzz::http;
use monet_testing::damage::{Counter, Fuzzer, folder};

#[global_allocator]
static COUNTER: Counter = Counter;

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b":",
    b"/",
    b"../",
    b"%2e%2e",
    b"\0",
    b"\xff",
    b"<script>",
    b"?",
    b"GET ",
    b"HTTP/1.1",
    b"Authorization: Basic ",
    b"\t",
];

#[test]
fn damaged_requests_are_refused_within_bounds() {
    // The head, its parts, and what is shown of the path, in which a character takes six bytes.
    let limit = |bytes: &[u8]| 16 * bytes.len() + 4096;
    let fuzzer =
        Fuzzer { name: "http", run: http, words: WORDS, limit: &limit, may_panic: &|_| false };
    fuzzer.run(|| folder("http"), 50_000);
}
