//! PDUs over a stream: one buffer for what comes, one for what goes, and a moment by which each
//! step is done.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::error::{Error, Phase, Violation};
use crate::limits::{LINGER, Limits, MAX_PDU, MIN_PEER_PDU};
use crate::pdu::{self, Abort, HEADER, PDV_HEADER, PduKind, Pdv};
use crate::stream::{Stream, hear_out};

/// The buffer grows by this much at a time, and only once that much has come.
const STEP: usize = 16 << 10;

/// What comes next in a message, or instead of one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Next {
    /// A fragment, which lies in the link's buffer.
    Fragment(Pdv),
    /// The peer asks for the end.
    Release,
}

/// One end of a connection.
pub(crate) struct Link<S: Stream> {
    stream: S,
    limits: Limits,
    /// When the negotiation must be done.
    negotiated: Option<Instant>,
    /// When the association must be done.
    ends: Option<Instant>,
    /// When the message must be done.
    message: Option<Instant>,
    /// The part of the association that runs into its limit first.
    phase: Phase,
    /// Longest P-DATA body that this side takes.
    pub(crate) own: u32,
    /// Longest P-DATA body that this side sends.
    pub(crate) peer: u32,
    body: Vec<u8>,
    /// Where the next fragment lies in `body`; at its end if there is none.
    at: usize,
    out: Vec<u8>,
    open: bool,
}

impl<S: Stream> Link<S> {
    pub(crate) fn new(stream: S, limits: Limits, own: u32) -> Self {
        let now = Instant::now();
        Self {
            stream,
            limits,
            negotiated: now.checked_add(limits.negotiation),
            ends: now.checked_add(limits.association),
            message: None,
            phase: Phase::Negotiation,
            own,
            peer: MAX_PDU,
            body: Vec::new(),
            at: 0,
            out: Vec::new(),
            open: true,
        }
    }

    /// Takes over the peer's limit on PDUs; 0 is none.
    pub(crate) fn limit(&mut self, peer: u32) -> Result<(), Violation> {
        self.peer = match peer {
            0 => MAX_PDU,
            found if found < MIN_PEER_PDU => return Err(Violation::PeerLimit { found }),
            peer => peer.min(MAX_PDU),
        };
        Ok(())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// A body that was received.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// A message begins, received or sent.
    pub(crate) fn begin_message(&mut self) {
        self.message = Instant::now().checked_add(self.limits.message);
    }

    /// The message is over.
    pub(crate) fn end_message(&mut self) {
        self.message = None;
    }

    /// Sets the moment by which the next steps are done: the first of the phase's own, the
    /// message's and the association's.
    fn until(&mut self, phase: Phase) -> Result<(), Error> {
        let now = Instant::now();
        let own = match phase {
            Phase::Negotiation => self.negotiated,
            Phase::Idle => now.checked_add(self.limits.idle),
            Phase::Answer => now.checked_add(self.limits.answer),
            _ => now.checked_add(self.limits.progress),
        };
        let message = if phase == Phase::Answer { None } else { self.message };
        let moments = [(own, phase), (message, Phase::Message), (self.ends, Phase::Association)];
        let first = moments
            .into_iter()
            .filter_map(|(at, phase)| Some((at?, phase)))
            .min_by_key(|(at, _)| *at);
        self.phase = first.map_or(phase, |(_, phase)| phase);
        self.stream.set_deadline(first.map(|(at, _)| at)).map_err(Error::Io)
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::TimedOut(self.phase),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Error::Closed,
            _ => Error::Io(error),
        }
    }

    /// Receives a PDU into the buffer. The first byte may come as late as a phase allows.
    pub(crate) fn receive(&mut self, first: Phase) -> Result<PduKind, Error> {
        self.body.clear();
        let mut header = [0; HEADER];
        self.until(first)?;
        self.stream.read_exact(&mut header[..1]).map_err(|error| self.failed(error))?;
        if matches!(first, Phase::Idle | Phase::Answer) {
            self.begin_message();
        }
        self.until(if first == Phase::Negotiation { first } else { Phase::Progress })?;
        self.stream.read_exact(&mut header[1..]).map_err(|error| self.failed(error))?;
        let (kind, length) = pdu::header(header, self.own)?;
        let length = length as usize;
        while self.body.len() < length {
            let start = self.body.len();
            self.body.resize(length.min(start + STEP), 0);
            let read = self.stream.read_exact(&mut self.body[start..]);
            read.map_err(|error| self.failed(error))?;
        }
        self.at = self.body.len();
        Ok(kind)
    }

