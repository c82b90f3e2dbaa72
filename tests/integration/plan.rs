//! Plan files through the real binary: the same labels as the package they were made of, and one
//! clear error for each that is damaged or of another kind.

use std::fs;
use std::path::{Path, PathBuf};

use monet::core::{self, Kernel, Plan, Size};
use monet::onnx::to_plan;
use monet::package::{Net, Package, plan_file};
use monet_testing::{nets, nifti::Nifti, skip, stderr, text};
use proptest::prelude::*;

use crate::monet;

const SAMPLE: &str = "models/sample/mni152-hippocampus.nii.gz";

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn embedded_plan() -> Vec<u8> {
    fs::read(models().join("hippocampus.plan")).unwrap()
}

/// Runs a command that must fail with one line that has all of `expected`, and leave the folder as
/// it was.
fn refused(folder: &Path, args: &[&str], expected: &[&str]) {
    let listing = || {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listing();
    let ran = monet(args);
    let message = stderr(&ran);
    assert_eq!(ran.status.code(), Some(1), "{args:?}: {message}");
    assert_eq!(message.lines().count(), 1, "one error, not {message}");
    expected.iter().for_each(|part| assert!(message.contains(part), "no {part:?} in {message}"));
    assert_eq!(listing(), before);
}

fn segment_refused(folder: &Path, model: &Path, expected: &[&str]) {
    let input = Nifti::blob([16, 16, 3]).write(&folder.join("v.nii"));
    let output = folder.join("o.nii.gz");
    let args =
        ["segment", text(&input), "-o", text(&output), "--model", text(model), "--accept-any"];
    refused(folder, &args, expected);
}

#[test]
fn the_embedded_plan_is_the_package_compiled() {
    let renew = "`monet compile models/hippocampus.int8.toml --force -o models/hippocampus.plan`";
    let compiled = to_plan(&Package::load(&models().join("hippocampus.int8.toml")).unwrap());
    let compiled = compiled.unwrap();
    let file = plan_file::seal(&compiled.manifest, compiled.net.bytes());
    assert!(file == embedded_plan(), "{renew} renews it");
}

#[test]
fn a_plan_gives_the_labels_of_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("made.plan");
    let made = monet(&["compile", "-o", text(&plan)]);
    assert!(made.status.success(), "{}", stderr(&made));
    let labels = |args: &[&str]| {
        let output = folder.path().join("labels.nii");
        let run = ["segment", SAMPLE, "-o", text(&output), "--force", "--quiet"];
        let ran = monet(&[&run[..], args].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
        fs::read(output).unwrap()
    };
    let expected = labels(&[]);
    assert!(expected.iter().filter(|v| **v == 2).count() > 100);
    // The slow oracle is left to `monet doctor`, which runs every kernel.
    for kernel in Kernel::available().filter(|k| *k != Kernel::Scalar) {
        assert!(
            labels(&["--kernel", kernel.name(), "--model", text(&plan)]) == expected,
            "{kernel}"
        );
    }
}

#[test]
fn a_plan_describes_itself_as_its_package_does() {
    let describe = |model: &[&str]| -> serde_json::Value {
        let ran = monet(&[&["inspect", "--json"], model].concat());
        serde_json::from_slice(&ran.stdout).unwrap()
    };
    let (package, plan) = (describe(&[]), describe(&[text(&models().join("hippocampus.plan"))]));
    assert_eq!(package["manifest"], plan["manifest"]);
    for figure in ["engine", "parameters", "macs"] {
        assert_eq!(package["net"][figure], plan["net"][figure], "{figure}");
    }
}

#[test]
fn damaged_plans_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = embedded_plan();
    let case = |name: &str, bytes: &[u8], expected: &[&str]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        segment_refused(folder.path(), &path, &[&[name], expected].concat());
    };
    let mut newer = whole.clone();
    newer[8] = 2;
    case(
        "newer.plan",
        &newer,
        &["plan is of version 2, this program reads version 1", "compile it again"],
    );
    case("header.plan", &whole[..30], &["breaks off after 30 bytes"]);
    case("half.plan", &whole[..200_000], &["SHA-256", "damaged or cut off"]);
    case("tail.plan", &[&whole[..], b"x"].concat(), &["SHA-256"]);
    case("magic.plan", &whole[..5], &["neither a model manifest nor a plan"]);
    let mut flipped = whole.clone();
    flipped[300_000] ^= 4;
    case("flipped.plan", &flipped, &["SHA-256"]);
    let onnx = fs::read(models().join("hippocampus.int8.onnx")).unwrap();
    case("net.onnx", &onnx, &["neither a model manifest nor a plan", ".toml"]);
}

