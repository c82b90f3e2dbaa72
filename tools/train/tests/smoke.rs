//! The whole way through the real binary on a made-up data set: train, kill, resume, export,
//! quantize, evaluate; and bad data, refused before training begins.

mod ran;
mod synthetic;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ran::{refuse, succeed};

/// Enough of a net and of a run to find the boxes.
const RUN: &str = "--width 6 --batch 10 --steps 100 --epoch 10 --rate 0.01 --average 0.9 --drop \
    0.05 --gain 0.05 --gamma 0.05 --offset 0";

fn monet_train(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monet-train"));
    // One thread, as sums in another order differ in their last bits.
    command.args(["--device", "cpu", "--threads", "1"]).args(arguments);
    command
}

fn train(data: &Path, out: &Path) -> Command {
    train_as(synthetic::TASK, data, out)
}

fn train_as(task: &str, data: &Path, out: &Path) -> Command {
    let mut command =
        monet_train(&["train", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    command.args(["--task", task]).args(RUN.split(' '));
    command
}

/// Kills a run once it has kept a checkpoint.
fn kill_midway(data: &Path, out: &Path) {
    let mut child = train(data, out).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !out.join("last.safetensors").exists() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint");
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "the run ended before it could be killed: it needs more steps");
}

/// Leaves a run's folder as a kill in the middle of the next checkpoint does: logged, better
/// weights kept, but not the state.
fn fall_into_a_checkpoint(run: &Path) {
    let add = |file: &str, bytes: &[u8]| {
        fs::OpenOptions::new().append(true).open(run.join(file)).unwrap().write_all(bytes).unwrap();
    };
    add("log.csv", b"95,1.000e-3,0.50000,0.90000,0.90000");
    add("events.out.tfevents.0.monet-train", b"half a record");
    fs::write(run.join("best.safetensors"), b"the next epoch's").unwrap();
    fs::write(run.join("last.part"), b"half a checkpoint").unwrap();
}

#[test]
fn a_run_killed_and_resumed_ends_with_the_same_bits_and_becomes_a_package() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 10);
    let (straight, resumed) = (folder.path().join("straight"), folder.path().join("resumed"));
    succeed(train(&data, &straight));
    kill_midway(&data, &resumed);
    fall_into_a_checkpoint(&resumed);
    // The rest with batches made ahead on another thread.
    let mut rest = train(&data, &resumed);
    rest.args(["--ahead", "3"]);
    succeed(rest);
    for file in ["last.safetensors", "best.safetensors", "log.csv", "run.json"] {
        assert!(
            fs::read(straight.join(file)).unwrap() == fs::read(resumed.join(file)).unwrap(),
            "{file} differs"
        );
    }
    // Of the event file all but the times.
    let length =
        |run: &Path| fs::metadata(run.join("events.out.tfevents.0.monet-train")).unwrap().len();
    assert_eq!(length(&straight), length(&resumed));
    let log = fs::read_to_string(straight.join("log.csv")).unwrap();
    assert_eq!(log.lines().next().unwrap(), "step,rate,loss,dice_anterior,dice_posterior");
    assert_eq!(log.lines().count(), 1 + 10, "{log}");

    for kind in ["f32", "int8", "int8-7"] {
        package(&data, &straight, folder.path(), kind, 0.7);
    }

    // The weights at the end are not those that were best.
    fs::write(straight.join("best.safetensors"), "").unwrap();
    let [run, out] = [straight, folder.path().join("end.toml")];
    let export = ["export", "--run", run.to_str().unwrap(), "--out", out.to_str().unwrap()];
    assert!(refuse(monet_train(&export)).contains("best.safetensors"));
    succeed(monet_train(&[&export[..], &["--last"]].concat()));
}

