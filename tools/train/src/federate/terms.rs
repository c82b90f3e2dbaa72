//! The terms of a federation: which strategy makes one set of weights of the sites', and what keeps
//! their secrets. The app reads them as `federation.json` in the run's folder.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Run};

/// How weights travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Update {
    /// Whole, as they are.
    F32,
    /// As differences rounded to 8 bits.
    Int8,
}

impl Update {
    /// Name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }
}

/// What the server makes of the sites' weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Strategy {
    /// Their mean, weighted by training slices
    #[value(name = "fedavg")]
    #[serde(rename = "fedavg")]
    Average,
    /// The mean, of sites that are held near the global weights
    #[value(name = "fedprox")]
    #[serde(rename = "fedprox")]
    Proximal,
    /// A step of Adam towards the mean
    #[value(name = "fedadam")]
    #[serde(rename = "fedadam")]
    Adam,
}

/// Who adds the noise of differential privacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Privacy {
    /// The server, to the clipped mean: protects from whoever sees the weights, not from the server
    Central,
    /// Each site, to its clipped update: protects from the server, too
    Site,
}

impl Privacy {
    /// Name on the command line and in the terms' file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Central => "central",
            Self::Site => "site",
        }
    }
}

/// What server and sites agree on beyond the training's settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Terms {
    /// What the server makes of the sites' weights
    #[arg(long, value_enum, default_value = "fedavg")]
    pub strategy: Strategy,
    /// How strongly fedprox holds a site's weights near the global ones
    #[arg(long, default_value_t = 0.01)]
    pub proximal: f64,
    /// fedadam's rate at the server
    #[arg(long, default_value_t = 0.003)]
    pub server_rate: f64,
    /// Secure aggregation (SecAgg+): the server sees sums over three sites or more, no site's own
    /// weights, scores or size
    #[arg(long)]
    pub secure: bool,
    /// Differential privacy of a site's part: its update is clipped to --clip, and noise of
    /// --privacy-noise times that is added
    #[arg(long, value_enum, requires = "privacy_noise")]
    pub privacy: Option<Privacy>,
    /// Largest norm of a site's update in a round
    #[arg(long, default_value_t = 2.0, requires = "privacy")]
    pub clip: f64,
    /// Standard deviation of the noise in clips: 1 or more protects, far less hardly does
    #[arg(long, value_name = "FACTOR", requires = "privacy")]
    pub privacy_noise: Option<f64>,
    /// The δ that ε is told for
    #[arg(long, default_value_t = 1e-5, requires = "privacy")]
    pub delta: f64,
    /// Have sites tell loss and Dice in spite of --privacy, whose ε does not cover these
    #[arg(long, requires = "privacy")]
    pub scores: bool,
    /// Sites that later rounds go on with where others are gone [default: more than half, with
    /// --secure at least 3]
    #[arg(long)]
    pub quorum: Option<usize>,
    /// Minutes that a round waits for its sites' answers
    #[arg(long, default_value_t = 1440.0)]
    pub wait: f64,
}

/// The file that the app reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Federation {
    sites: usize,
    update: String,
    strategy: Strategy,
    proximal: f64,
    server_rate: f64,
    secure: bool,
    /// Empty where there is none.
    privacy: String,
    clip: f64,
    noise: f64,
    delta: f64,
    scores: bool,
    quorum: usize,
    /// Seconds.
    timeout: f64,
}

impl Terms {
    /// Checks what the command line cannot.
    ///
    /// # Errors
    /// Names the option, its value and what it may be.
    pub fn check(&self, sites: usize) -> Result<()> {
        ensure!(
            !self.secure || sites >= 3,
            "--secure with {sites} site(s): expected 3 or more, as of two that know their sum each \
             knows the other"
        );
        let positive = [
            ("proximal", self.proximal),
            ("server-rate", self.server_rate),
            ("clip", self.clip),
            ("privacy-noise", self.privacy_noise.unwrap_or(1.0)),
            ("wait", self.wait),
        ];
        for (name, value) in positive {
            ensure!(
                value > 0.0 && value.is_finite(),
                "--{name} {value}: expected a positive number"
            );
        }
        ensure!(
            self.delta > 0.0 && self.delta < 1.0,
            "--delta {}: expected a number between 0 and 1",
            self.delta
        );
        ensure!(
            self.strategy != Strategy::Adam || self.privacy != Some(Privacy::Central),
            "--strategy fedadam with --privacy central: Flower's accountant counts means only; \
             choose fedavg or fedprox, or --privacy site"
        );
        let (least, quorum) = (self.least(), self.quorum(sites));
        ensure!(
            (least..=sites).contains(&quorum),
            "--quorum {quorum}: expected {least} to {sites}"
        );
        Ok(())
    }

