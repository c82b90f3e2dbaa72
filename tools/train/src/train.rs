//! The training run: steps, validation, checkpoints; the same result however often it is
//! interrupted.
//!
//! Every step's random draws are seeded by the run's seed and the step's number, and a checkpoint
//! holds weights, averaged weights and the optimizer's state, so that a resumed run on a CPU ends
//! with the same bits as an uninterrupted one.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use monet::package::Manifest;
use tch::{Device, Kind, Tensor};

use crate::batches::Slices;
use crate::checkpoint::{Run, State};
use crate::dataset::{self, Pair, Split, Subject};
use crate::evaluate;
use crate::loader::{self, Batch, Loader};
use crate::loss::loss;
use crate::losses::Losses;
use crate::net::{Net, Pass};
use crate::optim;
use crate::settings::Settings;

/// What stays the same throughout a run.
pub struct Course<'a> {
    settings: &'a Settings,
    package: &'a Manifest,
    device: Device,
    slices: Slices,
    validation: Vec<Subject>,
}

impl<'a> Course<'a> {
    /// Reads the training and validation subjects, and those of the test split only to check them:
    /// better now than after hours.
    ///
    /// # Errors
    /// Bad settings, bad data (naming the subject).
    pub fn new(
        data: &Path,
        settings: &'a Settings,
        package: &'a Manifest,
        device: Device,
    ) -> Result<Self> {
        settings.check()?;
        let pairs = dataset::list(data)?;
        let split = |which| dataset::split(&pairs, which, settings.fold);
        let load = |pair: &Pair| dataset::load(pair, package);
        let (training, validation, test) =
            (split(Split::Train)?, split(Split::Validation)?, split(Split::Test)?);
        let slices = Slices::read(&training, settings, package, device)?;
        let validation = validation.iter().map(load).collect::<Result<_>>()?;
        test.iter().try_for_each(|pair| load(pair).map(drop))?;
        eprintln!(
            "{} training subjects with {} slices, {} of them with labels",
            training.len(),
            slices.len(),
            slices.labelled()
        );
        Ok(Self { settings, package, device, slices, validation })
    }

    /// Trains, from the state that the run was opened with; `stop_after` so many steps, at the end
    /// of an epoch, the rest is left for later. So many batches are made `ahead`, see [`loader`].
    ///
    /// # Errors
    /// Unwritable folder, a loss that is no number.
    pub fn train(
        mut self,
        run: &Run,
        mut state: State,
        stop_after: Option<u64>,
        ahead: Option<usize>,
    ) -> Result<()> {
        let Settings { steps, epoch, .. } = *self.settings;
        let parameters = state.net.topology.parameters();
        eprintln!("{parameters} parameters, on {:?}, from step {}", self.device, state.step);
        let bar = progress(state.step, steps)?;
        let asked = |n| state.step.saturating_add(n).div_ceil(epoch).saturating_mul(epoch);
        let end = stop_after.map_or(steps, asked).min(steps);
        let ahead = ahead.unwrap_or_else(|| loader::ahead(self.device));
        let slices = std::mem::take(&mut self.slices);
        let mut loader = Loader::new(slices, self.settings.clone(), state.step..end, ahead);
        let mut losses = Losses::default();
        let (clock, before) = (Instant::now(), state.seconds);
        while state.step < end && !self.is_over(&state) {
            losses.push(self.step(&mut state, &loader.next()?), state.step)?;
            state.seconds = before + clock.elapsed().as_secs_f64();
            bar.set_position(state.step);
            if state.step.is_multiple_of(epoch) || state.step == steps {
                let losses = losses.take(state.step)?;
                let mean = losses.iter().sum::<f64>() / losses.len() as f64;
                let line = self.checkpoint(run, &mut state, mean)?;
                if bar.is_hidden() { eprintln!("{line}") } else { bar.println(line) }
            }
        }
        bar.finish();
        Ok(())
    }

