//! The box through the real binary: studies in by network and folder, results out, whatever goes
//! wrong between. `tools/faults/box.py` kills it under load.

#[cfg(feature = "tls")]
mod tls;
mod told;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use monet::dicom::format::write::{Syntax, Writer};
use monet::dicom::format::{Dataset, tags};
use monet_dimse::{
    Admission, Error, Instance, Policy, Proposal, Request, Status, Timed, accept, request, uids,
};
use monet_testing::dicom::{self, MR};
use monet_testing::{judges, skip, stderr, text};
use serde_json::Value;

use crate::monet;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
/// Longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows and columns of a slice.
const SIDE: u16 = 32;

/// A coronal slice of 2 mm voxels, of a blob whose brightness is the study's.
fn slice(study: &str, k: usize, bright: u16) -> Dataset {
    let square = |a: u16, b: u16| f64::from(a.abs_diff(b)).powi(2);
    let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| square(x, 16) + square(y, 14)));
    let samples: Vec<u16> =
        pixels.map(|r| (f64::from(bright) * (-r / 40.0).exp()) as u16).collect();
    let texts = [
        (tags::IMAGE_TYPE, *b"CS", "ORIGINAL\\PRIMARY".to_owned()),
        (tags::SOP_CLASS, *b"UI", MR.to_owned()),
        (tags::SOP_INSTANCE, *b"UI", format!("{study}.1.{}", k + 1)),
        (tags::MODALITY, *b"CS", "MR".to_owned()),
        (tags::PATIENT_NAME, *b"PN", "Doe^Jane<script>".to_owned()),
        (tags::PATIENT_ID, *b"LO", "4711".to_owned()),
        (tags::STUDY_UID, *b"UI", study.to_owned()),
        (tags::SERIES_UID, *b"UI", format!("{study}.1")),
        (tags::IMAGE_POSITION, *b"DS", format!("0\\{}\\0", 2 * k)),
        (tags::IMAGE_ORIENTATION, *b"DS", "1\\0\\0\\0\\0\\-1".to_owned()),
        (tags::FRAME_OF_REFERENCE, *b"UI", format!("{study}.9")),
        (tags::PIXEL_SPACING, *b"DS", "2\\2".to_owned()),
        (tags::SLICE_THICKNESS, *b"DS", "2".to_owned()),
    ];
    dicom::image(usize::from(SIDE), dicom::Samples::Unsigned(&samples), &texts)
}

fn bytes(set: &Dataset) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::data_set(&mut bytes, Syntax::Explicit).elements(set).unwrap();
    bytes
}

fn study(study: &str, slices: usize) -> Vec<Dataset> {
    (0..slices).map(|k| slice(study, k, 1000)).collect()
}

