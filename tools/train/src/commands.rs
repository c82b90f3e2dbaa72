//! The subcommands: arguments in, the library's steps, figures out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use monet::package::{FitRule, Input, Label, Manifest, Metric, Normalise, Output, Package, sha256};
use monet::volume::Orientation;
use prost::Message;
use tch::{Device, Kind, Tensor};

use crate::batches::Slices;
use crate::checkpoint::Run;
use crate::dataset::{self, Pair, Split, Subject, Subset};
use crate::evaluate::{self, Score};
use crate::export::{self, Limits, Scales};
use crate::interpret::Interpreter;
use crate::loader;
use crate::net::{self, Net, Pass};
use crate::onnx::Model;
use crate::preset;
use crate::quantize::{self, Method};
use crate::settings::Settings;
use crate::topology::Arch;
use crate::train::Course;
use crate::tune;

/// Fine-tuning's peak rate, as a part of training's.
const TUNE_RATE: f64 = 0.05;

/// Trains.
#[derive(Debug, clap::Args)]
pub struct Train {
    /// Folder in the layout of the Medical Segmentation Decathlon
    #[arg(long)]
    data: PathBuf,
    /// Folder of the run; an interrupted run there is resumed
    #[arg(long)]
    out: PathBuf,
    /// Leave off after this many steps, at the end of an epoch, to be resumed later
    #[arg(long)]
    stop_after: Option<u64>,
    /// Batches made ahead on a thread of their own, which changes nothing about them [default: 2 on
    /// a GPU, 0 on a CPU]
    #[arg(long, value_name = "BATCHES", value_parser = clap::value_parser!(u8).range(..=16))]
    ahead: Option<u8>,
    #[command(flatten)]
    settings: Settings,
}

impl Train {
    pub fn run(self, device: Device) -> Result<()> {
        let mut settings = self.settings;
        settings.check()?;
        let (package, fingerprint) = settings.complete(&self.data)?;
        if let Some(fingerprint) = &fingerprint {
            eprint!("{fingerprint}");
        }
        let course = Course::new(&self.data, &settings, &package, device)?;
        let run = Run(self.out);
        let state = run.open(&settings, &package, fingerprint.as_ref(), device)?;
        course.train(&run, state, self.stop_after, self.ahead.map(usize::from))
    }
}

/// Which weights.
#[derive(Debug, clap::Args)]
struct Trained {
    /// Folder of a training run
    #[arg(long)]
    run: PathBuf,
    /// Take the weights at the run's end, not those that were best on the validation split: for a
    /// run whose split is too small to choose by
    #[arg(long)]
    last: bool,
}

impl Trained {
    /// A run's package and weights.
    fn load(&self, device: Device) -> Result<(Manifest, Net)> {
        let run = Run(self.run.clone());
        let settings = run.settings()?;
        let package = run.package(&settings)?;
        let weights = if self.last { Run::last_net } else { Run::net };
        let net = weights(&run, settings.topology(&package), device)?;
        Ok((package, net))
    }
}

/// Exports.
#[derive(Debug, clap::Args)]
pub struct Export {
    #[command(flatten)]
    trained: Trained,
    /// The manifest to write; the ONNX file goes beside it
    #[arg(long)]
    out: PathBuf,
}

impl Export {
    /// On the CPU always: a GPU's convolutions may round to TF32, in which file and network differ
    /// by more than a mistake would show.
    pub fn run(self) -> Result<()> {
        let (package, net) = self.trained.load(Device::Cpu)?;
        let model = export::build(&net.topology, &export::fold(&net)?, None, &package.task)?;
        let bytes = write_package(&self.out, &package, |path| export::write(&model, path))?;
        let error = export::verify(&net, &bytes, package.input.size())?;
        println!(
            "{}: {} bytes, differs from the network by at most {error:.1e}",
            self.out.display(),
            bytes.len()
        );
        Ok(())
    }
}

/// Quantizes.
#[derive(Debug, clap::Args)]
pub struct Quantize {
    #[command(flatten)]
    trained: Trained,
    /// Folder of the data that it was trained on
    #[arg(long)]
    data: PathBuf,
    /// The manifest to write; the ONNX file goes beside it
    #[arg(long)]
    out: PathBuf,
    /// How ranges are chosen
    #[arg(long, value_enum, default_value = "mse")]
    method: Method,
    /// Training subjects to calibrate on, spread over the split
    #[arg(long, default_value_t = 24)]
    subjects: usize,
    /// Bits of a weight: 7 for devices whose kernels add pairs of products in 16 bits
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(7..=8))]
    weight_bits: u8,
    /// Bits of a value between the layers: 7 for the same kernels, with the whole range left to the
    /// weights
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(7..=8))]
    activation_bits: u8,
    /// Show what each tensor's quantization alone does to the result, the most harmful first
    #[arg(long)]
    sensitivity: bool,
    /// Fine-tune with rounded weights and values where any label's mean Dice loses more than this
    #[arg(long, default_value_t = 0.002)]
    tune_above: f64,
    /// Steps of that fine-tuning; 0 leaves it out
    #[arg(long, default_value_t = 200)]
    tune_steps: u64,
    /// The most that any label's mean Dice may lose
    #[arg(long, default_value_t = 0.005)]
    max_drop: f64,
}

