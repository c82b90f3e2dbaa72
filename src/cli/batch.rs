//! Volumes one after another: what fails is reported and the rest goes on; what a signal leaves
//! undone is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;
use monet::measure::json;
use monet::package::table;
use monet::paths::PathError;
use monet::pipeline::{self, FileJob, Model, PipelineError, Report};
use monet::text::shown;
use monet::volume::OutputError;

use super::segment::{self, Jobs, SegmentArgs, advance, progress_bar, tell};
use super::{Outcome, interrupt, nets, reports, terminal};

/// Segments all volumes; a signal ends it within a second.
///
/// # Errors
/// What concerns all inputs.
pub(super) fn run(args: SegmentArgs) -> Result<Outcome> {
    let batch = Arc::new(Batch { args, jobs: OnceLock::new(), tally: Mutex::default() });
    let work = batch.clone();
    let ended = interrupt::watch(move |interrupted| work.run(interrupted))?;
    ended.unwrap_or_else(|| batch.finish(true))
}

/// The model, whose trials end with an interrupt.
fn model(args: &SegmentArgs, interrupted: &Arc<AtomicBool>) -> Result<Model> {
    let path = args.model.as_deref();
    let package = super::package(path)?;
    let interrupted = interrupted.clone();
    let stop = move || interrupted.load(Ordering::Relaxed);
    let factory = nets::factory(path, &args.engine, &package, stop)?;
    Ok(Model::new(package, args.threads.into(), factory))
}

/// The volumes, and how far they are: told by the thread that segments or, where that is stuck, by
/// the one that watches it.
struct Batch {
    args: SegmentArgs,
    /// Known once the inputs were looked through.
    jobs: OnceLock<Jobs>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    reports: Vec<Report>,
    failed: usize,
    /// Volumes that another process has done meanwhile.
    overtaken: usize,
    bar: Option<ProgressBar>,
}

impl Batch {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, interrupted: &Arc<AtomicBool>) -> Result<Outcome> {
        let args = &self.args;
        let mut model = model(args, interrupted)?;
        let jobs = match segment::jobs(args, &model.package().manifest, interrupted) {
            Err(_) if interrupted.load(Ordering::Relaxed) => return self.finish(true),
            jobs => jobs?,
        };
        let inputs = jobs.all.iter().flat_map(FileJob::inputs).chain(jobs.read.iter().cloned());
        let inputs = inputs.chain(reports::files_of(args.model.as_deref(), model.package()));
        // What has a volume's name, now or when its turn comes, may cost this volume alone.
        let tried = args.force || args.archive.skip_done;
        let own = jobs.outputs().map(|path| (path.as_path(), tried));
        let common = jobs.figures.iter().chain(&args.label_table).chain(&args.trace);
        reports::guard_list(inputs, own.chain(common.map(|path| (&**path, false))), args.force)?;
        let jobs = jobs.settle(args)?;
        let jobs = self.jobs.get_or_init(|| jobs);
        // A summary that is lost is told at the end: it keeps no other volume from being segmented.
        let mut printed = Ok(());
        for job in &jobs.all {
            match self.segment_beside_others(&mut model, job, interrupted) {
                Ok(report) => {
                    if !args.quiet {
                        printed = printed.and(tell(&report, job, args.stats.as_deref()));
                    }
                    self.tally().reports.push(report);
                }
                Err(_) if interrupted.load(Ordering::Relaxed) => break,
                Err(_) if args.archive.is_done(&job.output) => self.tally().overtaken += 1,
                Err(error) => {
                    self.tally().failed += 1;
                    terminal::report(&explained(error, job));
                }
            }
        }
        if let (Some(path), false) = (&args.label_table, self.tally().reports.is_empty()) {
            let text = table::file_text(path, &model.package().manifest.labels);
            reports::deliver(&[(Some(path), text)], args.force)?;
        }
        let outcome = self.finish(interrupted.load(Ordering::Relaxed))?;
        printed.map(|()| outcome)
    }

    /// Segments a volume, a second time where another process was at its outputs.
    fn segment_beside_others(
        &self,
        model: &mut Model,
        job: &FileJob,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Report, PipelineError> {
        let archive = &self.args.archive;
        match self.segment(model, job, interrupted) {
            Err(error) if archive.skip_done && is_in_the_way(&error) => {
                archive.wait_for_others(job);
                if archive.is_done(&job.output) {
                    return Err(error);
                }
                self.segment(model, job, interrupted)
            }
            ended => ended,
        }
    }

    fn segment(
        &self,
        model: &mut Model,
        job: &FileJob,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Report, PipelineError> {
        let bar = if self.args.quiet { ProgressBar::hidden() } else { progress_bar(&job.input) };
        self.tally().bar = Some(bar.clone());
        let report = pipeline::segment_file(model, job, interrupted, &mut advance(&bar));
        bar.finish_and_clear();
        report
    }

    /// Says what a signal left undone, and writes figures of what was done.
    fn finish(&self, interrupted: bool) -> Result<Outcome> {
        let tally = self.tally();
        tally.bar.iter().for_each(ProgressBar::finish_and_clear);
        let Some(Jobs { all: jobs, refused, done: before, figures, .. }) = self.jobs.get() else {
            terminal::report(&anyhow!("interrupted before anything was segmented"));
            return Ok(Outcome::Interrupted);
        };
        let (done, failed) = (tally.reports.len() + tally.overtaken, tally.failed + refused);
        let inputs = jobs.len() + refused;
        let passed = before + tally.overtaken;
        if passed > 0 && !self.args.quiet {
            terminal::note(format_args!(
                "{passed} volumes are passed over: their labels are there"
            ));
        }
        let figures = figures.as_deref().and_then(|path| match &tally.reports[..] {
            [] => None,
            [one] if inputs == 1 && *before == 0 => Some((path, json(one))),
            all => Some((path, json(&all))),
        });
        drop(tally);
        let undone = jobs.get(done + failed - refused).filter(|_| interrupted);
        if let Some(job) = undone {
            terminal::report(&anyhow!("{}", unfinished(job, done, failed, inputs)));
        }
        if let Some((path, figures)) = figures {
            reports::deliver(&[(Some(path), figures)], self.args.force)?;
        }
        let all = inputs + before;
        Ok(undone.map_or_else(|| Outcome::of(failed, all), |_| Outcome::Interrupted))
    }
}

/// Whether an output exists already.
fn is_in_the_way(error: &PipelineError) -> bool {
    matches!(
        error,
        PipelineError::Path(PathError::Exists { .. })
            | PipelineError::Output(OutputError::Exists { .. })
    )
}

/// An error that does not say of which volume it is says it now.
fn explained(error: PipelineError, job: &FileJob) -> anyhow::Error {
    let nameless = matches!(
        error,
        PipelineError::Engine { .. }
            | PipelineError::Panicked { .. }
            | PipelineError::Thread { .. }
    );
    let error = anyhow::Error::new(error);
    if nameless { error.context(format!("{}: is not segmented", shown(&job.input))) } else { error }
}

/// What an interrupt left undone, from `job` on.
fn unfinished(job: &FileJob, done: usize, failed: usize, inputs: usize) -> String {
    let input = shown(&job.input);
    if inputs == 1 {
        return format!("interrupted: {input} is not segmented, nothing was written");
    }
    let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let undone = match inputs - done - failed - 1 {
        0 => "is not segmented".to_owned(),
        after => format!("and {after} after it are not segmented"),
    };
    format!(
        "interrupted: {done} of {inputs} inputs are done, their outputs are kept{failures}; \
         {input} {undone}"
    )
}
