//! Faults at system calls and kills, in short: `tools/faults/faults.py` without `--short` visits
//! every call.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use monet::package::Normalise;
use monet_testing::{nifti::Nifti, package, skip, stderr, text};

use crate::MONET;

#[test]
fn whatever_call_fails_outputs_are_whole_and_of_one_set() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/faults");
    let folder = tempfile::tempdir().unwrap();
    let inject = folder.path().join("inject");
    let compiled = Command::new("cc").arg("-o").arg(&inject).arg(tools.join("inject.c")).output();
    if !compiled.is_ok_and(|cc| cc.status.success()) {
        return skip("needs a C compiler and the kernel's headers");
    }
    let count = folder.path().join("count");
    let tried =
        Command::new(inject).args(["fsync", "0", "0", text(&count), "/bin/true"]).output().unwrap();
    if !tried.status.success() {
        return skip(&format!("needs seccomp_unotify: {}", stderr(&tried)));
    }
    let package =
        package::threshold_package(folder.path(), 1, Normalise::Window { low: 0.0, high: 1000.0 });
    let input = Nifti::blob([24, 28, 18]).write(&folder.path().join("in.nii.gz"));
    let Ok(ran) = Command::new("python3")
        .arg(tools.join("faults.py"))
        .args([MONET, "--short", "--kills", "40", "--slack", "9", "--input", text(&input)])
        .arg("--more")
        .arg(format!("--threads 2 --model {}", text(&package)))
        .output()
    else {
        return skip("needs python3");
    };
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    assert!(ran.status.success() && said.contains(" 0 SHORT"), "{said}{}", stderr(&ran));
}
