//! A server for the tests: it writes down what it hears.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use monet_dicom::write::Meta;
use monet_dimse::{
    Admission, AeTitle, Association, CopyError, Error, Policy, Proposal, Report, Request, Status,
    Store, StoreHeader, Stream, Timed, accept, uids,
};

pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(crate) const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

pub(crate) fn title(text: &str) -> AeTitle {
    text.parse().unwrap()
}

pub(crate) fn proposal() -> Proposal {
    Proposal::new(title("SCU"), title("SCP")).with(uids::VERIFICATION).with(CT)
}

/// Everybody, with all that the crate knows.
pub(crate) fn any() -> Policy {
    Policy { classes: Box::new(uids::is_known), ..Policy::default() }
}

pub(crate) fn connect(address: SocketAddr) -> Timed {
    Timed::connect(&[address], Duration::from_secs(5)).unwrap()
}

/// What a server heard.
pub(crate) type Heard = Vec<String>;
/// A server, with what it heard and how its association ended.
pub(crate) type Server = JoinHandle<(Heard, Result<(), Error>)>;
/// A server of several associations.
pub(crate) type Servers = JoinHandle<Vec<(Heard, Result<(), Error>)>>;

/// Answers one association, and says what it heard and how the association ended.
pub(crate) fn serve(policy: Policy, admission: Admission) -> (SocketAddr, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || one(&listener, Ok, &policy, admission, None));
    (address, server)
}

/// Answers so many associations, one after the other, and keeps what is stored in a folder, under
/// its instance's UID.
pub(crate) fn keep(policy: Policy, folder: &Path, count: usize) -> (SocketAddr, Servers) {
    keep_over(Ok, policy, folder, count)
}

/// The same over what something makes of each connection.
pub(crate) fn keep_over<S: Stream>(
    wrap: impl Fn(Timed) -> io::Result<S> + Send + 'static,
    policy: Policy,
    folder: &Path,
    count: usize,
) -> (SocketAddr, Servers) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let folder = folder.to_owned();
    let one = move |_| one(&listener, &wrap, &policy, Admission::Welcome, Some(&folder));
    (address, thread::spawn(move || (0..count).map(one).collect()))
}

fn one<S: Stream>(
    listener: &TcpListener,
    wrap: impl Fn(Timed) -> io::Result<S>,
    policy: &Policy,
    admission: Admission,
    folder: Option<&Path>,
) -> (Heard, Result<(), Error>) {
    let stream = wrap(Timed::new(listener.accept().unwrap().0).unwrap()).unwrap();
    let mut heard = Vec::new();
    let ended = accept(stream, policy, |_| admission)
        .and_then(|mut association| answer(&mut association, &mut heard, folder));
    (heard, ended)
}

fn answer<S: Stream>(
    association: &mut Association<S>,
    heard: &mut Heard,
    folder: Option<&Path>,
) -> Result<(), Error> {
    let mut due = None;
    loop {
        // The report comes on the same association.
        if let Some(report) = due.take() {
            association.report(&report)?;
        }
        match association.next_request()? {
            Request::Echo(echo) => {
                heard.push("echo".into());
                echo.respond(Status::SUCCESS)?;
            }
            Request::Store(store) => match folder {
                Some(folder) => file(store, folder, heard)?,
                None => compare(store, heard)?,
            },
            Request::Commitment(wanted, reply) => {
                heard.push(format!("{wanted:?}"));
                reply.respond(Status::SUCCESS)?;
                let mut instances = wanted.instances.into_iter();
                let failed = instances.next().map(|reference| (reference, 0x0112));
                let report = Report {
                    transaction: wanted.transaction,
                    committed: instances.collect(),
                    failed: failed.into_iter().collect(),
                };
                due = Some(report);
            }
            Request::Report(report, reply) => {
                heard.push(format!("{report:?}"));
                reply.respond(Status::SUCCESS)?;
            }
            Request::Refused { command, status } => heard.push(format!("{command:04x} {status}")),
            Request::Released => return Ok(()),
        }
    }
}

/// Writes what is stored to a file.
fn file<S: Stream>(mut store: Store<'_, S>, folder: &Path, heard: &mut Heard) -> Result<(), Error> {
    let header = store.header().clone();
    let mut out = File::create(folder.join(&header.instance)).unwrap();
    let StoreHeader { class, instance, syntax, calling, .. } = &header;
    let meta = Meta { class, instance, syntax, source: Some(calling.as_str()) };
    meta.write(&mut out).unwrap();
    match store.copy_to(&mut out, u64::MAX) {
        Ok(_) => {}
        Err(CopyError::Peer(error)) => return Err(error),
        Err(other) => panic!("{other}"),
    }
    heard.push(format!("{instance} {syntax}"));
    store.respond(Status::SUCCESS)
}

/// Holds a data set of counted bytes against what it should be: odd instances are read, even ones
/// copied up to a limit, those of 0 passed over.
fn compare<S: Stream>(mut store: Store<'_, S>, heard: &mut Heard) -> Result<(), Error> {
    let header = store.header().clone();
    let mut bytes = Vec::new();
    let mut status = Status::SUCCESS;
    match header.instance.bytes().last() {
        Some(b'0') => status = Status(0xb000),
        Some(b'1' | b'3' | b'5' | b'7' | b'9') => {
            store.read_to_end(&mut bytes).map_err(Error::from_io)?;
        }
        _ => match store.copy_to(&mut bytes, 1 << 20) {
            Ok(count) => assert_eq!(count, bytes.len() as u64),
            Err(CopyError::TooLong { .. }) => {
                heard.push("too long".into());
                return store.respond(Status::OUT_OF_RESOURCES);
            }
            Err(CopyError::Peer(error)) => return Err(error),
            Err(other) => panic!("{other}"),
        },
    }
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8));
    heard.push(format!("{} {} {}", header.instance, header.syntax, bytes.len()));
    store.respond(status)
}
