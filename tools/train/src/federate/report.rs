//! What a simulation found: rounds with their bytes and Dice, the test split, and bytes for each
//! network; as Markdown and JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use monet::measure::Summary;
use serde::{Deserialize, Serialize};
use tch::Device;

use super::flower::Flower;
use crate::checkpoint;
use crate::net::Net;
use crate::settings::Settings;
use crate::text::grouped;
use crate::topology::Arch;

/// Bytes.
#[derive(Debug, clap::Args)]
pub struct Bytes {
    /// Input channels
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Output channels
    #[arg(long, default_value_t = 1)]
    classes: usize,
}

impl Bytes {
    pub fn run(self) -> Result<()> {
        ensure!(self.channels > 0 && self.classes > 0, "both must be positive");
        print!("{}", bytes_table(&bytes(&Flower::find()?, self.channels, self.classes)?));
        Ok(())
    }
}

/// A network's weights on the way.
#[derive(Debug, Serialize)]
pub struct NetBytes {
    arch: &'static str,
    parameters: usize,
    f32: u64,
    int8: u64,
}

/// What a site receives, or sends, in a round for each network, serialized by the code that sends
/// it.
///
/// # Errors
/// Where the files cannot be written, or the app fails.
pub fn bytes(flower: &Flower, channels: usize, classes: usize) -> Result<Vec<NetBytes>> {
    let folder = tempfile::tempdir()?;
    let mut command = flower.module("sizes");
    let mut nets = Vec::new();
    for arch in Arch::value_variants() {
        let topology = arch.topology(channels, classes, arch.width());
        let path = folder.path().join(format!("{}.safetensors", arch.name()));
        nets.push((arch.name(), topology.parameters(), path.display().to_string()));
        checkpoint::save(&Net::new(topology, Device::Cpu).named(""), &path)?;
        command.arg(path);
    }
    let done = command.output()?;
    ensure!(
        done.status.success(),
        "counting bytes failed: {}",
        String::from_utf8_lossy(&done.stderr).trim_end()
    );
    #[derive(Deserialize)]
    struct Sizes {
        f32: u64,
        int8: u64,
    }
    let sizes: BTreeMap<String, Sizes> = serde_json::from_slice(&done.stdout)?;
    let of = |(arch, parameters, path): (&'static str, usize, String)| {
        let Sizes { f32, int8 } = *sizes.get(&path).context("a size for every file")?;
        Ok(NetBytes { arch, parameters, f32, int8 })
    };
    nets.into_iter().map(of).collect()
}

fn bytes_table(nets: &[NetBytes]) -> String {
    let mut text = String::from(
        "| network | parameters | f32, bytes | int8, bytes | int8 / f32 |\n|---|--:|--:|--:|--:|\n",
    );
    for net in nets {
        let part = net.int8 as f64 / net.f32 as f64;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {part:.3} |",
            net.arch,
            grouped(net.parameters as u64),
            grouped(net.f32),
            grouped(net.int8)
        );
    }
    text
}

/// How many subjects a site has.
#[derive(Debug, Serialize)]
pub struct SiteSize {
    /// Which, as k/n.
    pub site: String,
    /// Subjects that it trains on.
    pub training: usize,
    /// Subjects that it scores the global weights on.
    pub validation: usize,
    /// Mean over the training subjects of what subjects were ordered by.
    pub mean: Option<f64>,
}

/// A federation's rounds, as the app writes them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Course {
    update: String,
    rounds: Vec<Round>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Round {
    round: u64,
    /// Of the global weights after the round, over the sites' validation subjects.
    dice: BTreeMap<String, f64>,
    /// By Flower's number of the node.
    sites: BTreeMap<String, SiteRound>,
    /// Why the round came to nothing, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
    /// Spent by then, where there is differential privacy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epsilon: Option<f64>,
}

/// A site's round; a message that was not answered has no bytes.
#[derive(Debug, Serialize, Deserialize)]
struct SiteRound {
    site: String,
    #[serde(default)]
    train_down: u64,
    #[serde(default)]
    train_up: u64,
    #[serde(default)]
    evaluate_down: u64,
    #[serde(default)]
    evaluate_up: u64,
    /// `None` where sites do not tell.
    #[serde(default)]
    train_loss: Option<f64>,
    /// Whatever else was measured.
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

impl Course {
    /// Rounds done.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rounds.len()
    }

    /// Rounds that came to nothing.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.rounds.iter().filter(|round| round.lost.is_some()).count()
    }

    /// Reads a run's rounds.
    ///
    /// # Errors
    /// Where the run has none.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("rounds.json");
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

/// One net's Dice.
#[derive(Debug, Serialize)]
pub struct Tested {
    /// How it was trained.
    pub who: String,
    /// Mean of each label on the validation split.
    pub validation: BTreeMap<String, f64>,
    /// The same on each site's part of it.
    pub sites: Vec<BTreeMap<String, f64>>,
    /// The same on the test split.
    pub test: BTreeMap<String, f64>,
    /// That its training took.
    pub seconds: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was called.
    pub command: String,
    /// On the CPU.
    pub threads: i32,
    /// Of each site's training.
    pub settings: Settings,
    /// Of the network.
    pub parameters: usize,
    /// Strategy, and what keeps secrets.
    pub terms: String,
    /// What subjects were ordered by to deal them.
    pub measure: Option<&'static str>,
    /// Subjects.
    pub sites: Vec<SiteSize>,
    /// Rounds, for each kind of update.
    pub federated: Vec<Course>,
    /// Whole-volume Dice of what each training ended with.
    pub test: Vec<Tested>,
    /// For every network.
    pub bytes: Vec<NetBytes>,
}

