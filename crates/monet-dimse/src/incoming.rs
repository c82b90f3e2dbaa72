//! What a peer asks: requests, and the data sets of stored instances as they come.

use std::io::{self, Read, Write};

use monet_dicom::uid;

use crate::association::{Association, Pending};
use crate::command::{CANCEL, Command, ECHO, EVENT_REPORT, MESSAGE, N_ACTION, STORE};
use crate::commitment::{self, CommitmentRequest, Report};
use crate::error::{Error, Phase, Violation};
use crate::pdu::{self, Abort, PduKind};
use crate::status::Status;
use crate::stream::Stream;
use crate::title::AeTitle;
use crate::uids;

/// What a peer asks. A request that is dropped without an answer aborts the association.
#[derive(Debug)]
pub enum Request<'a, S: Stream> {
    /// Whether this side lives.
    Echo(Reply<'a, S>),
    /// To store an instance.
    Store(Store<'a, S>),
    /// To commit itself to keep instances.
    Commitment(CommitmentRequest, Reply<'a, S>),
    /// To hear what became of an earlier request for commitment.
    Report(Report, Reply<'a, S>),
    /// Something that was answered with a failure already, and that a log may mention.
    Refused {
        /// The command's number (PS3.7, annex E.1).
        command: u16,
        /// What the peer was told.
        status: Status,
    },
    /// The end; the association is over.
    Released,
}

/// What a request to store says before its data set comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHeader {
    /// Message ID.
    pub message: u16,
    /// SOP class: a valid UID, and the context's.
    pub class: String,
    /// SOP instance: a valid UID.
    pub instance: String,
    /// Transfer syntax of the data set.
    pub syntax: String,
    /// Who sends it.
    pub calling: AeTitle,
}

/// A request without data set, or behind it.
enum Asked {
    Echo,
    Store(StoreHeader),
    Commitment(CommitmentRequest),
    Report(Report),
    Refused(Status),
}

impl<S: Stream> Association<S> {
    /// Waits for what the peer asks next.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`] where the peer ends the association at once; others as they say.
    pub fn next_request(&mut self) -> Result<Request<'_, S>, Error> {
        if !self.link.is_open() {
            return Err(Error::Over);
        }
        if let Some(Pending { context, command, report }) = self.pending.pop_front() {
            return Ok(Request::Report(report, Reply::new(self, context, command)));
        }
        let asked = self.asked();
        let Some((context, command, asked)) = self.link.guard(asked)? else {
            return Ok(Request::Released);
        };
        Ok(match asked {
            Asked::Echo => Request::Echo(Reply::new(self, context, command)),
            Asked::Store(header) => {
                let reply = Reply::new(self, context, command);
                Request::Store(Store { header, reply, at: 0, end: 0, last: false })
            }
            Asked::Commitment(wanted) => {
                Request::Commitment(wanted, Reply::new(self, context, command))
            }
            Asked::Report(report) => Request::Report(report, Reply::new(self, context, command)),
            Asked::Refused(status) => Request::Refused { command: command.field, status },
        })
    }

    fn asked(&mut self) -> Result<Option<(u8, Command, Asked)>, Error> {
        let Some((context, command)) = self.wanted()? else { return Ok(None) };
        let asked = match self.understood(context, &command)? {
            Ok(asked) => asked,
            Err(status) => {
                self.say(context, &command.answer(status))?;
                self.link.end_message();
                Asked::Refused(status)
            }
        };
        Ok(Some((context, command, asked)))
    }

    /// The command of a request; `None` at the end of the association.
    fn wanted(&mut self) -> Result<Option<(u8, Command)>, Error> {
        let (context, command) = loop {
            match self.command(Phase::Idle)? {
                None => {
                    self.link.last(|out| pdu::put_release(PduKind::ReleaseReply, out));
                    return Ok(None);
                }
                // What could be cancelled is done already.
                Some((_, command)) if command.field == CANCEL => self.link.end_message(),
                Some(asked) => break asked,
            }
        };
        if command.is_answer() {
            let id = command.answered.unwrap_or(0);
            return Err(Violation::Answer { field: command.field, id }.into());
        }
        if command.message.is_none() {
            return Err(Violation::Lacks { tag: MESSAGE }.into());
        }
        Ok(Some((context, command)))
    }

    /// What a request asks, up to a stored data set; the inner error is what the peer is told.
    fn understood(
        &mut self,
        context: u8,
        command: &Command,
    ) -> Result<Result<Asked, Status>, Error> {
        Ok(match command.field {
            EVENT_REPORT => self.report_of(context, command)?.map(Asked::Report),
            N_ACTION => self.commitment_of(context, command)?.map(Asked::Commitment),
            STORE if command.data_set => {
                let header = self.store_of(context, command)?;
                if header.is_err() {
                    self.drain(context)?;
                }
                header.map(Asked::Store)
            }
            field => {
                if command.data_set {
                    self.drain(context)?;
                }
                match field {
                    ECHO if self.context_of(context)?.class == uids::VERIFICATION => {
                        Ok(Asked::Echo)
                    }
                    ECHO => Err(Status::CLASS_NOT_SUPPORTED),
                    STORE => Err(Status::CANNOT_UNDERSTAND),
                    _ => Err(Status::UNRECOGNIZED_OPERATION),
                }
            }
        })
    }

    fn store_of(&self, id: u8, command: &Command) -> Result<Result<StoreHeader, Status>, Error> {
        let context = self.context_of(id)?;
        let stores = !matches!(context.class.as_str(), uids::VERIFICATION | uids::COMMITMENT);
        if !stores || command.class.as_ref() != Some(&context.class) {
            return Ok(Err(Status::CLASS_NOT_SUPPORTED));
        }
        let Some(instance) = command.instance.as_ref().filter(|uid| uid::is_valid(uid)) else {
            return Ok(Err(Status::INVALID_INSTANCE));
        };
        Ok(Ok(StoreHeader {
            message: command.message.unwrap_or(0),
            class: context.class.clone(),
            instance: instance.clone(),
            syntax: context.syntax.clone(),
            calling: self.peer().calling.clone(),
        }))
    }

    fn commitment_of(
        &mut self,
        context: u8,
        command: &Command,
    ) -> Result<Result<CommitmentRequest, Status>, Error> {
        let Some(bytes) = self.commitment(context, command, Status::NO_SUCH_ACTION, &[1])? else {
            return Ok(Err(Status::INVALID_ARGUMENT));
        };
        let syntax = &self.context_of(context)?.syntax;
        let known = command.instance.as_deref() == Some(uids::COMMITMENT_INSTANCE);
        Ok(bytes.and_then(|bytes| match known {
            true => commitment::parse_request(bytes, syntax).map_err(|_| Status::INVALID_ARGUMENT),
            false => Err(Status::NO_SUCH_INSTANCE),
        }))
    }
}

/// The way to answer a request.
#[derive(Debug)]
pub struct Reply<'a, S: Stream> {
    association: &'a mut Association<S>,
    context: u8,
    command: Command,
    answered: bool,
}

