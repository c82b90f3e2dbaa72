//! What is refused: each leaves what was current, says what was found and what to do, and exits
//! with code 1.

use std::fs;
use std::path::Path;

use monet_testing::{stderr, text};

use super::appliance::{Appliance, copied, given};

/// Installs with another signature than the package's own.
fn signed_by<'a>(package: &'a str, signature: &'a Path) -> [&'a str; 4] {
    ["install", package, "--signature", text(signature)]
}

#[test]
fn a_signature_that_does_not_hold_installs_nothing() {
    let own = Appliance::new(&["maker.pub"]);
    own.install("tiny-1.plan");
    let package = given("tiny-2.plan");
    for (signature, said) in [
        (
            "by-stranger.minisig",
            &["signed by the key ", "maker.pub", "put the maker's .pub file"][..],
        ),
        ("legacy.minisig", &["legacy signature", "without -l"]),
        ("other-name.minisig", &["signed as liver 2.0", "manifest says tiny 2.0"]),
        ("other-version.minisig", &["signed as tiny 2.1", "manifest says tiny 2.0"]),
        ("no-serial.minisig", &["trusted comment is", "serial=NUMBER", "minisign -S -t"]),
        ("absent.minisig", &["there is no signature", "--unsigned"]),
        ("maker.pub", &["no signature in minisign's format"]),
        ("tiny-1.plan.minisig", &["the signature is not this file's"]),
    ] {
        let signature = given(signature);
        let message = own.bad(&signed_by(text(&package), &signature));
        said.iter().for_each(|part| assert!(message.contains(part), "{signature:?}: {message}"));
        assert_eq!(own.current().as_deref(), Some("1.0"), "{signature:?}");
    }
    assert_eq!(own.rows().len(), 1, "the other slot is empty still");
    assert_eq!(fs::read_dir(own.stored(".new")).unwrap().count(), 0);
}

#[test]
fn a_box_without_keys_says_so() {
    let own = Appliance::new(&[]);
    fs::write(own.keys().join("bad.pub"), "no key").unwrap();
    let message = own.bad(&["install", text(&given("tiny-1.plan"))]);
    assert!(message.contains("bad.pub: is no key of minisign's"), "{message}");
    assert!(message.contains("has no key"), "{message}");
    assert!(!own.stored("tiny").exists());
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let own = Appliance::new(&["maker.pub"]);
    let (package, signature) = copied("tiny-2.plan", &own.at(""));
    let whole = fs::read(&package).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 16).chain([whole.len() - 1]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&package, damaged).unwrap();
        own.bad(&["install", text(&package)]);
    }
    for changed in [whole[..whole.len() - 1].to_vec(), [&whole[..], b"\n"].concat()] {
        fs::write(&package, changed).unwrap();
        let message = own.bad(&["install", text(&package)]);
        assert!(message.contains("the signature is not this file's"), "{message}");
    }
    fs::write(&package, &whole).unwrap();
    let signed = fs::read_to_string(&signature).unwrap();
    let mut second = signed.trim_end().to_owned();
    let letter = second.len() - 8;
    let other = if second.as_bytes()[letter] == b'A' { "B" } else { "A" };
    second.replace_range(letter..=letter, other);
    for changed in [signed.replace("serial=2", "serial=9"), second] {
        assert_ne!(changed, signed);
        fs::write(&signature, changed).unwrap();
        let message = own.bad(&["install", text(&package)]);
        assert!(message.contains("its trusted comment was changed"), "{message}");
    }
    assert_eq!(own.current(), None);
    fs::write(&signature, signed).unwrap();
    own.good(&["install", text(&package)]);
}

#[test]
fn a_lower_serial_is_refused_unless_it_is_allowed_and_an_equal_one_is_not() {
    let own = Appliance::new(&["maker.pub"]);
    own.install("tiny-2.plan");
    let older = given("tiny-1.plan");
    let message = own.bad(&["install", text(&older)]);
    assert!(message.contains("serial 1 is below 2"), "{message}");
    assert!(message.contains("--allow-older"), "{message}");
    own.install("tiny-2b.plan");
    assert_eq!(own.current().as_deref(), Some("2.1"));
    let ran = own.model(&["install", text(&older), "--allow-older"]);
    assert!(ran.status.success() && stderr(&ran).contains("serial 1, below 2"), "{}", stderr(&ran));
    assert_eq!(own.current().as_deref(), Some("1.0"));
    assert_eq!(own.rows()[0]["floor"], 2, "the floor is never lowered");
    own.good(&["remove", "tiny"]);
    assert_eq!(own.current(), None);
    assert!(own.bad(&["install", text(&older)]).contains("serial 1 is below 2"));
}

