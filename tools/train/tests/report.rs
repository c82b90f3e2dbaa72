//! `monet-train report` through the real binary on a made-up data set: two packages side by side, a
//! second data set, and what is refused.

mod ran;
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ran::{refuse, succeed};
use serde_json::Value;

fn monet_train(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monet-train"));
    command.args(["--device", "cpu", "--threads", "1"]).args(arguments);
    // No `monet` that happens to be there: what is timed is said by --monet alone.
    command.env("PATH", "");
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A data set of ten boxes, and the f32 and int8 packages of a net that has hardly learnt to find
/// them.
fn packages(folder: &Path) -> (PathBuf, [PathBuf; 2]) {
    let data = synthetic::dataset(folder, 10);
    let run = folder.join("run");
    let mut command = monet_train(&["train", "--data", text(&data), "--out", text(&run)]);
    let settings = concat!(
        "--task ",
        env!("CARGO_MANIFEST_DIR"),
        "/tests/synthetic/task.toml --width 4 --batch 8 --steps 40 --epoch 20 --rate 0.01 \
         --average 0.9"
    );
    command.args(settings.split(' '));
    succeed(command);
    let [float, int8] = ["boxes.f32.toml", "boxes.int8.toml"].map(|name| folder.join(name));
    succeed(monet_train(&["export", "--run", text(&run), "--out", text(&float)]));
    let mut command = monet_train(&[
        "quantize",
        "--run",
        text(&run),
        "--data",
        text(&data),
        "--out",
        text(&int8),
    ]);
    command.args(["--tune-steps", "0", "--max-drop", "1", "--method", "minmax"]);
    succeed(command);
    (data, [float, int8])
}

fn report(models: &[&Path], data: &Path, out: &Path) -> Command {
    let mut command =
        monet_train(&["report", "--data", text(data), "--split", "test", "--out", text(out)]);
    models.iter().for_each(|model| {
        command.arg("--model").arg(model);
    });
    command
}

#[test]
fn packages_are_reported_side_by_side_and_bad_requests_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, [float, int8]) = packages(folder.path());
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let elsewhere = synthetic::dataset(&elsewhere, 3);
    told_in_full(folder.path(), &data, &elsewhere, [&float, &int8]);
    timed(folder.path(), &data, &int8);
    refused(folder.path(), &data, [&float, &int8]);
}

/// Every output says the same, and the same as `evaluate`.
fn told_in_full(folder: &Path, data: &Path, elsewhere: &Path, [float, int8]: [&Path; 2]) {
    let out = folder.join("reports/first");
    let mut command = report(&[int8, float], data, &out);
    command.arg("--independent").arg(elsewhere);
    let told = String::from_utf8(succeed(command).stdout).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();

    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains(&told), "the page has not what was printed: {page}");
    for part in [
        "Table 1: Task99_Boxes (test split, 2 subjects)",
        "Table 2: Task99_Boxes (independent, 3 subjects)",
        "Not independent: 3 of its images are in Task99_Boxes, too",
        "that is all of every volume",
        "boxes.int8",
        "MoNet-4",
        "not measured: no `monet`",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }

    // Five evaluated subjects, two packages, two protocols, two labels.
    let csv = fs::read_to_string(out.join("subjects.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + (2 + 3) * 2 * 2 * 2, "{csv}");
    assert!(csv.lines().all(|line| line.split(',').count() == 10), "{csv}");
    let evaluated = succeed(monet_train(&[
        "evaluate",
        "--model",
        text(float),
        "--data",
        text(data),
        "--split",
        "test",
    ]));
    let evaluated = String::from_utf8(evaluated.stdout).unwrap();
    let columns: Vec<&str> =
        evaluated.lines().find(|l| l.starts_with("box_09")).unwrap().split_whitespace().collect();
    let score = &json["evaluations"][1]["subjects"][1];
    assert_eq!(score["subject"], "box_09");
    for label in 0..2 {
        let score = &score["whole"][label];
        assert_eq!(format!("{:.4}", score["dice"].as_f64().unwrap()), columns[1 + 2 * label]);
        // Undefined where nothing was found, in both.
        let hd95 = score["hd95_mm"].as_f64().map_or("—".into(), |mm| format!("{mm:.2}"));
        assert_eq!(hd95, columns[2 + 2 * label]);
        assert!(score["hausdorff_mm"].as_f64() >= score["hd95_mm"].as_f64());
        let subjects = json["evaluations"][1]["subjects"].as_array().unwrap();
        let slices = subjects.iter().map(|s| s["slice_dice"][label].as_array().unwrap().len());
        let found = &json["evaluations"][1]["by_slice"][label];
        assert_eq!(found["dice"]["count"], slices.sum::<usize>());
        let [low, high] = [0, 1].map(|end| found["dice_interval"][end].as_f64().unwrap());
        assert!(told.contains(&format!("{low:.3} to {high:.3}")), "{found} is not in {told}");
    }

    let [quantized, whole] = [0, 1].map(|i| &json["models"][i]);
    assert_eq!((&quantized["kind"], &whole["kind"]), (&"int8".into(), &"f32".into()));
    assert_eq!(whole["bytes"], fs::metadata(float.with_extension("onnx")).unwrap().len());
    assert_eq!(whole["parameters"], quantized["parameters"]);
    let counted = succeed(monet_train(&["params", "--width", "4", "--classes", "3"])).stdout;
    assert_eq!(whole["parameters"].to_string(), String::from_utf8(counted).unwrap().trim());

    for picture in ["dice.svg", "hausdorff.svg", "hd95.svg"] {
        let svg = fs::read_to_string(out.join(picture)).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{picture}");
        assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{picture}: {svg}");
        assert!(page.contains(picture));
    }
    // Data sets × labels × packages: Dice is defined everywhere, as the truth always has the label.
    assert_eq!(fs::read_to_string(out.join("dice.svg")).unwrap().matches("<title>").count(), 8);
    assert_eq!(
        fs::read_dir(folder.join("reports")).unwrap().count(),
        1,
        "something was left beside the report"
    );
}

/// Through the device's binary, where `MONET_BIN` names one.
fn timed(folder: &Path, data: &Path, model: &Path) {
    let Some(monet) = std::env::var_os("MONET_BIN") else {
        eprintln!("skipped: times, as MONET_BIN names no monet binary");
        return;
    };
    let out = folder.join("timed");
    let mut command = report(&[model], data, &out);
    command.arg("--monet").arg(monet);
    succeed(command);
    let json: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let (model, version) = (&json["models"][0], &json["monet"]);
    let speed = &model["speed"];
    assert!(
        version.as_str().is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())),
        "{json}"
    );
    assert_eq!((&speed["slices"], &speed["threads"]), (&150.into(), &1.into()), "{model}");
    let (seconds, net) =
        (speed["seconds"].as_f64().unwrap(), speed["net_seconds"].as_f64().unwrap());
    assert!(0.0 < net && net < seconds, "{model}");
}

