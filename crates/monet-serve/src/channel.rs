//! Connections as associations run over them: plain, or in TLS where the configuration has it.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use monet_dimse::{Stream, Timed};

use crate::config::{Destination, Listen};
use crate::log::Log;
use crate::tls;

/// A connection of either kind.
pub(crate) type Channel = Box<dyn Stream + Send>;

/// What TLS says of a peer that was called.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// The version; none where there is no TLS.
    pub(crate) version: Option<&'static str>,
    /// How long the peer's certificate is valid; an error where that is not for long.
    pub(crate) valid: Option<Result<String, String>>,
}

/// Makes channels of those who call.
#[derive(Debug)]
pub(crate) struct Door(Option<tls::Door>);

impl Door {
    /// Reads certificates, where there is TLS.
    ///
    /// # Errors
    /// A file that is of no use.
    pub(crate) fn open(config: &Listen) -> io::Result<Self> {
        config.tls.as_ref().map(tls::Door::open).transpose().map(Self)
    }

    /// Takes a caller. A handshake comes with the first byte.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn accept(&self, socket: TcpStream, log: &Log) -> io::Result<Channel> {
        let plain = Timed::new(socket)?;
        match &self.0 {
            Some(tls) => tls.accept(plain, log),
            None => Ok(Box::new(plain)),
        }
    }
}

/// Calls a destination. A handshake is done within `handshake`.
///
/// # Errors
/// Nobody answers within `connect`; TLS with the peer fails.
pub(crate) fn call(
    to: &Destination,
    connect: Duration,
    handshake: Duration,
) -> io::Result<(Channel, About)> {
    let addresses: Vec<_> = to.address.as_deref().unwrap_or_default().to_socket_addrs()?.collect();
    let mut plain = Timed::connect(&addresses, connect)?;
    match &to.tls {
        Some(tls) => {
            plain.set_deadline(Instant::now().checked_add(handshake))?;
            tls::connect(tls, to, plain)
        }
        None => Ok((Box::new(plain), About::default())),
    }
}
