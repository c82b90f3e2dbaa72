//! What a person does with installed packages: looks, goes back, goes on, changes keys.

use std::fs;

use monet_testing::{stderr, text};

use super::appliance::{Appliance, given};

#[test]
fn an_installed_package_is_current_and_told() {
    let own = Appliance::new(&["maker.pub"]);
    let said = own.install("tiny-1.plan");
    assert!(
        said.contains("tiny 1.0 (serial 1, signed by maker.pub): current, in slot a"),
        "{said}"
    );
    assert!(said.contains("labels as the maker recorded them"), "{said}");
    let path = own.good(&["path", "tiny"]);
    let inspected = crate::monet(&["inspect", path.trim_end()]);
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    let said = own.install("tiny-2.plan");
    assert!(said.contains("in slot b") && said.contains("1.0 stays in slot a"), "{said}");
    let rows = own.rows();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row["slot"].as_str().unwrap(), row["current"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [("a", false), ("b", true)]);
    assert_eq!(rows[1]["version"], "2.0");
    assert_eq!(rows[1]["key"], "maker.pub");
    assert_eq!(rows[1]["state"], "tested");
    assert_eq!(
        rows[1]["sha256"].as_str().unwrap(),
        monet::package::sha256(&fs::read(given("tiny-2.plan")).unwrap())
    );
    let list = own.good(&["list"]);
    assert!(list.contains("maker.pub") && list.contains("current"), "{list}");
    // Once more changes nothing, so that version 1.0 stays beside it.
    let said = own.install("tiny-2.plan");
    assert!(said.contains("was current before, nothing was done"), "{said}");
    assert_eq!(own.rows(), rows);
}

#[test]
fn rollback_and_use_switch_and_tell_what_is_below_the_floor() {
    let own = Appliance::new(&["maker.pub"]);
    own.install("tiny-1.plan");
    assert!(own.bad(&["rollback", "tiny"]).contains("slot b is empty"));
    own.install("tiny-2.plan");
    let ran = own.model(&["rollback", "tiny"]);
    assert!(ran.status.success() && stderr(&ran).contains("serial 1, below 2"), "{}", stderr(&ran));
    assert_eq!(own.current().as_deref(), Some("1.0"));
    own.good(&["use", "tiny", "2.0"]);
    assert_eq!(own.current().as_deref(), Some("2.0"));
    own.good(&["use", "tiny", "a"]);
    assert_eq!(own.current().as_deref(), Some("1.0"));
    let message = own.bad(&["use", "tiny", "7.0"]);
    assert!(message.contains("the slots have 1.0 and 2.0"), "{message}");
    // A version that went back goes on by an install, into the other slot.
    own.install("tiny-2b.plan");
    assert_eq!(own.rows()[1]["version"], "2.1");
}

#[test]
fn a_damaged_slot_is_told_and_not_switched_to() {
    let own = Appliance::new(&["maker.pub"]);
    own.install("tiny-1.plan");
    own.install("tiny-2.plan");
    let file = own.stored("tiny/a/package.plan");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(own.bad(&["rollback", "tiny"]).contains("install the package again"));
    let said = own.good(&["verify"]);
    assert!(said.contains("tiny a: NOT SOUND") && said.contains("b (current): sound"), "{said}");
    fs::write(own.stored("tiny/a/slot.toml"), "version = 1").unwrap();
    assert!(own.good(&["list"]).contains("damaged: "));
    assert!(own.rows()[0]["damaged"].is_string());
    fs::write(own.stored("tiny/current"), "c").unwrap();
    assert!(own.bad(&["path", "tiny"]).contains("expected a or b"));
    own.good(&["use", "tiny", "2.0"]);
    assert_eq!(own.current().as_deref(), Some("2.0"));
    own.install("tiny-2b.plan");
    assert_eq!(own.rows().len(), 2);
}

#[test]
fn keys_change_without_a_gap() {
    let own = Appliance::new(&["maker.pub"]);
    own.lock();
    own.install("tiny-1.plan");
    assert!(own.bad(&["install", text(&given("tiny-3.plan"))]).contains("signed by the key"));
    own.add_key("next.pub");
    own.install("tiny-3.plan");
    own.good(&["verify"]);
    fs::remove_file(own.keys().join("maker.pub")).unwrap();
    assert_eq!(own.current().as_deref(), Some("3.0"));
    // What the old key signed does not run any more.
    assert!(own.bad(&["rollback", "tiny"]).contains("signed by the key"));
    assert!(own.good(&["verify"]).contains("tiny a: NOT SOUND"));
}

#[test]
fn what_compile_records_is_what_the_box_compares_with() {
    let own = Appliance::new(&[]);
    let kernel = monet::core::Kernel::best().name();
    for (name, more) in [
        ("any.plan", &[][..]),
        ("small.image", &["--for", kernel]),
        ("large.image", &["--for", kernel, "--size", "64x96"]),
    ] {
        let file = own.at(name);
        let args = ["compile", "-o", text(&file), "--self-test"];
        let ran = crate::monet(&[&args[..], more].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
        let said = own.good(&["install", text(&file), "--unsigned"]);
        assert!(said.contains("labels as the maker recorded them"), "{name}: {said}");
    }
    // A net of another size gives other labels, so that none are recorded.
    let (plan, image) = (own.at("any.plan"), own.at("other.image"));
    let args = ["compile", text(&plan), "-o", text(&image), "--for", kernel, "--size", "64x96"];
    assert!(crate::monet(&args).status.success());
    let said = own.good(&["install", text(&image), "--unsigned"]);
    assert!(said.contains("the package records no labels"), "{said}");
}

#[cfg(feature = "tract")]
#[test]
fn an_onnx_package_is_installed_with_its_net() {
    let own = Appliance::new(&[]);
    let normalise = monet::package::Normalise::Window { low: 0.0, high: 1000.0 };
    let package = monet_testing::package::threshold_package(&own.at(""), 1, normalise);
    let said = own.good(&["install", text(&package), "--unsigned"]);
    assert!(said.contains("the package records no labels"), "{said}");
    let path = own.good(&["path", "threshold"]);
    let inspected = crate::monet(&["inspect", path.trim_end()]);
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    fs::write(own.stored("threshold/a/threshold.onnx"), "other").unwrap();
    assert_eq!(own.model(&["verify"]).status.code(), Some(1));
}
