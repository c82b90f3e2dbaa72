//! `monet board`: a volume through a board at the end of a serial line.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::ProgressBar;
use monet::board::{Line, Remote};
use monet::pipeline::{self, FileJob};

use super::segment::{advance, progress_bar, tell};
use super::{Outcome, interrupt, reports};

const EXAMPLES: &str = "\
Examples:
  monet board /dev/ttyACM0 scan.nii.gz -o mask.nii.gz
  monet board /dev/ttyUSB0 --baud 921600 scan.nii.gz -o mask.nii.gz --stats stats.json
  monet board tcp:localhost:5555 scan.nii.gz -o mask.nii.gz     # an emulator's serial port";

/// Segment a volume on a board without operating system, over a serial line
///
/// Raw slices go over and labels come back: the board normalises and fits the slices itself. The
/// line may lose bytes. targets/bare-metal has the board's program.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BoardArgs {
    /// A serial device, or tcp:HOST:PORT
    #[arg(value_name = "PORT")]
    port: String,
    /// Volume: .nii, .nii.gz, or .hdr/.img; its intensities are whole numbers of 16 bits
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Labels to write (.nii or .nii.gz)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The package whose plan the board has; the embedded hippocampus package when not given
    #[arg(long, value_name = "FILE.toml|FILE.plan")]
    model: Option<PathBuf>,
    /// Speed of the line, bits a second: of a serial device it is set, and an answer is waited for
    /// as long as what goes before takes
    #[arg(long, value_name = "N", default_value_t = 115_200)]
    baud: u32,
    /// Longest time that the board may take for a slice, seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    wait: u64,
    /// Write figures (labels, times) as JSON
    #[arg(long, value_name = "FILE.json")]
    stats: Option<PathBuf>,
    /// Segment a volume that the package does not accept
    #[arg(long)]
    accept_any: bool,
    /// Replace existing outputs
    #[arg(long)]
    force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
///
/// # Errors
/// A line that cannot be opened, a board that does not answer or has another package, a volume
/// that cannot be segmented, outputs that cannot be written.
pub(super) fn run(args: BoardArgs) -> Result<Outcome> {
    let ended = interrupt::watch(move |interrupted| segment(&args, interrupted))?;
    ended.unwrap_or(Ok(Outcome::Interrupted))
}

fn segment(args: &BoardArgs, interrupted: &Arc<AtomicBool>) -> Result<Outcome> {
    let job = FileJob {
        input: args.input.clone(),
        output: args.output.clone(),
        stats: args.stats.clone(),
        overwrite: args.force,
        accept_any: args.accept_any,
        ..FileJob::default()
    };
    let outputs: Vec<_> = job.outputs().into_iter().chain(&job.stats).collect();
    ensure!(!outputs.iter().any(|path| reports::is_stdout(path)), "results go to files");
    let path = args.model.as_deref();
    let package = super::package(path)?;
    let inputs = reports::files_of(path, &package).into_iter().chain(job.inputs());
    reports::guard(inputs, outputs.into_iter().map(PathBuf::as_path), args.force)?;
    let (line, wait) = (Line::open(&args.port, args.baud)?, Duration::from_secs(args.wait));
    let mut board = Remote::connect(line, &package.manifest, wait, interrupted)?;
    let bar = if args.quiet { ProgressBar::hidden() } else { progress_bar(&args.input) };
    let (manifest, progress) = (&package.manifest, &mut advance(&bar));
    let report = pipeline::segment_file_on(&mut board, manifest, &job, interrupted, progress);
    bar.finish_and_clear();
    let report = report?;
    if !args.quiet {
        tell(&report, &job, None)?;
    }
    Ok(Outcome::Done)
}
