//! `monet compile`: a package as one file for devices, of any slice size and kernel or planned for
//! one of each.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use monet::core::{Kernel, Schedule, Size};
use monet::engine;
use monet::package::{Net, Package, SelfTest, plan_file};
use monet::targets::{self, Target};
use monet::text::shown;

use super::{Outcome, nets, reports, room, terminal};

const EXAMPLES: &str = "\
Examples:
  monet compile -o hippocampus.plan
  monet compile models/bench/monet-256.int8.toml -o bench.plan
  monet compile --for neon-dotprod --size 48x48 -o hippocampus.image
  monet compile --for cortex-m7 --size 96x96 -o hippocampus.image      # refused if it does not fit
  monet compile --for scalar --size 64x64 --lines -o hippocampus.image  # little memory
  monet compile models/sarcoma.int8.toml --self-test -o sarcoma.plan   # for a box";

/// Turn a package into one file, which the lean build runs, too
///
/// The plan file serves slices of any size and every kernel: the device plans when it starts. With
/// `--for` the file is the plan itself, which the device proves and runs where it lies.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompileArgs {
    /// Manifest of the package; when not given, the embedded package, which is a plan in the binary
    /// already
    #[arg(value_name = "PACKAGE.toml")]
    package: Option<PathBuf>,
    /// File to write
    #[arg(short, long, value_name = "FILE.plan")]
    output: PathBuf,
    /// Plan now, for this kernel, which need not be this machine's, or for a board: a name that
    /// `monet targets` lists, or a TOML file of your own. A plan for which a board without an
    /// operating system has no room is refused; where whole planes do not fit, it is planned as
    /// with --lines, and where that does not fit either, as with --twice
    #[arg(long = "for", value_name = "KERNEL|TARGET", value_parser = parse_purpose)]
    purpose: Option<Purpose>,
    /// Height and width of the net's slices to plan for; those that the net was trained on when not
    /// given. A volume that needs others is refused with the size that it needs
    #[arg(long, value_name = "HxW", requires = "purpose")]
    size: Option<Size>,
    /// Let steps take turns of a few rows where that makes the working memory smaller. The labels
    /// are the same
    #[arg(long, requires = "purpose")]
    lines: bool,
    /// As --lines, and compute a tensor that waits long for its reader a second time where that
    /// makes the working memory smaller: up to a fifth more multiplications. The labels are the
    /// same
    #[arg(long, requires = "purpose", conflicts_with = "lines")]
    twice: bool,
    /// Record in the manifest what labels the net gives for a built-in slice: `monet model install`
    /// compares before it trusts the package. Programs that do not know this option refuse such a
    /// file
    #[arg(long)]
    self_test: bool,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

impl CompileArgs {
    /// The order that is asked for.
    fn order(&self) -> Schedule {
        match (self.lines, self.twice) {
            (_, true) => Schedule::Twice,
            (true, false) => Schedule::Lines,
            (false, false) => Schedule::Planes,
        }
    }
}

/// What a plan is for.
#[derive(Debug, Clone)]
enum Purpose {
    Kernel(Kernel),
    Board(Box<Target>),
}

fn parse_purpose(text: &str) -> Result<Purpose> {
    if let Ok(kernel) = text.parse() {
        return Ok(Purpose::Kernel(kernel));
    }
    let kernels = Kernel::ALL.map(Kernel::name).join(", ");
    let target = Target::find(text)
        .map_err(|error| anyhow!("no kernel ({kernels}), and no board: {:#}", anyhow!(error)))?;
    Ok(Purpose::Board(Box::new(target)))
}

/// Runs the command.
///
/// # Errors
/// A package that cannot be loaded or whose net the int8 engine does not take as a whole, a file
/// that cannot be written.
pub(super) fn run(args: &CompileArgs) -> Result<Outcome> {
    let model = args.package.as_deref();
    let package = super::package(model)?;
    let planned = matches!(package.net, Net::Image(_));
    ensure!(!planned, "{}: is planned already, for one kernel and one size", package.origin);
    let is_plan = matches!(package.net, Net::Plan(_));
    let again = is_plan && model.is_some() && args.purpose.is_none();
    ensure!(!again, "{}: is a plan already; --for plans it for a kernel", package.origin);
    ensure!(
        !reports::is_stdout(&args.output),
        "a plan goes to a file, not to standard output: -o FILE.plan"
    );
    reports::guard(reports::files_of(model, &package), [&*args.output], args.force)?;
    let mut package = nets::to_plan(&package)?;
    let size = args.size.unwrap_or(package.size());
    if args.self_test {
        let sha256 = engine::expected_labels(&package, size)?;
        package.manifest.selftest = Some(SelfTest { sha256 });
    } else if size != package.size() {
        // What it says holds for the package's own size.
        package.manifest.selftest = None;
    }
    let Made { file, what, needs } = make(args, &package, size)?;
    let output = shown(&args.output);
    plan_file::write(&args.output, &file, args.force)
        .with_context(|| format!("{output}: cannot be written"))?;
    let (name, version) = (&package.manifest.name, &package.manifest.version);
    terminal::print(&format!("{output}: {name} {version}{what}, {} bytes\n{needs}", file.len()))?;
    Ok(Outcome::Done)
}

/// A file, and what there is to say about it.
struct Made {
    file: Vec<u8>,
    what: String,
    needs: String,
}

fn make(args: &CompileArgs, package: &Package, size: Size) -> Result<Made> {
    match &args.purpose {
        None => {
            let file = plan_file::seal(&package.manifest, package.net.bytes());
            Ok(Made { file, what: String::new(), needs: String::new() })
        }
        Some(Purpose::Kernel(kernel)) => {
            let file = engine::compile(package, size, *kernel, args.order())?.bytes().to_vec();
            Ok(Made { file, what: format!(" for {kernel} at {size}"), needs: String::new() })
        }
        Some(Purpose::Board(target)) => {
            let planned = targets::plan(package, size, target, args.order())?;
            room::check(package, size, target, &planned, args.order())?;
            let turns = match planned.order {
                Some(Schedule::Lines) => ", in turns of rows",
                Some(Schedule::Twice) => ", in turns of rows, a tensor twice",
                _ => "",
            };
            let what = format!(" for {} ({}) at {size}{turns}", target.name, target.kernel);
            let file = planned.image.bytes().to_vec();
            Ok(Made { file, what, needs: room::text(&planned, target) })
        }
    }
}
