//! The training run: batches, steps, validation, checkpoints; the same result however often it is interrupted.
//!
//! Every step's random draws are seeded by the run's seed and the step's number, and a checkpoint holds weights, averaged
//! weights and the optimizer's state, so that a resumed run on a CPU ends with the same bits as an uninterrupted one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use monet::package::Manifest;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::augment::Augment;
use crate::dataset::{self, Split, Subject};
use crate::evaluate;
use crate::loss::loss;
use crate::net::{Net, Pass};
use crate::optim::{self, Adam};
use crate::topology::Topology;

/// What a run is made of; kept in its folder as `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Settings {
    /// Task preset
    #[arg(long, default_value = "hippocampus")]
    pub task: String,
    /// Channels of the network's first block; the paper's MoNet has 16
    #[arg(long, default_value_t = 16)]
    pub width: usize,
    /// Training steps
    #[arg(long, default_value_t = 2000)]
    pub steps: u64,
    /// Steps between validations and checkpoints
    #[arg(long, default_value_t = 100)]
    pub epoch: u64,
    /// Slices in a step
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 2e-3)]
    pub rate: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = 1e-4)]
    pub weight_decay: f64,
    /// Chance that spatial dropout drops a channel
    #[arg(long, default_value_t = 0.2)]
    pub drop: f64,
    /// Part of each batch drawn among slices that have a label
    #[arg(long, default_value_t = 0.7)]
    pub foreground: f64,
    /// Decay of the weights' moving average
    #[arg(long, default_value_t = 0.99)]
    pub average: f64,
    /// Compute activations in bf16: twice as fast on a CPU with AMX; weights and their average stay f32
    #[arg(long)]
    #[serde(default)]
    pub bf16: bool,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Changes to the slices
    #[command(flatten)]
    pub augment: Augment,
}

impl Settings {
    /// The network that these settings and a package ask for.
    #[must_use]
    pub fn topology(&self, package: &Manifest) -> Topology {
        Topology::monet(package.input.channels, package.classes(), self.width)
    }
}

/// Slices on the training device.
struct Slices {
    images: Vec<Tensor>,
    labels: Vec<Tensor>,
    /// Numbers of the slices that have a label.
    foreground: Vec<usize>,
    size: [i64; 2],
}

impl Slices {
    fn new(subjects: &[Subject], package: &Manifest, device: Device) -> Self {
        let (mut images, mut labels, mut foreground) = (Vec::new(), Vec::new(), Vec::new());
        for subject in subjects {
            let [height, width] = subject.net_size();
            let shape = [package.input.channels as i64, height as i64, width as i64];
            let pairs = subject.net.chunks_exact(subject.fit.net_len());
            for (image, truth) in pairs.zip(subject.net_labels.chunks_exact(height * width)) {
                if truth.iter().any(|&v| v > 0) {
                    foreground.push(images.len());
                }
                images.push(Tensor::from_slice(image).reshape(shape).to_device(device));
                let truth = Tensor::from_slice(truth).reshape(&shape[1..]);
                labels.push(truth.to_kind(Kind::Int64).to_device(device));
            }
        }
        Self { images, labels, foreground, size: [package.input.height as i64, package.input.width as i64] }
    }

    /// A batch at the package's size, from tch's random state; larger slices are cut at a random place.
    fn draw(&self, settings: &Settings) -> (Tensor, Tensor) {
        let wanted = (settings.batch as f64 * settings.foreground).round() as usize;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for i in 0..settings.batch {
            let slice = if i < wanted && !self.foreground.is_empty() {
                self.foreground[below(self.foreground.len())]
            } else {
                below(self.images.len())
            };
            let (mut image, mut label) =
                (self.images[slice].shallow_clone(), self.labels[slice].shallow_clone());
            for (axis, &side) in (0i64..).zip(&self.size) {
                let start = below((label.size()[axis as usize] - side + 1) as usize) as i64;
                image = image.narrow(axis + 1, start, side);
                label = label.narrow(axis, start, side);
            }
            images.push(image);
            labels.push(label);
        }
        (Tensor::stack(&images, 0), Tensor::stack(&labels, 0))
    }
}

/// A number below `n`, from tch's random state.
fn below(n: usize) -> usize {
    Tensor::randint(n as i64, [1], (Kind::Int64, Device::Cpu)).int64_value(&[0]) as usize
}

/// The state of a run between two steps.
struct State {
    net: Net,
    averaged: Net,
    adam: Adam,
    step: u64,
    best: f64,
}

