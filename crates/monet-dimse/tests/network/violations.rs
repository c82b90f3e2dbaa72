//! Peers that break rules: what they are told, and what the server makes of it.

use monet_dimse::limits::MAX_COMMAND;
use monet_dimse::pdu::{PduKind, Reject};
use monet_dimse::{Admission, Error, Status, Violation};

use super::server::{CT, MR, Server, any, serve};
use super::wire::{ECHO, Got, STORE, Wire, associate, command, echo, fragment, release, store};

fn server() -> (std::net::SocketAddr, Server) {
    serve(any(), Admission::Welcome)
}

/// Sends bytes on an open association, and expects an abort for a reason.
fn abort(bytes: &[u8], reason: u8) -> Violation {
    let (address, server) = server();
    let mut wire = Wire::associated(address);
    wire.send(bytes);
    wire.aborted(reason);
    drop(wire);
    match server.join().unwrap().1 {
        Err(Error::Violation(violation)) => violation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lengths_that_lie_end_the_association() {
    for length in [0xffff_ffff_u32, 65_537, 0, 5] {
        let [a, b, c, d] = length.to_be_bytes();
        let violation = abort(&[4, 0, a, b, c, d], 6);
        assert!(matches!(violation, Violation::PduLength { found, .. } if found == length));
    }
    for found in [0_u32, 1, 3, 0xffff_ffff] {
        let [a, b, c, d] = found.to_be_bytes();
        let violation = abort(&[4, 0, 0, 0, 0, 6, a, b, c, d, 1, 3], 6);
        assert!(matches!(violation, Violation::Fragment { left: 2, .. }), "{violation}");
    }
}

#[test]
fn pdus_out_of_order_end_the_association() {
    assert!(matches!(abort(&[9, 0, 0, 0, 0, 4, 0, 0, 0, 0], 1), Violation::PduKind { found: 9 }));
    let again = abort(&associate(), 2);
    assert!(matches!(again, Violation::Unexpected { found: PduKind::AssociateRequest }));
    assert!(matches!(abort(&[6, 0, 0, 0, 0, 4, 0, 0, 0, 0], 2), Violation::Unexpected { .. }));
    // A release in the midst of a command, and of a data set.
    let midst = [fragment(ECHO, true, false, &echo(1)[..20]), release()].concat();
    assert!(matches!(abort(&midst, 2), Violation::Unexpected { .. }));
    let midst = [
        fragment(STORE, true, true, &store(1, CT, "1.2.1")),
        fragment(STORE, false, false, &[0, 1]),
        release(),
    ];
    assert!(matches!(abort(&midst.concat(), 2), Violation::Unexpected { .. }));
}

#[test]
fn fragments_out_of_order_end_the_association() {
    let data = fragment(STORE, false, true, &[0, 1]);
    assert!(matches!(abort(&data, 5), Violation::Interleaved { command: false, .. }));
    let head = fragment(STORE, true, true, &store(1, CT, "1.2.1"));
    let other = [head.clone(), fragment(5, false, true, &[0, 1])].concat();
    assert!(matches!(abort(&other, 5), Violation::Interleaved { id: 5, command: false }));
    let command = [head, fragment(STORE, true, true, &echo(2))].concat();
    assert!(matches!(abort(&command, 5), Violation::Interleaved { id: 3, command: true }));
    let two =
        [fragment(ECHO, true, false, &echo(1)[..20]), fragment(STORE, true, true, &echo(1)[20..])];
    assert!(matches!(abort(&two.concat(), 5), Violation::Interleaved { id: 3, command: true }));
    let unknown = fragment(7, true, true, &echo(1));
    assert!(matches!(abort(&unknown, 6), Violation::Context { id: 7 }));
}

#[test]
fn commands_that_cannot_be_read_end_the_association() {
    let cut = fragment(ECHO, true, true, &echo(1)[..20]);
    assert!(matches!(abort(&cut, 6), Violation::Command(_)));
    let nothing = fragment(ECHO, true, true, &[]);
    assert!(matches!(abort(&nothing, 6), Violation::Lacks { .. }));
    let no_message = command(&[(0x0100, 0x0030), (0x0800, 0x0101)], &[]);
    assert!(matches!(abort(&fragment(ECHO, true, true, &no_message), 6), Violation::Lacks { .. }));
    let endless: Vec<u8> =
        (0..=MAX_COMMAND / 1000).flat_map(|_| fragment(ECHO, true, false, &[0; 1000])).collect();
    assert!(matches!(abort(&endless, 6), Violation::CommandLength));
    let answer = [(0x0100, 0x8030), (0x0120, 1), (0x0800, 0x0101), (0x0900, 0)];
    let answer = fragment(ECHO, true, true, &command(&answer, &[]));
    assert!(matches!(abort(&answer, 5), Violation::Answer { field: 0x8030, id: 1 }));
}

#[test]
fn what_cannot_be_done_is_answered_and_the_association_goes_on() {
    let (address, server) = server();
    let mut wire = Wire::associated(address);
    let mut refused = |context, set: &[u8], data: &[u8], expected: [u16; 3]| {
        wire.send(&fragment(context, true, true, set));
        if !data.is_empty() {
            wire.send(&fragment(context, false, false, data));
            wire.send(&fragment(context, false, true, &[]));
        }
        assert_eq!(wire.answer(), expected);
    };
    let find = |data_set| command(&[(0x0100, 0x0020), (0x0110, 7), (0x0800, data_set)], &[]);
    refused(STORE, &find(0), &[1, 2], [0x8020, 0x0211, 7]);
    refused(STORE, &find(0x0101), &[], [0x8020, 0x0211, 7]);
    refused(STORE, &store(8, MR, "1.2.1"), &[0, 1], [0x8001, 0x0122, 8]);
    refused(ECHO, &store(9, CT, "1.2.1"), &[0, 1], [0x8001, 0x0122, 9]);
    refused(STORE, &echo(10), &[], [0x8030, 0x0122, 10]);
    let long = "1.".repeat(40) + "1";
    for uid in ["../../etc/passwd", "1.02", "1.2\\1.3", "1.2/../3", "", "1..2", "1.2 1", &long] {
        refused(STORE, &store(11, CT, uid), &[0, 1], [0x8001, 0x0117, 11]);
    }
    refused(STORE, &store(11, "x", "1.2.1"), &[0, 1], [0x8001, 0x0122, 11]);
    let no_data = [(0x0100, 1), (0x0110, 12), (0x0800, 0x0101)];
    let no_data = command(&no_data, &[(0x0002, CT), (0x1000, "1.2.1")]);
    refused(STORE, &no_data, &[], [0x8001, 0xc000, 12]);
    let action = [(0x0100, 0x0130), (0x0110, 13), (0x0800, 0), (0x1008, 1)];
    refused(STORE, &command(&action, &[(0x0003, CT)]), &[0, 1], [0x8130, 0x0122, 13]);
    // Nothing answers a cancellation.
    let cancel = [(0x0100, 0x0fff), (0x0120, 7), (0x0800, 0x0101)];
    wire.send(&fragment(STORE, true, true, &command(&cancel, &[])));
    wire.send(&fragment(ECHO, true, true, &echo(14)));
    assert_eq!(wire.answer(), [0x8030, 0, 14]);
    wire.send(&release());
    assert_eq!(wire.receive(), Got::Pdu(PduKind::ReleaseReply, vec![0; 4]));
    drop(wire);
    let (heard, ended) = server.join().unwrap();
    ended.unwrap();
    assert_eq!(heard[0], format!("0020 {}", Status::UNRECOGNIZED_OPERATION));
    assert_eq!(heard.last().unwrap(), "echo");
}

#[test]
fn messages_in_any_division_into_pdus_are_understood() {
    let (address, server) = server();
    let mut wire = Wire::associated(address);
    // A byte a PDU, with empty fragments between.
    for part in echo(1)[..].chunks(1) {
        wire.send(&fragment(ECHO, true, false, part));
        wire.send(&fragment(ECHO, true, false, &[]));
    }
    wire.send(&fragment(ECHO, true, true, &[]));
    assert_eq!(wire.answer(), [0x8030, 0, 1]);
    // A command in two fragments and its data set in three, all in one PDU.
    let set = store(2, CT, "1.2.1");
    let parts = [
        fragment(STORE, true, false, &set[..33]),
        fragment(STORE, true, true, &set[33..]),
        fragment(STORE, false, false, &[0, 1, 2]),
        fragment(STORE, false, false, &[3]),
        fragment(STORE, false, true, &[4, 5, 6, 7]),
    ];
    let body: Vec<u8> = parts.iter().flat_map(|pdu| &pdu[6..]).copied().collect();
    wire.send(&[4, 0]);
    wire.send(&(body.len() as u32).to_be_bytes());
    wire.send(&body);
    assert_eq!(wire.answer(), [0x8001, 0, 2]);
    wire.send(&release());
    assert!(matches!(wire.receive(), Got::Pdu(PduKind::ReleaseReply, _)));
    drop(wire);
    let (heard, ended) = server.join().unwrap();
    ended.unwrap();
    assert_eq!(heard, ["echo", "1.2.1 1.2.840.10008.1.2 8"]);
}

#[test]
fn what_is_no_association_request_is_turned_away() {
    let turned = |bytes: &[u8], reason| {
        let (address, server) = server();
        let mut wire = Wire::connect(address);
        wire.send(bytes);
        wire.aborted(reason);
        drop(wire);
        assert!(matches!(server.join().unwrap().1, Err(Error::Violation(_))));
    };
    turned(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1);
    turned(b"\x16\x03\x01\x02\x00\x01\x00\x01", 1);
    turned(&fragment(ECHO, true, true, &echo(1)), 2);
    turned(&[1, 0, 0xff, 0xff, 0xff, 0xff], 6);
    // An item that is longer than the PDU.
    let mut long = associate();
    long[6 + 68 + 2] = 0xff;
    turned(&long, 6);
}

#[test]
fn versions_and_application_contexts_are_looked_at() {
    let rejected = |bytes: &[u8], expected| {
        let (address, server) = server();
        let mut wire = Wire::connect(address);
        wire.send(bytes);
        let Got::Pdu(PduKind::AssociateReject, body) = wire.receive() else { panic!() };
        assert_eq!(Reject::parse(body.try_into().unwrap()), expected);
        assert_eq!(wire.receive(), Got::Closed);
        assert!(matches!(server.join().unwrap().1, Err(Error::Refused { .. })));
    };
    let mut version = associate();
    version[7] = 2;
    rejected(&version, Reject::PROTOCOL_VERSION);
    let mut context = associate();
    context[6 + 68 + 4] = b'2';
    rejected(&context, Reject::APPLICATION_CONTEXT);
    let mut title = associate();
    title[6 + 4..6 + 20].fill(b' ');
    rejected(&title, Reject::CALLED_TITLE);
    let mut title = associate();
    title[6 + 20] = 0xff;
    rejected(&title, Reject::CALLING_TITLE);
}

#[test]
fn a_peer_that_hangs_up_is_noticed() {
    let hang_up = |bytes: &[u8]| {
        let (address, server) = server();
        let mut wire = Wire::associated(address);
        wire.send(bytes);
        drop(wire);
        assert!(matches!(server.join().unwrap().1, Err(Error::Closed)));
    };
    hang_up(&[]);
    hang_up(&fragment(ECHO, true, true, &echo(1))[..20]);
    let head = fragment(STORE, true, true, &store(1, CT, "1.2.1"));
    hang_up(&[head, fragment(STORE, false, false, &[0; 100])].concat());
}
