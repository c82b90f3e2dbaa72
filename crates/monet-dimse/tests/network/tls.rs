//! Associations over TLS: both sides of the crate, DCMTK and pynetdicom.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use monet_dimse::tls::{Acceptor, Authorities, Callers, Connector, Identity, ServerName, Tls};
use monet_dimse::{Association, Error, Stream, Timed, request, uids};
use monet_testing::certificates::{Certificates, Wanted};
use monet_testing::text;

use super::dcmtk::{self, Storescp, dcmtk};
use super::files::{data_set, send, slice};
use super::pynetdicom::{Scp, asked_over};
use super::server::{any, connect, keep_over, proposal, title};

/// `here` and `there`, each with a certificate of the same authority.
#[track_caller]
pub(super) fn both() -> Option<Certificates> {
    let all = Certificates::new()?;
    all.sign("here", Wanted { key: "rsa:2048", ..Wanted::default() });
    all.sign("there", Wanted::default());
    Some(all)
}

pub(super) fn identity(all: &Certificates, name: &str) -> Identity {
    Identity::load(&all.crt(name), &all.key(name)).unwrap()
}

pub(super) fn authority(all: &Certificates, name: &str) -> Authorities {
    Authorities::load(&all.crt(name)).unwrap()
}

/// The called side, `here`, which asks for certificates of `ca`.
pub(super) fn acceptor(all: &Certificates) -> Acceptor {
    Acceptor::new(&identity(all, "here"), Callers::Required(authority(all, "ca"))).unwrap()
}

/// The calling side, with a certificate or without, which expects `localhost`.
pub(super) fn connector(all: &Certificates, own: Option<&str>, trusted: &str) -> Connector {
    let own = own.map(|name| identity(all, name));
    let name = ServerName::new("localhost").unwrap();
    Connector::new(own.as_ref(), &authority(all, trusted), name).unwrap()
}

pub(super) fn call(
    connector: &Connector,
    address: SocketAddr,
) -> Result<Association<Tls<Timed>>, Error> {
    request(connector.connect(connect(address)).unwrap(), &proposal())
}

/// Options of DCMTK's programs.
fn options<'a>(all: &'a Certificates, name: &str, files: &'a mut [PathBuf; 3]) -> [&'a str; 5] {
    *files = [all.key(name), all.crt(name), all.crt("ca")];
    let [key, certificate, trusted] = &*files;
    ["+tls", text(key), text(certificate), "+cf", text(trusted)]
}

#[test]
fn both_sides_of_the_crate_understand_each_other() {
    let Some(all) = both() else { return };
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let acceptor = acceptor(&all);
    let (address, server) = keep_over(move |s| acceptor.accept(s), any(), to.path(), 1);
    let mut stream = connector(&all, Some("there"), "ca").connect(connect(address)).unwrap();
    assert_eq!((stream.version(), stream.peer_validity()), (None, None));
    stream.set_deadline(std::time::Instant::now().checked_add(Duration::from_secs(20))).unwrap();
    stream.handshake().unwrap();
    assert_eq!(stream.version(), Some("TLS 1.3"));
    assert_eq!(stream.peer_validity(), identity(&all, "here").validity());
    let mut association = request(stream, &proposal()).unwrap();
    for n in 0..10 {
        let file = slice(from.path(), n);
        assert!(send(&mut association, &file).unwrap().is_done());
        assert_eq!(data_set(&to.path().join(format!("1.2.3.4.{}", n + 1))), data_set(&file));
    }
    association.release().unwrap();
    let (heard, ended) = server.join().unwrap().pop().unwrap();
    ended.unwrap();
    assert_eq!(heard.len(), 10);
}

#[test]
fn slices_of_storescu_arrive_over_tls() {
    let Some(all) = both() else { return };
    if !dcmtk() {
        return;
    }
    let mut files = Default::default();
    let own = options(&all, "there", &mut files);
    for profile in ["+py", "+px", "+pz"] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let slices: Vec<_> = (0..6).map(|n| slice(from.path(), n)).collect();
        let acceptor = acceptor(&all);
        let (address, server) = keep_over(move |s| acceptor.accept(s), any(), to.path(), 2);
        for (program, files) in [("echoscu", &[][..]), ("storescu", &slices)] {
            let ran = dcmtk::run(program, address, &[&own[..], &[profile]].concat(), files);
            assert!(ran.status.success(), "{program} {profile}: {}", monet_testing::stderr(&ran));
        }
        assert!(server.join().unwrap().iter().all(|(_, ended)| ended.is_ok()));
        for (n, file) in slices.iter().enumerate() {
            let arrived = to.path().join(format!("1.2.3.4.{}", n + 1));
            assert_eq!(data_set(&arrived), data_set(file), "{profile}: slice {n}");
        }
    }
}

#[test]
fn slices_arrive_at_storescp_over_tls() {
    let Some(all) = both() else { return };
    if !dcmtk() {
        return;
    }
    let mut files = Default::default();
    let own = options(&all, "there", &mut files);
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Storescp::start(to.path(), &own);
    let connector = connector(&all, Some("here"), "ca");
    let mut wanted = proposal();
    wanted.called = title("STORESCP");
    let mut association = request(connector.connect(server.connect()).unwrap(), &wanted).unwrap();
    for n in 0..6 {
        let file = slice(from.path(), n);
        assert!(send(&mut association, &file).unwrap().is_done());
        let arrived = to.path().join(format!("CT.1.2.3.4.{}", n + 1));
        assert_eq!(data_set(&arrived), data_set(&file), "slice {n}");
    }
    association.release().unwrap();
}

/// Options of `peer.py`.
fn tls_of(all: &Certificates, name: &str, version: &str) -> Vec<String> {
    let files = [all.crt("ca"), all.crt(name), all.key(name)];
    let files = files.iter().map(|path| text(path).to_owned());
    ["--tls", version].map(str::to_owned).into_iter().chain(files).collect()
}

#[test]
fn pynetdicom_stores_over_either_version() {
    let Some(all) = both() else { return };
    for version in ["1.2", "1.3"] {
        let folder = tempfile::tempdir().unwrap();
        let acceptor = acceptor(&all);
        let (address, server) = keep_over(move |s| acceptor.accept(s), any(), folder.path(), 1);
        let options = tls_of(&all, "there", version);
        let Some(lines) = asked_over(address, "explicit", &options) else {
            drop(connect(address));
            return drop(server.join());
        };
        assert_eq!(lines.iter().filter(|line| *line == "store 0000").count(), 5, "{lines:?}");
        assert!(server.join().unwrap().pop().unwrap().1.is_ok());
    }
}

#[test]
fn pynetdicom_is_reached_over_either_version() {
    let Some(all) = both() else { return };
    for version in ["1.2", "1.3"] {
        let Some(scp) = Scp::start(&tls_of(&all, "there", version)) else { return };
        let connector = connector(&all, Some("here"), "ca");
        let mut stream = connector.connect(connect(scp.address)).unwrap();
        stream.handshake().unwrap();
        assert_eq!(stream.version(), Some(&*format!("TLS {version}")));
        let wanted = proposal().with(uids::COMMITMENT);
        let mut association = request(stream, &wanted).unwrap();
        assert!(association.echo().unwrap().status.is_done());
        association.release().unwrap();
    }
}
