//! What the box says of itself: why something waits, what is gone, what is refused.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use monet_dimse::{Policy, Status};
use monet_testing::text;
use serde_json::Value;

use super::{Peer, RULE, Running, destination, free_port, study};
use crate::monet;

const SEG: &str = "1.2.840.10008.5.1.4.1.1.66.4";

/// A peer that takes what the policy takes, and answers each store with that status.
fn peer(policy: fn() -> Policy, status: Status) -> Peer {
    Peer::answering(TcpListener::bind("127.0.0.1:0").unwrap(), policy, status)
}

fn name(path: &std::path::Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn why_results_wait_is_told_and_what_waits_for_a_removed_destination_can_be_dropped() {
    let (living, port) = (Peer::new(), free_port());
    let dead = destination("dead", free_port());
    let page = format!("[page]\naddress = \"127.0.0.1:{port}\"\n");
    let retry = "[retry]\nfirst_s = 3600\n";
    let mut running = Running::new(&format!("{RULE}{}{dead}{retry}{page}", living.table("pacs")));
    running.send(&study("1.2.3", 4));
    let outgoing = running.until_stage("outgoing", 1);
    let study = name(&outgoing[0]).to_owned();
    let said =
        |running: &Running, args: &[&str]| String::from_utf8(running.queue(args).stdout).unwrap();
    running
        .until("the wait", || said(&running, &["show", &study]).contains("tried 1").then_some(()));
    let shown = said(&running, &["show", &study]);
    let parts = ["dead: tried 1 times, last at 20", "again at 20", "Connection refused"];
    assert!(parts.iter().all(|part| shown.contains(part)), "{shown}");
    assert!(said(&running, &["list"]).contains("dead cannot be reached, 1 studies wait for it"));
    let get = |path: &str| running.get(port, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(get("/").contains("1 studies wait for dead, which could not be reached"));
    assert!(get(&format!("/study/{study}")).contains("Waits: dead: tried 1 times"));
    let metrics = get("/metrics");
    for line in [
        "monet_deliveries_waiting{to=\"dead\"} 1\n",
        "monet_deliveries_waiting{to=\"pacs\"} 0\n",
        "monet_destination_failures{to=\"dead\"} 1\n",
        "monet_destination_known{to=\"dead\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // Its owner drops the dead peer from the configuration.
    let config = fs::read_to_string(running.path("box.toml")).unwrap().replace(&dead, "");
    fs::write(running.path("box.toml"), config).unwrap();
    running.stop();
    running.start_again();
    let gone = "dead: not in the configuration any more";
    running.until("the log", || running.log().contains(gone).then_some(()));
    assert!(said(&running, &["show", &study]).contains("`monet queue drop dead`"));
    let doctor = monet(&["doctor", text(&running.path("box.toml"))]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(gone));
    let refused = running.queue(&["drop", "pacs"]);
    assert!(monet_testing::stderr(&refused).contains("pacs is in the configuration"));
    let dropped = said(&running, &["drop", "dead"]);
    assert_eq!(dropped, "dead: deliveries of 1 studies dropped\n");
    running.until_stage("done", 1);
    assert!(said(&running, &["show", &study]).contains("dropped  dead"));
}

#[test]
fn a_clock_that_jumps_ends_no_retry() {
    let dead = destination("dead", free_port());
    let mut running = Running::new(&format!("{RULE}{dead}[retry]\nfirst_s = 1\nlongest_s = 1\n"));
    running.send(&study("1.2.3", 3));
    let outgoing = running.until_stage("outgoing", 1);
    // As a service leaves it whose clock stands at 1970 and is set right later.
    running.stop();
    let path = outgoing[0].join("case.json");
    let mut case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for field in ["first_s", "complete_s"] {
        case[field] = 7.into();
    }
    fs::write(&path, case.to_string()).unwrap();
    let before = running.log().matches("not delivered").count();
    running.start_again();
    running.until("retries", || {
        (running.log().matches("not delivered").count() >= before + 3).then_some(())
    });
    assert!(!running.log().contains("given up"), "{}", running.log());
    assert_eq!(running.stage("outgoing").len(), 1);
}

#[test]
fn days_of_retry_are_those_in_which_it_was_tried() {
    let dead = destination("dead", free_port());
    let mut running = Running::new(&format!("{RULE}{dead}[retry]\nfirst_s = 1\nlongest_s = 1\n"));
    running.send(&study("1.2.3", 3));
    running.until_stage("outgoing", 1);
    running.until("a try", || running.log().contains("not delivered").then_some(()));
    running.stop();
    // A week and a day of tries behind it.
    fs::write(running.path("data/ran-seconds"), "700000\n").unwrap();
    running.start_again();
    let failed = running.until_stage("failed", 1);
    let reason = fs::read_to_string(failed[0].join("reason.txt")).unwrap();
    assert!(reason.contains("not delivered to dead: "), "{reason}");
}

#[test]
fn a_class_that_a_destination_refuses_is_named_and_keeps_nothing_else_back() {
    let captures = || Policy { classes: Box::new(|class| class != SEG), ..Policy::default() };
    let peer = peer(captures, Status::SUCCESS);
    let running = Running::new(&format!("{RULE}{}[retry]\ndays = 0\n", peer.table("pacs")));
    running.send(&study("1.2.3", 4));
    let failed = running.until_stage("failed", 1);
    let reason = fs::read_to_string(failed[0].join("reason.txt")).unwrap();
    let named = format!("no context for SOP class {SEG} in transfer syntax 1.2.840.10008.1.2.1");
    assert!(reason.contains(&named), "{reason}");
    assert_eq!(peer.got.lock().unwrap().len(), 1, "the capture");
}

#[test]
fn a_destination_that_takes_nothing_is_told_what_was_proposed() {
    let nothing = || Policy { classes: Box::new(|_| false), ..Policy::default() };
    let peer = peer(nothing, Status::SUCCESS);
    let running = Running::new(&format!("{RULE}{}[retry]\ndays = 0\n", peer.table("pacs")));
    running.send(&study("1.2.3", 4));
    let failed = running.until_stage("failed", 1);
    let reason = fs::read_to_string(failed[0].join("reason.txt")).unwrap();
    assert!(reason.contains(&format!("SOP class {SEG} in ")), "{reason}");
}

#[test]
fn a_warning_is_logged_and_counts_as_delivered() {
    let peer = peer(Policy::default, Status(0xb000));
    let running = Running::new(&format!("{RULE}{}", peer.table("pacs")));
    running.send(&study("1.2.3", 4));
    running.until_stage("done", 1);
    let log = running.log();
    assert!(log.contains("delivered with a warning"), "{log}");
    assert!(log.contains("status=\"B000 (coercion of data elements)\""), "{log}");
}

#[test]
fn one_address_has_so_many_associations() {
    let running = Running::with("per_address = 2\n", RULE);
    // The connection that was looked for the listener with is gone.
    thread::sleep(Duration::from_millis(300));
    let two = ["CT1", "MR1"].map(|title| running.associate(title, "MONET").unwrap());
    let error = running.associate("MR1", "MONET").unwrap_err().to_string();
    assert!(error.contains("local limit"), "{error}");
    for association in two {
        association.release().unwrap();
    }
}

#[test]
fn what_of_a_configuration_may_not_work_is_said_at_the_start() {
    let to_folder = "[[destination]]\nname = \"share\"\nfolder = \"nowhere\"\n";
    let rule = "[[rule]]\npackage = \"missing.plan\"\n";
    let running = Running::new(&format!("{rule}{to_folder}"));
    let log = running.log();
    for part in ["destination share, folder ", "rule 1, package ", "missing.plan"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[test]
fn wrong_passwords_are_slowed() {
    let port = free_port();
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    let page =
        format!("[page]\naddress = \"127.0.0.1:{port}\"\npassword_file = \"{}\"\n", text(&secret));
    let running = Running::new(&format!("{RULE}{page}"));
    let get = |password: &str| {
        let head = format!("GET / HTTP/1.1\r\nAuthorization: Basic {password}\r\n\r\n");
        running.get(port, &head)
    };
    let answers: Vec<String> = (0..8).map(|_| get("bW9uZXQ6d3Jvbmc=")).collect();
    assert!(answers[0].starts_with("HTTP/1.1 401"));
    assert!(answers[7].starts_with("HTTP/1.1 429"), "{}", answers[7]);
    assert!(get("bW9uZXQ6czNjcmV0").starts_with("HTTP/1.1 429"), "the right one, too soon");
    running.until("the wait's end", || {
        get("bW9uZXQ6czNjcmV0").starts_with("HTTP/1.1 200").then_some(())
    });
}