#[test]
fn the_baselines_are_trained_exported_quantized_and_run_alike() {
    // The first of them sees neighbours, in slices of another plane.
    for (arch, task) in [("unet16", synthetic::STACK), ("attention-unet", synthetic::TASK)] {
        let folder = tempfile::tempdir().unwrap();
        let data = synthetic::dataset(folder.path(), 10);
        let run = folder.path().join("run");
        let mut command = train_as(task, &data, &run);
        command.args(["--arch", arch]);
        succeed(command);
        for kind in ["f32", "int8"] {
            package(&data, &run, folder.path(), kind, 0.6);
        }
        let manifest = fs::read_to_string(folder.path().join("boxes.int8.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"hippocampus-{arch}\"")), "{manifest}");
        assert!(manifest.contains("step = 16"), "{manifest}");
    }
}

/// The device's masks of subjects by one of its engines, where `MONET_BIN` names its binary.
fn device_masks(data: &Path, model: &str, folder: &Path, subjects: &[&str], engine: &str) -> bool {
    let Some(monet) = std::env::var_os("MONET_BIN") else {
        eprintln!("skipped: the device's masks, as MONET_BIN names no monet binary");
        return false;
    };
    for subject in subjects {
        let mut command = Command::new(&monet);
        command.arg("segment").arg(data.join(format!("imagesTr/{subject}.nii"))).arg("-o");
        command.arg(folder.join(format!("{subject}.nii.gz")));
        command.args(["--force", "--quiet", "--engine", engine, "--model", model]);
        succeed(command);
    }
    true
}

/// That the device's int8 engine takes a quantized net whole, where `MONET_BIN` names its binary.
fn is_taken_whole(model: &str) {
    let Some(monet) = std::env::var_os("MONET_BIN") else {
        eprintln!(
            "skipped: whether the device takes the net whole, as MONET_BIN names no monet binary"
        );
        return;
    };
    let mut command = Command::new(monet);
    command.args(["inspect", "--json", model]);
    let summary: serde_json::Value = serde_json::from_slice(&succeed(command).stdout).unwrap();
    let engine = summary["net"]["engine"].as_str().unwrap();
    assert!(engine.starts_with("int8 "), "{engine}: {}", summary["net"]["unfused"]);
}

/// Makes a package of a run, evaluates it (every Dice is above `least`), runs it on the device's
/// own engine and on stock tract, and has the outside judge agree with all. The kind `int8-7` has
/// values of 7 bits.
fn package(root: &Path, run: &Path, folder: &Path, kind: &str, least: f64) {
    let model = folder.join(format!("boxes.{kind}.toml"));
    let (data, run, out) = (root.to_str().unwrap(), run.to_str().unwrap(), model.to_str().unwrap());
    if kind == "f32" {
        succeed(monet_train(&["export", "--run", run, "--out", out]));
    } else {
        let quantized = succeed(monet_train(&[
            "quantize",
            "--run",
            run,
            "--data",
            data,
            "--out",
            out,
            "--max-drop",
            "0.05",
            "--sensitivity",
            // Always: whatever was lost.
            "--tune-above=-1",
            "--tune-steps",
            "5",
            "--activation-bits",
            if kind == "int8-7" { "7" } else { "8" },
        ]));
        let table = String::from_utf8(quantized.stdout).unwrap();
        for part in ["anterior", "posterior", "quantized alone", "mid_", "after 5 steps"] {
            assert!(table.contains(part), "{part:?} is not in {table}");
        }
        is_taken_whole(out);
    }
    let evaluated = succeed(monet_train(&[
        "evaluate", "--model", out, "--data", data, "--split", "test", "--record",
    ]));
    let found = dice(&String::from_utf8(evaluated.stdout).unwrap());
    assert_eq!(found.len(), 2, "two test subjects: {found:?}");
    assert!(found.iter().flatten().all(|&d| d > least), "the boxes were not learnt: {found:?}");
    assert!(fs::read_to_string(&model).unwrap().contains("[[metrics]]"));

    let subjects = ["box_08", "box_09"];
    let Some(python) = std::env::var_os("MONET_PYTHON") else {
        eprintln!(
            "skipped: check_onnx.py ({kind}), as MONET_PYTHON names no Python with onnxruntime and \
             nibabel"
        );
        return;
    };
    for engine in ["auto", "tract"] {
        let mut judge = Command::new(&python);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_onnx.py");
        judge.arg(script).args([out, data, kind]);
        if device_masks(root, out, folder, &subjects, engine) {
            judge.arg("--masks").arg(folder);
        }
        judge.args(subjects);
        let judged = dice(&String::from_utf8(succeed(judge).stdout).unwrap());
        assert_eq!(judged.len(), found.len());
        for (ours, theirs) in found.iter().flatten().zip(judged.iter().flatten()) {
            // One voxel of a box's half is worth 0.002.
            assert!(
                (ours - theirs).abs() < 0.003,
                "{kind}: Dice {found:?}, by onnxruntime {judged:?}"
            );
        }
    }
}

