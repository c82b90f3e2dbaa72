//! `monet profile` and `monet targets` as a user has them: the real binary, its files, its exit
//! codes, its errors.

use std::fs;
use std::path::Path;
use std::process::Command;

use monet::Size;
use monet::profile::Profile;
use monet_testing::{judges, skip, stderr, text};

use crate::{MONET, monet};

/// A profile of the embedded package, quickly measured.
fn measured(folder: &Path) -> Profile {
    let json = folder.join("measured.json");
    let output = monet(&["profile", "--runs", "3", "--json", text(&json)]);
    assert!(output.status.success(), "{}", stderr(&output));
    Profile::parse(&fs::read_to_string(&json).unwrap(), "measured.json").unwrap()
}

/// The `raspberry-pi-4` profile with changes, as a file of the user's own.
fn own_target(folder: &Path, from: &str, to: &str) -> String {
    let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/raspberry-pi-4.toml");
    let board = fs::read_to_string(board).unwrap();
    assert!(board.contains(from), "{from}");
    let path = folder.join("own.toml");
    fs::write(&path, board.replace(from, to)).unwrap();
    text(&path).to_owned()
}

/// Whether a page plots a value; a number read from JSON may differ from the one that was written
/// in its last bit.
fn plots(page: &str, value: f64) -> bool {
    let values = page
        .split("data-value=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
    values.into_iter().any(|v| (v - value).abs() <= 1e-12 * value.abs())
}

#[test]
fn a_measurement_tells_all_of_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let p = measured(folder.path());
    let l = p.latency_ms;
    assert!(
        0.0 < l.min && l.min <= l.median && l.median <= l.p95 && l.p95 <= l.p99 && l.p99 <= l.max
    );
    assert_eq!(p.histogram.counts.iter().sum::<u32>(), 3);
    assert!(p.start.is_some_and(|s| s.cold_ms > 0.0 && s.warm_ms > 0.0));
    assert!(p.overhead.is_some_and(|o| o.plain_ms > 0.0 && o.observed_ms > 0.0));
    assert_eq!(p.steps.iter().map(|s| s.macs).sum::<u64>(), p.macs);
    if cfg!(target_os = "linux") {
        assert!(p.pinned && p.peak_memory_bytes.is_some() && !p.bandwidth.is_empty());
    }
}

#[test]
fn a_budget_that_is_exceeded_is_told_by_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let ample = own_target(
        folder.path(),
        "slice_ms = 900\nvolume_s = 45",
        "slice_ms = 9e6\nvolume_s = 9e6",
    );
    let kept = monet(&["profile", "--runs", "2", "--target", &ample]);
    assert_eq!(kept.status.code(), Some(0), "{}", stderr(&kept));
    let tight = own_target(folder.path(), "slice_ms = 900", "slice_ms = 0.001");
    let exceeded = monet(&["profile", "--runs", "2", "--target", &tight]);
    assert_eq!(exceeded.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&exceeded.stdout).contains("EXCEEDED: budget.slice_ms"));
}

#[test]
fn a_prediction_is_labelled_everywhere_and_needs_no_such_machine() {
    let folder = tempfile::tempdir().unwrap();
    let [json, html] = ["p.json", "p.html"].map(|name| folder.path().join(name));
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bench/monet-256.int8.toml");
    let output = monet(&[
        "profile",
        text(&bench),
        "--target",
        "x86-64-v3",
        "--predict",
        "--volume-size",
        "512x512x300",
        "--json",
        text(&json),
        "--html",
        text(&html),
    ]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("PREDICTED"));
    let json = fs::read_to_string(&json).unwrap();
    assert!(json.contains("\"kind\": \"predicted\""));
    let p = Profile::parse(&json, "p.json").unwrap();
    assert_eq!((p.volume.slices, p.size), (300, Size::new(256, 256)));
    assert!(p.prediction.is_some_and(|q| q.error_percent >= 5.0
        && q.nearest_classes.is_empty()
        && q.nearest_percent == 0.0));
    assert!(fs::read_to_string(&html).unwrap().contains("predicted, not measured"));
}

