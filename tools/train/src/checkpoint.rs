//! A run's folder: its settings, log and checkpoints, each whole whenever the run is killed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use monet::package::Manifest;
use tch::{Device, Tensor};

use crate::events;
use crate::fingerprint::Fingerprint;
use crate::net::Net;
use crate::optim::Adam;
use crate::plot;
use crate::preset;
use crate::settings::Settings;
use crate::topology::Topology;

/// What the names of the averaged weights begin with in the last checkpoint.
const AVERAGE: &str = "average/";

/// The state of a run between two steps.
pub struct State {
    /// The weights that are trained.
    pub net: Net,
    /// Their moving average, which is validated and kept.
    pub averaged: Net,
    /// The optimizer.
    pub adam: Adam,
    /// Steps done.
    pub step: u64,
    /// Best mean Dice so far.
    pub best: f64,
    /// Step at which it was.
    pub best_step: u64,
    /// Time spent, in all sessions; kept where there is a time budget.
    pub seconds: f64,
}

impl State {
    /// The first state, from scratch or with the best weights of the run `from`.
    fn new(
        settings: &Settings,
        package: &Manifest,
        device: Device,
        from: Option<&PathBuf>,
    ) -> Result<Self> {
        let net = begin(settings, package, device, from)?;
        let averaged = net.duplicate();
        let adam = Adam::new(&net, settings.weight_decay);
        Ok(Self {
            net,
            averaged,
            adam,
            step: 0,
            best: f64::NEG_INFINITY,
            best_step: 0,
            seconds: 0.0,
        })
    }

    fn save(&self, path: &Path, timed: bool) -> Result<()> {
        let mut tensors = self.net.named("net/");
        tensors.extend(self.averaged.named(AVERAGE));
        tensors.extend(self.adam.named());
        tensors.push(("run/step".into(), Tensor::from_slice(&[self.step as i64])));
        tensors.push(("run/best".into(), Tensor::from_slice(&[self.best])));
        tensors.push(("run/best_step".into(), Tensor::from_slice(&[self.best_step as i64])));
        // Otherwise two runs of the same settings would differ.
        if timed {
            tensors.push(("run/seconds".into(), Tensor::from_slice(&[self.seconds])));
        }
        save(&tensors, path)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let tensors = Tensor::read_safetensors(path).with_context(|| path.display().to_string())?;
        self.net.load("net/", &tensors)?;
        self.averaged.load(AVERAGE, &tensors)?;
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
        // Runs of earlier versions have neither.
        self.best_step = find("run/best_step").map_or(self.step, |t| t.int64_value(&[0]) as u64);
        self.seconds = find("run/seconds").map_or(0.0, |t| t.double_value(&[0]));
        Ok(())
    }
}

/// The first weights, from scratch or the best of the run `from`.
///
/// # Errors
/// Where that run has none, or they are of another topology.
pub fn begin(
    settings: &Settings,
    package: &Manifest,
    device: Device,
    from: Option<&PathBuf>,
) -> Result<Net> {
    tch::manual_seed(settings.seed as i64);
    let topology = settings.topology(package);
    match from {
        None => Ok(Net::new(topology, device)),
        Some(earlier) => Run(earlier.clone()).net(topology, device),
    }
}

/// A net with the weights of a file.
///
/// # Errors
/// Where the file is none, or of another topology.
pub fn read(path: &Path, topology: Topology, device: Device) -> Result<Net> {
    read_part(path, "", topology, device)
}

/// As [`read`], of the tensors whose names begin with `prefix`.
fn read_part(path: &Path, prefix: &str, topology: Topology, device: Device) -> Result<Net> {
    let tensors = Tensor::read_safetensors(path).with_context(|| path.display().to_string())?;
    let mut net = Net::new(topology, device);
    net.load(prefix, &tensors).with_context(|| path.display().to_string())?;
    Ok(net)
}

