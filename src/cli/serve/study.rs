//! One study of the service, in a process of its own: what each rule makes of its series.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use monet::dicom::format::series::Scan;
use monet::dicom::{self, Choice, DicomJob, Form, Series};
use monet::package::Package;
use monet::pipeline::{self, FileJob, Model};
use monet::text;
use monet_serve::case::{self, CASE, Case, IMAGES, Made, SUMMARY, Skipped, Summary};
use monet_serve::config::{Config, Output, Rule};

use super::super::decode::Contained;
use super::super::{Outcome, child, nets, terminal};

/// Longest configuration.
const MAX_CONFIG: u64 = 4 << 20;

/// Make the results of a study for `monet serve`
#[derive(Debug, Args)]
pub(crate) struct StudyArgs {
    /// The study's folder
    study: PathBuf,
    /// The folder of its results
    results: PathBuf,
}

/// Runs the command. The configuration comes as JSON on standard input; what stops this process is
/// its last line on standard error. A full disk is told by the exit code, too: it is no fault of
/// the study's.
///
/// # Errors
/// A package that cannot be loaded, a series that cannot be segmented, a result that cannot be
/// written.
pub(crate) fn run(args: &StudyArgs) -> Result<Outcome> {
    let done = make(args);
    if let Err(error) = &done
        && error.chain().filter_map(|cause| cause.downcast_ref()).any(monet_serve::is_full)
    {
        terminal::report(error);
        std::process::exit(monet_serve::NO_SPACE);
    }
    done
}

fn make(args: &StudyArgs) -> Result<Outcome> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_CONFIG).read_to_string(&mut text)?;
    let config: Config = serde_json::from_str(&text).context("no configuration came")?;
    child::bind(u64::from(config.jobs.memory_mib) << 20)?;
    child::limit_seconds(u64::from(config.jobs.seconds) * u64::from(config.jobs.threads))?;
    let mut study = Study::look(args, &config)?;
    for (index, rule) in config.rule.iter().enumerate() {
        study.follow(rule, index)?;
    }
    case::write(&args.results.join(SUMMARY), &study.summary)?;
    Ok(Outcome::Done)
}

struct Study<'a> {
    config: &'a Config,
    results: &'a Path,
    case: Case,
    images: PathBuf,
    scan: Arc<Scan>,
    all: Vec<Series>,
    summary: Summary,
}

impl<'a> Study<'a> {
    fn look(args: &'a StudyArgs, config: &'a Config) -> Result<Self> {
        let images = args.study.join(IMAGES);
        let scan = Arc::new(Scan::of(&images, &|| false)?);
        let mut summary = Summary::default();
        summary.skipped.extend(scan.unreadable.iter().map(|(place, why)| Skipped {
            series: None,
            package: String::new(),
            reason: format!("{}: {why}", file_name(&place.name())),
        }));
        Ok(Self {
            config,
            results: &args.results,
            case: case::read(&args.study.join(CASE))?,
            all: Series::all(&images, &scan),
            images,
            scan,
            summary,
        })
    }

    /// What a rule makes of the study.
    fn follow(&mut self, rule: &Rule, index: usize) -> Result<()> {
        let chosen = super::rule::choose(self.config, rule)?;
        let package = &chosen.package;
        let name = format!("{} {}", package.manifest.name, package.manifest.version);
        let from: BTreeSet<&str> = rule.from.iter().map(|title| title.as_str()).collect();
        if !from.is_empty() && !self.case.from.iter().any(|title| from.contains(title.as_str())) {
            self.skip(None, &name, "the rule is for other senders".into());
            return Ok(());
        }
        let fitting = self.fitting(rule, package, &name);
        if fitting.is_empty() {
            return Ok(());
        }
        let threads = self.config.jobs.threads.into();
        let path = chosen.path.as_deref();
        let factory = nets::factory(path, &nets::EngineArgs::auto(), package, || false)?;
        let mut model = Model::new(package.clone(), threads, factory);
        for series in fitting {
            self.segment(rule, index, &name, &mut model, &series)?;
        }
        chosen.confirm()
    }

    /// The series that a rule is for; the others are named with the reason.
    fn fitting(&mut self, rule: &Rule, package: &Package, name: &str) -> Vec<Series> {
        let Rule { allow_gaps, accept_any, .. } = *rule;
        let choice = Choice { allow_gaps, accept_any, ..Choice::default() };
        let mut fitting = Vec::new();
        if self.all.is_empty() {
            let reason = match self.scan.passed_over.first() {
                Some((_, why)) => format!("no series of slices: {why}"),
                None => "no series of slices".into(),
            };
            self.skip(None, name, reason);
        }
        for series in self.all.clone() {
            let first = series.first();
            let mut against = dicom::obstacles(&series, &package.manifest, &choice);
            if !rule.modality.is_empty() && !rule.modality.contains(&first.modality) {
                against.push("the rule is for other modalities".into());
            }
            let described =
                |part: &String| first.description.to_lowercase().contains(&part.to_lowercase());
            if !rule.description.as_ref().is_none_or(described) {
                against.push("the rule is for other descriptions".into());
            }
            if against.is_empty() {
                fitting.push(series);
            } else {
                self.skip(Some(&series), name, against.join("; "));
            }
        }
        fitting
    }

