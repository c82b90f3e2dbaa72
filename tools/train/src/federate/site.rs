//! What a site does in a round: steps from the weights that it is given, and scores of them, on its
//! own subjects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use monet::package::Manifest;
use serde::Serialize;
use tch::{Device, Tensor};

use super::deal;
use crate::batches::Slices;
use crate::checkpoint::{self, Run};
use crate::dataset::{self, Fold, Pair, Split, Subject};
use crate::evaluate::{self, Score};
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
    /// JSON file with the names of each site's subjects, instead of every n-th:
    /// `{"1/2": ["a", "b"], "2/2": ["c"]}`
    #[arg(long, value_name = "FILE", requires = "site")]
    pub deal: Option<PathBuf>,
}

impl Place {
    /// The site's subjects in a split.
    ///
    /// # Errors
    /// Where the data are no data set, or leave the site without a subject.
    pub fn pairs(&self, split: Split, fold: Option<Fold>) -> Result<Vec<Pair>> {
        let pairs = dataset::split(&dataset::list(&self.data)?, split, fold)?;
        let Some(site) = self.site else { return Ok(pairs) };
        let shown = || format!("{}, {} split", self.data.display(), split.name());
        let Some(deal) = &self.deal else {
            return dataset::share(&pairs, site).with_context(shown);
        };
        let site = String::from(site);
        let own = deal::read(deal)?.remove(&site).unwrap_or_default();
        let found: Vec<Pair> = pairs.into_iter().filter(|p| own.contains(&p.name)).collect();
        ensure!(!found.is_empty(), "{}: {} leaves site {site} no subject", shown(), deal.display());
        Ok(found)
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
    /// How strongly the site's weights are held near the global ones (FedProx)
    #[arg(long, default_value_t = 0.0)]
    proximal: f64,
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
        let place = &self.given.place;
        let fitted = fit(&net, &settings, &package, place, self.step, self.proximal)?;
        checkpoint::save(&net.named(""), &self.out)?;
        println!("{}", serde_json::to_string(&fitted)?);
        Ok(())
    }
}

/// Trains a net for an epoch of steps after `begin`, on a site's training subjects. The rate is
/// that of the whole run, so that it falls over the rounds; the optimizer begins anew in each, as
/// nothing but weights is averaged. With `proximal` μ the loss has μ/2 · |w - w₀|² added, w₀ being
/// the weights at the beginning (Li et al. 2018).
///
/// # Errors
/// Bad data, a loss that is no number, no step left.
pub fn fit(
    net: &Net,
    settings: &Settings,
    package: &Manifest,
    place: &Place,
    begin: u64,
    proximal: f64,
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
    let first: Vec<Tensor> = if proximal > 0.0 {
        net.trained().iter().map(|t| t.detach().copy()).collect()
    } else {
        Vec::new()
    };
    for step in begin..end {
        let (loss, mut gradients) =
            train::gradients(net, &loader::batch(&slices, &own, step), None, &own, step);
        let near = net.trained().into_iter().zip(&first);
        for (gradient, (now, first)) in gradients.iter_mut().zip(near) {
            *gradient = &*gradient + (now.detach() - first) * proximal;
        }
        losses.push(loss, step)?;
        adam.step(net, &gradients, step - begin + 1, optim::rate(step, steps, rate, decay));
    }
    let losses = losses.take(end - 1)?;
    Ok(Fitted { examples: slices.len(), loss: losses.iter().sum::<f64>() / losses.len() as f64 })
}

/// Scores.
#[derive(Debug, clap::Args)]
pub struct Judge {
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

impl Judge {
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
    let scores = by_subject(net, settings, package, place, split)?;
    let scores: Vec<_> = scores.into_iter().map(|(_, scores)| scores).collect();
    Ok(Scored { examples: scores.len(), dice: dice(&scores, package) })
}

/// Scores of each of a site's subjects, label by label, with its name.
///
/// # Errors
/// Bad data.
pub fn by_subject(
    net: &Net,
    settings: &Settings,
    package: &Manifest,
    place: &Place,
    split: Split,
) -> Result<Vec<(String, Vec<Score>)>> {
    let subjects = place.subjects(split, settings.fold, package)?;
    let predict = |x: &Tensor| Ok(net.forward(x, Pass::Inference));
    let scores = evaluate::scores(&subjects, package, net.device(), false, &predict)?;
    Ok(subjects.into_iter().map(|subject| subject.name).zip(scores).collect())
}

/// Mean Dice of each label, by name.
#[must_use]
pub fn dice(scores: &[Vec<Score>], package: &Manifest) -> BTreeMap<String, f64> {
    let names = package.labels.iter().map(|label| label.name.clone());
    names.zip(evaluate::dice(scores, package)).collect()
}

/// A path that another process, in another folder, can open.
///
/// # Errors
/// Where there is nothing.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}
