//! Certificates and keys in PEM files.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};

use super::error::{FileError, plain_names};

/// Longest file of certificates or keys that is read, in bytes: several times the authorities of a
/// whole operating system.
pub const MAX_FILE: u64 = 1 << 20;

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// This side's certificate, those between it and its authority, and its key.
#[derive(Debug, Clone)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

impl Identity {
    /// Reads both from PEM files: the own certificate first, then those between; the key without
    /// password, as PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    ///
    /// [`FileError`]; among others where the key does not fit the certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, FileError> {
        let chain = certificates(certificate)?;
        let expected = "a private key without password";
        let der = PrivateKeyDer::from_pem_slice(&bytes(key)?)
            .map_err(|error| no_pem(key, expected, &error))?;
        let parsed = ParsedCertificate::try_from(&chain[0]);
        parsed.map_err(|error| unusable(certificate, error))?;
        CertifiedKey::from_der(chain, der, &provider()).map(|key| Self(Arc::new(key))).map_err(
            |error| match error {
                Error::InconsistentKeys(_) => {
                    FileError::Mismatch { key: key.into(), certificate: certificate.into() }
                }
                other => unusable(key, other),
            },
        )
    }

    /// From when until when the certificate, and those between it and its authority, are valid.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        let all = self.0.cert.iter().map(Validity::of);
        all.reduce(|a, b| {
            let (a, b) = (a?, b?);
            Some(Validity { begin: a.begin.max(b.begin), end: a.end.min(b.end) })
        })?
    }

    /// The names and addresses that the certificate is for (its subjectAltName).
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        // What no certificate is for: the refusal tells what this one is for.
        let nobody =
            ServerName::try_from("nobody.invalid").expect("two words and a dot are a name");
        let parsed = self.0.cert.first().map(ParsedCertificate::try_from);
        let Some(Ok(parsed)) = parsed else { return Vec::new() };
        match verify_server_name(&parsed, &nobody) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            })) => plain_names(&presented),
            _ => Vec::new(),
        }
    }
}

/// Whose signatures this side trusts.
#[derive(Debug, Clone)]
pub struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    validities: Vec<Option<Validity>>,
}

impl Authorities {
    /// Reads certificates from a PEM file.
    ///
    /// # Errors
    ///
    /// [`FileError`]; among others where one of them cannot be used.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let all = certificates(path)?;
        let validities = all.iter().map(Validity::of).collect();
        let mut roots = RootCertStore::empty();
        for certificate in all {
            roots.add(certificate).map_err(|error| unusable(path, error))?;
        }
        Ok(Self { roots: Arc::new(roots), validities })
    }

    /// How many there are, one at least.
    #[must_use]
    pub fn count(&self) -> usize {
        self.validities.len()
    }

    /// The validity of the one that is valid longest. An authority that is over still counts here;
    /// to most other programs it does not.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.validities.iter().flatten().max_by_key(|validity| validity.end).copied()
    }
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub begin: SystemTime,
    /// Last second.
    pub end: SystemTime,
}

impl Validity {
    /// Of a certificate; `None` where it cannot be read.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = ParsedCertificate::try_from(certificate).ok()?;
        // The refusals at the ends of time tell when it is valid: dates are looked at first.
        let refusal = |at| {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
            let roots = RootCertStore::empty();
            match verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], at, &[]) {
                Err(Error::InvalidCertificate(error)) => Some(error),
                _ => None,
            }
        };
        let time =
            |at: UnixTime| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at.as_secs()));
        let begin = match refusal(0)? {
            CertificateError::NotValidYetContext { not_before, .. } => time(not_before)?,
            _ => SystemTime::UNIX_EPOCH,
        };
        match refusal(u64::MAX)? {
            CertificateError::ExpiredContext { not_after, .. } => {
                Some(Self { begin, end: time(not_after)? })
            }
            _ => None,
        }
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let unread = |source| FileError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(FileError::TooLong { path: path.into() });
    }
    Ok(bytes)
}

/// One certificate at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let refused = |error| no_pem(path, "certificates", &error);
    let bytes = bytes(path)?;
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(refused)?;
    if all.is_empty() { Err(refused(pem::Error::NoItemsFound)) } else { Ok(all) }
}

fn no_pem(path: &Path, expected: &'static str, error: &pem::Error) -> FileError {
    let found = match error {
        pem::Error::NoItemsFound => "there is none".to_owned(),
        // Others tell lines of the file, and it may hold a key.
        pem::Error::Base64Decode(_) => "its base64 is damaged".to_owned(),
        _ => "it is damaged".to_owned(),
    };
    FileError::Pem { path: path.into(), expected, found }
}

fn unusable(path: &Path, error: impl ToString) -> FileError {
    FileError::Unusable { path: path.into(), found: error.to_string() }
}
