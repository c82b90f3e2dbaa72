//! Both sides of the crate against each other, over real sockets.

use std::io::Cursor;
use std::net::TcpListener;
use std::thread;

use monet_dicom::write::{EXPLICIT_LITTLE, IMPLICIT_LITTLE};
use monet_dimse::pdu::Reject;
use monet_dimse::{
    Admission, Association, CommitmentRequest, Error, Instance, Policy, Proposal, Reference,
    Report, Request, Status, Timed, Titles, Untimed, accept, decodable, request, uids,
};

use super::server::{CT, MR, any, connect, proposal, serve, title};

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8).collect()
}

#[test]
fn instances_of_all_lengths_arrive_under_limits_of_all_sizes() {
    for max_pdu in [4 << 10, 16_382, 64 << 10, 0, u32::MAX] {
        let policy = Policy { max_pdu, ..any() };
        let (address, server) = serve(policy, Admission::Welcome);
        let mut association = request(connect(address), &proposal()).unwrap();
        let limit = association.peer().max_pdu as usize;
        assert!((4 << 10..=256 << 10).contains(&limit), "{limit}");
        let lengths = [0, 2, 131, limit - 8, limit - 6, limit - 5, limit, 3 * limit, 1 << 20];
        let mut expected = Vec::new();
        for (n, length) in lengths.into_iter().enumerate() {
            let uid = format!("1.2.{}", n + 1);
            let instance = Instance { class: CT, instance: &uid, syntax: EXPLICIT_LITTLE };
            let response = association.store(&instance, &data(length)[..], length as u64).unwrap();
            assert_eq!(response.status, Status::SUCCESS);
            expected.push(format!("{uid} {EXPLICIT_LITTLE} {length}"));
        }
        assert_eq!(association.echo().unwrap().status, Status::SUCCESS);
        expected.push("echo".into());
        association.release().unwrap();
        let (heard, ended) = server.join().unwrap();
        ended.unwrap();
        assert_eq!(heard, expected);
    }
}

#[test]
fn what_is_not_read_is_passed_over() {
    let (address, server) = serve(any(), Admission::Welcome);
    let mut association = request(connect(address), &proposal()).unwrap();
    let bytes = data(2 << 20);
    let store = |association: &mut Association<Timed>, uid| {
        let instance = Instance { class: CT, instance: uid, syntax: EXPLICIT_LITTLE };
        association.store(&instance, &bytes[..], bytes.len() as u64).unwrap().status
    };
    assert_eq!(store(&mut association, "1.0"), Status(0xb000));
    assert_eq!(store(&mut association, "1.2"), Status::OUT_OF_RESOURCES);
    assert_eq!(store(&mut association, "1.3"), Status::SUCCESS);
    association.release().unwrap();
    let (heard, ended) = server.join().unwrap();
    ended.unwrap();
    assert_eq!(heard.len(), 3);
}

#[test]
fn this_sides_order_of_syntaxes_decides() {
    let mut wanted = proposal();
    wanted.contexts[1].1 =
        ["1.2.840.10008.1.2.4.50", IMPLICIT_LITTLE, EXPLICIT_LITTLE].map(str::to_owned).to_vec();
    let wanted = wanted.with_syntax(MR, "1.2.840.10008.1.2.4.100").with("1.2.3.4");
    let (address, server) = serve(any(), Admission::Welcome);
    let mut association = request(connect(address), &wanted).unwrap();
    let agreed: Vec<_> = association
        .contexts()
        .iter()
        .map(|context| (context.id, context.class.as_str(), context.syntax.as_str()))
        .collect();
    assert_eq!(agreed, [(1, uids::VERIFICATION, EXPLICIT_LITTLE), (3, CT, EXPLICIT_LITTLE)]);
    let instance = Instance { class: MR, instance: "1.2", syntax: EXPLICIT_LITTLE };
    let refused = association.store(&instance, &b"ab"[..], 2);
    assert!(matches!(refused, Err(Error::NotAccepted { .. })));
    // The association goes on.
    association.echo().unwrap();
    association.release().unwrap();
    server.join().unwrap().1.unwrap();
    let policy = Policy { syntaxes: decodable(), ..any() };
    let (address, server) = serve(policy, Admission::Welcome);
    let association = request(connect(address), &wanted).unwrap();
    assert_eq!(association.contexts()[1].syntax, EXPLICIT_LITTLE);
    association.release().unwrap();
    server.join().unwrap().1.unwrap();
}

#[test]
fn strangers_hear_why_they_are_not_let_in() {
    let only = |text: &str| Titles::Only(vec![title(text)]);
    let cases = [
        (Policy { called: only("scp"), ..any() }, Admission::Welcome, Reject::CALLED_TITLE),
        (Policy { calling: only("OTHER"), ..any() }, Admission::Welcome, Reject::CALLING_TITLE),
        (any(), Admission::LocalLimit, Reject::LOCAL_LIMIT),
        (any(), Admission::Congestion, Reject::CONGESTION),
    ];
    for (policy, admission, expected) in cases {
        let (address, server) = serve(policy, admission);
        let rejected = request(connect(address), &proposal());
        assert!(matches!(rejected, Err(Error::Rejected(reject)) if reject == expected));
        let (_, ended) = server.join().unwrap();
        let Err(Error::Refused { reject, calling, .. }) = ended else { panic!("{ended:?}") };
        assert_eq!((reject, calling), (expected, Some(title("SCU"))));
    }
    let policy = Policy { called: only("scp"), case_sensitive: false, ..any() };
    let (address, server) = serve(policy, Admission::Welcome);
    request(connect(address), &proposal()).unwrap().release().unwrap();
    server.join().unwrap().1.unwrap();
}

