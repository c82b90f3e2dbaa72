//! `monet-train report`: the tables of the paper from one command.
//!
//! Packages side by side, on a split of the data set and on an independent one: Dice and Hausdorff
//! distances per subject (`scores`), how sure differences are (`compare`, `statistics`), parameters
//! and size (`cost`), time of 150 slices through the device's binary (`speed`), told as tables
//! (`tables`) and box plots (`boxes`). The folder appears under its name only when everything is in
//! it.

mod boxes;
mod compare;
mod cost;
mod scores;
mod speed;
mod statistics;
mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use monet::measure::Machine;
use monet::package::{Label, Net, Package, sha256};
use serde::Serialize;
use tch::Device;

use crate::dataset::{self, Pair, Split, Subset};
use crate::interpret::Interpreter;
use compare::{Loss, Paired};
use cost::Cost;
use scores::{Evaluation, METRICS};
use speed::{Binary, Speed};

/// Slices kept on either side of the label in the paper's protocol.
const MARGIN: usize = 16;

/// Reports.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// A package's manifest; name several to compare them, an int8 package and its f32 twin for
    /// instance
    #[arg(long = "model", required = true, value_name = "FILE.toml")]
    models: Vec<PathBuf>,
    #[command(flatten)]
    subset: Subset,
    /// A second data set of the same labels, from elsewhere: all of its subjects
    #[arg(long, value_name = "DATA")]
    independent: Option<PathBuf>,
    /// The device's binary, to be timed; without it `monet` beside this program or on PATH
    #[arg(long, value_name = "FILE")]
    monet: Option<PathBuf>,
    /// Folder to write: report.md, report.json, subjects.csv and box plots
    #[arg(long)]
    out: PathBuf,
}

/// A package under its name in the report.
struct Model {
    name: String,
    path: PathBuf,
    package: Package,
    net: Interpreter,
    cost: Cost,
}

/// The subjects that packages are evaluated on.
#[derive(Debug, Serialize)]
struct Cohort {
    /// Of the data set's folder.
    name: String,
    /// Which of its subjects: a split, or `independent`.
    part: String,
    #[serde(rename = "subjects", serialize_with = "count")]
    pairs: Vec<Pair>,
    /// Subjects of an independent set whose image is in the first set, too.
    shared: usize,
}

impl Cohort {
    /// As people read it.
    fn told(&self) -> String {
        format!("{} ({}, {} subjects)", self.name, self.part, self.pairs.len())
    }
}

fn count<S: serde::Serializer>(pairs: &[Pair], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(pairs.len() as u64)
}

/// What the report says of one package.
#[derive(Debug, Serialize)]
struct ModelReport {
    name: String,
    /// Name and version in its manifest.
    package: String,
    sha256: String,
    #[serde(flatten)]
    cost: Cost,
    /// `None` where the device's binary was not run or failed; `not_measured` says why.
    speed: Option<Speed>,
    not_measured: Option<String>,
}

/// Everything found, as `report.json` has it.
#[derive(Debug, Serialize)]
struct Findings {
    /// Of this program.
    version: &'static str,
    command: String,
    host: Machine,
    /// Processes that wanted a core when the report began: times were disturbed where it comes near
    /// the number of cores.
    load_average: Option<f64>,
    /// Version of the device's binary.
    monet: Option<String>,
    margin_slices: usize,
    labels: Vec<Label>,
    models: Vec<ModelReport>,
    cohorts: Vec<Cohort>,
    evaluations: Vec<Evaluation>,
    /// Packages beside the first.
    paired: Vec<Paired>,
    losses: Vec<Loss>,
}