impl Quantize {
    pub fn run(self, device: Device) -> Result<()> {
        let (package, net) = self.trained.load(device)?;
        let settings = Run(self.trained.run.clone()).settings()?;
        let pairs = dataset::list(&self.data)?;
        let load = |pairs: &[Pair]| -> Result<Vec<Subject>> {
            pairs.iter().map(|p| dataset::load(p, &package)).collect()
        };
        let training = dataset::split(&pairs, Split::Train, settings.fold)?;
        let every = training.len().div_ceil(self.subjects.max(1));
        let calibration: Vec<Pair> = training.iter().step_by(every).cloned().collect();
        let batches: Vec<Tensor> =
            load(&calibration)?.iter().flat_map(|s| s.batches(device)).collect();
        let folded = export::fold(&net)?;
        let limits = Limits::bits(self.activation_bits, self.weight_bits);
        let scales = quantize::calibrate(&net.topology, &folded, &batches, self.method, limits)?;
        if self.sensitivity {
            let threshold = evaluate::threshold(&package);
            let rows =
                quantize::sensitivity(&net.topology, &folded, &scales, &batches[0], threshold)?;
            println!("{:<28} {:>9} {:>9}", "quantized alone", "MSE", "Dice");
            rows.iter().for_each(|r| println!("{:<28} {:>9.2e} {:>9.5}", r.name, r.mse, r.dice));
        }

        let validation = load(&dataset::split(&pairs, Split::Validation, settings.fold)?)?;
        let float = evaluate::scores(&validation, &package, device, false, &|x| {
            Ok(net.forward(x, Pass::Inference))
        })?;
        let float = evaluate::dice(&float, &package);
        let judge = |model: &Model| -> Result<Vec<f64>> {
            let file = Interpreter::new(&model.encode_to_vec(), device)?;
            let scores =
                evaluate::scores(&validation, &package, device, false, &|x| logits(&file, x))?;
            Ok(evaluate::dice(&scores, &package))
        };
        let mut model = export::build(&net.topology, &folded, Some(&scales), &package.task)?;
        let mut int8 = judge(&model)?;
        println!("Dice on {} validation subjects   f32      int8", validation.len());
        print_drop(&package, &float, &int8);
        if self.tune_steps > 0 && quantize::worst_drop(&float, &int8) > self.tune_above {
            let slices = Slices::read(&training, &settings, &package, device)?;
            let tuned = self.tune(&net, &scales, &slices, &settings)?;
            let tuned = export::build(
                &tuned.topology,
                &export::fold(&tuned)?,
                Some(&scales),
                &package.task,
            )?;
            let found = judge(&tuned)?;
            println!("after {} steps of quantization-aware fine-tuning", self.tune_steps);
            print_drop(&package, &float, &found);
            if quantize::worst_drop(&float, &found) < quantize::worst_drop(&float, &int8) {
                (model, int8) = (tuned, found);
            } else {
                println!("no better: the file is written as it was before");
            }
        }
        write_package(&self.out, &package, |path| export::write(&model, path))?;
        let names: Vec<&str> = package.labels.iter().map(|l| l.name.as_str()).collect();
        quantize::check_drop(&names, &float, &int8, self.max_drop)
    }

    /// Fine-tunes on the training slices, as the run drew them.
    fn tune(
        &self,
        net: &Net,
        scales: &Scales,
        slices: &Slices,
        settings: &Settings,
    ) -> Result<Net> {
        let folded = tune::folded(net)?;
        let draw = |step: u64| loader::batch(slices, settings, settings.steps + step);
        tune::tune(&folded, scales, self.tune_steps, TUNE_RATE * settings.rate, draw)?;
        Ok(folded)
    }
}

fn print_drop(package: &Manifest, float: &[f64], int8: &[f64]) {
    for ((label, f), q) in package.labels.iter().zip(float).zip(int8) {
        println!("  {:<28} {f:.4}   {q:.4}   {:+.4}", label.name, q - f);
    }
}

/// Evaluates.
#[derive(Debug, clap::Args)]
pub struct Evaluate {
    /// A package's manifest
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    subset: Subset,
    /// Write the figures into the manifest
    #[arg(long)]
    record: bool,
}

