//! Federated learning: sites train where their data are, and only weights travel.
//!
//! [Flower](https://flower.ai) is the engine: its server, transport, strategies, secure aggregation
//! and privacy, through the small app in `federate/`, which is part of this binary and unpacked
//! when needed. The app calls this binary back, as `federate fit` and `federate score`, for
//! whatever has to do with data and learning; weights go in and out as safetensors files.

mod deal;
mod flower;
mod network;
mod report;
mod simulate;
mod site;
mod terms;

use anyhow::Result;
use tch::Device;

/// What there is to do in a federation.
#[derive(Debug, clap::Subcommand)]
pub enum Federate {
    /// Deals a data set to sites on this machine, trains them in a federation and, to compare,
    /// centrally, and reports
    #[command(
        after_help = "Example:\n  monet-train federate simulate --data Task04_Hippocampus --sites \
            4 --steps 200 --epoch 40 --out runs/federated"
    )]
    Simulate(Box<simulate::Simulate>),
    /// Waits for sites, has them train, averages, and ends with a run to export
    #[command(
        after_help = "Example:\n  monet-train federate server --task hippocampus --sites 4 --steps \
            2000 --epoch 100 --out runs/federated"
    )]
    Server(Box<network::Server>),
    /// Takes part with this machine's data, until it is stopped
    #[command(
        after_help = "Example:\n  monet-train federate client --superlink server.example:9092 \
            --data Task04_Hippocampus"
    )]
    Client(network::Client),
    /// Bytes that a site receives, or sends, in a round, for each network
    #[command(after_help = "Example:\n  monet-train federate bytes --channels 1 --classes 3")]
    Bytes(report::Bytes),
    /// For the app: one round's steps from given weights; prints a line of JSON
    Fit(site::Fit),
    /// For the app: Dice of given weights on a site's subjects; prints a line of JSON
    Score(site::Judge),
}

impl Federate {
    /// Does it.
    ///
    /// # Errors
    /// Those of each.
    pub fn run(self, device: Device, threads: Option<i32>) -> Result<()> {
        match self {
            Self::Simulate(it) => it.run(device, threads),
            Self::Server(it) => it.run(device),
            Self::Client(it) => it.run(device, threads),
            Self::Bytes(it) => it.run(),
            Self::Fit(it) => it.run(device),
            Self::Score(it) => it.run(device),
        }
    }
}