    /// The last body, which has four bytes by its type.
    pub(crate) fn short(&self) -> [u8; 4] {
        self.body.first_chunk().copied().unwrap_or_default()
    }

    /// The next fragment.
    pub(crate) fn next(&mut self, first: Phase) -> Result<Next, Error> {
        if self.at >= self.body.len() {
            match self.receive(first)? {
                PduKind::Data => self.at = 0,
                PduKind::ReleaseRequest => return Ok(Next::Release),
                PduKind::Abort => return Err(Error::Aborted(Abort::parse(self.short()))),
                found => return Err(Violation::Unexpected { found }.into()),
            }
        } else if first == Phase::Idle {
            self.begin_message();
        }
        let pdv = pdu::pdv(&self.body, self.at)?;
        self.at = pdv.end;
        Ok(Next::Fragment(pdv))
    }

    /// A fragment's bytes.
    pub(crate) fn fragment(&self, pdv: Pdv) -> &[u8] {
        self.body.get(pdv.start..pdv.end).unwrap_or_default()
    }

    /// Sends PDUs that `put` appends to an empty buffer.
    pub(crate) fn send(
        &mut self,
        phase: Phase,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        self.out.clear();
        put(&mut self.out);
        self.write(phase)
    }

    /// Sends what is in the buffer.
    fn write(&mut self, phase: Phase) -> Result<(), Error> {
        self.until(phase)?;
        let sent = self.stream.write_all(&self.out).and_then(|()| self.stream.flush());
        sent.map_err(|error| match self.failed(error) {
            Error::Closed => self.last_words(),
            other => other,
        })
    }

    /// Why a peer that takes nothing more closed the connection, if it has said so.
    fn last_words(&mut self) -> Error {
        let leftover = std::mem::take(&mut self.body);
        let why = match self.receive(Phase::Progress) {
            Ok(PduKind::Abort) => Error::Aborted(Abort::parse(self.short())),
            // What TLS says, for example.
            Err(error @ Error::Io(_)) => error,
            _ => Error::Closed,
        };
        self.body = leftover;
        why
    }

    /// Sends a command, in as many PDUs as the peer's limit asks for.
    pub(crate) fn send_command(&mut self, context: u8, bytes: &[u8]) -> Result<(), Error> {
        self.send_parts(context, true, bytes, bytes.len() as u64)
    }

    /// Sends a data set of known length.
    pub(crate) fn send_data(
        &mut self,
        context: u8,
        data: impl Read,
        length: u64,
    ) -> Result<(), Error> {
        self.send_parts(context, false, data, length)
    }

    fn send_parts(
        &mut self,
        context: u8,
        command: bool,
        mut data: impl Read,
        length: u64,
    ) -> Result<(), Error> {
        // Fragments have even lengths (PS3.8, annex F).
        let most = (self.peer - PDV_HEADER as u32) & !1;
        let mut left = length;
        loop {
            let part = u64::from(most).min(left);
            left -= part;
            self.out.clear();
            pdu::put_pdv(context, command, left == 0, part as u32, &mut self.out);
            let start = self.out.len();
            self.out.resize(start + part as usize, 0);
            data.read_exact(&mut self.out[start..]).map_err(Error::Source)?;
            self.write(Phase::Progress)?;
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Passes a result on; an error that ends the association ends the connection, too.
    pub(crate) fn guard<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && !error.goes_on()
            && self.open
        {
            match error.abort() {
                Some(abort) => self.abort(abort),
                None => self.open = false,
            }
        }
        result
    }

    /// Ends the association at once.
    pub(crate) fn abort(&mut self, abort: Abort) {
        if self.open {
            self.last(|out| abort.put(out));
        }
    }

    /// Sends the last PDU, and waits a little until the peer has taken it.
    pub(crate) fn last(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.open = false;
        self.out.clear();
        put(&mut self.out);
        // The other side may be gone: nobody is left to tell of an error.
        let _ = self.write_last(LINGER);
    }

    fn write_last(&mut self, linger: Duration) -> io::Result<()> {
        self.stream.set_deadline(Instant::now().checked_add(linger))?;
        self.stream.write_all(&self.out)?;
        self.stream.flush()?;
        hear_out(&mut self.stream)
    }

    /// The connection ends: the peer has heard or said all.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// The stream below.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> Drop for Link<S> {
    /// What is dropped without release is aborted.
    fn drop(&mut self) {
        self.abort(Abort::USER);
    }
}
