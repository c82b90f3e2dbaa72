//! What a peer may take of this side's memory and time.

use std::time::Duration;

/// Longest association request or acceptance, in bytes without its header. 128 contexts with a
/// score of transfer syntaxes each take half of it.
pub const MAX_ASSOCIATE: u32 = 128 << 10;
/// Most presentation contexts that a request may propose: their identifiers are odd bytes
/// (PS3.8, section 9.3.2.2).
pub const MAX_CONTEXTS: usize = 128;
/// Most transfer syntaxes of one presentation context that are looked at.
pub const MAX_SYNTAXES: usize = 128;
/// Most role selections of an association that are looked at.
pub const MAX_ROLES: usize = 128;
/// Longest command set, in bytes. The longest of the services here has some 400.
pub const MAX_COMMAND: usize = 16 << 10;
/// Longest data set of a storage commitment message, in bytes: [`MAX_REFERENCES`] instances with
/// the longest UIDs. What is read of it takes eight times as much at most.
pub const MAX_INFORMATION: usize = 192 << 10;
/// Most instances that a storage commitment message names.
pub const MAX_REFERENCES: usize = 1024;
/// Most event reports that may wait while this side waits for an answer.
pub const MAX_PENDING: usize = 8;
/// Most bytes of a peer's words on an error that are kept.
pub const MAX_COMMENT: usize = 64;
/// Longest P-DATA PDU that this side announces where nothing else is said, in bytes.
pub const DEFAULT_PDU: u32 = 64 << 10;
/// Shortest P-DATA PDU that this side may announce, in bytes.
pub const MIN_PDU: u32 = 4 << 10;
/// Longest P-DATA PDU that this side announces or sends, whatever the peer allows, in bytes.
pub const MAX_PDU: u32 = 256 << 10;
/// Shortest limit of a peer on P-DATA PDUs that anything can be sent under: a fragment's front and
/// two bytes.
pub const MIN_PEER_PDU: u32 = 8;
/// Longest that the end of a connection is waited for after the last PDU was sent: what closes too
/// early destroys that PDU on its way.
pub const LINGER: Duration = Duration::from_millis(500);
/// Most bytes that are read and dropped during [`LINGER`].
pub const MAX_LINGER: usize = 4 << 20;

/// How long each part of an association may take. Every limit counts from the part's first moment
/// to its last: a peer that sends a byte a second gains nothing by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Negotiation, from the connection to the last byte of request and answer; PS3.8 calls it
    /// ARTIM.
    pub negotiation: Duration,
    /// Silence between messages.
    pub idle: Duration,
    /// One PDU of a message, to be received or to be sent.
    pub progress: Duration,
    /// One message, command and data set, and what this side does with the data set as it comes.
    pub message: Duration,
    /// A peer's work between a request's last byte and its answer's first.
    pub answer: Duration,
    /// The whole association.
    pub association: Duration,
}

impl Default for Limits {
    /// 30 s to negotiate, 30 s of silence, 30 s a PDU, 10 min a message, 2 min for an answer, 4 h
    /// in all.
    fn default() -> Self {
        Self {
            negotiation: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            progress: Duration::from_secs(30),
            message: Duration::from_secs(600),
            answer: Duration::from_secs(120),
            association: Duration::from_secs(4 * 3600),
        }
    }
}