impl Report {
    pub fn run(self, device: Device) -> Result<()> {
        // What is wrong is said before the work begins.
        vacant(&self.out)?;
        let models = load(&self.models, device)?;
        let binary = Binary::find(self.monet.as_deref())?;
        let cohorts = self.cohorts()?;
        for cohort in &cohorts {
            eprintln!("reading {}", cohort.told());
            scores::check(cohort, &models[0].package.manifest)?;
        }

        let load_average = load_average();
        let mut findings = Findings {
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            host: Machine::this(),
            load_average,
            monet: binary.as_ref().map(|b| b.version.clone()),
            margin_slices: MARGIN,
            labels: models[0].package.manifest.labels.clone(),
            // Before the evaluation, whose threads would disturb it.
            models: models.iter().map(|model| model.report(binary.as_ref())).collect(),
            cohorts,
            evaluations: vec![],
            paired: vec![],
            losses: vec![],
        };
        for (c, cohort) in findings.cohorts.iter().enumerate() {
            for (m, model) in models.iter().enumerate() {
                eprintln!("{} on {}", model.name, cohort.told());
                findings.evaluations.push(scores::evaluate([c, m], model, cohort, device)?);
            }
        }
        let labels = findings.labels.len();
        findings.paired = compare::paired(&findings.evaluations, labels);
        findings.losses = compare::losses(&findings.evaluations, models.len(), labels);
        print!("{}", tables::text(&findings));
        findings.write(&self.out)?;
        eprintln!("{}: report.md, report.json, subjects.csv and box plots", self.out.display());
        Ok(())
    }

    fn cohorts(&self) -> Result<Vec<Cohort>> {
        let Subset { data, split, fold } = &self.subset;
        ensure!(
            *split != Split::Train,
            "--split train: the networks were trained on these; report the validation or the test \
             split"
        );
        let fold = fold.map(|fold| format!(" of fold {}", String::from(fold))).unwrap_or_default();
        let part = format!("{} split{fold}", split.name());
        let pairs = self.subset.pairs()?;
        let mut cohorts = vec![Cohort { name: folder_name(data)?, part, pairs, shared: 0 }];
        if let Some(folder) = &self.independent {
            ensure!(
                folder.canonicalize().ok() != data.canonicalize().ok(),
                "--independent names the same folder as --data: expected data from elsewhere"
            );
            let pairs = dataset::list(folder)?;
            ensure!(!pairs.is_empty(), "{}: dataset.json names no subjects", folder.display());
            let shared = shared(&dataset::list(data)?, &pairs)?;
            cohorts.push(Cohort {
                name: folder_name(folder)?,
                part: "independent".into(),
                pairs,
                shared,
            });
        }
        Ok(cohorts)
    }
}

impl Model {
    fn report(&self, binary: Option<&Binary>) -> ModelReport {
        let manifest = &self.package.manifest;
        let measured = binary.map_or_else(
            || Err("no `monet` beside this program or on PATH: name it with --monet".to_owned()),
            |binary| {
                eprintln!("timing {} with {}", self.name, binary.path.display());
                binary.measure(&self.path, manifest).map_err(|error| format!("{error:#}"))
            },
        );
        let (speed, not_measured) = match measured {
            Ok(speed) => (Some(speed), None),
            Err(why) => (None, Some(why)),
        };
        ModelReport {
            name: self.name.clone(),
            package: format!("{} {}", manifest.name, manifest.version),
            sha256: manifest.sha256.clone(),
            cost: self.cost.clone(),
            speed,
            not_measured,
        }
    }
}

impl Findings {
    /// Writes the folder beside its place and then puts it there.
    fn write(&self, out: &Path) -> Result<()> {
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let context = || format!("{}: cannot be written", out.display());
        fs::create_dir_all(parent).with_context(context)?;
        let mut builder = tempfile::Builder::new();
        // Readable as any program's output; the process's umask applies.
        builder.prefix(".report-").suffix(".part").permissions(fs::Permissions::from_mode(0o777));
        let folder = builder.tempdir_in(parent).with_context(context)?;
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).with_context(context)
        };
        write("report.md", &tables::page(self))?;
        write("report.json", &monet::measure::json(self))?;
        write("subjects.csv", &tables::csv(self))?;
        for metric in &METRICS {
            write(&format!("{}.svg", metric.key), &boxes::plot(self, metric))?;
        }
        vacant(out)?;
        fs::rename(folder.path(), out).with_context(context)
    }
}

/// A report never replaces another.
fn vacant(out: &Path) -> Result<()> {
    let free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    ensure!(free, "{}: is there already: choose another folder for the report", out.display());
    Ok(())
}

