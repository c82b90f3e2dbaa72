//! Outputs never meet an input or one another, what cannot be written is said before anything is
//! read, and what a killed run leaves is gone after the next one.
#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use monet_testing::{nifti::Nifti, stderr, text};

use crate::MONET;

/// A folder with two volumes, a pair, a mask, and a package.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let volume = Nifti::blob([24, 28, 18]);
        for name in ["a.nii", "b.nii", "a.nii.gz"] {
            volume.write(&place.at(name));
        }
        let pair = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..volume.clone() };
        fs::write(place.at("p.hdr"), &pair.header()[..348]).unwrap();
        fs::write(place.at("p.img"), &pair.voxels).unwrap();
        Nifti::new([2, 2, 1], &[1, 1, 0, 0]).write(&place.at("m.nii"));
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        for name in ["hippocampus.int8.toml", "hippocampus.int8.onnx"] {
            fs::copy(models.join(name), place.at(name)).unwrap();
        }
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/raspberry-pi-4.toml");
        fs::copy(target, place.at("board.toml")).unwrap();
        fs::create_dir(place.at("out")).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the binary in this folder.
    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(MONET);
        command.args(line.split_whitespace()).current_dir(self.0.path());
        command
    }

    /// Every file and what is in it.
    fn all(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                let kind = path.symlink_metadata().unwrap().file_type();
                all.push((path.clone(), kind.is_file().then(|| fs::read(&path).unwrap())));
                if kind.is_dir() {
                    folders.push(path);
                }
            }
        }
        all.sort();
        all
    }

    /// The command is refused with these words and changes nothing.
    fn refuses(&self, line: &str, words: &str) {
        let before = self.all();
        let ran = self.run(line);
        assert_eq!(ran.status.code(), Some(1), "{line}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(words), "{line}: {}", stderr(&ran));
        assert!(self.all() == before, "{line}: something was changed");
    }
}

#[test]
fn outputs_are_no_inputs_and_do_not_meet() {
    let place = Place::new();
    symlink("a.nii", place.at("link.nii")).unwrap();
    fs::hard_link(place.at("a.nii"), place.at("hard.json")).unwrap();
    symlink(".", place.at("here")).unwrap();
    for force in ["", " --force"] {
        for (line, words) in [
            ("segment a.nii -o a.nii", "input"),
            ("segment a.nii -o m.nii.gz --stats a.nii", "input"),
            ("segment a.nii -o here/a.nii", "input"),
            ("segment link.nii -o a.nii", "input"),
            ("segment a.nii -o o.nii --stats hard.json", "input"),
            ("segment a.nii b.nii -o out --stats b.nii", "input"),
            ("segment a.nii b.nii -o .", "input"),
            ("segment p.hdr -o z.nii --preview p.img", "input"),
            ("segment p.img -o z.nii --stats p.hdr", "input"),
            ("segment a.nii out/a.nii -o out", "input"),
            ("segment a.nii -o x.nii --stats x.nii", "two outputs"),
            ("segment a.nii -o x.nii --stats here/x.nii", "two outputs"),
            ("segment a.nii -o x.nii --stats y --preview ./y", "two outputs"),
            ("segment a.nii a.nii.gz -o out --preview p.png", "two outputs"),
            ("segment a.nii here/a.nii -o out", "two outputs"),
            ("segment a.nii b.nii -o out --stats out/b.nii", "two outputs"),
            (
                "segment a.nii -o x.nii --model hippocampus.int8.toml --stats \
                 hippocampus.int8.onnx",
                "input",
            ),
            (
                "segment a.nii -o x.nii --model hippocampus.int8.toml --preview \
                 hippocampus.int8.toml",
                "input",
            ),
            ("evaluate --pred m.nii --truth m.nii --json m.nii", "input"),
            ("evaluate --pred m.nii --truth m.nii --json x --csv ./x", "two outputs"),
            (
                "evaluate --pred m.nii --truth m.nii --model hippocampus.int8.toml --csv \
                 hippocampus.int8.onnx",
                "input",
            ),
            ("evaluate --pred m.nii --truth m.nii --json - --csv -", "standard output"),
            ("profile hippocampus.int8.toml --json hippocampus.int8.toml", "input"),
            ("profile hippocampus.int8.toml --trace hippocampus.int8.onnx", "input"),
            ("profile --target board.toml --html board.toml", "input"),
            ("profile --json x --csv x", "two outputs"),
            ("compile hippocampus.int8.toml -o hippocampus.int8.toml", "input"),
            ("compile hippocampus.int8.toml -o hippocampus.int8.onnx", "input"),
        ] {
            place.refuses(&format!("{line}{force}"), words);
        }
    }
}

