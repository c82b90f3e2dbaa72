//! Who is not let in by TLS, and what both sides hear; files that are of no use.

use std::fs;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use monet_dimse::limits::Limits;
use monet_dimse::tls::{
    Acceptor, Authorities, Callers, Connector, FileError, Identity, MAX_FILE, ServerName, TlsError,
};
use monet_dimse::{Error, Phase, Policy, Violation, request};
use monet_testing::certificates::{Certificates, Wanted};

use super::dcmtk::{self, dcmtk};
use super::server::{any, connect, keep, keep_over, proposal};
use super::tls::{acceptor, authority, both, call, connector, identity};
use super::wire::{Wire, associate};

/// The word of TLS in an association's error.
#[track_caller]
fn said(error: &Error) -> TlsError {
    let Error::Io(io) = error else { panic!("{error:?}") };
    let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    tls.unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// What the called and the calling side say.
#[track_caller]
fn refused(acceptor: Acceptor, connector: &Connector) -> (TlsError, Error) {
    let folder = tempfile::tempdir().unwrap();
    let (address, server) = keep_over(move |s| acceptor.accept(s), any(), folder.path(), 1);
    let calling = call(connector, address).unwrap_err();
    let (heard, called) = server.join().unwrap().pop().unwrap();
    assert!(heard.is_empty());
    (said(&called.unwrap_err()), calling)
}

const REQUIRED: u8 = 116;
const UNKNOWN_CA: u8 = 48;
const EXPIRED: u8 = 45;
const BAD_CERTIFICATE: u8 = 42;

#[test]
fn callers_without_the_right_certificate_are_refused() {
    let Some(all) = both() else { return };
    all.authority("other");
    all.sign("stranger", Wanted { by: "other", ..Wanted::default() });
    all.sign("late", Wanted { days: 0, ..Wanted::default() });
    thread::sleep(Duration::from_secs(2));
    let (called, calling) = refused(acceptor(&all), &connector(&all, None, "ca"));
    assert_eq!((called, said(&calling)), (TlsError::NoCertificate, TlsError::Alert(REQUIRED)));
    let (called, calling) = refused(acceptor(&all), &connector(&all, Some("stranger"), "ca"));
    assert_eq!((called, said(&calling)), (TlsError::Unknown, TlsError::Alert(UNKNOWN_CA)));
    let (called, calling) = refused(acceptor(&all), &connector(&all, Some("late"), "ca"));
    assert!(matches!(called, TlsError::Expired { seconds: 1.. }), "{called}");
    assert_eq!(said(&calling), TlsError::Alert(EXPIRED));
}

#[test]
fn a_certificate_is_optional_and_right() {
    let Some(all) = both() else { return };
    all.authority("other");
    all.sign("stranger", Wanted { by: "other", ..Wanted::default() });
    let optional = || {
        let callers = Callers::Optional(authority(&all, "ca"));
        Acceptor::new(&identity(&all, "here"), callers).unwrap()
    };
    let (called, _) = refused(optional(), &connector(&all, Some("stranger"), "ca"));
    assert_eq!(called, TlsError::Unknown);
    let unasked = Acceptor::new(&identity(&all, "here"), Callers::Unasked).unwrap();
    for (acceptor, own) in
        [(optional(), None), (optional(), Some("there")), (unasked, Some("stranger"))]
    {
        let folder = tempfile::tempdir().unwrap();
        let (address, server) = keep_over(move |s| acceptor.accept(s), any(), folder.path(), 1);
        call(&connector(&all, own, "ca"), address).unwrap().release().unwrap();
        server.join().unwrap().pop().unwrap().1.unwrap();
    }
}

#[test]
fn called_sides_without_the_right_certificate_are_refused() {
    let Some(all) = both() else { return };
    all.authority("other");
    all.sign("late", Wanted { days: 0, ..Wanted::default() });
    thread::sleep(Duration::from_secs(2));
    let with = |name| Acceptor::new(&identity(&all, name), Callers::Unasked).unwrap();
    let (called, calling) = refused(with("here"), &connector(&all, None, "other"));
    assert_eq!((called, said(&calling)), (TlsError::Alert(UNKNOWN_CA), TlsError::Unknown));
    let (called, calling) = refused(with("late"), &connector(&all, None, "ca"));
    assert!(matches!(said(&calling), TlsError::Expired { .. }), "{calling}");
    assert_eq!(called, TlsError::Alert(EXPIRED));
    let pacs = ServerName::new("pacs.example").unwrap();
    let named = Connector::new(None, &authority(&all, "ca"), pacs.clone()).unwrap();
    let (called, calling) = refused(with("here"), &named);
    assert_eq!(
        calling.to_string(),
        "the connection fails: the peer's certificate is for localhost, 127.0.0.1, \
         not for pacs.example"
    );
    assert_eq!(called, TlsError::Alert(BAD_CERTIFICATE));
    // Any name is right where it was said so, but not any authority.
    let unnamed = |trusted| {
        Connector::new(None, &authority(&all, trusted), pacs.clone().unchecked()).unwrap()
    };
    let (_, calling) = refused(with("here"), &unnamed("other"));
    assert_eq!(said(&calling), TlsError::Unknown);
    let (_, calling) = refused(with("late"), &unnamed("ca"));
    assert!(matches!(said(&calling), TlsError::Expired { .. }), "{calling}");
    let folder = tempfile::tempdir().unwrap();
    let acceptor = with("here");
    let (address, server) = keep_over(move |s| acceptor.accept(s), any(), folder.path(), 1);
    call(&unnamed("ca"), address).unwrap().release().unwrap();
    server.join().unwrap().pop().unwrap().1.unwrap();
}

#[test]
fn plain_and_tls_are_told_apart() {
    let Some(all) = both() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Plain to TLS.
    let own = acceptor(&all);
    let (address, server) = keep_over(move |s| own.accept(s), any(), folder.path(), 1);
    let calling = request(connect(address), &proposal()).unwrap_err();
    assert!(calling.to_string().contains("the peer speaks TLS where plain"), "{calling}");
    let called = server.join().unwrap().pop().unwrap().1.unwrap_err();
    assert_eq!(said(&called), TlsError::NoTls);
    // TLS to plain.
    let (address, server) = keep(any(), folder.path(), 1);
    let calling = call(&connector(&all, None, "ca"), address).unwrap_err();
    assert_eq!(said(&calling), TlsError::NoTls);
    let called = server.join().unwrap().pop().unwrap().1.unwrap_err();
    assert!(matches!(called, Error::Violation(Violation::PduKind { found: 22 })), "{called:?}");
    assert!(called.to_string().contains("speaks TLS"), "{called}");
}

#[test]
fn dcmtk_without_the_right_certificate_is_refused() {
    let Some(all) = both() else { return };
    if !dcmtk() {
        return;
    }
    all.authority("other");
    all.sign("stranger", Wanted { by: "other", ..Wanted::default() });
    let (key, stranger) = (all.key("stranger"), all.crt("stranger"));
    let (ca, other) = (all.crt("ca"), all.crt("other"));
    let [key, stranger, ca, other] =
        [&key, &stranger, &ca, &other].map(|path| monet_testing::text(path));
    let there = (all.key("there"), all.crt("there"));
    let there = [monet_testing::text(&there.0), monet_testing::text(&there.1)];
    for (what, options) in [
        ("plain", &[][..]),
        ("anonymous", &["+tla", "+cf", ca]),
        ("signed by another", &["+tls", key, stranger, "+cf", ca]),
        ("trusts another", &["+tls", there[0], there[1], "+cf", other]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let own = acceptor(&all);
        let (address, server) = keep_over(move |s| own.accept(s), any(), folder.path(), 1);
        let ran = dcmtk::run("echoscu", address, options, &[]);
        assert!(!ran.status.success(), "{what}");
        let called = said(&server.join().unwrap().pop().unwrap().1.unwrap_err());
        match what {
            "plain" => assert_eq!(called, TlsError::NoTls),
            "anonymous" => assert_eq!(called, TlsError::NoCertificate),
            "signed by another" => assert_eq!(called, TlsError::Unknown),
            _ => assert_eq!(called, TlsError::Alert(UNKNOWN_CA)),
        }
    }
}

#[test]
fn a_handshake_byte_by_byte_ends_with_the_negotiation() {
    const SHORT: Duration = Duration::from_millis(400);
    let Some(all) = both() else { return };
    let own = acceptor(&all);
    let limits = Limits { negotiation: SHORT, ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { limits, ..any() };
    let (address, server) = keep_over(move |s| own.accept(s), policy, folder.path(), 1);
    let start = Instant::now();
    // The front of a record of 512 bytes, with a greeting of 508 in it.
    let mut wire = Wire::connect(address);
    wire.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252].into_iter().chain(std::iter::repeat(0));
    for byte in hello.take(500) {
        wire.send(&[byte]);
        match wire.0.read(&mut [0; 64]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => break,
        }
    }
    let ended = server.join().unwrap().pop().unwrap().1;
    assert!(matches!(ended, Err(Error::TimedOut(Phase::Negotiation))), "{ended:?}");
    assert!(start.elapsed() < SHORT + Duration::from_secs(10));
}

#[test]
fn garbage_in_place_of_a_handshake_ends_at_once() {
    let Some(all) = both() else { return };
    let own = acceptor(&all);
    let folder = tempfile::tempdir().unwrap();
    let long = [&[22, 3, 1, 0xff, 0xff][..], &[0; 20_000]].concat();
    let messages = [
        vec![22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
        long,
        vec![22, 3, 1, 0, 0],
        vec![23, 3, 3, 0, 1, 0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        associate(),
    ];
    let count = messages.len();
    let (address, server) = keep_over(move |s| own.accept(s), any(), folder.path(), count);
    for message in &messages {
        let mut wire = Wire::connect(address);
        wire.send(message);
        let _ = wire.0.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = wire.0.read_to_end(&mut answer);
        assert!(answer.len() < 100, "an alert at most");
    }
    for ((_, ended), message) in server.join().unwrap().into_iter().zip(&messages) {
        assert!(ended.is_err(), "{:?}", &message[..5]);
    }
}

#[test]
fn files_that_are_of_no_use_are_named() {
    let Some(all) = both() else { return };
    let load = |certificate: &str, key: &str| {
        Identity::load(&all.folder().join(certificate), &all.folder().join(key)).unwrap_err()
    };
    fs::write(all.folder().join("long"), vec![b'a'; MAX_FILE as usize + 1]).unwrap();
    fs::write(all.folder().join("empty"), "").unwrap();
    let damaged = fs::read_to_string(all.crt("here")).unwrap().replace('a', "*");
    fs::write(all.folder().join("damaged"), damaged).unwrap();
    let cut = fs::read_to_string(all.key("here")).unwrap();
    fs::write(all.folder().join("cut"), &cut[..cut.len() / 2]).unwrap();
    let no_certificate = "-----BEGIN CERTIFICATE-----\naGFsbG8=\n-----END CERTIFICATE-----\n";
    fs::write(all.folder().join("none"), no_certificate).unwrap();
    assert!(matches!(load("missing", "here.key"), FileError::Read { .. }));
    assert!(matches!(load("long", "here.key"), FileError::TooLong { .. }));
    assert!(matches!(load("empty", "here.key"), FileError::Pem { .. }));
    assert!(matches!(load("damaged", "here.key"), FileError::Pem { .. }));
    assert!(matches!(load("none", "here.key"), FileError::Unusable { .. }));
    assert!(matches!(load("here.crt", "missing"), FileError::Read { .. }));
    assert!(matches!(load("here.crt", "here.crt"), FileError::Pem { .. }));
    assert!(matches!(load("here.crt", "cut"), FileError::Pem { .. }));
    let other = load("here.crt", "there.key");
    assert!(matches!(other, FileError::Mismatch { .. }), "{other}");
    for file in ["missing", "long", "empty", "damaged", "none", "here.key"] {
        assert!(Authorities::load(&all.folder().join(file)).is_err(), "{file}");
    }
    // Where a key is, no message shows it.
    let key = fs::read_to_string(all.key("here")).unwrap();
    let said = load("here.key", "here.key").to_string();
    assert!(!key.lines().any(|line| said.contains(line)), "{said}");
}

#[test]
fn validity_and_names_are_those_of_the_certificate() {
    let Some(all) = Certificates::new() else { return };
    let day = Duration::from_secs(86_400);
    all.sign("here", Wanted { days: 20, names: "DNS:a.example,IP:10.0.0.1", ..Wanted::default() });
    let own = identity(&all, "here");
    assert_eq!(own.names(), ["a.example", "10.0.0.1"]);
    let now = std::time::SystemTime::now();
    let left = |end: std::time::SystemTime| end.duration_since(now).unwrap();
    let validity = own.validity().unwrap();
    assert!(validity.begin <= now + day / 1000);
    assert!((19 * day..=20 * day).contains(&left(validity.end)), "{validity:?}");
    let ca = authority(&all, "ca");
    assert_eq!(ca.count(), 1);
    assert!((3649 * day..=3650 * day).contains(&left(ca.validity().unwrap().end)));
}
