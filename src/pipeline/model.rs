//! A package that is ready for volumes: its engines are kept from one to the next.

use std::path::PathBuf;

use super::{FileJob, PipelineError};
use crate::atomic;
use crate::engine::{self, Choice, Engine, EngineError};
use crate::package::Package;

/// A package and the engines that are ready for it; kept between volumes of the same slice size.
pub struct Model {
    pub(super) package: Package,
    workers: usize,
    choice: Choice,
    pub(super) engines: Vec<Box<dyn Engine>>,
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
    pub(super) fn check(&mut self, job: &FileJob) -> Result<(), PipelineError> {
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
    pub(super) fn take_engines(
        &mut self,
        size: [usize; 2],
    ) -> Result<Vec<Box<dyn Engine>>, PipelineError> {
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
