//! What the command says: messages that cannot be written stop nothing, results that cannot be
//! written are an error, and text of others does not act on the terminal.
#![cfg(target_os = "linux")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use monet_testing::{nifti::Nifti, stderr, text};

use crate::MONET;

fn monet() -> Command {
    Command::new(MONET)
}

/// What cannot be written to, as a log on a full disk.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader has gone.
fn closed() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

/// Volumes without a usable form, of which there is a warning each.
fn odd_volumes(folder: &Path, names: &[&[u8]]) -> Vec<PathBuf> {
    let volume = Nifti { sform: None, ..Nifti::blob([24, 28, 18]) };
    names.iter().map(|name| volume.write(&folder.join(OsStr::from_bytes(name)))).collect()
}

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn messages_that_cannot_be_written_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = odd_volumes(folder.path(), &[b"a.nii", b"b.nii", b"c.nii"]);
    let missing = folder.path().join("missing.nii");
    let unwritable: [(&str, Stdio); 2] = [("full", full().into()), ("closed", closed().into())];
    for (name, log) in unwritable {
        let masks = folder.path().join(name);
        fs::create_dir(&masks).unwrap();
        let mut command = monet();
        command
            .arg("segment")
            .args([&inputs[0], &missing, &inputs[1], &inputs[2]])
            .arg("-o")
            .arg(&masks);
        let status = command.stdout(Stdio::null()).stderr(log).status().unwrap();
        assert_eq!(status.code(), Some(3), "{name}");
        assert_eq!(names(&masks), ["a.nii", "b.nii", "c.nii"], "{name}");
    }
    // Nothing but the exit code can say that a command line is wrong.
    assert_eq!(monet().arg("--wrong").stderr(full()).status().unwrap().code(), Some(2));
    // Labels without a name are warned about; scores are given all the same.
    let mask = Nifti::new([4, 4, 2], &[1, 2].repeat(16)).write(&folder.path().join("m.nii"));
    let mut command = monet();
    command.args(["evaluate", "--pred", text(&mask), "--truth", text(&mask), "--labels", "1=one"]);
    let told = command.stderr(full()).output().unwrap();
    assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).contains("one"));
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mask = Nifti::new([4, 4, 4], &[1; 64]).write(&folder.path().join("m.nii"));
    let mask = text(&mask);
    let commands: [&[&str]; 13] = [
        &["evaluate", "--pred", mask, "--truth", mask],
        &["evaluate", "--pred", mask, "--truth", mask, "--json", "-"],
        &["evaluate", "--pred", mask, "--truth", mask, "--csv", "-"],
        &["inspect"],
        &["inspect", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["targets"],
        &["targets", "--json"],
        &["targets", "--detect"],
        &["profile", "--runs", "1", "--json", "-"],
        &["--version"],
        &["segment", "--help"],
    ];
    for command in commands {
        let ran = monet().args(command).stdout(full()).output().unwrap();
        assert_eq!(ran.status.code(), Some(1), "{command:?}: {}", stderr(&ran));
        assert!(
            stderr(&ran).contains("standard output cannot be written"),
            "{command:?}: {}",
            stderr(&ran)
        );
        // A reader that has seen enough is no failure.
        let ran = monet().args(command).stdout(closed()).output().unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{command:?}: {}", stderr(&ran));
    }
}

#[test]
fn a_summary_that_is_lost_is_told_after_all_volumes_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = odd_volumes(folder.path(), &[b"a.nii", b"b.nii"]);
    let masks = folder.path().join("masks");
    fs::create_dir(&masks).unwrap();
    let mut command = monet();
    command.arg("segment").args(&inputs).arg("-o").arg(&masks);
    let ran = command.stdout(full()).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    assert_eq!(names(&masks), ["a.nii", "b.nii"]);
}

