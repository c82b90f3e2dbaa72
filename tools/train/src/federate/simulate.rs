//! A federation on one machine: a data set dealt to sites, trained with each kind of update and, to
//! compare, centrally.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use monet::package::Manifest;
use tch::Device;

use super::deal::Deal;
use super::flower::{self, Flower};
use super::report::{self, Course, Report, SiteSize, Tested};
use super::site::{self, Place};
use super::terms::{Terms, Update};
use crate::checkpoint::Run;
use crate::dataset::{Fold, Split};
use crate::evaluate::Score;
use crate::fingerprint::Fingerprint;
use crate::net::Net;
use crate::settings::Settings;

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
    /// How subjects are dealt to sites
    #[arg(long, value_enum, default_value = "even")]
    split: Deal,
    /// Keep every round's weights, and what was sent, in the runs' folders
    #[arg(long)]
    keep: bool,
    /// Leave out the central training that the federations are compared with
    #[arg(long)]
    no_central: bool,
    #[command(flatten)]
    terms: Terms,
    /// Each site does `--steps` in all, `--epoch` of them a round
    #[command(flatten)]
    settings: Settings,
}

impl Simulate {
    pub fn run(mut self, device: Device, threads: Option<i32>) -> Result<()> {
        self.settings.check()?;
        self.settings.untaught()?;
        ensure!(self.sites >= 2, "--sites {}: expected 2 or more", self.sites);
        self.terms.check(self.sites)?;
        let data = site::absolute(&self.data)?;
        let (package, fingerprint) = self.settings.complete(&data)?;
        // A site without any subject is found before work begins.
        let mut sizes = self.sizes(&data, None)?;
        let flower = Flower::find()?;
        ensure!(
            !self.out.exists(),
            "{} is there already: choose another --out",
            self.out.display()
        );
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;

        let deal = self.deal(&data)?;
        if let Some((path, means)) = &deal {
            sizes = self.sizes(&data, Some(path))?;
            sizes.iter_mut().zip(means).for_each(|(site, mean)| site.mean = Some(*mean));
        }
        let deal = deal.map(|(path, _)| path);
        let places = self.places(&data, deal.as_deref())?;
        let task = Task {
            package: &package,
            fingerprint: fingerprint.as_ref(),
            data: &data,
            deal: deal.as_deref(),
            places: &places,
            device,
        };
        let mut report = Report {
            command: env::args().skip(1).collect::<Vec<_>>().join(" "),
            threads: tch::get_num_threads(),
            settings: self.settings.clone(),
            parameters: self.settings.topology(&package).parameters(),
            terms: self.terms.told(),
            measure: self.split.measure(),
            sites: sizes,
            federated: Vec::new(),
            test: Vec::new(),
            bytes: report::bytes(&flower, package.input.planes(), package.classes())?,
        };
        for &update in &self.update {
            eprintln!("federated, {} updates", update.name());
            let begun = Instant::now();
            let run = Run(self.out.join(update.name()));
            let first = run.create(&self.settings, &package, task.fingerprint, device)?;
            self.terms.write(&run, self.sites, update)?;
            if report.test.is_empty() {
                report.test.push(task.test("untrained", &first, &self.settings, 0.0)?);
            }
            self.federate(&flower, &task, &run, &flower::options(device, threads))?;
            let seconds = begun.elapsed().as_secs_f64();
            report.federated.push(Course::read(&run.0)?);
            let net = run.net(self.settings.topology(&package), device)?;
            let who = format!("federated, {}", update.name());
            report.test.push(task.test(&who, &net, &self.settings, seconds)?);
        }
        if !self.no_central {
            report.test.push(self.central(&task)?);
        }
        report.write(&self.out)?;
        print!("{}", report.markdown());
        Ok(())
    }

    /// Writes which subjects each site has, where it is not every n-th; returns the file, and the
    /// mean of each site's subjects in what they are ordered by.
    fn deal(&self, data: &Path) -> Result<Option<(PathBuf, Vec<f64>)>> {
        if self.split == Deal::Even {
            return Ok(None);
        }
        let (dealt, means) = self.split.deal(data, self.sites, self.settings.fold)?;
        let path = site::absolute(&self.out)?.join("deal.json");
        fs::write(&path, serde_json::to_vec_pretty(&dealt)?)
            .with_context(|| path.display().to_string())?;
        Ok(Some((path, means)))
    }

    fn places(&self, data: &Path, deal: Option<&Path>) -> Result<Vec<Place>> {
        let site = |k: usize| {
            let site: Fold = format!("{k}/{}", self.sites).parse().map_err(anyhow::Error::msg)?;
            let deal = deal.map(Path::to_owned);
            Ok(Place { data: data.to_owned(), site: Some(site), deal })
        };
        (1..=self.sites).map(site).collect()
    }

    /// How many subjects each site has.
    fn sizes(&self, data: &Path, deal: Option<&Path>) -> Result<Vec<SiteSize>> {
        let size = |place: &Place| {
            let count =
                |split| Ok::<_, anyhow::Error>(place.pairs(split, self.settings.fold)?.len());
            Ok(SiteSize {
                site: place.site.map(String::from).unwrap_or_default(),
                training: count(Split::Train)?,
                validation: count(Split::Validation)?,
                mean: None,
            })
        };
        self.places(data, deal)?.iter().map(size).collect()
    }

    fn federate(&self, flower: &Flower, task: &Task, run: &Run, options: &str) -> Result<()> {
        let mut command = flower.module("simulate");
        command.arg("--run").arg(site::absolute(&run.0)?).arg("--data").arg(task.data);
        if let Some(deal) = task.deal {
            command.arg("--deal").arg(deal);
        }
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
        site::fit(&net, &settings, task.package, &task.whole(), 0, 0.0)?;
        run.keep_best(&net)?;
        task.test("central", &net, &settings, begun.elapsed().as_secs_f64())
    }
}

/// What all runs of a simulation share.
struct Task<'a> {
    package: &'a Manifest,
    fingerprint: Option<&'a Fingerprint>,
    data: &'a Path,
    /// File with each site's subjects, where it is not every n-th.
    deal: Option<&'a Path>,
    /// The sites' data.
    places: &'a [Place],
    device: Device,
}

impl Task<'_> {
    /// The data of all sites.
    fn whole(&self) -> Place {
        Place { data: self.data.to_owned(), site: None, deal: None }
    }

    /// Dice on the validation split of all subjects, and of each site's; on the test split.
    fn test(&self, who: &str, net: &Net, settings: &Settings, seconds: f64) -> Result<Tested> {
        let scores = |split| site::by_subject(net, settings, self.package, &self.whole(), split);
        let validation = scores(Split::Validation)?;
        let dice = |has: &dyn Fn(&str) -> bool, scores: &[(String, Vec<Score>)]| {
            let scores = scores.iter().filter(|(name, _)| has(name));
            site::dice(&scores.map(|(_, s)| s.clone()).collect::<Vec<_>>(), self.package)
        };
        let of_site = |place: &Place| -> Result<BTreeMap<String, f64>> {
            let own = place.pairs(Split::Validation, settings.fold)?;
            Ok(dice(&|name| own.iter().any(|p| p.name == name), &validation))
        };
        Ok(Tested {
            who: who.into(),
            validation: dice(&|_| true, &validation),
            sites: self.places.iter().map(of_site).collect::<Result<_>>()?,
            test: dice(&|_| true, &scores(Split::Test)?),
            seconds,
        })
    }
}
