//! Peers that take their time, against limits of every kind.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use monet_dicom::write::{EXPLICIT_LITTLE, IMPLICIT_LITTLE};
use monet_dimse::limits::Limits;
use monet_dimse::{
    Admission, Error, Instance, Phase, Policy, Request, Status, Timed, accept, request,
};

use super::server::{CT, any, connect, proposal, serve};
use super::wire::{ECHO, STORE, Wire, associate, echo, fragment, store};

/// The limit under test.
const SHORT: Duration = Duration::from_millis(400);
/// All other limits.
const LONG: Duration = Duration::from_secs(60);
/// A slow machine's share.
const SLACK: Duration = Duration::from_secs(10);

const LONGEST: Limits = Limits {
    negotiation: LONG,
    idle: LONG,
    progress: LONG,
    message: LONG,
    answer: LONG,
    association: LONG,
};

/// Runs a peer against a server with limits, and says which of them ended the association.
fn ended(limits: Limits, peer: impl FnOnce(SocketAddr) + Send + 'static) -> Phase {
    let (address, server) = serve(Policy { limits, ..any() }, Admission::Welcome);
    let start = Instant::now();
    let peer = thread::spawn(move || peer(address));
    let (_, ended) = server.join().unwrap();
    let took = start.elapsed();
    assert!(took >= SHORT && took < SHORT + SLACK, "{took:?}");
    peer.join().unwrap();
    match ended {
        Err(Error::TimedOut(phase)) => phase,
        other => panic!("{other:?}"),
    }
}

/// Sends a byte at a time, until the server hangs up.
fn drip(wire: &mut Wire, bytes: &[u8]) {
    wire.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for byte in bytes {
        wire.send(&[*byte]);
        // Nothing comes but the end.
        match wire.0.read(&mut [0; 64]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
    panic!("all went through");
}

#[test]
fn a_peer_that_says_nothing_ends_with_the_negotiation() {
    let limits = Limits { negotiation: SHORT, ..LONGEST };
    let silent = |address| drop(Wire::connect(address).receive());
    assert_eq!(ended(limits, silent), Phase::Negotiation);
}

#[test]
fn a_request_byte_by_byte_ends_with_the_negotiation() {
    let limits = Limits { negotiation: SHORT, ..LONGEST };
    let slow = |address| drip(&mut Wire::connect(address), &associate());
    assert_eq!(ended(limits, slow), Phase::Negotiation);
}

#[test]
fn silence_between_messages_ends() {
    let limits = Limits { idle: SHORT, ..LONGEST };
    let silent = |address| {
        let mut wire = Wire::associated(address);
        wire.send(&fragment(ECHO, true, true, &echo(1)));
        assert_eq!(wire.answer(), [0x8030, 0, 1]);
        wire.aborted(0);
    };
    assert_eq!(ended(limits, silent), Phase::Idle);
}

#[test]
fn a_pdu_byte_by_byte_ends() {
    let limits = Limits { progress: SHORT, ..LONGEST };
    let slow = |address| {
        let mut wire = Wire::associated(address);
        drip(&mut wire, &fragment(STORE, true, true, &store(1, CT, "1.2.1")));
    };
    assert_eq!(ended(limits, slow), Phase::Progress);
}

#[test]
fn a_message_in_small_pdus_ends() {
    let limits = Limits { message: SHORT, progress: SHORT / 2, ..LONGEST };
    let slow = |address| {
        let mut wire = Wire::associated(address);
        wire.send(&fragment(STORE, true, true, &store(1, CT, "1.2.1")));
        wire.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let more = || {
            wire.send(&fragment(STORE, false, false, &[]));
            let read = wire.0.read(&mut [0; 64]);
            matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        };
        assert!(std::iter::repeat_with(more).take(1000).any(|goes_on| !goes_on));
    };
    assert_eq!(ended(limits, slow), Phase::Message);
}

#[test]
fn an_association_of_many_messages_ends() {
    let limits = Limits { association: SHORT, ..LONGEST };
    let busy = |address| {
        let mut wire = Wire::associated(address);
        for message in 1..60_000 {
            wire.send(&fragment(ECHO, true, true, &echo(message)));
            match wire.receive() {
                super::wire::Got::Pdu(monet_dimse::pdu::PduKind::Data, _) => {}
                _ => return,
            }
        }
        panic!("the server never ends");
    };
    assert_eq!(ended(limits, busy), Phase::Association);
}

/// A server that negotiates, and then does something else than to answer.
fn strange(then: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let socket = listener.accept().unwrap().0;
        let stream = Timed::new(socket.try_clone().unwrap()).unwrap();
        let association = accept(stream, &any(), |_| Admission::Welcome).unwrap();
        then(socket);
        drop(association);
    });
    (address, server)
}

#[test]
fn a_server_that_never_answers_is_left() {
    let (address, server) = strange(|mut socket| {
        // Reads all, says nothing.
        let _ = io::copy(&mut socket, &mut io::sink());
    });
    let mut wanted = proposal();
    wanted.limits = Limits { answer: SHORT, ..LONGEST };
    let mut association = request(connect(address), &wanted).unwrap();
    let start = Instant::now();
    assert!(matches!(association.echo(), Err(Error::TimedOut(Phase::Answer))));
    assert!(start.elapsed() < SHORT + SLACK);
    drop(association);
    server.join().unwrap();
}

#[test]
fn a_server_that_reads_nothing_is_left() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (address, server) = strange(move |_| assert!(wait.recv().is_err()));
    let mut wanted = proposal();
    wanted.limits = Limits { progress: SHORT, ..LONGEST };
    let mut association = request(connect(address), &wanted).unwrap();
    let instance = Instance { class: CT, instance: "1.2", syntax: EXPLICIT_LITTLE };
    let start = Instant::now();
    let stored = association.store(&instance, io::repeat(0), 1 << 30);
    assert!(matches!(stored, Err(Error::TimedOut(Phase::Progress))), "{stored:?}");
    assert!(start.elapsed() < SHORT + SLACK);
    drop(association);
    drop(done);
    server.join().unwrap();
}

#[test]
fn nobody_at_an_address_ends_with_the_limit() {
    // A network for documentation: packets to it are lost, or refused at once.
    let nowhere: SocketAddr = "192.0.2.1:104".parse().unwrap();
    let start = Instant::now();
    assert!(Timed::connect(&[nowhere, nowhere], SHORT).is_err());
    assert!(start.elapsed() < SHORT + SLACK);
    assert!(Timed::connect(&[], SHORT).is_err());
}

#[test]
fn a_slow_peer_holds_up_nobody_who_answers_in_time() {
    // The time that this side itself takes between request and answer is not the peer's.
    let limits = Limits { idle: SHORT, progress: SHORT, message: SHORT, ..LONGEST };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let policy = Policy { limits, syntaxes: vec![IMPLICIT_LITTLE.into()], ..any() };
    let server = thread::spawn(move || {
        let stream = Timed::new(listener.accept().unwrap().0).unwrap();
        let mut association = accept(stream, &policy, |_| Admission::Welcome)?;
        let Request::Echo(echo) = association.next_request()? else { panic!() };
        thread::sleep(2 * SHORT);
        echo.respond(Status::SUCCESS)?;
        assert!(matches!(association.next_request()?, Request::Released));
        Ok::<_, Error>(())
    });
    let mut association = request(connect(address), &proposal()).unwrap();
    association.echo().unwrap();
    association.release().unwrap();
    server.join().unwrap().unwrap();
}
