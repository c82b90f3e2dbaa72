//! What a training run is made of: the options that decide its result, kept in the run's folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use monet::package::{FitRule, Input, Manifest};
use serde::{Deserialize, Serialize};

use crate::augment::Augment;
use crate::dataset::Fold;
use crate::fingerprint::Fingerprint;
use crate::loss::Over;
use crate::optim::Decay;
use crate::preset;
use crate::topology::{Arch, Topology};

/// The part of the cross-entropy in which teachers are believed, where it is not said.
const TRUST: f64 = 0.5;

/// [`TRUST`], of runs before there were teachers.
fn trust() -> f64 {
    TRUST
}

/// What a run is made of; kept in its folder as `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Settings {
    /// Preset (hippocampus, pancreas, brain-tumour, brain-tumour-parts, sarcoma, heart,
    /// pancreas-slices, brain-tumour-slices), task file, or `auto` to derive it from the data;
    /// without it the preset that knows the data set's name
    #[arg(long)]
    pub task: Option<String>,
    /// Network
    #[arg(long, value_enum, default_value = "monet")]
    #[serde(default)]
    pub arch: Arch,
    /// Channels of the network's first block, instead of its own
    #[arg(long)]
    pub width: Option<usize>,
    /// Training steps
    #[arg(long, default_value_t = 2000)]
    pub steps: u64,
    /// Steps between validations and checkpoints
    #[arg(long, default_value_t = 100)]
    pub epoch: u64,
    /// Side of the squares that are cut from slices for training, in pixels, such as 128; the
    /// package's own size when not given
    #[arg(long, value_name = "PIXELS")]
    #[serde(default)]
    pub crop: Option<usize>,
    /// Chance that the square cut from a slice that is drawn for its label has some of it; the
    /// others are cut anywhere
    #[arg(long, default_value_t = 0.0, requires = "crop")]
    #[serde(default)]
    pub aim: f64,
    /// Slices in a step
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 2e-3)]
    pub rate: f64,
    /// How the rate falls to nothing by the last step
    #[arg(long, value_enum, default_value = "cosine")]
    #[serde(default)]
    pub decay: Decay,
    /// Minutes that training may take in all, resumed or not: the rate falls with time where that
    /// is faster than by steps, and the epoch in which the time is over is the last. The result
    /// then depends on the machine's speed
    #[arg(long, value_name = "MINUTES")]
    #[serde(default)]
    pub time_budget: Option<f64>,
    /// Stop after this many validations without a better one
    #[arg(long, value_name = "EPOCHS")]
    #[serde(default)]
    pub patience: Option<u64>,
    /// Validation subjects that each validation sees, spread over the split; the best weights are
    /// scored on all at the end [default: so many that validating takes about a quarter of an
    /// epoch's training, at least 8]
    #[arg(long, value_name = "SUBJECTS")]
    #[serde(default)]
    pub validate: Option<usize>,
    /// Which part of so many validates, such as 1/5; the rest but the test split trains. Without it
    /// the last 20 % validate. all:1/5 is a part of all subjects, to cross-validate over all: it is
    /// validation and test, and the rest trains
    #[arg(long, value_name = "K/N")]
    #[serde(default)]
    pub fold: Option<Fold>,
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
    /// Compute activations in bf16: twice as fast on a CPU with AMX; weights and their average stay
    /// f32
    #[arg(long)]
    #[serde(default)]
    pub bf16: bool,
    /// Begin with the best weights of this earlier run, of the same task and network
    #[arg(long, value_name = "RUN")]
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// Learn from the best net of this earlier run, too, which may be of another network; several
    /// teach what they say on the mean. Its slices and labels must be of the same task
    #[arg(long, value_name = "RUN")]
    #[serde(default)]
    pub teacher: Vec<PathBuf>,
    /// What teachers say counts so much, and the labels the rest, in the cross-entropy
    #[arg(long, default_value_t = TRUST, requires = "teacher")]
    #[serde(default = "trust")]
    pub trust: f64,
    /// What the loss takes a soft Dice over
    #[arg(long, value_enum, default_value = "batch")]
    #[serde(default)]
    pub dice: Over,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Changes to the slices
    #[command(flatten)]
    pub augment: Augment,
}