/// An input that is not there would be an error, too, were it looked for first.
#[test]
fn what_cannot_be_written_is_said_at_once() {
    let place = Place::new();
    symlink("nowhere", place.at("dangling.nii")).unwrap();
    symlink("a.nii", place.at("link.nii")).unwrap();
    assert!(Command::new("mkfifo").arg(place.at("fifo.nii")).status().unwrap().success());
    fs::create_dir(place.at("dir.nii")).unwrap();
    let long = format!("segment no.nii -o {}.nii", "n".repeat(300));
    for (line, words) in [
        ("segment no.nii -o missing/o.nii.gz", "the folder missing does not exist"),
        ("segment no.nii -o o.nii --stats missing/s.json", "the folder missing does not exist"),
        ("segment no.nii -o o.nii --preview missing/p.png", "the folder missing does not exist"),
        ("segment no.nii a.nii -o out --stats missing/s.json", "the folder missing does not exist"),
        ("segment no.nii -o a.nii/o.nii", "a.nii/o.nii"),
        ("segment no.nii -o o.nii --stats new/", "is a folder"),
        ("segment no.nii -o dangling.nii", "is a link"),
        ("segment no.nii -o dangling.nii --force", "is a link"),
        ("segment no.nii -o link.nii --force", "is a link"),
        ("segment no.nii -o fifo.nii --force", "a pipe, a device or a socket"),
        ("segment no.nii -o o.nii --stats /dev/null --force", "a pipe, a device or a socket"),
        ("segment no.nii -o b.nii", "exists already"),
        ("segment no.nii -o o.nii --preview b.nii", "exists already"),
        ("segment no.nii -o o.nii --preview -", "standard output"),
        (&long, "cannot be the name of a file"),
        (
            "evaluate --pred no.nii --truth no.nii --json missing/x",
            "the folder missing does not exist",
        ),
        ("evaluate --pred no.nii --truth no.nii --csv b.nii", "exists already"),
        ("evaluate --pred no.nii --truth no.nii --csv out --force", "is a folder"),
        ("profile --json missing/x", "the folder missing does not exist"),
        ("profile --html b.nii", "exists already"),
        ("profile --diff no.json no.json --html missing/x", "the folder missing does not exist"),
        ("compile -o missing/x.plan", "the folder missing does not exist"),
        ("compile -o b.nii", "exists already"),
        ("compile -o fifo.nii --force", "a pipe, a device or a socket"),
    ] {
        place.refuses(line, words);
    }
}

