//! `monet segment`: volumes in, label volumes out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use monet::pipeline::{self, Job, Model, Report};

use super::Outcome;

const EXAMPLES: &str = "\
Examples:
  monet segment scan.nii.gz -o mask.nii.gz --stats stats.json --preview preview.png
  monet segment incoming/*.nii.gz -o masks/ --model pancreas.toml --threads 4 --quiet

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some inputs of several failed.";

/// Segment NIfTI volumes slice by slice
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SegmentArgs {
    /// Volumes: .nii, .nii.gz, or .hdr/.img
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Label volume to write (.nii or .nii.gz); with several inputs a folder, where each output bears its input's name
    #[arg(short, long, value_name = "FILE|DIR")]
    output: PathBuf,
    /// Model: a package's manifest, or a plan; the embedded hippocampus package when not given
    #[arg(long, value_name = "FILE.toml|FILE.plan")]
    model: Option<PathBuf>,
    /// Slices segmented at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Write figures (labels, times, memory) as JSON; with several inputs one array
    #[arg(long, value_name = "FILE.json")]
    stats: Option<PathBuf>,
    /// Write a picture of outlined slices; with several inputs the input's name is added
    #[arg(long, value_name = "FILE.png")]
    preview: Option<PathBuf>,
    /// Replace existing outputs
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    engine: super::EngineArgs,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
///
/// # Errors
/// What concerns all inputs; what concerns one of several is reported and counted.
pub(super) fn run(args: &SegmentArgs) -> Result<Outcome> {
    let jobs = jobs(args)?;
    let interrupted = super::interrupt::flag().context("cannot listen for interrupts")?;
    let mut model =
        Model::new(super::package(args.model.as_deref())?, args.threads.into(), args.engine.choose()?);

    let mut reports = Vec::new();
    let mut failed = 0;
    for job in &jobs {
        match segment(&mut model, job, &interrupted, args.quiet) {
            Ok(report) => reports.push(report),
            Err(error) => {
                failed += 1;
                super::report(&error.into());
                if interrupted.load(Ordering::Relaxed) {
                    return Ok(Outcome::Failed);
                }
            }
        }
    }
    if let (Some(path), true, false) = (&args.stats, jobs.len() > 1, reports.is_empty()) {
        super::write(path, &monet::measure::json(&reports))?;
    }
    Ok(Outcome::of(failed, jobs.len()))
}

/// One job an input; refuses what could overwrite one another.
fn jobs(args: &SegmentArgs) -> Result<Vec<Job>> {
    let several = args.inputs.len() > 1;
    if several {
        ensure!(
            args.output.is_dir(),
            "{}: with several inputs -o must be an existing folder: make it, or give one input",
            args.output.display()
        );
        if let Some(path) = args.stats.as_ref().filter(|path| !args.force && path.exists()) {
            bail!("{}: exists already: choose another name, or --force to replace it", path.display());
        }
    }
    let mut taken = BTreeSet::new();
    args.inputs
        .iter()
        .map(|input| {
            let name = output_name(input)?;
            let output = if args.output.is_dir() { args.output.join(&name) } else { args.output.clone() };
            ensure!(
                taken.insert(output.clone()),
                "{}: two inputs have this name: segment them apart",
                output.display()
            );
            let preview =
                args.preview.as_ref().map(|path| if several { beside(path, &name) } else { path.clone() });
            let stats = args.stats.clone().filter(|_| !several);
            Ok(Job { input: input.clone(), output, preview, stats, overwrite: args.force })
        })
        .collect()
}

/// The input's file name with an ending that can be written.
fn output_name(input: &Path) -> Result<String> {
    let name = input.file_name().with_context(|| format!("{}: expected a file", input.display()))?;
    let name = name.to_string_lossy();
    let lower = name.to_lowercase();
    if lower.ends_with(".nii") || lower.ends_with(".nii.gz") {
        return Ok(name.into_owned());
    }
    let stem = name.trim_end_matches(".gz").rsplit_once('.').map_or(&*name, |(stem, _)| stem);
    Ok(format!("{stem}.nii.gz"))
}

/// `dir/preview.png` for the input `scan.nii.gz` is `dir/preview-scan.png`.
fn beside(path: &Path, name: &str) -> PathBuf {
    let stem = name.trim_end_matches(".gz").trim_end_matches(".nii");
    let own = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{own}-{stem}.png"))
}

fn segment(
    model: &mut Model,
    job: &Job,
    interrupted: &AtomicBool,
    quiet: bool,
) -> Result<Report, pipeline::PipelineError> {
    let bar = if quiet { ProgressBar::hidden() } else { progress_bar(&job.input) };
    let report = pipeline::segment(model, job, interrupted, &mut |done, slices| {
        bar.set_length(slices as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    if let (Ok(report), false) = (&report, quiet) {
        report
            .warnings
            .iter()
            .for_each(|warning| eprintln!("monet: {}: warning: {warning}", job.input.display()));
        super::print(&summary(report, job));
    }
    report
}

fn progress_bar(input: &Path) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} slices, {per_sec}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let name = input.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ProgressBar::new(0).with_style(style).with_message(name)
}

/// What a person wants to see at once.
fn summary(report: &Report, job: &Job) -> String {
    let mut text = format!(
        "{}: {} slices in {:.2} s ({:.1} slices/s), {} {} by {}\n",
        job.output.display(),
        report.slices,
        report.wall_s,
        report.slices_per_s,
        report.model.name,
        report.model.version,
        report.engine
    );
    for label in &report.labels {
        let slices = label.slices.map_or("not found".into(), |[a, b]| format!("slices {a} to {b}"));
        text +=
            &format!("  {:<20} {:>10.3} ml  {:>9} voxels  {slices}\n", label.name, label.ml, label.voxels);
    }
    for path in [&job.preview, &job.stats].into_iter().flatten() {
        text += &format!("  {}\n", path.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_after_their_inputs() {
        for (input, output) in [
            ("a/scan.nii.gz", "scan.nii.gz"),
            ("scan.nii", "scan.nii"),
            ("scan.hdr", "scan.nii.gz"),
            ("scan.img.gz", "scan.nii.gz"),
            ("scan", "scan.nii.gz"),
        ] {
            assert_eq!(output_name(Path::new(input)).unwrap(), output);
        }
        assert!(output_name(Path::new("/")).is_err());
    }

    #[test]
    fn previews_of_several_inputs_differ() {
        assert_eq!(beside(Path::new("out/p.png"), "scan.nii.gz"), Path::new("out/p-scan.png"));
    }
}