/// The history of a step in all profiles of a folder: what is printed, and the page.
fn history(folder: &Path, step: &str) -> (String, String) {
    let html = folder.join("history.html");
    let args = ["--history", text(folder), "--step", step, "--html", text(&html), "--force"];
    let output = monet(&[&["profile"], &args[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    (String::from_utf8(output.stdout).unwrap(), fs::read_to_string(&html).unwrap())
}

#[test]
fn a_difference_is_told_step_by_step_and_over_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut p = measured(folder.path());
    let other = folder.path().join("other.json");
    p.steps[1].median_ms *= 2.0;
    p.unix_s += 86_400;
    fs::write(&other, monet::measure::json(&p)).unwrap();
    let first = folder.path().join("measured.json");
    let html = folder.path().join("page.html");
    let output = monet(&["profile", "--diff", text(&first), text(&other), "--html", text(&html)]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("+100.0 %"), "{}", stderr(&output));
    assert!(fs::read_to_string(&html).unwrap().contains("By class of steps"));
    let step = &p.steps[1].name;
    let (told, page) = history(folder.path(), step);
    assert_eq!(told.lines().count(), 3);
    assert!(plots(&page, p.steps[1].median_ms) && page.contains("class=\"curve\""));
    // Beside measurements a prediction stands apart: named, and joined to nothing.
    p.kind = monet::profile::Kind::Predicted;
    fs::write(&other, monet::measure::json(&p)).unwrap();
    let (_, page) = history(folder.path(), step);
    assert!(
        page.contains("<td class=\"left\">predicted, not measured")
            && !page.contains("class=\"curve\"")
    );
}

#[test]
fn bad_input_is_one_error_that_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    fails(
        &["profile", "--target", "toaster"],
        "no target is called \"toaster\"; known are armv7-cortex-a9",
    );
    fails(&["targets", "toaster"], "no target is called");
    fails(
        &["targets", "missing.toml"],
        "missing.toml: cannot be read: No such file or directory (os error 2)\n",
    );
    fails(
        &["profile", "--json", "-", "--csv", "-"],
        "- stands for standard output, which can take one of",
    );
    let own = |from, to| own_target(folder.path(), from, to);
    fails(&["profile", "--target", &own("clock_mhz = 1500\n", "")], "missing field `clock_mhz`");
    fails(
        &["profile", "--target", &own("volume_s = 45", "volume_s = 0")],
        "field `budget.volume_s` is 0",
    );
    fails(
        &["targets", &own("kernel = \"neon-winograd\"", "kernel = \"avx2\"")],
        "field `kernel` is \"avx2\"",
    );
    let old = folder.path().join("old.json");
    let mut p = measured(folder.path());
    p.format = 1;
    fs::write(&old, monet::measure::json(&p)).unwrap();
    let new = folder.path().join("measured.json");
    fails(&["profile", "--diff", text(&new), text(&old)], "field `format` is 1; expected 2");
    fs::write(&old, "{ \"format\": 2 }").unwrap();
    fails(&["profile", "--diff", text(&old), text(&new)], "missing field `kind`");
    fails(&["profile", "--history", text(folder.path())], "missing field `kind`");
    let usage =
        monet(&["profile", "--target", "x86-64-v3", "--predict", "--volume-size", "512x512"]);
    assert_eq!(usage.status.code(), Some(2));
    // Its width came first: nobody is to be answered for a volume that lies on its side.
    let renamed =
        monet(&["profile", "--target", "x86-64-v3", "--predict", "--volume", "512x384x300"]);
    assert_eq!(renamed.status.code(), Some(2));
    assert!(stderr(&renamed).contains("--volume-size HxWxN"), "{}", stderr(&renamed));
}

/// A command that must fail, print nothing, and say this.
fn fails(args: &[&str], wanted: &str) {
    let output = monet(args);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
    assert!(error.contains(wanted) && output.stdout.is_empty(), "{args:?}: {error}");
}

#[cfg(target_os = "linux")]
#[test]
fn files_without_end_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [target, json, manifest] = ["endless.toml", "endless.json", "model.toml"].map(|name| {
        let path = folder.path().join(name);
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        text(&path).to_owned()
    });
    fails(&["targets", &target], "it is longer than 1048576 bytes");
    fails(&["profile", "--target", &target], "it is longer than 1048576 bytes");
    fails(&["profile", "--diff", &json, &json], "it is longer than 16777216 bytes");
    fails(&["profile", "--history", text(folder.path())], "it is longer than 16777216 bytes");
    fails(&["inspect", &manifest], "it is longer than 1048576 bytes");
}

