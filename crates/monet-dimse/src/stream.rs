//! What associations run over: streams on which every read and write ends by a given moment.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::limits::MAX_LINGER;

/// Hears a peer out that is still sending: a connection that closes with bytes unread would destroy
/// what was said last on its way. Ends with the peer's end, the deadline or [`MAX_LINGER`] bytes.
pub(crate) fn hear_out(stream: &mut impl Stream) -> io::Result<()> {
    let (mut sink, mut left) = ([0; 4096], MAX_LINGER);
    while left > 0 {
        match stream.read(&mut sink)? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// A connection. What wraps one, as TLS does, passes the deadline on to the [`Timed`] below.
pub trait Stream: Read + Write {
    /// From now on, reads and writes that are not done by this moment fail with
    /// [`io::ErrorKind::TimedOut`]. The moment holds for all of them together, however many bytes
    /// come one by one. `None`: there is no such moment.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn set_deadline(&mut self, at: Option<Instant>) -> io::Result<()>;
}

impl<S: Stream + ?Sized> Stream for &mut S {
    fn set_deadline(&mut self, at: Option<Instant>) -> io::Result<()> {
        (**self).set_deadline(at)
    }
}

impl<S: Stream + ?Sized> Stream for Box<S> {
    fn set_deadline(&mut self, at: Option<Instant>) -> io::Result<()> {
        (**self).set_deadline(at)
    }
}

/// A TCP connection that keeps deadlines.
#[derive(Debug)]
pub struct Timed {
    socket: TcpStream,
    deadline: Option<Instant>,
}

impl Timed {
    /// Takes a connected socket. Small packets go out at once from now on.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, deadline: None })
    }

    /// Connects to the first of several addresses that answers, all within one limit.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`], or what the system says of the last address.
    pub fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<Self> {
        let deadline = Instant::now().checked_add(limit);
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to");
        for address in addresses {
            let left = left(deadline)?.unwrap_or(Duration::from_secs(3600));
            match TcpStream::connect_timeout(address, left) {
                Ok(socket) => return Self::new(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The socket, to ask it for addresses.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

/// What is left until a moment; an error when it is over.
fn left(deadline: Option<Instant>) -> io::Result<Option<Duration>> {
    // A socket takes no timeout of zero.
    const LEAST: Duration = Duration::from_millis(1);
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    match left {
        Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left.map(|left| left.max(LEAST))),
    }
}

/// A socket says `WouldBlock` when its timeout is over.
fn timed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(left(self.deadline)?)?;
        self.socket.read(buffer).map_err(timed)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(left(self.deadline)?)?;
        self.socket.write(bytes).map_err(timed)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.set_write_timeout(left(self.deadline)?)?;
        self.socket.write_vectored(parts).map_err(timed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Stream for Timed {
    fn set_deadline(&mut self, at: Option<Instant>) -> io::Result<()> {
        self.deadline = at;
        Ok(())
    }
}

/// A stream that never waits, memory for example: deadlines mean nothing to it.
#[derive(Debug)]
pub struct Untimed<S>(
    /// The stream.
    pub S,
);

impl<S: Read> Read for Untimed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<S: Write> Write for Untimed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<S: Read + Write> Stream for Untimed<S> {
    fn set_deadline(&mut self, _: Option<Instant>) -> io::Result<()> {
        Ok(())
    }
}