/// Dice of both labels from each line that begins with a subject's name.
fn dice(table: &str) -> Vec<[f64; 2]> {
    let lines = table.lines().filter(|line| line.starts_with("box_"));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            [columns[1], columns[3]].map(|value| value.parse().unwrap())
        })
        .collect()
}

#[test]
fn a_run_in_bf16_learns_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 5);
    let out = folder.path().join("run");
    let mut command = train(&data, &out);
    command.arg("--bf16");
    succeed(command);
    let log = fs::read_to_string(out.join("log.csv")).unwrap();
    let last: Vec<f64> =
        log.lines().last().unwrap().split(',').map(|v| v.parse().unwrap()).collect();
    assert!(last[3] > 0.7 && last[4] > 0.7, "{log}");
}

#[test]
fn bad_data_is_refused_by_subject_before_training_begins() {
    type Spoil = fn(&Path);
    let cases: [(Spoil, &[&str]); 10] = [
        (|d| fs::remove_file(d.join("labelsTr/box_02.nii")).unwrap(), &["box_02", "is not there"]),
        (
            |d| synthetic::nifti(&d.join("labelsTr/box_01.nii"), [24, 20, 5], &[0.0; 2400]),
            &["box_01", "[24, 20, 5]"],
        ),
        (
            |d| synthetic::nifti(&d.join("labelsTr/box_03.nii"), synthetic::SIZE, &[7.0; 2880]),
            &["box_03", "label value 7"],
        ),
        (
            |d| fs::write(d.join("imagesTr/box_00.nii"), b"no volume").unwrap(),
            &["box_00", "box_00.nii"],
        ),
        (|d| fs::remove_file(d.join("imagesTr/box_04.nii")).unwrap(), &["box_04", "is not there"]),
        (
            |d| synthetic::nifti(&d.join("labelsTr/box_02.nii"), synthetic::SIZE, &[0.0; 2880]),
            &["box_02", "is empty"],
        ),
        (
            // Of the test split, which training does not use.
            |d| synthetic::nifti(&d.join("labelsTr/box_04.nii"), synthetic::SIZE, &[0.0; 2880]),
            &["box_04", "is empty"],
        ),
        (
            |d| {
                let whole = fs::read(d.join("imagesTr/box_01.nii")).unwrap();
                fs::write(d.join("imagesTr/box_01.nii"), &whole[..1000]).unwrap();
            },
            &["box_01"],
        ),
        (
            |d| {
                let text = fs::read_to_string(d.join("dataset.json")).unwrap();
                let only = text.split_inclusive('}').next().unwrap();
                fs::write(d.join("dataset.json"), format!("{only}]}}")).unwrap();
            },
            &["box_00", "1 subject(s)"],
        ),
        (|d| fs::write(d.join("dataset.json"), "{}").unwrap(), &["dataset.json", "training"]),
    ];
    for (spoil, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let data = synthetic::dataset(folder.path(), 5);
        spoil(&data);
        let out = folder.path().join("run");
        let message = refuse(train(&data, &out));
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!out.exists(), "training began");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = train(&synthetic::dataset(folder.path(), 5), &folder.path().join("run"));
    command.args(["--fold", "9/9"]);
    assert!(refuse(command).contains("fold 9/9: only 4 subject(s)"));
}

