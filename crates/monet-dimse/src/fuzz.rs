//! What a fuzzer runs: each function takes what a peer sends, from its first byte to its last, and
//! does with it what an appliance would. None may panic, take memory without bound or go on for
//! ever; errors are what most bytes end in.
//!
//! `cargo fuzz run dimse_accept` and `cargo fuzz run dimse_request` run them under libFuzzer,
//! `tests/fuzz.rs` on stable Rust.

use std::io::{self, Read, Write};

use monet_dicom::write::EXPLICIT_LITTLE;

use crate::{
    Admission, Association, CommitmentRequest, Error, Instance, Policy, Proposal, Reference,
    Request, Status, Untimed, accept, decodable, request, uids,
};

/// CT Image Storage.
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
/// Most requests of a peer that are answered.
const MOST: usize = 1000;

/// A peer that says some bytes and hears nothing.
struct Peer<'a>(&'a [u8]);

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A peer that calls.
pub fn acceptor(bytes: &[u8]) {
    let classes = Box::new(uids::is_known);
    let policy = Policy { classes, syntaxes: decodable(), ..Policy::default() };
    if let Ok(mut association) = accept(Untimed(Peer(bytes)), &policy, |_| Admission::Welcome) {
        let _ = answer(&mut association);
    }
}

fn answer(association: &mut Association<Untimed<Peer<'_>>>) -> Result<(), Error> {
    for _ in 0..MOST {
        match association.next_request()? {
            Request::Echo(reply) => reply.respond(Status::SUCCESS)?,
            Request::Store(mut store) => {
                assert!(monet_dicom::uid::is_valid(&store.header().instance));
                let copied = store.copy_to(&mut io::sink(), 1 << 20);
                let status =
                    if copied.is_ok() { Status::SUCCESS } else { Status::OUT_OF_RESOURCES };
                store.respond(status)?;
            }
            Request::Commitment(_, reply) | Request::Report(_, reply) => {
                reply.respond(Status::SUCCESS)?;
            }
            Request::Refused { .. } => {}
            Request::Released => return Ok(()),
        }
    }
    Ok(())
}

/// A peer that is called: its answers to a negotiation, an echo, a store, a request for
/// commitment, with its report, and a release.
pub fn requestor(bytes: &[u8]) {
    let _ = ask(bytes);
}

/// What [`requestor`] proposes.
#[must_use]
pub fn proposal() -> Proposal {
    let title = |text: &str| text.parse().expect("a title");
    Proposal::new(title("MONET"), title("PEER"))
        .with(uids::VERIFICATION)
        .with(CT)
        .with(uids::COMMITMENT)
}

fn ask(bytes: &[u8]) -> Result<(), Error> {
    let mut association = request(Untimed(Peer(bytes)), &proposal())?;
    association.echo()?;
    let instance = Instance { class: CT, instance: "1.2.3", syntax: EXPLICIT_LITTLE };
    association.store(&instance, &[0; 100_000][..], 100_000)?;
    let reference = Reference { class: CT.into(), instance: "1.2.3".into() };
    let wanted = CommitmentRequest { transaction: "1.2".into(), instances: vec![reference] };
    association.commit(&wanted)?;
    if let Request::Report(_, reply) = association.next_request()? {
        reply.respond(Status::SUCCESS)?;
    }
    association.release()
}
