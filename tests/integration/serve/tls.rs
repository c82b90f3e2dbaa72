//! The box over TLS, with DCMTK before and behind it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use monet_dimse::tls::{Acceptor, Authorities, Callers, Connector, Identity, ServerName};
use monet_dimse::{Admission, Policy, Proposal, Request, Status, Timed, accept, request, uids};
use monet_testing::certificates::{Certificates, Wanted};
use monet_testing::{dicom, skip, stderr, text};

use super::{RULE, Running, destination, free_port, monet, study};

/// Certificates for the box, for a scanner and for a PACS.
#[track_caller]
fn made() -> Option<Certificates> {
    let all = Certificates::new()?;
    all.sign("box", Wanted { key: "rsa:2048", ..Wanted::default() });
    all.sign("ct", Wanted::default());
    all.sign("pacs", Wanted::default());
    Some(all)
}

/// The listener's table.
fn listen(all: &Certificates) -> String {
    let [certificate, key, ca] = [all.crt("box"), all.key("box"), all.crt("ca")];
    format!(
        "[listen.tls]\ncertificate = {certificate:?}\nkey = {key:?}\nauthorities = {ca:?}\n{RULE}"
    )
}

/// A destination over TLS, to which the box shows that certificate, with this besides.
fn peer(all: &Certificates, name: &str, port: u16, own: &str, more: &str) -> String {
    let [certificate, key, ca] = [all.crt(own), all.key(own), all.crt("ca")];
    let plain = destination(name, port);
    format!(
        "{plain}[destination.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         authorities = {ca:?}\n{more}\n"
    )
}

#[track_caller]
fn dcmtk() -> bool {
    let there = Command::new("storescu").arg("--version").output().is_ok();
    if !there {
        skip("no dcmtk on this machine");
    }
    there
}

/// Options of DCMTK's programs.
fn options(all: &Certificates, name: &str) -> Vec<String> {
    let [key, certificate, ca] = [all.key(name), all.crt(name), all.crt("ca")];
    let parts = ["+tls", text(&key), text(&certificate), "+cf", text(&ca)];
    parts.map(str::to_owned).to_vec()
}

fn scu(program: &str, port: u16, options: &[String], files: &[PathBuf]) -> Output {
    let mut command = Command::new(program);
    command.args(["-aet", "CT1", "-aec", "MONET"]).args(options);
    command.arg("127.0.0.1").arg(port.to_string()).args(files).output().unwrap()
}

/// A running `storescp`.
struct Storescp(Child);

impl Drop for Storescp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_study_comes_and_goes_over_tls() {
    let Some(all) = made() else { return };
    if !dcmtk() {
        return;
    }
    let (port, work) = (free_port(), tempfile::tempdir().unwrap());
    let mut scp = Command::new("storescp");
    scp.args(options(&all, "pacs")).args(["+B", "-od", text(work.path())]).arg(port.to_string());
    let _scp = Storescp(scp.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let running = Running::new(&format!("{}{}", listen(&all), peer(&all, "pacs", port, "box", "")));
    let files: Vec<_> = study("1.2.3", 5)
        .iter()
        .enumerate()
        .map(|(k, set)| {
            let path = running.path(&format!("{k}.dcm"));
            dicom::write(set, &path);
            path
        })
        .collect();
    // Who is in the midst of a handshake, and stays there, holds up nobody.
    let slow = |_| TcpStream::connect(("127.0.0.1", running.port)).unwrap();
    let mut slow: Vec<_> = (0..8).map(slow).collect();
    slow.iter_mut().for_each(|socket| socket.write_all(&[22, 3, 1, 2, 0, 1]).unwrap());
    let ran = scu("storescu", running.port, &options(&all, "ct"), &files);
    assert!(ran.status.success(), "{}\n{}", stderr(&ran), running.log());
    running.until_stage("done", 1);
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 2, "segmentation and capture");
    drop(slow);
    let ran = monet(&["doctor", text(&running.path("box.toml"))]);
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    for part in ["answers C-ECHO over TLS 1.", "for localhost, 127.0.0.1; valid for 36"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(ran.status.success(), "{told}");
}

#[test]
fn callers_without_the_right_certificate_are_refused_and_named_once() {
    let Some(all) = made() else { return };
    if !dcmtk() {
        return;
    }
    all.authority("other");
    all.sign("stranger", Wanted { by: "other", ..Wanted::default() });
    for (reason, options) in [
        ("speaks no TLS", vec![]),
        ("shows no certificate", vec!["+tla".into(), "+cf".into(), text(&all.crt("ca")).into()]),
        ("signed by no authority", options(&all, "stranger")),
    ] {
        let running = Running::new(&listen(&all));
        // The probe of the start has said nothing at all, and counts as broken.
        for _ in 0..2 {
            assert!(!scu("echoscu", running.port, &options, &[]).status.success());
        }
        running.until(reason, || running.log().contains(reason).then_some(()));
        assert_eq!(running.log().matches("refused peer").count(), 1, "{}", running.log());
        let ran = scu("echoscu", running.port, &self::options(&all, "ct"), &[]);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
}

/// What the box shows to a caller is a certificate of this authority.
fn shows(all: &Certificates, ca: &str, port: u16) -> Result<(), monet_dimse::Error> {
    let trusted = Authorities::load(&all.crt(ca)).unwrap();
    let own = Identity::load(&all.crt("ct"), &all.key("ct")).unwrap();
    let name = ServerName::new("127.0.0.1").unwrap();
    let connector = Connector::new(Some(&own), &trusted, name).unwrap();
    let plain = Timed::new(TcpStream::connect(("127.0.0.1", port)).unwrap()).unwrap();
    let proposal = Proposal::new("CT1".parse().unwrap(), "MONET".parse().unwrap());
    let proposal = proposal.with(uids::VERIFICATION);
    let mut association = request(connector.connect(plain).unwrap(), &proposal)?;
    assert_eq!(association.echo()?.status, Status::SUCCESS);
    association.release()
}

#[test]
fn a_certificate_is_renewed_without_a_restart() {
    let Some(all) = made() else { return };
    all.authority("next");
    let running = Running::new(&listen(&all));
    shows(&all, "ca", running.port).unwrap();
    // A certificate whose key has not come yet: the old ones hold.
    all.sign("renewed", Wanted { by: "next", ..Wanted::default() });
    fs::copy(all.crt("renewed"), all.crt("box")).unwrap();
    shows(&all, "ca", running.port).unwrap();
    assert!(running.log().contains("the key does not fit the certificate"), "{}", running.log());
    fs::copy(all.key("renewed"), all.key("box")).unwrap();
    shows(&all, "next", running.port).unwrap();
    assert!(shows(&all, "ca", running.port).is_err());
    assert!(running.log().contains("certificates read anew"), "{}", running.log());
}

/// A peer over TLS that answers echoes.
fn echoes(all: &Certificates, name: &str) -> SocketAddr {
    let own = Identity::load(&all.crt(name), &all.key(name)).unwrap();
    let callers = Callers::Required(Authorities::load(&all.crt("ca")).unwrap());
    let acceptor = Acceptor::new(&own, callers).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let stream = acceptor.accept(Timed::new(socket.unwrap()).unwrap()).unwrap();
            let associated = accept(stream, &Policy::default(), |_| Admission::Welcome);
            let Ok(mut association) = associated else { continue };
            while let Ok(Request::Echo(echo)) = association.next_request() {
                echo.respond(Status::SUCCESS).unwrap();
            }
        }
    });
    address
}