/// A running box and its folder.
struct Running {
    root: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(root: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(root.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_monet"))
        .args(["serve", text(&root.join("box.toml"))])
        .env_remove("NOTIFY_SOCKET")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Running {
    /// Starts with a listener for two callers, a quiet second and this besides.
    fn new(more: &str) -> Self {
        Self::with("", more)
    }

    /// The same with these lines for the listener.
    fn with(listen: &str, more: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "folder = \"data\"\n[listen]\naddress = \"127.0.0.1:{port}\"\nae_titles = [\"MONET\"]\n\
             callers = [\"CT1\", \"MR1\"]\n{listen}[study]\nquiet_s = 1\n{more}\n"
        );
        fs::write(root.path().join("box.toml"), config).unwrap();
        let process = start(root.path());
        let running = Self { root, port, process };
        running.until("the listener", || TcpStream::connect(("127.0.0.1", port)).ok());
        running
    }

    /// Ends it as a power cut does.
    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = start(self.root.path());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What a question gives at last.
    fn until<T>(&self, what: &str, question: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = question() {
                return answer;
            }
            assert!(Instant::now() < end, "waited in vain for {what}; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Studies at a stage.
    fn stage(&self, stage: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("data").join(stage)) else { return Vec::new() };
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }

    fn until_stage(&self, stage: &str, count: usize) -> Vec<PathBuf> {
        self.until(stage, || Some(self.stage(stage)).filter(|all| all.len() >= count))
    }

    fn associate(
        &self,
        calling: &str,
        called: &str,
    ) -> Result<monet_dimse::Association<Timed>, Error> {
        let stream = Timed::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap()).unwrap();
        let proposal = Proposal::new(calling.parse().unwrap(), called.parse().unwrap());
        request(stream, &proposal.with_syntax(MR, EXPLICIT).with(uids::VERIFICATION))
    }

    /// Sends instances, each of which is acknowledged.
    fn send(&self, instances: &[Dataset]) {
        let mut association = self.associate("MR1", "MONET").unwrap();
        for set in instances {
            assert_eq!(store(&mut association, set), Status::SUCCESS, "{}", self.log());
        }
        association.release().unwrap();
    }

    fn queue(&self, args: &[&str]) -> std::process::Output {
        let config = self.path("box.toml");
        monet(&[&["queue", "--config", text(&config)], args].concat())
    }

    fn get(&self, port: u16, head: &str) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn store(association: &mut monet_dimse::Association<Timed>, set: &Dataset) -> Status {
    let data = bytes(set);
    let instance = set.text(tags::SOP_INSTANCE).unwrap();
    let instance = Instance { class: MR, instance, syntax: EXPLICIT };
    association.store(&instance, &data[..], data.len() as u64).unwrap().status
}

/// A peer that takes results: each with how often it came.
struct Peer {
    port: u16,
    got: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Peer {
    fn new() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        Self::answering(listener, Policy::default, Status::SUCCESS)
    }

    /// Takes what the policy takes, and answers so.
    fn answering(listener: TcpListener, policy: fn() -> Policy, status: Status) -> Self {
        let port = listener.local_addr().unwrap().port();
        let got: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let kept = got.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let stream = Timed::new(socket.unwrap()).unwrap();
                let Ok(mut association) = accept(stream, &policy(), |_| Admission::Welcome) else {
                    continue;
                };
                loop {
                    match association.next_request() {
                        Ok(Request::Echo(echo)) => echo.respond(Status::SUCCESS).unwrap(),
                        Ok(Request::Store(mut store)) => {
                            store.copy_to(&mut std::io::sink(), 1 << 30).unwrap();
                            let uid = store.header().instance.clone();
                            *kept.lock().unwrap().entry(uid).or_default() += 1;
                            store.respond(status).unwrap();
                        }
                        _ => break,
                    }
                }
            }
        });
        Self { port, got }
    }

    fn table(&self, name: &str) -> String {
        destination(name, self.port)
    }
}

fn destination(name: &str, port: u16) -> String {
    format!(
        "[[destination]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nae_title = \"PACS\"\n"
    )
}

const RULE: &str = "[[rule]]\naccept_any = true\noutputs = [\"seg\", \"capture\", \"nifti\"]\n";

