//! Servers that break rules, and what is made of their answers.

use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use monet_dicom::write::{EXPLICIT_LITTLE, IMPLICIT_LITTLE};
use monet_dimse::limits::MAX_PENDING;
use monet_dimse::pdu::{
    Accept, Answer, Associate, ContextAnswer, PduKind, Reject, Role, UserInformation, put_release,
};
use monet_dimse::{Admission, Error, Instance, Status, Violation, request, uids};

use super::server::{CT, any, connect, proposal, serve};
use super::wire::{ECHO, Got, STORE, Wire, associate, command, fragment, release};

/// A server that reads a request to associate, and goes on as a test tells it to.
fn server(then: impl FnOnce(&mut Wire) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut wire = Wire::over(listener.accept().unwrap().0);
        let Got::Pdu(PduKind::AssociateRequest, _) = wire.receive() else { panic!() };
        then(&mut wire);
    });
    (address, server)
}

/// Accepts contexts of these numbers and syntaxes, and PDUs up to a limit.
fn accept(contexts: &[(u8, &str)], max_length: u32) -> Vec<u8> {
    let context = |(id, syntax): &(u8, &str)| ContextAnswer {
        id: *id,
        answer: Answer::Acceptance,
        syntax: (*syntax).to_owned(),
    };
    let contexts = contexts.iter().map(context).collect();
    let user = UserInformation { max_length, ..UserInformation::default() };
    let mut bytes = Vec::new();
    Accept { called: [b'A'; 16], calling: [b'B'; 16], contexts, user }.put(&mut bytes);
    bytes
}

/// What [`proposal`] proposes, accepted.
fn welcome() -> Vec<u8> {
    accept(&[(ECHO, IMPLICIT_LITTLE), (STORE, EXPLICIT_LITTLE)], 16_384)
}

/// An answer to an echo.
fn echoed(message: u16) -> Vec<u8> {
    let numbers = [(0x0100, 0x8030), (0x0120, message), (0x0800, 0x0101), (0x0900, 0)];
    fragment(ECHO, true, true, &command(&numbers, &[]))
}

#[test]
fn negotiations_that_break_rules_are_errors() {
    let violation = |answer: Vec<u8>, reason: u8| {
        let (address, server) = server(move |wire| {
            wire.send(&answer);
            wire.aborted(reason);
        });
        let opened = request(connect(address), &proposal());
        server.join().unwrap();
        match opened {
            Err(Error::Violation(violation)) => violation,
            other => panic!("{other:?}"),
        }
    };
    let unknown = accept(&[(9, IMPLICIT_LITTLE)], 0);
    assert!(matches!(violation(unknown, 6), Violation::Context { id: 9 }));
    let twice = accept(&[(ECHO, IMPLICIT_LITTLE); 2], 0);
    assert!(matches!(violation(twice, 6), Violation::Context { id: ECHO }));
    let other = accept(&[(STORE, "1.2.840.10008.1.2.4.50")], 0);
    assert!(matches!(violation(other, 6), Violation::Context { id: STORE }));
    let narrow = accept(&[(ECHO, IMPLICIT_LITTLE)], 7);
    assert!(matches!(violation(narrow, 6), Violation::PeerLimit { found: 7 }));
    assert!(matches!(violation(associate(), 2), Violation::Unexpected { .. }));
    assert!(matches!(violation(release(), 2), Violation::Unexpected { .. }));
    assert!(matches!(violation(b"HTTP/1.1 400 Bad".to_vec(), 1), Violation::PduKind { .. }));
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let (address, server) = server(|wire| {
        let mut bytes = Vec::new();
        Reject::CALLED_TITLE.put(&mut bytes);
        wire.send(&bytes);
    });
    let refused = request(connect(address), &proposal());
    assert!(matches!(refused, Err(Error::Rejected(Reject::CALLED_TITLE))));
    server.join().unwrap();
}

#[test]
fn a_narrow_peer_gets_fragments_of_even_lengths() {
    for limit in [8, 9, 13, 101] {
        let (address, server) = server(move |wire| {
            wire.send(&accept(&[(STORE, EXPLICIT_LITTLE)], limit));
            let mut data: Vec<u8> = Vec::new();
            loop {
                let Got::Pdu(PduKind::Data, body) = wire.receive() else { panic!() };
                assert!(body.len() <= limit as usize && body.len().is_multiple_of(2));
                let control = body[5];
                if control & 1 == 0 {
                    data.extend(&body[6..]);
                }
                if control == 2 {
                    break;
                }
            }
            assert_eq!(data, [5; 1000]);
            let numbers = [(0x0100, 0x8001), (0x0120, 1), (0x0800, 0x0101), (0x0900, 0xb007)];
            wire.send(&fragment(STORE, true, true, &command(&numbers, &[])));
            assert_eq!(wire.receive(), Got::Pdu(PduKind::ReleaseRequest, vec![0; 4]));
            let mut reply = Vec::new();
            put_release(PduKind::ReleaseReply, &mut reply);
            wire.send(&reply);
        });
        let mut association = request(connect(address), &proposal()).unwrap();
        let instance = Instance { class: CT, instance: "1.2", syntax: EXPLICIT_LITTLE };
        let stored = association.store(&instance, &[5; 1000][..], 1000).unwrap();
        assert_eq!(stored.status, Status(0xb007));
        association.release().unwrap();
        server.join().unwrap();
    }
}

