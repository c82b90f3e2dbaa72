//! `monet-train check`: the first steps of a run on the CPU and on a device, side by side.
//!
//! Everything random is drawn on the CPU and so is the same for both. What is left are sums in
//! another order and each device's rounding, which grow from step to step; a mistake is larger at
//! once.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use monet::package::Manifest;
use tch::{Device, Kind};

use crate::batches::Slices;
use crate::checkpoint;
use crate::dataset::{self, Pair, Split};
use crate::loader;
use crate::losses::Losses;
use crate::optim::{self, Adam};
use crate::settings::Settings;
use crate::train;

/// Compares the losses of a run's first steps.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Folder in the layout of the Medical Segmentation Decathlon
    #[arg(long)]
    data: PathBuf,
    /// Steps to compare
    #[arg(long, default_value_t = 20)]
    first: u64,
    /// Largest relative difference of two losses that passes
    #[arg(long, default_value_t = 0.01)]
    tolerance: f64,
    #[command(flatten)]
    settings: Settings,
}

/// Where and how steps are taken.
#[derive(Debug, Clone, Copy)]
struct Way {
    device: Device,
    threads: i32,
    bf16: bool,
}

impl Way {
    fn name(self) -> String {
        let kind = if self.bf16 { Kind::BFloat16 } else { Kind::Float };
        match self.device {
            Device::Cpu => format!("CPU, {} thread(s), {kind:?}", self.threads),
            device => format!("{device:?}, {kind:?}"),
        }
    }
}

impl Check {
    pub fn run(self, device: Device) -> Result<()> {
        let mut settings = self.settings.clone();
        settings.check()?;
        settings.untaught()?;
        ensure!(self.first > 0, "--first 0: expected a positive number");
        let (package, _) = settings.complete(&self.data)?;
        let pairs = dataset::split(&dataset::list(&self.data)?, Split::Train, settings.fold)?;
        let ways = ways(device, settings.bf16);
        let losses = |way| self.losses(way, &settings, &package, &pairs);
        let (reference, found) = (losses(ways[0])?, losses(ways[1])?);
        self.compare(&ways.map(Way::name), &reference, &found)
    }

    /// The losses of the first steps, from the run's own first weights.
    fn losses(
        &self,
        way: Way,
        settings: &Settings,
        package: &Manifest,
        pairs: &[Pair],
    ) -> Result<Vec<f64>> {
        tch::set_num_threads(way.threads);
        let settings = Settings { bf16: way.bf16, ..settings.clone() };
        let slices = Slices::read(pairs, &settings, package, way.device)?;
        let net = checkpoint::begin(&settings, package, way.device, settings.from.as_ref())?;
        let mut adam = Adam::new(&net, settings.weight_decay);
        let mut losses = Losses::default();
        for step in 0..self.first {
            let (loss, gradients) = train::gradients(
                &net,
                &loader::batch(&slices, &settings, step),
                None,
                &settings,
                step,
            );
            losses.push(loss, step)?;
            let rate = optim::rate(step, settings.steps, settings.rate, settings.decay);
            adam.step(&net, &gradients, step + 1, rate);
        }
        losses.take(self.first - 1)
    }

    /// Prints both columns and their largest difference.
    fn compare(&self, names: &[String; 2], reference: &[f64], found: &[f64]) -> Result<()> {
        println!("step  {:>28}  {:>28}  {:>10}", names[0], names[1], "relative");
        let mut most = (0.0, 0);
        for (step, (a, b)) in (1..).zip(reference.iter().zip(found)) {
            let relative = (a - b).abs() / a.abs();
            if relative >= most.0 {
                most = (relative, step);
            }
            println!("{step:4}  {a:28.6}  {b:28.6}  {relative:10.1e}");
        }
        let (relative, step) = most;
        println!(
            "largest relative difference {relative:.1e}, at step {step}; allowed {:.1e}",
            self.tolerance
        );
        ensure!(
            relative <= self.tolerance,
            "the losses of step {step} differ by {relative:.1e}, more than --tolerance {:.1e}",
            self.tolerance
        );
        Ok(())
    }
}

/// What is compared: f32 on the CPU with what was asked for; where that is the CPU, too, with
/// another number of threads.
fn ways(device: Device, bf16: bool) -> [Way; 2] {
    let threads = tch::get_num_threads();
    let other = match (device, threads) {
        (Device::Cpu, 1) => 2,
        (Device::Cpu, _) => 1,
        _ => threads,
    };
    [Way { device: Device::Cpu, threads: other, bf16: false }, Way { device, threads, bf16 }]
}
