//! Nets that ONNX Runtime quantized, by every engine, against ONNX Runtime on the same file.
//!
//! The judge, `judges/nets.py` of `monet-testing`, makes the nets and says which labels they stand
//! for. It needs a Python with onnx and onnxruntime, which `MONET_PYTHON` names. `MONET_NETS` is
//! the number of random nets.

use std::fs;
use std::path::Path;
use std::process::Command;

use monet::Size;
use monet::core::Kernel;
use monet::engine::{EngineError, EngineFactory};
use monet::onnx::{EngineChoice, package_from_onnx, to_plan};
use monet::package::{Net, Package, plan_file};
use monet_testing::judges;

/// A net of the judge's, with the slices that it was run on.
struct Case {
    name: String,
    kind: String,
    package: Package,
    size: Size,
    /// Planar slices, one after the other.
    input: Vec<f32>,
    slices: usize,
    /// Labels of the file, by ONNX Runtime.
    labels: Vec<u8>,
    /// Of the net before it was quantized.
    float: Vec<u8>,
    /// How much more probable the file's label is than the next.
    margin: Vec<f32>,
}

/// Lets the judge make nets in `folder` and reads them.
fn judge(python: &Path, folder: &Path, args: &[&str]) -> Vec<Case> {
    let script = judges::judge("nets");
    let ran = Command::new(python).arg(script).arg(folder).args(args).output().unwrap();
    assert!(ran.status.success(), "{}", monet_testing::stderr(&ran));
    let text = String::from_utf8(ran.stdout).unwrap();
    let lines = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let numbers: Vec<usize> =
            words.iter().skip(2).filter_map(|word| word.parse().ok()).collect();
        // ONNX Runtime's quantizer tells of its work on the same stream.
        (words.len() == 6 && numbers.len() == 4)
            .then(|| (words[0].to_owned(), words[1].to_owned(), numbers))
    });
    lines.map(|(name, kind, numbers)| read(folder, name, kind, &numbers)).collect()
}

fn read(folder: &Path, name: String, kind: String, numbers: &[usize]) -> Case {
    let &[_, height, width, slices] = numbers else { panic!("{name}: {numbers:?}") };
    let size = Size { height, width };
    let bytes = |ending: &str| fs::read(folder.join(format!("{name}.{ending}"))).unwrap();
    let reals = |ending: &str| -> Vec<f32> {
        bytes(ending).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let package = package_from_onnx(&folder.join(format!("{name}.onnx")), Some(size));
    Case {
        package: package.unwrap_or_else(|e| panic!("{name}: {e}")),
        size,
        input: reals("input"),
        slices,
        labels: bytes("labels"),
        float: bytes("float"),
        margin: reals("margin"),
        name,
        kind,
    }
}

impl Case {
    fn run(
        &self,
        package: &Package,
        choice: impl Into<EngineChoice>,
    ) -> Result<Vec<u8>, EngineError> {
        let mut engine = choice.into().make(package, self.size, 1)?.remove(0);
        let mut labels = vec![0; self.labels.len()];
        let planes = self.input.chunks_exact(self.input.len() / self.slices);
        for (slice, labels) in planes.zip(labels.chunks_exact_mut(self.size.area())) {
            engine.segment(&[slice], labels)?;
        }
        Ok(labels)
    }

    /// Labels by the int8 engine, by tract alone, and of the plan.
    fn every_way(&self) -> Result<Vec<(&'static str, Vec<u8>)>, EngineError> {
        let plan = to_plan(&self.package)?;
        let file = plan_file::seal(&plan.manifest, plan.net.bytes());
        // A plan file's manifest has no odd sizes; the net, which follows it there, has.
        let manifest = self.package.manifest.to_toml();
        let start =
            file.windows(manifest.len()).position(|part| part == manifest.as_bytes()).unwrap();
        let net = &file[start + manifest.len()..];
        let compiled = Package { net: Net::Plan(net.to_vec().into()), ..self.package.clone() };
        Ok(vec![
            ("auto", self.run(&self.package, Kernel::best())?),
            ("tract", self.run(&self.package, EngineChoice::Tract)?),
            ("plan", self.run(&compiled, Kernel::best())?),
        ])
    }

    /// The share of equal labels.
    fn equal(&self, labels: &[u8]) -> f64 {
        let equal = self.labels.iter().zip(labels).filter(|(a, b)| a == b).count();
        equal as f64 / self.labels.len() as f64
    }

    /// How many labels differ although the judge is sure of its own.
    fn sure_and_other(&self, labels: &[u8]) -> usize {
        let all = self.labels.iter().zip(labels).zip(&self.margin);
        all.filter(|((a, b), margin)| a != b && **margin > 0.05).count()
    }
}

#[test]
fn nine_ways_of_quantizing_a_net_give_its_labels() {
    let Some(python) = judges::python() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["foreign", "models/hippocampus.f32.onnx", "models/sample/mni152-hippocampus.nii.gz"];
    let cases = judge(&python, folder.path(), &args);
    assert_eq!(cases.len(), 9);
    for case in cases {
        let found = case.labels.iter().filter(|&&label| label > 0).count();
        assert!(found * 1000 > case.labels.len(), "{}: {found} labels say nothing", case.name);
        for (engine, labels) in case.every_way().unwrap_or_else(|e| panic!("{}: {e}", case.name)) {
            let equal = case.equal(&labels);
            println!("{} {engine}: {:.3} % equal", case.name, 100.0 * equal);
            assert!(equal >= 0.995, "{} {engine}: {equal} equal", case.name);
        }
    }
}

#[test]
fn random_nets_are_as_near_to_onnx_runtime_as_quantization_is_to_the_net() {
    let Some(python) = judges::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let count = std::env::var("MONET_NETS").unwrap_or_else(|_| "16".into());
    let seed = std::env::var("MONET_SEED").unwrap_or_else(|_| "1".into());
    let cases = judge(&python, folder.path(), &["random", &count, &seed]);
    assert_eq!(cases.len().to_string(), count);
    let mut short = Vec::new();
    for case in cases {
        let noise = case.equal(&case.float);
        let every_way = match case.every_way() {
            Ok(labels) => labels,
            Err(error) => {
                short.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        for (engine, labels) in every_way {
            let (equal, other) = (case.equal(&labels), case.sure_and_other(&labels));
            let line = format!(
                "{} {} {engine}: {equal:.4}, f32 {noise:.4}, {other} surely other",
                case.name, case.kind
            );
            println!("{line}");
            if equal < noise - 0.02 || case.kind == "unet" && other > 0 {
                short.push(line);
            }
        }
    }
    assert!(short.is_empty(), "{} fall short:\n{}", short.len(), short.join("\n"));
}

#[test]
fn tract_computes_every_operator_between_quantizers() {
    let Some(python) = judges::python() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cases = judge(&python, folder.path(), &["operators", "1"]);
    assert!(cases.len() > 100);
    let mut short = Vec::new();
    for case in cases {
        for (engine, choice) in [("tract", EngineChoice::Tract), ("auto", Kernel::best().into())] {
            let labels =
                case.run(&case.package, choice).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let (equal, other) = (case.equal(&labels), case.sure_and_other(&labels));
            if equal < 0.9 || other > 0 {
                short.push(format!("{} {engine}: {equal:.4}, {other} surely other", case.name));
            }
        }
    }
    assert!(short.is_empty(), "{} fall short:\n{}", short.len(), short.join("\n"));
}
