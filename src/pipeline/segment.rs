//! One volume from start to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::PipelineError;
use super::doubtful::{self, Doubts};
use super::outputs::Outputs;
use super::stream::{self, Labelled, Preparation};
use crate::atomic;
use crate::engine::{self, Choice, Engine, EngineError};
use crate::measure::{self, Clock, LabelReport, Stage, StageTimes};
use crate::package::{FitPlan, Intensity, IntensityStats, IntensityWarning, Manifest, Package};
use crate::paths::Paths;
use crate::text;
use crate::volume::{Geometry, Region, SliceSource, SourceOptions, VoxelBox};

/// What is to be done with one volume.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// The volume.
    pub input: PathBuf,
    /// The label volume to write.
    pub output: PathBuf,
    /// A picture to write beside it.
    pub preview: Option<PathBuf>,
    /// A JSON report to write beside it.
    pub stats: Option<PathBuf>,
    /// Whether existing files are replaced.
    pub overwrite: bool,
    /// The part of the volume that is segmented, as if there were nothing else; the label volume
    /// has the whole grid, and nothing outside. Intensities are normalised by what lies in it, and
    /// [`Manifest::accepts`] holds for it.
    pub region: Option<Region>,
    /// Whether a volume is segmented that the package does not accept.
    pub accept_any: bool,
}

impl Job {
    fn outputs(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.output), self.preview.as_ref(), self.stats.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    /// What it reads and writes.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let mut paths = Paths::new();
        paths.read(&self.input);
        self.outputs().for_each(|path| paths.write(path));
        paths
    }
}

/// A package and the engines that are ready for it; kept between volumes of the same slice size.
pub struct Model {
    package: Package,
    workers: usize,
    choice: Choice,
    engines: Vec<Box<dyn Engine>>,
    trial: Option<Box<Trial>>,
    /// The size that the trial allowed last.
    tried: Option<[usize; 2]>,
    /// Folders in which the last volume's outputs are: what killed processes left there is tidied
    /// up.
    tidy: Vec<PathBuf>,
}

/// Says whether a package's net may be planned for slices of a height and width.
type Trial = dyn Fn(&Package, [usize; 2]) -> Result<(), EngineError> + Send;

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.package.manifest.name)
            .field("workers", &self.workers)
            .finish()
    }
}

impl Model {
    /// A model that will run on `workers` threads (at least one), by this kernel where it is
    /// quantized or by the engine chosen.
    #[must_use]
    pub fn new(package: Package, workers: usize, choice: impl Into<Choice>) -> Self {
        Self {
            package,
            workers: workers.max(1),
            choice: choice.into(),
            engines: Vec::new(),
            trial: None,
            tried: None,
            tidy: Vec::new(),
        }
    }

    /// Before the net is planned for a slice size that is new, `trial` says whether it may be; its
    /// error is then the volume's. A program that must not end with a net that makes tract panic or
    /// take all memory tries the net in another process here.
    #[must_use]
    pub fn with_trial(
        self,
        trial: impl Fn(&Package, [usize; 2]) -> Result<(), EngineError> + Send + 'static,
    ) -> Self {
        Self { trial: Some(Box::new(trial)), ..self }
    }

    /// Its package.
    #[must_use]
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// Fails before any work on what would fail after it.
    fn check(&mut self, job: &Job) -> Result<(), PipelineError> {
        let paths = job.paths();
        let folders = paths.folders();
        if folders != self.tidy {
            atomic::recover(&folders);
            self.tidy = folders;
        }
        Ok(paths.check(job.overwrite)?)
    }

    /// Takes the engines, planned for a height and width. Whoever takes them puts them back after a
    /// volume that ended well; after any other they are made anew, since a panic may have left one
    /// half-way.
    fn take_engines(&mut self, size: [usize; 2]) -> Result<Vec<Box<dyn Engine>>, PipelineError> {
        let engines = std::mem::take(&mut self.engines);
        if engines.first().is_some_and(|engine| engine.size() == size) {
            return Ok(engines);
        }
        drop(engines);
        if let Some(trial) = self.trial.as_ref().filter(|_| self.tried != Some(size)) {
            trial(&self.package, size).map_err(PipelineError::Load)?;
            self.tried = Some(size);
        }
        engine::engines(&self.package, size, self.workers, self.choice).map_err(PipelineError::Load)
    }
}

