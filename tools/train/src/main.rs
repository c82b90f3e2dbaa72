//! `monet-train`: trains MoNet, exports it to ONNX, quantizes and evaluates it.

mod augment;
mod dataset;
mod device;
mod evaluate;
mod loss;
mod net;
mod optim;
mod preset;
mod topology;
mod train;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::train::{Run, Settings};

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
    #[command(after_help = "Example:\n  monet-train train --data Task04_Hippocampus --out runs/hippocampus")]
    Train {
        /// Folder in the layout of the Medical Segmentation Decathlon
        #[arg(long)]
        data: PathBuf,
        /// Folder of the run; an interrupted run there is resumed
        #[arg(long)]
        out: PathBuf,
        /// Leave off after this many steps, to be resumed later
        #[arg(long)]
        stop_after: Option<u64>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = device::choose(arguments.device.as_deref())?;
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(threads.max(1));
    }
    match arguments.command {
        Command::Train { data, out, stop_after, settings } => {
            let package = preset::manifest(&settings.task)?;
            train::train(&data, &Run(out), &settings, &package, device, stop_after)
        }
    }
}
