//! One volume from start to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::doubtful::{self, Doubts};
use super::outputs::Outputs;
use super::stream::{self, Labelled, Preparation};
use super::{Job, Model, ModelReport, PipelineError, Report};
use crate::atomic;
use crate::engine::Engine;
use crate::measure::{self, Clock, LabelReport, Stage, StageTimes};
use crate::package::{Beyond, FitPlan, Intensity, IntensityStats, IntensityWarning, Manifest};
use crate::volume::{Geometry, SliceSource, SourceOptions};

/// Segments one volume. `progress` is told how many slices of how many are written. Either all
/// outputs are written or none ([`crate::atomic`] says how); the label volume is the last to
/// appear.
///
/// # Errors
/// [`PipelineError`]
pub fn segment(
    model: &mut Model,
    job: &Job,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, PipelineError> {
    model.check(job)?;
    let clock = Clock::start();
    let manifest = model.package.manifest.clone();
    let (mut source, beyond) = open(job, &manifest, interrupted)?;
    let fit = fit(job, &manifest, &source)?;
    let mut outputs = Outputs::create(job, &source, &manifest, atomic::folder(&job.output))?;
    let (intensity, warnings) = intensity(&manifest, &mut source, interrupted)?;
    let doubts = Doubts { beyond, intensity: warnings };
    let mut engines = model.take_engines(fit.net_size())?;
    let before_s = clock.elapsed().as_secs_f64();

    let preparation = Preparation {
        intensity: &intensity,
        fit: &fit,
        neighbours: manifest.input.neighbours,
        thinning: outputs.thinning(),
    };
    let (threads, engine) = (engines.len(), engines[0].name());
    let stages = run(&mut source, preparation, &mut engines, &mut outputs, interrupted, progress)?;
    model.engines = engines;

    let labels = outputs.labels();
    let picture = outputs.picture(job, &labels)?;
    let wall_s = clock.elapsed().as_secs_f64();
    let ran = Ran { threads, engine, wall_s, before_s, stages };
    let report = report(job, &manifest, &source, ran, labels, doubts);
    source.verify()?;
    outputs.commit(job, picture, &report)?;
    Ok(report)
}

/// The volume, where the package accepts it, and the limits that it does not keep where the job
/// takes any.
fn open(
    job: &Job,
    manifest: &Manifest,
    interrupted: &Arc<AtomicBool>,
) -> Result<(SliceSource, Vec<Beyond>), PipelineError> {
    let options = SourceOptions {
        orientation: manifest.orientation,
        spool_dir: Some(atomic::folder(&job.output).to_owned()),
        region: job.region,
        interrupted: Some(interrupted.clone()),
    };
    let mut beyond = Vec::new();
    let source = SliceSource::open_if(&job.input, &options, |volume| {
        beyond = doubtful::accept(job, manifest, volume)?;
        Ok::<_, PipelineError>(())
    })?;
    Ok((source, beyond))
}

/// How a slice is brought to the net's size.
fn fit(job: &Job, manifest: &Manifest, source: &SliceSource) -> Result<FitPlan, PipelineError> {
    let Geometry { size, spacing, .. } = *source.geometry();
    FitPlan::new(manifest, source.channels(), [size[0], size[1]], [spacing[0], spacing[1]])
        .map_err(|source| PipelineError::Fit { path: job.input.clone(), source })
}

/// The passes that normalisation needs, and what is doubtful about what they found.
fn intensity(
    manifest: &Manifest,
    source: &mut SliceSource,
    interrupted: &AtomicBool,
) -> Result<(Intensity, Vec<IntensityWarning>), PipelineError> {
    let mut stats = IntensityStats::new(manifest.normalise, source.channels());
    let mut slice = vec![0.0; source.slice_len()];
    while stats.wants_pass() {
        source.rewind()?;
        while source.next_into(&mut slice)?.is_some() {
            stats.add(&slice);
            if interrupted.load(Ordering::Relaxed) {
                return Err(PipelineError::Interrupted);
            }
        }
        stats.end_pass();
    }
    source.rewind()?;
    let warnings = stats.warnings().to_vec();
    Ok((stats.finish(), warnings))
}

/// All slices through the net to the outputs.
fn run(
    source: &mut SliceSource,
    preparation: Preparation<'_>,
    engines: &mut [Box<dyn Engine>],
    outputs: &mut Outputs,
    interrupted: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<StageTimes, PipelineError> {
    let slices = source.geometry().size[2];
    let mut done = 0;
    let write = |slice: Labelled| {
        outputs.push(slice)?;
        done += 1;
        progress(done, slices);
        Ok(())
    };
    let mut stages = stream::stream(source, preparation, engines, interrupted, write)?;
    let released = Clock::start();
    outputs.release(interrupted)?;
    stages.add(Stage::Write, released);
    Ok(stages)
}

/// Of the net's run: by what, and how long it took.
struct Ran {
    threads: usize,
    engine: String,
    wall_s: f64,
    before_s: f64,
    stages: StageTimes,
}

fn report(
    job: &Job,
    manifest: &Manifest,
    source: &SliceSource,
    ran: Ran,
    labels: Vec<LabelReport>,
    doubts: Doubts,
) -> Report {
    let Ran { threads, engine, wall_s, before_s, stages } = ran;
    let (whole, slices) = (source.whole(), source.geometry().size[2]);
    Report {
        input: job.input.clone(),
        output: job.output.clone(),
        model: ModelReport::of(manifest),
        size: whole.size,
        spacing_mm: whole.spacing,
        region: job.region.map(|_| source.part()),
        empty: doubtful::is_empty(&labels),
        slices,
        threads,
        engine,
        wall_s,
        before_s,
        slices_per_s: slices as f64 / wall_s,
        stages,
        peak_memory_bytes: measure::peak_memory(),
        non_finite_voxels: source.non_finite(),
        warnings: doubts.warnings(manifest, source, &labels),
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineError, int8::Kernel};
    use crate::package::Package;

    /// Panics, and tells whoever holds `alive` when it is dropped.
    struct Breaks([usize; 2], #[expect(dead_code, reason = "counts its owners")] Arc<()>);

    impl Engine for Breaks {
        fn size(&self) -> [usize; 2] {
            self.0
        }

        fn name(&self) -> String {
            "breaks".to_owned()
        }

        fn segment(&mut self, _: &[&[f32]], _: &mut [u8]) -> Result<(), EngineError> {
            panic!("breaks")
        }
    }

    /// As in a batch: the volume fails, the next one is done by engines that are made anew.
    #[test]
    fn an_engine_that_panicked_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let job = Job {
            input: "models/sample/mni152-hippocampus.nii.gz".into(),
            output: folder.path().join("o.nii.gz"),
            ..Job::default()
        };
        let mut model = Model::new(Package::embedded(), 2, Kernel::best());
        let never = Arc::default();
        let segment = |model: &mut Model| segment(model, &job, &never, &mut |_, _| {});
        let orientation = model.package().manifest.orientation;
        let options = SourceOptions { orientation, ..SourceOptions::default() };
        let source = SliceSource::open(&job.input, &options).unwrap();
        let size = fit(&job, &model.package().manifest, &source).unwrap().net_size();
        let alive = Arc::new(());
        model.engines.push(Box::new(Breaks(size, alive.clone())));
        let error = segment(&mut model).unwrap_err();
        assert!(
            matches!(&error, PipelineError::Panicked { text, .. } if text == "breaks"),
            "{error}"
        );
        assert_eq!(Arc::strong_count(&alive), 1, "the engine is dropped");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left");
        assert_eq!(segment(&mut model).unwrap().slices, 52);
    }
}
