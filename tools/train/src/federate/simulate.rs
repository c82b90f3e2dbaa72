//! A federation on one machine: a data set dealt to sites, trained with each kind of update and, to
//! compare, centrally.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use monet::package::Manifest;
use tch::Device;

use super::flower::{self, Flower};
use super::report::{self, Course, Report, SiteSize, Tested};
use super::site::{self, Place};
use crate::checkpoint::Run;
use crate::dataset::{Fold, Split};
use crate::fingerprint::Fingerprint;
use crate::net::Net;
use crate::settings::Settings;

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

/// Simulates.
#[derive(Debug, clap::Args)]
pub struct Simulate {
    /// Folder in the layout of the Medical Segmentation Decathlon
    #[arg(long)]
    data: PathBuf,
    /// Folder for a run of each kind, `report.md` and `report.json`
    #[arg(long)]
    out: PathBuf,
    /// Sites
    #[arg(long, default_value_t = 4)]
    sites: usize,
    /// How weights travel, one run each
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["f32", "int8"])]
    update: Vec<Update>,
    /// Keep every round's weights, and what was sent, in the runs' folders
    #[arg(long)]
    keep: bool,
    /// Each site does `--steps` in all, `--epoch` of them a round
    #[command(flatten)]
    settings: Settings,
}

impl Simulate {
    pub fn run(mut self, device: Device, threads: Option<i32>) -> Result<()> {
        self.settings.check()?;
        ensure!(self.sites >= 2, "--sites {}: expected 2 or more", self.sites);
        let data = site::absolute(&self.data)?;
        let (package, fingerprint) = self.settings.complete(&data)?;
        let deal = self.deal(&data)?;
        let flower = Flower::find()?;
        ensure!(
            !self.out.exists(),
            "{} is there already: choose another --out",
            self.out.display()
        );
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;

        let task =
            Task { package: &package, fingerprint: fingerprint.as_ref(), data: &data, device };
        let mut report = Report {
            command: env::args().skip(1).collect::<Vec<_>>().join(" "),
            threads: tch::get_num_threads(),
            settings: self.settings.clone(),
            parameters: self.settings.topology(&package).parameters(),
            sites: deal,
            federated: Vec::new(),
            test: Vec::new(),
            bytes: report::bytes(&flower, package.input.planes(), package.classes())?,
        };
        for &update in &self.update {
            eprintln!("federated, {} updates", update.name());
            let begun = Instant::now();
            let run = Run(self.out.join(update.name()));
            let first = run.create(&self.settings, &package, task.fingerprint, device)?;
            if report.test.is_empty() {
                report.test.push(task.test("untrained", &first, &self.settings, 0.0)?);
            }
            self.federate(&flower, &task, &run, update, &flower::options(device, threads))?;
            let seconds = begun.elapsed().as_secs_f64();
            report.federated.push(Course::read(&run.0)?);
            let net = run.net(self.settings.topology(&package), device)?;
            let who = format!("federated, {}", update.name());
            report.test.push(task.test(&who, &net, &self.settings, seconds)?);
        }
        report.test.push(self.central(&task)?);
        report.write(&self.out)?;
        print!("{}", report.markdown());
        Ok(())
    }

    /// Each site's subjects, so that a site without any is found before work begins.
    fn deal(&self, data: &Path) -> Result<Vec<SiteSize>> {
        let site = |k: usize| {
            let site: Fold = format!("{k}/{}", self.sites).parse().map_err(anyhow::Error::msg)?;
            let place = Place { data: data.to_owned(), site: Some(site) };
            let count =
                |split| Ok::<_, anyhow::Error>(place.pairs(split, self.settings.fold)?.len());
            Ok(SiteSize {
                site: site.into(),
                training: count(Split::Train)?,
                validation: count(Split::Validation)?,
            })
        };
        (1..=self.sites).map(site).collect()
    }

    fn federate(
        &self,
        flower: &Flower,
        task: &Task,
        run: &Run,
        update: Update,
        options: &str,
    ) -> Result<()> {
        let mut command = flower.module("simulate");
        command.arg("--run").arg(site::absolute(&run.0)?).arg("--data").arg(task.data);
        command.args(["--sites", &self.sites.to_string(), "--update", update.name()]);
        command.arg("--trainer").arg(flower::trainer()?).arg(format!("--options={options}"));
        if self.keep {
            command.arg("--keep");
        }
        flower::finish(&mut command, "the federation")
    }

    /// As many steps as all sites did together, on the training subjects of all.
    fn central(&self, task: &Task) -> Result<Tested> {
        eprintln!("central");
        let begun = Instant::now();
        let steps = self.settings.steps.saturating_mul(self.sites as u64);
        let settings = Settings { steps, epoch: steps, ..self.settings.clone() };
        let run = Run(self.out.join("central"));
        let net = run.create(&settings, task.package, task.fingerprint, task.device)?;
        let place = Place { data: task.data.to_owned(), site: None };
        site::fit(&net, &settings, task.package, &place, 0)?;
        run.keep_best(&net)?;
        task.test("central", &net, &settings, begun.elapsed().as_secs_f64())
    }
}

/// What all runs of a simulation share.
struct Task<'a> {
    package: &'a Manifest,
    fingerprint: Option<&'a Fingerprint>,
    data: &'a Path,
    device: Device,
}

impl Task<'_> {
    /// Dice on the validation and the test split of all subjects.
    fn test(&self, who: &str, net: &Net, settings: &Settings, seconds: f64) -> Result<Tested> {
        let place = Place { data: self.data.to_owned(), site: None };
        let dice = |split| -> Result<BTreeMap<String, f64>> {
            Ok(site::score(net, settings, self.package, &place, split)?.dice)
        };
        Ok(Tested {
            who: who.into(),
            validation: dice(Split::Validation)?,
            test: dice(Split::Test)?,
            seconds,
        })
    }
}
