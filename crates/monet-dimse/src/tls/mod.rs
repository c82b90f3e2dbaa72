//! Associations over TLS 1.2 and 1.3, as PS3.15, annex B.12 asks: BCP 195 (RFC 8996, RFC 9325), so
//! ECDHE and authenticated encryption alone.
//!
//! ```text
//! Identity, Authorities: PEM files ─▶ Acceptor (called side) ─┬─▶ Tls<Timed>: a Stream for
//!                                  └▶ Connector (calling side)┘   accept() and request()
//! ```
//!
//! The handshake runs with the first byte that is read or written, so the limit on the negotiation
//! holds for handshake, request and answer together. Sessions are never resumed: each association
//! looks at the peer's certificate anew, and nothing of a session stays in memory. Revocation lists
//! are not read; an authority of the own site, which signs for a year or two, stands in for them.

mod error;
mod files;
mod sides;

use std::io::{self, Read, Write};
use std::time::Instant;

use rustls::{Connection, ProtocolVersion};

pub use error::{FileError, TlsError};
pub use files::{Authorities, Identity, MAX_FILE, Validity};
pub use sides::{Acceptor, Callers, Connector, NoServerName, ServerName};

use crate::limits::LINGER;
use crate::stream::{Stream, hear_out};

/// A stream inside TLS. What fails in TLS itself fails with an [`io::Error`] of kind
/// [`io::ErrorKind::InvalidData`] around a [`TlsError`].
///
/// Memory: a record that comes (18 KiB at most), a handshake message (64 KiB at most), and 64 KiB
/// that go.
pub struct Tls<S: Stream> {
    connection: Connection,
    stream: S,
    failed: bool,
}

impl<S: Stream> Tls<S> {
    fn new(connection: impl Into<Connection>, stream: S) -> Self {
        Self { connection: connection.into(), stream, failed: false }
    }

    /// Runs the handshake, unless it has been run. Nobody has to call it: reads and writes do.
    ///
    /// On the calling side, a peer that refuses this side's certificate in TLS 1.3 says so after
    /// the handshake only, to the first read.
    ///
    /// # Errors
    ///
    /// [`TlsError`] inside an [`io::Error`], or the error of the stream below.
    pub fn handshake(&mut self) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.progress()?;
        }
        Ok(())
    }

    /// The version that was agreed on: `TLS 1.2` or `TLS 1.3`; `None` before the handshake.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
            ProtocolVersion::TLSv1_3 => Some("TLS 1.3"),
            _ => None,
        }
    }

    /// How long the peer's certificate is valid; `None` before the handshake, and for a peer that
    /// showed none.
    #[must_use]
    pub fn peer_validity(&self) -> Option<Validity> {
        Validity::of(self.connection.peer_certificates()?.first()?)
    }

    /// Sends what is to be sent, and reads where TLS waits for something.
    fn progress(&mut self) -> io::Result<()> {
        let done = self.connection.complete_io(&mut self.stream);
        match done.map_err(|error| self.fail(error))? {
            // The peer is gone in the midst of something.
            (0, 0) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends what TLS has made of what was written.
    fn drain(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut self.stream)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// An error in own words. The peer is told by an alert.
    fn fail(&mut self, error: io::Error) -> io::Error {
        match error.downcast::<rustls::Error>() {
            Ok(error) => {
                self.failed = true;
                let error = TlsError::from(error);
                if !matches!(error, TlsError::Alert(_)) {
                    // The other side may be gone: nobody is left to tell of an error.
                    let _ = self.last_alert();
                }
                io::Error::new(io::ErrorKind::InvalidData, error)
            }
            Err(error) => error,
        }
    }

    fn last_alert(&mut self) -> io::Result<()> {
        self.stream.set_deadline(Instant::now().checked_add(LINGER))?;
        self.drain()?;
        self.stream.flush()?;
        hear_out(&mut self.stream)
    }

    fn closed(&mut self) -> io::Result<()> {
        self.stream.set_deadline(Instant::now().checked_add(LINGER))?;
        self.connection.send_close_notify();
        self.drain()?;
        self.stream.flush()
    }
}

impl<S: Stream> Read for Tls<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.progress()?,
                done => return done,
            }
        }
    }
}

impl<S: Stream> Write for Tls<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.handshake()?;
        let count = self.connection.writer().write(bytes)?;
        self.drain()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.stream.flush()
    }
}

impl<S: Stream> Stream for Tls<S> {
    fn set_deadline(&mut self, at: Option<Instant>) -> io::Result<()> {
        self.stream.set_deadline(at)
    }
}

impl<S: Stream> Drop for Tls<S> {
    /// Tells the peer that nothing was cut off (RFC 8446, section 6.1).
    fn drop(&mut self) {
        if !self.failed {
            // The other side may be gone: nobody is left to tell of an error.
            let _ = self.closed();
        }
    }
}

impl<S: Stream> std::fmt::Debug for Tls<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("version", &self.version()).finish_non_exhaustive()
    }
}
