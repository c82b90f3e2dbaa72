//! The PDUs of four bytes that say no: A-ASSOCIATE-RJ and A-ABORT (PS3.8, sections 9.3.4, 9.3.8).

use std::fmt;

use super::{PduKind, begin, end};

/// Why an association is not opened: result, source and reason as PS3.8, table 9-21 numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reject {
    /// 1: for good, 2: for now.
    pub result: u8,
    /// 1: service user, 2: service provider (ACSE), 3: service provider (presentation).
    pub source: u8,
    /// By source.
    pub reason: u8,
}

impl Reject {
    /// No reason is given.
    pub const NO_REASON: Self = Self { result: 1, source: 1, reason: 1 };
    /// The application context is not DICOM's.
    pub const APPLICATION_CONTEXT: Self = Self { result: 1, source: 1, reason: 2 };
    /// The calling title is not on the list.
    pub const CALLING_TITLE: Self = Self { result: 1, source: 1, reason: 3 };
    /// The called title is not this side's.
    pub const CALLED_TITLE: Self = Self { result: 1, source: 1, reason: 7 };
    /// The protocol's version is none that this side speaks.
    pub const PROTOCOL_VERSION: Self = Self { result: 1, source: 2, reason: 2 };
    /// This side is busy with something else, or full.
    pub const CONGESTION: Self = Self { result: 2, source: 3, reason: 1 };
    /// This side has as many associations as it can have.
    pub const LOCAL_LIMIT: Self = Self { result: 2, source: 3, reason: 2 };

    /// Whether the same request may be taken later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self.result == 2
    }

    /// The standard's words for the reason.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match (self.source, self.reason) {
            (1, 1) | (2, 1) => "no reason given",
            (1, 2) => "application context name not supported",
            (1, 3) => "calling AE title not recognized",
            (1, 7) => "called AE title not recognized",
            (2, 2) => "protocol version not supported",
            (3, 1) => "temporary congestion",
            (3, 2) => "local limit exceeded",
            _ => "a reason that the standard does not know",
        }
    }

    /// Appends the PDU.
    pub fn put(self, out: &mut Vec<u8>) {
        let body = begin(PduKind::AssociateReject, out);
        out.extend([0, self.result, self.source, self.reason]);
        end(body, out);
    }

    /// From a PDU's body.
    #[must_use]
    pub fn parse(body: [u8; 4]) -> Self {
        let [_, result, source, reason] = body;
        Self { result, source, reason }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { result, source, reason } = self;
        let lasts = if self.is_transient() { "for now" } else { "for good" };
        write!(f, "{}, {lasts} (result {result}, source {source}, reason {reason})", self.meaning())
    }
}

/// Who ended an association at once, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Abort {
    /// 0: the application, 2: its protocol.
    pub source: u8,
    /// As [`AbortReason`] numbers them; of no meaning where the application aborts.
    pub reason: u8,
}

/// Why a protocol aborts (PS3.8, table 9-26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbortReason {
    /// Not said.
    NotSpecified = 0,
    /// A PDU of no known type.
    UnrecognizedPdu = 1,
    /// A PDU that cannot come now.
    UnexpectedPdu = 2,
    /// A PDU's parameter of no known type.
    UnrecognizedParameter = 4,
    /// A PDU's parameter that cannot come now.
    UnexpectedParameter = 5,
    /// A PDU's parameter with a value that it cannot have.
    InvalidParameter = 6,
}

impl Abort {
    /// By the application.
    pub const USER: Self = Self { source: 0, reason: 0 };

    /// By the protocol.
    #[must_use]
    pub fn provider(reason: AbortReason) -> Self {
        Self { source: 2, reason: reason as u8 }
    }

    /// Appends the PDU.
    pub fn put(self, out: &mut Vec<u8>) {
        let body = begin(PduKind::Abort, out);
        out.extend([0, 0, self.source, self.reason]);
        end(body, out);
    }

    /// From a PDU's body.
    #[must_use]
    pub fn parse(body: [u8; 4]) -> Self {
        let [_, _, source, reason] = body;
        Self { source, reason }
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.source {
            0 => "by its application",
            2 => "by its protocol",
            _ => "by nobody that the standard knows",
        };
        let why = match self.reason {
            _ if self.source == 0 => return f.write_str(who),
            0 => "reason not specified",
            1 => "unrecognized PDU",
            2 => "unexpected PDU",
            4 => "unrecognized PDU parameter",
            5 => "unexpected PDU parameter",
            6 => "invalid PDU parameter value",
            _ => "a reason that the standard does not know",
        };
        write!(f, "{who}: {why}")
    }
}