impl Report {
    /// Writes `report.md` and `report.json`.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        for (name, text) in [("report.md", self.markdown()), ("report.json", json)] {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// For people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Settings { arch, steps, epoch, batch, .. } = &self.settings;
        let rounds = steps.div_ceil(*epoch);
        let mut text = format!(
            "# Federated training of {}, {} sites\n\n    monet-train {}\n\n{rounds} round(s) of \
             {epoch} steps of {batch} slices a site, {} parameters, \
             {} thread(s). {}.\n",
            arch.name(),
            self.sites.len(),
            self.command,
            grouped(self.parameters as u64),
            self.threads,
            self.terms
        );
        let measure = self.measure.map_or(String::new(), |m| format!(" mean of {m} |"));
        let line = if measure.is_empty() { "" } else { "--:|" };
        let _ = writeln!(
            text,
            "\n## Sites\n\n| site | training subjects | validation subjects |{measure}\n\
             |---|--:|--:|{line}"
        );
        for site in &self.sites {
            let mean = site.mean.map_or(String::new(), |m| format!(" {m:.4} |"));
            let _ =
                writeln!(text, "| {} | {} | {} |{mean}", site.site, site.training, site.validation);
        }
        self.rounds(&mut text);
        text += "\n## Dice\n\nMean Dice on whole volumes of the splits that \
            all sites share; central training did as many steps as all \
             sites together.\n\n";
        let labels: Vec<&String> = self.test.iter().flat_map(|t| t.test.keys()).collect();
        let labels = &labels[..labels.len() / self.test.len().max(1)];
        let columns =
            |split: &str| labels.iter().map(|l| format!(" {l}, {split} |")).collect::<String>();
        let _ =
            writeln!(text, "| training |{}{} seconds |", columns("validation"), columns("test"));
        let _ = writeln!(text, "|---|{}--:|", "--:|".repeat(2 * labels.len()));
        for t in &self.test {
            let values = |dice: &BTreeMap<String, f64>| {
                dice.values().map(|d| format!(" {d:.4} |")).collect::<String>()
            };
            let _ = writeln!(
                text,
                "| {} |{}{} {:.0} |",
                t.who,
                values(&t.validation),
                values(&t.test),
                t.seconds
            );
        }
        self.by_site(&mut text);
        text += "\n## Bytes of a round for each network\n\nWhat a site receives, and again what it \
            sends.\n\n";
        text + &bytes_table(&self.bytes)
    }

    fn rounds(&self, text: &mut String) {
        *text += "\n## Rounds\n\nBytes of one site, the messages' contents as Flower serializes \
            them. The first round brings the weights whole.\n\n";
        *text += "| update | round | down | up | loss | ε | Dice on the sites' validation subjects \
            |\n|---|--:|--:|--:|--:|--:|---|\n";
        for course in &self.federated {
            for round in &course.rounds {
                let sites: Vec<&SiteRound> = round.sites.values().collect();
                let losses: Vec<_> = sites.iter().map(|s| s.train_loss).collect();
                let dice: Vec<String> =
                    round.dice.iter().map(|(l, d)| format!("{l} {d:.4}")).collect();
                let dice =
                    round.lost.as_ref().map_or(dice.join(", "), |why| format!("lost: {why}"));
                let or_dash = |v: Option<f64>| v.map_or("—".into(), |v| format!("{v:.4}"));
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {} | {} |",
                    course.update,
                    round.round,
                    range(sites.iter().map(|s| s.train_down + s.evaluate_down)),
                    range(sites.iter().map(|s| s.train_up + s.evaluate_up)),
                    or_dash(Summary::of(&losses).mean),
                    or_dash(round.epsilon),
                    if dice.is_empty() { "—" } else { &dice }
                );
            }
        }
    }

    /// Mean Dice over the labels on each site's validation subjects: who is served less.
    fn by_site(&self, text: &mut String) {
        *text += "\n## Each site\n\nMean Dice over the labels on the validation subjects of each \
            site.\n\n";
        let names: String = self.sites.iter().map(|s| format!(" {} |", s.site)).collect();
        let lines = "--:|".repeat(self.sites.len());
        let _ = writeln!(text, "| training |{names} least | spread |\n|---|{lines}--:|--:|");
        for tested in &self.test {
            let mean = |dice: &BTreeMap<String, f64>| {
                dice.values().sum::<f64>() / dice.len().max(1) as f64
            };
            let values: Vec<f64> = tested.sites.iter().map(mean).collect();
            let cells: String = values.iter().map(|v| format!(" {v:.4} |")).collect();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let _ = writeln!(text, "| {} |{cells} {least:.4} | {:.4} |", tested.who, most - least);
        }
    }
}

/// A value, or the least and the largest.
fn range(values: impl Iterator<Item = u64> + Clone) -> String {
    let (least, most) = (values.clone().min().unwrap_or(0), values.max().unwrap_or(0));
    if least == most { grouped(least) } else { format!("{} to {}", grouped(least), grouped(most)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_ranges_given_where_they_differ() {
        assert_eq!([7, 999, 1000, 1_234_567].map(grouped), ["7", "999", "1,000", "1,234,567"]);
        assert_eq!(range([5, 5].into_iter()), "5");
        assert_eq!(range([1000, 5].into_iter()), "5 to 1,000");
    }
}
