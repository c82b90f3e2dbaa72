//! What a request's answer says (PS3.7, annex C; PS3.4, section B.2.3 and annex J).

use std::fmt;

/// A status code, which the other side may have made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

/// What a status means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Done.
    Success,
    /// Done, with a reservation.
    Warning,
    /// Not done.
    Failure,
    /// Stopped on request.
    Cancelled,
    /// Not done yet.
    Pending,
}

impl Status {
    /// Done.
    pub const SUCCESS: Self = Self(0x0000);
    /// Something went wrong in the midst of the work.
    pub const PROCESSING_FAILURE: Self = Self(0x0110);
    /// No such instance.
    pub const NO_SUCH_INSTANCE: Self = Self(0x0112);
    /// No such event type.
    pub const NO_SUCH_EVENT: Self = Self(0x0113);
    /// What a request says is against the rules of its service.
    pub const INVALID_ARGUMENT: Self = Self(0x0115);
    /// The instance's UID breaks the rules for UIDs.
    pub const INVALID_INSTANCE: Self = Self(0x0117);
    /// The SOP class is not the one that was agreed.
    pub const CLASS_NOT_SUPPORTED: Self = Self(0x0122);
    /// No such action type.
    pub const NO_SUCH_ACTION: Self = Self(0x0123);
    /// The peer is not allowed to ask this.
    pub const NOT_AUTHORIZED: Self = Self(0x0124);
    /// No such operation.
    pub const UNRECOGNIZED_OPERATION: Self = Self(0x0211);
    /// No room, or a disk that fails: the peer may try again.
    pub const OUT_OF_RESOURCES: Self = Self(0xa700);
    /// The data set is of another SOP class.
    pub const CLASS_MISMATCH: Self = Self(0xa900);
    /// The data set cannot be understood.
    pub const CANNOT_UNDERSTAND: Self = Self(0xc000);

    /// What the status means for the request. A code that the standard does not know is a
    /// failure.
    #[must_use]
    pub fn class(self) -> Class {
        match self.0 {
            0x0000 => Class::Success,
            0x0001 | 0x0107 | 0x0116 | 0xb000..=0xbfff => Class::Warning,
            0xfe00 => Class::Cancelled,
            0xff00 | 0xff01 => Class::Pending,
            _ => Class::Failure,
        }
    }

    /// Whether the request was done, with a reservation or without.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self.class(), Class::Success | Class::Warning)
    }

    /// The standard's words for the status.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0x0000 => "success",
            0x0107 => "attribute list warning",
            0x0110 => "processing failure",
            0x0111 => "duplicate SOP instance",
            0x0112 => "no such SOP instance",
            0x0113 => "no such event type",
            0x0114 => "no such argument",
            0x0115 => "invalid argument value",
            0x0116 => "attribute value out of range",
            0x0117 => "invalid SOP instance",
            0x0118 => "no such SOP class",
            0x0119 => "class-instance conflict",
            0x0120 => "missing attribute",
            0x0121 => "missing attribute value",
            0x0122 => "SOP class not supported",
            0x0123 => "no such action type",
            0x0124 => "not authorized",
            0x0131 => "duplicate transaction UID",
            0x0210 => "duplicate invocation",
            0x0211 => "unrecognized operation",
            0x0212 => "mistyped argument",
            0x0213 => "resource limitation",
            0xa700..=0xa7ff => "out of resources",
            0xa900..=0xa9ff => "data set does not match SOP class",
            0xb000 => "coercion of data elements",
            0xb006 => "elements discarded",
            0xb007 => "data set does not match SOP class, stored",
            0xc000..=0xcfff => "cannot understand",
            0xfe00 => "cancelled",
            _ => match self.class() {
                Class::Warning => "a warning",
                Class::Pending => "pending",
                _ => "a failure",
            },
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X} ({})", self.0, self.meaning())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_classes() {
        let class = |code| Status(code).class();
        assert_eq!(class(0), Class::Success);
        for warning in [0x0001, 0x0107, 0x0116, 0xb000, 0xb006, 0xbfff] {
            assert_eq!(class(warning), Class::Warning, "{warning:04x}");
        }
        for failure in [0x0110, 0x0122, 0x0211, 0xa700, 0xa9ff, 0xc000, 0xcfff, 0x1234, 0xffff] {
            assert_eq!(class(failure), Class::Failure, "{failure:04x}");
        }
        assert_eq!(class(0xfe00), Class::Cancelled);
        assert_eq!(class(0xff00), Class::Pending);
        assert_eq!(Status::OUT_OF_RESOURCES.to_string(), "A700 (out of resources)");
    }
}
