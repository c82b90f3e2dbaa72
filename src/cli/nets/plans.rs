//! Nets in a build without tract, which runs plans alone. The int8 engine takes any plan or refuses
//! it, so nothing is tried in another process.

use std::path::Path;

use anyhow::{Result, ensure};
use monet::Size;
use monet::core::Kernel;
use monet::package::{Net, Package};

use super::EngineArgs;

pub(in crate::cli) use monet::core::Kernel as Choice;
pub(in crate::cli) use monet::engine::describe;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum EngineName {
    Auto,
}

impl EngineName {
    pub(super) fn choose(self, kernel: Option<&str>) -> Result<Choice> {
        let Self::Auto = self;
        Ok(Kernel::choose(kernel)?)
    }
}

/// This build has no trials.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TrialArgs {}

impl TrialArgs {
    /// Says that this process is no trial.
    #[allow(clippy::unnecessary_wraps, reason = "it can fail with tract")]
    pub(in crate::cli) fn bind(&self) -> Result<bool> {
        Ok(false)
    }
}

/// Makes nothing: an ONNX file is refused as no package.
#[allow(clippy::unnecessary_wraps, reason = "it can fail with tract")]
pub(in crate::cli) fn package_of_onnx(_: &Path, _: Option<Size>) -> Result<Option<Package>> {
    Ok(None)
}

/// A package whose net is a plan, as it is.
///
/// # Errors
/// An ONNX package.
pub(in crate::cli) fn to_plan(package: &Package) -> Result<Package> {
    ensure!(
        matches!(package.net, Net::Plan(_)),
        "this build runs plans and cannot make them: use `monet compile` of the full build"
    );
    Ok(package.clone())
}

/// Tries nothing.
#[allow(clippy::unnecessary_wraps, reason = "it can fail with tract")]
pub(in crate::cli) fn try_inspect(_: &Path, _: &EngineArgs, _: &Package, _: Size) -> Result<()> {
    Ok(())
}

/// Tries nothing.
#[allow(clippy::unnecessary_wraps, reason = "it can fail with tract")]
pub(in crate::cli) fn try_first_slice(
    _: &Path,
    _: &EngineArgs,
    _: &Package,
    _: Size,
) -> Result<()> {
    Ok(())
}

/// The factory of a model's engines.
///
/// # Errors
/// As [`EngineArgs::choose`]
pub(in crate::cli) fn factory(
    _: Option<&Path>,
    args: &EngineArgs,
    package: &Package,
    _: impl Fn() -> bool + Send + 'static,
) -> Result<Choice> {
    args.choose(package)
}