impl State {
    fn new(settings: &Settings, package: &Manifest, device: Device) -> Self {
        tch::manual_seed(settings.seed as i64);
        let net = Net::new(settings.topology(package), device);
        let averaged = net.duplicate();
        let adam = Adam::new(&net, settings.weight_decay);
        Self { net, averaged, adam, step: 0, best: f64::NEG_INFINITY }
    }

    fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = self.net.named("net/");
        tensors.extend(self.averaged.named("average/"));
        tensors.extend(self.adam.named());
        tensors.push(("run/step".into(), Tensor::from_slice(&[self.step as i64])));
        tensors.push(("run/best".into(), Tensor::from_slice(&[self.best])));
        save(&tensors, path)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let tensors = Tensor::read_safetensors(path).with_context(|| path.display().to_string())?;
        self.net.load("net/", &tensors)?;
        self.averaged.load("average/", &tensors)?;
        self.adam.load(&tensors)?;
        let find = |name: &str| {
            tensors
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, t)| t)
                .with_context(|| format!("no tensor {name:?}"))
        };
        self.step = find("run/step")?.int64_value(&[0]) as u64;
        self.best = find("run/best")?.double_value(&[0]);
        Ok(())
    }
}

/// Writes tensors so that a kill leaves either the old file or the new one.
fn save(tensors: &[(String, Tensor)], path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    let cpu: Vec<(&str, Tensor)> =
        tensors.iter().map(|(n, t)| (n.as_str(), t.detach().to_device(Device::Cpu).contiguous())).collect();
    Tensor::write_safetensors(&cpu, &part).with_context(|| part.display().to_string())?;
    fs::rename(&part, path).with_context(|| path.display().to_string())
}

/// A run's folder.
#[derive(Debug, Clone)]
pub struct Run(pub PathBuf);