/// What an echo makes of an answer, which ends the association.
fn echo(answer: Vec<u8>) -> Error {
    let (address, server) = server(move |wire| {
        wire.send(&welcome());
        let Got::Pdu(PduKind::Data, _) = wire.receive() else { panic!() };
        wire.send(&answer);
        assert!(matches!(wire.receive(), Got::Pdu(PduKind::Abort, _) | Got::Closed));
    });
    let mut association = request(connect(address), &proposal()).unwrap();
    let failed = association.echo().unwrap_err();
    assert!(matches!(association.echo(), Err(Error::Over)));
    drop(association);
    server.join().unwrap();
    failed
}

#[test]
fn answers_that_break_rules_end_the_association() {
    let violation = |answer| match echo(answer) {
        Error::Violation(violation) => violation,
        other => panic!("{other:?}"),
    };
    let other = violation(echoed(2));
    assert!(matches!(other, Violation::Answer { field: 0x8030, id: 2 }), "{other}");
    let store = [(0x0100, 0x8001), (0x0120, 1), (0x0800, 0x0101), (0x0900, 0)];
    let store = fragment(ECHO, true, true, &command(&store, &[]));
    assert!(matches!(violation(store), Violation::Answer { field: 0x8001, id: 1 }));
    let no_status = [(0x0100, 0x8030), (0x0120, 1), (0x0800, 0x0101)];
    let no_status = fragment(ECHO, true, true, &command(&no_status, &[]));
    assert!(matches!(violation(no_status), Violation::Lacks { .. }));
    let asks = [(0x0100, 0x0001), (0x0110, 1), (0x0800, 0x0101)];
    let asks = fragment(ECHO, true, true, &command(&asks, &[]));
    assert!(matches!(violation(asks), Violation::Answer { field: 1, .. }));
    assert!(matches!(violation(release()), Violation::Unexpected { .. }));
    assert!(matches!(violation(vec![4, 0, 0xff, 0xff, 0xff, 0xff]), Violation::PduLength { .. }));
    assert!(matches!(echo(vec![7, 0, 0, 0, 0, 4, 0, 0, 2, 6]), Error::Aborted(_)));
}

/// A report on one instance, in implicit VR.
fn report(context: u8, message: u16) -> Vec<u8> {
    let numbers = [(0x0100, 0x0100), (0x0110, message), (0x0800, 0), (0x1002, 1)];
    let set = command(&numbers, &[(0x0002, uids::COMMITMENT)]);
    let data = b"\x08\0\x95\x11\x04\0\0\x001.2\0\x08\0\x99\x11\x24\0\0\0\xfe\xff\0\xe0\x1c\0\0\0\
                 \x08\0\x50\x11\x04\0\0\x001.2\0\x08\0\x55\x11\x08\0\0\x001.2.3.4\0";
    [fragment(context, true, true, &set), fragment(context, false, true, data)].concat()
}

#[test]
fn reports_before_an_answer_are_kept_up_to_a_limit() {
    for (count, kept) in [(MAX_PENDING, true), (MAX_PENDING + 1, false)] {
        let (address, server) = server(move |wire| {
            let contexts = [(ECHO, IMPLICIT_LITTLE), (5, IMPLICIT_LITTLE)];
            wire.send(&accept(&contexts, 16_384));
            let Got::Pdu(PduKind::Data, _) = wire.receive() else { panic!() };
            (1..=count as u16).for_each(|message| wire.send(&report(5, message)));
            wire.send(&echoed(1));
            for message in 1..=count as u16 {
                if kept {
                    assert_eq!(wire.answer(), [0x8100, 0, message]);
                }
            }
        });
        let wanted = proposal().with(uids::COMMITMENT);
        let mut association = request(connect(address), &wanted).unwrap();
        let answer = association.echo();
        if kept {
            answer.unwrap();
            for _ in 0..count {
                let monet_dimse::Request::Report(report, reply) =
                    association.next_request().unwrap()
                else {
                    panic!()
                };
                assert_eq!(report.committed[0].instance, "1.2.3.4");
                reply.respond(Status::SUCCESS).unwrap();
            }
        } else {
            assert!(matches!(answer, Err(Error::Violation(Violation::Pending))), "{answer:?}");
        }
        drop(association);
        server.join().unwrap();
    }
}

#[test]
fn roles_are_agreed_on_for_reports_alone() {
    let (address, server) = serve(any(), Admission::Welcome);
    let mut wire = Wire::connect(address);
    let mut asked = Associate::parse(&associate()[6..]).unwrap();
    asked.contexts[1].class = uids::COMMITMENT.to_owned();
    let role = |class: &str| Role { class: class.to_owned(), user: false, provider: true };
    asked.user.roles = vec![role(uids::VERIFICATION), role(uids::COMMITMENT)];
    let mut bytes = Vec::new();
    asked.put(&mut bytes);
    wire.send(&bytes);
    let Got::Pdu(PduKind::AssociateAccept, body) = wire.receive() else { panic!() };
    assert_eq!(Accept::parse(&body).unwrap().user.roles, [role(uids::COMMITMENT)]);
    wire.send(&release());
    drop(wire);
    let _ = server.join().unwrap();
}
