//! Signals: a command ends within a second of one, whatever it waits for; what was done stays, what
//! was not leaves nothing.
#![cfg(target_os = "linux")]

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use monet::package::Normalise;
use monet_testing::{
    nifti::{self, Nifti},
    package, text,
};

use crate::MONET;

/// A command ends within a second; a test machine that is busy is given more.
const SOON: Duration = Duration::from_secs(30);

/// Until a command that was just started is where a test wants it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command that runs; dropped, as when a test fails, it is killed and reaped.
struct Running(Child);

impl Running {
    fn spawn(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn task_folders(&self) -> impl Iterator<Item = fs::DirEntry> {
        fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap().flatten()
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits until a net runs: in a thread that is called so.
    fn until_it_works(&self) {
        let works = |task: fs::DirEntry| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "worker\n")
        };
        until("a net runs", || self.task_folders().any(works));
    }

    /// Waits until all threads have slept for a while, as they do where one waits for a pipe and
    /// the rest for that one.
    fn until_it_sleeps(&self) {
        let sleeps = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state follows the name, which stands in brackets.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
        };
        let mut times = 0;
        until("it sleeps", || {
            times = if self.task_folders().all(sleeps) { times + 1 } else { 0 };
            times == 20
        });
    }

    /// What the command says before its end, which has to come soon.
    fn end(mut self, what: &str) -> String {
        let clock = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(clock.elapsed() < SOON, "{what}: still there after {SOON:?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let said = self.said();
        assert_eq!(status.code(), Some(130), "{what}: {said}");
        said
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing after the command's end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the command with signals as a person's shell leaves them: a test that runs in the
/// background of a script has the signal of Ctrl-C ignored, and so would the command.
fn start(args: &[&str]) -> Running {
    Running::spawn(Command::new("env").arg("--default-signal=INT,TERM,HUP").arg(MONET).args(args))
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let clock = Instant::now();
    while !so() {
        assert!(clock.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn listing(folder: &Path) -> Vec<String> {
    let names =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn fifo(path: PathBuf) -> PathBuf {
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// The large net for slices of any size: seconds a slice by the portable kernel on 1024×1024.
fn slow_package(folder: &Path) -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bench");
    fs::copy(bench.join("monet-256.int8.onnx"), folder.join("monet-256.int8.onnx")).unwrap();
    let manifest = fs::read_to_string(bench.join("monet-256.int8.toml")).unwrap();
    let path = folder.join("slow.toml");
    fs::write(&path, manifest.replace("kind = \"resize\"", "kind = \"pad\"\nspacing = [1.0, 1.0]"))
        .unwrap();
    path
}

#[test]
fn an_interrupt_leaves_nothing() {
    for (name, signals) in
        [("SIGINT", &["-INT"][..]), ("SIGTERM", &["-TERM"]), ("twice", &["-TERM", "-TERM"])]
    {
        let folder = tempfile::tempdir().unwrap();
        let package = slow_package(folder.path());
        let input = Nifti::blob([256, 256, 300]).write(&folder.path().join("in.nii"));
        let before = listing(folder.path());
        let output = folder.path().join("o.nii.gz");
        let child = start(&[
            "segment",
            text(&input),
            "-o",
            text(&output),
            "--model",
            text(&package),
            "--quiet",
        ]);
        child.until_it_works();
        signals.iter().for_each(|which| child.signal(which));
        let said = child.end(name);
        if signals.len() == 1 {
            let message =
                format!("interrupted: {} is not segmented, nothing was written", input.display());
            assert!(said.contains(&message), "{name}: {said}");
        }
        assert_eq!(listing(folder.path()), before, "{name}");
    }
}

#[test]
fn a_slice_that_takes_long_keeps_no_signal_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let package = slow_package(folder.path());
    let input = Nifti::blob([1024, 1024, 2]).write(&folder.path().join("in.nii"));
    let before = listing(folder.path());
    let output = folder.path().join("o.nii.gz");
    let child = start(&[
        "segment",
        text(&input),
        "-o",
        text(&output),
        "--model",
        text(&package),
        "--kernel",
        "scalar",
        "--quiet",
    ]);
    child.until_it_works();
    std::thread::sleep(Duration::from_millis(300));
    child.signal("-TERM");
    child.end("a large slice");
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn a_read_that_blocks_keeps_no_signal_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1000.0 });
    let good = Nifti::blob([8, 8, 4]).write(&path("good.nii"));
    let output = path("o.nii");
    let pipes = ["p.nii", "p.toml", "p.plan"].map(|name| fifo(path(name)));
    // A header whose voxels come through a pipe, from a writer that stalls.
    let file = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..Nifti::blob([8, 8, 400]) };
    fs::write(path("pair.hdr"), file.header()).unwrap();
    let stalled = fifo(path("pair.img"));
    let before = listing(folder.path());
    for (what, args) in [
        ("a pipe as input", &[text(&pipes[0])][..]),
        ("a pipe as manifest", &[text(&good), "--model", text(&pipes[1])]),
        ("a pipe as plan", &[text(&good), "--model", text(&pipes[2])]),
        ("a pipe of voxels", &[text(&path("pair.hdr")), "--model", text(&package)]),
    ] {
        let child = start(&[&["segment", "-o", text(&output), "--quiet"], args].concat());
        // To read and write, so that opening waits for nobody and the other end sees no end.
        let writer = OpenOptions::new().read(true).write(true).open(&stalled).unwrap();
        if what == "a pipe of voxels" {
            (&writer).write_all(&file.voxels[..20_000]).unwrap();
        }
        child.until_it_sleeps();
        child.signal("-TERM");
        child.end(what);
        assert_eq!(listing(folder.path()), before, "{what}");
    }
}

/// What is done stays, with figures of it; the message says how far the batch came.
#[test]
fn a_batch_that_is_interrupted_keeps_what_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1000.0 });
    let [a, b] = ["a.nii", "b.nii"].map(|name| Nifti::blob([8, 8, 4]).write(&path(name)));
    let bad = nifti::write(&path("bad.nii"), b"nothing");
    let stuck = fifo(path("stuck.nii"));
    let masks = path("masks");
    fs::create_dir(&masks).unwrap();
    let stats = path("s.json");
    let child = start(&[
        "segment",
        text(&a),
        text(&bad),
        text(&b),
        text(&stuck),
        text(&path("never.nii")),
        "-o",
        text(&masks),
        "--stats",
        text(&stats),
        "--model",
        text(&package),
    ]);
    until("two are done", || masks.join("b.nii").exists());
    child.until_it_sleeps();
    child.signal("-INT");
    let said = child.end("a batch");
    let message = format!(
        "interrupted: 2 of 5 inputs are done, their outputs are kept, 1 failed; {} and 1 after it \
         are not segmented",
        stuck.display()
    );
    assert!(said.contains(&message), "{said}");
    assert_eq!(listing(&masks), ["a.nii", "b.nii"]);
    let reports: serde_json::Value = serde_json::from_slice(&fs::read(&stats).unwrap()).unwrap();
    let inputs: Vec<_> =
        reports.as_array().unwrap().iter().map(|r| r["input"].as_str().unwrap()).collect();
    assert_eq!(inputs, [text(&a), text(&b)]);
}

/// As nohup(1) has SIGHUP ignored, and a shell SIGINT in what it starts with `&`.
#[test]
fn signals_that_are_ignored_at_the_start_interrupt_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let package = slow_package(folder.path());
    let input = Nifti::blob([256, 256, 40]).write(&folder.path().join("in.nii"));
    let output = folder.path().join("o.nii.gz");
    let script = "trap '' INT TERM HUP; exec \"$0\" \"$@\"";
    let args = ["segment", text(&input), "-o", text(&output), "-q", "--model", text(&package)];
    let mut child = Running::spawn(Command::new("sh").args(["-c", script, MONET]).args(args));
    child.until_it_works();
    ["-INT", "-TERM", "-HUP"].into_iter().for_each(|which| child.signal(which));
    assert!(child.0.wait().unwrap().success() && output.exists(), "{}", child.said());
}
