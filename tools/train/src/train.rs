//! The training run: steps, validation, checkpoints; the same result however often it is
//! interrupted.
//!
//! Every step's random draws are seeded by the run's seed and the step's number, and a checkpoint
//! holds weights, averaged weights and the optimizer's state, so that a resumed run on a CPU ends
//! with the same bits as an uninterrupted one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use monet::package::Manifest;
use tch::{Device, Kind, Tensor};

use crate::batches::Slices;
use crate::checkpoint::{Run, State};
use crate::dataset::{self, Pair, Split, Subject};
use crate::estimate::Estimate;
use crate::evaluate;
use crate::loader::{self, Batch, Loader};
use crate::loss::loss;
use crate::losses::Losses;
use crate::net::{Net, Pass};
use crate::optim;
use crate::settings::Settings;
use crate::teachers::Teachers;

/// What stays the same throughout a run.
pub struct Course<'a> {
    settings: &'a Settings,
    package: &'a Manifest,
    device: Device,
    slices: Slices,
    validation: Vec<Subject>,
    teachers: Teachers,
    /// Every so many of them are seen by a validation.
    every: usize,
}

/// A step's backward pass takes about twice the time of its forward pass, which alone a validation
/// does.
const PASSES: usize = 3;

/// The part of an epoch's training time that validating may take: one of so many.
const PART: usize = 4;

/// Fewest subjects that a validation sees where it is not said: fewer would choose by chance.
const FEWEST: usize = 8;

impl<'a> Course<'a> {
    /// Reads the training and validation subjects, and those of the test split only to check them:
    /// better now than after hours.
    ///
    /// # Errors
    /// Bad settings, bad data (naming the subject), a teacher of something else.
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
        let teachers = Teachers::read(&settings.teacher, package, device)?;
        let slices = Slices::read(&training, settings, package, device)?;
        let validation: Vec<Subject> = validation.iter().map(load).collect::<Result<_>>()?;
        test.iter().try_for_each(|pair| load(pair).map(drop))?;
        eprintln!(
            "{} training subjects with {} slices, {} of them with labels",
            training.len(),
            slices.len(),
            slices.labelled()
        );
        let every = validation.len().div_ceil(sample(settings, &slices, &validation));
        let course = Self { settings, package, device, slices, validation, teachers, every };
        let seen = course.seen().count();
        if seen < course.validation.len() {
            eprintln!(
                "each validation sees {seen} of {} validation subjects (--validate); the best \
                 weights are scored on all at the end",
                course.validation.len()
            );
        }
        Ok(course)
    }

    /// The subjects that each validation sees.
    fn seen(&self) -> impl Iterator<Item = &Subject> {
        self.validation.iter().step_by(self.every)
    }

    /// How long a validation takes, from that of one subject.
    fn validation_time(&self, net: &Net) -> Result<Duration> {
        let pixels = |subject: &Subject| subject.net_labels.len() as f64;
        let Some(first) = self.validation.first() else { return Ok(Duration::ZERO) };
        // The first pass allocates, and is not counted.
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            let begun = Instant::now();
            self.score(net, std::iter::once(first))?;
            took = begun.elapsed();
        }
        let all: f64 = self.seen().map(pixels).sum();
        Ok(took.mul_f64(all / pixels(first).max(1.0)))
    }

    /// Mean Dice of each label.
    fn score<'s>(&self, net: &Net, on: impl Iterator<Item = &'s Subject>) -> Result<Vec<f64>> {
        let predict = |x: &Tensor| Ok(net.forward(x, Pass::Inference));
        let scores = evaluate::scores(on, self.package, self.device, false, &predict)?;
        Ok(evaluate::dice(&scores, self.package))
    }

    /// Dice of the best weights on all validation subjects, where validations saw a part of them.
    fn score_best(&self, run: &Run, state: &State) -> Result<()> {
        if self.every == 1 {
            return Ok(());
        }
        let net = run.net(state.net.topology.clone(), self.device)?;
        let dice = self.named(&self.score(&net, self.validation.iter())?);
        let (step, count) = (state.best_step, self.validation.len());
        eprintln!("step {step:5}, the best, on all {count} validation subjects  Dice {dice}");
        Ok(())
    }

    fn named(&self, dice: &[f64]) -> String {
        let labels = self.package.labels.iter().zip(dice);
        let named: Vec<String> = labels.map(|(l, d)| format!("{} {d:.4}", l.name)).collect();
        named.join("  ")
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
        let left = (end - state.step, end.div_ceil(epoch) - state.step / epoch);
        let tells = Estimate::tells(left.0) && !self.is_over(&state);
        let one = if tells { self.validation_time(&state.averaged)? } else { Duration::ZERO };
        let mut estimate = Estimate::new(left.0, left.1, one, self.settings.time_budget);
        let (clock, before) = (Instant::now(), state.seconds);
        while state.step < end && !self.is_over(&state) {
            let loss = self.step(&mut state, &loader.next()?);
            if estimate.is_watching() && self.device.is_cuda() {
                // Only what is read is sure to be done.
                let _ = loss.double_value(&[]);
            }
            losses.push(loss, state.step)?;
            state.seconds = before + clock.elapsed().as_secs_f64();
            bar.set_position(state.step);
            if let Some(told) = estimate.step() {
                say(&bar, &told);
            }
            if state.step.is_multiple_of(epoch) || state.step == steps {
                let losses = losses.take(state.step)?;
                let mean = losses.iter().sum::<f64>() / losses.len() as f64;
                let line = self.checkpoint(run, &mut state, mean)?;
                say(&bar, &line);
            }
        }
        bar.finish();
        if end == steps || self.is_over(&state) { self.score_best(run, &state) } else { Ok(()) }
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
        let says = self.teachers.probabilities(&batch.0);
        let (value, gradients) = gradients(&state.net, batch, says.as_ref(), settings, state.step);
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
        let dice = self.score(&state.averaged, self.seen())?;
        let rate = self.rate(state);
        run.write_log(state.step, rate, loss, self.package, &dice)?;
        run.keep(
            state,
            dice.iter().sum::<f64>() / dice.len() as f64,
            self.settings.time_budget.is_some(),
        )?;
        run.draw()?;
        Ok(format!("step {:5}  loss {loss:.4}  Dice {}", state.step, self.named(&dice)))
    }
}

