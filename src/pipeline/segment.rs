//! One volume from start to end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::doubtful::{self, Doubts};
use super::outputs::{Outputs, Places};
use super::stream::{self, Labelled, Preparation};
use super::{Device, FileJob, Job, Model, ModelReport, PipelineError, Report};
use crate::atomic;
use crate::measure::{self, Clock, LabelReport, Stage, Track};
use crate::package::{Fit, Intensity, IntensityStats, IntensityWarning, Manifest};
use crate::volume::{OutputError, SliceSource, SourceOptions};

/// Segments a volume in a file. All outputs are written or none ([`crate::atomic`] says how); the
/// label volume is the last to appear.
///
/// # Errors
/// As [`segment`]; [`PipelineError::Path`] before anything is read.
pub fn segment_file(
    model: &mut Model,
    job: &FileJob,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, PipelineError> {
    model.check(job)?;
    let job = job.open(&model.package.manifest, interrupted)?;
    segment(model, job, interrupted, progress)
}

/// As [`segment_file`], by a device that takes raw slices and has the package of that manifest. No
/// picture is drawn: a device's slices are not seen here.
///
/// # Errors
/// As [`segment_file`]
pub fn segment_file_on(
    device: &mut dyn Device,
    manifest: &Manifest,
    job: &FileJob,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, PipelineError> {
    let paths = job.paths();
    atomic::recover(&paths.folders());
    paths.check(job.overwrite)?;
    let mut job = job.open(manifest, interrupted)?;
    job.preview = None;
    job.extras.retain(|extra| !extra.picture);
    segment_by(&mut Runner::Device(device), manifest, job, interrupted, progress)
}

/// Segments one volume. `progress` is told how many slices of how many are written. Files appear
/// together or not at all, and buffers are filled after them.
///
/// # Errors
/// [`PipelineError`]
pub fn segment(
    model: &mut Model,
    job: Job,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, PipelineError> {
    let manifest = model.package.manifest.clone();
    segment_by(&mut Runner::Model(model), &manifest, job, interrupted, progress)
}

/// Who makes labels of slices.
enum Runner<'a> {
    Model(&'a mut Model),
    Device(&'a mut dyn Device),
}

fn segment_by(
    runner: &mut Runner,
    manifest: &Manifest,
    job: Job,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, PipelineError> {
    let Job { volume, labels, preview, stats, extras, origin, title, notice, .. } = job;
    let Job { measure, overwrite, region, accept_any, beyond, .. } = job;
    let Job { spool_dir, clock, trace, mut warnings, .. } = job;
    let options = SourceOptions {
        orientation: manifest.orientation,
        spool_dir,
        region,
        interrupted: Some(interrupted.clone()),
    };
    let geometry = options.geometry(volume.grid())?;
    let name = volume.grid().name();
    let beyond = doubtful::accept(name, accept_any, manifest, beyond, &geometry)?;
    let mut source = SliceSource::new(volume, &options)?;
    let fit = fit(manifest, &source)?;
    let places =
        Places { labels, preview, stats, trace, measure, extras, title, notice, overwrite };
    let trace = places.trace.is_some().then_some(clock);
    let mut outputs = Outputs::create(places, &source, manifest, options.spool_dir.as_deref())?;
    let mut volume =
        Volume { source: &mut source, fit: &fit, outputs: &mut outputs, interrupted, clock, trace };
    let (mut ran, doubtful) = match runner {
        Runner::Model(model) => by_engines(model, &mut volume, progress)?,
        Runner::Device(device) => (by_device(*device, &mut volume, progress)?, Vec::new()),
    };
    let doubts = Doubts { beyond, intensity: doubtful };
    let labelled = Clock::start();
    let labels = outputs.labels(&mut source, manifest, interrupted)?;
    outputs.draw(&labels);
    ran.tracks[0].mark("figures and picture", labelled, Clock::start());
    let trace = trace.map(|_| Track::trace(&ran.tracks));
    let wall_s = clock.elapsed().as_secs_f64();
    let read = Read { source: &source, is_part: region.is_some(), wall_s };
    let mut report = report(manifest, read, outputs.name(), ran, labels, doubts);
    warnings.append(&mut report.warnings);
    let report = Report { dicom: origin, warnings, ..report };
    source.verify()?;
    outputs.finish(&report, trace)?;
    Ok(report)
}

/// How a slice is brought to the net's size.
fn fit(manifest: &Manifest, source: &SliceSource) -> Result<Fit, PipelineError> {
    let geometry = source.geometry();
    let [x, y, _] = geometry.spacing;
    Fit::new(manifest, source.channels(), geometry.slice_size(), [x, y])
        .map_err(|e| PipelineError::Fit { path: source.grid().name().to_owned(), source: e })
}

/// Makes the passes over the volume that normalisation needs. Returns the normalisation, and what
/// is doubtful about its statistics.
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

/// A volume on its way.
struct Volume<'a, 'v> {
    source: &'a mut SliceSource<'v>,
    fit: &'a Fit,
    outputs: &'a mut Outputs<'v>,
    interrupted: &'a AtomicBool,
    /// Runs since the job was made.
    clock: Clock,
    /// The same, where a trace is wanted.
    trace: Option<Clock>,
}

/// Runs what makes labels, and hands these to the outputs.
fn run(
    volume: &mut Volume,
    progress: &mut dyn FnMut(usize, usize),
    make: impl FnOnce(
        &mut SliceSource,
        &mut dyn FnMut(Labelled) -> Result<(), OutputError>,
    ) -> Result<Vec<Track>, PipelineError>,
) -> Result<Vec<Track>, PipelineError> {
    let Volume { source, outputs, interrupted, .. } = volume;
    let slices = source.geometry().size[2];
    let mut done = 0;
    let mut write = |slice: Labelled| {
        outputs.push(slice)?;
        done += 1;
        progress(done, slices);
        Ok(())
    };
    let mut tracks = make(source, &mut write)?;
    let released = Clock::start();
    outputs.release(interrupted)?;
    tracks[0].add(Stage::Write, None, released);
    Ok(tracks)
}

/// Sends all slices through the net.
fn by_engines(
    model: &mut Model,
    volume: &mut Volume,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Ran, Vec<IntensityWarning>), PipelineError> {
    let Volume { fit, interrupted, clock, trace, .. } = *volume;
    let subsampling = volume.outputs.subsampling();
    let manifest = &model.package.manifest;
    let neighbours = manifest.input.neighbours;
    let opened = Clock::start();
    let (intensity, doubtful) = intensity(manifest, volume.source, interrupted)?;
    let planning = Clock::start();
    let mut engines = model.take_engines(fit.net_size())?;
    let ready = Clock::start();
    let before_s = ready.since(clock).as_secs_f64();
    let preparation = Preparation { intensity: &intensity, fit, neighbours, subsampling, trace };
    let (threads, engine) = (engines.len(), engines[0].name());
    let mut tracks = run(volume, progress, |source, write| {
        stream::stream(source, preparation, &mut engines, interrupted, write)
    })?;
    model.engines = engines;
    let before = [
        ("open", clock, opened),
        ("statistics of the volume", opened, planning),
        ("plan", planning, ready),
    ];
    before.into_iter().for_each(|(what, from, to)| tracks[0].mark(what, from, to));
    Ok((Ran { threads, engine, before_s, tracks }, doubtful))
}

/// Sends all slices to a device. Its time counts as the net's.
fn by_device(
    device: &mut dyn Device,
    volume: &mut Volume,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Ran, PipelineError> {
    let Volume { fit, interrupted, clock, trace, .. } = *volume;
    let engine = device.name();
    let before_s = clock.elapsed().as_secs_f64();
    let tracks = run(volume, progress, |source, write| {
        let (mut track, started) = (Track::new("caller", trace), Clock::start());
        device.segment(source, fit, interrupted, write)?;
        track.add(Stage::Infer, None, started);
        Ok(vec![track])
    })?;
    Ok(Ran { threads: 1, engine, before_s, tracks })
}

/// What ran the net, and how long it took.
struct Ran {
    threads: usize,
    engine: String,
    before_s: f64,
    /// What each thread did, the caller's first.
    tracks: Vec<Track>,
}

/// What was read to its end, and how long all of it took.
struct Read<'a> {
    source: &'a SliceSource<'a>,
    /// Whether a part of the volume was asked for.
    is_part: bool,
    wall_s: f64,
}

fn report(
    manifest: &Manifest,
    Read { source, is_part, wall_s }: Read,
    output: &Path,
    ran: Ran,
    labels: Vec<LabelReport>,
    doubts: Doubts,
) -> Report {
    let Ran { threads, engine, before_s, tracks } = ran;
    let (whole, slices) = (source.whole(), source.geometry().size[2]);
    Report {
        input: source.grid().name().to_owned(),
        output: output.to_owned(),
        model: ModelReport::of(manifest),
        size: whole.size,
        spacing_mm: whole.spacing,
        region: is_part.then(|| source.part()),
        empty: doubtful::is_empty(&labels),
        slices,
        threads,
        engine,
        wall_s,
        before_s,
        slices_per_s: slices as f64 / wall_s,
        stages: Track::total(&tracks),
        peak_memory_bytes: measure::peak_memory(),
        non_finite_voxels: source.non_finite(),
        warnings: doubts.warnings(manifest, source, &labels),
        dicom: None,
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Size;
    use monet_core::Kernel;

    use crate::engine::{Engine, EngineError};
    use crate::package::Package;

    /// Panics, and tells whoever holds `alive` when it is dropped.
    struct Breaks(Size, #[expect(dead_code, reason = "counts its owners")] Arc<()>);

    impl Engine for Breaks {
        fn size(&self) -> Size {
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
        let job = FileJob {
            input: "models/sample/mni152-hippocampus.nii.gz".into(),
            output: folder.path().join("o.nii.gz"),
            ..FileJob::default()
        };
        let mut model = Model::new(Package::embedded(), 2, Kernel::best());
        let never = Arc::default();
        let segment = |model: &mut Model| segment_file(model, &job, &never, &mut |_, _| {});
        let orientation = model.package().manifest.orientation;
        let options = SourceOptions { orientation, ..SourceOptions::default() };
        let source = SliceSource::open(&job.input, &options).unwrap();
        let size = fit(&model.package().manifest, &source).unwrap().net_size();
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
