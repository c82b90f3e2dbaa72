//! `monet compile`: a package as one plan file for devices.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Outcome;

const EXAMPLES: &str = "\
Examples:
  monet compile -o hippocampus.plan
  monet compile models/bench/monet-256.int8.toml -o bench.plan
  monet segment scan.nii.gz -o mask.nii.gz --model hippocampus.plan";

/// Turn a package into one plan file, which the lean build runs, too
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[cfg_attr(
    not(feature = "tract"),
    allow(dead_code, reason = "this build only says that it cannot")
)]
pub(super) struct CompileArgs {
    /// Manifest of the package; the embedded one when not given
    #[arg(value_name = "PACKAGE.toml")]
    package: Option<PathBuf>,
    /// Plan file to write
    #[arg(short, long, value_name = "FILE.plan")]
    output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// A package that cannot be loaded or whose net the int8 engine does not take as a whole, a file
/// that cannot be written.
#[cfg(feature = "tract")]
pub(super) fn run(args: &CompileArgs) -> Result<Outcome> {
    use anyhow::{Context, ensure};
    use monet::package::{Net, plan_file};

    use super::reports;

    let package = super::package(args.package.as_deref())?;
    let output = monet::text::shown(&args.output);
    ensure!(matches!(package.net, Net::Onnx(_)), "{}: is a plan already", package.origin);
    let model = args.package.as_deref();
    ensure!(
        !reports::is_stdout(&args.output),
        "a plan goes to a file, not to standard output: -o FILE.plan"
    );
    reports::guard(reports::files_of(model, &package), [&*args.output], args.force)?;
    let file = monet::engine::compile(&package)?;
    plan_file::write(&args.output, &file, args.force)
        .with_context(|| format!("{output}: cannot be written"))?;
    let (name, version) = (&package.manifest.name, &package.manifest.version);
    super::terminal::print(&format!("{output}: {name} {version}, {} bytes\n", file.len()))?;
    Ok(Outcome::Done)
}

/// Runs the command, which this build does not have.
///
/// # Errors
/// Always.
#[cfg(not(feature = "tract"))]
pub(super) fn run(_: &CompileArgs) -> Result<Outcome> {
    anyhow::bail!(
        "this build runs plans and cannot make them: use `monet compile` of the full build"
    )
}
