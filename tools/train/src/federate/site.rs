//! What a site does in a round: steps from the weights that it is given, and scores of them, on its
//! own subjects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use monet::package::Manifest;
use serde::Serialize;
use tch::Device;

use crate::batches::Slices;
use crate::checkpoint::{self, Run};
use crate::dataset::{self, Fold, Pair, Split, Subject};
use crate::evaluate;
use crate::loader;
use crate::losses::Losses;
use crate::net::{Net, Pass};
use crate::optim::{self, Adam};
use crate::settings::Settings;
use crate::train;

/// A site's data.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Folder in the layout of the Medical Segmentation Decathlon
    #[arg(long)]
    pub data: PathBuf,
    /// Which of so many sites this one is, such as 2/4: it has every 4th subject of each split,
    /// from the 2nd on. Without it, all
    #[arg(long, value_name = "K/N")]
    pub site: Option<Fold>,
}

impl Place {
    /// The site's subjects in a split.
    ///
    /// # Errors
    /// Where the data are no data set, or leave the site without a subject.
    pub fn pairs(&self, split: Split, fold: Option<Fold>) -> Result<Vec<Pair>> {
        let pairs = dataset::split(&dataset::list(&self.data)?, split, fold)?;
        match self.site {
            None => Ok(pairs),
            Some(site) => dataset::share(&pairs, site)
                .with_context(|| format!("{}, {} split", self.data.display(), split.name())),
        }
    }

    /// The same, read.
    ///
    /// # Errors
    /// Those of [`Place::pairs`], and unreadable subjects.
    pub fn subjects(
        &self,
        split: Split,
        fold: Option<Fold>,
        package: &Manifest,
    ) -> Result<Vec<Subject>> {
        self.pairs(split, fold)?.iter().map(|pair| dataset::load(pair, package)).collect()
    }
}

/// The weights that a site is given, and what they belong to.
#[derive(Debug, clap::Args)]
struct Given {
    /// Folder with `run.json` and `task.toml`, as `train` makes them
    #[arg(long)]
    run: PathBuf,
    /// The global weights, a safetensors file
    #[arg(long)]
    weights: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Given {
    fn read(&self, device: Device) -> Result<(Settings, Manifest, Net)> {
        let run = Run(self.run.clone());
        let settings = run.settings()?;
        settings.check()?;
        let package = run.package(&settings)?;
        let net = checkpoint::read(&self.weights, settings.topology(&package), device)?;
        Ok((settings, package, net))
    }
}

/// One round's steps.
#[derive(Debug, clap::Args)]
pub struct Fit {
    #[command(flatten)]
    given: Given,
    /// Steps done in the rounds before; the round goes on to `epoch` more of the run's `steps`
    #[arg(long)]
    step: u64,
    /// Where the site's weights go
    #[arg(long)]
    out: PathBuf,
}

/// What came of a round's steps.
#[derive(Debug, Serialize)]
pub struct Fitted {
    /// Training slices of the site, by which FedAvg weighs it.
    pub examples: usize,
    /// Mean loss over the steps.
    pub loss: f64,
}

impl Fit {
    pub fn run(self, device: Device) -> Result<()> {
        let (settings, package, net) = self.given.read(device)?;
        let fitted = fit(&net, &settings, &package, &self.given.place, self.step)?;
        checkpoint::save(&net.named(""), &self.out)?;
        println!("{}", serde_json::to_string(&fitted)?);
        Ok(())
    }
}

/// Trains a net for an epoch of steps after `begin`, on a site's training subjects. The rate is
/// that of the whole run, so that it falls over the rounds; the optimizer begins anew in each, as
/// nothing but weights is averaged.
///
/// # Errors
/// Bad data, a loss that is no number, no step left.
pub fn fit(
    net: &Net,
    settings: &Settings,
    package: &Manifest,
    place: &Place,
    begin: u64,
) -> Result<Fitted> {
    let Settings { steps, epoch, rate, decay, .. } = *settings;
    ensure!(begin < steps, "--step {begin}: the run has only {steps} steps");
    let pairs = place.pairs(Split::Train, settings.fold)?;
    let slices = Slices::read(&pairs, settings, package, net.device())?;
    // Sites that drew alike would turn and shift alike.
    let number = place.site.map_or(0, Fold::number) as u64;
    let own = Settings {
        seed: settings.seed.wrapping_mul(1009).wrapping_add(number),
        ..settings.clone()
    };
    let mut adam = Adam::new(net, settings.weight_decay);
    let end = begin.saturating_add(epoch).min(steps);
    let mut losses = Losses::default();
    for step in begin..end {
        let (loss, gradients) =
            train::gradients(net, &loader::batch(&slices, &own, step), &own, step);
        losses.push(loss, step)?;
        adam.step(net, &gradients, step - begin + 1, optim::rate(step, steps, rate, decay));
    }
    let losses = losses.take(end - 1)?;
    Ok(Fitted { examples: slices.len(), loss: losses.iter().sum::<f64>() / losses.len() as f64 })
}

/// Scores.
#[derive(Debug, clap::Args)]
pub struct Score {
    #[command(flatten)]
    given: Given,
    /// Which subjects
    #[arg(long, value_enum, default_value = "validation")]
    split: Split,
}

/// Dice on a site's subjects.
#[derive(Debug, Serialize)]
pub struct Scored {
    /// Subjects.
    pub examples: usize,
    /// Mean of each label, by name.
    pub dice: BTreeMap<String, f64>,
}

impl Score {
    pub fn run(self, device: Device) -> Result<()> {
        let (settings, package, net) = self.given.read(device)?;
        let scored = score(&net, &settings, &package, &self.given.place, self.split)?;
        println!("{}", serde_json::to_string(&scored)?);
        Ok(())
    }
}

/// Dice of a net on a site's subjects, whole volumes.
///
/// # Errors
/// Bad data.
pub fn score(
    net: &Net,
    settings: &Settings,
    package: &Manifest,
    place: &Place,
    split: Split,
) -> Result<Scored> {
    let subjects = place.subjects(split, settings.fold, package)?;
    let predict = |x: &tch::Tensor| Ok(net.forward(x, Pass::Inference));
    let scores = evaluate::scores(&subjects, package, net.device(), false, &predict)?;
    let names = package.labels.iter().map(|label| label.name.clone());
    let dice = names.zip(evaluate::dice(&scores, package)).collect();
    Ok(Scored { examples: subjects.len(), dice })
}

/// A path that another process, in another folder, can open.
///
/// # Errors
/// Where there is nothing.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}
