//! Delivery to a DICOM peer: C-STORE, and storage commitment where it is asked for.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monet_dicom::read::{self, Keep};
use monet_dicom::uid;
use monet_dimse::limits::Limits;
use monet_dimse::{
    Association, CommitmentRequest, Instance, Proposal, Reference, Request, Status, request, uids,
};

use super::{Asked, Deliver, DeliveryError, Reservation, put_json};
use crate::case::{self, ASKED, Case, Made, RESULTS};
use crate::channel::{self, About, Channel};
use crate::commit::{Answer, Commitments};
use crate::config::{Config, Destination, seconds};
use crate::hours::Hours;
use crate::part10;
use crate::time;

/// Longest that a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(20);
/// How long a promise is waited for on the association on which it was asked for. Most peers give
/// it on one of their own.
const PROMISE: Duration = Duration::from_secs(2);
/// Longest that an answer to a stored instance may take.
const ANSWER: Duration = Duration::from_secs(120);

/// A DICOM peer.
#[derive(Debug)]
pub(super) struct ToPeer {
    to: Destination,
    idle: Duration,
    commitments: Commitments,
    hours: Arc<Hours>,
}

/// A result as an instance.
struct Object {
    file: String,
    class: String,
    instance: String,
    syntax: String,
}

impl ToPeer {
    pub(super) fn new(
        to: &Destination,
        config: &Config,
        commitments: Commitments,
        hours: Arc<Hours>,
    ) -> Self {
        Self { to: to.clone(), idle: seconds(config.retry.idle_s), commitments, hours }
    }

    /// Connects and agrees on the classes.
    fn associate(&self, objects: &[Object]) -> Result<Association<Channel>, DeliveryError> {
        let mut proposal = proposal(&self.to, self.idle);
        for object in objects {
            proposal = proposal.with_syntax(&object.class, &object.syntax);
        }
        if self.to.commitment {
            proposal = proposal.with(uids::COMMITMENT);
        }
        let (association, _) = associate(&self.to, &proposal).map_err(|error| match error {
            // It may have ended the association because it takes nothing of this.
            DeliveryError::Unreachable(why) => {
                DeliveryError::Unreachable(format!("{why} (proposed: {})", proposed(objects)))
            }
            other => other,
        })?;
        Ok(association)
    }

    /// Asks the peer to promise that it keeps what it got, and waits a little for the promise.
    fn commit(
        &self,
        association: &mut Association<Channel>,
        transaction: &str,
        objects: &[Object],
    ) -> Result<Option<Answer>, DeliveryError> {
        let refused = |reason: String| DeliveryError::Refused { file: "commitment".into(), reason };
        let instances = objects.iter().map(|object| Reference {
            class: object.class.clone(),
            instance: object.instance.clone(),
        });
        let wanted = CommitmentRequest {
            transaction: transaction.to_owned(),
            instances: instances.collect(),
        };
        let response = association.commit(&wanted).map_err(|e| refused(e.to_string()))?;
        if !response.status.is_done() {
            return Err(refused(response.status.to_string()));
        }
        match association.next_request() {
            Ok(Request::Report(report, reply)) if report.transaction == transaction => {
                let answer = Answer::of(&report);
                // The promise stands, whether or not the peer hears that it was heard.
                let _ = reply.respond(Status::SUCCESS);
                Ok(Some(answer))
            }
            // It comes on an association of the peer's, then.
            _ => Ok(None),
        }
    }

    /// What has become of an earlier request for commitment: `None` where there was none.
    fn earlier(
        &self,
        folder: &Path,
        transaction: &str,
        objects: &[Object],
    ) -> Result<Option<()>, DeliveryError> {
        let unread = |source| DeliveryError::Read { file: ASKED.into(), source };
        let mark = case::mark(folder, ASKED, &self.to.name);
        if !mark.exists() {
            return Ok(None);
        }
        if let Some(answer) = self.commitments.answer(transaction).map_err(unread)? {
            self.commitments.forget(transaction).map_err(unread)?;
            std::fs::remove_file(&mark).map_err(unread)?;
            return kept(&answer, objects).map(Some);
        }
        // A mark that cannot be read counts as old.
        let asked: Option<Asked> = case::read(&mark).ok();
        let since = asked.and_then(|asked| self.hours.ran_s().checked_sub(asked.ran_s));
        if since.is_some_and(|since| since < u64::from(self.to.commitment_s)) {
            return Err(DeliveryError::Pending);
        }
        // The peer has forgotten it: all is sent, and asked for, again.
        std::fs::remove_file(&mark).map_err(unread)?;
        Ok(None)
    }
}

/// Whether a peer answers, and what TLS says of it.
pub(super) fn echo(to: &Destination, patience: Duration) -> Result<About, DeliveryError> {
    let unwell = |error: &dyn ToString| DeliveryError::Unreachable(error.to_string());
    let (mut association, about) = associate(to, &proposal(to, patience).with(uids::VERIFICATION))?;
    let response = association.echo().map_err(|error| unwell(&error))?;
    // It was answered: how the association ends does not matter.
    let _ = association.release();
    if response.status.is_done() { Ok(about) } else { Err(unwell(&response.status)) }
}

fn proposal(to: &Destination, idle: Duration) -> Proposal {
    let called = to.ae_title.as_ref().unwrap_or(&to.own_ae_title);
    let mut proposal = Proposal::new(to.own_ae_title.to_dimse(), called.to_dimse());
    proposal.limits = Limits {
        negotiation: idle,
        idle: PROMISE,
        progress: idle,
        answer: ANSWER.max(idle),
        ..Limits::default()
    };
    proposal
}