#[test]
fn doctor_looks_at_certificates_keys_and_names() {
    let Some(all) = made() else { return };
    all.sign("old", Wanted { days: 0, ..Wanted::default() });
    all.sign("short", Wanted { days: 20, ..Wanted::default() });
    all.sign("elsewhere", Wanted { names: "DNS:elsewhere.example", ..Wanted::default() });
    thread::sleep(Duration::from_secs(2));
    let port = echoes(&all, "elsewhere").port();
    let tables = [
        peer(&all, "expired", free_port(), "old", ""),
        peer(&all, "expiring", free_port(), "short", ""),
        peer(&all, "gone", free_port(), "missing", ""),
        peer(&all, "misnamed", port, "ct", ""),
        peer(&all, "renamed", port, "ct", "server_name = \"elsewhere.example\""),
        peer(&all, "pinned", port, "ct", "check_name = false"),
        destination("plain", port),
    ];
    let running = Running::new(&format!("{}{}", listen(&all), tables.concat()));
    fs::copy(all.key("ct"), all.key("box")).unwrap();
    let ran = monet(&["doctor", text(&running.path("box.toml"))]);
    assert_eq!(ran.status.code(), Some(1));
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let line = |parts: &[&str]| {
        assert!(
            told.lines().any(|line| parts.iter().all(|p| line.contains(p))),
            "{parts:?}: {told}"
        );
    };
    line(&["BAD", "listener: certificate", "the key does not fit the certificate"]);
    line(&["good", "listener: authorities", "1 of them; valid for 36"]);
    line(&["BAD", "destination expired: certificate", "expired 0 days ago"]);
    line(&["BAD", "destination expiring: certificate", "expires in 19 days: renew it"]);
    line(&["BAD", "destination gone: certificate", "missing.crt: No such file"]);
    line(&["BAD", "destination misnamed", "is for elsewhere.example, not for 127.0.0.1"]);
    line(&["BAD", "destination plain", "speaks TLS where plain DICOM is configured"]);
    for name in ["renamed", "pinned"] {
        let good =
            format!("destination {name}: answers C-ECHO over TLS 1.3; its certificate: valid");
        assert!(told.contains(&good), "{told}");
    }
}

#[cfg(unix)]
#[test]
fn doctor_names_a_key_that_everybody_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let Some(all) = made() else { return };
    let running = Running::new(&listen(&all));
    fs::set_permissions(all.key("box"), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = monet(&["doctor", text(&running.path("box.toml"))]);
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(told.contains("everybody on this machine can read it"), "{told}");
}

#[test]
fn a_box_without_its_certificate_does_not_start() {
    let Some(all) = made() else { return };
    let root = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = format!(
        "folder = \"data\"\n[listen]\naddress = \"127.0.0.1:{port}\"\nae_titles = [\"MONET\"]\n{}",
        listen(&all).replace("box.key", "gone.key")
    );
    fs::write(root.path().join("box.toml"), config).unwrap();
    let ran = monet(&["serve", text(&root.path().join("box.toml"))]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        stderr(&ran).contains("listener 127.0.0.1") && stderr(&ran).contains("gone.key"),
        "{ran:?}"
    );
}

#[test]
fn what_is_no_tls_is_answered_with_an_alert_and_nothing_else() {
    let Some(all) = made() else { return };
    let running = Running::new(&listen(&all));
    let mut socket = TcpStream::connect(("127.0.0.1", running.port)).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert_eq!((answer.len(), answer[0]), (7, 21), "{answer:?}");
}
