//! Volumes by the thousand, as a cluster's jobs take them: by list, by share, again after a kill.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use monet_testing::{Random, nifti::Nifti, stderr, text};

use crate::{MONET, monet};

/// A folder of small volumes, the list that names them, and a folder for labels and figures.
struct Archive {
    folder: tempfile::TempDir,
    volumes: usize,
}

impl Archive {
    /// Every third volume is to go into a folder of its own, under another name.
    fn new(volumes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(7);
        let mut list = String::new();
        for i in 0..volumes {
            let voxels: Vec<i16> = (0..16 * 16 * 4).map(|_| random.below(500) as i16).collect();
            let input = folder.path().join(format!("{i}.nii"));
            Nifti::new([16, 16, 4], &voxels).write(&input);
            list += text(&input);
            if i % 3 == 0 {
                list += &format!("\tsub-{i}/mask.nii.gz");
            }
            list += "\n";
        }
        fs::write(folder.path().join("list"), list).unwrap();
        for name in ["masks", "figures"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder, volumes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command for a share of the volumes.
    fn command(&self, shard: &str, more: &[&str]) -> Command {
        let mut command = Command::new(MONET);
        command.args(["segment", "--accept-any", "--shard", shard]);
        command.arg("--list").arg(self.path("list")).arg("-o").arg(self.path("masks"));
        command.arg("--stats").arg(self.path("figures")).args(more);
        command
    }

    fn run(&self, shard: &str, more: &[&str]) -> Output {
        self.command(shard, more).output().unwrap()
    }

    fn start(&self, shard: &str) -> Child {
        let mut command = self.command(shard, &["--skip-done", "--quiet"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a process on the second volume, of which somebody who holds the folder of labels has
    /// named the figures. Returns that folder, these figures, and the process after half a second.
    fn start_half_named(&self) -> (fs::File, PathBuf, Child) {
        let masks = fs::File::open(self.path("masks")).unwrap();
        masks.lock().unwrap();
        let figures = self.path("figures").join("1.json");
        fs::write(&figures, "somebody's").unwrap();
        let child = self.start("1/2");
        thread::sleep(Duration::from_millis(500));
        (masks, figures, child)
    }

    /// All labels by name, after a look at whether each volume has them once, with its figures, and
    /// nothing else lies there.
    fn all_labels(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let labels = files(&self.path("masks"));
        let name = |i: usize| match i % 3 {
            0 => format!("sub-{i}/mask.nii.gz"),
            _ => format!("{i}.nii"),
        };
        let mut expected: Vec<PathBuf> = (0..self.volumes).map(|i| name(i).into()).collect();
        expected.sort();
        assert_eq!(labels.keys().cloned().collect::<Vec<_>>(), expected);
        let figures = files(&self.path("figures"));
        assert_eq!(figures.len(), self.volumes, "{:?}", figures.keys());
        for (name, figures) in figures {
            let report: serde_json::Value = serde_json::from_slice(&figures).unwrap();
            let output = report["output"].as_str().unwrap();
            assert!(Path::new(output).starts_with(self.path("masks")), "{}", name.display());
        }
        labels
    }
}

/// The files below a folder, by their names from there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            found.insert(name, fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn shares_of_a_list_are_the_whole_list() {
    let archive = Archive::new(9);
    for shard in ["0/2", "1/2"] {
        let ran = archive.run(shard, &[]);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    archive.all_labels();
}

#[test]
fn what_is_done_is_passed_over() {
    let archive = Archive::new(5);
    assert!(archive.run("0/2", &[]).status.success());
    // Without --skip-done labels that are there are an error, before anything is done.
    let refused = archive.run("0/1", &[]);
    assert!(!refused.status.success() && stderr(&refused).contains("exists already"));
    let ran = archive.run("0/1", &["--skip-done"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("3 volumes are passed over"), "{}", stderr(&ran));
    let labels = archive.all_labels();
    let ran = archive.run("0/1", &["--skip-done", "--quiet"]);
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}", stderr(&ran));
    assert_eq!(archive.all_labels(), labels, "nothing is written anew");
}

/// Figures whose labels somebody has removed cost that volume alone.
#[test]
fn an_output_in_the_way_costs_its_own_volume() {
    let archive = Archive::new(4);
    fs::write(archive.path("figures").join("1.json"), "mine").unwrap();
    // The second run has nothing else to do, and says the same.
    for _ in 0..2 {
        let ran = archive.run("0/1", &["--skip-done"]);
        assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
        assert!(stderr(&ran).contains("1.json: exists already"), "{}", stderr(&ran));
    }
    let labels = files(&archive.path("masks"));
    assert_eq!(labels.len(), 3, "{:?}", labels.keys());
    assert_eq!(fs::read(archive.path("figures").join("1.json")).unwrap(), b"mine");
    fs::remove_file(archive.path("figures").join("1.json")).unwrap();
    assert!(archive.run("0/1", &["--skip-done"]).status.success());
    archive.all_labels();
}

/// A folder in the way of an output that is to be replaced costs that volume alone.
#[test]
fn a_folder_in_the_way_costs_its_own_volume() {
    let archive = Archive::new(4);
    fs::create_dir(archive.path("masks").join("1.nii")).unwrap();
    let ran = archive.run("0/1", &["--force"]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("1.nii: is a folder"), "{}", stderr(&ran));
    fs::remove_dir(archive.path("masks").join("1.nii")).unwrap();
    assert!(archive.run("0/1", &["--force"]).status.success());
    archive.all_labels();
}

/// Another process has named a volume's figures and is about to name the labels.
#[test]
fn labels_that_are_being_named_are_waited_for() {
    let archive = Archive::new(2);
    let (masks, _, mut child) = archive.start_half_named();
    assert!(child.try_wait().unwrap().is_none(), "the process has not waited");
    fs::write(archive.path("masks").join("1.nii"), "its").unwrap();
    masks.unlock().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(files(&archive.path("masks")).len(), 1);
}

/// Another process takes a volume back that one before it has left half named.
#[test]
fn a_volume_that_is_taken_back_is_done_anew() {
    let archive = Archive::new(2);
    let (masks, figures, child) = archive.start_half_named();
    fs::remove_file(figures).unwrap();
    masks.unlock().unwrap();
    let ran = child.wait_with_output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(archive.run("0/2", &[]).status.success());
    archive.all_labels();
}

/// What any process of an archive reads, none writes.
#[test]
fn nothing_that_is_read_is_written() {
    let archive = Archive::new(3);
    let before = files(archive.folder.path());
    let [inputs, list] = [archive.folder.path().to_owned(), archive.path("list")];
    let refused = |lines: &str, more: &[&str]| {
        fs::write(archive.path("other"), lines.replace('@', text(&inputs))).unwrap();
        let other = archive.path("other");
        let fixed = ["segment", "--accept-any", "--list", text(&other), "-o", text(&inputs)];
        let ran = monet(&[&fixed[..], more].concat());
        assert_eq!(ran.status.code(), Some(1), "{lines} {more:?}: {}", stderr(&ran));
        assert!(stderr(&ran).contains("is the input"), "{}", stderr(&ran));
        fs::remove_file(other).unwrap();
        assert_eq!(files(&inputs), before, "{lines} {more:?}");
    };
    // An input of another share, and one whose own line is refused.
    refused("@/0.nii\t1.nii\n@/1.nii\tout.nii\n", &["--shard", "0/2", "--force"]);
    refused("@/0.nii\t1.nii\n@/1.nii\tlist/out.nii\n", &["--force"]);
    // An input is nobody's labels.
    refused("@/0.nii\n", &["--skip-done"]);
    refused("@/0.nii\tother\n", &["--force"]);
    refused("@/0.nii\tlabels.nii\n", &["--force", "--stats", text(&archive.path("other"))]);
    let same = ["segment", "--list", text(&list), "-o", text(&inputs), "--force", "--label-table"];
    let ran = monet(&[&same[..], &[text(&list)]].concat());
    assert!(stderr(&ran).contains("is the input"), "{}", stderr(&ran));
}

/// Two processes are given the same share, as when a scheduler thinks that one has died.
#[test]
fn processes_with_one_share_do_each_volume_once() {
    let archive = Archive::new(24);
    for child in [archive.start("0/1"), archive.start("0/1")] {
        let ran = child.wait_with_output().unwrap();
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    archive.all_labels();
}

#[test]
fn killed_shares_go_on_where_they_were() {
    let archive = Archive::new(30);
    let whole = Archive::new(30);
    assert!(whole.run("0/1", &["--quiet"]).status.success());
    let mut random = Random(11);
    for _ in 0..12 {
        let mut children = ["0/3", "1/3", "2/3"].map(|shard| archive.start(shard));
        thread::sleep(Duration::from_millis(20 + random.below(60) as u64));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    for shard in ["0/3", "1/3", "2/3"] {
        let ran = archive.run(shard, &["--skip-done"]);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    assert_eq!(archive.all_labels(), whole.all_labels());
}

#[test]
fn a_list_that_is_none_is_refused_before_anything_is_done() {
    let archive = Archive::new(2);
    for (list, told) in [
        ("0.nii\tx\ty\n", "line 1: expected INPUT"),
        ("0.nii\n../x\t../../y.nii\n", "line 2: ../../y.nii: expected an output below -o"),
    ] {
        fs::write(archive.path("list"), list).unwrap();
        let ran = archive.run("0/1", &[]);
        assert!(!ran.status.success() && stderr(&ran).contains(told), "{}", stderr(&ran));
        assert!(files(&archive.path("masks")).is_empty());
    }
    let missing = monet(&["segment", "--list", "/nowhere/list", "-o", text(archive.folder.path())]);
    assert!(stderr(&missing).contains("the list cannot be read"), "{}", stderr(&missing));
}

/// A volume that fails costs its own labels, and is tried again by the next run.
#[test]
fn what_fails_is_told_and_tried_again() {
    let archive = Archive::new(4);
    let good = fs::read(archive.path("1.nii")).unwrap();
    fs::write(archive.path("1.nii"), "no volume").unwrap();
    let ran = archive.run("0/1", &["--skip-done"]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    fs::write(archive.path("1.nii"), good).unwrap();
    let ran = archive.run("0/1", &["--skip-done"]);
    assert!(ran.status.success() && stderr(&ran).contains("3 volumes"), "{}", stderr(&ran));
    archive.all_labels();
}