#[test]
fn an_unsigned_package_needs_a_switch_and_an_open_box() {
    let own = Appliance::new(&["maker.pub"]);
    let (package, signature) = copied("tiny-1.plan", &own.at(""));
    fs::remove_file(signature).unwrap();
    assert!(own.bad(&["install", text(&package)]).contains("--unsigned"));
    let ran = own.model(&["install", text(&package), "--unsigned"]);
    assert!(
        ran.status.success() && stderr(&ran).contains("without a signature"),
        "{}",
        stderr(&ran)
    );
    assert_eq!(own.rows()[0]["serial"], serde_json::Value::Null);
    own.good(&["verify"]);
    own.lock();
    let message = own.bad(&["install", text(&given("tiny-2.plan")), "--unsigned"]);
    assert!(message.contains("this box is locked"), "{message}");
    // What was installed before the box was locked does not run, either.
    assert!(own.bad(&["path", "tiny"]).contains("this box is locked"));
    assert_eq!(own.model(&["verify"]).status.code(), Some(1));
    own.install("tiny-1.plan");
    own.good(&["verify", "tiny"]);
    assert!(own.bad(&["rollback", "tiny"]).contains("this box is locked"));
    assert_eq!(own.current().as_deref(), Some("1.0"));
}

#[test]
fn a_locked_box_notices_what_was_changed_on_its_disk() {
    let own = Appliance::new(&["maker.pub"]);
    own.lock();
    own.install("tiny-1.plan");
    let (file, record) = (own.stored("tiny/a/package.plan"), own.stored("tiny/a/slot.toml"));
    let (whole, recorded) = (fs::read(&file).unwrap(), fs::read_to_string(&record).unwrap());
    // Another package whose hash is in the record, but whose signature is not there.
    let other = fs::read(given("tiny-2.plan")).unwrap();
    let hash = monet::package::sha256;
    fs::write(&file, &other).unwrap();
    fs::write(&record, recorded.replace(&hash(&whole), &hash(&other))).unwrap();
    assert!(own.bad(&["path", "tiny"]).contains("the signature is not this file's"));
    // A record that claims another serial than what was signed.
    fs::write(&file, &whole).unwrap();
    fs::write(&record, recorded.replace("serial = 1", "serial = 9")).unwrap();
    assert!(own.bad(&["path", "tiny"]).contains("somebody has changed the record"));
    fs::write(&record, &recorded).unwrap();
    own.good(&["path", "tiny"]);
}

#[test]
fn a_failed_self_test_leaves_what_was_current_and_the_slot_beside_it() {
    let own = Appliance::new(&["maker.pub"]);
    own.install("tiny-1.plan");
    own.install("tiny-2.plan");
    let before = own.rows();
    let message = own.bad(&["install", text(&given("tiny-4-wrong.plan"))]);
    assert!(message.contains("tiny 4.0: the self-test failed"), "{message}");
    assert!(message.contains(&"0".repeat(64)) && message.contains("monet doctor"), "{message}");
    assert_eq!(own.rows(), before, "the floor, too, is what it was");
    own.good(&["rollback", "tiny"]);
    assert_eq!(own.current().as_deref(), Some("1.0"));
}

#[cfg(unix)]
#[test]
fn root_is_refused_in_another_users_store() {
    use std::os::unix::fs::chown;
    let own = Appliance::new(&["maker.pub"]);
    own.install("tiny-1.plan");
    if chown(own.stored(""), Some(1234), None).is_err() {
        return monet_testing::skip("not run by root");
    }
    for args in [&["install", text(&given("tiny-2.plan"))][..], &["remove", "tiny"]] {
        let message = own.bad(args);
        assert!(message.contains("sudo -u '#1234'"), "{message}");
    }
    // Looking needs no right.
    own.good(&["list"]);
    own.good(&["path", "tiny"]);
}

#[test]
fn what_is_no_package_or_has_no_name_is_refused() {
    let own = Appliance::new(&["maker.pub"]);
    for (package, said) in [
        (text(&given("maker.pub")), "neither a model manifest nor a plan"),
        (text(&own.at("")), "cannot be read"),
        (text(&own.at("absent")), "cannot be read"),
    ] {
        let message = own.bad(&["install", package, "--unsigned"]);
        assert!(message.contains(said), "{package}: {message}");
    }
    for name in ["..", ".new", "a/b", "", "lock", "liver"] {
        for command in [&["path", name][..], &["use", name, "a"], &["rollback", name]] {
            own.bad(command);
        }
        own.bad(&["remove", name]);
    }
    assert_eq!(own.good(&["list", "--json"]).trim(), "[]");
}
