//! What this side asks: C-ECHO, C-STORE, storage commitment and reports on it.

use std::io::Read;

use monet_dicom::uid;
use monet_dicom::write::{EXPLICIT_LITTLE, IMPLICIT_LITTLE};

use crate::association::{Association, Response};
use crate::command::{Command, ECHO, EVENT_REPORT, N_ACTION, STORE};
use crate::commitment::{CommitmentRequest, Report};
use crate::error::Error;
use crate::stream::Stream;
use crate::uids::{COMMITMENT, COMMITMENT_INSTANCE, VERIFICATION};

/// An instance to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance<'a> {
    /// SOP class.
    pub class: &'a str,
    /// SOP instance.
    pub instance: &'a str,
    /// Transfer syntax that the data set is in.
    pub syntax: &'a str,
}

impl<S: Stream> Association<S> {
    /// Asks whether the peer lives.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub fn echo(&mut self) -> Result<Response, Error> {
        let context = self.context(VERIFICATION, &[])?.id;
        let command = Command::request(ECHO, self.number(), VERIFICATION);
        self.ask(context, command, &[][..], 0)
    }

    /// Sends an instance: `length` bytes of data set, without preamble and file meta information.
    /// A response with any status is no error; [`crate::Status::is_done`] says whether the peer
    /// has the instance.
    ///
    /// # Errors
    ///
    /// [`Error::NotAccepted`] and [`Error::Invalid`] leave the association open; after any other
    /// it is aborted, and the peer may or may not have the instance.
    pub fn store(
        &mut self,
        instance: &Instance<'_>,
        data: impl Read,
        length: u64,
    ) -> Result<Response, Error> {
        if !uid::is_valid(instance.instance) {
            return Err(Error::Invalid("an instance to be sent has no valid UID"));
        }
        let context = self.context(instance.class, &[instance.syntax])?.id;
        let command = Command::request(STORE, self.number(), instance.class);
        let uid = Some(instance.instance.to_owned());
        self.ask(context, Command { instance: uid, data_set: true, ..command }, data, length)
    }

    /// Asks the peer to commit itself to keep instances. The outcome comes as a
    /// [`crate::Request::Report`], on this association or on one that the peer opens.
    ///
    /// # Errors
    ///
    /// As of [`Association::store`].
    pub fn commit(&mut self, wanted: &CommitmentRequest) -> Result<Response, Error> {
        let context = self.context(COMMITMENT, &[EXPLICIT_LITTLE, IMPLICIT_LITTLE])?;
        let (context, bytes) = (context.id, wanted.bytes(&context.syntax)?);
        self.commitment_message(context, N_ACTION, 1, &bytes)
    }

    /// Reports on an earlier request for commitment, as the side that keeps instances.
    ///
    /// # Errors
    ///
    /// As of [`Association::store`].
    pub fn report(&mut self, report: &Report) -> Result<Response, Error> {
        let context = self.context(COMMITMENT, &[EXPLICIT_LITTLE, IMPLICIT_LITTLE])?;
        let (context, bytes) = (context.id, report.bytes(&context.syntax)?);
        let kind = if report.failed.is_empty() { 1 } else { 2 };
        self.commitment_message(context, EVENT_REPORT, kind, &bytes)
    }

    fn commitment_message(
        &mut self,
        context: u8,
        field: u16,
        kind: u16,
        bytes: &[u8],
    ) -> Result<Response, Error> {
        let command = Command {
            instance: Some(COMMITMENT_INSTANCE.to_owned()),
            data_set: true,
            kind: Some(kind),
            ..Command::request(field, self.number(), COMMITMENT)
        };
        self.ask(context, command, bytes, bytes.len() as u64)
    }

    /// Sends a request, and waits for its answer.
    fn ask(
        &mut self,
        context: u8,
        command: Command,
        data: impl Read,
        length: u64,
    ) -> Result<Response, Error> {
        if !self.link.is_open() {
            return Err(Error::Over);
        }
        let result = self.exchange(context, &command, data, length);
        self.link.guard(result)
    }

    fn exchange(
        &mut self,
        context: u8,
        command: &Command,
        data: impl Read,
        length: u64,
    ) -> Result<Response, Error> {
        self.link.begin_message();
        self.say(context, command)?;
        if command.data_set {
            self.link.send_data(context, data, length)?;
        }
        self.answer(command.message.unwrap_or(0), command.field)
    }
}