#[test]
fn commitment_is_asked_for_and_reported_on_one_association() {
    let (address, server) = serve(any(), Admission::Welcome);
    let mut association = request(connect(address), &proposal().with(uids::COMMITMENT)).unwrap();
    let reference = |n: usize| Reference { class: CT.into(), instance: format!("1.2.{n}") };
    let instances: Vec<_> = (1..=300).map(reference).collect();
    let wanted = CommitmentRequest { transaction: "1.2.3".into(), instances };
    assert_eq!(association.commit(&wanted).unwrap().status, Status::SUCCESS);
    let Request::Report(report, reply) = association.next_request().unwrap() else { panic!() };
    assert_eq!(report.failed, [(reference(1), 0x0112)]);
    assert_eq!(report.committed.len(), 299);
    reply.respond(Status::SUCCESS).unwrap();
    association.release().unwrap();
    let (heard, ended) = server.join().unwrap();
    ended.unwrap();
    assert_eq!(heard, [format!("{wanted:?}")]);
}

#[test]
fn a_report_comes_on_an_association_of_the_provider() {
    let (address, server) = serve(any(), Admission::Welcome);
    let mut wanted = Proposal::new(title("PACS"), title("SCP")).with(uids::COMMITMENT);
    wanted.provides.push(uids::COMMITMENT.into());
    let mut association = request(connect(address), &wanted).unwrap();
    let committed = vec![Reference { class: CT.into(), instance: "1.2".into() }];
    let report = Report { transaction: "1.9".into(), committed, failed: Vec::new() };
    assert_eq!(association.report(&report).unwrap().status, Status::SUCCESS);
    association.release().unwrap();
    let (heard, ended) = server.join().unwrap();
    ended.unwrap();
    assert_eq!(heard, [format!("{report:?}")]);
}

#[test]
fn a_source_that_ends_early_aborts() {
    let (address, server) = serve(any(), Admission::Welcome);
    let mut association = request(connect(address), &proposal()).unwrap();
    let instance = Instance { class: CT, instance: "1.2", syntax: EXPLICIT_LITTLE };
    let failed = association.store(&instance, Cursor::new(data(100_000)), 200_000);
    assert!(matches!(failed, Err(Error::Source(_))), "{failed:?}");
    assert!(!association.is_open());
    assert!(matches!(association.echo(), Err(Error::Over)));
    drop(association);
    let (heard, ended) = server.join().unwrap();
    assert!(heard.is_empty() && matches!(ended, Err(Error::Aborted(_))), "{ended:?}");
}

#[test]
fn dropping_aborts() {
    let (address, server) = serve(any(), Admission::Welcome);
    let association = request(connect(address), &proposal()).unwrap();
    drop(association);
    let (_, ended) = server.join().unwrap();
    assert!(matches!(ended, Err(Error::Aborted(_))), "{ended:?}");
}

#[test]
fn an_abort_in_the_midst_of_a_data_set_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let stream = Timed::new(listener.accept().unwrap().0).unwrap();
        let mut association = accept(stream, &any(), |_| Admission::Welcome).unwrap();
        // Dropped without an answer, and with most of the data set on its way.
        assert!(matches!(association.next_request().unwrap(), Request::Store(_)));
    });
    let mut association = request(connect(address), &proposal()).unwrap();
    let instance = Instance { class: CT, instance: "1.2", syntax: EXPLICIT_LITTLE };
    let stored = association.store(&instance, std::io::repeat(0), 1 << 32);
    assert!(matches!(stored, Err(Error::Aborted(abort)) if abort.source == 0), "{stored:?}");
    server.join().unwrap();
}

#[test]
fn an_unanswered_request_aborts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let stream = Timed::new(listener.accept().unwrap().0).unwrap();
        let mut association = accept(stream, &any(), |_| Admission::Welcome).unwrap();
        drop(association.next_request().unwrap());
        assert!(matches!(association.next_request(), Err(Error::Over)));
    });
    let mut association = request(connect(address), &proposal()).unwrap();
    assert!(matches!(association.echo(), Err(Error::Aborted(_))));
    server.join().unwrap();
}

#[test]
fn proposals_that_cannot_be_said_are_errors() {
    let none = Proposal::new(title("A"), title("B"));
    let invalid = |wanted: &Proposal| {
        let nobody = Untimed(Cursor::new(Vec::new()));
        assert!(matches!(request(nobody, wanted), Err(Error::Invalid(_))));
    };
    invalid(&none);
    invalid(&none.clone().with("x"));
    let many = |count| (0..count).fold(none.clone(), |all, n| all.with(&format!("1.2.{n}")));
    invalid(&many(129));
    assert_eq!(many(3).with("1.2.1").contexts.len(), 3);
}