    fn skip(&mut self, series: Option<&Series>, package: &str, reason: String) {
        self.summary.skipped.push(Skipped {
            series: series.map(|series| text::plain(&series.first().key.series).into_owned()),
            package: package.into(),
            reason,
        });
    }

    /// Makes all that a rule asks for of one series: one run for each form of labels.
    fn segment(
        &mut self,
        rule: &Rule,
        index: usize,
        package: &str,
        model: &mut Model,
        series: &Series,
    ) -> Result<()> {
        let uid = text::plain(&series.first().key.series).into_owned();
        let stem = format!("{}-{}-{}", index + 1, file_stem(package), series.file_stem());
        let mut first = true;
        for form in forms(rule) {
            let begun = Instant::now();
            let mut files = Files { stem: &stem, results: self.results, made: Vec::new() };
            let job = self.job(rule, form, first, series, &mut files);
            let report = pipeline::segment_file(model, &job, &Arc::default(), &mut |_, _| {})
                .with_context(|| format!("series {uid}, {package}"))?;
            let seconds = begun.elapsed().as_secs_f64();
            let slices = report.slices.max(1) as f64;
            let preview = job.preview.as_deref().map(file_name);
            self.summary.results.extend(files.made.into_iter().map(|(file, kind)| Made {
                file,
                kind,
                series: uid.clone(),
                package: package.into(),
                to: rule.to.clone(),
                seconds,
                slice_ms: 1000.0 * seconds / slices,
                preview: preview.clone(),
            }));
            first = false;
        }
        Ok(())
    }

    /// The job of one form; what is there once a series is made with the first.
    fn job(
        &self,
        rule: &Rule,
        form: Output,
        first: bool,
        series: &Series,
        files: &mut Files<'_>,
    ) -> FileJob {
        let asked = |kind| (first && rule.outputs.contains(&kind)).then_some(kind);
        // Labels that nobody asks for are made for the picture's sake, and go nowhere.
        let output = if rule.outputs.contains(&form) {
            files.path(form)
        } else {
            self.results.join(format!("{}.labels.dcm", files.stem))
        };
        let stats = asked(Output::Figures).map(|kind| files.path(kind));
        let dicom = DicomJob {
            form: form_of(form),
            report: asked(Output::Report).map(|kind| files.path(kind)),
            capture: asked(Output::Capture).map(|kind| files.path(kind)),
            decoders: Arc::new(|| Box::new(Contained::default())),
            ..DicomJob::new(series.clone())
        };
        FileJob {
            input: self.images.clone(),
            output,
            preview: first.then(|| self.results.join(format!("{}.png", files.stem))),
            measure: stats.is_some(),
            stats,
            overwrite: true,
            accept_any: rule.accept_any,
            dicom: Some(dicom),
            ..FileJob::default()
        }
    }
}

/// The files of one run.
struct Files<'a> {
    stem: &'a str,
    results: &'a Path,
    made: Vec<(String, Output)>,
}

impl Files<'_> {
    fn path(&mut self, kind: Output) -> PathBuf {
        let ending = match kind {
            Output::Seg => "seg.dcm",
            Output::Labelmap => "labelmap.dcm",
            Output::Rtstruct => "rtstruct.dcm",
            Output::Nifti => "nii.gz",
            Output::Report => "report.dcm",
            Output::Capture => "capture.dcm",
            Output::Figures => "json",
        };
        let file = format!("{}.{ending}", self.stem);
        let path = self.results.join(&file);
        self.made.push((file, kind));
        path
    }
}

/// The forms of labels that a rule asks for. What a report refers to comes first; where only a
/// picture or figures are asked for, labels are made all the same.
fn forms(rule: &Rule) -> Vec<Output> {
    let all = [Output::Seg, Output::Labelmap, Output::Rtstruct, Output::Nifti];
    let asked: Vec<Output> = all.into_iter().filter(|form| rule.outputs.contains(form)).collect();
    if asked.is_empty() { vec![Output::Seg] } else { asked }
}

fn form_of(output: Output) -> Option<Form> {
    match output {
        Output::Labelmap => Some(Form::Labelmap),
        Output::Rtstruct => Some(Form::Rtstruct),
        Output::Nifti => None,
        _ => Some(Form::Seg),
    }
}

/// A package's name and version as part of a file name.
fn file_stem(package: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    package.chars().map(plain).take(48).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
