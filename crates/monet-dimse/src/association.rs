//! An open association: what was agreed, and messages from fragments.

use std::collections::VecDeque;

use crate::command::{ANSWER, CANCEL, Command, ECHO, EVENT_REPORT, STATUS};
use crate::commitment::{self, Report};
use crate::error::{Error, Phase, Violation};
use crate::limits::{MAX_COMMAND, MAX_INFORMATION, MAX_PENDING};
use crate::link::{Link, Next};
use crate::pdu::{self, Abort, PduKind, Pdv};
use crate::status::Status;
use crate::stream::Stream;
use crate::title::AeTitle;

/// Most PDUs of the peer that are dropped while its reply to a release is waited for, and most
/// messages of its own that it may send before an answer.
const MAX_LATE: usize = 64;

/// What was agreed on: instances of a SOP class, in a transfer syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The context's number.
    pub id: u8,
    /// SOP class.
    pub class: String,
    /// Transfer syntax.
    pub syntax: String,
}

/// Who speaks with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The title of the side that opened the association.
    pub calling: AeTitle,
    /// The title of the side that was called.
    pub called: AeTitle,
    /// The other side's Implementation Class UID; may be empty.
    pub implementation: String,
    /// The other side's Implementation Version Name, printable; may be empty.
    pub version: String,
    /// Longest P-DATA body that the other side takes, in bytes; 0 is any.
    pub max_pdu: u32,
}

/// What a peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    /// The peer's own words on an error, printable and short. They may name a patient: they belong
    /// in no log.
    pub comment: Option<String>,
}

/// An event report that came while something else was waited for.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) context: u8,
    pub(crate) command: Command,
    pub(crate) report: Report,
}

/// An open association, of either side. Dropped without [`Association::release`], and after an
/// error, it is aborted.
pub struct Association<S: Stream> {
    pub(crate) link: Link<S>,
    contexts: Vec<Context>,
    peer: Peer,
    message: u16,
    pub(crate) pending: VecDeque<Pending>,
}

impl<S: Stream> Association<S> {
    pub(crate) fn new(link: Link<S>, contexts: Vec<Context>, peer: Peer) -> Self {
        Self { link, contexts, peer, message: 0, pending: VecDeque::new() }
    }

    /// Who speaks with whom.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What was agreed on.
    #[must_use]
    pub fn contexts(&self) -> &[Context] {
        &self.contexts
    }

    /// The connection below.
    #[must_use]
    pub fn stream(&self) -> &S {
        self.link.stream()
    }

    /// Whether the association is open: nothing has ended or broken it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// The context of a SOP class in one of some transfer syntaxes, the first of them first; no
    /// syntaxes stand for any.
    pub(crate) fn context(&self, class: &str, syntaxes: &[&str]) -> Result<&Context, Error> {
        let of_class = || self.contexts.iter().filter(|context| context.class == class);
        let found = match syntaxes {
            [] => of_class().next(),
            _ => syntaxes
                .iter()
                .find_map(|syntax| of_class().find(|context| context.syntax == *syntax)),
        };
        found.ok_or_else(|| Error::NotAccepted {
            class: class.to_owned(),
            syntax: syntaxes.first().map_or("any", |syntax| syntax).to_owned(),
        })
    }

    pub(crate) fn context_of(&self, id: u8) -> Result<&Context, Violation> {
        let found = self.contexts.iter().find(|context| context.id == id);
        found.ok_or(Violation::Context { id })
    }

    /// The number of the next request.
    pub(crate) fn number(&mut self) -> u16 {
        self.message = self.message.wrapping_add(1).max(1);
        self.message
    }

    /// A command and its context; `None` where the peer asks for the end instead.
    pub(crate) fn command(&mut self, first: Phase) -> Result<Option<(u8, Command)>, Error> {
        let (mut bytes, mut context, mut phase) = (Vec::new(), None, first);
        loop {
            let pdv = match self.link.next(phase)? {
                Next::Fragment(pdv) => pdv,
                Next::Release if context.is_none() => return Ok(None),
                Next::Release => return Err(unexpected_release()),
            };
            self.context_of(pdv.context)?;
            if *context.get_or_insert(pdv.context) != pdv.context || !pdv.command {
                return Err(interleaved(pdv));
            }
            let fragment = self.link.fragment(pdv);
            if bytes.len() + fragment.len() > MAX_COMMAND {
                return Err(Violation::CommandLength.into());
            }
            bytes.extend_from_slice(fragment);
            if pdv.last {
                return Ok(Some((pdv.context, Command::parse(bytes)?)));
            }
            phase = Phase::Progress;
        }
    }

    /// The next fragment of a data set.
    pub(crate) fn data(&mut self, context: u8) -> Result<Pdv, Error> {
        if !self.link.is_open() {
            return Err(Error::Over);
        }
        match self.link.next(Phase::Progress)? {
            Next::Fragment(pdv) if pdv.context == context && !pdv.command => Ok(pdv),
            Next::Fragment(pdv) => Err(interleaved(pdv)),
            Next::Release => Err(unexpected_release()),
        }
    }

    /// Passes over a data set.
    pub(crate) fn drain(&mut self, context: u8) -> Result<(), Error> {
        while !self.data(context)?.last {}
        Ok(())
    }