impl Evaluate {
    pub fn run(self, device: Device) -> Result<()> {
        let mut package = Package::load(&self.model)?;
        let net = Interpreter::new(package.net.bytes(), device)?;
        let manifest = &package.manifest;
        let subjects = self.subset.subjects(manifest)?;
        let (mut scores, mut slices) = (Vec::new(), vec![Vec::new(); manifest.labels.len()]);
        for subject in &subjects {
            let labels = evaluate::segment(subject, manifest, device, &|x| logits(&net, x))?;
            scores.push(evaluate::of_subject(subject, manifest, &labels, true));
            let pixels = subject.geometry.slice_size().area();
            for (label, found) in manifest.labels.iter().zip(&mut slices) {
                found.extend(evaluate::by_slice(&labels, &subject.labels, label.value, pixels));
            }
        }
        print_scores(&subjects, manifest, &scores);
        // A net without neighbours sees slices as images of their own.
        let alone = manifest.input.neighbours == 0;
        let slices: Vec<_> =
            slices.iter().filter(|_| alone).map(|s| evaluate::Summary::of(s)).collect();
        for (label, s) in manifest.labels.iter().zip(&slices) {
            println!("{} in {} slices: Dice {:.4} ± {:.4}", label.name, s.count, s.mean, s.std);
        }
        if self.record {
            package.manifest.metrics = self.metrics(manifest, &scores, &slices);
            fs::write(&self.model, package.manifest.to_toml())
                .with_context(|| self.model.display().to_string())?;
        }
        Ok(())
    }

    /// Those over subjects, and over slices where they are given.
    fn metrics(
        &self,
        manifest: &Manifest,
        scores: &[Vec<Score>],
        slices: &[evaluate::Summary],
    ) -> Vec<Metric> {
        let Subset { data, split, fold } = &self.subset;
        let subjects = format!("{}, {} subjects, whole volumes", split.name(), scores.len());
        let file = |path: &Path| {
            path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let fold = fold.map(|fold| format!(" --fold {}", String::from(fold))).unwrap_or_default();
        let command = format!(
            "monet-train evaluate --model {} --data {} --split {}{fold}",
            file(&self.model),
            file(data),
            split.name()
        );
        let rounded = |v: f64| (v * 1e4).round() / 1e4;
        let metric = |name: &str, label: &Label, s: evaluate::Summary| Metric {
            name: name.into(),
            label: label.name.clone(),
            mean: rounded(s.mean),
            std: rounded(s.std),
            split: subjects.clone(),
            command: command.clone(),
        };
        let labels = manifest.labels.iter().enumerate();
        labels
            .flat_map(|(i, label)| {
                let by_slice = slices.get(i).map(|&s| Metric {
                    split: format!("{}, {} slices", split.name(), s.count),
                    ..metric("Dice per slice", label, s)
                });
                [
                    metric("Dice", label, evaluate::summary(scores, i, |s| s.dice)),
                    metric("HD95 (mm)", label, evaluate::summary(scores, i, |s| s.hd95)),
                ]
                .into_iter()
                .chain(by_slice)
            })
            .collect()
    }
}

fn print_scores(subjects: &[Subject], package: &Manifest, scores: &[Vec<Score>]) {
    print!("{:<20}", "subject");
    package.labels.iter().for_each(|l| print!("{:>16} Dice {:>12}", l.name, "HD95 mm"));
    println!();
    let value = |v: Option<f64>, digits: usize| v.map_or("—".into(), |v| format!("{v:.digits$}"));
    for (subject, scores) in subjects.iter().zip(scores) {
        print!("{:<20}", subject.name);
        scores.iter().for_each(|s| print!("{:>21} {:>12}", value(s.dice, 4), value(s.hd95, 2)));
        println!();
    }
    print!("{:<20}", "mean ± std");
    for i in 0..package.labels.len() {
        let (d, h) =
            (evaluate::summary(scores, i, |s| s.dice), evaluate::summary(scores, i, |s| s.hd95));
        let spread = |s: evaluate::Summary, digits: usize| {
            if s.count == 0 {
                "—".into()
            } else {
                format!("{:.digits$} ± {:.digits$}", s.mean, s.std)
            }
        };
        print!("{:>21} {:>12}", spread(d, 4), spread(h, 2));
    }
    println!();
}

/// Shows a task.
#[derive(Debug, clap::Args)]
pub struct Task {
    /// Folder in the layout of the Medical Segmentation Decathlon
    #[arg(long)]
    data: PathBuf,
    /// As for `train`: a preset, a task file or `auto`
    #[arg(long)]
    task: Option<String>,
}

impl Task {
    pub fn run(self) -> Result<()> {
        let (name, package, fingerprint) = preset::resolve(self.task.as_deref(), &self.data, None)?;
        match fingerprint {
            Some(fingerprint) => eprint!("{fingerprint}"),
            None => eprintln!("task {name}"),
        }
        print!("{}", preset::task_file(&package)?);
        Ok(())
    }
}

/// Counts parameters.
#[derive(Debug, clap::Args)]
pub struct Params {
    /// Network
    #[arg(long, value_enum, default_value = "monet")]
    arch: Arch,
    /// Input channels
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Output channels
    #[arg(long, default_value_t = 1)]
    classes: usize,
    /// Channels of the first block, instead of the network's own
    #[arg(long)]
    width: Option<usize>,
}

impl Params {
    pub fn run(self) -> Result<()> {
        let width = self.width.unwrap_or(self.arch.width());
        ensure!(self.channels > 0 && self.classes > 0 && width > 0, "all three must be positive");
        println!("{}", self.arch.topology(self.channels, self.classes, width).parameters());
        Ok(())
    }
}

/// Writes the benchmark networks.
#[derive(Debug, clap::Args)]
pub struct BenchNet {
    /// Folder to write to
    #[arg(long)]
    out: PathBuf,
    /// Networks
    #[arg(long, value_enum, value_delimiter = ',', default_value = "monet")]
    arch: Vec<Arch>,
    /// Side of the slices, a multiple of 4 (U-Nets: of 16)
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Seed of the weights
    #[arg(long, default_value_t = 1)]
    seed: i64,
}

impl BenchNet {
    pub fn run(self, device: Device) -> Result<()> {
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        self.arch.iter().try_for_each(|&arch| self.write(arch, device))
    }