/// Writes tensors so that a kill leaves either the old file or the new one.
///
/// # Errors
/// Where the file cannot be written.
pub fn save(tensors: &[(String, Tensor)], path: &Path) -> Result<()> {
    let part = part(path);
    let cpu: Vec<(&str, Tensor)> = tensors
        .iter()
        .map(|(n, t)| (n.as_str(), t.detach().to_device(Device::Cpu).contiguous()))
        .collect();
    Tensor::write_safetensors(&cpu, &part).with_context(|| part.display().to_string())?;
    fs::rename(&part, path).with_context(|| path.display().to_string())
}

/// Writes a file so that a kill leaves either the old one or the new one.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let part = part(path);
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| path.display().to_string())
}

/// Where a file is until it is complete.
fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

/// A run's folder.
#[derive(Debug, Clone)]
pub struct Run(pub PathBuf);

impl Run {
    fn settings_path(&self) -> PathBuf {
        self.0.join("run.json")
    }
    fn task(&self) -> PathBuf {
        self.0.join("task.toml")
    }
    fn last(&self) -> PathBuf {
        self.0.join("last.safetensors")
    }
    fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }
    fn events(&self) -> PathBuf {
        self.0.join(events::FILE)
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
        let text = fs::read(&path).with_context(|| {
            format!("{}: expected a folder made by `monet-train train`", path.display())
        })?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// The best averaged weights.
    ///
    /// # Errors
    /// Where there is no checkpoint or it is of another topology.
    pub fn net(&self, topology: Topology, device: Device) -> Result<Net> {
        read(&self.best(), topology, device)
    }

    /// The averaged weights of the last checkpoint.
    ///
    /// # Errors
    /// As [`Run::net`].
    pub fn last_net(&self, topology: Topology, device: Device) -> Result<Net> {
        read_part(&self.last(), AVERAGE, topology, device)
    }

    /// Makes the folder of a run whose steps are others' to do, with the first weights as its best,
    /// and returns these.
    ///
    /// # Errors
    /// An unwritable folder, or one that holds something.
    pub fn create(
        &self,
        settings: &Settings,
        package: &Manifest,
        fingerprint: Option<&Fingerprint>,
        device: Device,
    ) -> Result<Net> {
        let net = begin(settings, package, device, settings.from.as_ref())?;
        let shown = self.0.display();
        fs::create_dir_all(&self.0).with_context(|| shown.to_string())?;
        ensure!(
            fs::read_dir(&self.0)?.next().is_none(),
            "{shown} is not empty: choose another --out"
        );
        write(&self.settings_path(), serde_json::to_vec_pretty(settings)?)?;
        self.keep_task(package, fingerprint)?;
        self.keep_best(&net)?;
        Ok(net)
    }

    /// Keeps a net as the run's best.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn keep_best(&self, net: &Net) -> Result<()> {
        save(&net.named(""), &self.best())
    }

    /// Begins the run, or takes it up where its last checkpoint left it.
    ///
    /// # Errors
    /// An unwritable folder, a folder with another run, a damaged checkpoint.
    pub fn open(
        &self,
        settings: &Settings,
        package: &Manifest,
        fingerprint: Option<&Fingerprint>,
        device: Device,
    ) -> Result<State> {
        let resumed = self.last().exists();
        let mut state =
            State::new(settings, package, device, settings.from.as_ref().filter(|_| !resumed))?;
        fs::create_dir_all(&self.0).with_context(|| self.0.display().to_string())?;
        if self.settings_path().exists() {
            let found = self.settings()?;
            ensure!(
                found == *settings,
                "{} holds a run with other settings ({}): choose another --out, or remove it",
                self.0.display(),
                settings.differences(&found)?
            );
        } else {
            write(&self.settings_path(), serde_json::to_vec_pretty(settings)?)?;
        }
        self.keep_task(package, fingerprint)?;
        if resumed {
            state.load(&self.last())?;
        }
        self.begin_log(&state, package)?;
        Ok(state)
    }

    /// Keeps the task, or checks that it is the one that the run was started with.
    fn keep_task(&self, package: &Manifest, fingerprint: Option<&Fingerprint>) -> Result<()> {
        let path = self.task();
        if path.exists() {
            let kept = self.package_in(&path)?;
            // Runs of earlier versions keep no limits.
            let accepts = kept.accepts.as_ref().and(package.accepts.clone());
            ensure!(
                kept == Manifest { accepts, ..package.clone() },
                "{}: the task, or the data that it is derived from, has changed since the run was \
                 started: choose another --out",
                path.display()
            );
            return Ok(());
        }
        if let Some(fingerprint) = fingerprint {
            write(&self.0.join("fingerprint.json"), serde_json::to_vec_pretty(fingerprint)?)?;
        }
        write(&path, preset::task_file(package)?)
    }

    fn package_in(&self, path: &Path) -> Result<Manifest> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        preset::parse(&text).with_context(|| path.display().to_string())
    }

    /// The package that the run trains; runs of earlier versions keep only its preset's name.
    ///
    /// # Errors
    /// Where the kept task is damaged, or none is kept and no preset is named.
    pub fn package(&self, settings: &Settings) -> Result<Manifest> {
        let path = self.task();
        if path.exists() {
            self.package_in(&path)
        } else {
            preset::manifest(settings.task.as_deref().unwrap_or_default())
        }
    }

    /// Starts the log, or cuts off what was logged after the checkpoint.
    fn begin_log(&self, state: &State, package: &Manifest) -> Result<()> {
        let old = fs::read_to_string(self.log()).unwrap_or_default();
        let step = |line: &str| line.split(',').next().and_then(|s| s.parse::<u64>().ok());
        let names: Vec<String> =
            package.labels.iter().map(|l| format!("dice_{}", l.name)).collect();
        let mut text = format!("step,rate,loss,{}\n", names.join(","));
        old.lines()
            .filter(|l| step(l).is_some_and(|s| s <= state.step))
            .for_each(|l| text += &format!("{l}\n"));
        write(&self.log(), text)?;
        events::begin(&self.events(), state.step)
    }

    /// Adds a line to the log, and its figures to the event file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_log(
        &self,
        step: u64,
        rate: f64,
        loss: f64,
        package: &Manifest,
        dice: &[f64],
    ) -> Result<()> {
        let mut points = vec![("rate".to_owned(), rate), ("loss".to_owned(), loss)];
        points
            .extend(package.labels.iter().zip(dice).map(|(l, &d)| (format!("dice/{}", l.name), d)));
        events::add(&self.events(), step, &points)?;
        let dice: Vec<String> = dice.iter().map(|d| format!("{d:.5}")).collect();
        let line = format!("{step},{rate:.3e},{loss:.5},{}", dice.join(","));
        let file = fs::OpenOptions::new().append(true).open(self.log());
        file.and_then(|mut file| writeln!(file, "{line}"))
            .with_context(|| self.log().display().to_string())
    }

    /// Keeps the state, and its averaged weights where their mean Dice is the best so far.
    ///
    /// # Errors
    /// Where a checkpoint cannot be written.
    pub fn keep(&self, state: &mut State, dice: f64, timed: bool) -> Result<()> {
        if dice > state.best {
            state.best = dice;
            state.best_step = state.step;
            self.keep_best(&state.averaged)?;
        }
        state.save(&self.last(), timed)
    }

    /// Draws the log's curves as PNG files: the loss, and Dice of every label.
    ///
    /// # Errors
    /// Where the log cannot be read or a picture written.
    pub fn draw(&self) -> Result<()> {
        let text =
            fs::read_to_string(self.log()).with_context(|| self.log().display().to_string())?;
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().unwrap_or_default();
        let rows: Vec<Vec<f64>> =
            lines.map(|row| row.iter().map(|v| v.parse().unwrap_or(f64::NAN)).collect()).collect();
        let curve = |(i, name): (usize, &&str)| {
            let points =
                rows.iter().filter_map(|row| Some((*row.first()?, *row.get(i)?))).collect();
            (name.trim_start_matches("dice_").to_owned(), points)
        };
        let columns: Vec<plot::Curve> = names.iter().enumerate().map(curve).collect();
        let (loss, dice) =
            (columns.get(2..3).unwrap_or_default(), columns.get(3..).unwrap_or_default());
        for (file, title, curves) in
            [("loss.png", "Training loss", loss), ("dice.png", "Validation Dice", dice)]
        {
            write(&self.0.join(file), plot::curves(title, "step", curves))?;
        }
        Ok(())
    }
}