impl<'a, S: Stream> Reply<'a, S> {
    fn new(association: &'a mut Association<S>, context: u8, command: Command) -> Self {
        Self { association, context, command, answered: false }
    }

    /// Answers, with the request's message ID.
    ///
    /// # Errors
    ///
    /// [`Error`]: the peer does not hear it.
    pub fn respond(mut self, status: Status) -> Result<(), Error> {
        self.answer(status)
    }

    fn answer(&mut self, status: Status) -> Result<(), Error> {
        self.answered = true;
        let association = &mut *self.association;
        if !association.link.is_open() {
            return Err(Error::Over);
        }
        // The time between request and answer is this side's own.
        association.link.end_message();
        let said = association.say(self.context, &self.command.answer(status));
        association.link.guard(said)
    }
}

impl<S: Stream> Drop for Reply<'_, S> {
    fn drop(&mut self) {
        if !self.answered {
            self.association.link.abort(Abort::USER);
        }
    }
}

/// A request to store an instance, whose data set comes through [`Read`] or [`Store::copy_to`].
#[derive(Debug)]
pub struct Store<'a, S: Stream> {
    header: StoreHeader,
    reply: Reply<'a, S>,
    /// What is left of a fragment in the link's buffer.
    at: usize,
    end: usize,
    /// Whether that fragment is the last.
    last: bool,
}

/// Why a data set was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The association has failed: the instance is not whole, and nobody can be answered.
    #[error(transparent)]
    Peer(Error),
    /// The destination fails; the peer can be answered so, with [`Status::OUT_OF_RESOURCES`].
    #[error("cannot write the data set: {0}")]
    Write(#[source] io::Error),
    /// The data set is longer than is taken; the peer can be answered so.
    #[error("the data set is longer than {most} bytes")]
    TooLong {
        /// What is taken.
        most: u64,
    },
}

impl<S: Stream> Store<'_, S> {
    /// What the request says.
    #[must_use]
    pub fn header(&self) -> &StoreHeader {
        &self.header
    }

    /// Makes the next bytes of the data set ready; `false` at its end.
    fn fill(&mut self) -> Result<bool, Error> {
        while self.at == self.end {
            if self.last {
                return Ok(false);
            }
            let association = &mut *self.reply.association;
            let fragment = association.data(self.reply.context);
            let pdv = association.link.guard(fragment)?;
            (self.at, self.end, self.last) = (pdv.start, pdv.end, pdv.last);
        }
        Ok(true)
    }

    fn ready(&self) -> &[u8] {
        self.reply.association.link.body().get(self.at..self.end).unwrap_or_default()
    }

    /// Copies what is left of the data set, and says how many bytes that was.
    ///
    /// # Errors
    ///
    /// [`CopyError`]
    pub fn copy_to(&mut self, out: &mut impl Write, most: u64) -> Result<u64, CopyError> {
        let mut copied = 0;
        while self.fill().map_err(CopyError::Peer)? {
            let ready = self.ready();
            copied += ready.len() as u64;
            if copied > most {
                return Err(CopyError::TooLong { most });
            }
            out.write_all(ready).map_err(CopyError::Write)?;
            self.at = self.end;
        }
        Ok(copied)
    }

    /// Passes over what is left of the data set, and answers.
    ///
    /// # Errors
    ///
    /// [`Error`]: the data set does not come to its end, or the peer does not hear the answer.
    pub fn respond(mut self, status: Status) -> Result<(), Error> {
        self.at = self.end;
        while self.fill()? {
            self.at = self.end;
        }
        self.reply.answer(status)
    }
}

impl<S: Stream> Read for Store<'_, S> {
    /// Errors are the association's: [`Error::from_io`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || !self.fill().map_err(Error::into_io)? {
            return Ok(0);
        }
        let ready = self.ready();
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.at += count;
        Ok(count)
    }
}