#[test]
fn a_replaced_file_keeps_its_mode() {
    let place = Place::new();
    for name in ["o.nii", "s.json", "p.png", "e.json"] {
        fs::write(place.at(name), "earlier").unwrap();
        fs::set_permissions(place.at(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let ran = place.run("segment a.nii -o o.nii --stats s.json --preview p.png --force");
    assert!(ran.status.success(), "{}", stderr(&ran));
    let ran = place.run("evaluate --pred m.nii --truth m.nii --json e.json --csv new.csv --force");
    assert!(ran.status.success(), "{}", stderr(&ran));
    for name in ["o.nii", "s.json", "p.png", "e.json"] {
        assert_ne!(fs::read(place.at(name)).unwrap(), b"earlier");
        assert_eq!(
            fs::metadata(place.at(name)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
    }
    assert_eq!(fs::metadata(place.at("new.csv")).unwrap().permissions().mode() & 0o400, 0o400);
}

/// What a limit on the size of files leaves: an error, and the earlier files. (The limit's signal
/// would kill.)
#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let place = Place::new();
    for name in ["o.nii", "s.json", "e.json"] {
        fs::write(place.at(name), "earlier").unwrap();
    }
    let labels: Vec<i16> = (0..64).collect();
    Nifti::new([8, 8, 1], &labels).write(&place.at("many.nii"));
    let before = place.all();
    for line in [
        "segment a.nii -o o.nii --force",
        "segment a.nii -o new.nii",
        "segment a.nii -o new.nii.gz --preview new.png --stats s.json --force",
        "evaluate --pred many.nii --truth many.nii --json e.json --force",
        "evaluate --pred many.nii --truth many.nii --csv new.csv --json e.json --force",
        "compile hippocampus.int8.toml -o new.plan",
    ] {
        // One block of 1024 bytes.
        let script = format!("ulimit -f 1; exec {} {line}", MONET);
        let ran = Command::new("bash")
            .arg("-c")
            .arg(script)
            .current_dir(place.0.path())
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(1), "{line}: {}", stderr(&ran));
        assert!(stderr(&ran).contains("File too large"), "{line}: {}", stderr(&ran));
        assert!(place.all() == before, "{line}: something was changed");
    }
}

#[test]
fn figures_of_one_input_go_to_standard_output_as_those_of_several() {
    let place = Place::new();
    let ran = place.run("segment a.nii -o o.nii --stats -");
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("nothing but JSON");
    assert_eq!(report["output"], "o.nii");
    let ran = place.run("segment a.nii b.nii -o out --stats -");
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("nothing but JSON");
    assert_eq!(report[1]["output"], "out/b.nii");
    assert!(!place.at("-").exists());
    let ran = place.command("segment a.nii -o x.nii --stats -").stdout(full()).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
}

fn full() -> fs::File {
    fs::File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn nothing_is_left_of_killed_runs_after_the_next_one() {
    let place = Place::new();
    let expected = {
        let ran = place.run("segment a.nii -o out/o.nii.gz --stats out/s.json --preview out/p.png");
        assert!(ran.status.success(), "{}", stderr(&ran));
        names(&place.at("out"))
    };
    assert_eq!(expected, ["o.nii.gz", "p.png", "s.json"]);
    for delay in 0..40 {
        let line =
            "segment a.nii -o out/o.nii.gz --stats out/s.json --preview out/p.png --force --quiet";
        let mut child = place.command(line).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // What a file system without unnamed files keeps of a run that was killed.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let left = format!("out/.monet-{}-0123456789abcdef.part", &boot[..8]);
    fs::write(place.at(&left), "half").unwrap();
    let ran = place.run("segment b.nii -o out/b.nii");
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(names(&place.at("out")), ["b.nii", "o.nii.gz", "p.png", "s.json"]);
    for name in [
        "evaluate --pred m.nii --truth m.nii --json out/e.json",
        "profile --runs 1 --json out/f.json",
    ] {
        fs::write(place.at(&left), "half").unwrap();
        let ran = place.run(name);
        assert!(ran.status.success() && !place.at(&left).exists(), "{name}: {}", stderr(&ran));
    }
}

#[test]
fn the_doctor_lists_what_killed_runs_have_left_and_changes_nothing() {
    let place = Place::new();
    assert!(!said(&place.run("doctor")).contains("left "));
    let left = [".monet-00000000-0123456789abcdef.part", ".monet-\u{1b}\\.undo"];
    for name in left.iter().chain(&[".monet-1.old", ".monet-1.other", "monet-1.part"]) {
        fs::write(place.at(name), "half").unwrap();
    }
    let before = place.all();
    let ran = place.run("doctor");
    assert!(ran.status.success(), "{}", stderr(&ran));
    let told = said(&ran);
    assert!(told.contains("left       by killed runs ("), "{told}");
    assert!(told.contains(left[0]) && told.contains(".monet-\\x1b\\\\.undo\n"), "{told}");
    assert!(!told.contains("monet-1"), "{told}");
    let json: serde_json::Value =
        serde_json::from_slice(&place.run("doctor --json").stdout).unwrap();
    assert_eq!(json["leftovers"], serde_json::json!([".monet-\u{1b}\\\\.undo", left[0]]));
    assert!(place.all() == before);
    // A great many are not told one by one.
    (0..150).for_each(|i| fs::write(place.at(&format!(".monet-{i}.done")), "").unwrap());
    assert_eq!(said(&place.run("doctor")).matches("           .monet-").count(), 100);
}

fn said(ran: &Output) -> String {
    String::from_utf8(ran.stdout.clone()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |name: &OsStr| text(Path::new(name)).to_owned();
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| name(&e.unwrap().file_name())).collect();
    names.sort();
    names
}

/// The record of a set whose commit was cut off after two of three files had their names: the
/// earlier ones return.
#[test]
fn a_commit_that_was_cut_off_is_undone_by_the_next_run() {
    let place = Place::new();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let hidden = |i: usize, ending: &str| format!(".monet-{}-{i:016x}.{ending}", &boot[..8]);
    let mut record = b"monet outputs 1\0".to_vec();
    for (i, (name, earlier)) in
        [("p.png", true), ("s.json", false), ("o.nii.gz", true)].into_iter().enumerate()
    {
        let [part, old] = ["part", "old"].map(|ending| hidden(i, ending));
        if earlier {
            fs::write(place.at(&format!("out/{old}")), "earlier").unwrap();
        }
        let new = if name == "o.nii.gz" { format!("out/{part}") } else { format!("out/{name}") };
        fs::write(place.at(&new), "later").unwrap();
        let changed = fs::metadata(place.at(&new)).unwrap().modified().unwrap();
        let changed = changed.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let number = u8::from(earlier);
        record.extend(format!("\0{name}\0{part}\0{old}\0{number}\x005\0{changed}\0").bytes());
    }
    record.extend(b"end\0");
    fs::write(place.at(&format!("out/{}", hidden(9, "undo"))), record).unwrap();
    let ran = place.run("segment a.nii -o out/a.nii --stats out/s.json");
    assert!(ran.status.success(), "not refused by what was left: {}", stderr(&ran));
    assert_eq!(names(&place.at("out")), ["a.nii", "o.nii.gz", "p.png", "s.json"]);
    for name in ["o.nii.gz", "p.png"] {
        assert_eq!(fs::read(place.at(&format!("out/{name}"))).unwrap(), b"earlier", "{name}");
    }
}
