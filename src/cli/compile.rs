//! `monet compile`: a package as one plan file for devices.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use monet::package::{Net, plan_file};
use monet::text::shown;

use super::{Outcome, nets, reports, terminal};

const EXAMPLES: &str = "\
Examples:
  monet compile -o hippocampus.plan
  monet compile models/bench/monet-256.int8.toml -o bench.plan
  monet segment scan.nii.gz -o mask.nii.gz --model hippocampus.plan";

/// Turn a package into one plan file, which the lean build runs, too
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompileArgs {
    /// Manifest of the package; when not given, the embedded package, which is a plan in the binary
    /// already
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
pub(super) fn run(args: &CompileArgs) -> Result<Outcome> {
    let model = args.package.as_deref();
    let package = super::package(model)?;
    let is_plan = matches!(package.net, Net::Plan(_));
    ensure!(model.is_none() || !is_plan, "{}: is a plan already", package.origin);
    ensure!(
        !reports::is_stdout(&args.output),
        "a plan goes to a file, not to standard output: -o FILE.plan"
    );
    reports::guard(reports::files_of(model, &package), [&*args.output], args.force)?;
    let package = nets::to_plan(&package)?;
    let file = plan_file::seal(&package.manifest, package.net.bytes());
    let output = shown(&args.output);
    plan_file::write(&args.output, &file, args.force)
        .with_context(|| format!("{output}: cannot be written"))?;
    let (name, version) = (&package.manifest.name, &package.manifest.version);
    terminal::print(&format!("{output}: {name} {version}, {} bytes\n", file.len()))?;
    Ok(Outcome::Done)
}
