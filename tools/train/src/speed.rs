//! `monet-train speed`: how many slices a second training takes, on made-up slices; nothing is
//! read, validated or kept.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::batches::Slices;
use crate::loader::{self, Loader};
use crate::net::Net;
use crate::optim::{self, Adam};
use crate::random::Random;
use crate::settings::Settings;
use crate::train;

/// Steps before the measured ones: memory is allocated, and a GPU's library chooses its algorithms.
const WARM_UP: u64 = 3;

/// Measures training.
#[derive(Debug, clap::Args)]
pub struct Speed {
    /// Side of a slice
    #[arg(long, default_value_t = 256)]
    size: i64,
    /// Input channels
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Output channels
    #[arg(long, default_value_t = 1)]
    classes: usize,
    /// Steps to measure
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    net: &'static str,
    parameters: usize,
    device: String,
    threads: i32,
    /// Element type of activations.
    kind: String,
    batch: usize,
    size: i64,
    /// Slices a second where all steps take one batch as it is: forward, loss, backward, optimizer.
    same_batch: f64,
    /// Slices a second as in a run: each batch drawn and changed, weights averaged.
    as_in_a_run: f64,
}

impl Speed {
    pub fn run(self, device: Device) -> Result<()> {
        let settings = &self.settings;
        settings.check()?;
        settings.untaught()?;
        ensure!(
            self.count > 0 && self.channels > 0 && self.classes > 0,
            "all counts must be positive"
        );
        let width = settings.width.unwrap_or(settings.arch.width());
        let topology = settings.arch.topology(self.channels, self.classes, width);
        let step = topology.step() as i64;
        ensure!(
            self.size > 0 && self.size % step == 0,
            "--size {}: expected a multiple of {step}",
            self.size
        );
        let kind = if settings.bf16 { Kind::BFloat16 } else { Kind::Float };
        let parameters = topology.parameters();
        let [same_batch, as_in_a_run] = self.measure(Net::new(topology, device), device)?;
        let measured = Measured {
            net: settings.arch.name(),
            parameters,
            device: format!("{device:?}"),
            threads: tch::get_num_threads(),
            kind: format!("{kind:?}"),
            batch: settings.batch,
            size: self.size,
            same_batch,
            as_in_a_run,
        };
        measured.print(self.json)
    }

    /// Slices a second on the same batch and as in a run.
    fn measure(&self, net: Net, device: Device) -> Result<[f64; 2]> {
        let settings = &self.settings;
        let slices = self.slices(device);
        let averaged = net.duplicate();
        let mut adam = Adam::new(&net, settings.weight_decay);
        let mut done = 0;
        let mut step = |net: &Net, (loss, gradients): (Tensor, Vec<Tensor>)| {
            done += 1;
            adam.step(net, &gradients, done, settings.rate);
            loss
        };
        let batch = slices.draw(settings, &mut Random::of(settings.seed, 0));
        let same = self.rate(|_| Ok(step(&net, train::descend(&net, &batch, None, settings))))?;
        let steps = 0..WARM_UP + self.count;
        let mut loader = Loader::new(slices, settings.clone(), steps, loader::ahead(device));
        let whole = self.rate(|number| {
            let loss = step(&net, train::gradients(&net, &loader.next()?, None, settings, number));
            optim::average(&averaged, &net, settings.average);
            Ok(loss)
        })?;
        Ok([same, whole])
    }

    /// Slices a second of a kind of step, which returns something that is there when it is done.
    fn rate(&self, mut step: impl FnMut(u64) -> Result<Tensor>) -> Result<f64> {
        let mut run = |steps: std::ops::Range<u64>| -> Result<()> {
            let mut last = None;
            for number in steps {
                last = Some(step(number)?);
            }
            // Only what is read is sure to be done.
            let _ = last.map(|loss| loss.double_value(&[]));
            Ok(())
        };
        run(0..WARM_UP)?;
        let begun = Instant::now();
        run(WARM_UP..WARM_UP + self.count)?;
        Ok((self.count as usize * self.settings.batch) as f64 / begun.elapsed().as_secs_f64())
    }

    /// Enough slices for a batch of different ones, of noise with labels anywhere.
    fn slices(&self, device: Device) -> Slices {
        tch::manual_seed(self.settings.seed as i64);
        let (n, side) = (self.settings.batch as i64, self.size);
        let images =
            Tensor::rand([n, self.channels as i64, side, side], (Kind::Float, Device::Cpu));
        let labels = Tensor::randint(
            self.classes.max(2) as i64,
            [n, side, side],
            (Kind::Uint8, Device::Cpu),
        );
        Slices::of(&images.to_device(device), &labels.to_device(device))
    }
}

impl Measured {
    fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let Self { net, parameters, device, threads, kind, batch, size, same_batch, as_in_a_run } =
            self;
        println!(
            "{net}, {parameters} parameters, {kind}, {batch} slices of {size}×{size} a step, \
             {device}, {threads} CPU thread(s)"
        );
        println!("the same batch each step   {same_batch:8.1} slices/s");
        println!("as in a run                {as_in_a_run:8.1} slices/s");
        Ok(())
    }
}
