//! Raw slices to a board without an operating system, and labels back, over a serial line that may
//! drop, flip or repeat bytes. Nothing here allocates.
//!
//! ```text
//!        host                                              board
//!   [`Request`] ──encode──▶ [`Writer`] ──▶ bytes ──▶ [`Reader`] ──▶ [`Board::answer`]
//!    [`Answer`] ◀──────── [`Reader`] ◀── bytes ◀── [`Writer`] ◀──────────┘
//! ```
//!
//! # Frames
//!
//! A frame is a message and its check, stuffed so that it has no byte 0, and ended by a 0:
//!
//! ```text
//! content  u8 kind │ u8 tag │ body, at most 516 bytes │ u32 CRC-32 of all before
//! wire     COBS(content) │ 0
//! ```
//!
//! - Numbers are little-endian.
//! - COBS is the consistent overhead byte stuffing of Cheshire and Baker (IEEE/ACM Transactions on
//!   Networking 7, 1999): at most one byte in 254 more.
//! - CRC-32 is that of ISO-HDLC: polynomial 0x04c11db7, reflected, all ones before and after.
//! - A receiver that has lost its place finds it at the next 0. A sender that does not know what
//!   the line carried before begins with a 0; frames without content are passed over.
//! - An answer has the tag of its request. A damaged frame has no tag that could be believed: the
//!   error that answers it has tag 0, which no request uses.
//!
//! # Messages
//!
//! | kind | request | body | answer |
//! |---|---|---|---|
//! | 0x01 | hello | | about |
//! | 0x02 | begin | u16 width, height, slices; f64 spacing along both, mm | state |
//! | 0x03 | part | u16 slice, part; 1 to 256 i16 voxels | none |
//! | 0x04 | count | u16 pass, slice | state |
//! | 0x05 | segment | u16 slice | all its labels |
//!
//! | kind | answer | body |
//! |---|---|---|
//! | 0x81 | about | u8 version, channels, neighbours; u16 net height, width; u32 room, package |
//! | 0x82 | state | u16 pass, next slice; u8 whether the pass is wanted |
//! | 0x83 | labels | u16 slice, part; 1 to 512 labels |
//! | 0x8f | error | u8 [`Fault`]; u16 the slice that it is about |
//!
//! *Room* is the voxels of the largest slice that the board takes, *package* the CRC-32 of the
//! manifest of its package.
//!
//! A slice is its channels one after another, each row after row, cut into parts of 256 voxels; its
//! labels are cut into parts of 512. A volume goes over like this:
//!
//! 1. *Begin* forgets the volume before. The board says whether it wants a pass over the voxels.
//! 2. While it does, the host sends the parts of each slice, and *count*. The board takes a slice
//!    into its statistics once, however often it is asked to.
//! 3. The host sends the parts of a slice's neighbours and *segment*. The board keeps as many
//!    slices as its net sees at once, each in the place that its number gives: host and board need
//!    not agree on more.
//!
//! Every request can be repeated: the board answers as before. A part that got lost shows when the
//! board is asked for what needs it: the error names the slice, and the host sends that again. The
//! board waits for nothing, so a host that vanishes leaves it ready for the next.

#![no_std]

#[cfg(test)]
extern crate std;

mod board;
mod frame;
mod message;

pub use board::{Board, Memory, Unfit};
pub use frame::{CONTENT, Damage, Reader, WIRE, Writer, crc32};
pub use message::{Answer, Fault, LABELS, Malformed, Request, VOXELS, Voxels};

/// The version of frames and messages.
pub const VERSION: u8 = 1;