impl Run {
    fn settings_path(&self) -> PathBuf {
        self.0.join("run.json")
    }
    fn last(&self) -> PathBuf {
        self.0.join("last.safetensors")
    }
    fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }
    fn log(&self) -> PathBuf {
        self.0.join("log.csv")
    }

    /// The settings that the run was started with.
    ///
    /// # Errors
    /// Where there is no run.
    pub fn settings(&self) -> Result<Settings> {
        let path = self.settings_path();
        let text = fs::read(&path)
            .with_context(|| format!("{}: expected a folder made by `monet-train train`", path.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// The best averaged weights.
    ///
    /// # Errors
    /// Where there is no checkpoint or it is of another topology.
    pub fn net(&self, topology: Topology, device: Device) -> Result<Net> {
        let path = self.best();
        let tensors = Tensor::read_safetensors(&path).with_context(|| path.display().to_string())?;
        let mut net = Net::new(topology, device);
        net.load("", &tensors).with_context(|| path.display().to_string())?;
        Ok(net)
    }

    /// Begins the run, or takes it up where its last checkpoint left it.
    fn open(&self, settings: &Settings, package: &Manifest, device: Device) -> Result<State> {
        fs::create_dir_all(&self.0).with_context(|| self.0.display().to_string())?;
        let mut state = State::new(settings, package, device);
        if self.settings_path().exists() {
            let found = self.settings()?;
            ensure!(
                found == *settings,
                "{} holds a run with other settings: choose another --out, or remove it\n  there: {found:?}\n  asked: {settings:?}",
                self.0.display()
            );
        } else {
            fs::write(self.settings_path(), serde_json::to_vec_pretty(settings)?)?;
        }
        if self.last().exists() {
            state.load(&self.last())?;
        }
        self.begin_log(&state, package)?;
        Ok(state)
    }

    /// Starts the log, or cuts off what was logged after the checkpoint.
    fn begin_log(&self, state: &State, package: &Manifest) -> Result<()> {
        let old = fs::read_to_string(self.log()).unwrap_or_default();
        let step = |line: &str| line.split(',').next().and_then(|s| s.parse::<u64>().ok());
        let names: Vec<String> = package.labels.iter().map(|l| format!("dice_{}", l.name)).collect();
        let mut text = format!("step,rate,loss,{}\n", names.join(","));
        old.lines()
            .filter(|l| step(l).is_some_and(|s| s <= state.step))
            .for_each(|l| text += &format!("{l}\n"));
        fs::write(self.log(), text).with_context(|| self.log().display().to_string())
    }

    fn write_log(&self, line: &str) -> Result<()> {
        let mut file = fs::OpenOptions::new().append(true).open(self.log())?;
        writeln!(file, "{line}").with_context(|| self.log().display().to_string())
    }
}

/// Trains, from the start or from the last checkpoint; `stop_after` ends the process' part early, as a kill would.
///
/// # Errors
/// Bad data (naming the subject, before training begins), unwritable folder, a folder with another run.
pub fn train(
    data: &Path,
    run: &Run,
    settings: &Settings,
    package: &Manifest,
    device: Device,
    stop_after: Option<u64>,
) -> Result<()> {
    ensure!(
        settings.batch > 0 && settings.steps > 0 && settings.epoch > 0,
        "--batch, --steps and --epoch must be positive"
    );
    let pairs = dataset::list(data)?;
    let load = |which| -> Result<Vec<Subject>> {
        dataset::split(&pairs, which)?.iter().map(|pair| dataset::load(pair, package)).collect()
    };
    let (training, validation) = (load(Split::Train)?, load(Split::Validation)?);
    let slices = Slices::new(&training, package, device);
    ensure!(
        !slices.foreground.is_empty(),
        "no slice of the training split has a label: there is nothing to learn"
    );
    let mut state = run.open(settings, package, device)?;
    eprintln!(
        "{} training and {} validation subjects, {} slices ({} with labels), {} parameters, on {device:?}, from step {}",
        training.len(),
        validation.len(),
        slices.images.len(),
        slices.foreground.len(),
        state.net.topology.parameters(),
        state.step
    );
    let bar = ProgressBar::new(settings.steps).with_position(state.step).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {elapsed} done, {eta} left  {msg}")?,
    );
    bar.reset_eta();
    let end = stop_after.map_or(settings.steps, |n| settings.steps.min(state.step + n));
    let mut sum = 0.0;
    while state.step < end {
        let value = step(&mut state, &slices, settings);
        ensure!(value.is_finite(), "the loss is {value} at step {}: lower --rate", state.step);
        sum += value;
        bar.set_position(state.step);
        if state.step.is_multiple_of(settings.epoch) || state.step == settings.steps {
            let count = (state.step - 1) % settings.epoch + 1;
            checkpoint(run, &mut state, settings, package, &validation, device, sum / count as f64, &bar)?;
            sum = 0.0;
        }
    }
    bar.finish();
    Ok(())
}

/// One step; returns its loss.
fn step(state: &mut State, slices: &Slices, settings: &Settings) -> f64 {
    tch::manual_seed((settings.seed as i64) << 32 | state.step as i64);
    let (images, labels) = slices.draw(settings);
    let (images, labels) = tch::no_grad(|| settings.augment.apply(&images, &labels));
    let kind = if settings.bf16 { Kind::BFloat16 } else { Kind::Float };
    let pass = Pass::Training { drop: settings.drop, kind };
    let value = loss(&state.net.forward(&images, pass), &labels);
    value.backward();
    let rate = optim::rate(state.step, settings.steps, settings.rate);
    state.step += 1;
    state.adam.step(&state.net, state.step, rate);
    // A short average at first, so that the random start is soon forgotten.
    let decay = settings.average.min((1.0 + state.step as f64) / (10.0 + state.step as f64));
    optim::average(&state.averaged, &state.net, decay);
    value.double_value(&[])
}

/// Validates the averaged weights, logs, and keeps the last and the best.
#[allow(clippy::too_many_arguments)]
fn checkpoint(
    run: &Run,
    state: &mut State,
    settings: &Settings,
    package: &Manifest,
    validation: &[Subject],
    device: Device,
    loss: f64,
    bar: &ProgressBar,
) -> Result<()> {
    let predict = |x: &Tensor| Ok(state.averaged.forward(x, Pass::Inference));
    let scores = evaluate::scores(validation, package, device, false, &predict)?;
    let dice = evaluate::dice(&scores, package);
    let mean = dice.iter().sum::<f64>() / dice.len() as f64;
    let named: Vec<String> =
        package.labels.iter().zip(&dice).map(|(l, d)| format!("{} {d:.4}", l.name)).collect();
    let rate = optim::rate(state.step, settings.steps, settings.rate);
    let line = format!("step {:5}  loss {loss:.4}  Dice {}", state.step, named.join("  "));
    bar.set_message(format!("Dice {mean:.4}"));
    if bar.is_hidden() {
        eprintln!("{line}")
    } else {
        bar.println(line)
    }
    let values: Vec<String> = dice.iter().map(|d| format!("{d:.5}")).collect();
    run.write_log(&format!("{},{rate:.3e},{loss:.5},{}", state.step, values.join(",")))?;
    if mean > state.best {
        state.best = mean;
        save(&state.averaged.named(""), &run.best())?;
    }
    state.save(&run.last())
}