#[test]
fn a_run_can_begin_where_an_earlier_one_was_best() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 5);
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    succeed(train(&data, &first));
    let mut command = train(&data, &second);
    command.args(["--from", first.to_str().unwrap(), "--stop-after", "10"]);
    succeed(command);
    let loss = |run: &Path, line: usize| -> f64 {
        let log = fs::read_to_string(run.join("log.csv")).unwrap();
        log.lines().nth(line).unwrap().split(',').nth(2).unwrap().parse().unwrap()
    };
    assert!(loss(&second, 1) < loss(&first, 1) / 2.0, "{} {}", loss(&second, 1), loss(&first, 1));

    let mut command = train(&data, &folder.path().join("third"));
    command.args(["--from", folder.path().join("nowhere").to_str().unwrap()]);
    assert!(refuse(command).contains("nowhere"));
    assert!(!folder.path().join("third").exists());
}

#[test]
fn a_net_learns_from_a_teacher_of_another_network() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 5);
    let run = |name: &str| folder.path().join(name);
    let mut command = train(&data, &run("teacher"));
    command.args(["--arch", "unet16"]);
    succeed(command);
    let taught = |name: &str, trust: &str| {
        let mut command = train(&data, &run(name));
        command.args(["--teacher", run("teacher").to_str().unwrap(), "--trust", trust]);
        command
    };
    succeed(train(&data, &run("alone")));
    // A teacher who is not believed changes no bit; one who is does.
    succeed(taught("proud", "0"));
    succeed(taught("taught", "0.7"));
    let best = |name: &str| fs::read(run(name).join("best.safetensors")).unwrap();
    assert!(best("proud") == best("alone"));
    assert!(best("taught") != best("alone"));
    let log = fs::read_to_string(run("taught").join("log.csv")).unwrap();
    let last: Vec<f64> =
        log.lines().last().unwrap().split(',').map(|v| v.parse().unwrap()).collect();
    assert!(last[3] > 0.7 && last[4] > 0.7, "{log}");

    let mut command = train(&data, &run("nobody"));
    command.args(["--teacher", run("nowhere").to_str().unwrap()]);
    assert!(refuse(command).contains("nowhere"));
    assert!(!run("nobody").exists());
    let mut command = monet_train(&["speed", "--teacher", run("teacher").to_str().unwrap()]);
    command.args(["--count", "1"]);
    assert!(refuse(command).contains("--teacher: only `monet-train train`"));
}

#[test]
fn a_run_ends_when_patience_or_time_is_over_and_leaves_curves() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 6);
    let run = |name: &str, options: &[&str]| {
        let out = folder.path().join(name);
        let mut command =
            monet_train(&["train", "--data", data.to_str().unwrap(), "--task", "auto"]);
        command.args(["--width", "2", "--batch", "2", "--steps", "300", "--epoch", "1", "--out"]);
        succeed({
            command.arg(&out).args(options);
            command
        });
        let log = fs::read_to_string(out.join("log.csv")).unwrap();
        for picture in ["loss.png", "dice.png"] {
            assert_eq!(&fs::read(out.join(picture)).unwrap()[1..4], b"PNG");
        }
        assert!(fs::read(out.join("events.out.tfevents.0.monet-train")).unwrap().len() > 100);
        let lines = log.lines().skip(1);
        lines
            .map(|line| line.split(',').skip(3).map(|v| v.parse::<f64>().unwrap()).sum::<f64>())
            .collect::<Vec<f64>>()
    };
    let dice =
        run("patience", &["--patience", "3", "--fold", "2/2", "--decay", "poly", "--rate", "1e-6"]);
    assert!(dice.len() < 300, "{dice:?}");
    let (before, waited) = dice.split_at(dice.len() - 3);
    let best = before.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(waited.iter().all(|&d| d <= best), "{dice:?}");
    assert_eq!(run("time", &["--time-budget", "0.00001"]).len(), 1);
}

