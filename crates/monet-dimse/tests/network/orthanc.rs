//! Orthanc as peer: what is stored in it, comes back from it as it was, and it commits itself.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use monet_dimse::{
    Association, CommitmentRequest, Reference, Report, Status, Timed, request, uids,
};
use monet_testing::skip;

use super::files::{data_set, send, slice};
use super::server::{CT, any, keep, proposal, title};

/// Longest that Orthanc may take to start, and for a question.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Orthanc.
struct Orthanc {
    child: Child,
    dicom: SocketAddr,
    web: SocketAddr,
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let places = ["/usr/sbin/Orthanc", "/usr/bin/Orthanc", "/usr/local/bin/Orthanc"];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.is_file());
    if found.is_none() {
        skip("no Orthanc on this machine");
    }
    found
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Orthanc {
    /// Starts it with this side, at an address, as its modality `monet`.
    fn start(program: &Path, folder: &Path, own: SocketAddr) -> Self {
        let (dicom, web) = (free(), free());
        let configuration = format!(
            r#"{{
                "StorageDirectory": "{0}/storage", "IndexDirectory": "{0}/index",
                "DicomAet": "ORTHANC", "DicomPort": {1}, "HttpPort": {2},
                "DicomCheckCalledAet": true, "AuthenticationEnabled": false, "Plugins": [],
                "DicomModalities": {{ "monet": {{
                    "AET": "SCU", "Host": "127.0.0.1", "Port": {3}, "AllowEcho": true,
                    "AllowStore": true, "AllowStorageCommitment": true
                }} }}
            }}"#,
            folder.display(),
            dicom.port(),
            web.port(),
            own.port()
        );
        let path = folder.join("orthanc.json");
        fs::write(&path, configuration).unwrap();
        let mut command = Command::new(program);
        let child = command.arg(path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let orthanc = Self { child, dicom, web };
        let start = Instant::now();
        while TcpStream::connect(web).is_err() || TcpStream::connect(dicom).is_err() {
            assert!(start.elapsed() < PATIENCE, "Orthanc does not start");
            thread::sleep(Duration::from_millis(100));
        }
        orthanc
    }

    /// Asks its REST interface.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(self.web).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 OK"), "{answer}");
        answer
    }

    fn associate(&self) -> Association<Timed> {
        let mut wanted = proposal().with(uids::COMMITMENT);
        wanted.called = title("ORTHANC");
        request(Timed::connect(&[self.dicom], PATIENCE).unwrap(), &wanted).unwrap()
    }
}

#[test]
fn orthanc_keeps_what_it_gets_and_sends_it_back() {
    let Some(program) = program() else { return };
    let [from, to, own] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    // One association with the report, one with the instances.
    let (address, server) = keep(any(), to.path(), 2);
    let orthanc = Orthanc::start(&program, own.path(), address);
    let mut association = orthanc.associate();
    assert_eq!(association.echo().unwrap().status, Status::SUCCESS);
    let files: Vec<_> = (0..5).map(|n| slice(from.path(), n)).collect();
    for file in &files {
        assert_eq!(send(&mut association, file).unwrap(), Status::SUCCESS);
    }
    let reference = |n| Reference { class: CT.into(), instance: format!("1.2.3.4.{n}") };
    // Orthanc has no sixth.
    let wanted = CommitmentRequest {
        transaction: "1.2.3.5".into(),
        instances: (1..=6).map(reference).collect(),
    };
    assert_eq!(association.commit(&wanted).unwrap().status, Status::SUCCESS);
    association.release().unwrap();

    let series = orthanc.ask("GET", "/series", "");
    let series = series.rsplit('"').nth(1).expect("one series");
    orthanc.ask("POST", "/modalities/monet/store", &format!("[\"{series}\"]"));
    let heard = server.join().unwrap();
    assert!(heard.iter().all(|(_, ended)| ended.is_ok()), "{heard:?}");
    let mut heard: Vec<_> = heard.into_iter().map(|(heard, _)| heard).collect();
    heard.sort_by_key(Vec::len);
    assert_eq!(heard.iter().map(Vec::len).collect::<Vec<_>>(), [1, 5]);
    for (n, file) in files.iter().enumerate() {
        let arrived = to.path().join(format!("1.2.3.4.{}", n + 1));
        assert_eq!(data_set(&arrived), data_set(file), "slice {n}");
    }
    let failed = Report {
        transaction: wanted.transaction,
        committed: (1..=5).map(reference).collect(),
        failed: vec![(reference(6), 0x0112)],
    };
    assert_eq!(heard[0], [format!("{failed:?}")]);
}