impl Settings {
    /// Fills in what was left to the data and the network: task and width. Returns the package to
    /// be trained, and what its task was derived from, if it was.
    ///
    /// # Errors
    /// Where no task fits, or the network cannot take the task's size.
    pub fn complete(&mut self, data: &Path) -> Result<(Manifest, Option<Fingerprint>)> {
        let (name, package, fingerprint) = preset::resolve(self.task.as_deref(), data, self.fold)?;
        self.task = Some(name);
        self.width.get_or_insert(self.arch.width());
        let mut package = preset::fit(package.clone(), &self.topology(&package))?;
        if self.arch != Arch::Monet {
            package.name = format!("{}-{}", package.name, self.arch.name());
        }
        if let Some(side) = self.crop {
            let Input { width, height, .. } = package.input;
            ensure!(
                side <= width.min(height),
                "--crop {side}: larger than the package's {width}×{height}"
            );
            self.cut(&package).validate().with_context(|| format!("--crop {side}"))?;
        }
        Ok((package, fingerprint))
    }

    /// The package that slices are fitted to before they are cut. A fit that resizes would shrink a
    /// whole slice to the cut: the net would learn at another scale than it sees later.
    #[must_use]
    pub fn fitted(&self, package: &Manifest) -> Manifest {
        match package.fit {
            FitRule::Resize => package.clone(),
            FitRule::Pad { .. } => self.cut(package),
        }
    }

    /// The package of the size that slices are cut to.
    #[must_use]
    pub fn cut(&self, package: &Manifest) -> Manifest {
        let mut package = package.clone();
        if let Some(side) = self.crop {
            (package.input.width, package.input.height) = (side, side);
        }
        package
    }

    /// The network that these settings and a package ask for.
    #[must_use]
    pub fn topology(&self, package: &Manifest) -> Topology {
        let width = self.width.unwrap_or(self.arch.width());
        self.arch.topology(package.input.planes(), package.classes(), width)
    }

    /// What differs from the settings of a run that is there, to be read.
    ///
    /// # Errors
    /// Where settings are no JSON, which does not happen.
    pub fn differences(&self, there: &Self) -> Result<String> {
        let mut found = Vec::new();
        let [asked, there] = [serde_json::to_value(self)?, serde_json::to_value(there)?];
        let mut groups = vec![(asked, there)];
        while let Some((asked, there)) = groups.pop() {
            for (name, value) in asked.as_object().into_iter().flatten() {
                let other = &there[name];
                if value.is_object() && other.is_object() {
                    groups.push((value.clone(), other.clone()));
                } else if value != other {
                    found.push(format!("{}: {other} there, {value} asked", name.replace('_', "-")));
                }
            }
        }
        Ok(found.join("; "))
    }

    /// Checks that there are no teachers, for what has no use of them.
    ///
    /// # Errors
    /// Where there are.
    pub fn untaught(&self) -> Result<()> {
        ensure!(self.teacher.is_empty(), "--teacher: only `monet-train train` takes teachers");
        Ok(())
    }