#[test]
fn whole_files_with_senseless_nets_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Net::Plan(net) = Package::load(&models().join("hippocampus.plan")).unwrap().net else {
        panic!()
    };
    let manifest = Package::embedded().manifest;
    let path = folder.path().join("odd.plan");
    fs::write(&path, plan_file::seal(&manifest, &net[..1000])).unwrap();
    segment_refused(folder.path(), &path, &["odd.plan", "the net breaks off at byte"]);

    let mut graph = core::decode(&net).unwrap();
    graph.output = core::Output::Sigmoid { threshold: 0.5 };
    fs::write(&path, plan_file::seal(&manifest, &core::encode(&graph).unwrap())).unwrap();
    segment_refused(folder.path(), &path, &["odd.plan", "signature", "do not belong together"]);

    let mut graph = core::decode(&net).unwrap();
    let core::Operation::Convolve { conv, .. } = &mut graph.nodes[0].operation else { panic!() };
    conv.scales[0] = f32::NAN;
    fs::write(&path, plan_file::seal(&manifest, &core::encode(&graph).unwrap())).unwrap();
    segment_refused(folder.path(), &path, &["odd.plan", "cannot be planned", "scale NaN"]);
}

/// Biases that leave 32 bits when the zero point's share is added are refused before it is.
#[test]
fn sums_beyond_32_bits_are_refused() {
    for bias in [i32::MAX, i32::MIN] {
        let mut graph = nets::layer(64, 16, 1);
        let core::Operation::Convolve { conv, .. } = &mut graph.nodes[0].operation else {
            panic!()
        };
        conv.bias[0] = bias;
        conv.weights.fill(if bias > 0 { -127 } else { 127 });
        let refused = Plan::new(&graph, Size::new(8, 8), Kernel::Scalar);
        assert!(matches!(refused, Err(core::PlanError::Requant { .. })), "{bias}");
    }
}

/// No byte of a plan file can be another.
#[test]
fn every_flip_of_a_plan_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let graph = nets::layer(1, 1, 1);
    let mut plan = plan_file::seal(&Package::embedded().manifest, &core::encode(&graph).unwrap());
    let path = folder.path().join("flipped.plan");
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Package::load(&path)
    };
    assert!(load(&plan).is_ok());
    for at in 0..plan.len() {
        let bit = 1 << (at % 8);
        plan[at] ^= bit;
        assert!(load(&plan).is_err(), "byte {at}");
        plan[at] ^= bit;
    }
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| models().join(name);
    let out = folder.path().join("new.plan");
    let args = |package: &str| {
        ["compile".into(), text(&path(package)).to_owned(), "-o".into(), text(&out).into()]
    };
    let refused = |package: &str, expected: &[&str]| {
        let args = args(package);
        refused(folder.path(), &args.each_ref().map(|s: &String| s.as_str()), expected);
    };
    refused("hippocampus.plan", &["is a plan already"]);
    refused("hippocampus.f32.toml", &["does not take as a whole", "enc0_in", "more nodes"]);
    refused("hippocampus.int8.onnx", &["neither a model manifest nor a plan"]);
    refused("absent.toml", &["cannot be read"]);
    fs::write(&out, "an earlier file").unwrap();
    refused("hippocampus.int8.toml", &["exists already", "--force"]);
    assert_eq!(fs::read_to_string(&out).unwrap(), "an earlier file");
}

#[test]
fn a_kernel_that_the_cpu_lacks_is_refused() {
    let Some(missing) = Kernel::ALL.into_iter().find(|k| !k.is_available()) else {
        skip("this CPU runs every kernel");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("o.nii.gz");
    let plan = models().join("hippocampus.plan");
    let run = [
        "segment",
        SAMPLE,
        "-o",
        text(&output),
        "--model",
        text(&plan),
        "--kernel",
        missing.name(),
    ];
    refused(folder.path(), &run, &["cannot run the kernel", missing.name()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A hostile file may have a right hash: its net is read, planned and, where that works, run
    /// without a panic.
    #[test]
    fn a_net_with_any_bytes_changed_is_an_error_or_a_net(
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (graph, [height, width]) = nets::any(&mut monet_testing::Random(seed));
        let mut bytes = core::encode(&graph).unwrap();
        prop_assert_eq!(core::decode(&bytes), Ok(graph));
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let Ok(graph) = core::decode(&bytes) else { return Ok(()) };
        for kernel in Kernel::available() {
            let Ok(plan) = Plan::new(&graph, Size::new(height, width), kernel) else { continue };
            // What a change makes large is planned and not run.
            if plan.arena_len() > 1 << 20 || plan.macs() > 1 << 24 {
                continue;
            }
            let mut arena = vec![0; plan.arena_len()];
            let mut labels = vec![0; plan.output_size().area()];
            plan.run(&mut arena, &[&vec![0.5; plan.input_len()]], &mut labels).unwrap();
        }
    }
}
