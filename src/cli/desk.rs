//! `monet profile` at a desk: predictions for boards that are not at hand, and comparisons of
//! profiles that were made before.
//!
//! The lean build leaves this out: a tenth of its binary.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use monet::Size;
use monet::package::Package;
use monet::profile::{self, Change, Kind, Profile, Question};
use monet::targets::{Target, VOLUME_SLICES};
use monet::text::shown;

use super::{nets, reports, terminal};

pub(super) const EXAMPLES: &str = "  monet profile models/bench/monet-256.int8.toml --target \
    raspberry-pi-4 --predict --volume-size 512x512x300 --html page.html
  monet profile --diff before.json after.json --html diff.html
  monet profile --history benches/runs --step slice --html history.html
";

/// What `monet profile` takes beside the arguments of a measurement.
#[derive(Debug, Args)]
pub(super) struct DeskArgs {
    /// Predict for the target instead of measuring here
    #[arg(long, requires = "target", conflicts_with = "size")]
    predict: bool,
    /// Height, width and slices of the volume to predict
    #[arg(long, value_name = "HxWxN", value_parser = parse_volume, requires = "predict")]
    volume_size: Option<(Size, usize)>,
    /// What `--volume-size` was called when its width came first
    #[arg(long, hide = true, value_parser = refuse_volume)]
    volume: Option<String>,
    /// Compare two profiles, step by step; with --html as a page too
    #[arg(
        long,
        num_args = 2,
        value_names = ["A.json", "B.json"],
        conflicts_with_all = ["model", "target", "history", "json", "csv", "trace"]
    )]
    diff: Option<Vec<PathBuf>>,
    /// Tell a step's times over the profiles of a folder, oldest first; with --html as a page too
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["model", "target", "json", "csv", "trace"]
    )]
    history: Option<PathBuf>,
    /// Step whose history is told; "slice" for whole slices
    #[arg(long, value_name = "STEP", default_value = "slice", requires = "history")]
    step: String,
}

impl DeskArgs {
    /// Compares what is to be compared; whether anything was.
    ///
    /// # Errors
    /// Profiles that cannot be read, a step that none has, a page that cannot be written.
    pub(super) fn compare(&self, html: Option<&Path>, force: bool) -> Result<bool> {
        if let Some([a, b]) = self.diff.as_deref() {
            reports::guard([a.clone(), b.clone()], html, force)?;
            let (a, b) = (Profile::load(a)?, Profile::load(b)?);
            reports::deliver(&[(html, profile::diff_page(&a, &b))], force)?;
            if !html.is_some_and(reports::is_stdout) {
                terminal::print(&difference(&a, &b))?;
            }
        } else if let Some(folder) = &self.history {
            history(folder, &self.step, html, force)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether the profile is to be predicted.
    pub(super) fn predicts(&self) -> bool {
        self.predict
    }

    /// Predicts a package on a target, on as many threads and by the kernel where these are named.
    ///
    /// # Errors
    /// A kernel that the target has not, and those of [`profile::predict`].
    pub(super) fn predict(
        &self,
        package: &Package,
        target: &Target,
        threads: Option<u16>,
        kernel: Option<&str>,
    ) -> Result<Profile> {
        let input = &package.manifest.input;
        let (size, slices) = self.volume_size.unwrap_or((input.size(), VOLUME_SLICES));
        let question = Question { size, slices, threads: threads.map(usize::from) };
        let target = match kernel {
            Some(kernel) => target.clone().with_kernel(kernel)?,
            None => target.clone(),
        };
        let package = nets::to_plan(package).context("only quantized nets can be predicted")?;
        Ok(profile::predict(&package, &target, &question)?)
    }
}

/// Height, width and slices, as `512x384x300`.
fn parse_volume(text: &str) -> Result<(Size, usize)> {
    let parsed = text.rsplit_once('x').and_then(|(size, slices)| {
        Some((size.parse::<Size>().ok()?, slices.parse::<usize>().ok()?))
    });
    let fits = |(size, slices): &(Size, usize)| {
        size.height.max(size.width) <= 16_384 && (1..=1_000_000).contains(slices)
    };
    parsed
        .filter(fits)
        .context("expected HxWxN, as in 512x384x300: sides of 1 to 16384, 1 to 1000000 slices")
}

/// Nobody's script goes on with sides that have changed places.
fn refuse_volume(_: &str) -> Result<String> {
    bail!("it took WxHxN and is --volume-size HxWxN now: write the height first, as in --size")
}

fn difference(a: &Profile, b: &Profile) -> String {
    let d = profile::diff(a, b);
    let mut out = format!("A  {}\nB  {}\n", a.told(), b.told());
    let mut list = |heading: &str, changes: &[Change]| {
        out += &format!("\n{heading:<32} {:>10} {:>10} {:>9}\n", "A ms", "B ms", "change");
        for c in changes {
            let ms = |value: Option<f64>| value.map_or("-".into(), |ms| format!("{ms:.4}"));
            let percent = c.percent.map_or("-".into(), |p| format!("{p:+.1} %"));
            out += &format!("{:<32} {:>10} {:>10} {percent:>9}\n", c.name, ms(c.a_ms), ms(c.b_ms));
        }
    };
    list("", std::slice::from_ref(&d.slice));
    list("step", &d.steps);
    list("class of steps", &d.classes);
    if let Some((class, percent)) = d.worst_class() {
        out += &format!("\nThe class that differs most is {class}: {percent:+.1} %\n");
    }
    out
}

fn history(folder: &Path, step: &str, html: Option<&Path>, force: bool) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{}: cannot be read", shown(folder)))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let paths: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    reports::guard(paths.iter().cloned(), html, force)?;
    let mut runs = paths.iter().map(|path| Profile::load(path)).collect::<Result<Vec<_>, _>>()?;
    runs.sort_by_key(|p| p.unix_s);
    let time = |p: &Profile| match step {
        "slice" => Some(p.latency_ms.median),
        _ => p.steps.iter().find(|s| s.name == step).map(|s| s.median_ms),
    };
    let mut points = Vec::new();
    let mut out = format!("{:<11} {:>10}  {step}\n", "date", "ms");
    for run in &runs {
        let Some(ms) = time(run) else { continue };
        points.push((run, ms));
        let kind = if run.kind == Kind::Predicted { ", predicted" } else { "" };
        let cpu = run.cpu.as_deref().unwrap_or("an unnamed processor");
        out += &format!(
            "{:<11} {ms:>10.4}  {} by {} on {cpu}{kind}\n",
            profile::date(run.unix_s),
            run.model,
            run.engine
        );
    }
    ensure!(
        !points.is_empty(),
        "{}: none of {} profiles has a step \"{step}\"",
        shown(folder),
        runs.len()
    );
    let page = profile::history_page(&format!("{step} over {} runs", points.len()), &points);
    reports::deliver(&[(html, page)], force)?;
    if html.is_some_and(reports::is_stdout) { Ok(()) } else { terminal::print(&out) }
}