    /// Checks what the command line cannot.
    ///
    /// # Errors
    /// Names the option, its value and what it may be.
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("batch", self.batch as u64),
            ("steps", self.steps),
            ("epoch", self.epoch),
            ("width", self.width.unwrap_or(self.arch.width()) as u64),
        ];
        for (name, value) in positive {
            ensure!(value > 0, "--{name} {value}: expected a positive number");
        }
        if let Some(minutes) = self.time_budget {
            ensure!(
                minutes > 0.0,
                "--time-budget {minutes}: expected a positive number of minutes"
            );
        }
        ensure!(self.validate != Some(0), "--validate 0: expected a positive number");
        ensure!(self.patience != Some(0), "--patience 0: expected a positive number");
        ensure!(
            self.rate > 0.0 && self.rate.is_finite(),
            "--rate {}: expected a positive number",
            self.rate
        );
        let parts = [
            ("drop", self.drop),
            ("average", self.average),
            ("foreground", self.foreground),
            ("aim", self.aim),
            ("trust", self.trust),
        ];
        for (name, value) in parts {
            ensure!((0.0..=1.0).contains(&value), "--{name} {value}: expected 0 to 1");
        }
        Ok(())
    }
}

#[cfg(test)]
impl Settings {
    /// Of options as on the command line.
    pub fn of(options: &[&str]) -> Self {
        use clap::{Args, Command, FromArgMatches};
        let command = Self::augment_args(Command::new("train").no_binary_name(true));
        Self::from_arg_matches(&command.get_matches_from(options)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first version kept it.
    const EARLIER: &str = r#"{"task": "hippocampus", "width": 16, "steps": 2000, "epoch": 100,
            "batch": 32, "rate": 0.002, "weight_decay": 0.0001, "drop": 0.2, "foreground": 0.7,
            "average": 0.99, "seed": 1,
            "augment": {"chance": 0.5, "flip": 0.5, "rotate": 15.0, "scale": 0.15, "shift": 0.08,
                        "gain": 0.2, "offset": 0.1, "gamma": 0.3, "noise": 0.05}}"#;

    #[test]
    fn differences_name_options_and_both_values() {
        let there: Settings = serde_json::from_str(EARLIER).unwrap();
        assert_eq!(there.differences(&there).unwrap(), "");
        let mut asked = there.clone();
        asked.weight_decay = 0.5;
        asked.fold = Some("1/3".parse().unwrap());
        asked.augment.flip = 0.0;
        let found = asked.differences(&there).unwrap();
        for part in [
            "weight-decay: 0.0001 there, 0.5 asked",
            r#"fold: null there, "1/3" asked"#,
            "flip: 0.5 there, 0.0 asked",
        ] {
            assert!(found.contains(part), "{found}");
        }
        assert_eq!(found.matches("asked").count(), 3, "{found}");
    }

    #[test]
    fn slices_are_cut_as_asked_where_the_net_can_take_it() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(
            data.path().join("dataset.json"),
            r#"{"name": "SarcomaMR", "training": []}"#,
        )
        .unwrap();
        let cut = |side| Settings::of(&["--crop", side]).complete(data.path());
        let (package, _) = cut("128").unwrap();
        assert_eq!((package.input.width, package.input.height), (256, 256));
        let small = Settings::of(&["--crop", "128"]).cut(&package);
        assert_eq!((small.input.width, small.input.height), (128, 128));
        for (side, why) in
            [("512", "larger than the package's 256×256"), ("30", "--crop 30"), ("0", "--crop 0")]
        {
            let error = cut(side).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_cut_keeps_the_scale_at_which_the_net_sees_slices() {
        let settings = Settings::of(&["--crop", "128"]);
        let mut package = preset::manifest("pancreas").unwrap();
        let side = |package: &Manifest| settings.fitted(package).input.width;
        package.fit = FitRule::Pad { spacing: [1.0; 2] };
        assert_eq!(side(&package), 128);
        package.fit = FitRule::Resize;
        assert_eq!((side(&package), settings.cut(&package).input.width), (256, 128));
    }

    #[test]
    fn a_run_of_an_earlier_version_is_still_read() {
        let settings: Settings = serde_json::from_str(EARLIER).unwrap();
        assert_eq!(
            (settings.arch, settings.decay, settings.fold),
            (Arch::Monet, Decay::Cosine, None)
        );
        let package = preset::manifest(settings.task.as_deref().unwrap()).unwrap();
        assert_eq!(settings.topology(&package), Topology::monet(3, 3, 16));
    }
}
