//! Boards without an operating system, as the commands plan for them: what they have room for, and
//! what is predicted.

#[cfg(feature = "desk")]
use std::fs;

use monet::core::Kernel;
use monet::package::{Net, Package};
use monet_testing::{stderr, text};

use crate::monet;

/// `compile --for cortex-m7` with these arguments, and the file that it writes.
fn compile(more: &[&str]) -> (std::process::Output, Option<Package>) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("net.image");
    let args = ["compile", "--for", "cortex-m7", "-o", text(&image)];
    let ran = monet(&[&args[..], more].concat());
    let package = image.exists().then(|| Package::load(&image).unwrap());
    (ran, package)
}

#[test]
fn a_board_gets_a_plan_for_its_kernel_and_is_told_what_that_takes() {
    let (ran, package) = compile(&[]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let Net::Image(image) = package.expect("a plan").net else { panic!("no image") };
    assert_eq!(image.kernel(), Kernel::CortexMDsp);
    let told = String::from_utf8(ran.stdout).unwrap();
    let plan = format!("plan {}", image.bytes().len());
    assert!(told.contains(&plan) && told.contains("of 2048 kB"), "{told}");
    let arena = format!("arena {}", image.arena_len());
    assert!(told.contains(&arena) && told.contains("of 512 kB"), "{told}");
}

#[test]
fn what_does_not_fit_is_refused_with_the_largest_size_that_does() {
    let (ran, package) = compile(&["--size", "192x192"]);
    let message = stderr(&ran);
    assert_eq!(ran.status.code(), Some(1), "{message}");
    assert!(package.is_none(), "nothing is written");
    assert!(message.contains("has no room for 192x192"), "{message}");
    let (_, size) = message.trim_end().rsplit_once("--size ").expect("the size that would fit");
    let (ran, package) = compile(&["--size", size]);
    assert!(ran.status.success() && package.is_some(), "{size}: {}", stderr(&ran));
}

#[test]
fn who_is_neither_kernel_nor_board_is_told_both_lists() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("net.image");
    let ran = monet(&["compile", "--for", "toaster", "-o", text(&image)]);
    let message = stderr(&ran);
    assert_eq!(ran.status.code(), Some(2), "{message}");
    assert!(message.contains("cortex-m-dsp"), "{message}");
}

#[test]
fn a_board_file_with_a_fault_is_told_by_its_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (image, board) = (folder.path().join("net.image"), folder.path().join("board.toml"));
    let refusal = || stderr(&monet(&["compile", "--for", text(&board), "-o", text(&image)]));
    assert!(
        refusal().contains("board.toml") && refusal().contains("No such file"),
        "{}",
        refusal()
    );
    std::fs::write(&board, "name = \"mine\"\nram_kb = \n").unwrap();
    assert!(refusal().contains("board.toml") && refusal().contains("line 2"), "{}", refusal());
}

#[test]
fn a_board_is_inspected_without_being_there() {
    let ran = monet(&["inspect", "--target", "cortex-m55"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(told.contains("fits: cortex-m55") && told.contains("int8 cortex-m-mve"), "{told}");
    let ran = monet(&["inspect", "--target", "cortex-m7", "--size", "256x256"]);
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success() && told.contains("DOES NOT FIT: cortex-m7"), "{told}");
    // Of a board with an operating system nobody counts the memory, so that nothing is claimed.
    let ran = monet(&["inspect", "--target", "raspberry-pi-4"]);
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success() && told.contains("board    raspberry-pi-4"), "{told}");
    let ran = monet(&["inspect", "--target", "raspberry-pi-4", "--json"]);
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success() && told.contains("\"fits\": null"), "{told}");
}

#[test]
fn nobody_measures_on_a_board_that_runs_no_command() {
    let ran = monet(&["profile", "--target", "cortex-m7"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("--predict"), "{}", stderr(&ran));
}

/// The instructions of a slice are those that the emulator counts, see
/// `targets/bare-metal/README.md`.
#[cfg(feature = "desk")]
#[test]
fn instructions_and_room_are_predicted_and_held_against_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    for (board, millions) in [("cortex-m7", 190.9), ("cortex-m55", 36.3)] {
        let json = folder.path().join(board);
        let ran = monet(&["profile", "--target", board, "--predict", "--json", text(&json)]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let text = fs::read_to_string(&json).unwrap();
        let profile = monet::profile::Profile::parse(&text, board).unwrap();
        let told = profile.prediction.and_then(|p| p.instructions).expect("they are counted");
        assert!((told / 1e6 / millions - 1.0).abs() < 0.02, "{board}: {told}");
        assert!(profile.room.is_some_and(|room| room.arena == profile.arena_bytes as u64));
        let verdict = profile.verdict.expect("a budget");
        let checks: Vec<&str> = verdict.checks.iter().map(|check| check.what.as_str()).collect();
        assert!(checks.contains(&"firmware.ram_kb") && checks.contains(&"firmware.flash_kb"));
    }
}
