//! A package that is ready for volumes: its engines are kept from one to the next.

use std::path::PathBuf;

use super::{FileJob, PipelineError};
use crate::Size;
use crate::atomic;
use crate::engine::{Engine, EngineFactory};
use crate::package::Package;

/// A package and the engines that are ready for it; kept between volumes of the same slice size.
pub struct Model {
    pub(super) package: Package,
    workers: usize,
    factory: Box<dyn EngineFactory>,
    pub(super) engines: Vec<Box<dyn Engine>>,
    /// Folders in which the last volume's outputs are: what killed processes left there is tidied
    /// up.
    tidy: Vec<PathBuf>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.package.manifest.name)
            .field("workers", &self.workers)
            .finish()
    }
}

impl Model {
    /// A model that will run on `workers` threads (at least one), on engines of this factory: a
    /// [`Kernel`](monet_core::Kernel) for packages whose net is a plan.
    ///
    /// The factory is asked when the first volume of a slice size comes, and again after a volume
    /// that failed. What it says against a net is then the volume's error.
    #[must_use]
    pub fn new(package: Package, workers: usize, factory: impl EngineFactory + 'static) -> Self {
        Self {
            package,
            workers: workers.max(1),
            factory: Box::new(factory),
            engines: Vec::new(),
            tidy: Vec::new(),
        }
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
        size: Size,
    ) -> Result<Vec<Box<dyn Engine>>, PipelineError> {
        let engines = std::mem::take(&mut self.engines);
        if engines.first().is_some_and(|engine| engine.size() == size) {
            return Ok(engines);
        }
        drop(engines);
        self.factory.make(&self.package, size, self.workers).map_err(PipelineError::Load)
    }
}