    /// A whole data set, a short one.
    pub(crate) fn information(&mut self, context: u8) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            let pdv = self.data(context)?;
            let fragment = self.link.fragment(pdv);
            if bytes.len() + fragment.len() > MAX_INFORMATION {
                return Err(Violation::InformationLength.into());
            }
            bytes.extend_from_slice(fragment);
            if pdv.last {
                return Ok(bytes);
            }
        }
    }

    /// Sends a command alone.
    pub(crate) fn say(&mut self, context: u8, command: &Command) -> Result<(), Error> {
        self.link.send_command(context, &command.bytes())
    }

    /// What the peer answers to a request of this side. Event reports that come before are kept
    /// for [`Association::next_request`].
    pub(crate) fn answer(&mut self, message: u16, field: u16) -> Result<Response, Error> {
        for _ in 0..MAX_LATE {
            let Some((context, command)) = self.command(Phase::Answer)? else {
                return Err(unexpected_release());
            };
            match command.field {
                of if of == field | ANSWER && command.answered == Some(message) => {
                    if command.data_set {
                        self.drain(context)?;
                    }
                    self.link.end_message();
                    let lacks = Violation::Lacks { tag: STATUS };
                    let status = command.status.ok_or(lacks)?;
                    return Ok(Response { status, comment: command.comment });
                }
                EVENT_REPORT => self.keep_report(context, command)?,
                CANCEL => {}
                // A peer that wants to know whether this side lives.
                ECHO => self.say(context, &command.answer(Status::SUCCESS))?,
                field => {
                    let id = command.answered.or(command.message).unwrap_or(0);
                    return Err(Violation::Answer { field, id }.into());
                }
            }
        }
        Err(Violation::Answer { field, id: message }.into())
    }

    fn keep_report(&mut self, context: u8, command: Command) -> Result<(), Error> {
        match self.report_of(context, &command)? {
            Err(status) => self.say(context, &command.answer(status)),
            Ok(_) if self.pending.len() == MAX_PENDING => Err(Violation::Pending.into()),
            Ok(report) => {
                self.pending.push_back(Pending { context, command, report });
                Ok(())
            }
        }
    }

    /// The data set behind an event report; the inner error is what the peer is told.
    pub(crate) fn report_of(
        &mut self,
        context: u8,
        command: &Command,
    ) -> Result<Result<Report, Status>, Error> {
        let Some(bytes) = self.commitment(context, command, Status::NO_SUCH_EVENT, &[1, 2])? else {
            return Ok(Err(Status::INVALID_ARGUMENT));
        };
        let syntax = &self.context_of(context)?.syntax;
        Ok(bytes.and_then(|bytes| {
            commitment::parse_report(bytes, syntax).map_err(|_| Status::INVALID_ARGUMENT)
        }))
    }

    /// The data set of a storage commitment message; `None` if it has none, and a status if the
    /// message is of another service or kind.
    pub(crate) fn commitment(
        &mut self,
        context: u8,
        command: &Command,
        wrong_kind: Status,
        kinds: &[u16],
    ) -> Result<Option<Result<Vec<u8>, Status>>, Error> {
        let class = &self.context_of(context)?.class;
        let agreed = class == crate::uids::COMMITMENT && command.class.as_ref() == Some(class);
        if !command.data_set {
            return Ok(None);
        }
        let wrong = match command.kind {
            _ if !agreed => Status::CLASS_NOT_SUPPORTED,
            Some(kind) if kinds.contains(&kind) => {
                return Ok(Some(Ok(self.information(context)?)));
            }
            _ => wrong_kind,
        };
        self.drain(context)?;
        Ok(Some(Err(wrong)))
    }

    /// Ends the association in order.
    ///
    /// # Errors
    ///
    /// [`Error`]: the peer does not reply to the release as it should. What was answered before
    /// stands.
    pub fn release(mut self) -> Result<(), Error> {
        if !self.link.is_open() {
            return Err(Error::Over);
        }
        let result = self.released();
        self.link.guard(result)
    }

    fn released(&mut self) -> Result<(), Error> {
        self.link.begin_message();
        self.link.send(Phase::Progress, |out| pdu::put_release(PduKind::ReleaseRequest, out))?;
        for _ in 0..MAX_LATE {
            match self.link.receive(Phase::Answer)? {
                PduKind::ReleaseReply => {
                    self.link.close();
                    return Ok(());
                }
                // Both sides asked at once (PS3.8, section 7.2.2.7).
                PduKind::ReleaseRequest => self
                    .link
                    .send(Phase::Progress, |out| pdu::put_release(PduKind::ReleaseReply, out))?,
                PduKind::Abort => return Err(Error::Aborted(Abort::parse(self.link.short()))),
                PduKind::Data => {}
                found => return Err(Violation::Unexpected { found }.into()),
            }
        }
        Err(Violation::Unexpected { found: PduKind::Data }.into())
    }

    /// Ends the association at once.
    pub fn abort(mut self) {
        self.link.abort(Abort::USER);
    }
}

impl<S: Stream> std::fmt::Debug for Association<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association")
            .field("peer", &self.peer)
            .field("contexts", &self.contexts)
            .finish_non_exhaustive()
    }
}

fn interleaved(pdv: Pdv) -> Error {
    Violation::Interleaved { id: pdv.context, command: pdv.command }.into()
}

fn unexpected_release() -> Error {
    Violation::Unexpected { found: PduKind::ReleaseRequest }.into()
}
