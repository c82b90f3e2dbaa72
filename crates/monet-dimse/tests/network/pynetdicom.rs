//! pynetdicom as peer: `peer.py` beside this file does what a test asks.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use monet_dicom::write::EXPLICIT_LITTLE;
use monet_dimse::{
    Admission, Association, Class, CommitmentRequest, Error, Instance, Phase, Reference, Report,
    Request, Status, Timed, Violation, request, uids,
};
use monet_testing::judges::dicom_python;

use super::server::{CT, any, connect, keep, proposal, serve};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/network/peer.py");

/// A peer that serves.
pub(crate) struct Scp {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Drop for Scp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Scp {
    #[track_caller]
    pub(crate) fn start(arguments: &[String]) -> Option<Self> {
        let mut command = Command::new(dicom_python()?);
        command.args([PEER, "scp"]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("pynetdicom serves");
        Some(Self { child, lines, address: ([127, 0, 0, 1], port).into() })
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn associate(&self) -> Association<Timed> {
        request(connect(self.address), &proposal().with(uids::COMMITMENT)).unwrap()
    }
}

/// Lines that a peer that asks writes.
#[track_caller]
fn asked(address: SocketAddr, what: &str) -> Option<Vec<String>> {
    asked_over(address, what, &[])
}

/// The same with options for TLS.
#[track_caller]
pub(crate) fn asked_over(
    address: SocketAddr,
    what: &str,
    options: &[String],
) -> Option<Vec<String>> {
    let mut command = Command::new(dicom_python()?);
    command.args([PEER, "scu", &address.port().to_string(), what]).args(options);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", monet_testing::stderr(&output));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

fn store(association: &mut Association<Timed>, wanted: u32) -> Result<(Status, bool), Error> {
    let bytes: Vec<u8> = (0..300_001).map(|at: u32| at as u8).collect();
    let uid = format!("1.2.{wanted}");
    let instance = Instance { class: CT, instance: &uid, syntax: EXPLICIT_LITTLE };
    let response = association.store(&instance, &bytes[..], bytes.len() as u64)?;
    Ok((response.status, response.comment.is_some_and(|text| text.starts_with("no room"))))
}

#[test]
fn statuses_and_comments_of_pynetdicom_are_understood() {
    let Some(mut scp) = Scp::start(&[]) else { return };
    let mut association = scp.associate();
    assert_eq!(association.peer().max_pdu, 0, "no limit");
    assert_eq!(association.echo().unwrap().status, Status::SUCCESS);
    for (wanted, class) in [
        (0, Class::Success),
        (0xb000, Class::Warning),
        (0xb006, Class::Warning),
        (0xa700, Class::Failure),
        (0xc123, Class::Failure),
        (0x0122, Class::Failure),
    ] {
        let (status, commented) = store(&mut association, wanted).unwrap();
        assert_eq!((u32::from(status.0), status.class()), (wanted, class));
        assert_eq!(commented, wanted != 0);
        assert_eq!(scp.line(), format!("store 1.2.{wanted} 300001"));
    }
    association.release().unwrap();
    assert_eq!(scp.line(), "released");
}

#[test]
fn an_abort_of_pynetdicom_ends_the_association() {
    let Some(scp) = Scp::start(&[]) else { return };
    let mut association = scp.associate();
    let stored = store(&mut association, 70_001);
    assert!(matches!(stored, Err(Error::Aborted(_))), "{stored:?}");
    assert!(matches!(store(&mut association, 0), Err(Error::Over)));
}

#[test]
fn a_slow_answer_of_pynetdicom_is_not_waited_for() {
    let Some(mut scp) = Scp::start(&[]) else { return };
    let mut wanted = proposal();
    wanted.limits.answer = Duration::from_millis(300);
    let mut association = request(connect(scp.address), &wanted).unwrap();
    let stored = store(&mut association, 70_002);
    assert!(matches!(stored, Err(Error::TimedOut(Phase::Answer))), "{stored:?}");
    drop(association);
    assert_eq!(scp.line(), "aborted");
}

fn wanted() -> CommitmentRequest {
    let reference = |n: usize| Reference { class: CT.into(), instance: format!("1.2.{n}") };
    CommitmentRequest { transaction: "1.2.3".into(), instances: (1..=50).map(reference).collect() }
}

fn check(report: &Report) {
    let wanted = wanted();
    assert_eq!(report.transaction, wanted.transaction);
    assert_eq!(report.committed, wanted.instances[1..]);
    assert_eq!(report.failed, [(wanted.instances[0].clone(), 0x0112)]);
}

#[test]
fn pynetdicom_commits_itself_on_the_same_association() {
    let Some(mut scp) = Scp::start(&[]) else { return };
    let mut association = scp.associate();
    assert_eq!(association.commit(&wanted()).unwrap().status, Status::SUCCESS);
    assert_eq!(scp.line(), "action 1 50");
    let Request::Report(report, reply) = association.next_request().unwrap() else { panic!() };
    check(&report);
    reply.respond(Status::SUCCESS).unwrap();
    assert_eq!(scp.line(), "reported 0000");
    association.release().unwrap();
}

#[test]
fn pynetdicom_reports_on_an_association_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (address, server) = keep(any(), folder.path(), 1);
    let Some(mut scp) = Scp::start(&[address.port().to_string()]) else {
        drop(connect(address));
        return drop(server.join());
    };
    let mut association = scp.associate();
    assert_eq!(association.commit(&wanted()).unwrap().status, Status::SUCCESS);
    association.release().unwrap();
    let (heard, ended) = server.join().unwrap().pop().unwrap();
    ended.unwrap();
    let expected = Report {
        transaction: wanted().transaction,
        committed: wanted().instances.split_off(1),
        failed: vec![(wanted().instances[0].clone(), 0x0112)],
    };
    check(&expected);
    assert_eq!(heard, [format!("{expected:?}")]);
    assert!((0..3).any(|_| scp.line() == "reported 0000"));
}

#[test]
fn pynetdicom_stores_and_asks_for_commitment() {
    for what in ["explicit", "implicit"] {
        let folder = tempfile::tempdir().unwrap();
        let (address, server) = keep(any(), folder.path(), 1);
        let Some(lines) = asked(address, what) else {
            drop(connect(address));
            return drop(server.join());
        };
        let accepted = ["accepted", uids::VERIFICATION, uids::COMMITMENT, CT].join(" ");
        let mut expected = vec![accepted, "echo 0000".into()];
        expected.extend(["store 0000"; 5].map(str::to_owned));
        expected.extend(["action 0000", "report 2 99 1"].map(str::to_owned));
        assert_eq!(lines, expected, "{what}");
        let (heard, ended) = server.join().unwrap().pop().unwrap();
        ended.unwrap();
        assert_eq!(heard.len(), 7);
    }
}

#[test]
fn wrong_requests_of_pynetdicom_are_answered() {
    let (address, server) = serve(any(), Admission::Welcome);
    let Some(lines) = asked(address, "wrong") else {
        drop(connect(address));
        return drop(server.join());
    };
    assert_eq!(lines[1..], ["action 0123", "action 0112", "action 0115"]);
    let (heard, ended) = server.join().unwrap();
    ended.unwrap();
    let expected = [Status::NO_SUCH_ACTION, Status::NO_SUCH_INSTANCE, Status::INVALID_ARGUMENT];
    assert_eq!(heard, expected.map(|status| format!("0130 {status}")));
}

#[test]
fn misbehaviour_of_pynetdicom_ends_its_association_alone() {
    for what in ["abort", "lie", "gone"] {
        let folder = tempfile::tempdir().unwrap();
        let (address, server) = keep(any(), folder.path(), 1);
        let Some(lines) = asked(address, what) else {
            drop(connect(address));
            return drop(server.join());
        };
        let (heard, ended) = server.join().unwrap().pop().unwrap();
        assert_eq!(heard.len(), 1, "{what}: what came before stays");
        match (what, ended) {
            ("abort", Err(Error::Aborted(_))) | ("gone", Err(Error::Closed)) => {}
            ("lie", Err(Error::Violation(Violation::PduLength { .. }))) => {
                assert_eq!(lines.last().unwrap(), "aborted True");
            }
            (what, ended) => panic!("{what}: {ended:?}"),
        }
    }
}