#[test]
fn a_study_goes_through_and_its_results_leave_to_peer_and_folder() {
    let peer = Peer::new();
    let to_folder = "[[destination]]\nname = \"share\"\nfolder = \"out\"\n";
    let mut running = Running::new(&format!("{RULE}{}{to_folder}", peer.table("pacs")));
    fs::create_dir(running.path("out")).unwrap();
    running.send(&study("1.2.3", 6));
    let done = running.until_stage("done", 1);
    assert_eq!(peer.got.lock().unwrap().values().copied().collect::<Vec<_>>(), [1, 1]);
    let files = fs::read_dir(running.path("out/1.2.3")).unwrap().count();
    assert_eq!(files, 3, "segmentation, capture, NIfTI");
    assert!(done[0].join("sent/pacs").exists() && done[0].join("sent/share").exists());
    let listed = running.queue(&["list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed["counts"]["done"], &listed["counts"]["failed"]), (&1.into(), &0.into()));
    assert_eq!(listed["studies"][0]["case"]["instances"], 6);
    let log = running.log();
    assert!(!log.contains("Doe") && !log.contains("4711"), "{log}");
    // SIGTERM ends it in order.
    Command::new("kill").arg(running.process.id().to_string()).status().unwrap();
    assert!(running.process.wait().unwrap().success());
}

#[test]
fn systemd_hears_of_the_start_of_life_and_of_the_end() {
    let root = tempfile::tempdir().unwrap();
    let watch = "[[watch]]\nfolder = \"in\"\nname = \"IN\"\n";
    fs::write(root.path().join("box.toml"), format!("folder = \"data\"\n{watch}{RULE}")).unwrap();
    let address = root.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 64];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut process = Command::new(env!("CARGO_BIN_EXE_monet"))
        .args(["serve", text(&root.path().join("box.toml"))])
        .env("NOTIFY_SOCKET", &address)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!([told(), told(), told()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    Command::new("kill").arg(process.id().to_string()).status().unwrap();
    let last = std::iter::repeat_with(told).find(|state| state != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert!(process.wait().unwrap().success());
}

#[test]
fn strangers_are_refused_and_one_address_is_told_once() {
    let running = Running::new(RULE);
    for (calling, called, reason) in [("MR1", "OTHER", "called"), ("STRANGER", "MONET", "calling")]
    {
        let error = running.associate(calling, called).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    running.associate("CT1", "MONET").unwrap().release().unwrap();
    let log =
        running.until("the log", || Some(running.log()).filter(|log| log.contains("refused")));
    assert_eq!(log.matches("refused").count(), 1, "{log}");
}

#[test]
fn a_full_disk_is_refused_politely() {
    let running = Running::new(&format!("{RULE}[keep]\nfree_mib = 4000000000\n"));
    let error = running.associate("MR1", "MONET").unwrap_err().to_string();
    assert!(error.contains("congestion"), "{error}");
}

#[test]
fn a_dead_destination_holds_up_no_other_and_gets_its_results_later() {
    let (peer, dead) = (Peer::new(), free_port());
    let retry = "[retry]\nfirst_s = 1\nlongest_s = 1\n";
    let tables = [peer.table("pacs"), destination("dead", dead)].concat();
    let running = Running::new(&format!("{RULE}{tables}{retry}"));
    for uid in ["1.2.1", "1.2.2"] {
        running.send(&study(uid, 4));
    }
    running.until("the living peer", || (peer.got.lock().unwrap().len() == 4).then_some(()));
    assert!(running.stage("done").is_empty());
    let risen = Peer::on(TcpListener::bind(("127.0.0.1", dead)).unwrap());
    running.until_stage("done", 2);
    assert_eq!(*risen.got.lock().unwrap(), *peer.got.lock().unwrap());
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let peer = Peer::new();
    let mut running = Running::new(&format!("{RULE}{}", peer.table("pacs")));
    running.send(&study("1.2.3", 5));
    // Acknowledged, and perhaps not looked at yet.
    running.stop();
    running.start_again();
    let done = running.until_stage("done", 1);
    assert_eq!(fs::read_dir(done[0].join("images")).unwrap().count(), 5);
    assert_eq!(peer.got.lock().unwrap().len(), 2);
}

#[test]
fn a_second_service_is_refused() {
    let running = Running::new(RULE);
    let config = fs::read_to_string(running.path("box.toml")).unwrap();
    let other = config.replace(&running.port.to_string(), &free_port().to_string());
    fs::write(running.path("other.toml"), other).unwrap();
    let ran = monet(&["serve", text(&running.path("other.toml"))]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("another service works there"), "{}", stderr(&ran));
}

#[test]
fn what_comes_late_or_again_is_taken_for_what_it_is() {
    let running = Running::new(RULE);
    let all = study("1.2.3", 6);
    running.send(&all[..4]);
    running.until_stage("done", 1);
    // The same once more: nothing happens.
    running.send(&all[1..2]);
    running.until("the log", || running.log().contains("repeated instance").then_some(()));
    // Another content under the same UID: kept apart, nothing is made of it; somebody is to look.
    running.send(&[slice("1.2.3", 2, 77)]);
    let failed = running.until_stage("failed", 1);
    assert!(running.stage("done").is_empty());
    let reason = fs::read_to_string(failed[0].join("reason.txt")).unwrap();
    assert!(reason.contains("another content were not segmented: 1 in apart"), "{reason}");
    // What was not there: the whole study again.
    running.send(&all[4..]);
    let done = running.until_stage("done", 1);
    let count = |case: &Path| fs::read_dir(case.join("images")).unwrap().count();
    assert_eq!((count(&failed[0]), count(&done[0])), (4, 6));
    assert_eq!(fs::read_dir(failed[0].join("apart")).unwrap().count(), 1);
    let case: Value =
        serde_json::from_slice(&fs::read(done[0].join("case.json")).unwrap()).unwrap();
    assert_eq!(case["earlier"], failed[0].file_name().unwrap().to_str().unwrap());
}

#[test]
fn what_kills_its_process_is_a_failure_with_a_reason_that_can_be_tried_again() {
    let running = Running::new(&format!("{RULE}package = \"missing.plan\"\n"));
    running.send(&study("1.2.3", 3));
    let failed = running.until_stage("failed", 1);
    let reason = fs::read_to_string(failed[0].join("reason.txt")).unwrap();
    assert!(reason.contains("missing.plan"), "{reason}");
    let name = failed[0].file_name().unwrap().to_str().unwrap();
    let shown = running.queue(&["show", name]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("missing.plan"));
    fs::copy("models/hippocampus.plan", running.path("missing.plan")).unwrap();
    let retried = running.queue(&["retry", name]);
    assert!(retried.status.success(), "{}", stderr(&retried));
    running.until_stage("done", 1);
    let refused = running.queue(&["discard", "1-000000099-1.2"]);
    assert!(stderr(&refused).contains("there is no study"), "{}", stderr(&refused));
    assert!(running.queue(&["discard", name]).status.success());
    assert!(running.stage("done").is_empty());
}

#[test]
fn a_file_that_no_header_reader_survives_is_a_failure_of_its_own() {
    let running = Running::new(RULE);
    let mut bad = slice("1.2.3", 0, 5);
    // As text of another kind: the writer refuses to call it a UID where its checks are on.
    bad.put_text(tags::STUDY_UID, b"LO", "../../etc");
    running.send(&[bad]);
    let failed = running.until_stage("failed", 1);
    let reason = fs::read_to_string(failed[0].join("reason.txt")).unwrap();
    assert!(reason.contains("Study Instance UID"), "{reason}");
    // Others are none the worse.
    running.send(&study("1.2.4", 3));
    running.until_stage("done", 1);
}

#[test]
fn nothing_that_fits_is_no_error() {
    let running = Running::new("[[rule]]\nmodality = [\"CT\"]\n");
    running.send(&study("1.2.3", 3));
    let done = running.until_stage("done", 1);
    let summary = fs::read(done[0].join("results/summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["results"].as_array().unwrap().len(), 0);
    let reason = summary["skipped"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("other modalities"), "{reason}");
}

#[test]
fn a_watch_folder_is_emptied_of_what_is_dicom() {
    let watch = "[[watch]]\nfolder = \"in\"\nname = \"EXPORT\"\nquiet_s = 1\n";
    let running = Running::new(&format!("{RULE}{watch}"));
    fs::create_dir_all(running.path("in/below")).unwrap();
    for (k, set) in study("1.2.3", 3).iter().enumerate() {
        dicom::write(set, &running.path(&format!("in/below/{k}")));
    }
    fs::write(running.path("in/readme"), "no image").unwrap();
    running.until_stage("done", 1);
    assert_eq!(fs::read_dir(running.path("in/below")).unwrap().count(), 0);
    assert!(running.path("in/readme").exists());
}

#[test]
fn the_page_shows_what_is_and_nothing_else() {
    let port = free_port();
    let page = format!("[page]\naddress = \"127.0.0.1:{port}\"\n");
    let running = Running::new(&format!("{RULE}{page}"));
    running.send(&study("1.2.3", 4));
    let name = running.until_stage("done", 1)[0].file_name().unwrap().to_str().unwrap().to_owned();
    let get = |path: &str| running.get(port, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(get("/").contains(&name));
    let study = get(&format!("/study/{name}"));
    let picture = study.split("src=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(get(&picture).contains("image/png"), "{picture}");
    assert!(get("/healthz").ends_with("ok\n"));
    assert!(get("/metrics").contains("monet_studies{stage=\"done\"} 1\n"));
    for path in ["/study/..", &format!("/preview/{name}/case.json"), "/preview/../lock", "/x"] {
        assert!(get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(running.get(port, "POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(!study.contains("Doe") && !get("/").contains("Doe"));
}

#[test]
fn a_browser_of_a_phones_width_shows_the_page_without_scrolling_sideways() {
    let Some(mut browser) = judges::browser() else { return };
    let port = free_port();
    let page = format!("[page]\naddress = \"127.0.0.1:{port}\"\n");
    let running = Running::new(&format!("{RULE}{page}"));
    running.send(&study("1.2.840.113619.2.55.3.604688119.868.1234567890.123456789", 4));
    running.until_stage("done", 1);
    let (profile, picture) = (running.path("profile"), running.path("page.png"));
    let shot = browser
        .args(["--window-size=390,2000", &format!("--user-data-dir={}", text(&profile))])
        .arg(format!("--screenshot={}", text(&picture)))
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    assert!(picture.exists(), "{}", stderr(&shot));
    let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(&picture).unwrap()))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let step = info.line_size / info.width as usize;
    let white = |pixel: &[u8]| pixel[..3].iter().all(|value| *value == 255);
    // A page that is wider than the window runs over the right margin.
    let margin = pixels.chunks_exact(info.line_size).map(|row| &row[(380 - 1) * step..380 * step]);
    assert!(margin.into_iter().all(white), "something reaches into the right margin");
    assert!(pixels.chunks_exact(step).any(|pixel| !white(pixel)), "the page is empty");
}

#[test]
fn a_page_with_a_password_asks_for_it() {
    let port = free_port();
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    let page =
        format!("[page]\naddress = \"127.0.0.1:{port}\"\npassword_file = \"{}\"\n", text(&secret));
    let running = Running::new(&format!("{RULE}{page}"));
    let get = |head: &str| running.get(port, &format!("GET / HTTP/1.1\r\n{head}\r\n"));
    assert!(get("").starts_with("HTTP/1.1 401"));
    assert!(get("Authorization: Basic bW9uZXQ6d3Jvbmc=\r\n").starts_with("HTTP/1.1 401"));
    assert!(get("Authorization: Basic bW9uZXQ6czNjcmV0\r\n").starts_with("HTTP/1.1 200"));
}

#[test]
fn doctor_looks_at_what_the_configuration_names() {
    let peer = Peer::new();
    let dead = destination("dead", free_port());
    let running = Running::new(&format!("{RULE}{}{dead}", peer.table("pacs")));
    let ran = monet(&["doctor", text(&running.path("box.toml"))]);
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{told}");
    assert!(told.contains("destination pacs: answers C-ECHO"), "{told}");
    assert!(told.contains("BAD        destination dead"), "{told}");
    assert!(told.contains("the running service, process "), "{told}");
}

#[test]
fn a_series_that_orthanc_sends_comes_back_as_a_segmentation_that_lies_on_it() {
    let (Some(python), Some(real)) = (judges::dicom_python(), judges::real_dicom()) else { return };
    if Command::new("Orthanc").arg("--version").output().is_err() {
        return skip("no Orthanc on this machine");
    }
    let work = tempfile::tempdir().unwrap();
    let ran = Command::new(python)
        .arg(judges::judge("orthanc"))
        .args([env!("CARGO_BIN_EXE_monet"), text(&real.join("hippocampus_mr/study1"))])
        .arg(work.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}\n{}", stderr(&ran), String::from_utf8_lossy(&ran.stdout));
}
