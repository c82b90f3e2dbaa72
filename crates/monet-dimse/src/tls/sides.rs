//! The two sides of TLS: the one that is called, and the one that calls.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConfig, ClientConnection, Resumption, WebPkiServerVerifier,
    verify_server_cert_signed_by_trust_anchor,
};
use rustls::pki_types::{self, CertificateDer, UnixTime};
use rustls::server::{
    NoServerSessionStorage, ParsedCertificate, ServerConfig, ServerConnection, WebPkiClientVerifier,
};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Tls;
use super::error::TlsError;
use super::files::{Authorities, Identity, provider};
use crate::stream::Stream;

/// What certificates callers show.
#[derive(Debug, Clone)]
pub enum Callers {
    /// Each shows one that one of these signed.
    Required(Authorities),
    /// Who shows one shows one that one of these signed.
    Optional(Authorities),
    /// None is asked for.
    Unasked,
}

/// The side that is called.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// With this side's certificate.
    ///
    /// # Errors
    ///
    /// [`TlsError::Other`]: what rustls says.
    pub fn new(own: &Identity, callers: Callers) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        let signed =
            |by: Authorities| WebPkiClientVerifier::builder_with_provider(by.roots, provider());
        let verifier = match callers {
            Callers::Unasked => Ok(WebPkiClientVerifier::no_client_auth()),
            Callers::Required(by) => signed(by).build(),
            Callers::Optional(by) => signed(by).allow_unauthenticated().build(),
        };
        let verifier = verifier.map_err(|error| TlsError::Other(error.to_string()))?;
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(own.0.clone())));
        // A resumed session would let in whose certificate has expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }

    /// Puts a connection into TLS; the handshake comes with the first byte.
    ///
    /// # Errors
    ///
    /// [`TlsError`] inside an [`io::Error`].
    pub fn accept<S: Stream>(&self, stream: S) -> io::Result<Tls<S>> {
        let connection = ServerConnection::new(self.0.clone()).map_err(refused)?;
        Ok(Tls::new(connection, stream))
    }
}

/// What the peer's certificate is to be for.
#[derive(Debug, Clone)]
pub struct ServerName {
    name: pki_types::ServerName<'static>,
    checked: bool,
}

/// No name of a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the name or address of a machine")]
pub struct NoServerName;

impl ServerName {
    /// This name or address: it stands in the certificate's subjectAltName.
    ///
    /// # Errors
    ///
    /// [`NoServerName`]
    pub fn new(name: &str) -> Result<Self, NoServerName> {
        let name = pki_types::ServerName::try_from(name.to_owned()).map_err(|_| NoServerName)?;
        Ok(Self { name, checked: true })
    }

    /// Any name: a peer counts as the right one if a trusted authority signed its certificate. That
    /// is enough where the authority signs for this peer, or this site, alone. The peer is told
    /// this side's idea of its name all the same.
    #[must_use]
    pub fn unchecked(self) -> Self {
        Self { checked: false, ..self }
    }
}

/// The side that calls.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: pki_types::ServerName<'static>,
}

impl Connector {
    /// With this side's certificate, where the peer asks for one.
    ///
    /// # Errors
    ///
    /// [`TlsError::Other`]: what rustls says.
    pub fn new(
        own: Option<&Identity>,
        trusted: &Authorities,
        peer: ServerName,
    ) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        let roots = trusted.roots.clone();
        let named = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| TlsError::Other(error.to_string()))?;
        let verifier: Arc<dyn ServerCertVerifier> =
            if peer.checked { named } else { Arc::new(AnyName { roots, named }) };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match own {
            Some(own) => {
                let own = SingleCertAndKey::from(own.0.clone());
                builder.with_client_cert_resolver(Arc::new(own))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name: peer.name })
    }

    /// Puts a connection into TLS; the handshake comes with the first byte.
    ///
    /// # Errors
    ///
    /// [`TlsError`] inside an [`io::Error`].
    pub fn connect<S: Stream>(&self, stream: S) -> io::Result<Tls<S>> {
        let connection = ClientConnection::new(self.config.clone(), self.name.clone());
        Ok(Tls::new(connection.map_err(refused)?, stream))
    }
}

fn refused(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, TlsError::from(error))
}

/// Looks at all of a certificate but its names.
#[derive(Debug)]
struct AnyName {
    roots: Arc<RootCertStore>,
    named: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &pki_types::ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = ParsedCertificate::try_from(own)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&own, &self.roots, between, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.named.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.named.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.named.supported_verify_schemes()
    }
}
