//! Federations through the real binary and Flower on a made-up data set: what is averaged, what is
//! sent, and that it learns.
//!
//! `MONET_FLOWER_PYTHON` names a Python with what `federate/requirements.txt` lists; without it
//! these tests are skipped by name.

mod ran;
mod synthetic;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use ran::{refuse, succeed};
use serde_json::Value;
use tch::{Kind, Tensor};

/// Two rounds that find the boxes.
const SETTINGS: &str = concat!(
    "--task ",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/synthetic/task.toml --width 4 --batch 8 --steps 60 --epoch 30 --rate 0.02 --drop 0 \
     --gain 0.05 --gamma 0.05 --offset 0"
);

fn monet_train(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monet-train"));
    command.args(["--device", "cpu", "--threads", "1", "federate"]).args(arguments);
    command
}

fn has_flower(test: &str) -> bool {
    let has = std::env::var_os("MONET_FLOWER_PYTHON").is_some();
    if !has {
        eprintln!("skipped: {test}, as MONET_FLOWER_PYTHON names no Python with Flower");
    }
    has
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn weights(path: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

/// The largest difference between the mean of the sites' weights, by examples, and the file
/// `mean.safetensors`.
fn error_of_mean(folder: &Path, round: &Value) -> f64 {
    let examples = |site: &str| {
        let sites = round["sites"].as_object().unwrap().values();
        sites
            .filter(|s| s["site"] == site)
            .map(|s| s["train_num_examples"].as_f64().unwrap())
            .next()
            .unwrap()
    };
    let parts = ["1", "2"].map(|k| {
        let file = folder.join(format!("site_{k}-of-2.safetensors"));
        (weights(&file), examples(&format!("{k}/2")))
    });
    let total: f64 = parts.iter().map(|(_, n)| n).sum();
    let mean = weights(&folder.join("mean.safetensors"));
    assert!(mean.keys().any(|name| name.ends_with("/var")), "running statistics are averaged, too");
    assert!(mean.keys().eq(parts[0].0.keys()));
    let error = |(name, mean): (&String, &Tensor)| {
        let sum = parts.iter().fold(mean.to_kind(Kind::Double) * 0.0, |sum, (w, n)| {
            sum + w[name].to_kind(Kind::Double) * *n
        });
        // Relative, as running variances are not small.
        let mean = mean.to_kind(Kind::Double);
        ((sum / total - &mean).abs() / mean.abs().clamp_min(1.0)).max().double_value(&[])
    };
    mean.iter().map(error).fold(0.0, f64::max)
}

/// Mean test Dice, over both labels, of what a training ended with.
fn dice(report: &Value, who: &str) -> f64 {
    let found = report["test"].as_array().unwrap().iter().find(|t| t["who"] == who).unwrap();
    let values = found["test"].as_object().unwrap().values();
    values.map(|v| v.as_f64().unwrap()).sum::<f64>() / 2.0
}

/// Bytes of the kept messages between the server and a site, by direction.
fn kept(run: &Path, site: usize, direction: &str) -> Vec<u64> {
    let mut files: Vec<_> =
        fs::read_dir(run.join("wire")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let wanted = |path: &&std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.contains(&format!("site_{site}_")) && name.ends_with(direction)
    };
    files.iter().filter(wanted).map(|f| f.metadata().unwrap().len()).collect()
}

/// Bytes as `rounds.json` has them: of training's and evaluation's message of each round.
fn counted(rounds: &Value, site: usize, direction: &str) -> Vec<u64> {
    let of = |round: &Value| {
        ["train", "evaluate"].map(|kind| {
            round["sites"][site.to_string()][format!("{kind}_{direction}")].as_u64().unwrap()
        })
    };
    rounds["rounds"].as_array().unwrap().iter().flat_map(of).collect()
}

#[test]
fn two_sites_average_their_weights_and_learn_and_every_byte_is_counted() {
    if !has_flower("two_sites_average_their_weights_and_learn_and_every_byte_is_counted") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Seven subjects train: an uneven share each, so that weighing shows.
    let data = synthetic::dataset(folder.path(), 11);
    let out = folder.path().join("out");
    let (data, shown) = (data.to_str().unwrap(), out.to_str().unwrap());
    let mut command =
        monet_train(&["simulate", "--data", data, "--sites", "2", "--keep", "--out", shown]);
    command.args(SETTINGS.split(' '));
    let printed = String::from_utf8(succeed(command).stdout).unwrap();
    assert_eq!(printed, fs::read_to_string(out.join("report.md")).unwrap());

    let report = json(&out.join("report.json"));
    for update in ["f32", "int8"] {
        let run = out.join(update);
        let rounds = json(&run.join("rounds.json"));
        assert_eq!(rounds["rounds"].as_array().unwrap().len(), 2);
        for (k, round) in rounds["rounds"].as_array().unwrap().iter().enumerate() {
            let error = error_of_mean(&run.join(format!("round_{}", k + 1)), round);
            assert!(error < 1e-5, "{update}, round {}: {error}", k + 1);
        }
        for site in [1, 2] {
            for direction in ["down", "up"] {
                assert_eq!(
                    counted(&rounds, site, direction),
                    kept(&run, site, direction),
                    "{update}, site {site}, {direction}"
                );
            }
        }
    }
    // What the sites sent up in training: a quarter, but for what is not rounded, which in a net as
    // small as this is much.
    let up =
        |update: &str| counted(&json(&out.join(update).join("rounds.json")), 1, "up")[0] as f64;
    assert!((0.2..0.4).contains(&(up("int8") / up("f32"))), "{} of {}", up("int8"), up("f32"));
    for net in report["bytes"].as_array().unwrap() {
        let part = net["int8"].as_f64().unwrap() / net["f32"].as_f64().unwrap();
        assert!((0.24..0.26).contains(&part), "{net}");
    }

    let untrained = dice(&report, "untrained");
    for who in ["federated, f32", "federated, int8", "central"] {
        let dice = dice(&report, who);
        assert!(dice > untrained + 0.3, "{who} {dice} {printed}");
    }
    // A federation's run is a run as any other.
    let model = folder.path().join("model.toml");
    let mut export = Command::new(env!("CARGO_BIN_EXE_monet-train"));
    export.arg("export").arg("--run").arg(out.join("int8")).arg("--out").arg(&model);
    succeed(export);
    assert!(model.exists());
}

/// A process that is stopped with those that it started when the test ends, however it ends.
struct Stopped(Child);

impl Stopped {
    fn start(mut command: Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// Ports that nobody listens at.
fn ports<const N: usize>() -> [String; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|l| l.local_addr().unwrap().port().to_string())
}

/// Makes an authority, and a certificate of it for a server on this machine, as the README says:
/// `ca.pem`, `server.pem`, `server.key`.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(folder).args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
        command
            .args(["ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"])
            .args(arguments.split(' '));
        succeed(command);
    };
    openssl("-subj /CN=authority -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem");
    openssl(
        "-subj /CN=server -addext basicConstraints=critical,CA:FALSE -addext \
         subjectAltName=IP:127.0.0.1 \
         -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem",
    );
}

#[test]
#[ignore = "starts six of Flower's processes: some 30 s on two idle cores; cargo test --release \
    --test federate -- --ignored"]
fn two_sites_train_over_the_network() {
    if has_flower("two_sites_train_over_the_network") {
        train_over_the_network(false);
    }
}

#[test]
#[ignore = "as the test before it, and makes certificates with openssl 3"]
fn two_sites_train_over_an_encrypted_network() {
    if has_flower("two_sites_train_over_an_encrypted_network") {
        train_over_the_network(true);
    }
}

/// What the server's log says when a phase of secure aggregation begins.
const PHASES: [&str; 4] = [
    "[Stage 0] Sending configurations",
    "[Stage 1] Forwarding public keys",
    "[Stage 2] Forwarding encrypted key shares",
    "[Stage 3] Requesting key shares",
];

#[test]
#[ignore = "starts eleven of Flower's processes, and waits for sites that are dead: ten minutes"]
fn a_site_killed_in_each_phase_over_the_network_costs_no_round() {
    if !has_flower("a_site_killed_in_each_phase_over_the_network_costs_no_round") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 26);
    let (data, out) = (data.to_str().unwrap(), folder.path().join("run"));
    let [port, own @ ..] = ports::<9>();
    let mut command = monet_train(&["server", "--sites", "4", "--secure", "--wait", "0.4"]);
    command.args(["--quorum", "3", "--port", &port, "--out"]).arg(&out);
    command.args("--width 2 --batch 2 --steps 16 --epoch 2".split(' '));
    command.args(["--task", synthetic::TASK]).env("FLWR_LOG_LEVEL", "DEBUG");
    let mut server = Stopped::start(command, &folder.path().join("server.log"));
    let log = || fs::read_to_string(folder.path().join("server.log")).unwrap();
    let wait_for = |server: &mut Stopped, text: &str, after: usize| {
        while !log()[after..].contains(text) {
            assert!(server.0.try_wait().unwrap().is_none(), "no {text:?}: {}", log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    let address = format!("127.0.0.1:{port}");
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(server.0.try_wait().unwrap().is_none(), "{}", log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let client = |site: &str, port: &str| {
        let mut command = monet_train(&["client", "--superlink", &address, "--data", data]);
        command.args(["--site", site, "--port", port, "--secure"]);
        Stopped::start(command, &folder.path().join(format!("client{port}.log")))
    };
    let sites = || {
        let of = |port| fs::read_to_string(folder.path().join(format!("client{port}.log")));
        own.iter().filter_map(|port| of(port).ok()).collect::<Vec<_>>().join("\n\n")
    };
    let _others = [("1/4", &own[0]), ("2/4", &own[1]), ("3/4", &own[2])].map(|(k, p)| client(k, p));
    let mut fourth = client("4/4", &own[3]);
    let mut seen = 0;
    for (phase, port) in PHASES.iter().zip(&own[4..]) {
        // The site that was started again takes part, to the end of a message's way.
        wait_for(&mut server, "[Stage 3] Received key shares from 4 clients", seen);
        seen = log().len();
        wait_for(&mut server, phase, seen);
        let group = format!("-{}", fourth.0.id());
        let killed = Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
        assert!(killed.success(), "the site has ended by itself: {}", sites());
        let _ = fourth.0.wait();
        seen = log().len();
        fourth = client("4/4", port);
    }
    assert!(server.0.wait().unwrap().success(), "{}", log());
    let rounds = json(&out.join("rounds.json"));
    let rounds = rounds["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 8);
    assert!(rounds.iter().all(|round| round["lost"].is_null()), "{rounds:?}");
}

/// Makes a site's key pair, as `ssh-keygen -t ecdsa -b 384` does: `NAME` and `NAME.pub`.
fn site_key(path: &Path) {
    let script = "import sys\n\
        from cryptography.hazmat.primitives import serialization as s\n\
        from cryptography.hazmat.primitives.asymmetric import ec\n\
        key, name = ec.generate_private_key(ec.SECP384R1()), sys.argv[1]\n\
        own = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption())\n\
        told = key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH)\n\
        open(name, 'wb').write(own)\n\
        open(name + '.pub', 'wb').write(told)\n";
    let mut command = Command::new(std::env::var_os("MONET_FLOWER_PYTHON").unwrap());
    command.args(["-c", script]).arg(path);
    succeed(command);
}

#[test]
fn a_site_whose_key_the_server_was_not_given_is_refused() {
    if !has_flower("a_site_whose_key_the_server_was_not_given_is_refused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 6);
    let file = |name: &str| folder.path().join(name);
    certificates(folder.path());
    ["site", "wrong"].iter().for_each(|name| site_key(&file(name)));
    let [port, right, wrong] = ports();
    let mut command = monet_train(&["server", "--sites", "1", "--port", &port, "--out"]);
    command.arg(file("run")).args("--width 2 --batch 2 --steps 2 --epoch 2".split(' '));
    command.args(["--task", synthetic::TASK, "--host", "0.0.0.0", "--tls"]);
    command.args(["ca.pem", "server.pem", "server.key"].map(file));
    command.arg("--site-keys").arg(file("site.pub"));
    let mut server = Stopped::start(command, &file("server.log"));
    let log = || fs::read_to_string(file("server.log")).unwrap();
    while !log().contains("registered successfully") {
        assert!(server.0.try_wait().unwrap().is_none(), "{}", log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let client = |key: &str, own: &str| {
        let address = format!("127.0.0.1:{port}");
        let mut command = monet_train(&["client", "--superlink", &address, "--port", own]);
        command.arg("--data").arg(&data).arg("--tls").arg(file("ca.pem"));
        command.arg("--key").arg(file(key));
        command
    };
    let message = refuse(client("wrong", &wrong));
    assert!(message.contains("code 2004: the server was not given its .pub"), "{message}");
    let _site = Stopped::start(client("site", &right), &file("site.log"));
    assert!(server.0.wait().unwrap().success(), "{}", log());
    assert_eq!(json(&file("run/rounds.json"))["rounds"].as_array().unwrap().len(), 1);
}

fn train_over_the_network(encrypted: bool) {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 11);
    let (data, out) = (data.to_str().unwrap(), folder.path().join("run"));
    let [port, first, second] = ports();
    let mut command =
        monet_train(&["server", "--sites", "2", "--update", "int8", "--port", &port, "--out"]);
    command.arg(&out).args(SETTINGS.split(' '));
    let file = |name: &str| folder.path().join(name);
    if encrypted {
        certificates(folder.path());
        command.args(["--host", "0.0.0.0", "--tls"]);
        command.args(["ca.pem", "server.pem", "server.key"].map(file));
    }
    let mut server = Stopped::start(command, &folder.path().join("server.log"));
    let log = || fs::read_to_string(folder.path().join("server.log")).unwrap();
    let address = format!("127.0.0.1:{port}");
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(server.0.try_wait().unwrap().is_none(), "{}", log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let untrained = fs::read(out.join("best.safetensors")).unwrap();
    let _sites = [("1/2", first), ("2/2", second)].map(|(site, port)| {
        let mut command = monet_train(&["client", "--superlink", &address, "--data", data]);
        command.args(["--site", site, "--port", &port]);
        if encrypted {
            command.arg("--tls").arg(file("ca.pem"));
        }
        Stopped::start(command, &folder.path().join(format!("client{port}.log")))
    });
    let status = server.0.wait().unwrap();
    assert!(status.success(), "{}", log());
    assert!(untrained != fs::read(out.join("best.safetensors")).unwrap());

    let rounds = json(&out.join("rounds.json"));
    let rounds = rounds["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    let mut names: Vec<&str> = rounds[1]["sites"]
        .as_object()
        .unwrap()
        .values()
        .map(|s| s["site"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["1/2", "2/2"]);
    for site in rounds[1]["sites"].as_object().unwrap().values() {
        // The sites held the weights: only settings were sent, and the update came after.
        let bytes = |name: &str| site[name].as_u64().unwrap();
        assert!(bytes("train_down") < bytes("train_up"), "{site}");
        assert!(bytes("evaluate_down") < 2 * bytes("train_up"), "{site}");
    }
    let dice = rounds[1]["dice"].as_object().unwrap().values().map(|d| d.as_f64().unwrap());
    assert!(dice.sum::<f64>() > 0.6, "{}", log());
}

/// Runs a file of the app's own tests.
fn app(module: &str) {
    let mut command = Command::new(std::env::var_os("MONET_FLOWER_PYTHON").unwrap());
    command.args(["-m", "unittest", "-q", module]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("federate"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    succeed(command);
}

#[test]
fn updates_are_rounded_within_half_a_step_and_refused_where_they_do_not_fit() {
    if has_flower("updates_are_rounded_within_half_a_step_and_refused_where_they_do_not_fit") {
        app("test_weights");
    }
}

/// Four sites that only pretend to train: masked sums, sites killed in each phase, noise and ε.
#[test]
fn secrets_are_kept_whoever_drops_out() {
    if has_flower("secrets_are_kept_whoever_drops_out") {
        app("test_secrets");
    }
}

#[test]
fn unlike_sites_train_with_secrets_kept_and_each_one_s_dice_is_told() {
    if !has_flower("unlike_sites_train_with_secrets_kept_and_each_one_s_dice_is_told") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Sixteen subjects train, four validate.
    let data = synthetic::dataset(folder.path(), 25);
    let out = folder.path().join("out");
    let mut command = monet_train(&["simulate", "--data", data.to_str().unwrap(), "--sites", "4"]);
    command.args("--no-central --update f32 --split brightness --strategy fedprox".split(' '));
    command.args("--secure --privacy site --privacy-noise 1e-4 --clip 20 --scores".split(' '));
    command.args(SETTINGS.split(' ')).arg("--out").arg(&out);
    let printed = String::from_utf8(succeed(command).stdout).unwrap();
    for part in ["FedProx of 0.01, secure aggregation", "mean of mean intensity", "| 4/4 |"] {
        assert!(printed.contains(part), "{part:?} is not in {printed}");
    }

    let dealt = json(&out.join("deal.json"));
    let mut names: Vec<&str> = dealt
        .as_object()
        .unwrap()
        .values()
        .flat_map(|names| names.as_array().unwrap().iter().map(|n| n.as_str().unwrap()))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 20, "every subject but the test split's, once: {dealt}");
    let report = json(&out.join("report.json"));
    let means: Vec<f64> =
        report["sites"].as_array().unwrap().iter().map(|s| s["mean"].as_f64().unwrap()).collect();
    assert!(means.windows(2).all(|pair| pair[0] < pair[1]), "{means:?}");

    let rounds = json(&out.join("f32/rounds.json"));
    let [first, last] = [0, 1].map(|k| &rounds["rounds"][k]);
    // Sites' own loss and number of slices are the sites' secret, as their Dice; their mean is
    // told.
    for site in last["sites"].as_object().unwrap().values() {
        assert_eq!(site["train_num_examples"], 1, "{site}");
        assert_eq!(site["evaluate_dice/anterior"], last["dice"]["anterior"], "{site}");
    }
    assert!(first["epsilon"].as_f64().unwrap() < last["epsilon"].as_f64().unwrap());
    for tested in report["test"].as_array().unwrap() {
        assert_eq!(tested["sites"].as_array().unwrap().len(), 4, "{tested}");
    }
    let [federated, untrained] = ["federated, f32", "untrained"].map(|who| dice(&report, who));
    assert!(federated > untrained + 0.2, "{printed}");
}

#[test]
fn what_cannot_work_is_refused_with_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 6);
    let data = data.to_str().unwrap();
    let out = folder.path().join("out");
    let simulate = |sites: &str| {
        let mut command = monet_train(&[
            "simulate",
            "--data",
            data,
            "--sites",
            sites,
            "--out",
            out.to_str().unwrap(),
        ]);
        command.args(SETTINGS.split(' '));
        command
    };
    // One subject validates: the second site would have none.
    let message = refuse(simulate("2"));
    assert!(message.contains("site 2/2") && message.contains("take fewer sites"), "{message}");

    let mut command = simulate("2");
    command.arg("--secure");
    assert!(refuse(command).contains("--secure with 2 site(s): expected 3 or more"));

    let data = synthetic::dataset(folder.path(), 11);
    let data = data.to_str().unwrap();
    for (python, expected) in
        [(None, "MONET_FLOWER_PYTHON is not set"), (Some("/bin/false"), "has no Flower")]
    {
        let mut command = simulate("2");
        match python {
            None => command.env_remove("MONET_FLOWER_PYTHON"),
            Some(python) => command.env("MONET_FLOWER_PYTHON", python),
        };
        let message = refuse(command);
        assert!(message.contains(expected) && message.contains("requirements.txt"), "{message}");
        assert!(!out.exists(), "something was begun");
    }

    // Weights of another topology: those of a net of twice the width.
    let run = |name: &str, width: &str| {
        let run = folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_monet-train"));
        command.args([
            "--device",
            "cpu",
            "train",
            "--data",
            data,
            "--task",
            synthetic::TASK,
            "--width",
            width,
        ]);
        command.args(["--steps", "1", "--epoch", "1", "--batch", "1", "--out"]).arg(&run);
        succeed(command);
        run
    };
    let (narrow, wide) = (run("narrow", "2"), run("wide", "4"));
    for verb in ["fit", "score"] {
        let mut command = monet_train(&[verb, "--data", data, "--site", "1/2", "--run"]);
        command.arg(&narrow).arg("--weights").arg(wide.join("best.safetensors"));
        if verb == "fit" {
            command.args(["--step", "0", "--out", "/nowhere/out.safetensors"]);
        }
        let message = refuse(command);
        assert!(message.contains("another topology") && message.contains("wide"), "{message}");
    }

    // What a site is asked for before Flower is looked for.
    let message = refuse(monet_train(&[
        "client",
        "--superlink",
        "127.0.0.1:9",
        "--data",
        data,
        "--site",
        "9/9",
    ]));
    assert!(message.contains("site 9/9"), "{message}");
    if has_flower("no server answers") {
        let message =
            refuse(monet_train(&["client", "--superlink", "127.0.0.1:9", "--data", data]));
        assert!(message.contains("no server answers at 127.0.0.1:9"), "{message}");
    }
}