/// How many validation subjects a validation sees.
fn sample(settings: &Settings, slices: &Slices, validation: &[Subject]) -> usize {
    let all = validation.len().max(1);
    let pixels = validation.iter().map(|s| s.net_labels.len()).sum::<usize>().max(1);
    // By what is computed, not by time, so that a run is the same on every machine.
    let trained = (settings.epoch as usize).saturating_mul(settings.batch * slices.pixels());
    let part = (trained.saturating_mul(PASSES) / PART).saturating_mul(all) / pixels;
    settings.validate.unwrap_or(part.max(FEWEST)).clamp(1, all)
}

/// A line on the terminal, above the bar where there is one.
fn say(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() { eprintln!("{line}") } else { bar.println(line) }
}

/// Loss of the batch that belongs to a step, and its gradients by the net's trained tensors; `says`
/// is what teachers say of the batch. On a GPU neither is waited for.
pub fn gradients(
    net: &Net,
    batch: &Batch,
    says: Option<&Tensor>,
    settings: &Settings,
    step: u64,
) -> (Tensor, Vec<Tensor>) {
    tch::manual_seed((settings.seed as i64) << 32 | step as i64);
    descend(net, batch, says, settings)
}

/// Loss of a batch as it is, and its gradients. Convolutions compute in bf16 where that is asked
/// for, and hand it on; batch statistics, logits, loss, weights and what becomes of them are f32
/// always.
pub fn descend(
    net: &Net,
    (images, labels): &Batch,
    says: Option<&Tensor>,
    settings: &Settings,
) -> (Tensor, Vec<Tensor>) {
    let kind = if settings.bf16 { Kind::BFloat16 } else { Kind::Float };
    let logits = net.forward(images, Pass::Training { drop: settings.drop, kind });
    let taught = says.map(|says| (says, settings.trust));
    let value = loss(&logits, labels, settings.dice, taught);
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
