//! Nets in a build that has tract.

use std::path::Path;

use anyhow::Result;
use monet::Size;
use monet::core::Kernel;
use monet::engine::{Engine, EngineError, EngineFactory};
use monet::onnx::{EngineChoice, Needs};
use monet::package::Package;

use super::EngineArgs;
use super::trial::{self, Trial};

pub(in crate::cli) use monet::onnx::{EngineChoice as Choice, describe, to_plan};

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum EngineName {
    Auto,
    Tract,
}

impl EngineName {
    pub(super) fn choose(self, kernel: Option<&str>) -> Result<Choice> {
        Ok(match self {
            Self::Auto => EngineChoice::Int8(Kernel::choose(kernel)?),
            Self::Tract => EngineChoice::Tract,
        })
    }
}

/// Makes a command a trial.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TrialArgs {
    /// Do it as a trial, within these bounds
    #[arg(long, hide = true, value_parser = trial::parse)]
    trial: Option<Needs>,
}

impl TrialArgs {
    /// Binds this process to its bounds, if it is a trial, and says whether it is one.
    ///
    /// # Errors
    /// The system does not let it be bound.
    pub(in crate::cli) fn bind(&self) -> Result<bool> {
        self.trial.map(trial::bind).transpose().map(|bound| bound.is_some())
    }
}

/// A package made of an ONNX file without manifest, where that is what the path names; for slices
/// of this size or the file's own.
///
/// # Errors
/// [`EngineError`]
pub(in crate::cli) fn package_of_onnx(path: &Path, size: Option<Size>) -> Result<Option<Package>> {
    let onnx = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"));
    Ok(onnx.then(|| monet::onnx::package_from_onnx(path, size)).transpose()?)
}

/// Tries what `monet inspect` does with a model of the user's. Tract reads the whole net there,
/// whatever runs it later.
///
/// # Errors
/// As [`Trial::run`]
pub(in crate::cli) fn try_inspect(
    model: &Path,
    args: &EngineArgs,
    package: &Package,
    size: Size,
) -> Result<()> {
    let trial = Trial::new(model, &["inspect"], args, package)?.with_tract();
    Ok(trial.run(package, size, &|| false)?)
}

/// Tries the first slice of a model of the user's.
///
/// # Errors
/// As [`Trial::run`]
pub(in crate::cli) fn try_first_slice(
    model: &Path,
    args: &EngineArgs,
    package: &Package,
    size: Size,
) -> Result<()> {
    Ok(Trial::new(model, trial::FIRST_SLICE, args, package)?.run(package, size, &|| false)?)
}

/// The factory of a model's engines. A model of the user's is tried in another process, which ends
/// when `stop` says so, before this process plans it for a new size.
///
/// # Errors
/// As [`EngineArgs::choose`]
pub(in crate::cli) fn factory(
    model: Option<&Path>,
    args: &EngineArgs,
    package: &Package,
    stop: impl Fn() -> bool + Send + 'static,
) -> Result<TriedFirst> {
    let trial = model.map(|model| Trial::new(model, trial::FIRST_SLICE, args, package));
    let (trial, choice) = (trial.transpose()?, args.choose(package)?);
    Ok(TriedFirst { trial, stop: Box::new(stop), passed: None, choice })
}

/// Tries a net before it makes the net's engines.
pub(in crate::cli) struct TriedFirst {
    trial: Option<Trial>,
    stop: Box<dyn Fn() -> bool + Send>,
    /// The size of the last trial that passed.
    passed: Option<Size>,
    choice: Choice,
}

impl EngineFactory for TriedFirst {
    fn make(
        &mut self,
        package: &Package,
        size: Size,
        workers: usize,
    ) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        if let Some(trial) = self.trial.as_ref().filter(|_| self.passed != Some(size)) {
            trial.run(package, size, &self.stop)?;
            self.passed = Some(size);
        }
        self.choice.make(package, size, workers)
    }
}
