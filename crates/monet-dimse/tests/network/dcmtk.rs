//! DCMTK as peer: `echoscu` and `storescu` into the acceptor, the requestor into `storescp`.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use monet_dicom::write::EXPLICIT_LITTLE;
use monet_dicom::{Tag, tags};
use monet_dimse::{Association, Error, Policy, Status, Timed, Titles, decodable, request};
use monet_testing::{skip, text};

use super::files::{data_set, opened, send, slice};
use super::server::{any, keep, proposal, title};

/// Whether this machine has DCMTK.
#[track_caller]
pub(crate) fn dcmtk() -> bool {
    let there = Command::new("echoscu").arg("--version").output().is_ok();
    if !there {
        skip("no dcmtk on this machine");
    }
    there
}

pub(crate) fn run(
    program: &str,
    address: SocketAddr,
    options: &[&str],
    files: &[PathBuf],
) -> Output {
    let mut command = Command::new(program);
    command.args(options).arg("127.0.0.1").arg(address.port().to_string()).args(files);
    command.output().unwrap()
}

fn ran(program: &str, address: SocketAddr, options: &[&str], files: &[PathBuf]) {
    let output = run(program, address, options, files);
    assert!(output.status.success(), "{}", monet_testing::stderr(&output));
}

#[test]
fn echoscu_is_answered() {
    if !dcmtk() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (address, server) = keep(any(), folder.path(), 2);
    ran("echoscu", address, &["--repeat", "3"], &[]);
    ran("echoscu", address, &["-pdu", "4096", "--propose-pc", "64"], &[]);
    let heard = server.join().unwrap();
    assert_eq!(heard[0].0, ["echo"; 3]);
    assert!(heard.iter().all(|(_, ended)| ended.is_ok()), "{heard:?}");
}

#[test]
fn echoscu_hears_why_it_is_not_let_in() {
    if !dcmtk() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { called: Titles::Only(vec![title("MONET")]), ..any() };
    let (address, server) = keep(policy, folder.path(), 2);
    let output = run("echoscu", address, &["-aec", "OTHER"], &[]);
    assert!(!output.status.success());
    let said = format!("{}{:?}", monet_testing::stderr(&output), output.stdout);
    assert!(said.contains("Called AE Title Not Recognized"), "{said}");
    ran("echoscu", address, &["-aec", "MONET"], &[]);
    let heard = server.join().unwrap();
    assert!(matches!(heard[0].1, Err(Error::Refused { .. })) && heard[1].1.is_ok());
}

/// Sends slices with options, and holds what arrives against what was sent.
fn arrive(policy: Policy, options: &[&str]) {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files: Vec<_> = (0..12).map(|n| slice(from.path(), n)).collect();
    let (address, server) = keep(policy, to.path(), 1);
    ran("storescu", address, options, &files);
    let (heard, ended) = server.join().unwrap().pop().unwrap();
    ended.unwrap();
    assert_eq!(heard.len(), files.len());
    for (n, file) in files.iter().enumerate() {
        let arrived = to.path().join(format!("1.2.3.4.{}", n + 1));
        let (_, said, _) = opened(&arrived);
        assert_eq!(said.text(Tag(2, 0x16)), Some("STORESCU"));
        assert_eq!(said.text(tags::TRANSFER_SYNTAX), Some(EXPLICIT_LITTLE));
        assert_eq!(data_set(&arrived), data_set(file), "{options:?}: slice {n}");
    }
}

#[test]
fn slices_of_storescu_arrive_byte_for_byte() {
    if !dcmtk() {
        return;
    }
    arrive(any(), &[]);
    arrive(any(), &["--max-send-pdu", "4096", "+C"]);
    arrive(Policy { max_pdu: 4096, ..any() }, &["-pdu", "4096", "-R"]);
    arrive(any(), &["-usr", "somebody", "-pwd", "secret"]);
}

#[test]
fn compressed_slices_arrive_compressed() {
    if !dcmtk() {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain = slice(from.path(), 0);
    let packed = from.path().join("packed.dcm");
    let made = Command::new("dcmcrle").arg(plain).arg(&packed).status().unwrap();
    assert!(made.success());
    let (address, server) = keep(Policy { syntaxes: decodable(), ..any() }, to.path(), 1);
    ran("storescu", address, &["-xr"], std::slice::from_ref(&packed));
    server.join().unwrap().pop().unwrap().1.unwrap();
    let arrived = to.path().join("1.2.3.4.1");
    let (_, said, _) = opened(&arrived);
    assert_eq!(said.text(tags::TRANSFER_SYNTAX), Some("1.2.840.10008.1.2.5"));
    assert_eq!(data_set(&arrived), data_set(&packed));
}

#[test]
fn what_came_before_an_abort_of_storescu_stays() {
    if !dcmtk() {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = slice(from.path(), 0);
    let (address, server) = keep(any(), to.path(), 1);
    run("storescu", address, &["--abort"], std::slice::from_ref(&file));
    let (heard, ended) = server.join().unwrap().pop().unwrap();
    assert!(matches!(ended, Err(Error::Aborted(_))), "{ended:?}");
    assert_eq!(heard.len(), 1);
    assert_eq!(data_set(&to.path().join("1.2.3.4.1")), data_set(&file));
}

/// A running `storescp`.
pub(crate) struct Storescp {
    child: Child,
    address: SocketAddr,
}

impl Drop for Storescp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Storescp {
    pub(crate) fn start(folder: &Path, options: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("storescp");
        command.args(options).args(["+B", "-od", text(folder)]).arg(free.port().to_string());
        let child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, address: free }
    }

    /// A connection, once the program listens.
    pub(crate) fn connect(&self) -> Timed {
        let start = Instant::now();
        loop {
            match Timed::connect(&[self.address], Duration::from_secs(5)) {
                Ok(stream) => return stream,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn associate(&self) -> Result<Association<Timed>, Error> {
        let mut wanted = proposal();
        wanted.called = title("STORESCP");
        request(self.connect(), &wanted)
    }
}

#[test]
fn slices_arrive_at_storescp_byte_for_byte() {
    if !dcmtk() {
        return;
    }
    for limit in ["4096", "16384", "131072"] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let server = Storescp::start(to.path(), &["-pdu", limit]);
        let mut association = server.associate().unwrap();
        assert_eq!(association.peer().max_pdu.to_string(), limit);
        assert_eq!(association.echo().unwrap().status, Status::SUCCESS);
        for n in 0..8 {
            let file = slice(from.path(), n);
            assert_eq!(send(&mut association, &file).unwrap(), Status::SUCCESS);
            let arrived = to.path().join(format!("CT.1.2.3.4.{}", n + 1));
            assert_eq!(data_set(&arrived), data_set(&file), "slice {n} at {limit}");
        }
        association.release().unwrap();
    }
}

#[test]
fn refusals_and_aborts_of_storescp_are_errors() {
    if !dcmtk() {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = slice(from.path(), 0);
    let server = Storescp::start(to.path(), &["--refuse"]);
    assert!(matches!(server.associate(), Err(Error::Rejected(_))));
    for option in ["--abort-after", "--abort-during"] {
        let server = Storescp::start(to.path(), &[option]);
        let mut association = server.associate().unwrap();
        let sent = send(&mut association, &file);
        assert!(matches!(sent, Err(Error::Aborted(_) | Error::Closed)), "{option}: {sent:?}");
        assert!(matches!(association.echo(), Err(Error::Over)), "never used again");
    }
}
