//! What goes wrong in TLS, in words that say who has to do what.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::files::MAX_FILE;

/// Why TLS with a peer fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer shows no certificate where one is required.
    #[error("the peer shows no certificate; it needs one that an authority of this side signed")]
    NoCertificate,
    /// The peer's certificate is over.
    #[error("the peer's certificate expired {} ago", Span(*seconds))]
    Expired {
        /// For so many seconds.
        seconds: u64,
    },
    /// The peer's certificate is not valid yet.
    #[error("the peer's certificate is valid in {}; is a clock wrong?", Span(*seconds))]
    NotYet {
        /// In so many seconds.
        seconds: u64,
    },
    /// No trusted authority signed the peer's certificate.
    #[error("the peer's certificate is signed by no authority that this side trusts")]
    Unknown,
    /// The peer's certificate is for another machine.
    #[error("the peer's certificate is for {}, not for {expected}", names(found))]
    Name {
        /// The name that was expected.
        expected: String,
        /// The names in the certificate.
        found: Vec<String>,
    },
    /// The peer's certificate is wrong in another way.
    #[error("the peer's certificate is refused: {0}")]
    Certificate(String),
    /// What the peer sends is no TLS.
    #[error("the peer speaks no TLS; one side is configured for TLS, the other for plain DICOM")]
    NoTls,
    /// The peer ends the connection, with a word of TLS.
    #[error("the peer refuses: {}", refusal(*.0))]
    Alert(
        /// The alert's number (RFC 8446, section 6).
        u8,
    ),
    /// The peer knows nothing that this side agrees to, or breaks the protocol.
    #[error("TLS fails: {0}")]
    Other(String),
}

/// A time in the unit that a person would take.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ 0..7200 => write!(f, "{seconds} s"),
            seconds @ 7200..172_800 => write!(f, "{} hours", seconds / 3600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

fn names(found: &[String]) -> String {
    match found {
        [] => "no name at all (it has no subjectAltName)".to_owned(),
        found => found.join(", "),
    }
}

/// Names as webpki tells them: `DnsName("a.b")`, `IpAddress(10.0.0.1)`.
pub(super) fn plain_names(presented: &[String]) -> Vec<String> {
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(plain).collect()
}

fn refusal(alert: u8) -> String {
    let alert = AlertDescription::from(alert);
    let words = match alert {
        AlertDescription::CertificateRequired => "it requires a certificate of this side",
        AlertDescription::UnknownCA => "it trusts no authority that signed this side's certificate",
        AlertDescription::CertificateExpired => "to it, this side's certificate has expired",
        AlertDescription::ProtocolVersion => "it has neither TLS 1.2 nor TLS 1.3",
        AlertDescription::HandshakeFailure => {
            "nothing in common, or it requires a certificate of this side"
        }
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not take this side's certificate"
        }
        _ => "",
    };
    if words.is_empty() { format!("{alert:?}") } else { format!("{words} ({alert:?})") }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(error) => error.into(),
            Error::AlertReceived(alert) => Self::Alert(alert.into()),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NoTls,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<CertificateError> for TlsError {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Expired { seconds: time.as_secs().saturating_sub(not_after.as_secs()) }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::NotYet { seconds: not_before.as_secs().saturating_sub(time.as_secs()) }
            }
            CertificateError::UnknownIssuer => Self::Unknown,
            CertificateError::NotValidForNameContext { expected, presented } => Self::Name {
                expected: expected.to_str().into_owned(),
                found: plain_names(&presented),
            },
            other => Self::Certificate(other.to_string()),
        }
    }
}

/// Why a file of a certificate, a key or authorities is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too long.
    #[error("{}: longer than {MAX_FILE} bytes, and so no file of certificates", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is no PEM file, or has nothing of what is looked for.
    #[error("{}: expected {expected} in PEM's form: {found}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A certificate or key in it cannot be used.
    #[error("{}: {found}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        found: String,
    },
    /// The key is of another certificate.
    #[error("{}: the key does not fit the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
}