    /// Whether time or patience is at an end; asked between epochs.
    fn is_over(&self, state: &State) -> bool {
        let Settings { epoch, time_budget, patience, .. } = *self.settings;
        let waited = (state.step - state.best_step) / epoch;
        state.step.is_multiple_of(epoch)
            && (time_budget.is_some_and(|minutes| state.seconds >= 60.0 * minutes)
                || patience.is_some_and(|most| state.step > 0 && waited >= most))
    }

    /// The learning rate, by steps or by the time that is used up, whichever is further.
    fn rate(&self, state: &State) -> f64 {
        let Settings { steps, rate, decay, time_budget, .. } = *self.settings;
        let timed = time_budget
            .map_or(0, |minutes| (state.seconds / (60.0 * minutes) * steps as f64) as u64);
        optim::rate(state.step.max(timed.min(steps)), steps, rate, decay)
    }

    /// One step; returns its loss.
    fn step(&self, state: &mut State, batch: &Batch) -> Tensor {
        let settings = self.settings;
        let (value, gradients) = gradients(&state.net, batch, settings, state.step);
        let rate = self.rate(state);
        state.step += 1;
        state.adam.step(&state.net, &gradients, state.step, rate);
        // A short average at first, so that the random start is soon forgotten.
        let decay = settings.average.min((1.0 + state.step as f64) / (10.0 + state.step as f64));
        optim::average(&state.averaged, &state.net, decay);
        value
    }

    /// Validates the averaged weights, logs, and keeps the last and the best; returns a line for
    /// the terminal.
    fn checkpoint(&self, run: &Run, state: &mut State, loss: f64) -> Result<String> {
        let predict = |x: &Tensor| Ok(state.averaged.forward(x, Pass::Inference));
        let scores =
            evaluate::scores(&self.validation, self.package, self.device, false, &predict)?;
        let dice = evaluate::dice(&scores, self.package);
        let rate = self.rate(state);
        run.write_log(state.step, rate, loss, self.package, &dice)?;
        run.keep(
            state,
            dice.iter().sum::<f64>() / dice.len() as f64,
            self.settings.time_budget.is_some(),
        )?;
        run.draw()?;
        let labels = self.package.labels.iter().zip(&dice);
        let named: Vec<String> =
            labels.map(|(label, dice)| format!("{} {dice:.4}", label.name)).collect();
        Ok(format!("step {:5}  loss {loss:.4}  Dice {}", state.step, named.join("  ")))
    }
}

/// Loss of the batch that belongs to a step, and its gradients by the net's trained tensors. On a
/// GPU neither is waited for.
pub fn gradients(
    net: &Net,
    batch: &Batch,
    settings: &Settings,
    step: u64,
) -> (Tensor, Vec<Tensor>) {
    tch::manual_seed((settings.seed as i64) << 32 | step as i64);
    descend(net, &batch.0, &batch.1, settings)
}

/// Loss of a batch as it is, and its gradients. Convolutions compute in bf16 where that is asked
/// for, and hand it on; batch statistics, logits, loss, weights and what becomes of them are f32
/// always.
pub fn descend(
    net: &Net,
    images: &Tensor,
    labels: &Tensor,
    settings: &Settings,
) -> (Tensor, Vec<Tensor>) {
    let kind = if settings.bf16 { Kind::BFloat16 } else { Kind::Float };
    let value = loss(&net.forward(images, Pass::Training { drop: settings.drop, kind }), labels);
    let gradients = Tensor::run_backward(&[&value], &net.trained(), false, false);
    (value.detach(), gradients)
}

fn progress(step: u64, steps: u64) -> Result<ProgressBar> {
    let style = "{bar:30} {pos}/{len} steps, {elapsed} done, {eta} left";
    let bar = ProgressBar::new(steps)
        .with_position(step)
        .with_style(ProgressStyle::with_template(style)?);
    bar.reset_eta();
    Ok(bar)
}