    /// Fewest sites that a round can go on with.
    fn least(&self) -> usize {
        if self.secure { 3 } else { 1 }
    }

    fn quorum(&self, sites: usize) -> usize {
        self.quorum.unwrap_or((sites / 2 + 1).max(self.least()).min(sites))
    }

    /// Writes the terms into a run's folder.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, run: &Run, sites: usize, update: Update) -> Result<()> {
        let privacy = self.privacy.map_or("", Privacy::name).to_owned();
        let federation = Federation {
            sites,
            update: update.name().to_owned(),
            strategy: self.strategy,
            proximal: self.proximal,
            server_rate: self.server_rate,
            secure: self.secure,
            scores: self.scores || privacy.is_empty(),
            privacy,
            clip: self.clip,
            noise: self.privacy_noise.unwrap_or(0.0),
            delta: self.delta,
            quorum: self.quorum(sites),
            timeout: 60.0 * self.wait,
        };
        checkpoint::write(&run.0.join("federation.json"), serde_json::to_vec_pretty(&federation)?)
    }

    /// In words, for a report: `FedAvg, secure aggregation, updates clipped to 2 with noise of 1
    /// clips by the server`.
    #[must_use]
    pub fn told(&self) -> String {
        let strategy = match self.strategy {
            Strategy::Average => "FedAvg".to_owned(),
            Strategy::Proximal => format!("FedProx of {}", self.proximal),
            Strategy::Adam => format!("FedAdam of {}", self.server_rate),
        };
        let secure = if self.secure { ", secure aggregation" } else { "" };
        let private = match (self.privacy, self.privacy_noise) {
            (Some(privacy), Some(noise)) => {
                let who = if privacy == Privacy::Central { "the server" } else { "each site" };
                format!(", updates clipped to {} with noise of {noise} clips by {who}", self.clip)
            }
            _ => String::new(),
        };
        strategy + secure + &private
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn of(options: &str) -> Terms {
        let command = Terms::augment_args(Command::new("federate").no_binary_name(true));
        let words = options.split_whitespace();
        Terms::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    #[test]
    fn terms_that_cannot_hold_are_refused() {
        for (options, sites, part) in [
            ("--secure", 2, "--secure with 2"),
            ("--secure --quorum 2", 4, "--quorum 2: expected 3 to 4"),
            ("--quorum 5", 4, "--quorum 5"),
            ("--privacy central --privacy-noise 0", 4, "--privacy-noise 0"),
            ("--privacy site --privacy-noise 1 --delta 1", 4, "--delta 1"),
            ("--privacy central --privacy-noise 1 --strategy fedadam", 4, "fedadam"),
        ] {
            let error = of(options).check(sites).unwrap_err().to_string();
            assert!(error.contains(part), "{options}: {error}");
        }
    }

    #[test]
    fn the_app_is_told_everything() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run(folder.path().to_owned());
        let told = |options: &str| -> Federation {
            let terms = of(options);
            terms.check(4).unwrap();
            terms.write(&run, 4, Update::Int8).unwrap();
            serde_json::from_slice(&std::fs::read(run.0.join("federation.json")).unwrap()).unwrap()
        };
        let plain = told("");
        assert_eq!(plain.strategy, Strategy::Average);
        assert_eq!((plain.update.as_str(), plain.privacy.as_str()), ("int8", ""));
        assert!(plain.scores && plain.quorum == 3 && !plain.secure);
        let private = told("--secure --privacy central --privacy-noise 0.5 --clip 2 --wait 2");
        assert_eq!((private.privacy.as_str(), private.noise, private.clip), ("central", 0.5, 2.0));
        assert!(private.secure && !private.scores && private.timeout == 120.0);
    }
}
