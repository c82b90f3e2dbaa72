//! `monet-train`: trains MoNet and its baselines, exports them to ONNX, quantizes and evaluates
//! them.

mod accepts;
mod augment;
mod batches;
mod check;
mod checkpoint;
mod commands;
mod dataset;
mod device;
mod estimate;
mod evaluate;
mod events;
mod export;
mod federate;
mod fingerprint;
mod interpret;
mod loader;
mod loss;
mod losses;
mod memory;
mod net;
mod onnx;
mod optim;
mod plot;
mod preset;
mod quantize;
mod random;
mod report;
mod settings;
mod speed;
mod teachers;
mod text;
mod topology;
mod train;
mod tune;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    /// `cpu`, `cuda` or `cuda:N`; a GPU is taken when libtorch sees one
    #[arg(long, global = true)]
    device: Option<String>,
    /// Threads on the CPU
    #[arg(long, global = true)]
    threads: Option<i32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a network, or resumes a run that was interrupted
    #[command(after_help = "Example:\n  monet-train train --data Task04_Hippocampus --out \
            runs/hippocampus")]
    Train(Box<commands::Train>),
    /// Writes the best weights of a run as an f32 package, checked against the network
    #[command(after_help = "Example:\n  monet-train export --run runs/hippocampus --out \
            models/hippocampus.f32.toml")]
    Export(commands::Export),
    /// Writes an int8 package, calibrated on training slices and compared with f32 on the
    /// validation split
    #[command(after_help = "Example:\n  monet-train quantize --run runs/hippocampus --data \
            Task04_Hippocampus --out models/hippocampus.int8.toml")]
    Quantize(commands::Quantize),
    /// Dice and HD95 of a package, per subject, on whole volumes
    #[command(
        after_help = "Example:\n  monet-train evaluate --model models/hippocampus.int8.toml --data \
            Task04_Hippocampus --split test"
    )]
    Evaluate(commands::Evaluate),
    /// The paper's tables: packages side by side in Dice, Hausdorff distances, size and time, with
    /// box plots
    #[command(
        after_help = "Example:\n  monet-train report --model models/hippocampus.int8.toml --model \
            models/hippocampus.f32.toml --data Task04_Hippocampus --split test --out report"
    )]
    Report(report::Report),
    /// Shows a task, derived from a data set or known by name, as a task file to be changed
    #[command(after_help = "Example:\n  monet-train task --data Task20_SarcomaMR --task auto > \
            sarcoma.toml")]
    Task(commands::Task),
    /// Takes the first steps of a run on the CPU and on the device and compares their losses
    #[command(after_help = "Example:\n  monet-train --device cuda check --data Task04_Hippocampus")]
    Check(Box<check::Check>),
    /// Measures how many slices a second training takes
    #[command(
        after_help = "Example:\n  monet-train --device cuda speed --arch unet16 --batch 16 --size \
            256"
    )]
    Speed(Box<speed::Speed>),
    /// Counts the parameters of a network
    #[command(after_help = "Example:\n  monet-train params --arch unet16 --channels 1 --classes 1")]
    Params(commands::Params),
    /// Trains with other sites in a Flower federation, or simulates one
    #[command(subcommand)]
    Federate(federate::Federate),
    /// Writes untrained networks that speed is measured with, f32 and int8
    #[command(after_help = "Examples:\n  monet-train bench-net --out models/bench\n  monet-train \
            bench-net --arch unet16,unet64,attention-unet --out baselines")]
    BenchNet(commands::BenchNet),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    memory::keep();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("monet-train: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let device = device::choose(arguments.device.as_deref())?;
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(threads.max(1));
    }
    match arguments.command {
        Command::Train(it) => it.run(device),
        Command::Export(it) => it.run(),
        Command::Quantize(it) => it.run(device),
        Command::Evaluate(it) => it.run(device),
        Command::Report(it) => it.run(device),
        Command::Task(it) => it.run(),
        Command::Check(it) => it.run(device),
        Command::Speed(it) => it.run(device),
        Command::Params(it) => it.run(),
        Command::Federate(it) => it.run(device, arguments.threads),
        Command::BenchNet(it) => it.run(device),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// No two options of a command have the same name, among others.
    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
