//! How a result may lie over an input, so that both together take little more memory than one.
//!
//! A pass goes down its rows once. If no later pass reads an input, the input's rows above those
//! still to be read are free, and the result may overwrite them. It does so if it begins a number
//! of bytes, the *lag*, before the input:
//!
//! ```text
//! arena address ──────────────────────────────────────────────────────────>
//! result   [ written rows    | rows still to be written              ]
//! input             [ free rows   | rows still to be read                ]
//!          |← lag →|         ↑    ↑
//!                            a    b          a must never pass b
//! ```
//!
//! The module [`pass`](super::pass) finds the least lag: it follows the pass row by row.

/// A result that may overlay an input of its pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlay {
    /// The block that the pass reads, for the last time.
    pub(super) input: usize,
    /// The block that it writes.
    pub(super) output: usize,
    /// Bytes that the output must begin before the input.
    pub(super) lag: usize,
}
