//! What can go wrong on an association.

use std::fmt;
use std::io;

use monet_dicom::Tag;
use monet_dicom::read::ReadError;

use crate::limits::{
    MAX_COMMAND, MAX_CONTEXTS, MAX_INFORMATION, MAX_PENDING, MAX_REFERENCES, MIN_PEER_PDU,
};
use crate::pdu::{Abort, AbortReason, PduKind, Reject};
use crate::title::AeTitle;

/// Why an association is not opened, or ends.
///
/// Messages hold titles, UIDs of classes and numbers; nothing of a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection fails.
    #[error("the connection fails: {0}")]
    Io(#[source] io::Error),
    /// The peer ended the connection without a word.
    #[error("the peer closed the connection without release or abort")]
    Closed,
    /// The peer took too long.
    #[error("the peer took too long: the limit on {0} is over")]
    TimedOut(Phase),
    /// The peer refuses to open an association.
    #[error("the peer refuses the association: {0}")]
    Rejected(Reject),
    /// This side refused to open an association.
    #[error("association of {calling:?} with {called:?} refused: {reject}")]
    Refused {
        /// What the peer was told.
        reject: Reject,
        /// The peer's title; `None` if it is none.
        calling: Option<AeTitle>,
        /// The title that the peer called; `None` if it is none.
        called: Option<AeTitle>,
    },
    /// The peer ended the association at once.
    #[error("the peer aborted the association {0}")]
    Aborted(Abort),
    /// The peer broke the protocol; this side aborted the association.
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The peer takes no such instances; the association goes on.
    #[error("the peer accepted no context for SOP class {class} in transfer syntax {syntax}")]
    NotAccepted {
        /// SOP class.
        class: String,
        /// Transfer syntax, or `any`.
        syntax: String,
    },
    /// The data that was to be sent cannot be read; this side aborted the association.
    #[error("the data set cannot be read to its end: {0}")]
    Source(#[source] io::Error),
    /// The association has ended before.
    #[error("the association has ended; open another one")]
    Over,
    /// What was to be said cannot be said.
    #[error("{0}")]
    Invalid(&'static str),
}

impl Error {
    /// Whether the association goes on after this error.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self, Self::NotAccepted { .. } | Self::Invalid(_))
    }

    /// What this side says as it aborts; `None` where the other side cannot hear it.
    pub(crate) fn abort(&self) -> Option<Abort> {
        match self {
            Self::Violation(violation) => Some(Abort::provider(violation.reason())),
            Self::TimedOut(_) => Some(Abort::provider(AbortReason::NotSpecified)),
            Self::Source(_) => Some(Abort::USER),
            _ => None,
        }
    }

    /// As an error of a reader; [`Error::from_io`] finds it again.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::TimedOut(_) => io::ErrorKind::TimedOut,
            Self::Closed => io::ErrorKind::UnexpectedEof,
            Self::Aborted(_) => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    /// The association's error inside what [`std::io::Read`] of a data set returned.
    #[must_use]
    pub fn from_io(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Io)
    }
}

/// Part of an association that has a limit of time, see [`crate::limits::Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Request and answer.
    Negotiation,
    /// Between messages.
    Idle,
    /// One PDU.
    Progress,
    /// One message.
    Message,
    /// Until an answer begins.
    Answer,
    /// All of it.
    Association,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negotiation => "the negotiation",
            Self::Idle => "silence between messages",
            Self::Progress => "one PDU",
            Self::Message => "one message",
            Self::Answer => "an answer",
            Self::Association => "the whole association",
        })
    }
}

/// How a peer broke the protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A PDU of no type.
    #[error("PDU type {found:#04x} is none that PS3.8 knows{}", hint(*found))]
    PduKind {
        /// The type.
        found: u8,
    },
    /// A PDU that is too long or too short.
    #[error("a PDU of type {kind:?} says it has {found} bytes; it may have up to {most}")]
    PduLength {
        /// Its type.
        kind: PduKind,
        /// Its length.
        found: u32,
        /// The longest that it may be.
        most: u32,
    },
    /// A PDU at the wrong time.
    #[error("a PDU of type {found:?} cannot come now")]
    Unexpected {
        /// Its type.
        found: PduKind,
    },
    /// A fragment that does not fit its PDU.
    #[error("a fragment says it has {found} bytes; its PDU has {left} left")]
    Fragment {
        /// The fragment's length.
        found: u32,
        /// What is left.
        left: u32,
    },
    /// An item that does not fit what it lies in, or its own type.
    #[error("item {kind:#04x} has or needs {found} bytes; {left} are left")]
    Item {
        /// The item's type.
        kind: u8,
        /// Its length.
        found: u32,
        /// What is left.
        left: u32,
    },
    /// A context that the peer may not propose.
    #[error("context {id} is even, comes twice, or is over {MAX_CONTEXTS} contexts")]
    ContextNumber {
        /// Its number.
        id: u8,
    },
    /// A message in a context that was not agreed.
    #[error("context {id} was not agreed on")]
    Context {
        /// Its number.
        id: u8,
    },
    /// A fragment of another context, or of another kind, in the midst of a message.
    #[error(
        "a fragment of context {id}, {}, in the midst of something else",
        if *command { "command" } else { "data set" }
    )]
    Interleaved {
        /// The fragment's context.
        id: u8,
        /// Whether it is of a command.
        command: bool,
    },
    /// A limit on PDUs under which nothing can be sent.
    #[error("the peer takes PDUs of {found} bytes; {MIN_PEER_PDU} are the least that hold data")]
    PeerLimit {
        /// The limit.
        found: u32,
    },
    /// A command set that is too long.
    #[error("a command set is longer than {MAX_COMMAND} bytes")]
    CommandLength,
    /// A command set that cannot be read.
    #[error("a command set cannot be read: {0}")]
    Command(#[source] ReadError),
    /// A command set that lacks something.
    #[error("a command set lacks element {tag}, or its value is none")]
    Lacks {
        /// The element.
        tag: Tag,
    },
    /// An answer to nothing that was asked, or a request where an answer was due.
    #[error("command {field:#06x} for message {id} answers nothing that was asked")]
    Answer {
        /// The command.
        field: u16,
        /// The message that it answers or is.
        id: u16,
    },
    /// A storage commitment's data set that is too long.
    #[error("a storage commitment's data set is longer than {MAX_INFORMATION} bytes")]
    InformationLength,
    /// More reports than may wait.
    #[error("more than {MAX_PENDING} event reports before an answer")]
    Pending,
}

/// TLS begins with one of its content types (RFC 8446, section 5.1).
fn hint(kind: u8) -> &'static str {
    match kind {
        20..=23 => "; the peer speaks TLS where plain DICOM is configured",
        _ => "",
    }
}

impl Violation {
    fn reason(&self) -> AbortReason {
        match self {
            Self::PduKind { .. } => AbortReason::UnrecognizedPdu,
            Self::Unexpected { .. } => AbortReason::UnexpectedPdu,
            Self::Interleaved { .. } | Self::Answer { .. } => AbortReason::UnexpectedParameter,
            _ => AbortReason::InvalidParameter,
        }
    }
}

/// What is wrong with a storage commitment's data set; the association goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InformationError {
    /// It cannot be read.
    #[error("the data set cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Something is missing.
    #[error("element {tag} is missing or no valid value")]
    Lacks {
        /// The element.
        tag: Tag,
    },
    /// Too many instances.
    #[error("more than {MAX_REFERENCES} instances")]
    TooMany,
}