/// A name in ISO 8859-1 goes through unchanged, and JSON tells it so that it can be had back.
#[test]
fn names_are_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = odd_volumes(folder.path(), &[b"M\xfcller.nii", b"M\xf6ller.nii", b"a\\xfc.nii"]);
    let [masks, stats, preview] = ["masks", "s.json", "p.png"].map(|name| folder.path().join(name));
    fs::create_dir(&masks).unwrap();
    let mut command = monet();
    command.arg("segment").args(&inputs).arg("-o").arg(&masks).arg("--stats").arg(&stats);
    let ran = command.arg("--preview").arg(&preview).output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
    let told = String::from_utf8(ran.stdout).expect("what is printed is UTF-8");
    assert!(told.contains("M\\xfcller.nii") && told.contains("M\\xf6ller.nii"), "{told}");
    let mut given: Vec<_> =
        inputs.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    given.sort();
    assert_eq!(names(&masks), given);
    for name in [&b"p-M\xfcller.png"[..], b"p-M\xf6ller.png", b"p-a\\xfc.png"] {
        assert!(
            folder.path().join(OsStr::from_bytes(name)).exists(),
            "{:?}",
            OsStr::from_bytes(name)
        );
    }
    let reports: serde_json::Value = serde_json::from_slice(&fs::read(&stats).unwrap()).unwrap();
    for (i, name) in ["M\\xfcller.nii", "M\\xf6ller.nii", "a\\\\xfc.nii"].into_iter().enumerate() {
        for key in ["input", "output"] {
            assert!(
                reports[i][key].as_str().unwrap().ends_with(&format!("/{name}")),
                "{}",
                reports[i][key]
            );
        }
    }

    // One input, and an output of such a name.
    let output = folder.path().join(OsStr::from_bytes(b"\xff\xfe.nii.gz"));
    let mut command = monet();
    command
        .arg("segment")
        .arg(&inputs[0])
        .arg("-o")
        .arg(&output)
        .arg("--stats")
        .arg(&stats)
        .arg("--force");
    let ran = command.output().unwrap();
    assert!(ran.status.success() && output.exists(), "{}", stderr(&ran));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&stats).unwrap()).unwrap();
    assert!(
        report["output"].as_str().unwrap().ends_with("/\\xff\\xfe.nii.gz"),
        "{}",
        report["output"]
    );

    // Subjects of an evaluation.
    let mut command = monet();
    command
        .arg("evaluate")
        .arg("--pred")
        .arg(&masks)
        .arg("--truth")
        .arg(&masks)
        .args(["--json", "-"]);
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let mut subjects: Vec<_> =
        (0..3).map(|i| json["subjects"][i]["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["M\\xf6ller", "M\\xfcller", "a\\\\xfc"]);
}

/// Neither stream has a control character but ends of lines, and no line begins as a message that
/// nobody wrote.
fn assert_tame(ran: &Output, what: &str) {
    for stream in [&ran.stdout, &ran.stderr] {
        let told = String::from_utf8(stream.clone()).unwrap();
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{what}: {told:?}");
        assert!(!told.lines().any(|line| line.starts_with("monet: all")), "{what}: {told}");
    }
}

#[test]
fn names_do_not_act_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let name = b"b\x1b[2Jad\nmonet: all done\x07.nii";
    let [input] = &odd_volumes(folder.path(), &[name])[..] else { unreachable!() };
    let path = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let (output, stats) =
        (path(b"o\x1b]52;c;aGk=\x07\nmonet: all done.nii"), path(b"s\x1b\nmonet: all.json"));
    let segment = || {
        let mut command = monet();
        command.arg("segment").arg(input).arg("-o").arg(&output).arg("--stats").arg(&stats);
        command.output().unwrap()
    };
    let ran = segment();
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("b\\x1b[2Jad\\nmonet: all done\\x07.nii: "), "{}", stderr(&ran));
    assert_tame(&ran, "a volume");
    let ran = segment();
    assert_eq!(ran.status.code(), Some(1));
    assert_tame(&ran, "an error");

    let odd = path(b"x\x1b\nmonet: all\x9b.toml");
    for command in ["inspect", "profile", "targets", "compile"] {
        let mut command_line = monet();
        command_line.arg(command).arg(&odd);
        if command == "compile" {
            command_line.arg("-o").arg(&odd);
        }
        let ran = command_line.output().unwrap();
        assert!(!ran.status.success());
        assert_tame(&ran, command);
    }
    let mut command = monet();
    let ran = command
        .arg("evaluate")
        .arg("--pred")
        .arg(&output)
        .arg("--truth")
        .arg(&output)
        .output()
        .unwrap();
    assert!(ran.status.success());
    assert_tame(&ran, "evaluate");
    let ran = monet()
        .arg("segment")
        .arg(path(b"no\x1b.nii"))
        .arg("-o")
        .arg(path(b"no.nii"))
        .output()
        .unwrap();
    assert_tame(&ran, "no volume");
    let ran = monet().arg(OsStr::from_bytes(b"--x\x1b[2J")).output().unwrap();
    assert_tame(&ran, "a wrong option");
}
