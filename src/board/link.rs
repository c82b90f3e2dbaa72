//! Questions to a board, repeated until they are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use monet_link::{Answer, CONTENT, Fault, Reader, Request, VOXELS, Voxels, Writer};

use super::{BoardError, Line};

/// How often a question meets silence before nobody is there.
const TRIES: usize = 8;
/// How often it is asked again because a frame was damaged.
const DAMAGES: usize = 1000;
/// How long a short question waits for its answer. That to a whole slice is the caller's.
const SHORT: Duration = Duration::from_secs(3);
/// How long the next frame of an answer that has begun may take.
const LULL: Duration = Duration::from_secs(1);
/// How often the caller's interrupt is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What a question came to.
pub(super) enum Reply<T> {
    Done(T),
    /// A slice must be sent again before.
    Missing(u16),
}

/// A board at the end of a line.
#[derive(Debug)]
pub struct Link {
    line: Line,
    reader: Reader,
    writer: Writer,
    tag: u8,
    /// Bytes that were sent since the board last answered the question at hand: they may still be
    /// on their way.
    sent: usize,
    /// How long the labels of a slice may take.
    wait: Duration,
}

impl Link {
    /// A board whose labels of a slice are waited for so long.
    #[must_use]
    pub fn new(line: Line, wait: Duration) -> Self {
        Self { line, reader: Reader::new(), writer: Writer::new(), tag: 0, sent: 0, wait }
    }

    /// What errors call the line.
    #[must_use]
    pub fn port(&self) -> &str {
        self.line.port()
    }

    /// Sends a slice, part by part. Nothing answers it.
    pub(super) fn send_slice(&mut self, number: u16, voxels: &[i16]) -> Result<(), BoardError> {
        for (part, voxels) in (0..).zip(voxels.chunks(VOXELS)) {
            let mut bytes = [[0; 2]; VOXELS];
            let bytes = &mut bytes[..voxels.len()];
            bytes.iter_mut().zip(voxels).for_each(|(to, voxel)| *to = voxel.to_le_bytes());
            let voxels = Voxels::new(bytes);
            self.send(Request::Part { slice: number, part, voxels }, 0)?;
        }
        Ok(())
    }

    fn send(&mut self, request: Request, tag: u8) -> Result<(), BoardError> {
        let mut message = [0; CONTENT];
        let frame = self.writer.frame(request.encode(tag, &mut message));
        self.sent += frame.len();
        self.line.send(frame)
    }

    /// Asks until `take` has what it wants of the answers; it says so by a value.
    pub(super) fn ask<T>(
        &mut self,
        question: &'static str,
        request: Request,
        interrupted: &AtomicBool,
        mut take: impl FnMut(Answer) -> Option<T>,
    ) -> Result<Reply<T>, BoardError> {
        let wait = if matches!(request, Request::Segment { .. }) { self.wait } else { SHORT };
        let (mut silences, mut damages) = (0, 0);
        while silences < TRIES && damages < DAMAGES {
            // A new tag for each try: what answers an earlier one late is not taken for this one's.
            self.tag = self.tag % u8::MAX + 1;
            self.send(request, self.tag)?;
            match self.hear(wait + self.line.time_of(self.sent), interrupted, &mut take)? {
                Heard::Reply(reply) => return Ok(reply),
                Heard::Refusal(fault) => {
                    return Err(BoardError::Refused {
                        port: self.port().to_owned(),
                        question,
                        fault,
                    });
                }
                Heard::Damage => damages += 1,
                Heard::Silence => silences += 1,
            }
        }
        let port = self.port().to_owned();
        Err(BoardError::Silent { port, question, tries: silences + damages, wait })
    }

    /// Listens for answers with the current tag, until `take` is content.
    fn hear<T>(
        &mut self,
        wait: Duration,
        interrupted: &AtomicBool,
        take: &mut impl FnMut(Answer) -> Option<T>,
    ) -> Result<Heard<T>, BoardError> {
        let mut end = Instant::now() + wait;
        while Instant::now() < end {
            if interrupted.load(Ordering::Relaxed) {
                return Err(BoardError::Interrupted);
            }
            let Some(bytes) = self.line.receive(end.min(Instant::now() + LOOK))? else { continue };
            for byte in bytes {
                let Some(frame) = self.reader.push(byte) else { continue };
                let answer = frame.ok().and_then(|message| Answer::decode(message).ok());
                match answer {
                    // The question itself may be what was damaged.
                    Some((Answer::Error { fault: Fault::Frame, .. }, 0)) => {
                        return Ok(Heard::Damage);
                    }
                    Some((answer, tag)) if tag == self.tag => {
                        self.sent = 0;
                        if let Some(heard) = heard(answer, take) {
                            return Ok(heard);
                        }
                        end = end.min(Instant::now() + LULL);
                    }
                    // An answer to an earlier question.
                    Some(_) => {}
                    // The answer may be what was damaged.
                    None => end = end.min(Instant::now() + LULL),
                }
            }
        }
        Ok(Heard::Silence)
    }
}

/// What is heard after a question.
enum Heard<T> {
    Reply(Reply<T>),
    Refusal(Fault),
    /// A frame did not arrive whole.
    Damage,
    Silence,
}

/// What an answer with the right tag means; none where more is to come.
fn heard<T>(answer: Answer, take: &mut impl FnMut(Answer) -> Option<T>) -> Option<Heard<T>> {
    match answer {
        Answer::Error { fault: Fault::Missing, slice } => Some(Heard::Reply(Reply::Missing(slice))),
        Answer::Error { fault, .. } => Some(Heard::Refusal(fault)),
        answer => take(answer).map(|value| Heard::Reply(Reply::Done(value))),
    }
}