fn refused(folder: &Path, data: &Path, [float, int8]: [&Path; 2]) {
    let out = folder.join("refused");
    let expect = |command: Command, parts: &[&str]| {
        let message = refuse(command);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        assert!(!out.exists(), "{message}");
    };
    let with = |arguments: &[&str]| {
        let mut command = report(&[int8], data, &out);
        command.args(arguments);
        command
    };
    expect(report(&[], data, &out), &["--model"]);
    expect(report(&[&folder.join("none.toml")], data, &out), &["none.toml", "cannot be read"]);
    expect(report(&[int8, int8], data, &out), &["boxes.int8.toml", "named twice"]);
    expect(with(&["--monet", "/nowhere/monet"]), &["--monet /nowhere/monet", "device's binary"]);
    expect(
        with(&["--monet", env!("CARGO_BIN_EXE_monet-train")]),
        &["device's binary", "monet-train"],
    );
    expect(with(&["--independent", text(data)]), &["same folder"]);
    expect(with(&["--independent", "/nowhere"]), &["/nowhere"]);

    let mut command =
        monet_train(&["report", "--model", text(int8), "--data", text(data), "--split", "train"]);
    command.args(["--out", text(&out)]);
    expect(command, &["--split train", "validation"]);

    // Too few subjects for a test split.
    let few = folder.join("few");
    fs::create_dir(&few).unwrap();
    expect(report(&[int8], &synthetic::dataset(&few, 2), &out), &["2 subject(s)", "at least 4"]);

    // A package of another task, and data of another one.
    let manifest = fs::read_to_string(float).unwrap();
    let other = folder.join("other.toml");
    fs::write(&other, manifest.replace("\"posterior\"", "\"tail\"")).unwrap();
    expect(
        report(&[int8, &other], data, &out),
        &["1 anterior, 2 posterior", "1 anterior, 2 tail", "one task"],
    );
    let single = folder.join("single");
    fs::create_dir(&single).unwrap();
    let single = synthetic::dataset(&single, 5);
    for entry in fs::read_dir(single.join("labelsTr")).unwrap() {
        let mut ones = vec![0.0; 2880];
        ones[1000] = 1.0;
        synthetic::nifti(&entry.unwrap().path(), synthetic::SIZE, &ones);
    }
    expect(report(&[int8], &single, &out), &["label 2 (posterior)", "same task"]);

    // A package that is damaged, and a folder that is taken.
    let onnx = folder.join("boxes.int8.onnx");
    let whole = fs::read(&onnx).unwrap();
    fs::write(&onnx, &whole[..whole.len() / 2]).unwrap();
    expect(report(&[int8], data, &out), &["SHA-256"]);
    fs::write(&onnx, whole).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("report.md"), "mine").unwrap();
    assert!(refuse(report(&[int8], data, &out)).contains("choose another folder"));
    assert_eq!(fs::read_to_string(out.join("report.md")).unwrap(), "mine");
}
