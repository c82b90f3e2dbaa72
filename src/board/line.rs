//! A line of bytes to a board: a serial device, or an address that stands for one.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::BoardError;

/// Bytes that are read at once.
const CHUNK: usize = 4096;
/// Most chunks that wait to be taken. A line that goes on meanwhile waits in the system, or loses
/// bytes, which the protocol repairs.
const CHUNKS: usize = 16;

/// An open line. A thread reads it, so that waiting can end.
pub struct Line {
    port: String,
    /// Bytes a second.
    speed: u32,
    out: Box<dyn Write + Send>,
    arrived: Receiver<io::Result<Vec<u8>>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Line {
    /// Opens a port: `tcp:HOST:PORT`, or a path. A terminal is set to `baud`, 8 data bits, no
    /// parity, 1 stop bit, no flow control; any other file is taken as it is.
    ///
    /// # Errors
    /// [`BoardError::Line`]
    pub fn open(port: &str, baud: u32) -> Result<Self, BoardError> {
        let failed =
            |doing| move |source| BoardError::Line { port: port.to_owned(), doing, source };
        if let Some(address) = port.strip_prefix("tcp:") {
            let stream = TcpStream::connect(address).map_err(failed("cannot be connected"))?;
            stream.set_nodelay(true).map_err(failed("cannot be set"))?;
            let input = stream.try_clone().map_err(failed("cannot be opened"))?;
            return Ok(Self::new(port, baud, input, stream));
        }
        let file = OpenOptions::new().read(true).write(true).open(Path::new(port));
        let file = file.map_err(failed("cannot be opened"))?;
        set_up(&file, baud).map_err(failed("cannot be set to this speed"))?;
        let input = file.try_clone().map_err(failed("cannot be opened"))?;
        Ok(Self::new(port, baud, input, file))
    }

    /// A line that is open: what errors call it, its speed, and its two directions.
    pub fn new(
        port: &str,
        baud: u32,
        mut input: impl Read + Send + 'static,
        out: impl Write + Send + 'static,
    ) -> Self {
        let (send, arrived) = sync_channel(CHUNKS);
        thread::spawn(move || {
            let mut chunk = [0; CHUNK];
            loop {
                let read = match input.read(&mut chunk) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    read => read.map(|len| chunk[..len].to_vec()),
                };
                let last = !read.as_ref().is_ok_and(|bytes| !bytes.is_empty());
                // Nobody hears it once the line was dropped.
                if send.send(read).is_err() || last {
                    return;
                }
            }
        });
        // A start bit, eight of data, a stop bit.
        let speed = (baud / 10).max(1);
        Self { port: port.to_owned(), speed, out: Box::new(out), arrived }
    }

    /// How long so many bytes are on their way.
    #[must_use]
    pub fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / f64::from(self.speed))
    }

    /// What errors call it.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// [`BoardError::Line`]
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(|source| {
            BoardError::Line { port: self.port.clone(), doing: "cannot be written", source }
        })
    }

    /// The bytes that come next; `None` where none comes until then.
    ///
    /// # Errors
    /// [`BoardError::Line`], [`BoardError::Closed`]
    pub fn receive(&mut self, until: Instant) -> Result<Option<Vec<u8>>, BoardError> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let port = || self.port.clone();
        match self.arrived.recv_timeout(left) {
            Ok(Ok(bytes)) if bytes.is_empty() => Err(BoardError::Closed { port: port() }),
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(source)) => {
                Err(BoardError::Line { port: port(), doing: "cannot be read", source })
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(BoardError::Closed { port: port() }),
        }
    }
}

/// Sets a terminal to a speed and to raw bytes.
#[cfg(unix)]
fn set_up(file: &File, baud: u32) -> io::Result<()> {
    use rustix::termios::{self, ControlModes, OptionalActions};

    if !termios::isatty(file) {
        return Ok(());
    }
    let mut settings = termios::tcgetattr(file)?;
    settings.make_raw();
    let framing = ControlModes::CSIZE | ControlModes::PARENB | ControlModes::CSTOPB;
    settings.control_modes.remove(framing | ControlModes::CRTSCTS);
    settings.control_modes.insert(ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL);
    settings.set_speed(baud)?;
    termios::tcsetattr(file, OptionalActions::Flush, &settings)?;
    Ok(())
}

/// The speed of a port is the system's to set here.
#[cfg(not(unix))]
fn set_up(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}
