//! The packages of the folder: how they are made, and that Debian's minisign agrees with them.

use std::fs;
use std::path::Path;
use std::process::Command;

use monet::core::{Size, encode};
use monet::engine::expected_labels;
use monet::package::{
    Colour, FitRule, Input, Label, Manifest, Net, Normalise, Output, Package, SelfTest, plan_file,
    sha256,
};
use monet::volume::Orientation;
use monet_testing::{nets, skip, stderr, text};

use super::appliance::{Appliance, given};

const SIZE: usize = 32;

/// A plan of a small net.
fn plan(version: &str, selftest: Option<SelfTest>) -> Vec<u8> {
    let net = encode(&nets::layer(1, 4, 1)).unwrap();
    let manifest = Manifest {
        format: 1,
        name: "tiny".into(),
        version: version.into(),
        task: "Nothing: a net for tests".into(),
        model: "tiny.onnx".into(),
        sha256: sha256(&net),
        orientation: Orientation::default(),
        input: Input {
            width: SIZE,
            height: SIZE,
            channels: 1,
            neighbours: 0,
            ceiling: 1024,
            step: 4,
        },
        accepts: None,
        normalise: Normalise::Window { low: 0.0, high: 1000.0 },
        fit: FitRule::Pad { spacing: [1.0, 1.0] },
        output: Output::Sigmoid { threshold: 0.5 },
        labels: vec![Label::new(1, "bright", Colour([255, 200, 0]))],
        data: None,
        metrics: vec![],
        selftest,
    };
    plan_file::seal(&manifest, &net)
}

/// What the net of all these plans has to give.
fn recorded(folder: &Path) -> SelfTest {
    let path = folder.join("plain.plan");
    fs::write(&path, plan("0", None)).unwrap();
    let package = Package::load(&path).unwrap();
    assert!(matches!(package.net, Net::Plan(_)));
    let size = Size { height: SIZE, width: SIZE };
    SelfTest { sha256: expected_labels(&package, size).unwrap() }
}

fn minisign(args: &[&str]) -> Option<String> {
    let ran = Command::new("minisign").args(args).output().ok()?;
    assert!(ran.status.success(), "{args:?}: {}", stderr(&ran));
    Some(String::from_utf8_lossy(&ran.stdout).into_owned())
}

fn sign(key: &Path, package: &Path, signature: &Path, comment: &str) -> Option<String> {
    let [key, package, signature] = [key, package, signature].map(text);
    minisign(&["-S", "-s", key, "-m", package, "-x", signature, "-t", comment, "-c", "for tests"])
}

/// Makes the folder's packages, keys and signatures.
#[test]
#[ignore = "changes files of the repository"]
fn make_the_packages() {
    let scratch = tempfile::tempdir().unwrap();
    let good = recorded(scratch.path());
    let wrong = SelfTest { sha256: "0".repeat(64) };
    // Nobody needs the secret keys afterwards.
    let secret = |key: &str| scratch.path().join(key);
    for key in ["maker", "next", "stranger"] {
        let (public, secret) = (given(&format!("{key}.pub")), secret(key));
        minisign(&["-G", "-W", "-f", "-p", text(&public), "-s", text(&secret)]).unwrap();
    }
    for (name, version, selftest, key, serial) in [
        ("tiny-1.plan", "1.0", Some(&good), "maker", 1),
        ("tiny-2.plan", "2.0", Some(&good), "maker", 2),
        ("tiny-2b.plan", "2.1", Some(&good), "maker", 2),
        ("tiny-3.plan", "3.0", None, "next", 3),
        ("tiny-4-wrong.plan", "4.0", Some(&wrong), "maker", 4),
    ] {
        fs::write(given(name), plan(version, selftest.cloned())).unwrap();
        let comment = format!("monet name=tiny version={version} serial={serial}");
        let signature = given(&format!("{name}.minisig"));
        sign(&secret(key), &given(name), &signature, &comment).unwrap();
    }
    let good = "monet name=tiny version=2.0 serial=2";
    for (what, key, comment, more) in [
        ("by-stranger", "stranger", good, None),
        ("legacy", "maker", good, Some("-l")),
        ("other-name", "maker", "monet name=liver version=2.0 serial=2", None),
        ("other-version", "maker", "monet name=tiny version=2.1 serial=2", None),
        ("no-serial", "maker", "monet name=tiny version=2.0", None),
    ] {
        let (key, signature) = (secret(key), given(&format!("{what}.minisig")));
        let plan = given("tiny-2.plan");
        let args = ["-S", "-s", text(&key), "-m", text(&plan), "-x", text(&signature)];
        let more = ["-t", comment, "-c", "for tests"].into_iter().chain(more);
        minisign(&args.into_iter().chain(more).collect::<Vec<_>>()).unwrap();
    }
}

/// The packages are what this version makes, so that the tests are about its format.
#[test]
fn the_packages_are_what_is_made_today() {
    let scratch = tempfile::tempdir().unwrap();
    let good = recorded(scratch.path());
    assert!(fs::read(given("tiny-1.plan")).unwrap() == plan("1.0", Some(good)));
    assert!(fs::read(given("tiny-3.plan")).unwrap() == plan("3.0", None));
}

#[test]
fn what_debians_minisign_signs_is_taken_and_what_is_taken_it_verifies() {
    if Command::new("minisign").arg("-v").output().is_err() {
        return skip("no minisign on this machine");
    }
    let own = Appliance::new(&["maker.pub"]);
    let [public, secret] = ["keys/own.pub", "own.key"].map(|name| own.at(name));
    minisign(&["-G", "-W", "-p", text(&public), "-s", text(&secret)]).unwrap();
    let package = own.at("tiny.plan");
    fs::write(&package, plan("9.9-rc1+b", None)).unwrap();
    let signature = own.at("tiny.plan.minisig");
    sign(&secret, &package, &signature, "monet name=tiny version=9.9-rc1+b serial=90").unwrap();
    let said = own.good(&["install", text(&package)]);
    assert!(said.contains("serial 90, signed by own.pub"), "{said}");
    let [installed, beside] =
        ["package.plan", "package.minisig"].map(|name| own.stored("tiny/a").join(name));
    let [installed, beside, key] = [&installed, &beside, &public].map(|path| text(path));
    let said = minisign(&["-V", "-p", key, "-m", installed, "-x", beside]).unwrap();
    assert!(said.contains("monet name=tiny version=9.9-rc1+b serial=90"), "{said}");
}