fn associate(
    to: &Destination,
    proposal: &Proposal,
) -> Result<(Association<Channel>, About), DeliveryError> {
    let address = to.address.as_deref().unwrap_or_default();
    let away = |error: &dyn ToString| {
        DeliveryError::Unreachable(format!("{address}: {}", error.to_string()))
    };
    let called = channel::call(to, CONNECT, proposal.limits.negotiation);
    let (stream, about) = called.map_err(|e| away(&e))?;
    let association = request(stream, proposal).map_err(|e| away(&e))?;
    Ok((association, about))
}

impl Deliver for ToPeer {
    fn deliver(
        &mut self,
        case: &Case,
        folder: &Path,
        results: &[Made],
    ) -> Result<Vec<Reservation>, DeliveryError> {
        let results_folder = folder.join(RESULTS);
        let objects: Vec<Object> = results
            .iter()
            .map(|made| {
                object(&results_folder, &made.file)
                    .map_err(|source| DeliveryError::Read { file: made.file.clone(), source })
            })
            .collect::<Result<_, _>>()?;
        let all: Vec<&[u8]> = objects.iter().map(|object| object.instance.as_bytes()).collect();
        let transaction =
            uid::derived(&[&[self.to.name.as_bytes(), case.study.as_bytes()], &all[..]].concat());
        if self.to.commitment && self.earlier(folder, &transaction, &objects)?.is_some() {
            return Ok(Vec::new());
        }
        let mut association = self.associate(&objects)?;
        let reservations = send_all(&mut association, &results_folder, &objects)?;
        if self.to.commitment {
            let unwritten = |source| DeliveryError::Read { file: ASKED.into(), source };
            let mark = case::mark(folder, ASKED, &self.to.name);
            let (since_s, ran_s) = (time::now_s(), self.hours.ran_s());
            let asked = Asked { transaction: transaction.clone(), since_s, ran_s };
            put_json(&mark, &asked).map_err(unwritten)?;
            let answer = self.commit(&mut association, &transaction, &objects)?;
            let Some(answer) = answer else { return Err(DeliveryError::Pending) };
            std::fs::remove_file(&mark).map_err(unwritten)?;
            kept(&answer, &objects)?;
        }
        // All was answered: how the association ends does not matter.
        let _ = association.release();
        Ok(reservations)
    }
}

/// What objects were proposed as.
fn proposed(objects: &[Object]) -> String {
    let all: BTreeSet<String> = objects
        .iter()
        .map(|Object { class, syntax, .. }| format!("SOP class {class} in {syntax}"))
        .collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}

/// Sends all objects; one that is refused keeps none of the others from being sent.
fn send_all(
    association: &mut Association<Channel>,
    folder: &Path,
    objects: &[Object],
) -> Result<Vec<Reservation>, DeliveryError> {
    let (mut reservations, mut refused) = (Vec::new(), None);
    for object in objects {
        match send(association, folder, object) {
            Ok(said) => reservations.extend(said),
            Err(error @ DeliveryError::Refused { .. }) => refused = refused.or(Some(error)),
            // The peer may have ended the association over what it refused.
            Err(error) => return Err(refused.unwrap_or(error)),
        }
    }
    refused.map_or(Ok(reservations), Err)
}

/// Whether all objects are promised to be kept.
fn kept(answer: &Answer, objects: &[Object]) -> Result<(), DeliveryError> {
    match objects.iter().find(|object| !answer.committed.contains(&object.instance)) {
        None => Ok(()),
        Some(object) => {
            let failed = answer.failed.iter().find(|(instance, _)| *instance == object.instance);
            let why = failed.map_or("it is not named".into(), |(_, why)| format!("{why:#06x}"));
            let reason = format!("the peer does not commit itself to keep it: {why}");
            Err(DeliveryError::Refused { file: object.file.clone(), reason })
        }
    }
}

fn object(folder: &Path, file: &str) -> io::Result<Object> {
    let wanted = [monet_dicom::tags::SOP_CLASS, monet_dicom::tags::SOP_INSTANCE];
    let header = read::open(&folder.join(file), &Keep::all().only(&wanted))
        .map_err(io::Error::other)?
        .header;
    let text = |tag| {
        header
            .data
            .text(tag)
            .map(str::to_owned)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    };
    Ok(Object {
        file: file.to_owned(),
        class: text(wanted[0])?,
        instance: text(wanted[1])?,
        syntax: header.syntax.uid().to_owned(),
    })
}

fn send(
    association: &mut Association<Channel>,
    folder: &Path,
    object: &Object,
) -> Result<Option<Reservation>, DeliveryError> {
    let unread = |source| DeliveryError::Read { file: object.file.clone(), source };
    let refused = |reason: String| DeliveryError::Refused { file: object.file.clone(), reason };
    let mut file = File::open(folder.join(&object.file)).map_err(unread)?;
    let begin = part10::data_set(&mut file).map_err(unread)?;
    let length = file.seek(SeekFrom::End(0)).map_err(unread)? - begin;
    file.seek(SeekFrom::Start(begin)).map_err(unread)?;
    let instance =
        Instance { class: &object.class, instance: &object.instance, syntax: &object.syntax };
    let response =
        association.store(&instance, &mut file, length).map_err(|error| match error {
            error if error.goes_on() => refused(error.to_string()),
            error => DeliveryError::Unreachable(error.to_string()),
        })?;
    if response.status == Status::SUCCESS {
        return Ok(None);
    }
    if response.status.is_done() {
        let said = response.status.to_string();
        return Ok(Some(Reservation { file: object.file.clone(), said }));
    }
    // The peer's comment is its own words, and may name a patient.
    Err(refused(response.status.to_string()))
}