/// What was done with one volume.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The volume.
    #[serde(serialize_with = "text::serialize_path")]
    pub input: PathBuf,
    /// The label volume.
    #[serde(serialize_with = "text::serialize_path")]
    pub output: PathBuf,
    /// The model.
    pub model: ModelReport,
    /// Width, height and slices of the volume in the model's orientation.
    pub size: [usize; 3],
    /// Millimetres along the same axes.
    pub spacing_mm: [f64; 3],
    /// The part that was segmented, along the same axes, where it was not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<VoxelBox>,
    /// Whether no voxel has a label.
    pub empty: bool,
    /// Each label's figures.
    pub labels: Vec<LabelReport>,
    /// Number of slices that were segmented.
    pub slices: usize,
    /// Worker threads.
    pub threads: usize,
    /// What ran the net.
    pub engine: String,
    /// From the file's opening to the finished output.
    pub wall_s: f64,
    /// Of `wall_s`, the passes over the volume before the first slice (statistics, spool,
    /// planning).
    pub before_s: f64,
    /// Slices divided by `wall_s`.
    pub slices_per_s: f64,
    /// Time in each stage.
    pub stages: StageTimes,
    /// Most memory resident so far in this process, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Voxels that were NaN or infinite and taken as background.
    pub non_finite_voxels: u64,
    /// What was odd.
    pub warnings: Vec<String>,
}

/// Which model made a label volume.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its ONNX file.
    pub sha256: String,
}

impl ModelReport {
    /// Of a package.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let Manifest { name, version, sha256, .. } = manifest.clone();
        Self { name, version, sha256 }
    }
}

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
    let spool_dir = atomic::folder(&job.output);
    let orientation = model.package.manifest.orientation;
    let options = SourceOptions {
        orientation,
        spool_dir: Some(spool_dir.to_owned()),
        region: job.region,
        interrupted: Some(interrupted.clone()),
    };
    let mut beyond = Vec::new();
    let mut source = SliceSource::open_if(&job.input, &options, |volume| {
        beyond = doubtful::accept(job, &model.package.manifest, volume)?;
        Ok::<_, PipelineError>(())
    })?;
    let slices = source.geometry().size[2];
    let fit = fit(model.package(), &source, &job.input)?;
    let manifest = model.package.manifest.clone();
    let mut outputs = Outputs::create(job, &source, &manifest, spool_dir)?;
    let (intensity, warnings) = intensity(model.package(), &mut source, interrupted)?;
    let doubts = Doubts { beyond, intensity: warnings };
    let mut engines = model.take_engines(fit.net_size())?;
    let before_s = clock.elapsed().as_secs_f64();

    let mut done = 0;
    let (threads, engine) = (engines.len(), engines[0].name());
    let preparation = Preparation {
        intensity: &intensity,
        fit: &fit,
        neighbours: manifest.input.neighbours,
        thinning: outputs.thinning(),
    };
    let write = |slice: Labelled| {
        outputs.push(slice)?;
        done += 1;
        progress(done, slices);
        Ok(())
    };
    let mut stages = stream::stream(&mut source, preparation, &mut engines, interrupted, write)?;
    model.engines = engines;
    let released = Clock::start();
    outputs.release(interrupted)?;
    stages.add(Stage::Write, released);

    let labels = outputs.labels();
    let picture = outputs.picture(job, &labels)?;
    let wall_s = clock.elapsed().as_secs_f64();
    let whole = source.whole();
    let report = Report {
        input: job.input.clone(),
        output: job.output.clone(),
        model: ModelReport::of(&manifest),
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
        warnings: doubts.warnings(&manifest, &source, &labels),
        labels,
    };
    source.verify()?;
    outputs.commit(job, picture, &report)?;
    Ok(report)
}

fn fit(package: &Package, source: &SliceSource, path: &Path) -> Result<FitPlan, PipelineError> {
    let Geometry { size, spacing, .. } = *source.geometry();
    FitPlan::new(&package.manifest, source.channels(), [size[0], size[1]], [spacing[0], spacing[1]])
        .map_err(|source| PipelineError::Fit { path: path.to_owned(), source })
}

/// The passes that normalisation needs, and what is doubtful about what they found.
fn intensity(
    package: &Package,
    source: &mut SliceSource,
    interrupted: &AtomicBool,
) -> Result<(Intensity, Vec<IntensityWarning>), PipelineError> {
    let mut stats = IntensityStats::new(package.manifest.normalise, source.channels());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineError, int8::Kernel};

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
        let size = fit(model.package(), &source, &job.input).unwrap().net_size();
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