    fn write(&self, arch: Arch, device: Device) -> Result<()> {
        let topology = arch.topology(1, 1, arch.width());
        let package = preset::fit(bench_manifest(arch, self.size), &topology)?;
        tch::manual_seed(self.seed);
        let net = Net::new(topology, device);
        let side = self.size as i64;
        let slices = || Tensor::rand([2, 1, side, side], (Kind::Float, device));
        // A few forward passes in training mode give batch normalisation the statistics that keep
        // values in range.
        tch::no_grad(|| {
            (0..8).for_each(|_| {
                drop(net.forward(&slices(), Pass::Training { drop: 0.0, kind: Kind::Float }))
            })
        });
        let folded = export::fold(&net)?;
        let limits = Limits::bits(8, 8);
        let scales =
            quantize::calibrate(&net.topology, &folded, &[slices()], Method::Minmax, limits)?;
        for (kind, scales) in [("f32", None), ("int8", Some(&scales))] {
            let model = export::build(&net.topology, &folded, scales, &package.task)?;
            let path = self.out.join(format!("{}.{kind}.toml", package.name));
            let bytes = write_package(&path, &package, |path| export::write(&model, path))?;
            println!("{}: {} bytes", path.display(), bytes.len());
        }
        Ok(())
    }
}

/// What the benchmark networks say of themselves.
fn bench_manifest(arch: Arch, size: usize) -> Manifest {
    let mut manifest = preset::manifest("hippocampus").expect("the preset exists");
    manifest.name = format!("{}-{size}", arch.name());
    manifest.task = "Untrained: seeded random weights, for measuring speed only".into();
    manifest.orientation = Orientation::default();
    manifest.input =
        Input { width: size, height: size, channels: 1, neighbours: 0, ceiling: 1024, step: 4 };
    manifest.accepts = None;
    manifest.normalise = Normalise::Window { low: -150.0, high: 200.0 };
    manifest.fit = FitRule::Resize;
    manifest.output = Output::Sigmoid { threshold: 0.5 };
    manifest.labels.truncate(1);
    manifest.labels[0].name = "nothing".into();
    manifest.data = None;
    manifest
}

/// Something whose labels are those of the file's probabilities: their logarithm or logit.
pub fn logits(file: &Interpreter, x: &Tensor) -> Result<Tensor> {
    let p = file.run(x)?;
    Ok(if p.size()[1] == 1 { net::logit(&p) } else { p.log() })
}

/// Writes `NAME.toml` and `NAME.onnx` beside it.
fn write_package(
    manifest_path: &Path,
    package: &Manifest,
    write: impl Fn(&Path) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    ensure!(
        manifest_path.extension().is_some_and(|e| e == "toml"),
        "--out: expected a name that ends in .toml"
    );
    let onnx = manifest_path.with_extension("onnx");
    let bytes = write(&onnx)?;
    let model = onnx.file_name().context("--out names no file")?.to_string_lossy().into_owned();
    let manifest = Manifest { model, sha256: sha256(&bytes), ..package.clone() };
    manifest.validate()?;
    fs::write(manifest_path, manifest.to_toml())
        .with_context(|| manifest_path.display().to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_network_has_a_package_to_measure_speed_with() {
        for &arch in Arch::value_variants() {
            let package = preset::fit(bench_manifest(arch, 256), &arch.topology(1, 1, 4)).unwrap();
            assert_eq!(package.name, format!("{}-256", arch.name()));
        }
    }
}