#[test]
fn targets_are_listed_shown_and_detected() {
    let json = |args: &[&str]| -> serde_json::Value {
        let output = monet(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // The files of the folder are what there is.
    let folder = fs::read_dir(monet_testing::root().join("targets")).unwrap();
    let mut boards: Vec<String> = folder
        .filter_map(|file| {
            file.unwrap()
                .file_name()
                .into_string()
                .unwrap()
                .strip_suffix(".toml")
                .map(str::to_owned)
        })
        .filter(|name| name != "predictions")
        .collect();
    boards.sort();
    let list = String::from_utf8(monet(&["targets"]).stdout).unwrap();
    let all = json(&["targets", "--json"]);
    let mut listed: Vec<&str> =
        all.as_array().unwrap().iter().map(|board| board["name"].as_str().unwrap()).collect();
    let slice_ms = |board: &serde_json::Value| board["budget"]["slice_ms"].as_f64().unwrap();
    let all = all.as_array().unwrap();
    assert!(all.windows(2).all(|two| slice_ms(&two[0]) >= slice_ms(&two[1])), "slowest first");
    listed.sort_unstable();
    assert_eq!(listed, boards);
    for board in &boards {
        assert!(list.contains(board.as_str()), "{board} is not in {list}");
        let one = monet(&["targets", board]);
        assert!(one.status.success() && !one.stdout.is_empty(), "{board}: {}", stderr(&one));
    }
    let one = json(&["targets", "raspberry-pi-4", "--json"]);
    assert_eq!(one["core"]["name"], "Cortex-A72");
    assert_eq!(one["kernel"], "neon-winograd");

    // What is nearest has this machine's architecture, and its own profile is nearer than none.
    let found = json(&["targets", "--detect", "--json"]);
    assert_eq!(found["machine"]["arch"], std::env::consts::ARCH);
    let nearest = found["nearest"].as_str().unwrap();
    let nearest = all.iter().find(|board| board["name"] == nearest).expect("it is listed");
    let triple = nearest["triple"].as_str().unwrap();
    assert_eq!(triple.split('-').next(), Some(std::env::consts::ARCH));
    let known = |board: &serde_json::Value| board["core"]["name"] == found["machine"]["cpu"];
    if all.iter().any(known) {
        assert!(known(nearest), "another core is nearer than this machine's own: {nearest}");
    }
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("p.html");
    let output = monet(&["profile", "--runs", "2", "--html", text(&html)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = fs::read_to_string(&html).unwrap();
    for asks in ["http:", "https:", "src=", "href=", "url(", "@import", "<link", "<iframe"] {
        assert!(!page.contains(asks), "{asks:?} in {page}");
    }
}

#[test]
fn the_page_opens_in_a_browser_without_network() {
    let Some(mut browser) = judges::browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [json, html] = ["p.json", "p.html"].map(|name| folder.path().join(name));
    let output = monet(&["profile", "--runs", "3", "--json", text(&json), "--html", text(&html)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let p = Profile::parse(&fs::read_to_string(&json).unwrap(), "p.json").unwrap();
    let data = format!("--user-data-dir={}", text(folder.path()));
    let dom = browser
        .args(["--dump-dom", &data])
        .arg(format!("file://{}", text(&html)))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&dom.stdout);
    for s in &p.steps {
        assert!(
            plots(&dom, s.median_ms) && (s.macs == 0 || plots(&dom, s.gmac_per_s)),
            "{}: {dom}",
            s.name
        );
    }
    assert!(dom.contains("Roofline") && dom.contains("Latency of a slice"));
}

#[test]
fn boxes_are_profiled_over_ssh_and_collated() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success()) {
        skip("no python3 on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // An ssh that runs the command here, and knows one box that does not answer.
    let ssh = folder.path().join("ssh");
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\n\
                  [ \"$2\" = dead ] && { echo 'no route to host' >&2; exit 255; }\nexec sh -c \
                  \"$3\"\n";
    fs::write(&ssh, script).unwrap();
    Command::new("chmod").arg("+x").arg(&ssh).status().unwrap();
    let path = format!("{}:{}", text(folder.path()), std::env::var("PATH").unwrap());
    let out = folder.path().join("runs");
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/boxes"))
        .args(["--monet", MONET, "--out", text(&out), "pi@kitchen", "dead", "--", "--runs", "2"])
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("dead: no route to host"));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.lines().count() == 2 && table.contains("pi@kitchen"), "{table}");
    let kept = fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(kept.len(), 1);
    Profile::parse(&fs::read_to_string(&kept[0]).unwrap(), "kept").unwrap();
}
