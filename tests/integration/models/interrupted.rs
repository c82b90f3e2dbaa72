//! Installs that end at any moment, by a kill or by a call that fails: what was current is so
//! still, or the new package is, whole; and the next install succeeds.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use monet_testing::{Random, skip, text};

use super::appliance::{Appliance, given};

/// A box with a package in each slot, so that an install replaces one of them.
fn ready() -> Appliance {
    let own = Appliance::new(&["maker.pub"]);
    own.install("tiny-2.plan");
    own.install("tiny-2b.plan");
    assert_eq!(own.current().as_deref(), Some("2.1"));
    own
}

/// After an install of version 1.0 over 2.0 and beside 2.1, whichever way it ended.
fn judge(own: &Appliance, what: &str, ended_well: bool) {
    let current = own.current().unwrap_or_else(|| panic!("{what}: nothing is current"));
    let expected: &[&str] = if ended_well { &["1.0"] } else { &["2.1", "1.0"] };
    assert!(expected.contains(&&*current), "{what}: {current}");
    own.good(&["install", text(&given("tiny-1.plan")), "--allow-older"]);
    assert_eq!(own.current().as_deref(), Some("1.0"), "{what}");
    own.good(&["verify"]);
    let left: Vec<_> = ["", "tiny", "tiny/a", "tiny/b", ".new"]
        .iter()
        .flat_map(|folder| fs::read_dir(own.stored(folder)).unwrap())
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with(".monet-"))
        .collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

/// The store as [`ready`] leaves it, quickly.
struct Again {
    own: Appliance,
    kept: PathBuf,
}

impl Again {
    fn new() -> Self {
        let own = ready();
        let kept = own.at("kept");
        fs::rename(own.at("store"), &kept).unwrap();
        Self { own, kept }
    }

    fn begin(&self) {
        let _ = fs::remove_dir_all(self.own.at("store"));
        copy_folder(&self.kept, &self.own.at("store"));
    }

    fn install(&self) -> Command {
        let mut command =
            self.own.command(&["install", text(&given("tiny-1.plan")), "--allow-older"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn killed_at_any_moment_an_install_leaves_a_package_that_runs() {
    let again = Again::new();
    again.begin();
    let clock = Instant::now();
    assert!(again.install().status().unwrap().success());
    let whole = clock.elapsed();
    let mut random = Random(19);
    for i in 0..60 {
        again.begin();
        let mut child = again.install().spawn().unwrap();
        std::thread::sleep(whole.mul_f32(1.1 * random.unit()));
        let _ = child.kill();
        let ended_well = child.wait().unwrap().success();
        judge(&again.own, &format!("kill {i}"), ended_well);
    }
}

/// Every call that changes the disk fails once, and is once where the process is killed.
#[test]
fn whatever_call_fails_or_is_the_last_a_package_runs() {
    let again = Again::new();
    let inject = again.own.at("inject");
    let source = monet_testing::root().join("tools/faults/inject.c");
    let compiled = Command::new("cc").arg("-o").arg(&inject).arg(source).output();
    if !compiled.is_ok_and(|cc| cc.status.success()) {
        return skip("needs a C compiler and the kernel's headers");
    }
    let count = again.own.at("count");
    // Exit code and number of the calls that were made.
    let injected = |calls: &str, at: usize, action: &str| {
        again.begin();
        let install = again.install();
        let ran = Command::new(&inject)
            .args([calls, &at.to_string(), action, text(&count)])
            .arg(install.get_program())
            .args(install.get_args())
            .output()
            .unwrap();
        let made = fs::read_to_string(&count).unwrap_or_default();
        (ran, made.trim().parse::<usize>().unwrap_or(0))
    };
    let tried = Command::new(&inject)
        .args(["fsync", "0", "0", text(&count), "/bin/true"])
        .status()
        .unwrap();
    if !tried.success() {
        return skip("needs seccomp_unotify");
    }
    let mut cases = 0;
    for (calls, errors) in [
        ("openat,open", &["13", "24"][..]),
        ("write,writev,pwrite64", &["28", "5"]),
        ("fsync,fdatasync", &["5"]),
        ("rename,renameat,renameat2", &["5", "28"]),
        ("link,linkat", &["5"]),
        ("unlink,unlinkat", &["5"]),
        ("mkdir,mkdirat", &["28"]),
        ("flock", &["4"]),
    ] {
        let (ran, made) = injected(calls, 0, "5");
        assert!(ran.status.success(), "{calls}: {}", monet_testing::stderr(&ran));
        for at in 1..=made {
            for action in errors.iter().chain(&["kill"]) {
                let (ran, _) = injected(calls, at, action);
                let what = format!("{calls} {at} of {made}: {action}");
                let said = monet_testing::stderr(&ran);
                assert!(matches!(ran.status.code(), Some(0 | 1 | 137)), "{what}: {said}");
                judge(&again.own, &what, ran.status.success());
                cases += 1;
            }
        }
    }
    println!("{cases} cases");
    assert!(cases > 60, "{cases} cases");
}

#[test]
fn installs_at_the_same_time_wait_for_one_another() {
    let own = ready();
    let packages = ["tiny-1.plan", "tiny-2.plan", "tiny-2b.plan"];
    let children: Vec<_> = (0..9)
        .map(|i| {
            let package = given(packages[i % packages.len()]);
            let mut command = own.command(&["install", text(&package), "--allow-older"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    // Whoever reads meanwhile always finds a whole package.
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        own.current().unwrap();
    }
    for child in children {
        let ran = child.wait_with_output().unwrap();
        assert!(ran.status.success(), "{}", monet_testing::stderr(&ran));
    }
    own.good(&["verify"]);
    assert_eq!(own.rows().len(), 2);
}
