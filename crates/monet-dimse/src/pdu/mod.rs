//! Protocol data units (PS3.8, section 9.3).
//!
//! ```text
//! type  0  length32  body          big-endian; the length is the body's
//!   01 A-ASSOCIATE-RQ   02 A-ASSOCIATE-AC   03 A-ASSOCIATE-RJ   04 P-DATA-TF
//!   05 A-RELEASE-RQ     06 A-RELEASE-RP     07 A-ABORT
//! P-DATA-TF body:  (length32  context  control  fragment)+
//!   control bit 0: of a command; bit 1: the command's or data set's last
//! ```
//!
//! What is parsed here is in memory already and within a limit: see [`PduKind::most`].

mod associate;
mod items;
mod short;

pub use associate::{Accept, Answer, Associate, ContextAnswer, ProposedContext};
pub use items::{Role, UserInformation};
pub use short::{Abort, AbortReason, Reject};

use crate::error::Violation;
use crate::limits::MAX_ASSOCIATE;

/// Bytes of a PDU's type and length.
pub const HEADER: usize = 6;
/// Bytes in front of a fragment.
pub const PDV_HEADER: usize = 6;

/// A PDU's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PduKind {
    /// A-ASSOCIATE-RQ.
    AssociateRequest = 1,
    /// A-ASSOCIATE-AC.
    AssociateAccept = 2,
    /// A-ASSOCIATE-RJ.
    AssociateReject = 3,
    /// P-DATA-TF.
    Data = 4,
    /// A-RELEASE-RQ.
    ReleaseRequest = 5,
    /// A-RELEASE-RP.
    ReleaseReply = 6,
    /// A-ABORT.
    Abort = 7,
}

impl PduKind {
    /// The type that a PDU's first byte names.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::AssociateRequest,
            2 => Self::AssociateAccept,
            3 => Self::AssociateReject,
            4 => Self::Data,
            5 => Self::ReleaseRequest,
            6 => Self::ReleaseReply,
            7 => Self::Abort,
            _ => return None,
        })
    }

    /// How long a body of this type may be, where this side announced so many bytes for data.
    #[must_use]
    pub fn most(self, data: u32) -> u32 {
        match self {
            Self::AssociateRequest | Self::AssociateAccept => MAX_ASSOCIATE,
            Self::Data => data,
            Self::AssociateReject | Self::ReleaseRequest | Self::ReleaseReply | Self::Abort => 4,
        }
    }

    /// Whether a body of so many bytes can be of this type.
    #[must_use]
    pub fn fits(self, length: u32, data: u32) -> bool {
        let least = match self {
            Self::AssociateRequest | Self::AssociateAccept => associate::FIXED as u32,
            Self::Data => PDV_HEADER as u32,
            Self::AssociateReject | Self::ReleaseRequest | Self::ReleaseReply | Self::Abort => 4,
        };
        (least..=self.most(data)).contains(&length)
    }
}

/// A PDU's type and the length of its body.
///
/// # Errors
///
/// A type that the standard does not know, or a length that the type cannot have.
pub fn header(bytes: [u8; HEADER], data: u32) -> Result<(PduKind, u32), Violation> {
    let [kind, _, a, b, c, d] = bytes;
    let length = u32::from_be_bytes([a, b, c, d]);
    let kind = PduKind::from_byte(kind).ok_or(Violation::PduKind { found: kind })?;
    if !kind.fits(length, data) {
        return Err(Violation::PduLength { kind, found: length, most: kind.most(data) });
    }
    Ok((kind, length))
}

/// Begins a PDU whose body's length is not known yet; [`end`] fills it in.
fn begin(kind: PduKind, out: &mut Vec<u8>) -> usize {
    out.extend([kind as u8, 0, 0, 0, 0, 0]);
    out.len()
}

fn end(body: usize, out: &mut [u8]) {
    let length = (out.len() - body) as u32;
    out[body - 4..body].copy_from_slice(&length.to_be_bytes());
}

/// Appends a whole release request or reply.
pub fn put_release(kind: PduKind, out: &mut Vec<u8>) {
    out.extend([kind as u8, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
}

/// A fragment of a command or data set: a presentation data value (PS3.8, section 9.3.5.1 and
/// annex E.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pdv {
    /// Presentation context.
    pub context: u8,
    /// Whether it is of a command, and not of a data set.
    pub command: bool,
    /// Whether it is the last of its command or data set.
    pub last: bool,
    /// Where the fragment begins in the PDU's body.
    pub start: usize,
    /// Where the fragment ends.
    pub end: usize,
}

const COMMAND: u8 = 1;
const LAST: u8 = 2;

/// The fragment whose front begins at byte `at` of a P-DATA body.
///
/// # Errors
///
/// A fragment that the body does not hold.
pub fn pdv(body: &[u8], at: usize) -> Result<Pdv, Violation> {
    let front = body.get(at..).and_then(|rest| rest.first_chunk::<PDV_HEADER>());
    let Some(&[a, b, c, d, context, control]) = front else {
        let left = body.len().saturating_sub(at) as u32;
        return Err(Violation::Fragment { found: 0, left });
    };
    let found = u32::from_be_bytes([a, b, c, d]);
    let left = (body.len() - at - 4) as u32;
    if found < 2 || found > left {
        return Err(Violation::Fragment { found, left });
    }
    let (start, end) = (at + PDV_HEADER, at + 4 + found as usize);
    let (command, last) = (control & COMMAND != 0, control & LAST != 0);
    Ok(Pdv { context, command, last, start, end })
}

/// Appends the front of a P-DATA PDU that has one fragment of so many bytes, which follow.
pub fn put_pdv(context: u8, command: bool, last: bool, length: u32, out: &mut Vec<u8>) {
    out.extend([PduKind::Data as u8, 0]);
    out.extend((length + PDV_HEADER as u32).to_be_bytes());
    out.extend((length + 2).to_be_bytes());
    out.extend([context, (u8::from(command) * COMMAND) | (u8::from(last) * LAST)]);
}

#[cfg(test)]
mod tests;
