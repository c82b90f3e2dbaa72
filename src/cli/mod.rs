//! The command line: one file per subcommand, each thin; what they share is here.

mod archive;
mod batch;
#[cfg(feature = "board")]
mod board;
#[cfg(any(feature = "dicom", feature = "tract"))]
mod child;
mod compile;
#[cfg(feature = "dicom")]
mod decode;
#[cfg(feature = "desk")]
mod desk;
#[cfg(feature = "dicom")]
mod dicom;
mod doctor;
mod evaluate;
mod inspect;
mod interrupt;
#[cfg(feature = "models")]
mod model;
mod nets;
mod profile;
mod region;
mod reports;
mod room;
mod segment;
#[cfg(feature = "dicom")]
mod series;
#[cfg(feature = "serve")]
mod serve;
mod targets;
mod terminal;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use monet::Size;
use monet::package::Package;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some inputs of several \
    failed, 4 a target's budget is exceeded, 130 `segment` was interrupted.";

/// Everything the user may say.
#[derive(Debug, Parser)]
#[command(name = "monet", version, about, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Segment(Box<segment::SegmentArgs>),
    #[cfg(feature = "dicom")]
    Series(series::SeriesArgs),
    Evaluate(evaluate::EvaluateArgs),
    Inspect(inspect::InspectArgs),
    Profile(Box<profile::ProfileArgs>),
    Compile(compile::CompileArgs),
    #[cfg(feature = "board")]
    Board(board::BoardArgs),
    Doctor(doctor::DoctorArgs),
    Targets(targets::TargetsArgs),
    #[cfg(feature = "models")]
    Model(model::ModelArgs),
    #[cfg(feature = "dicom")]
    #[command(hide = true)]
    DecodeFrames(decode::DecodeArgs),
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
    #[cfg(feature = "serve")]
    Queue(serve::QueueArgs),
    #[cfg(feature = "serve")]
    #[command(hide = true)]
    SortInstances(serve::SortArgs),
    #[cfg(feature = "serve")]
    #[command(hide = true)]
    SegmentStudy(serve::StudyArgs),
}

/// How a command that did not fail as a whole ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Some inputs of several failed; each was reported.
    Partly,
    /// All inputs failed; each was reported.
    Failed,
    /// A profile does not keep its target's budget; the report says which figure.
    OverBudget,
    /// A signal came before all was done; the report says what was.
    Interrupted,
}

impl Outcome {
    /// Of a number of inputs.
    fn of(failed: usize, inputs: usize) -> Self {
        match failed {
            0 => Self::Done,
            n if n == inputs => Self::Failed,
            _ => Self::Partly,
        }
    }
}

/// Reads the command line and runs the command; errors go to standard error.
pub(crate) fn run() -> ExitCode {
    reports::make_limits_errors();
    nets::give_tensors_back();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return terminal::usage(&error).into(),
    };
    let outcome = match arguments.command {
        Command::Segment(args) => segment::run(*args),
        #[cfg(feature = "dicom")]
        Command::Series(args) => series::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Compile(args) => compile::run(&args),
        #[cfg(feature = "board")]
        Command::Board(args) => board::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Targets(args) => targets::run(&args),
        #[cfg(feature = "models")]
        Command::Model(args) => model::run(&args),
        #[cfg(feature = "dicom")]
        Command::DecodeFrames(args) => decode::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "serve")]
        Command::Queue(args) => serve::run_queue(&args),
        #[cfg(feature = "serve")]
        Command::SortInstances(args) => serve::run_sort(&args),
        #[cfg(feature = "serve")]
        Command::SegmentStudy(args) => serve::run_study(&args),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partly) => ExitCode::from(3),
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Ok(Outcome::OverBudget) => ExitCode::from(4),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            terminal::report(&error);
            ExitCode::FAILURE
        }
    }
}

/// The package named, or the embedded one.
fn package(model: Option<&Path>) -> Result<Package> {
    Ok(match model {
        Some(path) => Package::load(path)?,
        None => Package::embedded(),
    })
}

/// The package named, or the embedded one; an ONNX file without manifest too, for slices of this
/// size or the file's own.
fn package_or_net(model: Option<&Path>, size: Option<Size>) -> Result<Package> {
    let bare = model.map(|path| nets::package_of_onnx(path, size)).transpose()?.flatten();
    bare.map_or_else(|| package(model), Ok)
}
