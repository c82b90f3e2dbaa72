//! Threads that the system does not give: an error, neither a hang nor an abort, and nothing is
//! left.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use monet_testing::{nifti::Nifti, skip, stderr, text};

use crate::MONET;

/// The end of a command, which is killed where it does not come.
fn ended(command: &mut Command, what: &str) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let clock = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if clock.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{what}: hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// A folder that another user may write in, with the binary, a package and a volume in it.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    // A package that the int8 engine takes as a whole: others are tried in a process of their own,
    // which takes threads, too.
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bench");
    fs::copy(bench.join("monet-256.int8.onnx"), folder.path().join("monet-256.int8.onnx")).unwrap();
    let manifest = fs::read_to_string(bench.join("monet-256.int8.toml")).unwrap();
    let manifest =
        manifest.replace("= 256", "= 16").replace("\"resize\"", "\"pad\"\nspacing = [1.0, 1.0]");
    fs::write(folder.path().join("small.toml"), manifest).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    // By another process: a file that this one has written cannot be run while a child of another
    // test's holds it open.
    let copied = Command::new("cp").arg(MONET).arg(folder.path().join("monet")).status();
    assert!(copied.unwrap().success());
    Nifti::blob([16, 16, 12]).write(&folder.path().join("in.nii"));
    folder
}

fn leaves_nothing(folder: &Path, ran: &Output, what: &str) {
    assert_eq!(ran.status.code(), Some(1), "{what}: {}", stderr(ran));
    assert!(
        stderr(ran).contains("could not be started")
            || stderr(ran).contains("no thread can be started"),
        "{what}: {}",
        stderr(ran)
    );
    assert_eq!(fs::read_dir(folder).unwrap().count(), 4, "{what}: nothing is left");
}

/// The system counts a user's threads, but root's: there the user `nobody` runs the command.
#[test]
fn threads_that_cannot_be_started_are_an_error() {
    let id = Command::new("id").arg("-u").output().unwrap();
    let root = id.stdout == b"0\n";
    let have = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
    };
    if !have("prlimit") || (root && !have("setpriv")) {
        skip("needs prlimit and setpriv of util-linux");
        return;
    }
    if !root {
        skip("needs root, to run as a user without other processes");
        return;
    }
    let folder = open_folder();
    let (mut failed, mut done) = (0, 0);
    for most in 1..=9 {
        let what = format!("at most {most} threads");
        let output = folder.path().join("o.nii");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "prlimit"]);
        command.arg(format!("--nproc={most}")).arg(folder.path().join("monet"));
        command.args([
            "segment",
            text(&folder.path().join("in.nii")),
            "-o",
            text(&output),
            "--threads",
            "4",
        ]);
        command.arg("--model").arg(folder.path().join("small.toml"));
        let ran = ended(&mut command, &what);
        println!("{what}: {:?} {}", ran.status.code(), stderr(&ran).trim());
        if ran.status.success() {
            done += 1;
            fs::remove_file(output).unwrap();
        } else {
            failed += 1;
            leaves_nothing(folder.path(), &ran, &what);
        }
    }
    // Its own, the one that listens for signals, the volumes', a reader, four workers: eight, of
    // which some may have ended.
    assert!(failed >= 5 && done >= 1, "{failed} failed, {done} done");
}

/// Where memory for a thread's stack is what is missing, it is the same; where any other is, the
/// system ends the process.
#[test]
fn little_memory_is_no_reason_to_hang() {
    let folder = open_folder();
    let mut told = 0;
    for (threads, limits) in [("1", [30, 36, 42, 48, 56]), ("4", [40, 48, 54, 60, 70])] {
        for megabytes in limits {
            let what = format!("{threads} workers in {megabytes} MB");
            let script = format!("ulimit -v {}; exec \"$0\" \"$@\"", megabytes * 1000);
            let mut command = Command::new("sh");
            command.args(["-c", &script]).arg(folder.path().join("monet")).args([
                "segment",
                "--threads",
                threads,
            ]);
            command
                .arg(folder.path().join("in.nii"))
                .arg("-o")
                .arg(folder.path().join("o.nii"))
                .arg("--force");
            command.arg("--model").arg(folder.path().join("small.toml"));
            let ran = ended(&mut command, &what);
            println!(
                "{what}: {:?} {}",
                ran.status,
                stderr(&ran).lines().last().unwrap_or_default()
            );
            told += usize::from(stderr(&ran).contains("started"));
            assert_ne!(ran.status.code(), Some(101), "{what}: {}", stderr(&ran));
        }
    }
    println!("{told} told that a thread could not be started");
}
