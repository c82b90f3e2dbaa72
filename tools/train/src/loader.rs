//! Batches of a run's steps, drawn and changed at random; on a GPU ahead of the step that needs
//! them, on a thread of their own.
//!
//! A batch's random numbers are those of its step, so that it does not matter who makes it and
//! when. On a CPU the network has every core, and a second thread of tensors would only take turns
//! with it.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use tch::{Device, Tensor, no_grad};

use crate::batches::Slices;
use crate::random::Random;
use crate::settings::Settings;

/// Images and labels as [`Slices::draw`] gives them.
pub type Batch = (Tensor, Tensor);

/// Batches that are made ahead where no number is given.
#[must_use]
pub fn ahead(device: Device) -> usize {
    if device.is_cuda() { 2 } else { 0 }
}

/// The batch of a step.
pub fn batch(slices: &Slices, settings: &Settings, step: u64) -> Batch {
    let mut random = Random::of(settings.seed, step);
    no_grad(|| {
        let (images, labels) = slices.draw(settings, &mut random);
        settings.augment.apply(&images, &labels, &mut random)
    })
}

/// The batches of consecutive steps.
pub enum Loader {
    /// Made when asked for.
    Here { slices: Slices, settings: Box<Settings>, steps: Range<u64> },
    /// Made by a thread that ends with its last step, or when nobody is there to receive.
    Ahead(Receiver<Batch>),
}

impl Loader {
    /// Begins to make the batches of `steps`, at most `ahead` more than were asked for.
    #[must_use]
    pub fn new(slices: Slices, settings: Settings, steps: Range<u64>, ahead: usize) -> Self {
        if ahead == 0 {
            return Self::Here { slices, settings: Box::new(settings), steps };
        }
        // One more is in the making while the queue is full.
        let (made, batches) = sync_channel(ahead - 1);
        thread::spawn(move || {
            for step in steps {
                if made.send(batch(&slices, &settings, step)).is_err() {
                    break;
                }
            }
        });
        Self::Ahead(batches)
    }

    /// The next step's batch.
    ///
    /// # Errors
    /// After the last step, or where the thread failed.
    pub fn next(&mut self) -> Result<Batch> {
        match self {
            Self::Here { slices, settings, steps } => {
                let step = steps.next().context("no step is left to make a batch for")?;
                Ok(batch(slices, settings, step))
            }
            Self::Ahead(batches) => {
                batches.recv().context("the thread that makes batches has ended")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn slices() -> Slices {
        let count = 9 * 8 * 8;
        let of = |kind| {
            (Tensor::arange(count, (Kind::Float, Device::Cpu)) / count as f64)
                .to_kind(kind)
                .reshape([9, 1, 8, 8])
        };
        Slices::of(&of(Kind::Float), &(of(Kind::Float) * 3.0).to_kind(Kind::Uint8).squeeze_dim(1))
    }

    #[test]
    fn batches_are_the_same_whoever_makes_them() {
        let settings = Settings::of(&["--batch", "2", "--elastic", "1"]);
        let [mut here, mut ahead] =
            [0, 3].map(|ahead| Loader::new(slices(), settings.clone(), 5..12, ahead));
        let mut before = None;
        for _ in 5..12 {
            let (batch, other) = (here.next().unwrap(), ahead.next().unwrap());
            assert_eq!(batch, other);
            assert_ne!(Some(&batch), before.as_ref(), "two steps have the same batch");
            before = Some(batch);
        }
        for mut loader in [here, ahead] {
            assert!(loader.next().is_err(), "there are only seven steps");
        }
    }
}