#[test]
fn the_first_steps_are_the_same_on_both_sides_of_a_check() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 5);
    let check = |options: &[&str]| {
        let mut command = monet_train(&["check", "--data", data.to_str().unwrap()]);
        command.args(["--task", synthetic::TASK, "--width", "2", "--batch", "2"]).args(options);
        // Its two threads would otherwise spin while others have the cores.
        command.env("OMP_WAIT_POLICY", "passive");
        command
    };
    let table = String::from_utf8(succeed(check(&[])).stdout).unwrap();
    assert!(
        table.contains("CPU, 2 thread(s), Float") && table.contains("CPU, 1 thread(s), Float"),
        "{table}"
    );
    let steps = table
        .lines()
        .filter(|l| l.split_whitespace().next().is_some_and(|w| w.parse::<u64>().is_ok()));
    assert_eq!(steps.count(), 20, "{table}");
    // bf16 has 8 bits: near enough to be the same training, too far to be the same numbers.
    succeed(check(&["--bf16"]));
    assert!(refuse(check(&["--bf16", "--tolerance", "1e-6"])).contains("--tolerance"));
}

#[test]
fn the_speed_of_training_is_measured() {
    let options = ["--size", "32", "--batch", "2", "--count", "1", "--width", "2", "--json"];
    let mut command = monet_train(&["speed", "--arch", "unet16"]);
    command.args(options);
    let json = String::from_utf8(succeed(command).stdout).unwrap();
    let measured: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(
        measured["same_batch"].as_f64().unwrap() > 0.0
            && measured["as_in_a_run"].as_f64().unwrap() > 0.0
    );
    assert_eq!(measured["parameters"], 31_267);
    assert!(refuse(monet_train(&["speed", "--size", "30"])).contains("multiple of 4"));
}

#[test]
fn a_folder_with_another_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 5);
    let out = folder.path().join("run");
    let mut command = train(&data, &out);
    command.args(["--stop-after", "10"]);
    succeed(command);
    let before = fs::read(out.join("last.safetensors")).unwrap();
    let mut other = train(&data, &out);
    other.args(["--seed", "2"]);
    let message = refuse(other);
    assert!(message.contains("other settings (seed: 1 there, 2 asked)"), "{message}");
    assert!(before == fs::read(out.join("last.safetensors")).unwrap());
}

#[test]
fn the_paper_s_parameter_counts_are_printed() {
    let counts = [
        ("monet", "403556\n"),
        ("unet16", "1946705\n"),
        ("unet64", "31054145\n"),
        ("attention-unet", "31753349\n"),
    ];
    for (arch, count) in counts {
        let printed = succeed(monet_train(&["params", "--arch", arch])).stdout;
        assert_eq!(String::from_utf8(printed).unwrap(), count);
    }
}

#[test]
fn a_task_is_derived_from_the_data_kept_in_the_run_and_taken_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::dataset(folder.path(), 5);
    let data = data.to_str().unwrap();
    let message = refuse(monet_train(&["task", "--data", data]));
    assert!(message.contains("--task") && message.contains("hippocampus"), "{message}");

    let derived = succeed(monet_train(&["task", "--data", data, "--task", "auto"]));
    let table = String::from_utf8(derived.stderr).unwrap();
    assert!(table.contains("3 training subjects") && table.contains("label 2"), "{table}");
    let file = folder.path().join("boxes.toml");
    fs::write(&file, &derived.stdout).unwrap();
    let text = String::from_utf8(derived.stdout).unwrap();
    assert!(text.contains("width = 32") && text.contains("argmax"), "{text}");

    for task in ["auto", file.to_str().unwrap()] {
        let out = folder.path().join("run");
        let mut command = monet_train(&["train", "--data", data, "--out", out.to_str().unwrap()]);
        command
            .args(["--task", task, "--width", "2", "--steps", "2", "--epoch", "2", "--batch", "2"]);
        succeed(command);
        assert_eq!(fs::read_to_string(out.join("task.toml")).unwrap(), text);
        assert_eq!(out.join("fingerprint.json").exists(), task == "auto");
        fs::remove_dir_all(&out).unwrap();
    }
}