/// The packages, ready to run, and of one task.
fn load(paths: &[PathBuf], device: Device) -> Result<Vec<Model>> {
    let names = names(paths)?;
    let models = paths.iter().zip(names).map(|(path, name)| {
        let package = Package::load(path)?;
        ensure!(
            matches!(package.net, Net::Onnx(_)),
            "{}: is a plan: name the manifest that it was compiled from",
            path.display()
        );
        let context = || format!("{}: this network cannot be run here", path.display());
        let net = Interpreter::new(package.net.bytes(), device).with_context(context)?;
        let cost = Cost::of(&package).with_context(context)?;
        Ok(Model { name, path: path.clone(), package, net, cost })
    });
    let models = models.collect::<Result<Vec<_>>>()?;
    let labels = |model: &Model| -> Vec<(u8, String, Vec<u8>)> {
        let labels = model.package.manifest.labels.iter();
        labels.map(|l| (l.value, l.name.clone(), l.sources().to_vec())).collect()
    };
    let told = |model: &Model| {
        labels(model)
            .into_iter()
            .map(|(v, name, _)| format!("{v} {name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let first = models.first().context("--model names no package")?;
    for other in &models[1..] {
        ensure!(
            labels(other) == labels(first),
            "{} has the labels {}, {} has {}: a report compares packages of one task",
            first.path.display(),
            told(first),
            other.path.display(),
            told(other)
        );
    }
    Ok(models)
}

/// How many of `others` have an image that one of `all` has, too; only files of equal length are
/// read.
fn shared(all: &[Pair], others: &[Pair]) -> Result<usize> {
    let length = |pair: &Pair| fs::metadata(&pair.image).map(|m| m.len());
    let hash = |pair: &&Pair| Ok(sha256(&fs::read(&pair.image)?));
    let with = |pairs: &'_ [Pair], lengths: &BTreeSet<u64>| -> Result<Vec<String>> {
        let near = pairs.iter().filter(|p| length(p).is_ok_and(|n| lengths.contains(&n)));
        near.collect::<Vec<_>>().iter().map(hash).collect()
    };
    let lengths =
        |pairs: &[Pair]| pairs.iter().map(length).collect::<std::io::Result<BTreeSet<u64>>>();
    let known: BTreeSet<String> = with(all, &lengths(others)?)?.into_iter().collect();
    Ok(with(others, &lengths(all)?)?.iter().filter(|hash| known.contains(*hash)).count())
}

/// What packages are called: their file's name without its ending, the whole path where that is not
/// one package's alone.
fn names(paths: &[PathBuf]) -> Result<Vec<String>> {
    let stem = |path: &PathBuf| {
        path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let stems: Vec<String> = paths.iter().map(stem).collect();
    for (i, path) in paths.iter().enumerate() {
        ensure!(!paths[..i].contains(path), "{}: named twice", path.display());
    }
    let name = |(path, stem): (&PathBuf, &String)| {
        let alone = stems.iter().filter(|s| *s == stem).count() == 1;
        if alone { stem.clone() } else { path.display().to_string() }
    };
    Ok(paths.iter().zip(&stems).map(name).collect())
}

/// Name of a folder, also where it is called `.`.
fn folder_name(folder: &Path) -> Result<String> {
    let whole = folder.canonicalize().with_context(|| folder.display().to_string())?;
    Ok(whole.file_name().map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned()))
}

/// Of the last minute; `None` where the system does not tell.
fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_called_by_their_files_and_told_apart() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(names(&paths(&["m/a.int8.toml", "m/a.f32.toml"])).unwrap(), ["a.int8", "a.f32"]);
        let told = names(&paths(&["x/a.toml", "y/a.toml", "b.toml"])).unwrap();
        assert_eq!(told, ["x/a.toml", "y/a.toml", "b"]);
        assert!(names(&paths(&["a.toml", "a.toml"])).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_report_goes_only_where_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        vacant(folder.path()).unwrap();
        vacant(&folder.path().join("new")).unwrap();
        fs::write(folder.path().join("report.md"), "").unwrap();
        assert!(vacant(folder.path()).is_err());
        assert!(vacant(&folder.path().join("report.md")).is_err());
    }
}
